use super::{Diagnosis, affected, brief, count, readings, rollout_part};
use crate::playbook::kube::Container;
use crate::playbook::observe::Observed;
use crate::playbook::rollout;

const WAITING: [&str; 5] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "PostStartHookError",
    "PreCreateHookError",
];
const ENDED: [&str; 2] = ["StartError", "ContainerCannotRun"];

fn shows(container: &Container) -> bool {
    let never_started = || {
        container.waits_for(&["CrashLoopBackOff"])
            && container.last_end().is_some_and(|end| ENDED.contains(&end.reason.as_str()))
    };
    container.waits_for(&WAITING)
        || container.ended.as_ref().is_some_and(|end| ENDED.contains(&end.reason.as_str()))
        || never_started()
}

/// Containers that cannot even be created or started: a missing ConfigMap or Secret, a wrong command.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let pods = affected(observed, shows);
    let (pod, container) = *pods.first()?;
    let part = rollout_part(observed, &pods);
    let (reason, message) = match (&container.waiting, container.last_end()) {
        (Some((reason, message)), _) if WAITING.contains(&reason.as_str()) => (reason.clone(), brief(message)),
        (_, Some(end)) => (end.reason.clone(), format!("exit code {}", end.exit_code.unwrap_or_default())),
        (Some((reason, message)), None) => (reason.clone(), brief(message)),
        (None, None) => (String::new(), String::new()),
    };
    let mut citations = readings(&pods);
    citations.extend(part.citations);
    let mut findings =
        vec![(format!("Container {} of pod {}: {reason}: {message}", container.name, pod.name), vec![pod.reading])];
    findings.extend(part.findings);
    let mut advice = part.advice;
    advice.push(
        "Check that what the pod template refers to (ConfigMaps, Secrets, keys, volumes, the command) exists.".into(),
    );
    Some(Diagnosis {
        signature: "cannot_start",
        cause: format!("{} cannot start container {} ({reason}){}", count(observed, &pods), container.name, part.tie),
        citations,
        findings,
        since: rollout::onset(observed, &pods.iter().map(|(pod, _)| *pod).collect::<Vec<_>>()),
        remedy: part.remedy,
        advice,
    })
}
