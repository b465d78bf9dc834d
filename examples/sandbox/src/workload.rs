//! Describing a workload to create.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The kind of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WorkloadKind {
    /// `apps/v1` Deployment.
    #[default]
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
    /// `apps/v1` DaemonSet.
    DaemonSet,
}

/// A workload, the service in front of it and the load it gets.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Its namespace, made if it is not there.
    pub namespace: String,
    /// Its name, also that of its service.
    pub name: String,
    /// What it is.
    pub kind: WorkloadKind,
    /// The image of its container.
    pub image: String,
    /// How many replicas (a daemon set has one a node).
    pub replicas: u32,
    /// The container's name.
    pub container: String,
    /// Labels beside `app`, on the workload and its pods.
    pub labels: BTreeMap<String, String>,
    /// Requests a second that arrive.
    pub traffic_rps: f64,
    /// Requests a second one ready replica can serve.
    pub capacity_rps_per_replica: f64,
    /// `spec.strategy.rollingUpdate` of a deployment as (maxUnavailable, maxSurge), such as `("50%", "1")`.
    /// The cluster's default is 25% of each.
    pub rolling_update: Option<(String, String)>,
    /// Requests and limits as (cpu, memory), such as `("100m", "128Mi")`.
    pub resources: Option<(String, String)>,
    /// `spec.progressDeadlineSeconds` of a deployment.
    pub progress_deadline_s: Option<u32>,
    /// Environment variables of the container.
    pub env: BTreeMap<String, String>,
}

impl Workload {
    /// A deployment of three replicas, with a load that two of them can carry.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, image: impl Into<String>) -> Workload {
        Workload {
            namespace: namespace.into(),
            name: name.into(),
            kind: WorkloadKind::Deployment,
            image: image.into(),
            replicas: 3,
            container: "app".to_owned(),
            labels: BTreeMap::new(),
            traffic_rps: 100.0,
            capacity_rps_per_replica: 50.0,
            rolling_update: None,
            resources: None,
            progress_deadline_s: None,
            env: BTreeMap::new(),
        }
    }

    pub(crate) fn plural(&self) -> &'static str {
        match self.kind {
            WorkloadKind::Deployment => "deployments",
            WorkloadKind::StatefulSet => "statefulsets",
            WorkloadKind::DaemonSet => "daemonsets",
        }
    }

    fn pod_labels(&self) -> Value {
        let mut labels = json!({"app": self.name});
        for (key, value) in &self.labels {
            labels[key] = json!(value);
        }
        labels
    }

    pub(crate) fn object(&self) -> Value {
        let mut container = json!({
            "name": self.container, "image": self.image, "ports": [{"name": "http", "containerPort": 8080}],
        });
        if let Some((cpu, memory)) = &self.resources {
            let both = json!({"cpu": cpu, "memory": memory});
            container["resources"] = json!({"requests": both, "limits": both});
        }
        if !self.env.is_empty() {
            container["env"] = self.env.iter().map(|(k, v)| json!({"name": k, "value": v})).collect();
        }
        let mut spec = json!({
            "selector": {"matchLabels": {"app": self.name}},
            "template": {"metadata": {"labels": self.pod_labels()}, "spec": {"containers": [container]}},
        });
        if self.kind != WorkloadKind::DaemonSet {
            spec["replicas"] = json!(self.replicas);
        }
        if self.kind == WorkloadKind::StatefulSet {
            spec["serviceName"] = json!(self.name);
        }
        if self.kind == WorkloadKind::Deployment {
            if let Some((unavailable, surge)) = &self.rolling_update {
                let number = |s: &str| s.parse::<i64>().map_or_else(|_| json!(s), |n| json!(n));
                spec["strategy"]["rollingUpdate"] =
                    json!({"maxUnavailable": number(unavailable), "maxSurge": number(surge)});
            }
            if let Some(seconds) = self.progress_deadline_s {
                spec["progressDeadlineSeconds"] = json!(seconds);
            }
        }
        json!({
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": self.pod_labels()},
            "spec": spec,
        })
    }

    pub(crate) fn service(&self) -> Value {
        json!({
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": {"app": self.name}},
            "spec": {"selector": {"app": self.name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        })
    }
}
