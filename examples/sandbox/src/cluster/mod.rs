//! The cluster's state: objects, what runs in pods, and what is configured about the outside world.

pub(crate) mod defaults;
pub(crate) mod events;
pub(crate) mod kinds;
pub(crate) mod obj;
pub(crate) mod store;
pub(crate) mod view;

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::{
    api::status::ApiError, controllers::pod::PodRuntime, registry::Registry, sandbox::ScalingWording, traffic::Traffic,
};
use kinds::{KINDS, Kind, NAMESPACES, NODES};
use obj::{at, deleting, put, stamp};
use store::Store;

/// Everything behind one lock: controllers and requests take turns, so that each sees whole writes.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) store: Store,
    pub(crate) pods: HashMap<String, PodRuntime>,
    pub(crate) traffic: BTreeMap<(String, String, String), Traffic>,
    pub(crate) registry: Registry,
    pub(crate) speed: f64,
    pub(crate) wording: ScalingWording,
    pub(crate) started: DateTime<Utc>,
    next_ip: u32,
}

/// What a deletion left behind.
pub(crate) enum Deleted {
    /// Gone at once.
    Gone(Value),
    /// Marked; a controller finishes it.
    Pending(Value),
}

impl Cluster {
    pub(crate) fn new(registry: Registry, speed: f64, wording: ScalingWording) -> Cluster {
        Cluster {
            store: Store::new(),
            pods: HashMap::new(),
            traffic: BTreeMap::new(),
            registry,
            speed,
            wording,
            started: crate::clock::now(),
            next_ip: 1,
        }
    }

    /// A cluster delay in real milliseconds, shortened by the speed factor.
    pub(crate) fn delay(&self, ms: f64) -> chrono::Duration {
        chrono::Duration::microseconds((ms * 1000.0 / self.speed) as i64)
    }

    pub(crate) fn pod_ip(&mut self) -> String {
        self.next_ip += 1;
        format!("10.244.{}.{}", (self.next_ip / 250) % 250, self.next_ip % 250 + 1)
    }

    pub(crate) fn create_namespace(&mut self, name: &str) -> Result<(), ApiError> {
        if self.store.get(&NAMESPACES, "", name).is_some() {
            return Ok(());
        }
        self.create(&NAMESPACES, json!({"metadata": {"name": name}}), false).map(|_| ())
    }

