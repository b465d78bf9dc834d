//! `flux`: the real kubectl against the stand-in for a cluster, with a controller that handles what it is asked.

use std::sync::{Arc, Weak};
use std::time::Duration;

use rounds_core::conformance::connector::{AdapterSubject, ConnectorSubject, Sample, Served, Setup};
use rounds_core::plugin::{Host, Registration};
use rounds_core::step::StepSpec;
use rounds_sandbox::Sandbox;
use serde_json::{Value, json};

use super::kubectl::Kubectl;
use super::linked;

struct Flux(Kubectl);

impl Flux {
    fn new() -> Self {
        Self(Kubectl::new())
    }
}

#[rounds_core::async_trait]
impl ConnectorSubject for Flux {
    fn registration(&self) -> Registration {
        linked("flux")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        self.0.setup(at, secret)
    }

    fn documented(&self) -> Value {
        json!({ "allowedNamespaces": ["flux-system", "shop"], "timeoutSec": 180 })
    }

    fn host(&self) -> Host {
        self.0.host()
    }

    fn deadline(&self) -> Duration {
        Kubectl::DEADLINE
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
        self.0.processes()
    }
}

rounds_core::adapter_conformance!(strict: Flux::new());
