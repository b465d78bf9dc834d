//! Routing: who hears of what, what is told as one, and what is told again.

use std::collections::BTreeSet;
use std::sync::Arc;

use rounds_core::connector::{Connector, NoticeKind, Routing};
use rounds_core::investigation::Proposal;
use rounds_core::plugin::{Registration, Registry};
use rounds_core::ports::store::{
    Commit, ListQuery, NoticeStatus, OutboxNotice, Record, RecordKind, Store as _, StoreExt as _, Versioned,
};
use rounds_core::ports::{Notice, PortErrorKind};
use rounds_core::service::{ConnectorDraft, ProposeRequest};
use rounds_core::testing::Fault;
use rounds_core::time::elapsed;
use rounds_core::{AlertRuleId, Rounds, Settings, TeamId};
use serde_json::{Value, json};

use crate::harness::{Channel, World, draft, eventually, lock, pass, secs, step, until};

/// A world with a second kind of channel, so that it shows who was told.
struct Routed {
    world: World,
    rounds: Rounds,
    pager: Channel,
}

impl Routed {
    async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    async fn with(settings: Settings) -> Self {
        let world = World::with(settings).await;
        let pager = Channel::default();
        let rounds = replica(&world, &pager);
        Self { world, rounds, pager }
    }

    async fn channel(&self, kind: &str, team: Option<TeamId>, routing: Value) -> Connector {
        let draft = ConnectorDraft { owner_team_id: team, ..draft(kind) }
            .with_routing(serde_json::from_value(routing).unwrap());
        self.rounds.connectors().create(&self.world.admin, draft).await.unwrap()
    }

    fn told(&self) -> (Vec<String>, Vec<String>) {
        (titles(&self.world.channel), titles(&self.pager))
    }

    async fn rows(&self, status: NoticeStatus) -> Vec<OutboxNotice> {
        let all: Vec<Versioned<OutboxNotice>> = self.world.store.all(ListQuery::new(RecordKind::Notice)).await.unwrap();
        all.into_iter().map(|found| found.value).filter(|row| row.status == status).collect()
    }

    async fn propose(&self, what: &str, rule: Option<AlertRuleId>) -> rounds_core::plan::Plan {
        let steps = [self.world.step("restart app/web")];
        let request = ProposeRequest::from(Proposal::new(what).with_steps(steps)).with_alert_rule(rule);
        self.rounds.plans().propose(&self.world.agent, request).await.unwrap().plan
    }
}

fn replica(world: &World, pager: &Channel) -> Rounds {
    let registry = Registry::new([
        Registration::execution("cluster", "A cluster", Arc::new(world.cluster.clone())),
        Registration::datasource("errors", "Error rate", Arc::new(world.errors.clone())),
        Registration::notifier("channel", "A channel", Arc::new(world.channel.clone())),
        Registration::notifier("pager", "A pager", Arc::new(pager.clone())),
    ]);
    world.replica(Arc::new(world.store.clone())).registry(registry.unwrap()).build().unwrap()
}

fn titles(channel: &Channel) -> Vec<String> {
    lock(&channel.told).iter().map(|notice| notice.title.clone()).collect()
}

fn last(channel: &Channel) -> Notice {
    lock(&channel.told).last().unwrap().clone()
}

fn quiet() -> Settings {
    Settings { auto_investigation: false, ..Settings::default() }
}

