//! What changed shortly before the alert: a section of every report that has something to say about it.

use chrono::TimeDelta;
use rounds_core::Timestamp;
use rounds_core::investigation::{ReadingId, Section};

use super::observe::Observed;
use super::rollout::{self, clock, spell};
use super::signatures::{Diagnosis, Remedy, brief};
use super::template::changes;

/// How long before the alert a change is near.
const NEAR: TimeDelta = TimeDelta::hours(1);
const SLACK: TimeDelta = TimeDelta::minutes(2);
/// The most differences that are listed.
const MOST: usize = 15;

/// The section; `None` when nothing changed that is known of.
pub(crate) fn section(observed: &Observed, diagnosis: Option<&Diagnosis>) -> Option<Section> {
    let mut parts: Vec<(String, Vec<ReadingId>)> = Vec::new();
    let undone = diagnosis.is_some_and(|diagnosis| matches!(diagnosis.remedy, Remedy::Undo { .. }));
    parts.extend(rolled_out(observed, undone));
    parts.extend(scaled(observed));
    if parts.is_empty() {
        return None;
    }
    if diagnosis.is_none() {
        parts.push(("The pods look healthy from outside, which does not clear the change.".into(), Vec::new()));
    }
    let body: Vec<&str> = parts.iter().map(|(text, _)| text.as_str()).collect();
    let mut citations: Vec<ReadingId> = parts.iter().flat_map(|(_, citations)| citations).copied().collect();
    citations.sort_unstable();
    citations.dedup();
    Some(Section::new("What changed shortly before", body.join("\n\n"), citations))
}

fn near(observed: &Observed, at: Timestamp) -> bool {
    (-SLACK..=NEAR).contains(&(observed.true_since() - at))
}

/// The newest rollout, and what it brought.
fn rolled_out(observed: &Observed, undone: bool) -> Option<(String, Vec<ReadingId>)> {
    let current = rollout::current(observed)?;
    let previous = rollout::previous(observed, current)?;
    let at = rollout::rolled_out_at(observed, current)?;
    if !(undone || near(observed, at) || rollout::is_unfinished(observed)) {
        return None;
    }
    let ago = (observed.true_since() - at).num_minutes();
    let when = if ago >= 0 {
        format!("{} before the condition became true", spell(ago))
    } else {
        format!("{} after the condition had become true", spell(-ago))
    };
    let mut text = format!("Revision {} was rolled out at {}, {when}.", current.number, clock(at));
    let found = changes(&previous.template, &current.template);
    if found.is_empty() {
        text.push_str(&format!(
            " Its pod template is that of revision {}: the pods were only restarted.",
            previous.number
        ));
    } else {
        let shown = found.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join("\n- ");
        text.push_str(&format!(" Compared with revision {} it changes:\n- {shown}", previous.number));
        if found.len() > MOST {
            text.push_str(&format!("\n- and {} more", found.len() - MOST));
        }
        // Charts and operators put a checksum of the configuration there, so that a change of it restarts the pods.
        if found.iter().any(|change| change.starts_with("metadata.annotations[") && change.contains("checksum")) {
            text.push_str(
                "\n\nA checksum annotation changed: the configuration that it stands for changed with this rollout.",
            );
        }
    }
    if let Some(cause) = observed.workload.annotations.get("kubernetes.io/change-cause") {
        text.push_str(&format!("\n\nIts change-cause annotation says: {}", brief(cause)));
    }
    Some((text, vec![observed.workload.reading, current.reading, previous.reading]))
}

/// Replicas that somebody, or an autoscaler, changed apart from the rollout.
fn scaled(observed: &Observed) -> Option<(String, Vec<ReadingId>)> {
    let current = rollout::current(observed)?;
    let rolled_out = rollout::rolled_out_at(observed, current);
    let apart = |at: Timestamp| rolled_out.is_none_or(|rollout| (at - rollout).abs() > TimeDelta::minutes(10));
    let lately: Vec<(Timestamp, &super::kube::Event)> = observed
        .events
        .iter()
        .filter(|event| event.about == observed.workload.name && event.reason == "ScalingReplicaSet")
        .filter_map(|event| event.last.map(|at| (at, event)))
        .filter(|(at, _)| near(observed, *at) && apart(*at))
        .collect();
    let from = lately.len().saturating_sub(3);
    let lines: Vec<String> =
        lately[from..].iter().map(|(at, event)| format!("At {}: {}", clock(*at), brief(&event.message))).collect();
    let citations = lately[from..].iter().map(|(_, event)| event.reading).collect();
    (!lines.is_empty()).then(|| (lines.join("\n"), citations))
}
