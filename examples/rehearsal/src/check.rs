//! What must come of an incident.

use rounds_core::investigation::{EvidenceSource, Report};
use rounds_core::plan::Plan;
use serde::{Deserialize, Serialize};

/// What must come of an incident. What is not said is not checked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expectations {
    /// Whether a plan must be proposed, or must not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<bool>,
    /// What the report mentions, upper or lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mention: Vec<String>,
    /// What it does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_mention: Vec<String>,
    /// Parts of commands or queries that a conclusion rests on: the cause, a section, or what is ruled out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cite: Vec<String>,
    /// Parts of the plan's commands, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan_runs: Vec<String>,
    /// Parts of the rescue plan's commands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rescue_runs: Vec<String>,
    /// Parts of commands that are neither run nor proposed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forbidden: Vec<String>,
    /// The beginning of the limit that ends it; empty: none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

/// An expectation that was not met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// Which.
    pub expectation: String,
    /// What was found instead.
    pub found: String,
}

impl Expectations {
    /// What was not met.
    #[must_use]
    pub fn check(&self, report: &Report, plan: Option<&Plan>, rescue: Option<&Plan>) -> Vec<Failed> {
        let mut failed = Vec::new();
        let mut miss = |expectation: String, found: String| failed.push(Failed { expectation, found });
        if let Some(wanted) = self.plan
            && wanted != plan.is_some()
        {
            let refused = report.refused_proposal.clone().unwrap_or_else(|| "none was proposed".into());
            miss(format!("plan: {wanted}"), plan.map_or(refused, |plan| plan.summary.clone()));
        }
        let text = words(report).to_lowercase();
        for part in self.mention.iter().filter(|part| !text.contains(&part.to_lowercase())) {
            miss(format!("mention: {part}"), report.summary.clone());
        }
        for part in self.not_mention.iter().filter(|part| text.contains(&part.to_lowercase())) {
            miss(format!("notMention: {part}"), "it is mentioned".into());
        }
        let cited = cited(report);
        for part in self.cite.iter().filter(|part| !cited.iter().any(|source| source.contains(part.as_str()))) {
            miss(format!("cite: {part}"), format!("cited: {}", cited.join("; ")));
        }
        for (what, wanted, found) in [("planRuns", &self.plan_runs, plan), ("rescueRuns", &self.rescue_runs, rescue)] {
            let commands = commands(found);
            let mut rest = commands.iter();
            for part in wanted {
                if !rest.any(|command| command.contains(part.as_str())) {
                    miss(format!("{what}: {part}"), format!("runs: {}", commands.join("; ")));
                }
            }
        }
        let ran = report.evidence.iter().filter(|reading| reading.ok).map(|reading| source(&reading.source).to_owned());
        let all: Vec<String> = ran.chain(commands(plan)).chain(commands(rescue)).collect();
        for part in &self.forbidden {
            if let Some(found) = all.iter().find(|command| command.contains(part.as_str())) {
                miss(format!("forbidden: {part}"), found.clone());
            }
        }
        if let Some(wanted) = &self.limit {
            let found = report.limit.clone().unwrap_or_default();
            if !found.starts_with(wanted.as_str()) || wanted.is_empty() != found.is_empty() {
                miss(format!("limit: {wanted}"), found);
            }
        }
        failed
    }
}

/// Everything that a report says.
fn words(report: &Report) -> String {
    let mut parts = vec![report.summary.clone()];
    parts.extend(report.root_cause.iter().map(|cause| cause.summary.clone()));
    parts.extend(report.sections.iter().flat_map(|section| [section.title.clone(), section.body.clone()]));
    parts.extend(report.ruled_out.iter().map(|ruled| ruled.claim.clone()));
    parts.extend(report.unknowns.iter().cloned());
    parts.join("\n")
}

/// Where the readings come from that conclusions rest on.
fn cited(report: &Report) -> Vec<String> {
    let cause = report.root_cause.iter().flat_map(|cause| &cause.citations);
    let sections = report.sections.iter().flat_map(|section| &section.citations);
    let ruled_out = report.ruled_out.iter().flat_map(|ruled| &ruled.citations);
    let mut ids: Vec<_> = cause.chain(sections).chain(ruled_out).collect();
    ids.sort_unstable();
    ids.dedup();
    let of = |id| report.evidence.iter().find(|reading| reading.id == id);
    ids.into_iter().filter_map(|id| of(*id)).map(|reading| source(&reading.source).to_owned()).collect()
}

fn source(source: &EvidenceSource) -> &str {
    match source {
        EvidenceSource::Query { expr, .. } => expr,
        EvidenceSource::Command { command, .. } => command,
        _ => "",
    }
}

fn commands(plan: Option<&Plan>) -> Vec<String> {
    plan.into_iter().flat_map(|plan| &plan.steps).map(|step| step.review.command_text.clone()).collect()
}
