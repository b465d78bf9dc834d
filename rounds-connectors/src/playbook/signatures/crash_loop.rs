use chrono::TimeDelta;

use super::{Diagnosis, affected, count, readings, rollout_part};
use crate::playbook::kube::Container;
use crate::playbook::observe::Observed;
use crate::playbook::rollout;

/// Containers that start and end again and again.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    // A container that crashed long before the alert and runs since is not the cause.
    let since = observed.true_since() - TimeDelta::hours(1);
    let shows = |container: &Container| {
        let ended = container.last_end().filter(|end| end.exit_code != Some(0) || !container.init);
        container.waits_for(&["CrashLoopBackOff"])
            || (container.ended.as_ref().is_some_and(|end| end.exit_code != Some(0)))
            || (!container.ready
                && container.restarts >= 2
                && ended.is_some_and(|end| end.at.is_none_or(|at| at >= since)))
    };
    let lately = observed.now - TimeDelta::minutes(10);
    let between_crashes = |container: &Container| {
        container.restarts >= 2
            && container
                .ended_before
                .as_ref()
                .is_some_and(|end| end.exit_code != Some(0) && end.at.is_some_and(|at| at >= lately))
    };
    let mut pods = affected(observed, shows);
    for pod in observed.troubled() {
        if !pods.iter().any(|(known, _)| known.name == pod.name) {
            pods.extend(pod.containers.iter().find(|container| between_crashes(container)).map(|found| (pod, found)));
        }
    }
    let (pod, container) = *pods.first()?;
    let part = rollout_part(observed, &pods);
    let how = container.last_end().map_or_else(String::new, |end| {
        let code = end.exit_code.map(|code| format!(" with exit code {code}")).unwrap_or_default();
        let reason =
            if end.reason.is_empty() || end.reason == "Error" { String::new() } else { format!(" ({})", end.reason) };
        format!("{code}{reason}")
    });
    let part_of_start = if container.init { "init container" } else { "container" };
    let mut citations = readings(&pods);
    citations.extend(part.citations);
    let mut findings = vec![(
        format!(
            "Pod {}: {part_of_start} {} was restarted {} times and ended{how}.",
            pod.name, container.name, container.restarts
        ),
        vec![pod.reading],
    )];
    findings.extend(part.findings);
    let mut advice = part.advice;
    advice.push(format!(
        "Read the log of the last run: kubectl logs {} -n {} -c {} --previous",
        pod.name, observed.workload.namespace, container.name
    ));
    Some(Diagnosis {
        signature: "crash_loop",
        cause: format!("{part_of_start} {} crashes in {}{how}{}", container.name, count(observed, &pods), part.tie),
        citations,
        findings,
        since: rollout::onset(observed, &pods.iter().map(|(pod, _)| *pod).collect::<Vec<_>>()),
        remedy: part.remedy,
        advice,
    })
}
