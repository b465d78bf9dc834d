use chrono::TimeDelta;

use super::{Diagnosis, Remedy, brief, undo_part};
use crate::playbook::kube::Pod;
use crate::playbook::observe::Observed;
use crate::playbook::rollout;

/// A new pod that fails its probes for this long is not merely starting.
const PATIENCE: TimeDelta = TimeDelta::minutes(2);

/// A rollout whose new pods do not become ready, for a reason that no other signature knows: undo. The rollout is the
/// cause and a failing probe its symptom, so this comes before `readiness_probe`.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let workload = &observed.workload;
    let current = rollout::current(observed);
    let failing: Vec<&Pod> =
        observed.failing().into_iter().filter(|pod| current.is_some_and(|current| current.made(pod))).collect();
    let unhealthy =
        |pod: &Pod| observed.events.iter().rev().find(|event| event.about == pod.name && event.reason == "Unhealthy");
    let deadline = workload
        .condition("Progressing")
        .filter(|condition| condition.status == "False" && condition.reason == "ProgressDeadlineExceeded");
    // The deadline is ten minutes by default, and alerts fire sooner: failed probes of pods that are not young
    // any more say the same.
    let probes = failing
        .iter()
        .filter(|pod| pod.created.is_some_and(|created| observed.now - created >= PATIENCE))
        .find_map(|pod| unhealthy(pod).map(|event| (*pod, event)))
        .filter(|_| rollout::is_unfinished(observed));
    let mut citations = vec![workload.reading];
    let mut findings = Vec::new();
    let (what, since) = match (deadline, probes) {
        (Some(condition), _) => {
            findings.push((format!("The deployment says: {}", brief(&condition.message)), vec![workload.reading]));
            ("it made no progress before its deadline", condition.since)
        }
        (None, Some((_, event))) => ("its new pods fail their probes", event.first),
        (None, None) => return None,
    };
    if let Some(pod) = failing.first() {
        citations.push(pod.reading);
        match unhealthy(pod) {
            Some(event) => findings.push((
                format!("Pod {} does not become ready: {}", pod.name, brief(&event.message)),
                vec![pod.reading, event.reading],
            )),
            None => findings.push((format!("Pod {} does not become ready.", pod.name), vec![pod.reading])),
        }
    }
    let (mut advice, mut tie) = (Vec::new(), String::new());
    let remedy = match rollout::undo(observed, &failing) {
        Ok(undo) => {
            let part = undo_part(observed, &undo, &failing);
            findings.extend(part.findings);
            citations.extend(part.citations);
            advice = part.advice;
            advice.push("If the new pods only take long to start, wait instead.".into());
            tie = part.tie;
            part.remedy
        }
        Err(why) => Remedy::None(why),
    };
    Some(Diagnosis {
        signature: "stuck_rollout",
        cause: format!(
            "the rollout of {} is stuck: {} of {} pods are ready, and {what}{tie}",
            workload.object(),
            workload.ready,
            workload.desired.unwrap_or_default()
        ),
        citations,
        findings,
        since,
        remedy,
        advice,
    })
}
