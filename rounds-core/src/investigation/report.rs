use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ModelUse;
use crate::id::ConnectorId;
use crate::step::StepSpec;
use crate::time::Timestamp;

/// Names one reading of one run: `R1`, `R2`, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ReadingId(pub u32);

impl fmt::Display for ReadingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "R{}", self.0)
    }
}

/// Where a reading came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "type")]
#[non_exhaustive]
pub enum EvidenceSource {
    /// A datasource was asked.
    Query {
        /// The datasource; `None`: none could be found.
        datasource_id: Option<ConnectorId>,
        /// What was asked, for people.
        expr: String,
        /// The PromQL alone, when numbers were asked for: what a chart asks for again. `None` when a part of it looked
        /// like a credential, because it is not kept then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metric: Option<String>,
    },
    /// A command was run in read mode.
    Command {
        /// The connector.
        connector_id: ConnectorId,
        /// The canonical command, or what was asked when the gate refused it.
        command: String,
    },
}

/// A reading, kept with the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// What sections cite.
    pub id: ReadingId,
    /// Where it came from.
    pub source: EvidenceSource,
    /// When it was read.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Whether an answer came.
    pub ok: bool,
    /// The beginning of the answer, or the error. Capped.
    pub excerpt: String,
    /// Whether the excerpt is less than the answer.
    pub truncated: bool,
}

/// A part of a report, with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Section {
    /// The heading.
    pub title: String,
    /// The text.
    pub body: String,
    /// The readings it rests on.
    pub citations: Vec<ReadingId>,
}

impl Section {
    /// A part of a report that rests on these readings.
    pub fn new(
        title: impl Into<String>,
        body: impl Into<String>,
        citations: impl IntoIterator<Item = ReadingId>,
    ) -> Self {
        Self { title: title.into(), body: body.into(), citations: citations.into_iter().collect() }
    }
}

/// Why the alert fires, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RootCause {
    /// The cause in one sentence.
    pub summary: String,
    /// The readings behind it. A plan needs at least one.
    pub citations: Vec<ReadingId>,
    /// How sure the investigator is.
    #[serde(default)]
    pub confidence: Option<Confidence>,
}

/// How sure an investigator is of a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// It fits what was read, and so would something else.
    Low,
    /// It is the best explanation of what was read.
    Medium,
    /// What was read shows it.
    High,
}

impl Confidence {
    /// The word that rows and pages use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// A cause that was looked into and is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RuledOut {
    /// What it is not, in a sentence.
    pub claim: String,
    /// The readings that show it: each was answered, for a source that could not be read rules nothing out.
    pub citations: Vec<ReadingId>,
}

impl RuledOut {
    /// A cause that these readings rule out.
    pub fn new(claim: impl Into<String>, citations: impl IntoIterator<Item = ReadingId>) -> Self {
        Self { claim: claim.into(), citations: citations.into_iter().collect() }
    }
}

/// One call of a tool by a model, as it happened: what it asked for and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ToolUse {
    /// The tool.
    pub tool: String,
    /// Its arguments as JSON, redacted and capped: a model wrote them.
    pub arguments: String,
    /// The readings that it made.
    pub readings: Vec<ReadingId>,
    /// Why it did not do what was asked: a refusal, wrong arguments, a source that could not be read.
    pub error: Option<String>,
    /// When it was called.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl ToolUse {
    /// A call that begins at this moment.
    pub fn new(tool: impl Into<String>, arguments: impl Into<String>, at: Timestamp) -> Self {
        Self { tool: tool.into(), arguments: arguments.into(), readings: Vec::new(), error: None, at, duration_ms: 0 }
    }
}

impl RootCause {
    /// A cause that rests on these readings.
    pub fn new(summary: impl Into<String>, citations: impl IntoIterator<Item = ReadingId>) -> Self {
        Self { summary: summary.into(), citations: citations.into_iter().collect(), confidence: None }
    }

    /// The same cause with how sure the investigator is.
    #[must_use]
    pub fn with_confidence(mut self, confidence: Confidence) -> Self {
        self.confidence = Some(confidence);
        self
    }
}

