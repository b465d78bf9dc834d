//! Known failure signatures. Each is a pure function over what was read.

mod cannot_start;
mod crash_loop;
mod evicted;
mod hpa_at_maximum;
mod image_pull;
mod killed_by_probe;
mod lack_of_resources;
mod missing_reference;
mod node_not_ready;
mod out_of_memory;
mod pending;
mod quota_exceeded;
mod readiness_probe;
#[cfg(test)]
mod recorded_tests;
mod saturated;
mod scaled_to_zero;
mod service_without_endpoints;
mod stuck_rollout;
#[cfg(test)]
mod tests;
mod unbound_claim;
mod volume_not_attached;

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

/// Causes before their symptoms, and the specific before the general: the first that applies is the diagnosis. A
/// lost node or a full quota makes pods pending and rollouts stuck; a container that is killed also crashes; pods
/// that fail leave a service without endpoints and an autoscaler at its maximum.
const SIGNATURES: [Signature; 19] = [
    scaled_to_zero::diagnose,
    node_not_ready::diagnose,
    image_pull::diagnose,
    missing_reference::diagnose,
    cannot_start::diagnose,
    out_of_memory::diagnose,
    killed_by_probe::diagnose,
    crash_loop::diagnose,
    evicted::diagnose,
    quota_exceeded::diagnose,
    volume_not_attached::diagnose,
    unbound_claim::diagnose,
    lack_of_resources::diagnose,
    pending::diagnose,
    stuck_rollout::diagnose,
    readiness_probe::diagnose,
    service_without_endpoints::diagnose,
    hpa_at_maximum::diagnose,
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

/// What each container of a pod asks for.
fn requests(observed: &Observed) -> String {
    let mut asks: Vec<String> = Vec::new();
    for container in super::kube::items(&observed.workload.template, "/spec/containers") {
        let name = super::kube::text(container, "/name").unwrap_or_default();
        let requests = super::kube::strings(container, "/resources/requests");
        if !requests.is_empty() {
            let words: Vec<String> = requests.iter().map(|(resource, amount)| format!("{resource} {amount}")).collect();
            asks.push(format!("{name}: {}", words.join(", ")));
        }
    }
    if asks.is_empty() { "nothing".into() } else { asks.join("; ") }
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
    rollout_part_since(observed, pods, rollout::onset(observed, &failing))
}

/// The same for a failure whose pods do not tell when it began.
fn rollout_part_since(observed: &Observed, pods: &[(&Pod, &Container)], since: Option<Timestamp>) -> RolloutPart {
    let failing: Vec<&Pod> = pods.iter().map(|(pod, _)| *pod).collect();
    match rollout::undo_since(observed, &failing, since) {
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
    let mut begins = format!("Revision {} was rolled out at {}.", from.number, clock(undo.at));
    // The report lists what a revision changes of the one before it; here only what it does not say there.
    if rollout::previous(observed, from).is_some_and(|previous| previous.number != to.number) {
        let shown: Vec<&str> = undo.changes.iter().take(12).map(String::as_str).collect();
        begins.push_str(&format!(" Compared with revision {} it changes:\n- {}", to.number, shown.join("\n- ")));
    }
    let findings = vec![
        (begins, vec![from.reading, to.reading]),
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

/// "1 pod", "3 pods"
fn count_of(pods: usize) -> String {
    if pods == 1 { "1 pod".into() } else { format!("{pods} pods") }
}

/// "3 of 4 pods of deployment/web"
fn count(observed: &Observed, pods: &[(&Pod, &Container)]) -> String {
    let live = observed.pods.iter().flatten().filter(|pod| pod.is_live()).count();
    format!("{} of {} pods of {}", pods.len(), live, observed.workload.object())
}

/// The first words of a message of the cluster, on one line.
pub(crate) fn brief(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
