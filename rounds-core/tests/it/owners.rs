//! Owner teams: whose a plan is, whose channels hear of it, and how it is found.

use std::collections::BTreeSet;

use rounds_core::investigation::Proposal;
use rounds_core::ports::store::{ListQuery, OutboxNotice, RecordKind, StoreExt, Versioned};
use rounds_core::service::{PlanFilter, ProposeRequest};
use rounds_core::{AlertRuleId, ConnectorId, PlanId, TeamId};
use serde_json::json;

use crate::harness::{World, draft, eventually, later, lock, pass, secs, step};

async fn connector(world: &World, name: &str, kind: &str, team: Option<TeamId>) -> rounds_core::connector::Connector {
    let mut draft = draft(kind);
    (draft.name, draft.owner_team_id) = (name.into(), team);
    world.rounds.connectors().create(&world.admin, draft).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_its_rules_teams_else_that_of_the_connector_it_writes_through() {
    let world = World::new().await;
    let (rules, writes, reads) = (TeamId::new(), TeamId::new(), TeamId::new());
    let reader = connector(&world, "reader", "cluster", Some(reads)).await;
    let writer = connector(&world, "writer", "cluster", Some(writes)).await;
    let rule = world.rule("owned", json!({ "ownerTeamId": rules })).await.id;
    let nobodys = world.rule("not owned", json!({})).await.id;
    let both = [step(&reader, "get app/web"), step(&writer, "restart app/web")];
    let owner = async |rule: Option<AlertRuleId>, steps: Vec<_>| {
        let request = ProposeRequest::from(Proposal::new("mend it").with_steps(steps)).with_alert_rule(rule);
        let request = request.with_rescue(Proposal::new("undo it").with_steps([step(&reader, "get app/web")]));
        let proposed = world.rounds.plans().propose(&world.agent, request).await.unwrap();
        (proposed.plan.owner_team_id, proposed.rescue.unwrap().owner_team_id)
    };
    assert_eq!(owner(Some(rule), both.to_vec()).await, (Some(rules), Some(rules)), "the rule's, whatever it runs on");
    assert_eq!(owner(Some(nobodys), both.to_vec()).await, (Some(writes), Some(reads)));
    assert_eq!(owner(None, both[..1].to_vec()).await.0, Some(reads), "of what only reads");
    assert_eq!(owner(None, vec![world.step("restart app/web")]).await.0, None);
}

/// Which channels a plan of a team's connector was routed to.
async fn heard(world: &World, owner: Option<TeamId>) -> BTreeSet<ConnectorId> {
    *lock(&world.channel.hangs) = true;
    let cluster = connector(world, "owned", "cluster", owner).await;
    let proposal = Proposal::new("mend it").with_steps([step(&cluster, "restart app/web")]);
    let _running = world.start();
    world.rounds.plans().propose(&world.agent, proposal).await.unwrap();
    eventually("the notice is routed", async || {
        let all: Vec<Versioned<OutboxNotice>> = world.store.all(ListQuery::new(RecordKind::Notice)).await.unwrap();
        assert!(all.iter().all(|found| found.value.notice.owner_team_id == owner));
        all.iter().map(|found| found.value.channel).collect::<Option<BTreeSet<_>>>().filter(|found| !found.is_empty())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_teams_channel_hears_what_the_team_owns_and_a_channel_of_nobody_hears_everything() {
    let (ours, theirs) = (TeamId::new(), TeamId::new());
    for (owner, expected) in
        [(Some(ours), vec!["all", "ours"]), (Some(theirs), vec!["all", "theirs"]), (None, vec!["all"])]
    {
        let world = World::new().await;
        let mut ids = Vec::new();
        for (name, team) in [("all", None), ("ours", Some(ours)), ("theirs", Some(theirs))] {
            ids.push((name, connector(&world, name, "channel", team).await.id));
        }
        let heard = heard(&world, owner).await;
        let names: Vec<&str> = ids.iter().filter(|(_, id)| heard.contains(id)).map(|(name, _)| *name).collect();
        assert_eq!(names, expected, "{owner:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_channel_would_hear_of_every_channel_hears_of() {
    let world = World::new().await;
    let theirs = connector(&world, "theirs", "channel", Some(TeamId::new())).await;
    assert_eq!(heard(&world, Some(TeamId::new())).await, BTreeSet::from([theirs.id]));
}

#[tokio::test(start_paused = true)]
async fn a_filter_finds_what_is_wanted_on_whichever_page_it_is_and_leaves_nothing_out_or_twice() {
    let world = World::new().await;
    let team = TeamId::new();
    let other = connector(&world, "other", "cluster", Some(team)).await;
    let mut expected = Vec::new();
    for number in 0..450 {
        let at = if number % 90 == 7 { &other } else { &world.connector };
        let place = if number % 90 == 7 { "restart db/pg" } else { "restart app/web" };
        let proposal = Proposal::new("mend it").with_steps([step(at, place)]);
        let plan = world.rounds.plans().propose(&world.agent, proposal).await.unwrap().plan;
        if number % 90 == 7 {
            expected.push(plan.id);
        }
        pass(secs(1)).await;
    }
    expected.reverse();
    let found = async |filter: PlanFilter| {
        let (mut found, mut after) = (Vec::<PlanId>::new(), None);
        loop {
            let filter = PlanFilter { after, limit: 2, ..filter.clone() };
            let page = world.rounds.plans().list(&world.viewer, &filter).await.unwrap();
            assert!(page.items.len() <= 2);
            found.extend(page.items.iter().map(|plan| plan.id));
            after = page.next;
            if after.is_none() {
                return found;
            }
        }
    };
    assert_eq!(expected.len(), 5);
    assert_eq!(found(PlanFilter { owner_team_id: Some(team), ..PlanFilter::default() }).await, expected);
    assert_eq!(found(PlanFilter { connector_id: Some(other.id), ..PlanFilter::default() }).await, expected);
    assert_eq!(found(PlanFilter { namespace: Some("db".into()), ..PlanFilter::default() }).await, expected);
    assert!(found(PlanFilter { namespace: Some("d".into()), ..PlanFilter::default() }).await.is_empty());
    let began = world.plan(*expected.last().unwrap()).await.created_at;
    let (from, to) = (later(began, secs(90)), later(began, secs(181)));
    let between = PlanFilter { created_from: Some(from), created_before: Some(to), ..PlanFilter::default() };
    let wanted = PlanFilter { namespace: Some("db".into()), ..between.clone() };
    assert_eq!(found(wanted).await, expected[2..4], "at the first moment, and before the last");
    assert_eq!(found(between).await.len(), 91);
}

#[tokio::test(start_paused = true)]
async fn what_is_younger_than_a_filters_time_is_read_past_a_bounded_number_a_page_and_the_page_says_that_there_are_more()
 {
    let world = World::new().await;
    let before = world.now();
    for _ in 0..2_300 {
        world.propose(&["restart app/web"]).await;
    }
    let filter = PlanFilter { created_before: Some(before), ..PlanFilter::default() };
    let page = world.rounds.plans().list(&world.viewer, &filter).await.unwrap();
    assert!(page.items.is_empty() && page.next.is_some());
    let page = world.rounds.plans().list(&world.viewer, &PlanFilter { after: page.next, ..filter }).await.unwrap();
    assert!(page.items.is_empty() && page.next.is_none());
}