/// A step as an investigator or a person proposes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ProposedStep {
    /// Where it is to run.
    pub connector_id: ConnectorId,
    /// What is to run.
    #[serde(flatten)]
    pub spec: StepSpec,
    /// Whether a failure lets later steps run.
    #[serde(default)]
    pub continue_on_error: bool,
    /// What could go wrong, for the person who decides.
    #[serde(default)]
    pub risk_note: Option<String>,
}

impl ProposedStep {
    /// A step on a connector.
    #[must_use]
    pub fn new(connector_id: ConnectorId, spec: StepSpec) -> Self {
        Self { connector_id, spec, continue_on_error: false, risk_note: None }
    }

    /// The same step, whose failure lets later steps run.
    #[must_use]
    pub fn continue_on_error(mut self) -> Self {
        self.continue_on_error = true;
        self
    }

    /// The same step with what could go wrong.
    #[must_use]
    pub fn with_risk_note(mut self, note: impl Into<String>) -> Self {
        self.risk_note = Some(note.into());
        self
    }
}

/// A plan as an investigator or a person proposes it: all or nothing. As JSON, a step's kind and parameters stand beside its
/// connector:
///
/// ```json
/// { "summary": "…", "steps": [
///     { "connectorId": "018f…", "kind": "ops.run_command", "params": { "argv": ["restart", "nginx.service"] },
///       "continueOnError": false, "riskNote": "…" }
/// ] }
/// ```
///
/// ```
/// use rounds_core::ConnectorId;
/// use rounds_core::investigation::Proposal;
/// use rounds_core::step::StepSpec;
///
/// # let edge = ConnectorId::new();
/// # let json = format!(r#"{{ "summary": "x", "steps": [
/// #     {{ "connectorId": "{edge}", "kind": "ops.run_command", "params": {{ "argv": ["status", "nginx.service"] }} }}
/// # ] }}"#);
/// # serde_json::from_str::<Proposal>(&json).unwrap();
/// let plan = Proposal::new("Bring the web server back")
///     .step(edge, StepSpec::command(["restart", "nginx.service"]))
///     .step(edge, StepSpec::command(["status", "nginx.service"]));
/// assert_eq!(plan.steps.len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Proposal {
    /// What it does and why, in a sentence.
    pub summary: String,
    /// The steps, in order; at least one.
    pub steps: Vec<ProposedStep>,
}

impl Proposal {
    /// A plan without steps yet; one that stays so is refused.
    pub fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), steps: Vec::new() }
    }

    /// The same plan with one more step, on a connector.
    #[must_use]
    pub fn step(self, connector_id: ConnectorId, spec: StepSpec) -> Self {
        self.with_steps([ProposedStep::new(connector_id, spec)])
    }

    /// The same plan with more steps.
    #[must_use]
    pub fn with_steps(mut self, steps: impl IntoIterator<Item = ProposedStep>) -> Self {
        self.steps.extend(steps);
        self
    }
}

/// What an investigator found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// The outcome in a sentence.
    pub summary: String,
    /// The cause, when one was found.
    pub root_cause: Option<RootCause>,
    /// The report.
    pub sections: Vec<Section>,
    /// What it is not.
    pub ruled_out: Vec<RuledOut>,
    /// What remains unknown.
    pub unknowns: Vec<String>,
    /// The calls of its tools, when a model drove it.
    pub calls: Vec<ToolUse>,
    /// The limit that ended the run before it was done.
    pub limit: Option<String>,
    /// Who really wrote it, when that is not the investigator that was asked: one of several that it chose from.
    pub written_by: Option<String>,
    /// The version of the prompt, when a model drove it.
    pub prompt_version: Option<String>,
    /// What to do about it, when there is an actionable fix in the scope of a connector.
    pub plan: Option<Proposal>,
    /// How to undo the plan, when that is known.
    pub rescue: Option<Proposal>,
}

