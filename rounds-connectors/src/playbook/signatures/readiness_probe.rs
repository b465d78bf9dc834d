use chrono::TimeDelta;

use super::{Diagnosis, Remedy, brief, count, readings, rollout_part_since};
use crate::playbook::kube::{Container, Event, Pod};
use crate::playbook::observe::Observed;
use crate::playbook::rollout;

/// A pod that fails its probe for less than this may merely be starting.
const PATIENCE: TimeDelta = TimeDelta::minutes(2);

/// Containers that run and do not become, or stay, ready: the kubelet takes them out of their services and leaves
/// them running. Rollouts that hang on this are found before, as such.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let pods: Vec<(&Pod, &Container)> = observed
        .failing()
        .into_iter()
        .filter(|pod| pod.created.is_some_and(|created| observed.now - created >= PATIENCE))
        .filter_map(|pod| pod.containers.iter().find(|one| unready(observed, pod, one)).map(|one| (pod, one)))
        .collect();
    let (pod, container) = *pods.first()?;
    let event = pods.iter().find_map(|(pod, _)| failed(observed, pod));
    let since = pods.iter().filter_map(|(pod, _)| pod.condition("Ready")).filter_map(|ready| ready.since).min();
    // Probes fail while a container starts, too, so the events begin too early: the condition says when it was lost.
    let part = rollout_part_since(observed, &pods, since);
    let mut citations = readings(&pods);
    citations.extend(event.map(|event| event.reading));
    citations.extend(part.citations);
    let when = since.map(|since| format!(" since {}", rollout::clock(since))).unwrap_or_default();
    let mut findings = vec![(
        format!(
            "Pod {}: container {} runs with {} restarts and is not ready{when}, so services send it nothing.",
            pod.name, container.name, container.restarts
        ),
        vec![pod.reading],
    )];
    if let Some(event) = event {
        findings.push((format!("The kubelet says: {}", brief(&event.message)), vec![event.reading]));
    }
    findings.extend(part.findings);
    let mut advice = part.advice;
    advice.extend(event.and_then(|event| meaning(&event.message)).map(str::to_owned));
    let live = observed.pods.iter().flatten().filter(|pod| pod.is_live()).count();
    let undo = matches!(part.remedy, Remedy::Undo { .. });
    if pods.len() == live && live > 1 && !undo {
        advice.push(
            "All pods fail alike and no rollout explains it: look at what they all need (database, queue, upstream, DNS, \
             certificates) before the pods themselves. Restarting them would end what still works."
                .into(),
        );
    }
    let remedy = match part.remedy {
        Remedy::None(why) => {
            Remedy::None(format!("{why}; why the probe fails has to be found in the container or behind it"))
        }
        undo => undo,
    };
    Some(Diagnosis {
        signature: "readiness_probe",
        cause: format!(
            "{} fail the readiness probe of container {}{}",
            count(observed, &pods),
            container.name,
            part.tie
        ),
        citations,
        findings,
        since,
        remedy,
        advice,
    })
}

/// Runs, has a readiness probe and does not pass it.
fn unready(observed: &Observed, pod: &Pod, container: &Container) -> bool {
    !container.init && container.running && !container.ready && (container.probed || failed(observed, pod).is_some())
}

fn failed<'a>(observed: &'a Observed, pod: &'a Pod) -> Option<&'a Event> {
    let lately = observed.now - TimeDelta::minutes(15);
    observed
        .events_about(&pod.name, "Unhealthy")
        .find(|event| event.message.starts_with("Readiness probe") && event.last.is_some_and(|last| last >= lately))
}

/// Whether a probe got no answer in time.
pub(super) fn timed_out(message: &str) -> bool {
    ["context deadline exceeded", "Client.Timeout", "timed out", "timeout"].iter().any(|words| message.contains(words))
}

/// What the kubelet's words point to.
fn meaning(message: &str) -> Option<&'static str> {
    if message.contains("connection refused") {
        Some("Nothing listens where the probe asks: compare the probe's port with the one that the container opens.")
    } else if timed_out(message) {
        Some(
            "The probe gets no answer in time: look for load, throttled CPU, or a dependency that the check waits for.",
        )
    } else if message.contains("statuscode: 404") {
        Some("The probe's path does not exist in this version: compare it with what the container serves.")
    } else if message.contains("statuscode: 5") {
        Some("The container answers that it is not ready: its own log and its dependencies say why.")
    } else {
        None
    }
}
