//! Which workload an alert is about: from labels, else from what is unhealthy where the connectors may look.

use std::collections::BTreeMap;

use rounds_core::ports::{ConnectorView, FiredAlert, Toolbox};
use serde_json::Value;

use super::kube::{WorkloadKind, items, strings, text};
use super::read::{Ledger, Missing, Read, Reader};
use crate::prometheus::promql::pinned_labels;

/// A workload that may be the culprit, as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) connector: ConnectorView,
    pub(crate) kind: WorkloadKind,
    pub(crate) object: Read<Value>,
    /// How it was found, for the report.
    pub(crate) how: String,
    /// Whether a label names it; otherwise it was only found unhealthy.
    pub(crate) named: bool,
}

/// What labels say about where to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    pub(crate) namespace: Option<String>,
    pub(crate) workloads: Vec<(WorkloadKind, String)>,
    pub(crate) pods: Vec<String>,
    pub(crate) services: Vec<String>,
    pub(crate) apps: Vec<String>,
    pub(crate) cluster: Option<String>,
}

/// Scraping a metric about another object renames the object's own labels to `exported_…`: those come first.
const NAMESPACE: [&str; 7] = [
    "exported_namespace",
    "namespace",
    "kubernetes_namespace",
    "k8s_namespace_name",
    "namespace_name",
    "kube_namespace",
    "destination_workload_namespace",
];
const POD: [&str; 6] = ["exported_pod", "pod", "pod_name", "kubernetes_pod_name", "k8s_pod_name", "kube_pod"];
const SERVICE: [&str; 5] = ["exported_service", "service", "kubernetes_service", "k8s_service_name", "service_name"];
const APP: [&str; 5] = ["app", "app_kubernetes_io_name", "label_app", "label_app_kubernetes_io_name", "k8s_app"];
const CLUSTER: [&str; 3] = ["cluster", "cluster_name", "k8s_cluster_name"];

/// Whether a text can be the name of an object. Labels are data from elsewhere: what cannot be a name is not used.
pub(crate) fn is_name(text: &str) -> bool {
    let ends = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=253).contains(&bytes.len())
        && bytes.iter().all(|&c| ends(c) || c == b'-' || c == b'.')
        && bytes.first().copied().is_some_and(ends)
        && bytes.last().copied().is_some_and(ends)
}

/// Reads the labels of the sample, then of the rule, then those that the rule's query pins: the first to say
/// something wins, and a workload is closer than a pod, a pod closer than a service.
pub(crate) fn hints(alert: &FiredAlert) -> Hints {
    let (of_rule, pinned) = match &alert.rule {
        Some(rule) => (rule.labels.clone(), pinned_labels(&rule.condition.query)),
        None => Default::default(),
    };
    let sources = [&alert.labels, &of_rule, &pinned];
    let first = |labels: &BTreeMap<String, String>, keys: &[&str]| {
        keys.iter().filter_map(|key| labels.get(*key)).find(|value| is_name(value)).cloned()
    };
    let all = |keys: &[&str]| {
        let mut found: Vec<String> = Vec::new();
        for value in sources.iter().filter_map(|labels| first(labels, keys)) {
            if !found.contains(&value) {
                found.push(value);
            }
        }
        found
    };
    let mut workloads: Vec<(WorkloadKind, String)> = Vec::new();
    for labels in sources {
        for kind in WorkloadKind::ALL {
            let word = kind.word();
            let keys =
                [format!("exported_{word}"), word.to_owned(), format!("k8s_{word}_name"), format!("kube_{word}")];
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            workloads.extend(first(labels, &keys).map(|name| (kind, name)));
        }
        // As recording rules of the Kubernetes mixin and service meshes say it.
        for (name, kind) in [("workload", "workload_type"), ("destination_workload", "")] {
            let Some(name) = labels.get(name).filter(|name| is_name(name)) else { continue };
            match labels.get(kind).and_then(|kind| WorkloadKind::parse(kind)) {
                Some(kind) => workloads.push((kind, name.clone())),
                None => workloads.extend(WorkloadKind::ALL.map(|kind| (kind, name.clone()))),
            }
        }
    }
    let mut distinct = Vec::new();
    for workload in workloads {
        if !distinct.contains(&workload) {
            distinct.push(workload);
        }
    }
    Hints {
        namespace: sources.iter().find_map(|labels| first(labels, &NAMESPACE)),
        workloads: distinct,
        pods: all(&POD),
        services: all(&SERVICE),
        apps: all(&APP),
        cluster: sources.iter().find_map(|labels| CLUSTER.iter().find_map(|key| labels.get(*key))).cloned(),
    }
}

/// Where it is looked, and how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) namespaces: usize,
    pub(crate) candidates: usize,
}

