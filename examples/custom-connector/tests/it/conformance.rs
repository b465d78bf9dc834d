//! The three connectors, put through the conformance kit.

use rounds_core::Timestamp;
use rounds_core::conformance::connector::{
    AdapterSubject, ConnectorSubject, DatasourceSubject, NotifierSubject, Sample, Served, Setup,
};
use rounds_core::plugin::{Registration, Registry};
use rounds_core::ports::Query;
use rounds_core::step::StepSpec;
use rounds_custom_connector::manager;
use serde_json::{Value, json};

fn linked(kind: &str) -> Registration {
    crate::provide_tls();
    Registry::linked().unwrap().get(kind).unwrap().clone()
}

async fn served(secret: &str) -> Served {
    let manager = manager::serve(secret, &["nginx.service"]).await.unwrap();
    Served::new(manager.url.clone(), move || manager.changes())
}

struct Units;

#[rounds_core::async_trait]
impl ConnectorSubject for Units {
    fn registration(&self) -> Registration {
        linked("units")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        Setup::new(json!({ "url": at, "allowedUnits": ["nginx.service"] })).with_secret(secret)
    }

    fn documented(&self) -> Value {
        json!({ "url": "http://127.0.0.1:9000", "allowedUnits": ["nginx.service"] })
    }

    async fn serve(&self, secret: &str) -> Served {
        served(secret).await
    }
}

impl AdapterSubject for Units {
    fn reads(&self) -> Vec<StepSpec> {
        vec![StepSpec::command(["status", "nginx.service"])]
    }

    fn writes(&self) -> Vec<Sample> {
        ["start", "restart", "stop"].map(|verb| Sample::new(StepSpec::command([verb, "nginx.service"]))).into()
    }

    fn refused(&self) -> Vec<StepSpec> {
        vec![
            StepSpec::command(["stop", "sshd.service"]),
            StepSpec::command(["reboot", "nginx.service"]),
            StepSpec::command(["stop"]),
        ]
    }
}

mod units {
    rounds_core::adapter_conformance!(strict: super::Units);
}

struct Journal;

#[rounds_core::async_trait]
impl ConnectorSubject for Journal {
    fn registration(&self) -> Registration {
        linked("unit-journal")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        Setup::new(json!({ "url": at })).with_secret(secret)
    }

    fn documented(&self) -> Value {
        json!({ "url": "http://127.0.0.1:9000" })
    }

    async fn serve(&self, secret: &str) -> Served {
        served(secret).await
    }
}

fn logs(unit: &str, minutes: i64, limit: u32) -> Query {
    let start = Timestamp::UNIX_EPOCH;
    let end = Timestamp::from_timestamp(60 * minutes, 0).unwrap();
    Query::Logs { expr: unit.into(), start, end, limit }
}

impl DatasourceSubject for Journal {
    fn queries(&self) -> Vec<Query> {
        vec![logs("nginx.service", 5, 10)]
    }

    fn malformed(&self) -> Vec<Query> {
        vec![logs(" ", 5, 10), logs("nginx.service", -5, 10), logs("absent.service", 5, 10)]
    }

    fn too_much(&self) -> Option<Query> {
        Some(logs("nginx.service", 5, 2))
    }
}

mod journal {
    rounds_core::datasource_conformance!(strict: super::Journal);
}

struct Board;

#[rounds_core::async_trait]
impl ConnectorSubject for Board {
    fn registration(&self) -> Registration {
        linked("unit-board")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        Setup::new(json!({ "url": at })).with_secret(secret)
    }

    fn documented(&self) -> Value {
        json!({ "url": "http://127.0.0.1:9000" })
    }

    async fn serve(&self, secret: &str) -> Served {
        served(secret).await
    }
}

impl NotifierSubject for Board {}

mod board {
    rounds_core::notifier_conformance!(strict: super::Board);
}
