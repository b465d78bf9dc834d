use super::{Diagnosis, Remedy, brief, count, readings, rollout_part};
use crate::playbook::kube::{Container, Event, Pod};
use crate::playbook::observe::Observed;
use crate::playbook::rollout;

/// Containers that the kubelet restarts because their liveness or startup probe fails. They end with the exit code of
/// a kill, as after an out-of-memory kill, and the kernel had no part in it.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let found: Vec<(&Pod, &Container, &Event)> = observed
        .troubled()
        .into_iter()
        .filter_map(|pod| {
            pod.containers
                .iter()
                .find_map(|container| killing(observed, pod, container).map(|event| (pod, container, event)))
        })
        .collect();
    let (pod, container, event) = *found.first()?;
    let pods: Vec<(&Pod, &Container)> = found.iter().map(|(pod, container, _)| (*pod, *container)).collect();
    let probe = if event.message.to_lowercase().contains("startup probe") { "startup" } else { "liveness" };
    let part = rollout_part(observed, &pods);
    let why = unhealthy(observed, pod, probe);
    let mut citations = readings(&pods);
    citations.push(event.reading);
    citations.extend(part.citations);
    let code = container.last_end().and_then(|end| end.exit_code);
    let code = code.map(|code| format!(" (exit code {code})")).unwrap_or_default();
    let mut findings = vec![(
        format!(
            "Pod {}: the kubelet has restarted container {} {} times{code}; it says: {}",
            pod.name,
            container.name,
            container.restarts,
            brief(&event.message)
        ),
        vec![pod.reading, event.reading],
    )];
    if let Some(why) = why {
        findings.push((format!("The probe fails with: {}", brief(&why.message)), vec![why.reading]));
    }
    findings.extend(part.findings);
    let mut advice = part.advice;
    let slow = why.is_some_and(|why| super::readiness_probe::timed_out(&why.message));
    advice.push(match (probe, slow) {
        ("startup", _) => format!(
            "Find out whether container {} hangs while it starts or merely needs longer than failureThreshold × \
             periodSeconds of its startup probe.",
            container.name
        ),
        (_, true) => format!(
            "Container {} answers too late: look for load, throttled CPU or a long pause before the probe's timeout is \
             raised. A probe that asks dependencies restarts every pod when one of them is slow.",
            container.name
        ),
        _ => format!(
            "Ask what the probe asks, from inside the cluster; a liveness probe is to fail only when a restart helps. The \
             log of the last run: kubectl logs {} -n {} -c {} --previous",
            pod.name, observed.workload.namespace, container.name
        ),
    });
    let remedy = match part.remedy {
        Remedy::None(why) => {
            Remedy::None(format!("{why}; the probe or the container has to be put right in the manifest"))
        }
        undo => undo,
    };
    Some(Diagnosis {
        signature: "killed_by_probe",
        cause: format!(
            "container {} is killed by its {probe} probe in {}{}",
            container.name,
            count(observed, &pods),
            part.tie
        ),
        citations,
        findings,
        since: rollout::onset(observed, &pods.iter().map(|(pod, _)| *pod).collect::<Vec<_>>()),
        remedy,
        advice,
    })
}

/// The event that says that the kubelet killed this container for its probe.
fn killing<'a>(observed: &'a Observed, pod: &'a Pod, container: &Container) -> Option<&'a Event> {
    let ended = container.last_end()?;
    // The kernel was first, or it left by itself.
    if ended.reason == "OOMKilled" || container.restarts < 1 {
        return None;
    }
    let words = ["liveness", "startup"].map(|probe| format!("Container {} failed {probe} probe", container.name));
    observed.events_about(&pod.name, "Killing").find(|event| {
        event.last.is_some_and(|last| last >= observed.fresh_since())
            && words.iter().any(|words| event.message.starts_with(words))
    })
}

fn unhealthy<'a>(observed: &'a Observed, pod: &'a Pod, probe: &str) -> Option<&'a Event> {
    observed.events_about(&pod.name, "Unhealthy").find(|event| event.message.to_lowercase().starts_with(probe))
}
