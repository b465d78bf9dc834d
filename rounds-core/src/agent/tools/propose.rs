//! Proposals: data that is reviewed, dry-run and kept whole or not at all.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::super::desk::Desk;
use super::super::untrusted::clean;
use super::arguments::{Cite, Written, cited, connector, parse, spec};
use super::{Answer, Run, Tool};
use crate::access::Action;
use crate::canonical;
use crate::investigation::{Proposal, ProposedStep};
use crate::ports::{ProposalPreview, ToolSpec};
use crate::redact::redact;
use crate::step::Mode;

/// The longest summary and risk note.
const TEXT: usize = 2_000;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Step {
    #[serde(default)]
    /// The connector's name. May be left out when there is only one.
    connector: Option<String>,
    /// The command in words, one argument each, without the program's name: ["rollout", "undo", "deployment/web", "-n", "app"].
    #[serde(default)]
    argv: Vec<String>,
    /// The manifest, for commands that read one.
    #[serde(default)]
    stdin: Option<String>,
    /// The kind of step, for connectors whose steps are no commands.
    #[serde(default)]
    kind: Option<String>,
    /// The parameters of such a step, as the connector's description says.
    #[serde(default)]
    params: Option<Value>,
    /// What could go wrong, in one sentence, for the person who decides.
    #[serde(default)]
    risk_note: Option<String>,
    /// Whether later steps run although this one failed.
    #[serde(default)]
    continue_on_error: bool,
}

impl Step {
    fn proposed(self, run: &Run<'_>) -> Result<ProposedStep, String> {
        let written = Written {
            connector: self.connector,
            argv: self.argv,
            stdin: self.stdin,
            kind: self.kind,
            params: self.params,
        };
        let connector = connector(run.tools, written.connector.as_deref())?;
        let spec = written.spec()?;
        let params = canonical::to_string(&spec.params);
        if redact(&params, &[]) != params {
            return Err(
                "it holds what looks like a credential: plans are stored and shown, so they never hold one".into()
            );
        }
        let mut step = ProposedStep::new(connector.id, spec);
        step.risk_note = self.risk_note.map(|note| clean(&note, TEXT));
        step.continue_on_error = self.continue_on_error;
        Ok(step)
    }
}

fn proposal(run: &Run<'_>, summary: &str, steps: Vec<Step>) -> Result<Proposal, String> {
    let mut proposal = Proposal::new(clean(summary.trim(), TEXT));
    for (place, step) in steps.into_iter().enumerate() {
        proposal.steps.push(step.proposed(run).map_err(|error| format!("step {place}: {error}"))?);
    }
    Ok(proposal)
}

/// Counts a refusal, and says what is left.
fn refused(run: &Run<'_>, reason: &str) -> Answer {
    let most = run.settings.refused_proposals;
    let mut desk = run.desk();
    desk.refused += 1;
    let left = match most.saturating_sub(desk.refused) {
        0 => "No proposal is taken any more in this run: finish with the report.".to_owned(),
        left => format!("Nothing was kept. {left} more may be tried; a report without a plan is a good result, too."),
    };
    Answer::refused(format!("The proposal is refused: {}\n{left}", clean(reason, 8_000)))
}

fn spent(run: &Run<'_>) -> Option<Answer> {
    let most = run.settings.refused_proposals;
    (run.desk().refused >= most)
        .then(|| Answer::refused(format!("{most} proposals were refused in this run: finish with the report")))
}

/// What gate and server say of a proposal, for the model.
fn shown(run: &Run<'_>, preview: &ProposalPreview) -> String {
    let mut text = String::new();
    for (place, step) in preview.steps.iter().enumerate() {
        let review = &step.review;
        text.push_str(&format!("step {place} ({}): {}\n{}\n", review.tier, review.command_text, step.dry_run));
    }
    run.fenced("What the gate will show, and what the server's dry-run says", &text)
}

/// A plan.
pub(super) struct ProposePlan;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PlanArguments {
    /// What the plan does and why, in a sentence or two.
    summary: String,
    /// The root cause that it removes, in one sentence.
    cause: String,
    /// The readings behind the cause, at least one that was answered.
    citations: Vec<Cite>,
    /// The steps, in order.
    steps: Vec<Step>,
}