/// A report as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The outcome in a sentence.
    pub summary: String,
    /// The cause, when one was found.
    pub root_cause: Option<RootCause>,
    /// The parts.
    pub sections: Vec<Section>,
    /// What it is not.
    #[serde(default)]
    pub ruled_out: Vec<RuledOut>,
    /// What remains unknown.
    pub unknowns: Vec<String>,
    /// Every reading of the run, cited or not.
    pub evidence: Vec<Evidence>,
    /// The calls of its tools, when a model drove the run.
    #[serde(default)]
    pub calls: Vec<ToolUse>,
    /// The limit that ended the run before it was done; the report is what there was by then.
    #[serde(default)]
    pub limit: Option<String>,
    /// Who wrote it.
    #[serde(default)]
    pub written_by: Option<String>,
    /// The version of the prompt, when a model drove the run.
    #[serde(default)]
    pub prompt_version: Option<String>,
    /// The model and what it cost, when one was used.
    #[serde(default)]
    pub model: Option<ModelUse>,
    /// Why a proposed plan was not stored, when one was refused.
    pub refused_proposal: Option<String>,
}

/// A claim that rests on nothing that was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CitationError {
    /// A citation names a reading that never happened in this run.
    #[error("{place} cites {cited}, which was not read in this run (readings: {known})")]
    NotRead {
        /// The section or cause.
        place: String,
        /// What it cites.
        cited: ReadingId,
        /// What there is.
        known: String,
    },
    /// A cause is ruled out by something that was not read.
    #[error("\"{claim}\" is ruled out by {cited}, which could not be read: that rules nothing out")]
    RuledOutUnread {
        /// What is ruled out.
        claim: String,
        /// What it cites.
        cited: ReadingId,
    },
    /// A cause is ruled out by nothing at all.
    #[error("\"{claim}\" is ruled out without a citation: at least one reading is needed")]
    RuledOutUncited {
        /// What is ruled out.
        claim: String,
    },
    /// A plan was proposed without a cited reading behind its cause.
    #[error("a plan needs a root cause that cites at least one successful reading")]
    PlanWithoutEvidence,
}

impl Findings {
    /// The report that is kept, with what was read and what it cost. `investigator` wrote it, unless the findings say
    /// otherwise.
    #[must_use]
    pub fn report(&self, investigator: &str, evidence: Vec<Evidence>, model: Option<ModelUse>) -> Report {
        Report {
            summary: self.summary.clone(),
            root_cause: self.root_cause.clone(),
            sections: self.sections.clone(),
            ruled_out: self.ruled_out.clone(),
            unknowns: self.unknowns.clone(),
            evidence,
            calls: self.calls.clone(),
            limit: self.limit.clone(),
            written_by: Some(self.written_by.clone().unwrap_or_else(|| investigator.to_owned())),
            prompt_version: self.prompt_version.clone(),
            model,
            refused_proposal: None,
        }
    }

    /// Checks that every citation names a reading of this run, and that a plan has evidence behind its cause.
    ///
    /// # Errors
    /// The first claim that does not hold.
    pub fn check_citations(&self, evidence: &[Evidence]) -> Result<(), CitationError> {
        let read: BTreeSet<ReadingId> = evidence.iter().map(|reading| reading.id).collect();
        let cause = self.root_cause.iter().map(|cause| ("the root cause".to_owned(), &cause.citations));
        let sections =
            self.sections.iter().map(|section| (format!("section \"{}\"", section.title), &section.citations));
        let ruled_out = self.ruled_out.iter().map(|ruled| (format!("\"{}\"", ruled.claim), &ruled.citations));
        for (place, citations) in cause.chain(sections).chain(ruled_out) {
            if let Some(cited) = citations.iter().find(|cited| !read.contains(cited)) {
                let known = match (read.first(), read.last()) {
                    (Some(first), Some(last)) => format!("{first} to {last}"),
                    _ => "none".to_owned(),
                };
                return Err(CitationError::NotRead { place, cited: *cited, known });
            }
        }
        for RuledOut { claim, citations } in &self.ruled_out {
            let claim = || claim.clone();
            if citations.is_empty() {
                return Err(CitationError::RuledOutUncited { claim: claim() });
            }
            if let Some(unread) = evidence.iter().find(|reading| !reading.ok && citations.contains(&reading.id)) {
                return Err(CitationError::RuledOutUnread { claim: claim(), cited: unread.id });
            }
        }
        let supported = self
            .root_cause
            .as_ref()
            .is_some_and(|cause| evidence.iter().any(|reading| reading.ok && cause.citations.contains(&reading.id)));
        if (self.plan.is_some() || self.rescue.is_some()) && !supported {
            return Err(CitationError::PlanWithoutEvidence);
        }
        Ok(())
    }
}
