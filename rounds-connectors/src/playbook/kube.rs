//! Typed views of what a cluster answers. Every field may be missing or odd, in any version: a view then has less
//! to say, and never fails.

use std::collections::BTreeMap;
use std::fmt;

use chrono::DateTime;
use rounds_core::Timestamp;
use rounds_core::investigation::ReadingId;
use serde_json::Value;

/// The kinds that own pods and know revisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum WorkloadKind {
    Deployment,
    StatefulSet,
    DaemonSet,
}

impl WorkloadKind {
    pub(crate) const ALL: [Self; 3] = [Self::Deployment, Self::StatefulSet, Self::DaemonSet];

    /// The word that kubectl takes.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
        }
    }

    /// The kind as objects spell it, or as a word in any case.
    pub(crate) fn parse(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.word().eq_ignore_ascii_case(kind))
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

pub(crate) fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

pub(crate) fn number(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer).and_then(Value::as_i64)
}

fn flag(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}

pub(crate) fn time(value: &Value, pointer: &str) -> Option<Timestamp> {
    let text = value.pointer(pointer).and_then(Value::as_str)?;
    DateTime::parse_from_rfc3339(text).ok().map(|at| rounds_core::time::truncate(at.to_utc()))
}

pub(crate) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(crate) fn strings(value: &Value, pointer: &str) -> BTreeMap<String, String> {
    let Some(map) = value.pointer(pointer).and_then(Value::as_object) else { return BTreeMap::new() };
    map.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// A condition of a status.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) since: Option<Timestamp>,
}

pub(crate) fn conditions(value: &Value) -> Vec<Condition> {
    items(value, "/status/conditions")
        .iter()
        .map(|condition| Condition {
            kind: text(condition, "/type").unwrap_or_default(),
            status: text(condition, "/status").unwrap_or_default(),
            reason: text(condition, "/reason").unwrap_or_default(),
            message: text(condition, "/message").unwrap_or_default(),
            since: time(condition, "/lastTransitionTime").or_else(|| time(condition, "/lastUpdateTime")),
        })
        .collect()
}

/// A deployment, stateful set or daemon set.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    pub(crate) reading: ReadingId,
    pub(crate) kind: WorkloadKind,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: Option<String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Pods wanted: `spec.replicas`, or what a daemon set's nodes ask for.
    pub(crate) desired: Option<i64>,
    pub(crate) ready: i64,
    /// The controller has not yet seen the newest spec, so the status is about an older one.
    pub(crate) stale: bool,
    pub(crate) paused: bool,
    /// `updateStrategy: OnDelete`: a changed template reaches no pod until somebody deletes it.
    pub(crate) on_delete: bool,
    /// A stateful set that waits for each pod before it touches the next.
    pub(crate) ordered: bool,
    pub(crate) conditions: Vec<Condition>,
    /// The label selector of its pods, as kubectl writes it.
    pub(crate) selector: Option<String>,
    pub(crate) template: Value,
    /// The revision that its own annotation names (deployments).
    pub(crate) revision: Option<i64>,
    /// The names of the revisions that its status speaks of (stateful sets): what runs, what is wanted.
    pub(crate) status_revisions: Option<(String, String)>,
    /// Pods already on the newest template.
    pub(crate) updated: Option<i64>,
}

impl Workload {
    pub(crate) fn parse(kind: WorkloadKind, object: &Value, reading: ReadingId) -> Option<Self> {
        let annotations = strings(object, "/metadata/annotations");
        let daemon = kind == WorkloadKind::DaemonSet;
        let desired = if daemon {
            number(object, "/status/desiredNumberScheduled")
        } else {
            // The API server writes the default; a missing field is that default.
            number(object, "/spec/replicas").or_else(|| object.get("spec").map(|_| 1))
        };
        let ready = number(object, if daemon { "/status/numberReady" } else { "/status/readyReplicas" });
        let generation = number(object, "/metadata/generation").unwrap_or_default();
        Some(Self {
            reading,
            kind,
            namespace: text(object, "/metadata/namespace")?,
            name: text(object, "/metadata/name")?,
            uid: text(object, "/metadata/uid"),
            labels: strings(object, "/metadata/labels"),
            desired,
            ready: ready.unwrap_or_default(),
            stale: number(object, "/status/observedGeneration").is_some_and(|observed| observed < generation),
            paused: flag(object, "/spec/paused"),
            on_delete: text(object, "/spec/updateStrategy/type").as_deref() == Some("OnDelete"),
            ordered: kind == WorkloadKind::StatefulSet
                && text(object, "/spec/podManagementPolicy").as_deref() != Some("Parallel"),
            conditions: conditions(object),
            selector: selector(object.pointer("/spec/selector")),
            template: object.pointer("/spec/template").cloned().unwrap_or_default(),
            revision: annotations.get("deployment.kubernetes.io/revision").and_then(|number| number.parse().ok()),
            status_revisions: text(object, "/status/currentRevision").zip(text(object, "/status/updateRevision")),
            updated: number(object, if daemon { "/status/updatedNumberScheduled" } else { "/status/updatedReplicas" }),
            annotations,
        })
    }

