//! A storm: a thousand rules fire in the same second, and four replicas on one PostgreSQL answer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rounds_core::access::{OrgRole, Principal};
use rounds_core::alert::{AlertInstance, AlertState, next_evaluation};
use rounds_core::investigation::{Findings, Investigation, InvestigationStatus, SkipReason};
use rounds_core::plugin::{Registration, Registry};
use rounds_core::ports::store::{
    ClaimQuery, Commit, Committed, Lease, ListQuery, Lookup, Page, Record, RecordKind, StoreError, Versioned,
};
use rounds_core::ports::{
    CallContext, CheckReport, Clock as _, DataSet, Datasource, DatasourceInfo, FiredAlert, Investigator, Notice,
    Notifier, PortError, Query, Store, SystemClock, Toolbox,
};
use rounds_core::testing::{FakeDatasource, Layered, StaticIdentity, StoreLayer};
use rounds_core::time::after_ms;
use rounds_core::{AlertRuleId, OrgId, Rounds, Running, Settings};
use rounds_store::SqlStore;
use tokio::sync::watch;

use crate::support::{Database, Place, all, rule};

const RULES: usize = 1000;
const REPLICAS: usize = 4;
const CAP: usize = 5;

/// What all replicas leave outside of the store.
#[derive(Default)]
struct World {
    /// How often each query was asked, and by which replica.
    asked: Mutex<HashMap<String, Vec<usize>>>,
    investigating: AtomicUsize,
    most_investigating: watch::Sender<usize>,
    investigated: Mutex<Vec<String>>,
    told: Mutex<Vec<String>>,
    /// What the store said that no caller should ever hear.
    surfaced: Mutex<Vec<String>>,
}

struct Metrics {
    fake: FakeDatasource,
    world: Arc<World>,
    replica: usize,
}

#[async_trait]
impl Datasource for Metrics {
    fn describe(&self) -> DatasourceInfo {
        self.fake.describe()
    }
    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        self.fake.check(cx).await
    }
    async fn query(&self, cx: &CallContext, query: &Query) -> Result<DataSet, PortError> {
        if let Query::Instant { expr, .. } = query {
            self.world.asked.lock().unwrap().entry(expr.clone()).or_default().push(self.replica);
        }
        self.fake.query(cx, query).await
    }
}

struct Detective(Arc<World>);

#[async_trait]
impl Investigator for Detective {
    fn name(&self) -> &str {
        "detective"
    }
    async fn investigate(&self, _tools: &dyn Toolbox, alert: &FiredAlert) -> Result<Findings, PortError> {
        let running = self.0.investigating.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most_investigating.send_if_modified(|most| {
            let more = running > *most;
            *most = running.max(*most);
            more
        });
        // The first of them waits for company, so that the cap is made use of however slow the machine is.
        self.0.most_investigating.subscribe().wait_for(|most| *most > 1).await.unwrap();
        self.0.investigated.lock().unwrap().push(alert.investigation_id.to_string());
        self.0.investigating.fetch_sub(1, Ordering::SeqCst);
        Ok(Findings { summary: "a storm".into(), ..Findings::default() })
    }
}

struct Channel(Arc<World>);

#[async_trait]
impl Notifier for Channel {
    async fn check(&self, _cx: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport::new("a list"))
    }
    async fn send(&self, _cx: &CallContext, notice: &Notice) -> Result<(), PortError> {
        self.0.told.lock().unwrap().push(notice.idempotency_key.clone());
        Ok(())
    }
}

/// Hears what the store's callers hear.
struct Heard(SqlStore, Arc<World>);

#[async_trait]
impl StoreLayer for Heard {
    fn inner(&self) -> &dyn Store {
        &self.0
    }
    async fn load(&self, lookup: &Lookup) -> Result<Option<Versioned<Record>>, StoreError> {
        self.heard("load", self.0.load(lookup).await)
    }
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.heard("list", self.0.list(query).await)
    }
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.heard("commit", self.0.commit(commit).await)
    }
    async fn claim(&self, query: &ClaimQuery) -> Result<Option<(Versioned<Record>, Lease)>, StoreError> {
        self.heard("claim", self.0.claim(query).await)
    }
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), StoreError> {
        self.heard("renew", self.0.renew(lease, ttl).await)
    }
    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.heard("release", self.0.release(lease).await)
    }
}

impl Heard {
    fn heard<T>(&self, what: &str, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error @ (StoreError::Unavailable { .. } | StoreError::LeaseLost { .. })) = &answer {
            self.1.surfaced.lock().unwrap().push(format!("{what}: {error}"));
        }
        answer
    }
}

struct Replica {
    rounds: Rounds,
    store: SqlStore,
    errors: FakeDatasource,
}

async fn replica(place: &Place, number: usize, world: &Arc<World>, admin: &Principal) -> Replica {
    let store = place.open().await;
    let errors = FakeDatasource::default();
    errors.set(0.9);
    let metrics = Metrics { fake: errors.clone(), world: world.clone(), replica: number };
    let registry = Registry::new([
        Registration::datasource("errors", "Error rate", Arc::new(metrics)),
        Registration::notifier("channel", "A channel", Arc::new(Channel(world.clone()))),
    ]);
    let agent = Principal::agent(OrgId::default(), "@syntropize/rounds");
    let identity = StaticIdentity::new([admin.clone(), agent.clone()]);
    identity.add_token(agent.id, "a token", None);
    let settings = Settings {
        concurrent_investigations: CAP,
        poll_interval: Duration::from_millis(200),
        // A machine without a moment to spare is no dead replica: a lease that runs out is evaluated again, and rightly.
        lease_ttl: Duration::from_secs(60),
        ..Settings::default()
    };
    let rounds = Rounds::builder(Arc::new(Layered(Heard(store.clone(), world.clone()))), Arc::new(identity))
        .registry(registry.unwrap())
        .investigator(Arc::new(Detective(world.clone())))
        .settings(settings)
        .build()
        .unwrap();
    Replica { rounds, store, errors }
}

