//! One of everything: an incident with its plan, plans in each state, and the pages that show them.

use std::time::Duration;

use rounds_core::PlanId;
use rounds_core::access::{Action, Scope};
use rounds_core::alert::{Notified, Severity};
use rounds_core::plan::{PlanOutcome, PlanStatus};
use rounds_core::service::{Approval, ExternalAlert};

use crate::shop::Outcome;
use crate::world::World;

const STUCK: &[&str] = &["delete", "pod", "checkout-7c9f4d5b6-x2x9k", "-n", "shop"];
const SCALE: &[&str] = &["scale", "deployment/payments-api", "--replicas=6", "-n", "payments"];
const LOOK: &[&str] = &["get", "deployment/payments-api", "-n", "payments"];

/// A page: a name for it, and where it is.
pub type Page = (&'static str, String);

/// Fills a world, and says which pages there are to look at.
pub async fn everything(world: &World) -> Vec<Page> {
    let plan = world.incident().await;
    let (admin, rounds) = (&world.admin, world.rounds());
    let rule = plan.linked_alert_rule_id.unwrap();
    let away = world.rule("Payments saturation", "max(away(cpu_used))", 0.9, Severity::High).await;
    world.rule("Queue depth", "sum(queue_depth)", 50.0, Severity::Warning).await;
    let destructive = world.plan("Delete the pod that hangs in termination", &[STUCK], false).await;
    let failed = world.plan("Give payments more replicas", &[SCALE, LOOK], true).await;
    world.shop.next(Outcome::Fails(
        "Error from server (Forbidden): deployments.apps \"payments-api\" is forbidden: User \"rounds\" cannot patch \
         resource \"deployments/scale\" in API group \"apps\" in the namespace \"payments\"",
    ));
    approve_all(world, failed.id).await;
    world.until(failed.id, PlanStatus::Failed).await;
    let paused = world.plan("Look, then scale payments", &[LOOK, SCALE], false).await;
    rounds.plans().approve(admin, paused.id, &Approval::default()).await.unwrap();
    world
        .until_some(async || {
            let plan = rounds.plans().get(admin, paused.id).await.unwrap();
            matches!(PlanOutcome::of(&plan), PlanOutcome::PausedForApproval { .. }).then_some(())
        })
        .await;
    let rejected = world.plan("Scale checkout to zero", &[SCALE], false).await;
    rounds.plans().reject(admin, rejected.id, Some("that would take the shop down".into())).await.unwrap();
    world
        .until_some(async || {
            let seen = rounds.alerts().get(admin, away).await.unwrap();
            seen.instance?.last_error.map(drop)
        })
        .await;
    let connector = world.cluster;
    let taken = rounds.alerts().receive(admin, "alertmanager", &[elsewhere("a"), elsewhere("b")]).await.unwrap();
    assert_eq!(taken.fired, 2);
    let rules = rounds.alerts().list(admin).await.unwrap();
    let external = rules.iter().find(|found| found.rule.source.is_some()).unwrap().rule.id;
    vec![
        ("actions", "/actions".to_owned()),
        ("steps", "/actions?tab=steps".into()),
        ("resolved", "/actions?tab=resolved&age=7d".into()),
        ("plan", format!("/plans/{}", plan.id)),
        ("plan-destructive", format!("/plans/{}", destructive.id)),
        ("plan-failed", format!("/plans/{}", failed.id)),
        ("plan-paused", format!("/plans/{}", paused.id)),
        ("modify", format!("/plans/{}/modify", plan.id)),
        ("investigations", "/investigations".into()),
        ("investigation", format!("/investigations/{}", plan.investigation_id.unwrap())),
        ("alerts", "/alerts".into()),
        ("alert", format!("/alerts/{rule}")),
        ("alert-error", format!("/alerts/{away}")),
        ("alert-each", format!("/alerts/{external}")),
        ("alert-each-edit", format!("/alerts/{external}/edit")),
        ("alert-new", "/alerts/new".into()),
        ("alert-edit", format!("/alerts/{rule}/edit")),
        ("connectors", "/settings/connectors".into()),
        ("connector", format!("/settings/connectors/{connector}")),
        ("connector-new", "/settings/connectors?kind=kubernetes".into()),
        ("datasources", "/settings/datasources".into()),
        ("notifications", "/settings/notifications".into()),
        ("channel-new", "/settings/notifications?kind=email".into()),
        ("adapter-new", "/settings/connectors?kind=argocd".into()),
        ("dead-letters", "/settings/notifications/dead-letters".into()),
        ("service-accounts", "/admin/service-accounts".into()),
        ("users", "/admin/users".into()),
        ("user", format!("/admin/users/{}", admin.id)),
        ("teams", "/admin/teams".into()),
        ("roles", "/admin/roles".into()),
        ("audit", "/admin/audit".into()),
        ("setup-model", "/setup/model".into()),
        ("setup-datasource", "/setup/datasource".into()),
        ("setup-cluster", "/setup/cluster".into()),
        ("setup-notifications", "/setup/notifications".into()),
        ("setup-done", "/setup/done".into()),
        ("account", "/account".into()),
        ("missing", "/nowhere".into()),
    ]
}

/// An alert that Alertmanager tells of.
fn elsewhere(fingerprint: &str) -> ExternalAlert {
    let pod = format!("checkout-7c9f4d5b6-{fingerprint}");
    let labels = [("alertname", "KubePodCrashLooping"), ("namespace", "shop"), ("pod", &pod)];
    let summary = "Pod is crash looping, and has been for fifteen minutes.";
    let texts = [("summary", summary), ("runbook_url", "https://runbooks.example/crash-looping")];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    ExternalAlert {
        name: "KubePodCrashLooping".into(),
        fingerprint: fingerprint.into(),
        notified: Notified {
            starts_at: chrono::DateTime::from_timestamp(1_767_225_600, 0).unwrap(),
            resolved: false,
            labels: labels.map(owned).into(),
            annotations: texts.map(owned).into(),
            value: None,
            severity: Severity::Warning,
        },
        query: "increase(kube_pod_container_status_restarts_total[5m]) > 0".into(),
    }
}

async fn approve_all(world: &World, id: PlanId) {
    let who = world.admin.clone().with_grant(Action::PlansAutoEdit, Scope::all("plans"));
    world.rounds().plans().approve(&who, id, &Approval { auto_edit: true, digest: None }).await.unwrap();
}

/// Chooses light or dark for a browser that is on a page of the site.
pub async fn theme(browser: &crate::driver::Browser, theme: &str) {
    let choose = format!("document.cookie = 'rounds_theme={theme}; path=/'");
    browser.client.execute(&choose, Vec::new()).await.unwrap();
}

/// What a page is too wide by, in CSS pixels.
pub async fn too_wide(browser: &crate::driver::Browser) -> i64 {
    let measure = "return document.documentElement.scrollWidth - window.innerWidth";
    browser.client.execute(measure, Vec::new()).await.unwrap().as_i64().unwrap_or(0)
}

/// Time for charts and the like, which no element announces. For pictures only.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(250)).await;
}
