//! One of everything: an incident with its plan, plans in each state, and the pages that show them.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use rounds_core::PlanId;
use rounds_core::access::{Action, Scope};
use rounds_core::alert::{Notified, Severity};
use rounds_core::change::{ChangeDraft, ChangeKind};
use rounds_core::connector::Role;
use rounds_core::plan::{PlanOutcome, PlanStatus};
use rounds_core::service::{Approval, ExternalAlert, SilenceDraft};

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
    // Nobody looks into all of these: they are silenced.
    let quiet = SilenceDraft {
        rule_id: None,
        matchers: BTreeMap::from([("alertname".into(), MANY.into())]),
        comment: "the node pool is being replaced".into(),
        starts_at: None,
        ends_at: chrono::Utc::now() + TimeDelta::hours(2),
    };
    rounds.alerts().silence(admin, quiet).await.unwrap();
    let crowd: Vec<ExternalAlert> = (0..100).map(one_of_many).collect();
    assert_eq!(rounds.alerts().receive(admin, "alertmanager", &crowd).await.unwrap().fired, 100);
    let rules = rounds.alerts().list(admin).await.unwrap();
    let named = |name: &str| rules.iter().find(|found| found.rule.name.ends_with(name)).unwrap().rule.id;
    let (external, many) = (named("KubePodCrashLooping"), named(MANY));
    for (title, service) in [("checkout v2.4.0-rc1 by ada", Some("checkout")), ("TLS certificates were renewed", None)]
    {
        let mut change = ChangeDraft::new(ChangeKind::Deployment, title);
        change.namespace = service.map(|_| "shop".to_owned());
        change.service = service.map(str::to_owned);
        change.source = Some("github-actions".into());
        change.labels = BTreeMap::from([("commit".into(), "9f2c1ab7d0c4e6b8a1f3d5c7e9b1a3c5d7f9e1b3".into())]);
        change.url = Some("https://ci.example/runs/4711".into());
        rounds.changes().record(admin, change).await.unwrap();
    }
    let mut pages = vec![
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
        ("wrong-method", "/logout".into()),
        ("alert-many", format!("/alerts/{many}")),
        ("silences", "/alerts/silences".into()),
        ("changes", "/changes".into()),
    ];
    // The form of each kind there is.
    for (name, path) in forms(world) {
        pages.push((name, path));
    }
    pages
}

/// The forms of all kinds of connectors, by a name that begins with `form-`.
pub fn forms(world: &World) -> Vec<Page> {
    let connectors = world.rounds().connectors();
    let of = |kind: &rounds_core::plugin::Registration| {
        let place = match kind.role() {
            Role::Datasource => "datasources",
            Role::Notifier => "notifications",
            Role::Model => "models",
            _ => "connectors",
        };
        let name: &'static str = Box::leak(format!("form-{}", kind.kind()).into_boxed_str());
        (name, format!("/settings/{place}?kind={}", kind.kind()))
    };
    connectors.kinds().iter().map(of).collect()
}

const MANY: &str = "KubePodNotReady";

/// One of many alerts of one name, with labels as long as labels get.
fn one_of_many(number: usize) -> ExternalAlert {
    let pod = format!("payments-reconciliation-worker-6d4cf56db6-{number:05}");
    let image = "registry.eu-central-1.example.com/payments/reconciliation-worker@sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945";
    let labels =
        [("alertname", MANY), ("namespace", "payments"), ("pod", &pod), ("image", image), ("severity", "warning")];
    let summary = format!("Pod {pod} has not been ready for fifteen minutes.");
    let texts =
        [("summary", summary.as_str()), ("runbook_url", "https://runbooks.example/not-ready"), ("description", image)];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let mut one = elsewhere(&format!("many-{number}"));
    one.name = MANY.into();
    one.query = "sum by (namespace, pod) (kube_pod_status_phase{phase=~\"Pending|Unknown\"}) > 0".into();
    one.notified.labels = labels.map(owned).into();
    one.notified.annotations = texts.map(owned).into();
    one
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
