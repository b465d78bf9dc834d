//! Programs that bring their connectors and rules along, and start more than once; and who may decide for whom.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rounds_core::access::{Action, Denied, OrgRole, Principal, Scope};
use rounds_core::alert::Operator;
use rounds_core::investigation::Proposal;
use rounds_core::plugin::Registry;
use rounds_core::ports::{Authorizer, SoleAgent};
use rounds_core::service::{Approval, ConnectorDraft, RuleDraft};
use rounds_core::step::StepSpec;
use rounds_core::testing::{FakeAdapter, MemoryStore};
use rounds_core::{Error, OrgId, Rounds};
use serde_json::json;

type Config = std::collections::BTreeMap<String, u32>;

fn registry() -> Registry {
    let of_kind = [
        rounds_core::registration! {
            kind: "cluster",
            title: "A cluster",
            role: Execution,
            secret: Optional("A token."),
            config: Config,
            build: |_cx, _config| Ok(FakeAdapter::default()),
        },
        rounds_core::registration! {
            kind: "other",
            title: "Another",
            role: Execution,
            secret: None,
            config: Config,
            build: |_cx, _config| Ok(FakeAdapter::default()),
        },
        rounds_core::registration! {
            kind: "errors",
            title: "Error rate",
            role: Datasource,
            secret: None,
            config: Config,
            build: |_cx, _config| Ok(rounds_core::testing::FakeDatasource::default()),
        },
    ];
    Registry::new(of_kind).unwrap()
}

fn rounds(store: &MemoryStore, authorizer: Option<Arc<dyn Authorizer>>) -> Rounds {
    let agent = SoleAgent::new(Principal::agent(OrgId::default(), "agent"));
    let builder = Rounds::builder(Arc::new(store.clone()), Arc::new(agent)).registry(registry());
    match authorizer {
        Some(authorizer) => builder.authorizer(authorizer),
        None => builder,
    }
    .build()
    .unwrap()
}

fn ada() -> Principal {
    Principal::user(OrgId::default(), "ada", OrgRole::Admin)
}

#[tokio::test]
async fn a_connector_that_is_so_already_is_left_alone_and_one_that_is_not_is_changed() {
    let store = MemoryStore::new();
    let draft = || ConnectorDraft::new("cluster", "prod").with_config(json!({ "size": 1 })).with_secret("a token");
    let first = rounds(&store, None).connectors().ensure(&ada(), draft()).await.unwrap();
    let commits = store.commits();
    // The program starts again.
    let rounds = rounds(&store, None);
    let connectors = rounds.connectors();
    let again = connectors.ensure(&ada(), draft()).await.unwrap();
    assert_eq!((again.id, again.revision, store.commits()), (first.id, 1, commits), "nothing is written");
    for (n, changed) in [
        draft().with_config(json!({ "size": 2 })),
        draft().with_config(json!({ "size": 2 })).with_secret("another"),
        ConnectorDraft::new("cluster", "prod").with_config(json!({ "size": 2 })).with_secret_ref("env://TOKEN"),
    ]
    .into_iter()
    .enumerate()
    {
        let result = connectors.ensure(&ada(), changed).await;
        if n == 2 {
            let refused = result.unwrap_err().to_string();
            assert!(refused.contains("env"), "no resolver of that scheme is there: {refused}");
            continue;
        }
        let changed = result.unwrap();
        assert_eq!((changed.id, changed.revision), (first.id, n as u64 + 2), "what was approved for it will not run");
    }
    let other = connectors.ensure(&ada(), ConnectorDraft::new("other", "prod")).await.unwrap_err();
    assert!(matches!(&other, Error::Invalid(message) if message.contains("keeps its kind")), "{other}");
    let viewer = Principal::user(OrgId::default(), "vera", OrgRole::Viewer);
    assert!(matches!(connectors.ensure(&viewer, draft()).await, Err(Error::Denied(_))));
    let replicas = futures::future::join_all((0..8).map(|_| {
        let rounds = rounds.clone();
        async move { rounds.connectors().ensure(&ada(), ConnectorDraft::new("cluster", "new")).await.unwrap().id }
    }))
    .await;
    assert!(replicas.iter().all(|id| *id == replicas[0]), "eight starts at once make one: {replicas:?}");
}

