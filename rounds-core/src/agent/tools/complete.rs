use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::super::desk::Conclusion;
use super::arguments::{Cite, cited, parse, spec};
use super::{Answer, Run, Tool};
use crate::access::Action;
use crate::investigation::Confidence;
use crate::ports::ToolSpec;

/// The end of the run.
pub(super) struct Complete;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Arguments {
    /// What was found, in a sentence or two.
    summary: String,
    /// The root cause; left out when it is not known.
    #[serde(default)]
    root_cause: Option<Cause>,
    /// What was looked into and is not the cause.
    #[serde(default)]
    ruled_out: Vec<Ruled>,
    /// What remains unknown, and what to look at next.
    #[serde(default)]
    unknowns: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Cause {
    /// The cause in one sentence.
    summary: String,
    /// The readings behind it, at least one that was answered.
    citations: Vec<Cite>,
    /// high: the readings show it; medium: the best explanation; low: something else would fit, too.
    confidence: Confidence,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Ruled {
    /// What it is not, in a sentence.
    claim: String,
    /// The readings that rule it out, all of them answered.
    citations: Vec<Cite>,
}

#[async_trait]
impl Tool for Complete {
    fn spec(&self) -> ToolSpec {
        spec::<Arguments>(
            "complete",
            "Ends the investigation with its conclusion. A report without a cause or a plan is a good report when it says what \
             is known and what is not.",
        )
    }

    fn action(&self) -> Action {
        Action::InvestigationsCreate
    }

    fn reads(&self) -> bool {
        false
    }

    async fn call(&self, run: &Run<'_>, arguments: &Value) -> Answer {
        let evidence = run.tools.evidence();
        let concluded = parse::<Arguments>(arguments).and_then(|asked| {
            let conclusion = Conclusion {
                summary: asked.summary,
                cause: asked.root_cause.map(|cause| (cause.summary, cited(&cause.citations), cause.confidence)),
                ruled_out: asked.ruled_out.into_iter().map(|ruled| (ruled.claim, cited(&ruled.citations))).collect(),
                unknowns: asked.unknowns,
            };
            run.desk().conclude(conclusion, &evidence)
        });
        match concluded {
            Ok(()) => Answer::said("the report is complete"),
            Err(error) => Answer::refused(error),
        }
    }
}