    pub(crate) fn add_node(&mut self, name: &str, cpu: f64, memory: u64, ip: &str) -> Result<(), ApiError> {
        let resources = json!({
            "cpu": format!("{}m", (cpu * 1000.0) as u64), "memory": format!("{}Ki", memory / 1024), "pods": "110",
            "ephemeral-storage": "100Gi",
        });
        let now = stamp(crate::clock::now());
        let ok = |kind: &str, status: &str, reason: &str, message: &str| {
            json!({"type": kind, "status": status, "reason": reason, "message": message,
                   "lastHeartbeatTime": now, "lastTransitionTime": now})
        };
        let node = json!({
            "metadata": {"name": name, "labels": {
                "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                "node-role.kubernetes.io/worker": "",
            }},
            "spec": {"podCIDR": "10.244.0.0/24"},
            "status": {
                "capacity": resources, "allocatable": resources,
                "addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}],
                "conditions": [
                    ok("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                    ok("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                    ok("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                    ok("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
                ],
                "nodeInfo": {
                    "kubeletVersion": "v1.33.1", "kubeProxyVersion": "v1.33.1", "operatingSystem": "linux", "architecture": "amd64",
                    "osImage": "Sandbox", "kernelVersion": "6.1.0", "containerRuntimeVersion": "containerd://2.0.0",
                    "machineID": "", "systemUUID": "", "bootID": "",
                },
            },
        });
        self.create(&NODES, node, false).map(|_| ())
    }

    /// Creates an object as the API server would: defaulted, validated, in a namespace that exists.
    pub(crate) fn create(&mut self, kind: &'static Kind, mut object: Value, dry: bool) -> Result<Value, ApiError> {
        if kind.namespaced {
            let ns = obj::ns(&object).to_owned();
            match self.store.get(&NAMESPACES, "", &ns) {
                None => return Err(ApiError::not_found(&NAMESPACES, &ns)),
                Some(found) if deleting(&found) => {
                    return Err(ApiError::new(
                        403,
                        format!(
                            "{} \"{}\" is forbidden: unable to create new content in namespace {ns} because it is being terminated",
                            kind.qualified(),
                            obj::name(&object)
                        ),
                    ));
                }
                Some(_) => {}
            }
        }
        put(&mut object, "/apiVersion", json!(kind.stored_api_version()));
        put(&mut object, "/kind", json!(kind.kind));
        if kind.status && kind.id() != NODES.id() {
            obj::remove(&mut object, "/status");
        }
        defaults::apply(kind, &mut object);
        defaults::validate(kind, &object, None)?;
        let created = (*self.store.create(kind, object, dry)?).clone();
        if kind.id() == NAMESPACES.id() && !dry {
            self.furnish_namespace(obj::name(&created))?;
        }
        Ok(created)
    }

    /// What every new namespace finds in itself.
    fn furnish_namespace(&mut self, ns: &str) -> Result<(), ApiError> {
        self.create(&kinds::SERVICEACCOUNTS, json!({"metadata": {"name": "default", "namespace": ns}}), false)?;
        let root = json!({"metadata": {"name": "kube-root-ca.crt", "namespace": ns}, "data": {"ca.crt": ""}});
        self.create(&kinds::CONFIGMAPS, root, false).map(|_| ())
    }

    /// Replaces an object through the main resource: status stays as it is.
    pub(crate) fn update(&mut self, kind: &'static Kind, mut object: Value, dry: bool) -> Result<Value, ApiError> {
        let Some(old) = self.store.get(kind, obj::ns(&object), obj::name(&object)) else {
            return Err(ApiError::not_found(kind, obj::name(&object)));
        };
        if kind.status {
            match old.get("status") {
                Some(status) => object["status"] = status.clone(),
                None => {
                    obj::remove(&mut object, "/status");
                }
            }
        }
        put(&mut object, "/apiVersion", json!(kind.stored_api_version()));
        put(&mut object, "/kind", json!(kind.kind));
        match old.pointer("/metadata/deletionTimestamp") {
            Some(t) => put(&mut object, "/metadata/deletionTimestamp", t.clone()),
            None => {
                obj::remove(&mut object, "/metadata/deletionTimestamp");
            }
        }
        defaults::apply(kind, &mut object);
        defaults::validate(kind, &object, Some(&old))?;
        self.store.update(kind, object, dry).map(|v| (*v).clone())
    }

    /// Replaces only the status.
    pub(crate) fn update_status(&mut self, kind: &'static Kind, object: Value, dry: bool) -> Result<Value, ApiError> {
        let Some(old) = self.store.get(kind, obj::ns(&object), obj::name(&object)) else {
            return Err(ApiError::not_found(kind, obj::name(&object)));
        };
        let mut new = (*old).clone();
        put(&mut new, "/status", at(&object, "/status").clone());
        put(&mut new, "/metadata/resourceVersion", at(&object, "/metadata/resourceVersion").clone());
        self.store.update(kind, new, dry).map(|v| (*v).clone())
    }

    /// Deletes as the API server would: pods get their grace, finalizers are waited for.
    pub(crate) fn delete(
        &mut self,
        kind: &'static Kind,
        ns: &str,
        name: &str,
        options: &Value,
        dry: bool,
    ) -> Result<Deleted, ApiError> {
        let Some(old) = self.store.get(kind, ns, name) else {
            return Err(ApiError::not_found(kind, name));
        };
        let wanted_uid = obj::text(options, "/preconditions/uid");
        if !wanted_uid.is_empty() && wanted_uid != obj::uid(&old) {
            return Err(ApiError::conflict(kind, name));
        }
        let mut object = (*old).clone();
        let policy = obj::text(options, "/propagationPolicy").to_owned();
        let orphan = policy == "Orphan" || options["orphanDependents"].as_bool().unwrap_or(false);
        if policy == "Foreground" {
            let mut finalizers = obj::items(&object, "/metadata/finalizers").to_vec();
            if !finalizers.iter().any(|f| f == "foregroundDeletion") {
                finalizers.push(json!("foregroundDeletion"));
            }
            put(&mut object, "/metadata/finalizers", json!(finalizers));
        }
        let grace = if kind.plural == "pods" {
            let spec = obj::int(&object, "/spec/terminationGracePeriodSeconds").unwrap_or(30);
            let asked = obj::int(options, "/gracePeriodSeconds").unwrap_or(spec);
            // A pod that no node has seen has nothing to stop.
            if obj::text(&object, "/spec/nodeName").is_empty() { 0 } else { asked }
        } else {
            0
        };
        let waits =
            !obj::items(&object, "/metadata/finalizers").is_empty() || kind.id() == NAMESPACES.id() || grace > 0;
        if waits {
            if !deleting(&object) {
                let at = crate::clock::now() + chrono::Duration::seconds(grace);
                put(&mut object, "/metadata/deletionTimestamp", json!(stamp(at)));
                put(&mut object, "/metadata/deletionGracePeriodSeconds", json!(grace));
                if kind.id() == NAMESPACES.id() {
                    put(&mut object, "/status/phase", json!("Terminating"));
                }
            }
            let marked = (*self.store.update(kind, object, dry)?).clone();
            return Ok(Deleted::Pending(marked));
        }
        if !dry {
            self.store.remove(kind, ns, name);
            if orphan {
                self.orphan(obj::uid(&old));
            }
        }
        Ok(Deleted::Gone(object))
    }

    fn orphan(&mut self, owner: &str) {
        let dependents: Vec<_> = self
            .store
            .all()
            .filter(|(_, v)| obj::items(v, "/metadata/ownerReferences").iter().any(|o| o["uid"] == owner))
            .map(|(k, v)| (k.0, k.1, v.clone()))
            .collect();
        for (group, plural, v) in dependents {
            let Some(kind) = KINDS.iter().find(|k| k.id() == (group, plural)) else { continue };
            let mut v = (*v).clone();
            obj::remove(&mut v, "/metadata/ownerReferences");
            self.store.write(kind, v);
        }
    }
}
