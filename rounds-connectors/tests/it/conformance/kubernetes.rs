//! `kubernetes`: the real kubectl against the stand-in for a cluster.

use std::sync::Arc;
use std::time::Duration;

use rounds_core::conformance::connector::{AdapterSubject, ConnectorSubject, Sample, Served, Setup};
use rounds_core::plugin::{Host, Registration};
use rounds_core::step::StepSpec;
use rounds_sandbox::{Sandbox, Workload};
use serde_json::{Value, json};

use super::kubectl::Kubectl;
use super::linked;

struct Kubernetes(Kubectl);

impl Kubernetes {
    fn new() -> Self {
        Self(Kubectl::new())
    }
}

#[rounds_core::async_trait]
impl ConnectorSubject for Kubernetes {
    fn registration(&self) -> Registration {
        linked("kubernetes")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        self.0.setup(at, secret)
    }

    fn documented(&self) -> Value {
        json!({ "allowedNamespaces": ["shop", "payments"], "timeoutSec": 60 })
    }

    fn host(&self) -> Host {
        self.0.host()
    }

    fn deadline(&self) -> Duration {
        Kubectl::DEADLINE
    }

    async fn serve(&self, _: &str) -> Served {
        let sandbox = Sandbox::builder().tls(false).speed(50.0).start().await.unwrap();
        sandbox.create_workload(Workload::new("shop", "web", "registry.k8s.io/pause:3.9")).await.unwrap();
        let rolled_out = |snapshot: &rounds_sandbox::Snapshot| snapshot.rolled_out("shop", "web");
        sandbox.wait_until(rolled_out, Duration::from_secs(30)).await.unwrap();
        sandbox.clear_requests();
        let (address, sandbox) = (sandbox.api_url().to_owned(), Arc::new(sandbox));
        Served::new(address, move || sandbox.requests().iter().filter(|request| request.is_write()).count() as u64)
    }
}

fn kubectl(words: &str) -> StepSpec {
    StepSpec::command(words.split(' '))
}

impl AdapterSubject for Kubernetes {
    fn reads(&self) -> Vec<StepSpec> {
        ["get deployments -n shop", "describe deployment web -n shop", "get pods -n shop -o json"].map(kubectl).into()
    }

    fn writes(&self) -> Vec<Sample> {
        let patch = r#"{"metadata":{"annotations":{"note":"looked at"}}}"#;
        vec![
            Sample::new(kubectl("scale deployment/web --replicas=3 -n shop")),
            Sample::new(kubectl("rollout restart deployment/web -n shop")),
            Sample::new(StepSpec::command(["patch", "deployment", "web", "-n", "shop", "-p", patch])),
        ]
    }

    fn refused(&self) -> Vec<StepSpec> {
        vec![
            kubectl("exec web -n shop -- sh"),
            kubectl("delete deployment web -n kube-system"),
            kubectl("scale deployment/web --replicas=3 -n other"),
            kubectl("get secrets -n shop"),
            kubectl("get pods -n shop --kubeconfig /etc/passwd"),
            kubectl("delete pods --all -n shop"),
            StepSpec::command(["get", "pods", "-n", "shop;id"]),
        ]
    }

    fn child_processes(&self) -> Option<usize> {
        self.0.processes()
    }
}

rounds_core::adapter_conformance!(strict: Kubernetes::new());