#[async_trait]
impl Tool for ProposePlan {
    fn spec(&self) -> ToolSpec {
        spec::<PlanArguments>(
            "propose_plan",
            "Proposes a plan for a person to decide about. It is reviewed by the gate and dry-run by the server, all or \
             nothing. Replaces a plan that was proposed before in this run.",
        )
    }

    fn action(&self) -> Action {
        Action::PlansPropose
    }

    fn reads(&self) -> bool {
        false
    }

    fn is_of_use(&self, run: &Run<'_>) -> bool {
        !run.tools.connectors().is_empty()
    }

    async fn call(&self, run: &Run<'_>, arguments: &Value) -> Answer {
        if let Some(spent) = spent(run) {
            return spent;
        }
        let prepared = parse::<PlanArguments>(arguments).and_then(|asked| {
            let plan = proposal(run, &asked.summary, asked.steps)?;
            Ok((plan, asked.cause, cited(&asked.citations)))
        });
        let (plan, cause, citations) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return refused(run, &error),
        };
        // Before anything is asked of a server: a plan without evidence is none.
        let cause = Desk::cause_of_a_plan(&cause, citations, &run.tools.evidence());
        let cause = match cause {
            Ok(cause) => cause,
            Err(error) => return refused(run, &error),
        };
        let preview = match run.tools.preview(&plan).await {
            Ok(preview) => preview,
            Err(reason) => return refused(run, &reason),
        };
        let back = match &preview.way_back {
            Some(back) => format!("The way back is known and kept as its rescue plan, in {} steps.", back.steps.len()),
            None => "No way back is known for it; propose_rescue_plan can add one.".to_owned(),
        };
        let told = shown(run, &preview);
        run.desk().keep_plan(plan, cause, preview.way_back);
        Answer::said(format!(
            "The plan is kept; a person will decide. {back} If the dry-run shows that it would not do what you meant, propose \
             another; otherwise complete the report.\n{told}"
        ))
    }
}

/// The way back from the plan.
pub(super) struct ProposeRescuePlan;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RescueArguments {
    /// What it brings back, in a sentence.
    summary: String,
    /// Steps that the generated way back lacks, in order.
    steps: Vec<Step>,
}

#[async_trait]
impl Tool for ProposeRescuePlan {
    fn spec(&self) -> ToolSpec {
        spec::<RescueArguments>(
            "propose_rescue_plan",
            "Adds steps to the way back from the plan that was proposed, after those that are made from what is there now. It \
             is never run unless a person starts it.",
        )
    }

    fn action(&self) -> Action {
        Action::PlansPropose
    }

    fn reads(&self) -> bool {
        false
    }

    fn is_of_use(&self, run: &Run<'_>) -> bool {
        !run.tools.connectors().is_empty()
    }

    async fn call(&self, run: &Run<'_>, arguments: &Value) -> Answer {
        if let Some(spent) = spent(run) {
            return spent;
        }
        let known = {
            let desk = run.desk();
            if desk.findings().plan.is_none() {
                return Answer::refused("there is no plan to take back: propose one first");
            }
            desk.way_back.clone()
        };
        let prepared = parse::<RescueArguments>(arguments).and_then(|asked| proposal(run, &asked.summary, asked.steps));
        let added = match prepared {
            Ok(added) => added,
            Err(error) => return refused(run, &error),
        };
        let mut rescue = Proposal::new(added.summary);
        rescue.steps = known.map(|known| known.steps).unwrap_or_default();
        for step in added.steps {
            if !stands_in(run, &rescue, &step).await {
                rescue.steps.push(step);
            }
        }
        match run.tools.preview(&rescue).await {
            Ok(preview) => {
                let told = shown(run, &preview);
                run.desk().keep_rescue(rescue);
                Answer::said(format!("The rescue plan is kept.\n{told}"))
            }
            Err(reason) => refused(run, &reason),
        }
    }
}

/// Whether a proposal has such a step already, however it is written.
async fn stands_in(run: &Run<'_>, proposal: &Proposal, step: &ProposedStep) -> bool {
    let canonical = run.tools.review(step.connector_id, &step.spec, Mode::Write).await;
    for other in proposal.steps.iter().filter(|other| other.connector_id == step.connector_id) {
        if other.spec == step.spec {
            return true;
        }
        let reviewed = run.tools.review(other.connector_id, &other.spec, Mode::Write).await;
        if canonical.is_ok() && reviewed == canonical {
            return true;
        }
    }
    false
}
