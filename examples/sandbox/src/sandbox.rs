//! Starting a sandbox and working with it from Rust.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    access::Access,
    api,
    cluster::{
        Cluster,
        kinds::{self, DEPLOYMENTS, Kind, SERVICES},
        obj,
    },
    controllers,
    faults::{FaultRule, Faults},
    hub::Hub,
    metrics,
    registry::{ImageBehaviour, Registry, UnknownImages},
    requests::{RecordedRequest, RequestLog},
    snapshot::Snapshot,
    tls::Identity,
    traffic::Traffic,
    workload::Workload,
};

/// How the deployment controller words its `ScalingReplicaSet` events. It has changed over the years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScalingWording {
    /// `Scaled down replica set web-abc from 3 to 0`, as current clusters say.
    #[default]
    FromTo,
    /// `Scaled down replica set web-abc to 0 from 3`.
    ToFrom,
    /// `Scaled down replica set web-abc to 0`, as clusters before 1.23 said.
    To,
}

/// How a sandbox is to be.
#[derive(Debug, Clone)]
pub struct Builder {
    speed: f64,
    tls: bool,
    nodes: usize,
    node_cpu: f64,
    node_memory: u64,
    unknown_images: UnknownImages,
    wording: ScalingWording,
    sample_every: Duration,
    api_port: u16,
    prometheus_port: u16,
}

impl Builder {
    /// How much faster than a real cluster things happen: pulls, starts, back-offs, deadlines.
    pub fn speed(mut self, factor: f64) -> Builder {
        self.speed = factor.max(0.01);
        self
    }

    /// TLS and a bearer token (the default), or plain HTTP without either.
    pub fn tls(mut self, on: bool) -> Builder {
        self.tls = on;
        self
    }

    /// How many nodes, and the cores and bytes of memory of each. The default is two of 8 cores and 16 GiB.
    pub fn nodes(mut self, count: usize, cpu: f64, memory_bytes: u64) -> Builder {
        (self.nodes, self.node_cpu, self.node_memory) = (count, cpu, memory_bytes);
        self
    }

    /// What an image that was not registered does.
    pub fn unknown_images(mut self, policy: UnknownImages) -> Builder {
        self.unknown_images = policy;
        self
    }

    /// How scaling events are worded.
    pub fn scaling_wording(mut self, wording: ScalingWording) -> Builder {
        self.wording = wording;
        self
    }

    /// How often metrics are sampled.
    pub fn sample_every(mut self, interval: Duration) -> Builder {
        self.sample_every = interval.max(Duration::from_millis(10));
        self
    }

    /// Fixed ports for the API and for Prometheus; 0 (the default) picks a free one.
    pub fn ports(mut self, api: u16, prometheus: u16) -> Builder {
        (self.api_port, self.prometheus_port) = (api, prometheus);
        self
    }

    /// Starts it, with the namespaces a new cluster has.
    pub async fn start(self) -> anyhow::Result<Sandbox> {
        let bind = async |port: u16| {
            TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
                .await
                .with_context(|| format!("listening on 127.0.0.1:{port}"))
        };
        let api = bind(self.api_port).await?;
        let prometheus = bind(self.prometheus_port).await?;
        let api_address = api.local_addr()?.to_string();
        let prometheus_url = format!("http://{}", prometheus.local_addr()?);
        let identity = if self.tls { Some(Identity::generate()?) } else { None };
        let token = identity.as_ref().map(|_| format!("{}{}", uuid::Uuid::now_v7().simple(), suffix()));
        let registry = Registry::new(self.unknown_images);
        let mut cluster = Cluster::new(registry.clone(), self.speed, self.wording);
        for ns in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            cluster.create_namespace(ns).map_err(refused)?;
        }
        for i in 1..=self.nodes {
            let ip = format!("10.0.0.{i}");
            cluster.add_node(&format!("node-{i}"), self.node_cpu, self.node_memory, &ip).map_err(refused)?;
        }
        let stop = CancellationToken::new();
        let hub = Arc::new(Hub {
            cluster: Mutex::new(cluster),
            history: Mutex::default(),
            requests: RequestLog::default(),
            faults: Faults::default(),
            access: Access::default(),
            token,
            api_address: api_address.clone(),
            stop: stop.clone(),
        });
        let mut tasks = JoinSet::new();
        let quiet = |result: std::io::Result<()>| {
            if let Err(error) = result {
                tracing::warn!(%error, "the sandbox's server stopped");
            }
        };
        let router = api::router(hub.clone());
        match &identity {
            Some(identity) => {
                let listener = identity.listen(api, stop.clone())?;
                tasks.spawn(async move { quiet(axum::serve(listener, router).await) });
            }
            None => {
                tasks.spawn(async move { quiet(axum::serve(api, router).await) });
            }
        }
        let router = metrics::http::router(hub.clone());
        tasks.spawn(async move { quiet(axum::serve(prometheus, router).await) });
        tasks.spawn(run_controllers(hub.clone()));
        tasks.spawn(metrics::sample(hub.clone(), self.sample_every));
        let scheme = if self.tls { "https" } else { "http" };
        Ok(Sandbox {
            api_url: format!("{scheme}://{api_address}"),
            prometheus_url,
            certificate: identity.map(|i| i.certificate_pem),
            registry,
            hub,
            tasks,
        })
    }
}

