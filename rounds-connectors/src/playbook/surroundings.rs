//! What stands around a workload: nodes, claims, quotas, services and config maps. Each is read only when what was
//! read of the workload itself gives a reason to.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use rounds_core::Timestamp;
use rounds_core::investigation::ReadingId;
use serde_json::Value;

use super::kube::{Condition, Event, Pod, conditions, items, strings, text};
use super::locate::{Hints, is_name};
use super::observe::Observed;
use super::read::Reader;
use super::references;

/// The most objects of one kind that are looked at.
const MOST: usize = 2;

/// Everything around the workload that was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    pub(crate) nodes: Vec<Node>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) quotas: Vec<Quota>,
    pub(crate) services: Vec<Service>,
    /// Config maps that exist although a pod misses them, by name.
    pub(crate) config_maps: Vec<(String, ReadingId)>,
}

/// A node.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) reading: ReadingId,
    pub(crate) name: String,
    pub(crate) conditions: Vec<Condition>,
}

impl Node {
    pub(crate) fn ready(&self) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == "Ready")
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready().is_some_and(|condition| condition.status == "True")
    }
}

/// A claim for a volume.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) reading: ReadingId,
    pub(crate) name: String,
    pub(crate) phase: String,
    pub(crate) class: Option<String>,
    pub(crate) size: Option<String>,
    /// What the volume controller or the provisioner said last.
    pub(crate) event: Option<Event>,
}

/// A quota of the namespace: resource, used, hard.
#[derive(Debug, Clone)]
pub(crate) struct Quota {
    pub(crate) reading: ReadingId,
    pub(crate) name: String,
    pub(crate) rows: Vec<(String, String, String)>,
}

/// A service with what stands behind it.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) reading: ReadingId,
    pub(crate) name: String,
    pub(crate) selector: BTreeMap<String, String>,
    /// The labels of the alert name it.
    pub(crate) named: bool,
    /// Addresses that take traffic, and those that are not ready, with where that was read; `None`: not known.
    pub(crate) endpoints: Option<(usize, usize, ReadingId)>,
}

