//! A view of a horizontal pod autoscaler: its bounds, its load, and what it says of itself.

use rounds_core::Timestamp;
use rounds_core::investigation::ReadingId;
use serde_json::{Value, json};

use super::kube::{Condition, conditions, items, number, quantity, strings, text};

/// A metric beside its target.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// `cpu at 95 %, 70 % wanted`.
    pub(crate) shown: String,
    /// Used over wanted.
    pub(crate) ratio: f64,
}

/// A horizontal pod autoscaler.
#[derive(Debug, Clone)]
pub(crate) struct Hpa {
    pub(crate) reading: ReadingId,
    pub(crate) name: String,
    pub(crate) target: (String, String),
    pub(crate) min: i64,
    pub(crate) max: Option<i64>,
    pub(crate) current: Option<i64>,
    /// KEDA made it and owns its numbers.
    pub(crate) keda: bool,
    /// The metric furthest above its target.
    pub(crate) load: Option<Load>,
    conditions: Vec<Condition>,
}

impl Hpa {
    pub(crate) fn parse(object: &Value, reading: ReadingId) -> Option<Self> {
        let mut conditions = conditions(object);
        let annotations = strings(object, "/metadata/annotations");
        if let Some(older) = annotations.get("autoscaling.alpha.kubernetes.io/conditions") {
            // autoscaling/v1, which clusters before 1.23 prefer, keeps conditions in an annotation.
            let older: Value = serde_json::from_str(older).unwrap_or_default();
            conditions.extend(super::kube::conditions(&json!({ "status": { "conditions": older } })));
        }
        let loads = loads(object);
        let load = loads.into_iter().max_by(|one, other| one.ratio.total_cmp(&other.ratio));
        Some(Self {
            reading,
            name: text(object, "/metadata/name")?,
            target: (text(object, "/spec/scaleTargetRef/kind")?, text(object, "/spec/scaleTargetRef/name")?),
            min: number(object, "/spec/minReplicas").unwrap_or(1),
            max: number(object, "/spec/maxReplicas"),
            current: number(object, "/status/currentReplicas"),
            keda: strings(object, "/metadata/labels").keys().any(|key| key.starts_with("scaledobject.keda.sh/"))
                || items(object, "/metadata/ownerReferences")
                    .iter()
                    .any(|owner| text(owner, "/kind").as_deref() == Some("ScaledObject")),
            load,
            conditions,
        })
    }

    /// Since when it would go above its maximum, as it says itself.
    pub(crate) fn limited(&self) -> Option<&Condition> {
        self.conditions.iter().find(|condition| {
            condition.kind == "ScalingLimited" && condition.status == "True" && condition.reason == "TooManyReplicas"
        })
    }

    /// Why it cannot read its metrics.
    pub(crate) fn blind(&self) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == "ScalingActive" && condition.status == "False")
    }

    pub(crate) fn at_maximum(&self) -> bool {
        self.current.zip(self.max).is_some_and(|(current, max)| current >= max)
    }

    /// Since when it is limited.
    pub(crate) fn limited_since(&self) -> Option<Timestamp> {
        self.limited().and_then(|condition| condition.since)
    }
}

/// Every metric with a target in the same unit.
fn loads(object: &Value) -> Vec<Load> {
    let percent = |what: &str, used: i64, wanted: i64| Load {
        shown: format!("{what} at {used} %, {wanted} % wanted"),
        ratio: as_float(used) / as_float(wanted.max(1)),
    };
    let mut loads = Vec::new();
    if let Some((used, wanted)) = number(object, "/status/currentCPUUtilizationPercentage")
        .zip(number(object, "/spec/targetCPUUtilizationPercentage"))
    {
        loads.push(percent("cpu", used, wanted));
    }
    for wanted in items(object, "/spec/metrics") {
        let Some((part, name)) = metric(wanted) else { continue };
        let same = |other: &&Value| metric(other).is_some_and(|(_, found)| found == name);
        let Some(current) = items(object, "/status/currentMetrics").iter().find(same) else { continue };
        let of = |field: &str| (format!("/{part}/target/{field}"), format!("/{part}/current/{field}"));
        let (target, used) = of("averageUtilization");
        if let Some((used, wanted)) = number(current, &used).zip(number(wanted, &target)) {
            loads.push(percent(&name, used, wanted));
            continue;
        }
        for field in ["averageValue", "value"] {
            let (target, used) = of(field);
            let Some((used, wanted)) = text(current, &used).zip(text(wanted, &target)) else { continue };
            let Some((many, enough)) = quantity(&used).zip(quantity(&wanted)) else { continue };
            if enough > 0.0 {
                loads.push(Load { shown: format!("{name} at {used}, {wanted} wanted"), ratio: many / enough });
            }
        }
    }
    loads
}

/// Where a metric stands and what it is called.
fn metric(value: &Value) -> Option<(&'static str, String)> {
    [
        ("resource", "/resource/name"),
        ("containerResource", "/containerResource/name"),
        ("pods", "/pods/metric/name"),
        ("external", "/external/metric/name"),
        ("object", "/object/metric/name"),
    ]
    .into_iter()
    .find_map(|(part, name)| text(value, name).map(|name| (part, name)))
}

#[allow(clippy::cast_precision_loss, reason = "percentages are small")]
fn as_float(number: i64) -> f64 {
    number as f64
}