#[tokio::test(start_paused = true)]
async fn a_channel_hears_what_its_routing_says_of_alerts_and_of_the_plans_that_are_to_end_them() {
    let it = Routed::with(quiet()).await;
    it.channel("pager", None, json!({ "minSeverity": "critical", "matchers": ["team=~\"pay.*\""] })).await;
    it.channel("channel", None, json!({ "namespaces": ["app"], "kinds": ["plan_proposed"] })).await;
    let _running = it.rounds.start();
    let rule = it.world.rule("payments", json!({ "severity": "critical", "labels": { "team": "payments" } })).await;
    it.world.rule("of others", json!({ "severity": "critical", "labels": { "team": "search" } })).await;
    it.world.rule("harmless", json!({ "severity": "warning", "labels": { "team": "payments" } })).await;
    it.world.errors.set(1.0);
    until("the pager is told", async || it.told().1 == ["payments is firing"]).await;
    it.propose("mend it", Some(rule.id)).await;
    until("both are told", async || it.told().1.len() == 2 && it.told().0.len() == 1).await;
    assert_eq!(it.told().1[1], "Plan waits for approval: mend it");
    let notice = last(&it.pager);
    assert_eq!((notice.severity.as_str(), notice.namespaces.as_slice()), ("critical", ["app".to_owned()].as_slice()));
    assert_eq!(notice.labels.get("alertname").map(String::as_str), Some("payments"));
    pass(secs(60)).await;
    assert_eq!((it.told().0.len(), it.told().1.len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn the_addresses_among_an_alerts_annotations_are_links_of_its_notices_its_plans_and_its_digests() {
    let it = Routed::with(quiet()).await;
    it.channel("channel", None, json!({})).await;
    it.channel("pager", None, json!({ "kinds": ["alert_firing"], "groupBy": ["team"], "groupWaitSec": 30 })).await;
    let _running = it.rounds.start();
    let annotations = json!({
        "summary": "too many errors: see https://evil.example",
        "runbook_url": "https://wiki.example/{{ $labels.team }}?v={{ $value }}",
        "dashboard": "javascript:alert(1)",
    });
    let rule = it.world.rule("errors", json!({ "annotations": annotations, "labels": { "team": "one" } })).await;
    it.world.rule("others", json!({ "labels": { "team": "one" } })).await;
    it.world.errors.set(1.0);
    let told = |kind: NoticeKind| {
        let told = lock(&it.world.channel.told).clone();
        told.into_iter().filter(|notice| notice.kind == kind && !notice.title.contains("others")).collect::<Vec<_>>()
    };
    until("it is told", async || told(NoticeKind::AlertFiring).len() == 1).await;
    it.propose("mend it", Some(rule.id)).await;
    until("the plan is told", async || told(NoticeKind::PlanProposed).len() == 1).await;
    until("the digest is told", async || !it.told().1.is_empty()).await;
    it.world.errors.set(0.0);
    until("the end is told", async || told(NoticeKind::AlertResolved).len() == 1).await;
    let links = |links: &[rounds_core::ports::Link]| {
        links.iter().map(|link| (link.name.clone(), link.url.clone())).collect::<Vec<_>>()
    };
    let firing = told(NoticeKind::AlertFiring).remove(0);
    let named = |url: &str| vec![("runbook_url".to_owned(), url.to_owned())];
    assert_eq!(links(&firing.links), named("https://wiki.example/?v=1"), "a sample has no label of the rule's");
    assert!(firing.body.contains("dashboard: javascript:alert(1)\nrunbook_url: https://wiki.example/?v=1\n"));
    assert_eq!(links(&told(NoticeKind::AlertResolved)[0].links), named("https://wiki.example/?v=0"));
    assert_eq!(told(NoticeKind::PlanProposed)[0].links.len(), 1);
    let digest = last(&it.pager);
    let errors = digest.folded.iter().find(|one| one.title.contains("errors")).unwrap();
    assert_eq!((links(&errors.links), digest.links.len()), (links(&firing.links), 0));
    assert_eq!((errors.link.as_str(), digest.link.as_str()), (format!("/alerts/{}", rule.id).as_str(), "/alerts"));
}

#[tokio::test(start_paused = true)]
async fn what_asks_for_a_decision_and_every_routing_leaves_out_the_owning_team_hears_of_else_everybody() {
    let (ours, theirs) = (TeamId::new(), TeamId::new());
    for (owner, expected) in [(Some(ours), (1, 0)), (Some(theirs), (0, 1)), (None, (0, 1))] {
        let it = Routed::with(quiet()).await;
        // One of a team and one of nobody: neither wants to hear of plans.
        it.channel("channel", Some(ours), json!({ "kinds": ["alert_firing"] })).await;
        it.channel("pager", None, json!({ "kinds": ["alert_firing"] })).await;
        let mut owned = draft("cluster");
        (owned.name, owned.owner_team_id) = ("owned".into(), owner);
        let cluster = it.rounds.connectors().create(&it.world.admin, owned).await.unwrap();
        let _running = it.rounds.start();
        let proposal = Proposal::new("mend it").with_steps([step(&cluster, "restart app/web")]);
        let plan = it.rounds.plans().propose(&it.world.agent, proposal).await.unwrap().plan;
        until("somebody is told", async || it.told().0.len() + it.told().1.len() > 0).await;
        pass(secs(30)).await;
        assert_eq!((it.told().0.len(), it.told().1.len()), expected, "{owner:?}");
        // That it ended asks nothing of anybody, and nobody wanted to hear of it.
        it.rounds.plans().reject(&it.world.editor, plan.id, None).await.unwrap();
        until("it is routed", async || it.rows(NoticeStatus::Pending).await.is_empty()).await;
        assert_eq!((it.told().0.len(), it.told().1.len()), expected, "{owner:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn notices_of_a_group_are_told_as_one_and_later_ones_after_the_interval() {
    let it = Routed::with(quiet()).await;
    it.channel("pager", None, json!({ "groupBy": ["team"], "groupWaitSec": 30, "groupIntervalSec": 300 })).await;
    let _running = it.rounds.start();
    it.world.errors.set(1.0);
    for name in ["a", "b"] {
        it.world.rule(name, json!({ "labels": { "team": "one" } })).await;
    }
    it.world.rule("c", json!({ "labels": { "team": "two" }, "severity": "critical" })).await;
    until("three are gathered", async || {
        it.rows(NoticeStatus::Gathering).await.iter().map(|row| row.members.len()).sum::<usize>() == 3
    })
    .await;
    pass(secs(20)).await;
    assert!(it.told().1.is_empty(), "the group waits");
    until("two groups are told", async || it.told().1.len() == 2).await;
    let told = lock(&it.pager.told).clone();
    let (both, one) = if told[0].folded.is_empty() { (&told[1], &told[0]) } else { (&told[0], &told[1]) };
    assert_eq!(one.title, "c is firing", "one is told as it is");
    assert_eq!(both.folded.len(), 2);
    assert!(both.title.contains("a is firing") && both.title.contains("b is firing"), "{}", both.title);
    assert!(both.body.contains("- a is firing (/alerts/"), "{}", both.body);
    assert_eq!(both.labels.get("team").map(String::as_str), Some("one"));
    // What comes now waits for the end of the interval.
    let began = it.world.now();
    it.world.errors.set(0.0);
    until("the end is told", async || it.told().1.len() == 4).await;
    let took = elapsed(began, it.world.now());
    assert!(took > secs(250) && took < secs(330), "{took:?}");
    let ends: Vec<String> = it.told().1.split_off(2);
    let both = ends.iter().find(|title| title.starts_with("2 notices: ")).unwrap();
    assert!(both.contains("a is resolved") && both.contains("b is resolved"), "{ends:?}");
    assert!(ends.contains(&"c is resolved".to_owned()), "{ends:?}");
    until("nothing is left of the groups", async || it.rows(NoticeStatus::Gathering).await.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn what_asks_for_a_decision_is_never_folded_and_waits_for_no_group_and_each_plan_is_told_in_order() {
    let it = Routed::with(quiet()).await;
    it.channel("pager", None, json!({ "groupWaitSec": 3600, "groupIntervalSec": 3600, "groupBy": ["alertname"] }))
        .await;
    let _running = it.rounds.start();
    let began = it.world.now();
    for name in ["first", "second"] {
        it.propose(name, None).await;
    }
    until("both are told at once", async || it.told().1.len() == 2).await;
    assert!(lock(&it.pager.told).iter().all(|notice| notice.folded.is_empty() && notice.asked.is_some()));
    // A plan fails, which is gathered with others, and is retried: then it asks again.
    it.world.cluster.does(async |_, _| Err(rounds_core::step::StepError::not_started("no")));
    let plan = it.propose("third", None).await;
    it.world.let_run(&plan).await;
    it.world.settled(plan.id).await;
    let gathered = it.rounds.plans().reject(&it.world.editor, it.propose("fourth", None).await.id, None).await.unwrap();
    assert!(gathered.status.is_terminal());
    until("two ends wait in a group", async || {
        it.rows(NoticeStatus::Gathering).await.iter().map(|row| row.members.len()).sum::<usize>() == 2
    })
    .await;
    assert_eq!(it.told().1.len(), 4);
    // Something newer about the same plan that asks does not overtake what the group holds, and does not wait for it.
    let held = it.rows(NoticeStatus::Gathering).await.remove(0);
    let about = held.members.iter().find(|member| member.notice.title.contains("third")).unwrap().clone();
    let mut asks = it.rows(NoticeStatus::Gathering).await.remove(0);
    asks.id = rounds_core::NoticeId::new();
    (asks.status, asks.members, asks.group) = (NoticeStatus::Pending, Vec::new(), None);
    (asks.about, asks.place) = (about.about, about.place + 1);
    (asks.notice.idempotency_key, asks.notice.title) = ("asks".into(), "asks again".into());
    asks.next_attempt_at = it.world.now();
    it.world.store.commit(Commit::new().insert(asks)).await.unwrap();
    until("both are told", async || it.told().1.len() == 6).await;
    let told = it.told().1;
    assert!(told[4].starts_with("2 notices: Plan failed: third; Plan rejected: fourth"), "{told:?}");
    assert_eq!(told[5], "asks again");
    assert!(elapsed(began, it.world.now()) < secs(120), "long before the group was due");
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_still_fires_is_told_again_until_it_ends_and_never_after() {
    let it = Routed::with(quiet()).await;
    it.channel("pager", None, json!({ "repeatIntervalSec": 600 })).await;
    it.channel("channel", None, json!({})).await;
    let _running = it.rounds.start();
    it.world.errors.set(1.0);
    it.world.rule("errors", json!({})).await;
    until("it is told", async || it.told().1.len() == 1).await;
    let began = it.world.now();
    until("it is told twice more", async || it.told().1.len() == 3).await;
    let took = elapsed(began, it.world.now());
    assert!(took >= secs(1190) && took < secs(1230), "every ten minutes: {took:?}");
    assert_eq!(it.told().1[1..], ["Reminder 1: errors is firing", "Reminder 2: errors is firing"]);
    let keys: BTreeSet<String> = lock(&it.pager.told).iter().map(|notice| notice.idempotency_key.clone()).collect();
    assert_eq!((keys.len(), last(&it.pager).repeat), (3, 2), "each is another message");
    it.world.errors.set(0.0);
    until("the end is told", async || it.told().1.last().is_some_and(|title| title == "errors is resolved")).await;
    pass(secs(3600)).await;
    assert_eq!((it.told().1.len(), it.told().0.len()), (4, 2), "and the other channel was told once of each");
    assert!(it.rows(NoticeStatus::Recurring).await.is_empty());
    // It fires anew, and is silenced while it does: nobody is reminded.
    it.world.errors.set(1.0);
    until("it is told", async || it.told().1.len() == 5).await;
    let rule = it.rounds.alerts().list(&it.world.admin).await.unwrap().remove(0).rule;
    let silence = json!({ "ruleId": rule.id, "endsAt": it.world.now() + secs(3000) });
    it.rounds.alerts().silence(&it.world.admin, serde_json::from_value(silence).unwrap()).await.unwrap();
    pass(secs(2900)).await;
    assert_eq!(it.told().1.len(), 5);
    until("after the silence it is told again", async || it.told().1.len() == 6).await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_waits_is_told_again_with_its_question_until_somebody_decides_or_it_expires() {
    for decides in [true, false] {
        let it = Routed::with(Settings { plan_approval_ttl: secs(2000), ..quiet() }).await;
        it.channel("pager", None, json!({ "repeatIntervalSec": 900 })).await;
        let _running = it.rounds.start();
        let plan = it.propose("mend it", None).await;
        until("it is told again", async || it.told().1.len() == 2).await;
        let notice = last(&it.pager);
        assert_eq!(notice.title, "Reminder 1: Plan waits for approval: mend it");
        assert_eq!(notice.asked.unwrap().digest, plan.digest, "it can be answered");
        if decides {
            it.rounds.plans().reject(&it.world.editor, plan.id, None).await.unwrap();
            until("the end is told", async || it.told().1.len() == 3).await;
        }
        pass(secs(7200)).await;
        let expected = if decides { vec!["Plan rejected"] } else { vec!["Reminder 2", "Plan expired"] };
        let rest = it.told().1.split_off(2);
        assert_eq!(rest.len(), expected.len(), "{rest:?}");
        assert!(rest.iter().zip(expected).all(|(found, wanted)| found.starts_with(wanted)), "{rest:?}");
        assert!(it.rows(NoticeStatus::Recurring).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reminder_that_could_not_be_sent_in_time_is_dropped_once_it_is_over() {
    let it = Routed::with(quiet()).await;
    it.channel("pager", None, json!({ "repeatIntervalSec": 60 })).await;
    let _running = it.rounds.start();
    let plan = it.propose("mend it", None).await;
    until("it is told", async || it.told().1.len() == 1).await;
    lock(&it.pager.fails).extend([PortErrorKind::Unavailable; 5]);
    until("a reminder failed", async || lock(&it.pager.fails).len() < 5).await;
    it.rounds.plans().reject(&it.world.editor, plan.id, None).await.unwrap();
    until("the end is told", async || it.told().1.len() == 2).await;
    pass(secs(600)).await;
    assert_eq!(it.told().1[1], "Plan rejected: mend it");
    assert_eq!(it.told().1.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_down_for_long_has_one_dead_reminder_and_not_one_of_each() {
    let it = Routed::with(Settings { notice_attempts: 1, ..quiet() }).await;
    it.channel("pager", None, json!({ "repeatIntervalSec": 60 })).await;
    let _running = it.rounds.start();
    lock(&it.pager.fails).extend([PortErrorKind::Unavailable; 10]);
    it.propose("mend it", None).await;
    until("it was tried ten times", async || lock(&it.pager.fails).is_empty()).await;
    assert_eq!(it.rows(NoticeStatus::Dead).await.len(), 2, "what was told first, and the last reminder");
    until("then it is told", async || it.told().1.len() == 1).await;
    assert!(it.told().1[0].starts_with("Reminder 10"), "{:?}", it.told().1);
}

#[tokio::test(start_paused = true)]
async fn two_replicas_and_a_restart_neither_double_nor_lose_what_is_gathered_or_reminded() {
    let it = Routed::with(quiet()).await;
    it.channel(
        "pager",
        None,
        json!({
        "groupBy": ["team"], "groupWaitSec": 60, "groupIntervalSec": 60, "repeatIntervalSec": 1800 }),
    )
    .await;
    let first = it.rounds.start();
    let second = replica(&it.world, &it.pager).start();
    it.world.errors.set(1.0);
    for number in 0..12 {
        it.world.rule(&format!("rule {number}"), json!({ "labels": { "team": "one" } })).await;
    }
    until("all are gathered", async || {
        it.rows(NoticeStatus::Gathering).await.first().is_some_and(|row| row.members.len() == 12)
    })
    .await;
    // Both stop while they are gathered; another goes on.
    first.shutdown(secs(5)).await;
    second.shutdown(secs(5)).await;
    let (_third, _fourth) = (replica(&it.world, &it.pager).start(), replica(&it.world, &it.pager).start());
    until("they are told", async || !it.told().1.is_empty()).await;
    let folded = || lock(&it.pager.told).iter().map(|notice| notice.folded.len().max(1)).collect::<Vec<_>>();
    assert_eq!(folded(), [12]);
    pass(secs(1000)).await;
    assert_eq!(folded(), [12]);
    until("they are told again", async || folded().iter().sum::<usize>() == 24).await;
    pass(secs(1000)).await;
    assert_eq!(folded().iter().sum::<usize>(), 24);
    let told = lock(&it.pager.told).clone();
    assert!(told[1..].iter().flat_map(|notice| &notice.folded).all(|it| it.title.starts_with("Reminder 1: rule ")));
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_hangs_keeps_no_other_from_its_group_or_its_reminders() {
    let it = Routed::with(quiet()).await;
    it.channel("channel", None, json!({})).await;
    it.channel("pager", None, json!({ "groupWaitSec": 10, "repeatIntervalSec": 60 })).await;
    *lock(&it.world.channel.hangs) = true;
    let _running = it.rounds.start();
    it.world.errors.set(1.0);
    it.world.rule("errors", json!({})).await;
    let began = it.world.now();
    until("the pager is told three times", async || it.told().1.len() == 3).await;
    assert!(elapsed(began, it.world.now()) < secs(200) && it.told().0.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_routing_is_checked_and_kept_and_changes_no_revision() {
    let it = Routed::new().await;
    let (connectors, admin) = (it.rounds.connectors(), &it.world.admin);
    let routed = |kind: &str, value: Value| draft(kind).with_routing(serde_json::from_value(value).unwrap());
    let refused = connectors.create(admin, routed("pager", json!({ "groupWaitSec": 0 }))).await.unwrap_err();
    assert!(refused.to_string().contains("routing.groupWaitSec: found 0; 1 to 3600"), "{refused}");
    let mut other = routed("cluster", json!({ "minSeverity": "info" }));
    other.name = "another".into();
    let refused = connectors.create(admin, other).await.unwrap_err();
    assert!(refused.to_string().contains("routing: found on a connector of kind `cluster`"), "{refused}");
    let made = it.channel("pager", None, json!({ "minSeverity": "high", "matchers": ["team=a"] })).await;
    let kept = connectors.update(admin, made.id, draft("pager")).await.unwrap();
    assert_eq!((kept.routing.clone(), kept.revision), (made.routing, 1), "absent: it stays");
    let none = connectors.update(admin, made.id, draft("pager").with_routing(Routing::default())).await.unwrap();
    assert!(none.routing.is_everything() && none.revision == 1);
    for (sent, wanted) in [
        (json!({ "kinds": ["firing"] }), "routing.kinds[0]: unknown variant `firing`, expected one of `alert_firing`"),
        (json!({ "minSeverity": "bad" }), "routing.minSeverity: unknown variant `bad`, expected one of `info`"),
        (json!({ "matchers": ["a=b", "team~a"] }), "routing.matchers[1]: found `team~a`: a matcher such as"),
        (json!({ "severity": "info" }), "routing.severity: unknown field `severity`, expected one of `kinds`"),
        (json!("all"), "routing: invalid type: string"),
    ] {
        let draft = json!({ "type": "pager", "name": "pager", "routing": sent });
        let error = serde_json::from_value::<ConnectorDraft>(draft).unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn rows_from_before_there_was_routing_are_read_and_hear_everything() {
    let it = Routed::new().await;
    let made = it.channel("pager", None, json!({})).await;
    let body = Record::from(made).encode().unwrap();
    assert!(!body.contains("routing"), "and an older version reads it");
    let Record::Connector(read) = Record::decode(RecordKind::Connector, &body).unwrap() else { panic!("{body}") };
    assert!(read.routing.is_everything());
    it.propose("mend it", None).await;
    let row = it.rows(NoticeStatus::Pending).await.remove(0);
    let mut body: Value = serde_json::from_str(&Record::from(row).encode().unwrap()).unwrap();
    for new in ["lasts", "group", "members"] {
        body.as_object_mut().unwrap().remove(new);
    }
    for new in ["namespaces", "repeat", "folded"] {
        body["notice"].as_object_mut().unwrap().remove(new);
    }
    let Record::Notice(read) = Record::decode(RecordKind::Notice, &body.to_string()).unwrap() else { panic!("{body}") };
    assert_eq!((read.notice.kind, read.notice.repeat, read.lasts), (NoticeKind::PlanProposed, 0, None));
    let _running = it.rounds.start();
    eventually("it is told", async || lock(&it.pager.told).first().cloned()).await;
}

/// Everything that a channel was told of, alone or with others.
fn told_of(channel: &Channel) -> Vec<String> {
    let told = lock(&channel.told);
    let titles = |notice: &Notice| match notice.folded.is_empty() {
        true => vec![notice.title.clone()],
        false => notice.folded.iter().map(|it| it.title.clone()).collect(),
    };
    told.iter().flat_map(titles).collect()
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_commit_loses_nothing_that_is_gathered_and_stops_no_reminder() {
    for fault in [Fault::CommitFails, Fault::AnswerLost, Fault::LeaseLost] {
        for number in 0..9 {
            let it = Routed::with(quiet()).await;
            it.channel("pager", None, json!({ "groupBy": ["team"], "groupWaitSec": 20, "repeatIntervalSec": 60 }))
                .await;
            for name in ["a", "b"] {
                let plan = it.propose(name, None).await;
                it.rounds.plans().reject(&it.world.editor, plan.id, None).await.unwrap();
            }
            let waits = it.propose("c", None).await;
            it.world.store.fail_after(number, fault);
            let _running = it.rounds.start();
            let wanted = ["Plan waits for approval: c", "Plan rejected: a", "Plan rejected: b"];
            let all_told = || wanted.iter().all(|title| told_of(&it.pager).iter().any(|told| told == title));
            until("everything is told", async || all_told()).await;
            // Again in the middle of reminding.
            it.world.store.fail_after(number % 3, fault);
            let third = "Reminder 3: Plan waits for approval: c".to_owned();
            until("it is told a third time more", async || told_of(&it.pager).contains(&third)).await;
            it.rounds.plans().reject(&it.world.editor, waits.id, None).await.unwrap();
            until("nothing is left", async || {
                let all: Vec<Versioned<OutboxNotice>> =
                    it.world.store.all(ListQuery::new(RecordKind::Notice)).await.unwrap();
                all.is_empty()
            })
            .await;
            let twice = told_of(&it.pager).len() - told_of(&it.pager).into_iter().collect::<BTreeSet<_>>().len();
            assert!(
                twice <= 2,
                "{fault:?} at {number}: at most what was on its way comes twice: {:?}",
                told_of(&it.pager)
            );
        }
    }
}