fn suffix() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn refused(e: api::status::ApiError) -> anyhow::Error {
    anyhow!("{}", e.message())
}

async fn run_controllers(hub: Arc<Hub>) {
    let mut every = tokio::time::interval(Duration::from_millis(20));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut seen, mut idle) = (0, 0);
    loop {
        every.tick().await;
        controllers::tick(&mut hub.cluster(), crate::clock::now(), &mut seen, &mut idle);
    }
}

/// A running sandbox. Dropping it stops it too, without waiting.
#[derive(Debug)]
pub struct Sandbox {
    api_url: String,
    prometheus_url: String,
    certificate: Option<String>,
    registry: Registry,
    hub: Arc<Hub>,
    tasks: JoinSet<()>,
}

impl Sandbox {
    /// A sandbox in real time, over TLS, with two nodes, where every image runs.
    pub fn builder() -> Builder {
        Builder {
            speed: 1.0,
            tls: true,
            nodes: 2,
            node_cpu: 8.0,
            node_memory: 16 << 30,
            unknown_images: UnknownImages::Run,
            wording: ScalingWording::FromTo,
            sample_every: Duration::from_millis(250),
            api_port: 0,
            prometheus_port: 0,
        }
    }

    /// The Kubernetes API's address.
    pub fn api_url(&self) -> &str {
        &self.api_url
    }

    /// The address of the Prometheus-compatible server.
    pub fn prometheus_url(&self) -> &str {
        &self.prometheus_url
    }

    /// The bearer token the API asks for, when it does.
    pub fn token(&self) -> Option<&str> {
        self.hub.token.as_deref()
    }

