//! From what was found to [`Findings`]: sections that cite, unknowns that are said.

use rounds_core::investigation::{Findings, ReadingId, RootCause, Section};
use rounds_core::ports::{FiredAlert, Toolbox};

use super::observe::{LogTail, Observed};
use super::recent;
use super::rescue;
use super::rollout::{self, clock};
use super::signatures::{Diagnosis, Remedy};

/// A workload that was looked at, with what was concluded.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) observed: Observed,
    pub(crate) diagnosis: Option<Diagnosis>,
}

/// What the rule's own query says now.
#[derive(Debug)]
pub(crate) struct Signal {
    pub(crate) reading: ReadingId,
    pub(crate) value: Option<f64>,
    pub(crate) holds: Option<bool>,
}

/// Writes the report. Only one clear culprit leads to a plan.
pub(crate) async fn findings(
    tools: &dyn Toolbox,
    alert: &FiredAlert,
    signal: Option<&Signal>,
    looked: Vec<Looked>,
    unknowns: Vec<String>,
) -> Findings {
    let mut findings = Findings { unknowns, ..Findings::default() };
    findings.sections.push(alert_section(alert, signal));
    let (mut known, mut rest): (Vec<Looked>, Vec<Looked>) =
        looked.into_iter().partition(|looked| looked.diagnosis.is_some());
    let fits = |looked: &Looked| {
        looked.diagnosis.as_ref().is_some_and(|diagnosis| does_not_fit(&looked.observed, diagnosis).is_none())
    };
    if known.iter().any(fits) {
        // What fails at another time than the alert is mentioned, and is not in the way of the one that fits.
        let (fitting, other): (Vec<Looked>, Vec<Looked>) = known.into_iter().partition(fits);
        known = fitting;
        rest.extend(other);
    }
    for Looked { observed, diagnosis } in &known {
        findings.sections.push(workload_section(observed));
        if let Some(diagnosis) = diagnosis {
            diagnosis_sections(observed, diagnosis, &mut findings.sections);
        }
        findings.sections.extend(recent::section(observed, diagnosis.as_ref()));
    }
    for Looked { observed, diagnosis } in &rest {
        let mut section = workload_section(observed);
        let change = match diagnosis {
            Some(diagnosis) => {
                section.body.push_str(&format!("\nIt fails, too ({}), at another time.", diagnosis.cause));
                None
            }
            None => recent::section(observed, None),
        };
        findings.sections.push(section);
        findings.sections.extend(change);
    }
    match known.as_slice() {
        [Looked { observed, diagnosis: Some(diagnosis) }] => {
            let place = format!(
                "{} in {} on {}",
                observed.workload.object(),
                observed.workload.namespace,
                observed.connector.name
            );
            findings.root_cause =
                Some(RootCause::new(format!("{} ({place}).", capital(&diagnosis.cause)), cited(&diagnosis.citations)));
            remedy(tools, observed, diagnosis, &mut findings).await;
            let outcome = if findings.plan.is_some() { "a plan is proposed" } else { "no plan is proposed" };
            findings.summary = format!("{}; {outcome}.", capital(&diagnosis.cause));
        }
        [] => {
            findings.summary = match rest.as_slice() {
                [] => "No workload could be linked to this alert; no plan is proposed.".into(),
                [Looked { observed, .. }] => format!(
                    "{} in {} shows none of the failures that the playbook knows ({} of {} pods ready); no plan is proposed.",
                    observed.workload.object(),
                    observed.workload.namespace,
                    observed.workload.ready,
                    observed.workload.desired.unwrap_or_default()
                ),
                several => format!(
                    "{} workloads were looked at and none shows a failure that the playbook knows; no plan is proposed.",
                    several.len()
                ),
            };
        }
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|looked| {
                    let workload = &looked.observed.workload;
                    format!("{} in {} on {}", workload.object(), workload.namespace, looked.observed.connector.name)
                })
                .collect();
            findings.summary = format!(
                "{} workloads fail and it is not clear which one the alert is about; no plan is proposed.",
                names.len()
            );
            findings.unknowns.push(format!(
                "which of these is behind the alert: {}. Labels such as `namespace` and `deployment` on the alert rule would \
                 say so",
                names.join("; ")
            ));
        }
    }
    findings
}

fn alert_section(alert: &FiredAlert, signal: Option<&Signal>) -> Section {
    let Some(rule) = &alert.rule else {
        let asked = alert.question.as_deref().unwrap_or("No alert rule is behind this investigation.");
        return Section::new("The question", asked, []);
    };
    let condition = &rule.condition;
    let mut body = format!(
        "Rule \"{}\" fires since {}: `{}` {} {}",
        rule.name,
        clock(alert.firing_since),
        condition.query,
        condition.operator,
        condition.threshold
    );
    if let Some(value) = alert.value {
        body.push_str(&format!(", with the value {value}"));
    }
    body.push('.');
    let mut citations = Vec::new();
    if let Some(signal) = signal {
        citations.push(signal.reading);
        body.push_str(&match (signal.value, signal.holds) {
            (Some(value), Some(true)) => format!(" Now it is {value}."),
            (Some(value), _) => format!(" Now it is {value}: the condition is not true any more."),
            (None, _) => " Now the query answers nothing.".into(),
        });
    }
    Section::new("The alert", body, citations)
}

