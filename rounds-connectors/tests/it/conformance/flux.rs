//! `flux`: the real kubectl against the stand-in for a cluster, with a controller that handles what it is asked.
#![allow(clippy::disallowed_methods, reason = "the test looks for its own child processes")]

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rounds_core::conformance::connector::{AdapterSubject, ConnectorSubject, Sample, Served, Setup};
use rounds_core::plugin::{Host, Outbound, Registration};
use rounds_core::step::StepSpec;
use rounds_sandbox::Sandbox;
use serde_json::{Value, json};

use super::linked;

/// Its kubectl, and a directory of its own by which its processes are known.
struct Flux {
    kubectl: PathBuf,
    files: tempfile::TempDir,
}

impl Flux {
    fn new() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let kubectl = std::env::var_os("KUBECTL").map(PathBuf::from);
        let kubectl =
            kubectl.or_else(|| std::env::split_paths(&path).map(|dir| dir.join("kubectl")).find(|file| file.is_file()));
        Self { kubectl: kubectl.expect("kubectl is on PATH"), files: tempfile::tempdir().unwrap() }
    }
}

#[rounds_core::async_trait]
impl ConnectorSubject for Flux {
    fn registration(&self) -> Registration {
        linked("flux")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": { "server": at } }],
            "users": [{ "name": "u", "user": { "token": secret } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
        });
        // kubectl asks a server that makes no sense until its request timeout, which is half of this, and does so twice.
        Setup::new(json!({ "allowedNamespaces": ["shop"], "timeoutSec": 20 })).with_secret(kubeconfig.to_string())
    }

    fn documented(&self) -> Value {
        json!({ "allowedNamespaces": ["flux-system", "shop"], "timeoutSec": 180 })
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
        sandbox.create_namespace("shop").await.unwrap();
        for (api, kind, spec) in [
            ("source.toolkit.fluxcd.io/v1", "GitRepository", json!({ "url": "https://git.example/apps" })),
            (
                "kustomize.toolkit.fluxcd.io/v1",
                "Kustomization",
                json!({ "prune": true, "sourceRef": { "kind": "GitRepository", "name": "apps" } }),
            ),
            ("helm.toolkit.fluxcd.io/v2", "HelmRelease", json!({ "suspend": true })),
        ] {
            let metadata = json!({ "name": "apps", "namespace": "shop" });
            let object = json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec });
            sandbox.create(object).await.unwrap();
        }
        sandbox.clear_requests();
        let (address, sandbox) = (sandbox.api_url().to_owned(), Arc::new(sandbox));
        tokio::spawn(controller(Arc::downgrade(&sandbox)));
        Served::new(address, move || {
            let writes = sandbox.requests().into_iter().filter(|request| request.is_write());
            writes.filter(|request| !request.path.ends_with("/status")).count() as u64
        })
    }
}

/// Handles each request to reconcile, as Flux's controllers do, for as long as there is a cluster.
async fn controller(cluster: Weak<Sandbox>) {
    loop {
        let Some(cluster) = cluster.upgrade() else { return };
        let snapshot = cluster.snapshot();
        for kind in ["GitRepository", "Kustomization"] {
            let Some(object) = snapshot.get(kind, "shop", "apps") else { continue };
            let wanted = &object["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"];
            if wanted.is_null() || *wanted == object["status"]["lastHandledReconcileAt"] {
                continue;
            }
            let ready =
                json!({ "type": "Ready", "status": "True", "reason": "ReconciliationSucceeded", "message": "applied" });
            let status = json!({ "lastHandledReconcileAt": wanted, "conditions": [ready] });
            cluster.set_status(kind, "shop", "apps", status).await.unwrap();
        }
        drop(cluster);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn step(kind: &str, object: &str) -> StepSpec {
    StepSpec::new(kind, json!({ "kind": object, "namespace": "shop", "name": "apps" }))
}

impl AdapterSubject for Flux {
    fn reads(&self) -> Vec<StepSpec> {
        vec![
            step("flux.get", "Kustomization"),
            StepSpec::new("flux.get", json!({ "kind": "GitRepository", "namespace": "shop" })),
        ]
    }

    fn writes(&self) -> Vec<Sample> {
        let source = json!({ "kind": "GitRepository", "namespace": "shop", "name": "apps" });
        let params = json!({ "kind": "Kustomization", "namespace": "shop", "name": "apps", "withSource": source, "prune": true });
        vec![
            Sample::new(step("flux.suspend", "Kustomization")),
            Sample::new(step("flux.resume", "HelmRelease")),
            Sample::new(step("flux.reconcile", "GitRepository")),
            Sample::new(StepSpec::new("flux.reconcile", params)).with_effects(2),
        ]
    }

    fn refused(&self) -> Vec<StepSpec> {
        let named = |kind: &str, namespace: &str, name: &str| {
            StepSpec::new("flux.suspend", json!({ "kind": kind, "namespace": namespace, "name": name }))
        };
        vec![
            named("Kustomization", "flux-system", "apps"),
            named("Kustomization", "shop", "--all"),
            named("Deployment", "shop", "apps"),
            StepSpec::new("flux.suspend", json!({ "kind": "Kustomization", "namespace": "shop" })),
            step("flux.uninstall", "Kustomization"),
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

rounds_core::adapter_conformance!(strict: Flux::new());
