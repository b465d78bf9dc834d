//! Horizontal autoscaling on the cpu that the traffic model gives each pod.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::live;
use crate::cluster::{
    Cluster,
    kinds::{self, HPAS},
    obj::{self, int, put, stamp, text},
};

const COMPONENT: &str = "horizontal-pod-autoscaler";

pub(crate) fn tick(c: &mut Cluster, now: DateTime<Utc>) {
    for hpa in live(c, &HPAS) {
        step(c, hpa, now);
    }
}

fn step(c: &mut Cluster, mut hpa: Value, now: DateTime<Utc>) {
    let ns = obj::ns(&hpa).to_owned();
    let name = text(&hpa, "/spec/scaleTargetRef/name").to_owned();
    let target = kinds::by_name(text(&hpa, "/spec/scaleTargetRef/kind")).filter(|k| k.scale);
    let Some((kind, workload)) = target.and_then(|k| c.store.get(k, &ns, &name).map(|w| (k, w))) else {
        let why = format!("the HPA controller was unable to get the target's current scale: \"{name}\" not found");
        obj::condition(&mut hpa, "AbleToScale", false, "FailedGetScale", &why, now);
        return c.store.write(&HPAS, hpa);
    };
    let current = int(&workload, "/spec/replicas").unwrap_or(0);
    let ready = int(&workload, "/status/readyReplicas").unwrap_or(0);
    let min = int(&hpa, "/spec/minReplicas").unwrap_or(1);
    let max = int(&hpa, "/spec/maxReplicas").unwrap_or(min);
    let goal = obj::items(&hpa, "/spec/metrics")
        .iter()
        .find(|m| m["resource"]["name"] == "cpu")
        .and_then(|m| int(m, "/resource/target/averageUtilization"));
    let load = c.traffic.get(&(kind.plural.to_owned(), ns, name)).map(|t| t.load(ready.max(0) as usize));
    obj::condition(&mut hpa, "AbleToScale", true, "ReadyForNewScale", "recommended size matches current size", now);
    let mut desired = current.clamp(min, max);
    if current == 0 {
        let why = "scaling is disabled since the replica count of the target is zero";
        obj::condition(&mut hpa, "ScalingActive", false, "ScalingDisabled", why, now);
        desired = 0;
    } else if let (Some(goal), Some(load)) = (goal, load)
        && ready == current
    {
        let used = load.saturation.min(1.0) * 100.0;
        put(
            &mut hpa,
            "/status/currentMetrics",
            json!([{"type": "Resource", "resource": {"name": "cpu", "current": {
                "averageUtilization": used as i64, "averageValue": format!("{}m", (used * 5.0) as i64)}}}]),
        );
        obj::condition(
            &mut hpa,
            "ScalingActive",
            true,
            "ValidMetricFound",
            "the HPA was able to calculate a replica count",
            now,
        );
        let ratio = used / goal.max(1) as f64;
        // A real autoscaler leaves a tenth of tolerance.
        if (ratio - 1.0).abs() > 0.1 {
            desired = ((current as f64 * ratio).ceil() as i64).clamp(min, max);
        }
    }
    let waited = obj::time(&hpa, "/status/lastScaleTime").is_none_or(|t| now - t >= c.delay(15_000.0));
    put(&mut hpa, "/status/currentReplicas", json!(current));
    put(&mut hpa, "/status/desiredReplicas", json!(desired));
    if desired != current && waited {
        let mut w = (*workload).clone();
        put(&mut w, "/spec/replicas", json!(desired));
        c.store.write(kind, w);
        put(&mut hpa, "/status/lastScaleTime", json!(stamp(now)));
        let side = if desired > current { "above" } else { "below" };
        let message =
            format!("New size: {desired}; reason: cpu resource utilization (percentage of request) {side} target");
        c.event(&hpa, COMPONENT, "Normal", "SuccessfulRescale", &message, now);
    }
    let limited = desired == max || desired == min;
    obj::condition(
        &mut hpa,
        "ScalingLimited",
        limited,
        if limited { "TooManyReplicas" } else { "DesiredWithinRange" },
        "",
        now,
    );
    c.store.write(&HPAS, hpa);
}