/// Finds the workloads that may be behind the alert. Several mean that it is not clear.
pub(crate) async fn locate(tools: &dyn Toolbox, hints: &Hints, limits: Limits, ledger: &mut Ledger) -> Vec<Candidate> {
    let places = places(tools, hints, limits, ledger);
    let mut found = Vec::new();
    for (connector, namespace) in &places {
        let mut reader = Reader::new(tools, connector, ledger);
        found.extend(by_name(&mut reader, hints, namespace).await);
    }
    let strict = !hints.workloads.is_empty();
    if found.is_empty() && !strict {
        for (connector, namespace) in &places {
            let mut reader = Reader::new(tools, connector, ledger);
            found.extend(by_pod(&mut reader, hints, namespace).await);
        }
    }
    if found.is_empty() && !strict {
        for (connector, namespace) in &places {
            let mut reader = Reader::new(tools, connector, ledger);
            found.extend(by_service_or_app(&mut reader, hints, namespace).await);
        }
    }
    if found.is_empty() && strict && !places.is_empty() {
        let names: Vec<_> = hints.workloads.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
        ledger.unknown(format!(
            "the labels name {}, which was found in none of the namespaces that were looked at",
            names.join(" or ")
        ));
        return found;
    }
    if found.is_empty() {
        for (connector, namespace) in &places {
            let mut reader = Reader::new(tools, connector, ledger);
            found.extend(unhealthy(&mut reader, namespace).await);
        }
    }
    // Something that is off may be meant to be off: what fails comes first.
    found.sort_by_key(|candidate| super::kube::number(&candidate.object.value, "/spec/replicas") == Some(0));
    if found.len() > limits.candidates {
        ledger.unknown(format!(
            "{} workloads came into question, of which {} were looked at",
            found.len(),
            limits.candidates
        ));
        found.truncate(limits.candidates);
    }
    found
}

/// The namespaces to look into, each with a connector that may.
fn places(tools: &dyn Toolbox, hints: &Hints, limits: Limits, ledger: &mut Ledger) -> Vec<(ConnectorView, String)> {
    let mut connectors: Vec<ConnectorView> =
        tools.connectors().into_iter().filter(|connector| connector.kind == "kubernetes").collect();
    if connectors.is_empty() {
        ledger.unknown("there is no Kubernetes connector, so no cluster was looked at");
    }
    if let Some(cluster) = &hints.cluster
        && connectors.iter().any(|connector| connector.name == *cluster)
    {
        connectors.retain(|connector| connector.name == *cluster);
    }
    let allowed = connectors
        .iter()
        .map(|connector| format!("{} [{}]", connector.name, connector.info.namespaces.join(", ")))
        .collect::<Vec<_>>()
        .join(", ");
    let some = !connectors.is_empty();
    let mut places = Vec::new();
    for connector in connectors {
        for namespace in connector.info.namespaces.clone() {
            if hints.namespace.as_ref().is_none_or(|wanted| *wanted == namespace) && is_name(&namespace) {
                places.push((connector.clone(), namespace));
            }
        }
    }
    if let (Some(namespace), true, true) = (&hints.namespace, places.is_empty(), some) {
        ledger.unknown(format!(
            "the labels name the namespace {namespace}, and no Kubernetes connector may look there: add it to the \
             allowed namespaces of one (now: {allowed})"
        ));
    }
    if places.len() > limits.namespaces {
        ledger.unknown(format!(
            "{} namespaces came into question, of which {} were looked at: a `namespace` label on the alert rule would \
             say where",
            places.len(),
            limits.namespaces
        ));
        places.truncate(limits.namespaces);
    }
    places
}

async fn by_name(reader: &mut Reader<'_>, hints: &Hints, namespace: &str) -> Option<Candidate> {
    for (kind, name) in &hints.workloads {
        if let Ok(object) = reader.object(kind.word(), namespace, name).await {
            let how = format!("the labels name {kind} {name}");
            return Some(Candidate { connector: reader.connector.clone(), kind: *kind, object, how, named: true });
        }
    }
    None
}

async fn by_pod(reader: &mut Reader<'_>, hints: &Hints, namespace: &str) -> Option<Candidate> {
    for pod in &hints.pods {
        let owner = match reader.object("pod", namespace, pod).await {
            Ok(object) => owner_of(&object.value),
            // The pod is gone; its name tells which replica set made it.
            Err(Missing::NotFound(_)) => pod.rsplit_once('-').map(|(set, _)| ("ReplicaSet".to_owned(), set.to_owned())),
            Err(Missing::Unreadable) => None,
        };
        let Some((kind, name)) = owner else { continue };
        let (kind, name) = if kind == "ReplicaSet" {
            let deployment = match reader.object("replicaset", namespace, &name).await {
                Ok(object) => owner_of(&object.value).map(|(_, name)| name),
                Err(_) => name.rsplit_once('-').map(|(deployment, _)| deployment.to_owned()),
            };
            let Some(deployment) = deployment else { continue };
            (WorkloadKind::Deployment, deployment)
        } else {
            let Some(kind) = WorkloadKind::parse(&kind) else { continue };
            (kind, name)
        };
        if is_name(&name)
            && let Ok(object) = reader.object(kind.word(), namespace, &name).await
        {
            let how = format!("the labels name pod {pod}, which {kind} {name} owns");
            return Some(Candidate { connector: reader.connector.clone(), kind, object, how, named: true });
        }
    }
    None
}

