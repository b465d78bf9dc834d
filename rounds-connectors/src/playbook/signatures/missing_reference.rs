use super::{Diagnosis, Remedy, brief, rollout_part};
use crate::playbook::kube::{Container, Pod};
use crate::playbook::observe::Observed;
use crate::playbook::references::{self, MissingReference};
use crate::playbook::rollout;

/// A ConfigMap or Secret that a pod refers to and that is not there, or lacks the key: undo, when the rollout brought
/// the reference.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let pods: Vec<(&Pod, MissingReference)> = observed
        .failing()
        .into_iter()
        .filter_map(|pod| references::missing(observed, pod).map(|missing| (pod, missing)))
        .collect();
    let (pod, missing) = pods.first()?;
    let failing: Vec<(&Pod, &Container)> =
        pods.iter().filter_map(|(pod, _)| pod.containers.last().map(|container| (*pod, container))).collect();
    let mut part = rollout_part(observed, &failing);
    let template = &observed.workload.template;
    let places = references::places(template, missing);
    let mut citations: Vec<_> = pods.iter().flat_map(|(pod, missing)| [pod.reading, missing.reading]).collect();
    citations.push(observed.workload.reading);
    let mut findings =
        vec![(format!("Pod {}: {}", pod.name, brief(&missing.said)), vec![pod.reading, missing.reading])];
    let refers = if places.is_empty() {
        format!("Where the pod template refers to {missing} could not be told.")
    } else {
        format!("The pod template refers to {missing} in: {}.", places.join("; "))
    };
    findings.push((refers, vec![observed.workload.reading]));
    let mut advice = std::mem::take(&mut part.advice);
    let exists = observed.around.config_maps.iter().find(|(name, _)| Some(name) == missing.name.as_ref());
    if let Remedy::Undo { from, to, .. } = part.remedy {
        let before = observed.revisions.iter().flatten().find(|revision| revision.number == to);
        let brought = before.is_some_and(|before| references::places(&before.template, missing).is_empty());
        let refusal = if exists.is_some() {
            Some("the ConfigMap exists by now, and the kubelet tries again by itself".to_owned())
        } else if places.is_empty() {
            Some(format!("it is not known whether revision {from} brought the reference to {missing}"))
        } else if !brought {
            Some(format!(
                "revision {to} refers to {missing}, too: it was removed or renamed, and undoing the rollout does not bring \
                 it back"
            ))
        } else {
            None
        };
        if let Some(why) = refusal {
            part.remedy = Remedy::None(why);
            part.tie.clear();
            advice.clear();
        }
    }
    if let Some((name, reading)) = exists {
        findings.push((format!("ConfigMap {name} exists now, so it came after the pod had looked."), vec![*reading]));
        citations.push(*reading);
    }
    findings.extend(part.findings);
    citations.extend(part.citations);
    citations.sort_unstable();
    citations.dedup();
    let namespace = &observed.workload.namespace;
    advice.push(if missing.secret {
        format!(
            "Create {missing} in {namespace}, or correct the reference. Rounds never reads Secrets, so whether it exists \
             by now was not looked up."
        )
    } else {
        format!("Create {missing} in {namespace}, or correct the reference; the pods start by themselves then.")
    });
    let live = observed.pods.iter().flatten().filter(|pod| pod.is_live()).count();
    Some(Diagnosis {
        signature: "missing_reference",
        cause: format!(
            "{} of {live} pods of {} cannot start because {missing} is missing{}",
            pods.len(),
            observed.workload.object(),
            part.tie
        ),
        citations,
        findings,
        since: rollout::onset(observed, &pods.iter().map(|(pod, _)| *pod).collect::<Vec<_>>()),
        remedy: part.remedy,
        advice,
    })
}