fn workload_section(observed: &Observed) -> Section {
    let workload = &observed.workload;
    let mut body = format!(
        "{} in namespace {} on {}: {} of {} pods ready. Found because {}.",
        workload.object(),
        workload.namespace,
        observed.connector.name,
        workload.ready,
        workload.desired.map_or_else(|| "an unknown number of".to_owned(), |desired| desired.to_string()),
        observed.how
    );
    let mut citations = vec![workload.reading];
    if let Some(current) = rollout::current(observed) {
        let at = rollout::rolled_out_at(observed, current).map(|at| format!(", rolled out at {}", clock(at)));
        body.push_str(&format!(" Current revision: {}{}.", current.number, at.unwrap_or_default()));
        citations.push(current.reading);
    }
    if workload.paused {
        body.push_str(" Its rollout is paused.");
    }
    let failing = observed.failing();
    for pod in failing.iter().take(5) {
        let states: Vec<String> = pod
            .containers
            .iter()
            .filter(|container| !container.ready)
            .filter_map(|container| {
                let (reason, _) = container.waiting.as_ref()?;
                Some(format!("{} waits: {reason}", container.name))
            })
            .collect();
        let states = match states.as_slice() {
            [] if pod.unschedulable.is_some() => "has no node".to_owned(),
            [] => "not ready".to_owned(),
            states => states.join(", "),
        };
        body.push_str(&format!("\n- pod {} ({}): {states}", pod.name, pod.phase));
        citations.push(pod.reading);
    }
    if failing.len() > 5 {
        body.push_str(&format!("\n- and {} more", failing.len() - 5));
    }
    Section::new(format!("Workload {}", workload.object()), body, cited(&citations))
}

fn diagnosis_sections(observed: &Observed, diagnosis: &Diagnosis, sections: &mut Vec<Section>) {
    let body: Vec<&str> = diagnosis.findings.iter().map(|(text, _)| text.as_str()).collect();
    let citations: Vec<ReadingId> = diagnosis.findings.iter().flat_map(|(_, citations)| citations).copied().collect();
    sections.push(Section::new(
        format!("What was found: {}", diagnosis.signature.replace('_', " ")),
        body.join("\n\n"),
        cited(&citations),
    ));
    for log in observed.logs.iter().filter(|log| !log.lines.is_empty()) {
        sections.push(Section::new(
            format!("Last lines of container {} in pod {}", log.container, log.pod),
            fenced(log),
            [log.reading],
        ));
    }
    if !diagnosis.advice.is_empty() {
        sections.push(Section::new("What a person could do", format!("- {}", diagnosis.advice.join("\n- ")), []));
    }
}

/// Lines of a log between fences that the lines cannot close.
fn fenced(log: &LogTail) -> String {
    let text = log.lines.join("\n");
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest.max(2) + 1);
    format!("Written by the workload itself; quoted, not interpreted.\n{fence}text\n{text}\n{fence}")
}

async fn remedy(tools: &dyn Toolbox, observed: &Observed, diagnosis: &Diagnosis, findings: &mut Findings) {
    let refuse = |why: String, findings: &mut Findings| {
        let citations = vec![observed.workload.reading];
        findings.sections.push(Section::new("Why there is no plan", format!("{}.", capital(&why)), citations));
    };
    if let Remedy::None(why) = &diagnosis.remedy {
        return refuse(why.clone(), findings);
    }
    if let Some(why) = does_not_fit(observed, diagnosis) {
        return refuse(why, findings);
    }
    let Some(plans) = rescue::plans(observed, diagnosis) else { return };
    if let Err((ordinal, refusal)) = rescue::review(tools, &plans.plan).await {
        let why = format!(
            "step {} of the plan that would help is refused by the gate of {} ({}: {})",
            ordinal + 1,
            observed.connector.name,
            refusal.rule,
            refusal.message
        );
        return refuse(why, findings);
    }
    if let Err((_, refusal)) = rescue::review(tools, &plans.rescue).await {
        findings.unknowns.push(format!("there is no rescue plan, because the gate refuses it: {}", refusal.message));
    } else {
        findings.rescue = Some(plans.rescue);
    }
    findings.plan = Some(plans.plan);
}

/// A workload that no label names is the culprit only when its failure fits the alert in time.
fn does_not_fit(observed: &Observed, diagnosis: &Diagnosis) -> Option<String> {
    if observed.named {
        return None;
    }
    let object = observed.workload.object();
    let Some(since) = diagnosis.since else {
        return Some(format!("no label names {object}, and since when it fails is not known"));
    };
    let (earliest, latest) =
        (observed.true_since() - chrono::TimeDelta::hours(2), observed.firing_since + chrono::TimeDelta::minutes(5));
    let fits = (earliest..=latest).contains(&since);
    (!fits).then(|| {
        format!("no label names {object}, and it fails since {}, which does not fit the alert in time", clock(since))
    })
}

fn cited(citations: &[ReadingId]) -> Vec<ReadingId> {
    let mut citations = citations.to_vec();
    citations.sort_unstable();
    citations.dedup();
    citations
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
