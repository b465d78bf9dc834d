//! Channels through Rounds itself: a plan is proposed, and the outbox tells real channels of it.

use std::sync::Arc;
use std::time::Duration;

use rounds_core::access::{OrgRole, Principal};
use rounds_core::connector::Connector;
use rounds_core::investigation::Proposal;
use rounds_core::plan::Plan;
use rounds_core::plugin::{Host, Outbound, Registration, Registry};
use rounds_core::service::{ConnectorDraft, DeadLetter, DeadLetterFilter, Recipient};
use rounds_core::step::StepSpec;
use rounds_core::testing::{FakeAdapter, MemoryStore, StaticIdentity};
use rounds_core::{OrgId, Rounds, Running, Settings};
use serde_json::{Value, json};

use crate::receiver::Receiver;

struct World {
    rounds: Rounds,
    admin: Principal,
    cluster: Connector,
    running: Running,
}

impl World {
    async fn start(settings: Settings) -> Self {
        let admin = Principal::user(OrgId::default(), "ada", OrgRole::Admin);
        let identity = Arc::new(StaticIdentity::new([admin.clone()]));
        let fake = Registration::execution("fake", "Fake", Arc::new(FakeAdapter::default()));
        let registry = Registry::new(Registry::linked().unwrap().iter().cloned().chain([fake])).unwrap();
        let public_url = Some("https://rounds.example".to_owned());
        let host = Host { outbound: Outbound::loopback(), public_url, ..Host::default() };
        let rounds = Rounds::builder(Arc::new(MemoryStore::new()), identity)
            .registry(registry)
            .host(host)
            .settings(settings)
            .build()
            .unwrap();
        let cluster = rounds.connectors().create(&admin, ConnectorDraft::new("fake", "prod")).await.unwrap();
        let running = rounds.start();
        Self { rounds, admin, cluster, running }
    }

    async fn channel(&self, kind: &str, config: Value, secret: &str) -> Connector {
        let draft = ConnectorDraft::new(kind, kind).with_config(config).with_secret(secret);
        self.rounds.connectors().create(&self.admin, draft).await.unwrap()
    }

    async fn propose(&self, what: &str) -> Plan {
        let proposal = Proposal::new(what).step(self.cluster.id, StepSpec::command(["restart", "shop/web"]));
        self.rounds.plans().propose(&self.admin, proposal).await.unwrap().plan
    }

    async fn dead(&self) -> Vec<DeadLetter> {
        self.rounds.dead_letters().list(&self.admin, &DeadLetterFilter::default()).await.unwrap().items
    }
}

/// Waits until something holds; a minute is never needed.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not within a minute: {what}"));
}

#[tokio::test]
async fn a_channel_that_hangs_or_refuses_blocks_no_other_and_hears_everything_in_order_once_it_is_well() {
    let settings = Settings { poll_interval: Duration::from_millis(50), ..Settings::default() };
    let world = World::start(settings).await;
    let (hanging, teams) = Receiver::serve((202, vec![], String::new())).await;
    let (refusing, discord) = Receiver::serve((404, vec![], json!({ "code": 10015 }).to_string())).await;
    let (paging, pagerduty) = Receiver::serve((202, vec![], String::new())).await;
    let (hooked, webhook) = Receiver::serve((204, vec![], String::new())).await;
    hanging.hangs(true);
    world
        .channel("teams", json!({ "allowedHost": teams, "timeoutSec": 1 }), &format!("{teams}/invoke?sig=hunter2"))
        .await;
    let refused = world.channel("discord", json!({ "allowedHost": discord }), &format!("{discord}/hunter2")).await;
    world.channel("pagerduty", json!({ "apiUrl": pagerduty }), "0123456789abcdef0123456789abcdef").await;
    world.channel("webhook", json!({ "url": webhook }), "hunter2-hunter2-hunter2").await;

    let first = world.propose("first").await;
    until("Teams hangs", async || hanging.count() > 0).await;
    let second = world.propose("second").await;
    world.rounds.plans().cancel(&world.admin, first.id, None).await.unwrap();
    // All while Teams answers nothing.
    until("the others are told of all three", async || paging.count() == 3 && hooked.count() == 3).await;

    let events: Vec<Value> =
        paging.asked.lock().unwrap().iter().map(|ask| serde_json::from_str(&ask.2).unwrap()).collect();
    let of = |plan: &Plan| -> Vec<&Value> {
        let key = json!(format!("rounds/plan/{}", plan.id));
        events.iter().filter(|event| event["dedup_key"] == key).map(|event| &event["event_action"]).collect()
    };
    assert_eq!((of(&first), of(&second)), (vec![&json!("trigger"), &json!("resolve")], vec![&json!("trigger")]));

    // What cannot be delivered is kept, says why, and holds no secret.
    until("Discord's are dead letters", async || world.dead().await.len() == 3).await;
    for letter in world.dead().await {
        let why = letter.last_error.unwrap();
        assert!(letter.to == Recipient::Channel(refused.id) && letter.attempts == 1, "{why}");
        assert!(why.contains("set the secret anew") && !why.contains("hunter2"), "{why}");
    }

    // Both are mended. What hung is tried again by itself, the rest by whoever asks.
    hanging.hangs(false);
    refusing.says(200, &[], "{}");
    let told = world.rounds.dead_letters().retry_all(&world.admin, &Recipient::Channel(refused.id)).await.unwrap();
    assert_eq!(told, 3);
    until("Discord is told", async || refusing.count() == 6 && world.dead().await.is_empty()).await;
    let tags = |receiver: &Receiver| -> Vec<String> {
        let asked = receiver.asked.lock().unwrap();
        let of_first = asked.iter().filter(|ask| ask.2.contains(&first.id.to_string()));
        of_first.map(|ask| ask.2.split("DECISION NEEDED").count().min(2).to_string()).collect()
    };
    until("Teams is told", async || tags(&hanging).last().is_some_and(|last| last == "1")).await;
    let order = tags(&hanging);
    assert_eq!(
        order.iter().filter(|tag| *tag == "1").count(),
        1,
        "the end of the plan comes once, and last: {order:?}"
    );
    world.running.shutdown(Duration::from_secs(5)).await;
}
