//! The cluster's objects at one moment, to ask questions of.

use std::sync::Arc;

use serde_json::Value;

use crate::cluster::{
    Cluster,
    kinds::{self, DEPLOYMENTS, PODS},
    obj,
};

/// The cluster's objects at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    version: u64,
    objects: Vec<((&'static str, &'static str), Arc<Value>)>,
}

impl Snapshot {
    pub(crate) fn of(c: &Cluster) -> Snapshot {
        Snapshot { version: c.store.version(), objects: c.store.all().map(|(k, v)| ((k.0, k.1), v.clone())).collect() }
    }

    /// The resource version: equal versions mean that nothing was written in between.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The objects of a kind (`Deployment`, `pods`, `deploy`) in a namespace, or in all with `None`.
    pub fn list(&self, kind: &str, namespace: Option<&str>) -> Vec<&Value> {
        let Some(kind) = kinds::by_name(kind) else { return Vec::new() };
        self.objects
            .iter()
            .filter(|(id, v)| *id == kind.id() && namespace.is_none_or(|ns| obj::ns(v) == ns))
            .map(|(_, v)| &**v)
            .collect()
    }

    /// One object.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<&Value> {
        let kind = kinds::by_name(kind)?;
        let ns = if kind.namespaced { namespace } else { "" };
        self.objects
            .iter()
            .find(|(id, v)| *id == kind.id() && obj::name(v) == name && obj::ns(v) == ns)
            .map(|(_, v)| &**v)
    }

    /// Pods of a namespace whose name starts with a workload's.
    pub fn pods_of(&self, namespace: &str, workload: &str) -> Vec<&Value> {
        let prefix = format!("{workload}-");
        self.objects
            .iter()
            .filter(|(id, v)| *id == PODS.id() && obj::ns(v) == namespace && obj::name(v).starts_with(&prefix))
            .map(|(_, v)| &**v)
            .collect()
    }

    /// Whether a deployment's rollout is complete, as `kubectl rollout status` sees it.
    pub fn rolled_out(&self, namespace: &str, deployment: &str) -> bool {
        let found = self
            .objects
            .iter()
            .find(|(id, v)| *id == DEPLOYMENTS.id() && obj::ns(v) == namespace && obj::name(v) == deployment);
        let Some((_, d)) = found else { return false };
        let n = |ptr: &str| obj::int(d, ptr).unwrap_or(0);
        let wanted = n("/spec/replicas");
        n("/status/observedGeneration") >= n("/metadata/generation")
            && n("/status/updatedReplicas") == wanted
            && n("/status/replicas") == wanted
            && n("/status/availableReplicas") == wanted
    }

    /// The reason a container of any of the workload's pods waits for, such as `ImagePullBackOff`.
    pub fn waiting_reason(&self, namespace: &str, workload: &str) -> Option<String> {
        self.pods_of(namespace, workload).into_iter().find_map(|p| {
            obj::items(p, "/status/containerStatuses").iter().find_map(|s| {
                let reason = obj::text(s, "/state/waiting/reason");
                (!reason.is_empty() && reason != "ContainerCreating").then(|| reason.to_owned())
            })
        })
    }
}