#[tokio::test]
async fn a_rule_that_is_so_already_keeps_its_state() {
    let store = MemoryStore::new();
    let rounds = rounds(&store, None);
    rounds.connectors().ensure(&ada(), ConnectorDraft::new("errors", "errors")).await.unwrap();
    let draft =
        || RuleDraft::new("errors", "error_ratio", Operator::Gt, 0.5).with_for(60).with_labels([("app", "shop")]);
    let first = rounds.alerts().ensure(&ada(), draft()).await.unwrap();
    rounds.alerts().set_enabled(&ada(), first.rule.id, false).await.unwrap();
    let commits = store.commits();
    let again = rounds.alerts().ensure(&ada(), draft()).await.unwrap();
    assert_eq!((again.rule.id, again.rule.enabled, store.commits()), (first.rule.id, false, commits));
    let changed = rounds.alerts().ensure(&ada(), draft().with_interval(5)).await.unwrap();
    assert_eq!((changed.rule.id, changed.rule.evaluation_interval_sec), (first.rule.id, 5));
    assert_eq!(rounds.alerts().list(&ada()).await.unwrap().len(), 1);
}

/// Lets everybody do everything but decide for another team than their own, and notes what it was asked.
#[derive(Default)]
struct Teams(Mutex<Vec<(Action, Vec<String>)>>);

#[async_trait]
impl Authorizer for Teams {
    async fn authorize(&self, who: &Principal, action: Action, scopes: &[Scope]) -> Result<(), Denied> {
        self.0.lock().unwrap().push((action, scopes.iter().map(ToString::to_string).collect()));
        let decides = matches!(action, Action::PlansApprove | Action::PlansAutoEdit);
        let own = |scope: &Scope| !decides || scope.namespace() == who.login.strip_prefix("of-");
        let refused = scopes.iter().find(|scope| !own(scope));
        refused.map_or(Ok(()), |scope| Err(Denied::missing(who, action, scope)))
    }
}

#[tokio::test]
async fn an_authorizer_tells_teams_apart_by_the_namespaces_of_a_plan() {
    let teams = Arc::new(Teams::default());
    let rounds = rounds(&MemoryStore::new(), Some(teams.clone()));
    let cluster = rounds.connectors().ensure(&ada(), ConnectorDraft::new("cluster", "prod")).await.unwrap().id;
    let of = |team: &str| Principal::user(OrgId::default(), &format!("of-{team}"), OrgRole::Viewer);
    let propose = async |targets: &[&str]| {
        let steps = targets.iter().map(|target| StepSpec::command(["restart", target]));
        let proposal = steps.fold(Proposal::new("mend it"), |plan, step| plan.step(cluster, step));
        rounds.plans().propose(&ada(), proposal).await.unwrap().plan
    };
    let shop = propose(&["shop/web"]).await;
    let both = propose(&["shop/web", "mail/web"]).await;
    let nowhere = propose(&["node-7"]).await;
    for (plan, team, may) in [
        (&shop, "mail", false),
        (&shop, "shop", true),
        (&both, "shop", false),
        (&both, "mail", false),
        (&nowhere, "shop", false),
    ] {
        let decided = rounds.plans().approve(&of(team), plan.id, &Approval::of(plan)).await;
        match decided {
            Ok(_) => assert!(may, "{team} decided on {:?}", plan.steps),
            Err(error) => assert!(!may && matches!(error, Error::Denied(_)), "{error}"),
        }
    }
    let asked = teams.0.lock().unwrap().clone();
    assert!(
        asked.contains(&(Action::PlansApprove, vec!["plans:namespace:mail".into(), "plans:namespace:shop".into()]))
    );
    assert!(asked.contains(&(Action::PlansApprove, vec!["plans:*".into()])), "a step in no namespace: all of them");
    let agent = Principal::agent(OrgId::default(), "of-shop");
    let refused = rounds.plans().reject(&agent, both.id, None).await.unwrap_err();
    assert!(matches!(refused, Error::Denied(Denied::AgentsNeverDecide { .. })), "rule 8: {refused}");
}
