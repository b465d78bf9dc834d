//! `alertmanager`, against a real one.

use std::time::Duration;

use rounds_core::conformance::connector::{ConnectorSubject, DatasourceSubject, Served, Setup};
use rounds_core::plugin::Registration;
use rounds_core::ports::{Clock as _, Query, SystemClock};
use serde_json::{Value, json};

use super::linked;
use crate::alertmanager::{RealAlertmanager, once};

struct Alertmanager;

#[rounds_core::async_trait]
impl ConnectorSubject for Alertmanager {
    fn registration(&self) -> Registration {
        linked("alertmanager")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        Setup::new(json!({ "url": at, "auth": { "type": "bearer" }, "maxAlerts": 2 })).with_secret(secret)
    }

    fn documented(&self) -> Value {
        super::documented(include_str!("../../../../docs/connectors/alertmanager.md"))
    }

    async fn serve(&self, _: &str) -> Served {
        // It asks nobody for a token, and no query can change it.
        let server = RealAlertmanager::start().await;
        for name in ["A", "B", "C"] {
            let began = SystemClock.now() - Duration::from_secs(60);
            server.alert(json!({ "alertname": name, "namespace": "shop" }), began).await;
        }
        once(&server.url, "ALERTS", 3).await;
        Served::new(server.url.clone(), || 0).keeping(server)
    }

    fn waived(&self) -> Vec<(&'static str, &'static str)> {
        vec![(
            "an_answer_that_says_nothing_is_no_answer",
            "an empty list is how Alertmanager says that nothing fires; what else says nothing is refused in \
             tests/it/alertmanager.rs",
        )]
    }
}

fn instant(expr: &str) -> Query {
    Query::Instant { expr: expr.into(), at: None }
}

fn changes() -> (Query, Query) {
    let (start, end) = (SystemClock.now() - Duration::from_secs(3600), SystemClock.now() + Duration::from_secs(60));
    let of = |start, end| Query::Changes { start, end, namespace: Some("shop".into()) };
    (of(start, end), of(end, start))
}

impl DatasourceSubject for Alertmanager {
    fn queries(&self) -> Vec<Query> {
        vec![instant(r#"ALERTS{alertname="A"}"#), changes().0]
    }

    fn malformed(&self) -> Vec<Query> {
        let (start, end) = (SystemClock.now() - Duration::from_secs(3600), SystemClock.now());
        vec![
            instant(""),
            instant("count(ALERTS)"),
            instant("up"),
            Query::Instant { expr: "ALERTS".into(), at: Some(start) },
            Query::Range { expr: "ALERTS".into(), start, end, step: Duration::from_secs(60) },
            changes().1,
        ]
    }

    fn too_much(&self) -> Option<Query> {
        Some(instant("ALERTS"))
    }
}

rounds_core::datasource_conformance!(strict: Alertmanager);
