//! `argocd-history`, against a server that answers as Argo CD does.

use rounds_core::conformance::connector::{ConnectorSubject, DatasourceSubject, Served, Setup};
use rounds_core::plugin::Registration;
use rounds_core::ports::Query;
use serde_json::{Value, json};

use super::linked;
use crate::argocd_history::{applications, at, serve};

struct ArgoCdHistory;

#[rounds_core::async_trait]
impl ConnectorSubject for ArgoCdHistory {
    fn registration(&self) -> Registration {
        linked("argocd-history")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        let config = json!({ "url": at, "allowedProjects": ["shop"], "allowedApps": ["*"], "maxChanges": 2 });
        Setup::new(config).with_secret(secret)
    }

    fn documented(&self) -> Value {
        super::documented(include_str!("../../../../docs/connectors/argocd-history.md"))
    }

    async fn serve(&self, secret: &str) -> Served {
        // Reading is all that it can do.
        Served::new(serve(json!(applications()), secret).await, || 0)
    }
}

fn changes(from: i64, to: i64) -> Query {
    Query::Changes { start: at(from), end: at(to), namespace: None }
}

impl DatasourceSubject for ArgoCdHistory {
    fn queries(&self) -> Vec<Query> {
        vec![changes(-15, 0)]
    }

    fn malformed(&self) -> Vec<Query> {
        vec![changes(0, -60), Query::Instant { expr: "up".into(), at: None }]
    }

    fn too_much(&self) -> Option<Query> {
        Some(changes(-600, 0))
    }
}

rounds_core::datasource_conformance!(strict: ArgoCdHistory);