    pub(crate) fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// `deployment/web`, as kubectl takes it.
    pub(crate) fn object(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    /// Who else writes to it and may undo what a plan does.
    pub(crate) fn managed_by(&self) -> Option<&'static str> {
        let has = |prefix: &str| self.labels.keys().chain(self.annotations.keys()).any(|key| key.starts_with(prefix));
        if has("argocd.argoproj.io/") {
            Some("Argo CD")
        } else if has("kustomize.toolkit.fluxcd.io/") || has("helm.toolkit.fluxcd.io/") {
            Some("Flux")
        } else if self.labels.get("app.kubernetes.io/managed-by").is_some_and(|by| by == "Helm") {
            Some("Helm")
        } else {
            None
        }
    }
}

/// A label selector in kubectl's words; `None` when there is nothing to select by.
pub(crate) fn selector(value: Option<&Value>) -> Option<String> {
    let value = value?;
    let mut parts: Vec<String> =
        strings(value, "/matchLabels").into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    for expression in items(value, "/matchExpressions") {
        let key = text(expression, "/key")?;
        let values: Vec<&str> = items(expression, "/values").iter().filter_map(Value::as_str).collect();
        let values = values.join(",");
        parts.push(match text(expression, "/operator")?.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key,
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    if parts.is_empty() { None } else { Some(parts.join(",")) }
}

/// Whether an object is owned by that owner.
pub(crate) fn owned_by(object: &Value, uid: Option<&str>, kind: &str, name: &str) -> bool {
    items(object, "/metadata/ownerReferences").iter().any(|owner| match (uid, text(owner, "/uid")) {
        (Some(uid), Some(owner)) => uid == owner,
        _ => {
            text(owner, "/kind").is_some_and(|found| found.eq_ignore_ascii_case(kind))
                && text(owner, "/name").as_deref() == Some(name)
        }
    })
}

/// A revision of a workload: a replica set, or a controller revision.
#[derive(Debug, Clone)]
pub(crate) struct Revision {
    pub(crate) reading: ReadingId,
    pub(crate) number: i64,
    pub(crate) name: String,
    pub(crate) created: Option<Timestamp>,
    /// Pods of it that are ready now (replica sets).
    pub(crate) ready: i64,
    /// How many the whole deployment wanted when this replica set was last scaled.
    pub(crate) desired_then: Option<i64>,
    /// What its pods carry in their label.
    pub(crate) hash: Option<String>,
    pub(crate) template: Value,
}

impl Revision {
    pub(crate) fn parse(object: &Value, reading: ReadingId) -> Option<Self> {
        let annotations = strings(object, "/metadata/annotations");
        let number = number(object, "/revision")
            .or_else(|| annotations.get("deployment.kubernetes.io/revision").and_then(|number| number.parse().ok()))?;
        let labels = strings(object, "/metadata/labels");
        let hash = ["pod-template-hash", "controller-revision-hash"].into_iter().find_map(|key| labels.get(key));
        let template = object.pointer("/spec/template").or_else(|| object.pointer("/data/spec/template"));
        Some(Self {
            reading,
            number,
            name: text(object, "/metadata/name")?,
            created: time(object, "/metadata/creationTimestamp"),
            ready: self::number(object, "/status/readyReplicas").unwrap_or_default(),
            desired_then: annotations
                .get("deployment.kubernetes.io/desired-replicas")
                .and_then(|replicas| replicas.parse().ok()),
            hash: hash.cloned(),
            template: template.cloned().unwrap_or_default(),
        })
    }

    /// Whether a pod was made from it. Stateful sets label pods with the revision's name, the others with a hash.
    pub(crate) fn made(&self, pod: &Pod) -> bool {
        match (&pod.revision_label, &self.hash) {
            (Some(label), _) if *label == self.name => true,
            (Some(label), Some(hash)) => label == hash,
            _ => pod.owner.as_ref().is_some_and(|(kind, name)| kind == "ReplicaSet" && *name == self.name),
        }
    }
}

/// How a container ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) reason: String,
    pub(crate) exit_code: Option<i64>,
    pub(crate) at: Option<Timestamp>,
}

fn ended(state: Option<&Value>) -> Option<Ended> {
    let terminated = state?.get("terminated").filter(|terminated| terminated.is_object())?;
    Some(Ended {
        reason: text(terminated, "/reason").unwrap_or_default(),
        exit_code: number(terminated, "/exitCode"),
        at: time(terminated, "/finishedAt"),
    })
}

/// A container of a pod, with what its status says.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) init: bool,
    pub(crate) ready: bool,
    pub(crate) restarts: i64,
    /// Why it waits: reason and message.
    pub(crate) waiting: Option<(String, String)>,
    pub(crate) running: bool,
    pub(crate) ended: Option<Ended>,
    pub(crate) ended_before: Option<Ended>,
    pub(crate) memory_limit: Option<String>,
    /// Whether it has a readiness probe.
    pub(crate) probed: bool,
}

impl Container {
    pub(crate) fn waits_for(&self, reasons: &[&str]) -> bool {
        self.waiting.as_ref().is_some_and(|(reason, _)| reasons.contains(&reason.as_str()))
    }

