//! `loki`, against a server that answers as Loki does.

use rounds_core::conformance::connector::{ConnectorSubject, DatasourceSubject, Served, Setup};
use rounds_core::plugin::Registration;
use rounds_core::ports::Query;
use serde_json::{Value, json};

use super::linked;
use crate::loki::{Fake, at, fake};

struct Loki;

#[rounds_core::async_trait]
impl ConnectorSubject for Loki {
    fn registration(&self) -> Registration {
        linked("loki")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        let config = json!({ "url": at, "auth": { "type": "bearer" }, "tenant": "blue", "headers": { "X-Team": "a" } });
        Setup::new(config).with_secret(secret)
    }

    fn documented(&self) -> Value {
        super::documented(include_str!("../../../../docs/connectors/loki.md"))
    }

    async fn serve(&self, secret: &str) -> Served {
        // Reading is all that it can do.
        Served::new(Fake { password: Some(secret.into()), ..fake() }.serve().await, || 0)
    }
}

fn logs(expr: &str, limit: u32) -> Query {
    Query::Logs { expr: expr.into(), start: at(0), end: at(2), limit }
}

impl DatasourceSubject for Loki {
    fn queries(&self) -> Vec<Query> {
        vec![
            logs(r#"{namespace="shop"} |= "error""#, 100),
            Query::Labels { label: None, matchers: Vec::new() },
            Query::Labels { label: Some("app".into()), matchers: vec![r#"{app="web"}"#.into()] },
        ]
    }

    fn malformed(&self) -> Vec<Query> {
        vec![
            logs("", 1),
            logs("{}", 1),
            logs(r#"{app="web"} || "x""#, 1),
            logs(r#"rate({app="web"}[5m])"#, 1),
            logs(r#"{app="web"}"#, 0),
            Query::Logs { expr: r#"{app="web"}"#.into(), start: at(2), end: at(0), limit: 1 },
            Query::Labels { label: Some("a/b".into()), matchers: Vec::new() },
        ]
    }

    fn too_much(&self) -> Option<Query> {
        Some(logs(r#"{namespace="shop"}"#, 2))
    }
}

rounds_core::datasource_conformance!(strict: Loki);
