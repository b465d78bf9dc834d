use rounds_core::investigation::ReadingId;

use super::{Diagnosis, Remedy};
use crate::playbook::kube::WorkloadKind;
use crate::playbook::observe::{Autoscaler, Observed, cpu_capacity};

/// From this share of the CPU limit on, the kernel throttles often enough to be felt.
const BUSY: f64 = 0.85;

/// Half as many again, at least one.
pub(super) fn moderately_more(now: i64) -> i64 {
    now.saturating_add((now / 2).max(1))
}

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
    let more = |now: i64| moderately_more(now).min(bound);
    let mut advice = vec![
        "More replicas buy time: whether the load or the work per request has grown is still to be found out."
            .to_owned(),
    ];
    let mut citations = vec![workload.reading, reading];
    let remedy = match &observed.autoscaler {
        Autoscaler::Some(hpa) => {
            citations.push(hpa.reading);
            // At its maximum it is a signature of its own.
            Remedy::None(format!(
                "the autoscaler {} decides how many replicas there are: see why it does not ask for more",
                hpa.name
            ))
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