impl Service {
    pub(crate) fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// Whether a pod's state says that its node may be gone. The kubelet reports nothing any more then: the node
/// controller alone marks the pod unready, and its containers still look well.
pub(crate) fn may_be_lost(pod: &Pod, now: Timestamp) -> bool {
    let mut apps = pod.containers.iter().filter(|container| !container.init).peekable();
    let looks_well = apps.peek().is_some() && apps.all(|container| container.ready && container.running);
    let gated = pod.condition("Ready").is_some_and(|ready| ready.reason == "ReadinessGatesNotReady");
    let overdue = pod.deleted_at.is_some_and(|at| now - at > TimeDelta::minutes(1));
    pod.node.is_some()
        && !matches!(pod.phase.as_str(), "Succeeded" | "Failed")
        && (pod.reason == "NodeLost"
            || pod.phase == "Unknown"
            || evicted_by_taint(pod).is_some()
            || overdue
            || (!pod.ready && !pod.deleting && looks_well && !gated))
}

/// The condition that says that a `NoExecute` taint ended the pod.
pub(crate) fn evicted_by_taint(pod: &Pod) -> Option<&Condition> {
    pod.condition("DisruptionTarget")
        .filter(|target| target.status == "True" && target.reason == "DeletionByTaintManager")
}

/// Reads what the suspicions call for.
pub(crate) async fn look_around(observed: &mut Observed, reader: &mut Reader<'_>, hints: &Hints) {
    nodes(observed, reader).await;
    claims(observed, reader).await;
    quotas(observed, reader).await;
    config_maps(observed, reader).await;
    services(observed, reader, hints).await;
}

async fn nodes(observed: &mut Observed, reader: &mut Reader<'_>) {
    let suspects = observed.pods.iter().flatten().filter(|pod| may_be_lost(pod, observed.now));
    for name in distinct(suspects.filter_map(|pod| pod.node.clone())) {
        let argv = ["get", "node", &name, "-o", "json"];
        if let Err(refusal) = reader.would_read(&argv).await {
            reader.ledger.unknown(format!("the state of node {name} was not read: {refusal}"));
            continue;
        }
        let Ok(read) = reader.run(&argv).await else { continue };
        let Ok(object) = serde_json::from_str::<Value>(&read.value) else { continue };
        observed.around.nodes.push(Node { reading: read.id, name, conditions: conditions(&object) });
    }
}

async fn claims(observed: &mut Observed, reader: &mut Reader<'_>) {
    let about_volumes =
        |pod: &&Pod| pod.unschedulable.as_ref().is_some_and(|why| why.to_lowercase().contains("volume"));
    let names = distinct(observed.failing().into_iter().filter(about_volumes).flat_map(|pod| pod.claims.clone()));
    let namespace = observed.workload.namespace.clone();
    for name in names {
        let Ok(read) = reader.object("persistentvolumeclaim", &namespace, &name).await else { continue };
        let phase = text(&read.value, "/status/phase").unwrap_or_default();
        let mut event = None;
        if phase != "Bound" {
            let selector = format!("involvedObject.kind=PersistentVolumeClaim,involvedObject.name={name}");
            let list = reader.list("events", &namespace, &["--field-selector", &selector], 0).await;
            let events = list.iter().flat_map(|list| &list.items).map(|item| Event::parse(&item.value, item.id));
            event = events.filter(|event| event.about == name).max_by_key(|event| event.last);
        }
        observed.around.claims.push(Claim {
            reading: read.id,
            phase,
            class: text(&read.value, "/spec/storageClassName"),
            size: text(&read.value, "/spec/resources/requests/storage"),
            event,
            name,
        });
    }
}

async fn quotas(observed: &mut Observed, reader: &mut Reader<'_>) {
    let failed = observed.events.iter().filter(|event| event.reason == "FailedCreate").map(|event| &event.message);
    let condition = observed.workload.condition("ReplicaFailure").map(|condition| &condition.message);
    let names = distinct(failed.chain(condition).filter_map(|message| quota_of(message)));
    let namespace = observed.workload.namespace.clone();
    for name in names {
        let Ok(read) = reader.object("resourcequota", &namespace, &name).await else { continue };
        let used = strings(&read.value, "/status/used");
        let rows = strings(&read.value, "/status/hard").into_iter().map(|(resource, hard)| {
            let used = used.get(&resource).cloned().unwrap_or_else(|| "0".into());
            (resource, used, hard)
        });
        observed.around.quotas.push(Quota { reading: read.id, rows: rows.collect(), name });
    }
}

/// The quota that an admission message names: `exceeded quota: team, requested: …` or `failed quota: team: must …`.
pub(crate) fn quota_of(message: &str) -> Option<String> {
    let rest = ["exceeded quota: ", "failed quota: "].iter().find_map(|words| message.split_once(words))?.1;
    let name: String = rest.chars().take_while(|c| !matches!(c, ',' | ':' | ' ')).collect();
    is_name(&name).then_some(name)
}

async fn config_maps(observed: &mut Observed, reader: &mut Reader<'_>) {
    let failing = observed.failing();
    let missing = failing.iter().filter_map(|pod| references::missing(observed, pod)).filter(|found| !found.secret);
    // A table shows whether it exists and none of what it holds.
    let names = distinct(missing.filter(|found| found.key.is_none()).filter_map(|found| found.name));
    let namespace = observed.workload.namespace.clone();
    for name in names {
        if let Ok(read) = reader.run(&["get", "configmap", &name, "-n", &namespace]).await {
            observed.around.config_maps.push((name, read.id));
        }
    }
}

async fn services(observed: &mut Observed, reader: &mut Reader<'_>, hints: &Hints) {
    let namespace = observed.workload.namespace.clone();
    let mut found = Vec::new();
    if hints.services.is_empty() {
        // Pods that fail have a reason of their own. Pods that run and get nothing may have lost their service.
        if observed.workload.desired.unwrap_or_default() < 1 || !observed.troubled().is_empty() {
            return;
        }
        let Some(list) = reader.list("services", &namespace, &[], 0).await else { return };
        found.extend(list.items.into_iter().map(|item| (item, false)));
    } else {
        for name in hints.services.iter().take(MOST) {
            found.extend(reader.object("service", &namespace, name).await.ok().map(|object| (object, true)));
        }
    }
    let labels = strings(&observed.workload.template, "/metadata/labels");
    let mut services: Vec<Service> = found
        .into_iter()
        .filter_map(|(object, named)| {
            let selector = strings(&object.value, "/spec/selector");
            let name = text(&object.value, "/metadata/name").filter(|name| is_name(name))?;
            Some(Service { reading: object.id, name, selector, named, endpoints: None })
        })
        .filter(|service| !service.selector.is_empty() && is_near(service, &labels, &observed.workload.name))
        // A service that the alert does not name and that selects the healthy pods is as it should be.
        .filter(|service| service.named || !service.selects(&labels))
        .collect();
    services.truncate(MOST);
    for service in &mut services {
        service.endpoints = endpoints(reader, &namespace, &service.name).await;
    }
    observed.around.services = services;
}

/// Whether a service is meant for these pods: it selects them, has their workload's name, or misses them by one label.
pub(crate) fn is_near(service: &Service, labels: &BTreeMap<String, String>, workload: &str) -> bool {
    let hits = service.selector.iter().filter(|(key, value)| labels.get(*key) == Some(value)).count();
    service.name == workload || hits == service.selector.len() || (hits > 0 && hits + 1 == service.selector.len())
}

/// Addresses that take traffic, and those that are not ready.
async fn endpoints(reader: &mut Reader<'_>, namespace: &str, service: &str) -> Option<(usize, usize, ReadingId)> {
    let label = format!("kubernetes.io/service-name={service}");
    let list = reader.list("endpointslices", namespace, &["-l", &label], 0).await?;
    let reading = list.reading;
    let all = list.items.iter().flat_map(|slice| items(&slice.value, "/endpoints"));
    // A missing `ready` means ready, as consumers are told to read it.
    let (ready, unready): (Vec<&Value>, Vec<&Value>) =
        all.partition(|endpoint| endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true));
    list.complete.then_some((ready.len(), unready.len(), reading))
}

/// A few different names, none of which could be anything but a name.
fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in names.filter(|name| is_name(name)) {
        if found.len() < MOST && !found.contains(&name) {
            found.push(name);
        }
    }
    found
}
