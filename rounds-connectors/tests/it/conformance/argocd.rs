//! `argocd`, against a server that keeps to its protocol.

use rounds_core::conformance::connector::{AdapterSubject, ConnectorSubject, Sample, Served, Setup};
use rounds_core::plugin::Registration;
use rounds_core::step::StepSpec;
use serde_json::{Value, json};

use super::linked;
use crate::argocd::server::{ArgoCd, app};

struct Argo;

#[rounds_core::async_trait]
impl ConnectorSubject for Argo {
    fn registration(&self) -> Registration {
        linked("argocd")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        Setup::new(json!({ "url": at, "allowedProjects": ["shop"], "allowedApps": ["shop-*"] })).with_secret(secret)
    }

    fn documented(&self) -> Value {
        crate::documented(include_str!("../../../../docs/connectors/argocd.md"))
    }

    async fn serve(&self, secret: &str) -> Served {
        let (argo, url) = ArgoCd::accepting(secret).await;
        let mut auto = app("shop-auto", "shop");
        auto["spec"]["syncPolicy"] = json!({ "automated": { "prune": true } });
        argo.put("argocd/shop-auto", auto);
        argo.renders("ddd4", &[]);
        Served::new(url, move || argo.changes())
    }

    fn asks_for_an_effect(&self, request: &str) -> bool {
        !request.starts_with("GET ") || request.lines().next().is_some_and(|line| line.contains("refresh="))
    }
}

fn step(kind: &str, params: Value) -> StepSpec {
    StepSpec::new(kind, params)
}

impl AdapterSubject for Argo {
    fn reads(&self) -> Vec<StepSpec> {
        let app = json!({ "app": "shop-web", "project": "shop" });
        ["argocd.get_app", "argocd.history", "argocd.diff"].map(|kind| step(kind, app.clone())).into()
    }

    fn writes(&self) -> Vec<Sample> {
        let selective = json!([{ "group": "apps", "kind": "Deployment", "name": "web", "namespace": "prod" }]);
        [
            step(
                "argocd.sync",
                json!({ "app": "shop-web", "project": "shop", "revision": "ddd4", "resources": selective }),
            ),
            step(
                "argocd.rollback",
                json!({ "app": "shop-web", "project": "shop", "id": 5, "revision": "aaa1", "destinationNamespace": "prod" }),
            ),
            step("argocd.set_auto_sync", json!({ "app": "shop-auto", "project": "shop", "enabled": false })),
            step("argocd.refresh", json!({ "app": "shop-web", "project": "shop", "hard": true })),
        ]
        .map(Sample::new)
        .into()
    }

    fn refused(&self) -> Vec<StepSpec> {
        vec![
            step("argocd.sync", json!({ "app": "bank-web", "project": "shop" })),
            step("argocd.sync", json!({ "app": "shop-web", "project": "bank" })),
            step("argocd.sync", json!({ "app": "shop-web", "project": "shop", "appNamespace": "team-a" })),
            step("argocd.sync", json!({ "app": "shop-web", "project": "shop", "revision": "--prune" })),
            step("argocd.rollback", json!({ "app": "shop-web", "project": "shop" })),
            step("argocd.rollback", json!({ "app": "shop-web", "project": "shop", "id": 5 })),
            step(
                "argocd.set_auto_sync",
                json!({ "app": "shop-web", "project": "shop", "enabled": false, "prune": true }),
            ),
        ]
    }
}

rounds_core::adapter_conformance!(strict: Argo);
