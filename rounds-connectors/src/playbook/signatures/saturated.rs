use rounds_core::investigation::ReadingId;

use super::{Diagnosis, Remedy};
use crate::playbook::kube::WorkloadKind;
use crate::playbook::observe::{Autoscaler, Observed, cpu_capacity};

/// From this share of the CPU limit on, the kernel throttles often enough to be felt.
const BUSY: f64 = 0.85;

/// Every pod is ready and busy to the limit: more replicas, moderately, and only with a number that shows it.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let workload = &observed.workload;
    let desired = workload.desired?;
    if desired < 1 || workload.ready < desired || !observed.troubled().is_empty() {
        return None;
    }
    let (evidence, reading) = evidence(observed)?;
    let object = workload.object();
    let bound = i64::from(observed.settings.max_replicas);
    let more = |now: i64| (now + (now / 2).max(1)).min(bound);
    let mut advice = vec![
        "More replicas buy time: whether the load or the work per request has grown is still to be found out."
            .to_owned(),
    ];
    let mut citations = vec![workload.reading, reading];
    let remedy = match &observed.autoscaler {
        Autoscaler::Some(hpa) => {
            citations.push(hpa.reading);
            match hpa.max {
                _ if hpa.keda => {
                    Remedy::None(format!("KEDA owns the limits of {object}: raise maxReplicaCount of its ScaledObject"))
                }
                Some(max) if hpa.current.unwrap_or(desired) < max => Remedy::None(format!(
                    "the autoscaler {} has room up to {max} replicas and is left to do its work",
                    hpa.name
                )),
                Some(max) if more(max) > max => {
                    Remedy::RaiseMaximum { hpa: hpa.name.clone(), from: max, to: more(max) }
                }
                _ => Remedy::None(format!("{bound} replicas are the most that the playbook proposes")),
            }
        }
        Autoscaler::Unknown => Remedy::None(format!(
            "it is not known whether an autoscaler drives {object}, which would take back a manual change"
        )),
        Autoscaler::None if workload.kind != WorkloadKind::Deployment => {
            advice.push(format!("Consider more replicas of {object} by hand: what keeps state does not always scale."));
            Remedy::None(format!("{object} may keep state, so its number of replicas is a person's decision"))
        }
        Autoscaler::None if more(desired) > desired => Remedy::Scale { from: desired, to: more(desired) },
        Autoscaler::None => Remedy::None(format!("{bound} replicas are the most that the playbook proposes")),
    };
    if matches!(observed.autoscaler, Autoscaler::None) {
        advice.push("An autoscaler would do this by itself.".into());
    }
    citations.sort_unstable();
    citations.dedup();
    Some(Diagnosis {
        signature: "saturated",
        cause: format!("all {desired} replicas of {object} are ready and saturated: {evidence}"),
        findings: vec![(format!("All {} of {desired} pods are ready; {evidence}.", workload.ready), citations.clone())],
        citations,
        since: Some(observed.true_since()),
        remedy,
        advice,
    })
}

fn evidence(observed: &Observed) -> Option<(String, ReadingId)> {
    if let Autoscaler::Some(hpa) = &observed.autoscaler {
        let at_maximum = hpa.current.zip(hpa.max).is_some_and(|(current, max)| current >= max);
        if let (Some((used, wanted)), true) = (hpa.load, at_maximum)
            && used > wanted
        {
            let what = format!(
                "the autoscaler {} is at its maximum of {} and would go higher ({used} % used, {wanted} % wanted)",
                hpa.name,
                hpa.max.unwrap_or_default()
            );
            return Some((what, hpa.reading));
        }
        if hpa.limited && at_maximum {
            let what = format!("the autoscaler {} is at its maximum and says TooManyReplicas", hpa.name);
            return Some((what, hpa.reading));
        }
    }
    let (cpu, capacity) = (observed.cpu.as_ref()?, cpu_capacity(observed)?);
    let share = cpu.value / capacity;
    (share >= BUSY).then(|| {
        (
            format!(
                "its pods use {:.0} % of their CPU limits ({:.2} of {capacity:.2} cores)",
                share * 100.0,
                cpu.value
            ),
            cpu.reading,
        )
    })
}
