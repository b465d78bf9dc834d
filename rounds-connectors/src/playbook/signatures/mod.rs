//! Known failure signatures. Each is a pure function over what was read.

mod cannot_start;
mod crash_loop;
mod image_pull;
mod out_of_memory;
mod pending;
mod saturated;
mod scaled_to_zero;
mod stuck_rollout;
#[cfg(test)]
mod tests;

use rounds_core::Timestamp;
use rounds_core::investigation::ReadingId;

use super::kube::{Container, Pod};
use super::observe::Observed;
use super::rollout::{self, Undo, clock};

/// What would put it right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Go back to an earlier revision; then delete pods that the controller would wait for in vain.
    Undo { from: i64, to: i64, stuck_pods: Vec<String> },
    /// Change the number of replicas.
    Scale { from: i64, to: i64 },
    /// Let the autoscaler go higher.
    RaiseMaximum { hpa: String, from: i64, to: i64 },
    /// Nothing that is known to be right; the reason is for the report.
    None(String),
}

/// What a signature concludes.
#[derive(Debug, Clone)]
pub(crate) struct Diagnosis {
    /// The signature, as a word.
    pub(crate) signature: &'static str,
    /// The cause in one sentence.
    pub(crate) cause: String,
    /// The readings behind it.
    pub(crate) citations: Vec<ReadingId>,
    /// What was found, as paragraphs of their own.
    pub(crate) findings: Vec<(String, Vec<ReadingId>)>,
    /// Since when.
    pub(crate) since: Option<Timestamp>,
    pub(crate) remedy: Remedy,
    /// What a person could do beside, or instead.
    pub(crate) advice: Vec<String>,
}

type Signature = fn(&Observed) -> Option<Diagnosis>;

/// The most specific first: the first that applies is the diagnosis.
const SIGNATURES: [Signature; 8] = [
    scaled_to_zero::diagnose,
    image_pull::diagnose,
    cannot_start::diagnose,
    out_of_memory::diagnose,
    crash_loop::diagnose,
    pending::diagnose,
    stuck_rollout::diagnose,
    saturated::diagnose,
];

/// The diagnosis of what was read, when a signature knows it.
pub(crate) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    SIGNATURES.iter().find_map(|signature| signature(observed))
}

/// Failing pods with the container that shows a symptom.
fn affected(observed: &Observed, shows: impl Fn(&Container) -> bool) -> Vec<(&Pod, &Container)> {
    let failing = observed.failing();
    failing
        .into_iter()
        .filter_map(|pod| pod.containers.iter().find(|container| shows(container)).map(|container| (pod, container)))
        .collect()
}

/// Each pod's reading once, so that a claim about pods cites them all.
fn readings(pods: &[(&Pod, &Container)]) -> Vec<ReadingId> {
    let mut readings: Vec<ReadingId> = pods.iter().map(|(pod, _)| pod.reading).collect();
    readings.sort_unstable();
    readings.dedup();
    readings
}

/// The end of a diagnosis that may be put right by undoing the rollout: remedy, findings, and the words that tie
/// the cause to the rollout.
struct RolloutPart {
    tie: String,
    remedy: Remedy,
    findings: Vec<(String, Vec<ReadingId>)>,
    citations: Vec<ReadingId>,
    advice: Vec<String>,
}

fn rollout_part(observed: &Observed, pods: &[(&Pod, &Container)]) -> RolloutPart {
    let failing: Vec<&Pod> = pods.iter().map(|(pod, _)| *pod).collect();
    match rollout::undo(observed, &failing) {
        Ok(undo) => undo_part(observed, &undo, &failing),
        Err(why) => RolloutPart {
            tie: String::new(),
            remedy: Remedy::None(why),
            findings: Vec::new(),
            citations: Vec::new(),
            advice: Vec::new(),
        },
    }
}

fn undo_part(observed: &Observed, undo: &Undo<'_>, failing: &[&Pod]) -> RolloutPart {
    let (from, to) = (undo.from, undo.good.revision);
    let shown: Vec<&str> = undo.changes.iter().take(12).map(String::as_str).collect();
    let findings = vec![
        (
            format!(
                "Revision {} was rolled out at {}. Compared with revision {} it changes:\n- {}",
                from.number,
                clock(undo.at),
                to.number,
                shown.join("\n- ")
            ),
            vec![from.reading, to.reading],
        ),
        (format!("Revision {} is known to have run: {}.", to.number, undo.good.proof), undo.good.citations.clone()),
    ];
    let mut advice = vec![format!("Repair revision {} and roll it out again once it is known to work.", from.number)];
    // A stateful set waits for the broken pod before it touches any other, the undone template included.
    let stuck_pods = if observed.workload.ordered {
        failing.iter().take(3).map(|pod| pod.name.clone()).collect()
    } else {
        Vec::new()
    };
    if let Some(manager) = observed.workload.managed_by() {
        advice.push(format!(
            "{manager} manages this workload: put the change right at its source, too, or it comes back."
        ));
    }
    RolloutPart {
        tie: format!(" since revision {} was rolled out at {}", from.number, clock(undo.at)),
        remedy: Remedy::Undo { from: from.number, to: to.number, stuck_pods },
        findings,
        citations: undo.citations.clone(),
        advice,
    }
}

/// "3 of 4 pods of deployment/web"
fn count(observed: &Observed, pods: &[(&Pod, &Container)]) -> String {
    let live = observed.pods.iter().flatten().filter(|pod| pod.is_live()).count();
    format!("{} of {} pods of {}", pods.len(), live, observed.workload.object())
}

/// The first words of a message of the cluster, on one line.
fn brief(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
