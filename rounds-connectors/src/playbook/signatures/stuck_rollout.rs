use super::{Diagnosis, Remedy, brief, undo_part};
use crate::playbook::kube::{Pod, WorkloadKind};
use crate::playbook::observe::Observed;
use crate::playbook::rollout;

/// A rollout that made no progress before its deadline, for a reason that no other signature knows: undo.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let workload = &observed.workload;
    if workload.kind != WorkloadKind::Deployment {
        return None;
    }
    let condition = workload.condition("Progressing")?;
    if condition.status != "False" || condition.reason != "ProgressDeadlineExceeded" {
        return None;
    }
    let current = rollout::current(observed);
    let failing: Vec<&Pod> =
        observed.failing().into_iter().filter(|pod| current.is_some_and(|current| current.made(pod))).collect();
    let mut citations = vec![workload.reading];
    let mut findings = vec![(format!("The deployment says: {}", brief(&condition.message)), vec![workload.reading])];
    if let Some(pod) = failing.first() {
        citations.push(pod.reading);
        let probes = observed.events.iter().rev().find(|event| event.about == pod.name && event.reason == "Unhealthy");
        match probes {
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
            tie = part.tie;
            part.remedy
        }
        Err(why) => Remedy::None(why),
    };
    Some(Diagnosis {
        signature: "stuck_rollout",
        cause: format!(
            "the rollout of {} is stuck: {} of {} pods are ready, and it made no progress before its deadline{tie}",
            workload.object(),
            workload.ready,
            workload.desired.unwrap_or_default()
        ),
        citations,
        findings,
        since: condition.since,
        remedy,
        advice,
    })
}