    /// How it ended last, in its current state or the one before.
    pub(crate) fn last_end(&self) -> Option<&Ended> {
        self.ended.as_ref().or(self.ended_before.as_ref())
    }
}

/// A pod.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) reading: ReadingId,
    pub(crate) name: String,
    pub(crate) created: Option<Timestamp>,
    pub(crate) phase: String,
    pub(crate) deleting: bool,
    /// When it is to be gone at the latest, once its deletion was asked for.
    pub(crate) deleted_at: Option<Timestamp>,
    pub(crate) ready: bool,
    pub(crate) owner: Option<(String, String)>,
    pub(crate) revision_label: Option<String>,
    /// Why the scheduler found no node.
    pub(crate) unschedulable: Option<String>,
    /// Why it is on its way out or out: `Evicted`, `NodeLost`.
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) node: Option<String>,
    /// The claims that its volumes use.
    pub(crate) claims: Vec<String>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) containers: Vec<Container>,
}

impl Pod {
    pub(crate) fn parse(object: &Value, reading: ReadingId) -> Option<Self> {
        let mut containers = Vec::new();
        for (specs, statuses, init) in [
            ("/spec/initContainers", "/status/initContainerStatuses", true),
            ("/spec/containers", "/status/containerStatuses", false),
        ] {
            let statuses = items(object, statuses);
            for spec in items(object, specs) {
                let Some(name) = text(spec, "/name") else { continue };
                let status = statuses.iter().find(|status| text(status, "/name").as_ref() == Some(&name));
                let status = status.unwrap_or(&Value::Null);
                let waiting = status.pointer("/state/waiting").filter(|waiting| waiting.is_object());
                containers.push(Container {
                    image: text(spec, "/image").unwrap_or_default(),
                    init,
                    ready: flag(status, "/ready"),
                    restarts: number(status, "/restartCount").unwrap_or_default(),
                    waiting: waiting.map(|waiting| {
                        (text(waiting, "/reason").unwrap_or_default(), text(waiting, "/message").unwrap_or_default())
                    }),
                    running: status.pointer("/state/running").is_some_and(Value::is_object),
                    ended: ended(status.get("state")),
                    ended_before: ended(status.get("lastState")),
                    memory_limit: text(spec, "/resources/limits/memory"),
                    probed: spec.get("readinessProbe").is_some_and(Value::is_object),
                    name,
                });
            }
        }
        let conditions = conditions(object);
        let labels = strings(object, "/metadata/labels");
        let owner = items(object, "/metadata/ownerReferences").first();
        Some(Self {
            reading,
            name: text(object, "/metadata/name")?,
            created: time(object, "/metadata/creationTimestamp"),
            phase: text(object, "/status/phase").unwrap_or_default(),
            deleting: object.pointer("/metadata/deletionTimestamp").is_some_and(Value::is_string),
            deleted_at: time(object, "/metadata/deletionTimestamp"),
            ready: conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True"),
            owner: owner.and_then(|owner| text(owner, "/kind").zip(text(owner, "/name"))),
            revision_label: ["controller-revision-hash", "pod-template-hash"]
                .into_iter()
                .find_map(|key| labels.get(key))
                .cloned(),
            unschedulable: conditions
                .iter()
                .find(|condition| condition.kind == "PodScheduled" && condition.status == "False")
                .map(|condition| condition.message.clone()),
            reason: text(object, "/status/reason").unwrap_or_default(),
            message: text(object, "/status/message").unwrap_or_default(),
            node: text(object, "/spec/nodeName"),
            claims: items(object, "/spec/volumes")
                .iter()
                .filter_map(|volume| text(volume, "/persistentVolumeClaim/claimName"))
                .collect(),
            conditions,
            containers,
        })
    }

    pub(crate) fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// Whether it counts: it is not on its way out and has not run to its end.
    pub(crate) fn is_live(&self) -> bool {
        !self.deleting && !matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }
}

/// An event about an object.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) reading: ReadingId,
    pub(crate) about: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
}

impl Event {
    pub(crate) fn parse(object: &Value, reading: ReadingId) -> Self {
        let any = |pointers: [&str; 4]| pointers.into_iter().find_map(|pointer| time(object, pointer));
        Self {
            reading,
            about: text(object, "/involvedObject/name").unwrap_or_default(),
            reason: text(object, "/reason").unwrap_or_default(),
            message: text(object, "/message").or_else(|| text(object, "/note")).unwrap_or_default(),
            first: any(["/firstTimestamp", "/eventTime", "/deprecatedFirstTimestamp", "/metadata/creationTimestamp"]),
            last: any(["/lastTimestamp", "/series/lastObservedTime", "/eventTime", "/metadata/creationTimestamp"]),
        }
    }
}

/// A quantity such as `250m`, `512Mi` or `2`, as a number.
pub(crate) fn quantity(text: &str) -> Option<f64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, suffix) = text.split_at(split);
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        _ => return None,
    };
    digits.parse::<f64>().ok().map(|number| number * factor)
}
