//! What the test of a connector leaves behind.

use std::sync::Arc;

use async_trait::async_trait;
use rounds_core::access::{OrgRole, Principal};
use rounds_core::connector::ConnectorStatus;
use rounds_core::plugin::{BuildContext, BuildError, Registration, Registry};
use rounds_core::ports::{
    Ability, CallContext, CheckReport, DataSet, Datasource, DatasourceInfo, PortError, PortErrorKind, Query, SoleAgent,
};
use rounds_core::service::ConnectorDraft;
use rounds_core::testing::MemoryStore;
use rounds_core::{Error, OrgId, Rounds};

/// Answers, and is of no use.
struct Halfway;

#[async_trait]
impl Datasource for Halfway {
    fn describe(&self) -> DatasourceInfo {
        DatasourceInfo::metrics("PromQL")
    }

    async fn check(&self, _: &CallContext) -> Result<CheckReport, PortError> {
        let long = "é".repeat(5000);
        Ok(CheckReport::new(long)
            .with_abilities([Ability::new("shop", "query", false, "query metrics")])
            .lacking("queries are not permitted"))
    }

    async fn query(&self, _: &CallContext, _: &Query) -> Result<DataSet, PortError> {
        Err(PortError::new(PortErrorKind::Unauthorized, "no"))
    }
}

#[tokio::test]
async fn a_test_that_lacks_something_failed_and_what_it_saw_is_kept_until_the_connector_changes() {
    let registry = Registry::new([Registration::datasource("halfway", "Halfway", Arc::new(Halfway))]).unwrap();
    let admin = Principal::user(OrgId::default(), "ada", OrgRole::Admin);
    let agent = SoleAgent::new(Principal::agent(OrgId::default(), "agent"));
    let rounds = Rounds::builder(Arc::new(MemoryStore::new()), Arc::new(agent)).registry(registry).build().unwrap();
    let connectors = rounds.connectors();
    let made = connectors.create(&admin, ConnectorDraft::new("halfway", "metrics")).await.unwrap();
    assert_eq!(made.last_check, None);
    let error = connectors.test(&admin, made.id).await.unwrap_err();
    assert!(matches!(&error, Error::Port(port) if port.kind == PortErrorKind::Unauthorized), "{error:?}");
    let tested = connectors.get(&admin, made.id).await.unwrap();
    assert_eq!(tested.status, ConnectorStatus::Error);
    assert_eq!(tested.last_verify_error.as_deref(), Some("queries are not permitted"));
    let report = tested.last_check.unwrap();
    assert_eq!(report.abilities, [Ability::new("shop", "query", false, "query metrics")]);
    assert_eq!(report.message.chars().count(), 1001, "a report is kept no larger than it may be");
    let renamed = connectors.update(&admin, made.id, ConnectorDraft::new("halfway", "other")).await.unwrap();
    assert_eq!((renamed.status, renamed.last_check), (ConnectorStatus::Unverified, None));
}

#[tokio::test]
async fn a_connector_that_cannot_even_be_built_failed_its_test_and_says_why() {
    let registration = rounds_core::registration! {
        kind: "hostless",
        title: "Hostless",
        role: Datasource,
        secret: None,
        config: std::collections::BTreeMap<String, String>,
        build: |_: BuildContext, _: std::collections::BTreeMap<String, String>| {
            Err::<Halfway, _>(BuildError::host("the program it needs is not installed"))
        },
    };
    let admin = Principal::user(OrgId::default(), "ada", OrgRole::Admin);
    let agent = SoleAgent::new(Principal::agent(OrgId::default(), "agent"));
    let rounds = Rounds::builder(Arc::new(MemoryStore::new()), Arc::new(agent))
        .registry(Registry::new([registration]).unwrap())
        .build()
        .unwrap();
    let draft = ConnectorDraft::new("hostless", "metrics");
    let made = rounds.connectors().create(&admin, draft).await.unwrap();
    let error = rounds.connectors().test(&admin, made.id).await.unwrap_err();
    assert!(matches!(error, Error::Port(_)), "{error:?}");
    let tested = rounds.connectors().get(&admin, made.id).await.unwrap();
    assert_eq!(tested.status, ConnectorStatus::Error);
    assert!(tested.last_verify_error.unwrap().contains("not installed"));
}
