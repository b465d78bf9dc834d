//! `prometheus`, against a real one.

use std::time::Duration;

use rounds_core::Timestamp;
use rounds_core::conformance::connector::{ConnectorSubject, DatasourceSubject, Served, Setup};
use rounds_core::plugin::Registration;
use rounds_core::ports::{Clock as _, Query, SystemClock};
use serde_json::{Value, json};

use super::linked;
use crate::prometheus::RealPrometheus;

struct Prometheus;

#[rounds_core::async_trait]
impl ConnectorSubject for Prometheus {
    fn registration(&self) -> Registration {
        linked("prometheus")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        Setup::new(json!({ "url": at, "auth": { "type": "bearer" }, "maxSeries": 3 })).with_secret(secret)
    }

    fn documented(&self) -> Value {
        json!({ "url": "http://prometheus.monitoring:9090", "auth": { "type": "bearer" } })
    }

    async fn serve(&self, _: &str) -> Served {
        // It asks nobody for a token, and changes nothing that could be counted.
        let server = RealPrometheus::start().await;
        Served::new(server.url.clone(), || 0).keeping(server)
    }
}

fn range(start: Timestamp, end: Timestamp, step: Duration) -> Query {
    Query::Range { expr: "demo_requests_total".into(), start, end, step }
}

impl DatasourceSubject for Prometheus {
    fn queries(&self) -> Vec<Query> {
        let now = SystemClock.now();
        vec![
            Query::Instant { expr: "demo_requests_total".into(), at: None },
            range(now - Duration::from_secs(60), now + Duration::from_secs(60), Duration::from_secs(1)),
            Query::Labels { label: None, matchers: Vec::new() },
            Query::Labels { label: Some("code".into()), matchers: vec!["demo_requests_total".into()] },
        ]
    }

    fn malformed(&self) -> Vec<Query> {
        let now = SystemClock.now();
        vec![
            Query::Instant { expr: "sum(".into(), at: None },
            Query::Instant { expr: String::new(), at: None },
            range(now, now - Duration::from_secs(60), Duration::from_secs(1)),
            range(now - Duration::from_secs(60), now, Duration::ZERO),
            Query::Labels { label: None, matchers: vec!["{".into()] },
        ]
    }

    fn too_much(&self) -> Option<Query> {
        // Three series are kept, and `{__name__=~".+"}` has those of the scrape itself, too.
        Some(Query::Instant { expr: "{__name__=~\".+\"}".into(), at: None })
    }
}

rounds_core::datasource_conformance!(strict: Prometheus);
