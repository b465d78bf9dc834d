use super::{Diagnosis, Remedy, brief, count_of};
use crate::playbook::kube::Pod;
use crate::playbook::observe::Observed;
use crate::playbook::rollout;

/// What the scheduler says of pods whose claim has no volume, or does not exist.
fn lacks_volume(message: &str) -> bool {
    message.contains("unbound immediate PersistentVolumeClaims")
        || message.contains("didn't find available persistent volumes to bind")
        || message.contains("binding volumes: ")
        || (message.contains("persistentvolumeclaim \"") && message.contains("\" not found"))
}

/// Pods that wait for a volume: their claim is not bound or is not there. More nodes would not help.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let waits = |pod: &&Pod| pod.unschedulable.as_deref().is_some_and(lacks_volume);
    let pods: Vec<&Pod> = observed.failing().into_iter().filter(waits).collect();
    let pod = *pods.first()?;
    let message = brief(pod.unschedulable.as_deref().unwrap_or_default());
    let object = observed.workload.object();
    let mut citations: Vec<_> = pods.iter().map(|pod| pod.reading).collect();
    let mut findings = vec![(format!("The scheduler says of pod {}: {message}", pod.name), vec![pod.reading])];
    let mut names = Vec::new();
    let mut advice = Vec::new();
    for claim in observed.around.claims.iter().filter(|claim| claim.phase != "Bound") {
        names.push(claim.name.clone());
        let class =
            claim.class.as_ref().map_or_else(|| "no storage class".to_owned(), |class| format!("class {class}"));
        let size = claim.size.as_ref().map(|size| format!(", {size}")).unwrap_or_default();
        let mut text = format!("Claim {} is {} ({class}{size}).", claim.name, claim.phase);
        let mut cited = vec![claim.reading];
        if let Some(event) = &claim.event {
            text.push_str(&format!(" The cluster says ({}): {}", event.reason, brief(&event.message)));
            cited.push(event.reading);
            advice.extend(meaning(&event.message));
        }
        citations.extend(&cited);
        findings.push((text, cited));
    }
    if names.is_empty() {
        // The claims could not be read, or are not there.
        names = pod.claims.clone();
    }
    if message.contains("not found") {
        advice.push("The claim does not exist: create it, or correct the name in the pod template.".to_owned());
    }
    if advice.is_empty() {
        advice.push("Look at the claim's storage class, its provisioner, and the volumes that there are.".into());
    }
    citations.sort_unstable();
    citations.dedup();
    let (claims, them) = if names.len() == 1 { ("claim", "is") } else { ("claims", "are") };
    Some(Diagnosis {
        signature: "unbound_claim",
        cause: format!(
            "{} of {object} cannot start without storage: {claims} {} {them} not bound",
            count_of(pods.len()),
            names.join(", ")
        ),
        citations,
        findings,
        since: rollout::onset(observed, &pods),
        remedy: Remedy::None("storage is bound by the cluster's provisioner, and a wrong claim is lost data".into()),
        advice,
    })
}

/// What the volume controller's and the provisioner's words point to.
fn meaning(message: &str) -> Option<String> {
    let found = if message.contains("storageclass.storage.k8s.io") && message.contains("not found") {
        "The claim's storage class does not exist: correct it in a new claim, or create the class."
    } else if message.contains("no storage class is set") {
        "The claim names no storage class and the cluster has no default one: name one, or offer a volume that fits."
    } else if message.contains("external provisioner") || message.contains("to be provisioned") {
        "The provisioner has not made the volume yet: look whether it runs, and at its log."
    } else if message.to_lowercase().contains("quota") || message.contains("limit") {
        "Storage is refused for a quota or a limit: see what it says and who owns it."
    } else {
        return None;
    };
    Some(found.to_owned())
}
