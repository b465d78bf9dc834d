use chrono::TimeDelta;

use super::{Diagnosis, Remedy, rollout_part};
use crate::playbook::kube::{Container, Ended, Pod};
use crate::playbook::observe::Observed;
use crate::playbook::rollout;

/// Containers that the kernel killed at their memory limit: undo, when it began with a rollout. Otherwise nobody
/// here knows how much memory is right, and there is a report.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let since = observed.true_since() - TimeDelta::hours(1);
    let killed = |container: &&Container| {
        let ends = [&container.ended, &container.ended_before];
        let fresh = |end: &Ended| end.reason == "OOMKilled" && end.at.is_none_or(|at| at >= since);
        ends.into_iter().flatten().any(fresh)
    };
    // A pod that was killed and came back counts as well: that is how an error rate rises between restarts.
    let pods: Vec<(&Pod, &Container)> = observed
        .pods
        .iter()
        .flatten()
        .filter(|pod| pod.is_live())
        .filter_map(|pod| pod.containers.iter().find(killed).map(|container| (pod, container)))
        .collect();
    let (pod, container) = *pods.first()?;
    let part = rollout_part(observed, &pods);
    let limit = container.memory_limit.as_ref().map(|limit| format!(" of {limit}")).unwrap_or_default();
    let mut citations = super::readings(&pods);
    citations.extend(part.citations);
    let mut findings = vec![(
        format!(
            "Pod {}: container {} was killed at its memory limit{limit} and has been restarted {} times.",
            pod.name, container.name, container.restarts
        ),
        vec![pod.reading],
    )];
    findings.extend(part.findings);
    let mut advice = part.advice;
    let remedy = match part.remedy {
        Remedy::None(why) => {
            advice.push(format!(
                "Find out whether container {} leaks (its use grows until it is killed) or its work needs more: then raise \
                 the memory limit{limit} in the manifest.",
                container.name
            ));
            Remedy::None(format!("{why}; how much memory would be right cannot be read off the cluster"))
        }
        undo => undo,
    };
    Some(Diagnosis {
        signature: "out_of_memory",
        cause: format!(
            "container {} is killed at its memory limit{limit} in {}{}",
            container.name,
            super::count(observed, &pods),
            part.tie
        ),
        citations,
        findings,
        since: rollout::onset(observed, &pods.iter().map(|(pod, _)| *pod).collect::<Vec<_>>()),
        remedy,
        advice,
    })
}
