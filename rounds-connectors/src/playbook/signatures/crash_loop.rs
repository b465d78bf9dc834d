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
    if container.init {
        findings.push((
            "Its other containers start only when the init containers have ended well.".into(),
            vec![pod.reading],
        ));
    }
    if let Some(text) = container.last_end().and_then(|end| end.exit_code).and_then(meaning) {
        findings.push((text.into(), vec![pod.reading]));
    }
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

/// What an exit code says by convention.
fn meaning(code: i64) -> Option<&'static str> {
    match code {
        0 => Some("It ends by itself without an error, which a long-running workload must not do: see its command."),
        126 => {
            Some("Exit code 126: the command was found and could not be run (permissions, or the wrong architecture).")
        }
        127 => Some("Exit code 127: the command was not found in the image."),
        134 => Some("Exit code 134 (SIGABRT): it aborted itself, as on a failed assertion."),
        137 => Some(
            "Exit code 137 (SIGKILL): something killed it. It was not reported as out of memory, and no probe is known to \
             have done it.",
        ),
        139 => Some("Exit code 139 (SIGSEGV): it crashed in native code."),
        143 => Some("Exit code 143 (SIGTERM): it was asked to end, by a probe, a node that shuts down, or itself."),
        _ => None,
    }
}
