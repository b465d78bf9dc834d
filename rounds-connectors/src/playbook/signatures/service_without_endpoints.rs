use std::collections::BTreeMap;

use super::{Diagnosis, Remedy, rollout_part_since};
use crate::playbook::kube::{Pod, strings};
use crate::playbook::observe::Observed;
use crate::playbook::rollout;
use crate::playbook::surroundings::Service;

/// A service that sends its traffic nowhere: its selector misses the pods, or none of those that it selects is ready.
/// Undone when a rollout took the label away that the service selects by; a selector is never changed, because who
/// else is meant by it cannot be told.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let empty = |service: &&Service| service.endpoints.is_some_and(|(ready, _, _)| ready == 0);
    let labels = strings(&observed.workload.template, "/metadata/labels");
    let service = observed.around.services.iter().filter(empty).find(|service| {
        // Without a word from the alert, only a service that misses healthy pods is worth a claim.
        service.named || (observed.workload.ready > 0 && !service.selects(&labels))
    })?;
    let (_, unready, endpoints) = service.endpoints?;
    let object = observed.workload.object();
    let pods: Vec<&Pod> = observed.pods.iter().flatten().filter(|pod| pod.is_live()).collect();
    let mut citations = vec![service.reading, endpoints, observed.workload.reading];
    citations.extend(pods.first().map(|pod| pod.reading));
    let selector: Vec<String> = service.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut findings = vec![(
        format!(
            "Service {} selects {} and has no ready endpoint ({unready} not ready).",
            service.name,
            selector.join(",")
        ),
        vec![service.reading, endpoints],
    )];
    let (cause, remedy, advice, mut tie) = if service.selects(&labels) {
        let ready = pods.iter().filter(|pod| pod.ready).count();
        let (why, advice) = if pods.is_empty() {
            ("there are no pods that it selects", "Find out why there are no pods.")
        } else if ready == 0 {
            ("none of the pods that it selects is ready", "Find out why the pods are not ready: their probes and logs.")
        } else {
            (
                "its endpoints do not list the ready pods that it selects",
                "Compare the service's targetPort with the ports of the containers by name; if they fit, look at the endpoint \
                 controller.",
            )
        };
        findings
            .push((format!("{ready} of {} pods of {object} are ready.", pods.len()), vec![observed.workload.reading]));
        let remedy = Remedy::None("the service is as it should be; what is behind it has to be put right".into());
        (why.to_owned(), remedy, vec![advice.to_owned()], String::new())
    } else {
        let misses = differences(&service.selector, &labels).join("; ");
        findings.push((
            format!("The pods of {object} do not fit: {misses}."),
            vec![service.reading, observed.workload.reading],
        ));
        let mut advice = vec![format!(
            "Correct the selector of service {} or the labels of the pod template, whichever was not meant.",
            service.name
        )];
        let (remedy, tie) = match took_the_label(observed, service) {
            Some(part) => {
                findings.extend(part.findings);
                citations.extend(part.citations);
                advice.extend(part.advice);
                (part.remedy, part.tie)
            }
            None => {
                let why = "no rollout is known to have taken the label away, so whether the selector or the label is wrong is \
                           for a person to say";
                (Remedy::None(why.into()), String::new())
            }
        };
        (format!("its selector matches none of the pods of {object} ({misses})"), remedy, advice, tie)
    };
    if matches!(remedy, Remedy::None(_)) {
        tie.clear();
    }
    citations.sort_unstable();
    citations.dedup();
    Some(Diagnosis {
        signature: "service_without_endpoints",
        cause: format!("service {} has no ready endpoints: {cause}{tie}", service.name),
        citations,
        findings,
        since: Some(observed.true_since()),
        remedy,
        advice,
    })
}

fn differences(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> Vec<String> {
    let misses = selector.iter().filter(|(key, value)| labels.get(*key) != Some(value));
    misses
        .map(|(key, value)| match labels.get(key) {
            Some(other) => format!("{key} is {other} where the service wants {value}"),
            None => format!("they carry no label {key}, where the service wants {value}"),
        })
        .collect()
}

/// The undoing of the newest rollout, when the revision that it returns to carries what the service selects by.
fn took_the_label(observed: &Observed, service: &Service) -> Option<super::RolloutPart> {
    let current = rollout::current(observed)?;
    let good = rollout::good(observed, current)?;
    if !service.selects(&strings(&good.revision.template, "/metadata/labels")) {
        return None;
    }
    // Traffic is gone from the moment that the last pod with the label went, which is what the alert saw.
    Some(rollout_part_since(observed, &[], Some(observed.true_since())))
}