async fn until(what: &str, done: impl AsyncFn() -> bool) {
    let limit = tokio::time::Instant::now() + Duration::from_secs(200);
    while !done().await {
        assert!(tokio::time::Instant::now() < limit, "this never happened: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Makes every rule due now, for whoever is first.
async fn all_due(place: &Place) {
    place.sql("UPDATE rounds_alert_instance SET due_at = 0").await;
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_rules_that_fire_at_once_are_each_investigated_exactly_once_by_four_replicas() {
    let place = Place::on(Database::Postgres).await;
    let world = Arc::new(World::default());
    let admin = Principal::user(OrgId::default(), "admin", OrgRole::Admin);
    let mut replicas = Vec::new();
    for number in 0..REPLICAS {
        replicas.push(replica(&place, number, &world, &admin).await);
    }
    let first = &replicas[0];
    for kind in ["errors", "channel"] {
        let draft = serde_json::json!({ "type": kind, "name": kind });
        first.rounds.connectors().create(&admin, serde_json::from_value(draft).unwrap()).await.unwrap();
    }
    let due = after_ms(SystemClock.now(), 3000);
    for chunk in (0..RULES).collect::<Vec<_>>().chunks(100) {
        let mut commit = Commit::new();
        for number in chunk {
            let mut storming = rule(&format!("rule {number}"));
            storming.condition.query = format!("errors_{number}");
            storming.condition.operator = rounds_core::alert::Operator::Gt;
            storming.condition.threshold = 0.5;
            storming.evaluation_interval_sec = 86_400;
            // Its place on the day's grid is its id's. One that comes up while the storm lasts is evaluated again, and
            // rightly.
            while next_evaluation(&storming, due) < after_ms(due, 12 * 3_600_000) {
                storming.id = AlertRuleId::new();
            }
            let instance = AlertInstance { next_evaluation_at: Some(due), ..AlertInstance::new(&storming, due) };
            commit = commit.insert(storming).insert(instance);
        }
        first.store.commit(commit).await.unwrap();
    }
    let before = resident_kib();
    let running: Vec<Running> = replicas.iter().map(|replica| replica.rounds.start()).collect();
    let statuses = async || first.store.count(RecordKind::Investigation, None).await.unwrap();
    until("every firing is investigated", async || {
        statuses().await == BTreeMap::from([("completed".to_owned(), RULES as u64)])
    })
    .await;

    // Every rule was asked once, by one of them, and each had its part.
    {
        let asked = world.asked.lock().unwrap();
        let storming: Vec<_> = asked.iter().filter(|(query, _)| query.starts_with("errors_")).collect();
        assert_eq!(storming.len(), RULES);
        let twice: Vec<_> = storming.iter().filter(|(_, by)| by.len() > 1).collect();
        let surfaced = world.surfaced.lock().unwrap().clone();
        assert!(twice.is_empty(), "evaluated more than once, by: {twice:?}; the store said: {surfaced:?}");
        let parts: BTreeSet<usize> = storming.iter().map(|(_, by)| by[0]).collect();
        assert_eq!(parts.len(), REPLICAS, "replicas share the rules");
    }
    let investigated = world.investigated.lock().unwrap().clone();
    assert_eq!(investigated.len(), RULES, "each ran once");
    assert_eq!(investigated.iter().collect::<BTreeSet<_>>().len(), RULES);
    let most = *world.most_investigating.borrow();
    assert!(most <= CAP, "the cap holds over all replicas: {most}");
    let instances: Vec<AlertInstance> = all(&first.store, RecordKind::AlertInstance).await;
    assert!(instances.iter().all(|instance| instance.state == AlertState::Firing));
    until("everybody is told", async || first.store.count(RecordKind::Notice, None).await.unwrap().is_empty()).await;
    assert_eq!(world.told.lock().unwrap().iter().collect::<BTreeSet<_>>().len(), RULES, "of each firing");

    // They all recover and all fire again within the cooldown: nobody investigates anew.
    replicas.iter().for_each(|replica| replica.errors.set(0.0));
    all_due(&place).await;
    let in_state = async |state: &str| {
        first.store.count(RecordKind::AlertInstance, None).await.unwrap().get(state) == Some(&(RULES as u64))
    };
    until("every alert recovers", async || in_state("resolved").await).await;
    replicas.iter().for_each(|replica| replica.errors.set(0.9));
    all_due(&place).await;
    until("every alert fires again", async || in_state("firing").await).await;
    until("every new firing is answered", async || {
        let skipped = statuses().await.get("skipped").copied();
        skipped == Some(RULES as u64)
    })
    .await;
    let second: Vec<Investigation> = all(&first.store, RecordKind::Investigation).await;
    let skipped = second.iter().filter(|found| found.status == InvestigationStatus::Skipped);
    assert!(skipped.clone().all(|found| found.skip_reason == Some(SkipReason::Cooldown)), "the cooldown holds");
    assert_eq!(world.investigated.lock().unwrap().len(), RULES);

    let grown = resident_kib().saturating_sub(before) / 1024;
    assert!(grown < 256, "memory stays bounded: {grown} MiB more");
    for running in running {
        running.shutdown(Duration::from_secs(10)).await;
    }
    let surfaced = world.surfaced.lock().unwrap().clone();
    assert!(surfaced.is_empty(), "what is busy is tried again and never surfaces: {surfaced:?}");
    first.store.verify_audit(&OrgId::default()).await.unwrap().unwrap();
}
