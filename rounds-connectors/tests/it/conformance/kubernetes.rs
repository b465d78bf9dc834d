//! `kubernetes`: the real kubectl against the stand-in for a cluster.
#![allow(clippy::disallowed_methods, reason = "the test looks for its own child processes")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rounds_core::conformance::connector::{AdapterSubject, ConnectorSubject, Sample, Served, Setup};
use rounds_core::plugin::{Host, Outbound, Registration};
use rounds_core::step::StepSpec;
use rounds_sandbox::{Sandbox, Workload};
use serde_json::{Value, json};

use super::linked;

/// Its kubectl, and a directory of its own by which its processes are known.
struct Kubernetes {
    kubectl: PathBuf,
    files: tempfile::TempDir,
}

impl Kubernetes {
    fn new() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let kubectl = std::env::var_os("KUBECTL").map(PathBuf::from);
        let kubectl =
            kubectl.or_else(|| std::env::split_paths(&path).map(|dir| dir.join("kubectl")).find(|file| file.is_file()));
        Self { kubectl: kubectl.expect("kubectl is on PATH"), files: tempfile::tempdir().unwrap() }
    }
}

#[rounds_core::async_trait]
impl ConnectorSubject for Kubernetes {
    fn registration(&self) -> Registration {
        linked("kubernetes")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": { "server": at } }],
            "users": [{ "name": "u", "user": { "token": secret } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
        });
        // kubectl asks a server that hangs up until its request timeout, which is half of this, and does so twice.
        Setup::new(json!({ "allowedNamespaces": ["shop"], "timeoutSec": 20 })).with_secret(kubeconfig.to_string())
    }

    fn documented(&self) -> Value {
        json!({ "allowedNamespaces": ["shop", "payments"], "timeoutSec": 60 })
    }

    fn host(&self) -> Host {
        Host {
            run_dir: Some(self.files.path().to_owned()),
            outbound: Outbound::loopback(),
            programs: [("kubectl".to_owned(), self.kubectl.clone())].into(),
            ..Host::default()
        }
    }

    fn deadline(&self) -> Duration {
        // Starting a program takes a while on a busy machine.
        Duration::from_secs(4)
    }

    fn waived(&self) -> Vec<(&'static str, &'static str)> {
        vec![(
            "an_endless_answer_is_not_read_to_its_end",
            "kubectl reads an answer whole before it prints; its time and its output are bounded, its memory is not",
        )]
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
        // Each is given a kubeconfig in the directory of this subject, and nothing else is.
        let mark = self.files.path().to_str()?.as_bytes().to_vec();
        let environments = std::fs::read_dir("/proc").ok()?.flatten();
        let environments = environments.filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
        Some(environments.filter(|environment| environment.windows(mark.len()).any(|part| part == mark)).count())
    }
}

rounds_core::adapter_conformance!(strict: Kubernetes::new());