    /// The API's certificate, in PEM, when it has one.
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// A kubeconfig with one context and only inline data.
    pub fn kubeconfig(&self) -> String {
        let ca = self.certificate.as_ref().map_or_else(String::new, |pem| {
            let data = base64::engine::general_purpose::STANDARD.encode(pem);
            format!("\n    certificate-authority-data: {data}")
        });
        let user = self.hub.token.as_ref().map_or_else(|| " {}".to_owned(), |t| format!("\n    token: {t}"));
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: sandbox\n  cluster:\n    server: {}{ca}\nusers:\n- name: sandbox\n  user:{user}\ncontexts:\n- name: sandbox\n  context:\n    cluster: sandbox\n    user: sandbox\ncurrent-context: sandbox\n",
            self.api_url
        )
    }

    /// The image registry.
    pub fn images(&self) -> &Registry {
        &self.registry
    }

    /// Creates a namespace, if it is not there.
    pub async fn create_namespace(&self, name: &str) -> anyhow::Result<()> {
        self.hub.cluster().create_namespace(name).map_err(refused)
    }

    /// Creates a workload, its service and its load, and its namespace if need be. Its image is
    /// registered as running if nothing was said about it.
    pub async fn create_workload(&self, workload: Workload) -> anyhow::Result<()> {
        self.registry.register_if_unknown(&workload.image, ImageBehaviour::Runs);
        let kind = kinds::by_name(workload.plural()).context("unknown kind")?;
        let mut c = self.hub.cluster();
        c.create_namespace(&workload.namespace).map_err(refused)?;
        c.create(kind, workload.object(), false).map_err(refused)?;
        c.create(&SERVICES, workload.service(), false).map_err(refused)?;
        let traffic = Traffic {
            rps: workload.traffic_rps,
            capacity_per_replica: workload.capacity_rps_per_replica,
            ..Traffic::default()
        };
        c.traffic.insert((workload.plural().to_owned(), workload.namespace.clone(), workload.name.clone()), traffic);
        Ok(())
    }

    /// Creates any object, as `kubectl create` would.
    pub async fn create(&self, object: Value) -> anyhow::Result<()> {
        let kind = kinds::by_name(obj::text(&object, "/kind")).context("a kind the sandbox does not serve")?;
        self.hub.cluster().create(kind, object, false).map(|_| ()).map_err(refused)
    }

    /// Writes an object's status, as a controller of its kind would.
    pub async fn set_status(&self, kind: &str, namespace: &str, name: &str, status: Value) -> anyhow::Result<()> {
        let kind = kinds::by_name(kind).context("a kind the sandbox does not serve")?;
        let object = json!({"metadata": {"namespace": namespace, "name": name}, "status": status});
        self.hub.cluster().update_status(kind, object, false).map(|_| ()).map_err(refused)
    }

    /// Gives a deployment another image, as somebody rolling out a release would: the first container's.
    pub async fn set_image(&self, namespace: &str, name: &str, image: &str) -> anyhow::Result<()> {
        self.change(&DEPLOYMENTS, namespace, name, |d| {
            if let Some(c) = d.pointer_mut("/spec/template/spec/containers/0") {
                c["image"] = json!(image);
            }
        })
    }

    /// Rolls out an image that the registry does not have.
    pub async fn break_image(&self, namespace: &str, name: &str, image: &str) -> anyhow::Result<()> {
        self.registry.register(image, ImageBehaviour::Missing);
        self.set_image(namespace, name, image).await
    }

    /// Scales a deployment.
    pub async fn scale(&self, namespace: &str, name: &str, replicas: u32) -> anyhow::Result<()> {
        self.change(&DEPLOYMENTS, namespace, name, |d| obj::put(d, "/spec/replicas", json!(replicas)))
    }

    /// Changes the load on a workload of any kind with that name.
    pub async fn set_traffic(&self, namespace: &str, name: &str, rps: f64) -> anyhow::Result<()> {
        let mut c = self.hub.cluster();
        let mut found = false;
        for ((_, ns, n), traffic) in &mut c.traffic {
            if ns == namespace && n == name {
                traffic.rps = rps;
                found = true;
            }
        }
        if found { Ok(()) } else { bail!("no workload {namespace}/{name} gets traffic") }
    }

    /// Changes an object through the same path as a client's update.
    fn change(&self, kind: &'static Kind, ns: &str, name: &str, edit: impl FnOnce(&mut Value)) -> anyhow::Result<()> {
        let mut c = self.hub.cluster();
        let found = c.store.get(kind, ns, name).with_context(|| format!("no {} {ns}/{name}", kind.kind))?;
        let mut v = (*found).clone();
        edit(&mut v);
        c.update(kind, v, false).map(|_| ()).map_err(refused)
    }

    /// The objects as they are now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.hub.cluster())
    }

    /// Waits until the cluster is as asked, looking after every write, and fails after the timeout.
    pub async fn wait_until(
        &self,
        mut condition: impl FnMut(&Snapshot) -> bool,
        timeout: Duration,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + timeout;
        let mut versions = self.hub.cluster().store.subscribe();
        loop {
            if condition(&self.snapshot()) {
                return Ok(());
            }
            match tokio::time::timeout_at(until, versions.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => bail!("the sandbox has stopped"),
                Err(_) => bail!("the cluster did not come to the expected state within {timeout:?}"),
            }
        }
    }

    /// The value of a PromQL expression now: the first sample's, if there is one.
    pub fn query(&self, promql: &str) -> anyhow::Result<Option<f64>> {
        metrics::promql::instant_value(&self.hub.history(), promql).map_err(|e| anyhow!("{e}"))
    }

    /// Waits until a PromQL expression's first sample is as asked, looking a few times a second.
    pub async fn wait_for_metric(
        &self,
        promql: &str,
        mut condition: impl FnMut(f64) -> bool,
        timeout: Duration,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + timeout;
        let mut last = None;
        while Instant::now() < until {
            last = self.query(promql)?;
            if last.is_some_and(&mut condition) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("{promql} did not come to the expected value within {timeout:?}; the last was {last:?}")
    }

    /// The requests that the Kubernetes API received, oldest first. The oldest are forgotten.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.hub.requests.all()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.hub.requests.clear();
    }

    /// Makes matching requests fail.
    pub fn fault(&self, rule: FaultRule) {
        self.hub.faults.add(rule);
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.hub.faults.clear();
    }

    /// Takes a right away from the user of the kubeconfig: requests are refused with 403, and access reviews say so. The verb
    /// is one of Kubernetes' (`get`, `list`, `patch`, …) or `*`, the resource a plural with or without a subresource
    /// (`pods/log`), the namespace one or every.
    pub fn forbid(&self, verb: &str, resource: &str, namespace: Option<&str>) {
        self.hub.access.forbid(verb, resource, namespace);
    }

    /// Stops the servers and the controllers, and waits until they have.
    pub async fn shutdown(mut self) {
        self.hub.stop.cancel();
        self.tasks.shutdown().await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.hub.stop.cancel();
    }
}
