use super::{Diagnosis, Remedy, affected, brief, count, readings, rollout_part};
use crate::playbook::kube::{Container, Pod};
use crate::playbook::observe::Observed;
use crate::playbook::rollout;

const REASONS: [&str; 7] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "RegistryUnavailable",
    "ImageInspectError",
    "SignatureValidationFailed",
];

/// Images that cannot be pulled: undo, when the rollout brought the image and an earlier one ran.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let pods = affected(observed, |container| container.waits_for(&REASONS));
    let (pod, container) = *pods.first()?;
    let message = why(observed, pod, container);
    let cause_of_pull = classify(&message);
    let mut part = rollout_part(observed, &pods);
    let elsewhere = observed
        .pods
        .iter()
        .flatten()
        .flat_map(|other| &other.containers)
        .any(|other| other.image == container.image && (other.running || other.last_end().is_some()));
    if matches!(part.remedy, Remedy::Undo { .. }) {
        let refusal = if elsewhere {
            Some("other pods run the same image, so the image exists and the rollout is not the cause".to_owned())
        } else if !brought(observed, &container.image) {
            Some(format!("the newest rollout did not bring the image {}", container.image))
        } else if cause_of_pull.is_some_and(|found| found.1) && !moved(observed, &container.image) {
            Some(
                "the registry could not be reached or refused for load, which an earlier image of it would meet, too"
                    .into(),
            )
        } else {
            None
        };
        if let Some(why) = refusal {
            part.remedy = Remedy::None(why);
            part.tie.clear();
        }
    }
    let because = cause_of_pull.map(|(what, _)| format!(": {what}")).unwrap_or_default();
    let mut citations = readings(&pods);
    citations.extend(part.citations);
    let mut advice = part.advice;
    advice.push(format!("Check that the image {} exists and that the nodes may pull it.", container.image));
    let mut findings = vec![(
        format!(
            "Pod {} waits with {}; the cluster says: {}",
            pod.name,
            container.waiting.as_ref().map_or("", |(reason, _)| reason.as_str()),
            brief(&message)
        ),
        vec![pod.reading],
    )];
    findings.extend(part.findings);
    Some(Diagnosis {
        signature: "image_pull",
        cause: format!(
            "{} cannot pull the image {} of container {}{because}{}",
            count(observed, &pods),
            container.image,
            container.name,
            part.tie
        ),
        citations,
        findings,
        since: rollout::onset(observed, &pods.iter().map(|(pod, _)| *pod).collect::<Vec<_>>()),
        remedy: part.remedy,
        advice,
    })
}

/// The container's message, or the event that says more than "Back-off pulling image".
fn why(observed: &Observed, pod: &Pod, container: &Container) -> String {
    let event =
        observed.events.iter().rev().find(|event| {
            event.about == pod.name && event.reason == "Failed" && event.message.contains(&container.image)
        });
    let waiting = container.waiting.as_ref().map(|(_, message)| message.clone()).unwrap_or_default();
    match event {
        Some(event) if classify(&waiting).is_none() => event.message.clone(),
        _ => waiting,
    }
}

/// What the container runtime's message means, and whether it is the registry's trouble rather than the image's.
fn classify(message: &str) -> Option<(&'static str, bool)> {
    let message = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["manifest unknown", "not found", "does not exist", "no such image"]) {
        Some(("there is no such image", false))
    } else if says(&["toomanyrequests", "too many requests", "rate limit"]) {
        Some(("the registry limits the rate", true))
    } else if says(&["unauthorized", "denied", "authentication required", "no basic auth"]) {
        Some(("the registry refuses access", false))
    } else if says(&["no such host", "timeout", "connection refused", "deadline exceeded", "unreachable", "503"]) {
        Some(("the registry cannot be reached", true))
    } else {
        None
    }
}

/// Whether the current revision is the first with this image.
fn brought(observed: &Observed, image: &str) -> bool {
    let Some(current) = rollout::current(observed) else { return false };
    let Some(good) = rollout::good(observed, current) else { return false };
    !images(&good.revision.template).any(|other| other == image)
}

/// Whether the rollout went to another registry.
fn moved(observed: &Observed, image: &str) -> bool {
    let Some(current) = rollout::current(observed) else { return false };
    let Some(good) = rollout::good(observed, current) else { return false };
    !images(&good.revision.template).any(|other| registry(&other) == registry(image))
}

fn images(template: &serde_json::Value) -> impl Iterator<Item = String> + '_ {
    ["/spec/initContainers", "/spec/containers"]
        .into_iter()
        .flat_map(|list| crate::playbook::kube::items(template, list))
        .filter_map(|container| crate::playbook::kube::text(container, "/image"))
}

/// The host of an image reference; Docker Hub when none is named.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}
