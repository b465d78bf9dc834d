use super::saturated::moderately_more;
use super::{Diagnosis, Remedy, brief};
use crate::playbook::hpa::Hpa;
use crate::playbook::observe::{Autoscaler, Observed};

/// An autoscaler that would go above its maximum: let it, moderately and within the bound of the settings.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let Autoscaler::Some(hpa) = &observed.autoscaler else { return None };
    let above = hpa.load.as_ref().filter(|load| load.ratio > 1.0);
    // At its maximum and content is how a well-chosen maximum looks. One that reads no metrics knows nothing.
    if !hpa.at_maximum() || hpa.blind().is_some() || (above.is_none() && hpa.limited().is_none()) {
        return None;
    }
    let max = hpa.max?;
    let workload = &observed.workload;
    let object = workload.object();
    let says = match (above, hpa.limited()) {
        (Some(load), _) => load.shown.clone(),
        (None, Some(condition)) => brief(&condition.message),
        (None, None) => return None,
    };
    let mut findings = vec![(
        format!(
            "The autoscaler {} keeps {object} between {} and {max} replicas, is at {} and would go higher: {says}.",
            hpa.name,
            hpa.min,
            hpa.current.unwrap_or(max)
        ),
        vec![hpa.reading],
    )];
    if let Some(condition) = hpa.limited() {
        findings.push((format!("It says {}: {}.", condition.reason, brief(&condition.message)), vec![hpa.reading]));
    }
    findings.push((
        format!("{} of {} pods are ready.", workload.ready, workload.desired.unwrap_or_default()),
        vec![workload.reading],
    ));
    Some(Diagnosis {
        signature: "hpa_at_maximum",
        cause: format!(
            "the autoscaler {} of {object} is at its maximum of {max} replicas and would go higher: {says}",
            hpa.name
        ),
        citations: vec![workload.reading, hpa.reading],
        findings,
        since: hpa.limited_since().or_else(|| Some(observed.true_since())),
        remedy: remedy(observed, hpa, max),
        advice: vec![
            "More replicas buy time: whether the load or the work per request has grown is still to be found out."
                .into(),
            "See that what the pods depend on (connections of a database, quotas, nodes) bears more of them.".into(),
        ],
    })
}

fn remedy(observed: &Observed, hpa: &Hpa, max: i64) -> Remedy {
    let workload = &observed.workload;
    let bound = i64::from(observed.settings.max_replicas);
    let to = moderately_more(max).min(bound);
    if hpa.keda {
        let object = workload.object();
        return Remedy::None(format!("KEDA owns the limits of {object}: raise maxReplicaCount of its ScaledObject"));
    }
    if hpa.min == max {
        return Remedy::None(format!("{} pins the number of replicas at {max}, which somebody meant", hpa.name));
    }
    if workload.ready < workload.desired.unwrap_or_default() {
        return Remedy::None(format!(
            "only {} of {} pods are ready, and more of them would not help before these are",
            workload.ready,
            workload.desired.unwrap_or_default()
        ));
    }
    if to <= max {
        return Remedy::None(format!("{bound} replicas are the most that the playbook proposes"));
    }
    Remedy::RaiseMaximum { hpa: hpa.name.clone(), from: max, to }
}
