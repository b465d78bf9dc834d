//! A sandbox with one workload of random names.

use std::time::Duration;

use rounds_sandbox::{Builder, Sandbox, Workload};

use crate::kubectl::Kubectl;

pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) kubectl: Kubectl,
    pub(crate) ns: String,
    pub(crate) name: String,
    pub(crate) container: String,
    pub(crate) image: String,
}

pub(crate) fn random(prefix: &str) -> String {
    format!("{prefix}-{:06x}", rand::random::<u32>() & 0xff_ffff)
}

pub(crate) fn builder() -> Builder {
    Sandbox::builder().speed(20.0).sample_every(Duration::from_millis(100))
}

impl World {
    pub(crate) async fn new() -> World {
        World::with(builder(), |_| {}).await
    }

    pub(crate) async fn with(builder: Builder, adjust: impl FnOnce(&mut Workload)) -> World {
        let sandbox = builder.start().await.unwrap();
        let (ns, name, container) = (random("ns"), random("app"), random("c"));
        let image = format!("registry.test/{}:1.0", random("img"));
        let mut workload = Workload::new(&ns, &name, &image);
        workload.container = container.clone();
        adjust(&mut workload);
        sandbox.create_workload(workload).await.unwrap();
        let (n, d) = (ns.clone(), name.clone());
        sandbox.wait_until(|c| c.rolled_out(&n, &d), SOON).await.unwrap();
        let kubectl = Kubectl::new(&sandbox.kubeconfig());
        World { sandbox, kubectl, ns, name, container, image }
    }

    /// A command line with `{ns}`, `{d}`, `{c}` and `{image}` filled in.
    pub(crate) fn fill(&self, line: &str) -> String {
        line.replace("{ns}", &self.ns)
            .replace("{d}", &self.name)
            .replace("{c}", &self.container)
            .replace("{image}", &self.image)
    }

    pub(crate) async fn run(&self, line: &str) -> String {
        self.kubectl.run(&self.fill(line)).await
    }

    pub(crate) async fn rolled_out(&self) {
        self.sandbox.wait_until(|c| c.rolled_out(&self.ns, &self.name), SOON).await.unwrap();
    }

    pub(crate) async fn waits_for(&self, reason: &str) {
        self.sandbox
            .wait_until(|c| c.waiting_reason(&self.ns, &self.name).as_deref() == Some(reason), SOON)
            .await
            .unwrap();
    }

    pub(crate) async fn metric(&self, promql: &str, condition: impl FnMut(f64) -> bool) {
        self.sandbox.wait_for_metric(&self.fill(promql), condition, SOON).await.unwrap();
    }

    pub(crate) fn image_now(&self) -> String {
        let snapshot = self.sandbox.snapshot();
        let d = snapshot.get("Deployment", &self.ns, &self.name).unwrap();
        d["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
    }

    pub(crate) fn replicas(&self) -> i64 {
        let snapshot = self.sandbox.snapshot();
        snapshot.get("Deployment", &self.ns, &self.name).unwrap()["spec"]["replicas"].as_i64().unwrap()
    }
}