fn owner_of(object: &Value) -> Option<(String, String)> {
    items(object, "/metadata/ownerReferences").iter().find_map(|owner| text(owner, "/kind").zip(text(owner, "/name")))
}

async fn by_service_or_app(reader: &mut Reader<'_>, hints: &Hints, namespace: &str) -> Option<Candidate> {
    for service in &hints.services {
        let Ok(object) = reader.object("service", namespace, service).await else { continue };
        let selector = strings(&object.value, "/spec/selector");
        if selector.is_empty() {
            continue;
        }
        let how = format!("the labels name service {service}, which selects its pods");
        let picks = |_: &str, template: &BTreeMap<String, String>| {
            selector.iter().all(|(key, value)| template.get(key) == Some(value))
        };
        if let Some(candidate) = only_one(reader, namespace, &picks, &how).await {
            return Some(candidate);
        }
        // A service that selects no pods at all may miss them by one label.
        let how =
            format!("the labels name service {service}, which selects no pods and misses those of this one narrowly");
        let narrowly = |workload: &str, template: &BTreeMap<String, String>| {
            let hits = selector.iter().filter(|(key, value)| template.get(*key) == Some(value)).count();
            hits < selector.len() && (workload == service || (hits > 0 && hits + 1 == selector.len()))
        };
        if let Some(candidate) = only_one(reader, namespace, &narrowly, &how).await {
            return Some(candidate);
        }
    }
    for app in &hints.apps {
        let how = format!("the labels name app {app}, and it is the only workload that carries it");
        let picks = |_: &str, template: &BTreeMap<String, String>| {
            ["app", "app.kubernetes.io/name", "k8s-app"].iter().any(|key| template.get(*key) == Some(app))
        };
        if let Some(candidate) = only_one(reader, namespace, &picks, &how).await {
            return Some(candidate);
        }
    }
    None
}

/// The workload whose pods carry such labels, when there is exactly one.
async fn only_one(
    reader: &mut Reader<'_>,
    namespace: &str,
    picks: &(dyn Fn(&str, &BTreeMap<String, String>) -> bool + Sync),
    how: &str,
) -> Option<Candidate> {
    let mut found = Vec::new();
    for kind in WorkloadKind::ALL {
        let list = reader.list(kind.word(), namespace, &[], 10).await?;
        let picked = list.items.into_iter().filter(|item| {
            let name = text(&item.value, "/metadata/name").unwrap_or_default();
            picks(&name, &strings(&item.value, "/spec/template/metadata/labels"))
        });
        found.extend(picked.map(|object| (kind, object)));
    }
    if found.len() > 1 {
        let names: Vec<_> = found.iter().filter_map(|(_, object)| text(&object.value, "/metadata/name")).collect();
        reader.ledger.unknown(format!(
            "{how}, but {} workloads fit ({}): a label such as `deployment` on the alert rule would say which",
            found.len(),
            names.join(", ")
        ));
        return None;
    }
    let (kind, object) = found.pop()?;
    Some(Candidate { connector: reader.connector.clone(), kind, object, how: how.to_owned(), named: true })
}

/// Workloads of a namespace that have fewer ready pods than wanted, or none because somebody wants none.
async fn unhealthy(reader: &mut Reader<'_>, namespace: &str) -> Vec<Candidate> {
    let mut found = Vec::new();
    for kind in WorkloadKind::ALL {
        let Some(table) = reader.table(kind.word(), namespace).await else { continue };
        let suspects: Vec<String> = table
            .value
            .rows
            .iter()
            .filter(|row| {
                row.ready().is_some_and(|(ready, desired)| {
                    ready < desired || (desired == 0 && kind != WorkloadKind::DaemonSet)
                })
            })
            .filter_map(super::read::Row::name)
            .take(8)
            .collect();
        for name in suspects {
            let Ok(object) = reader.object(kind.word(), namespace, &name).await else { continue };
            let how = "no label says which workload it is; this one is not healthy".to_owned();
            found.push(Candidate { connector: reader.connector.clone(), kind, object, how, named: false });
        }
    }
    found
}
