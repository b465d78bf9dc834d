//! Pictures of the main pages for people to look at: run with `--run-ignored all` and `ROUNDS_SCREENS` set to a
//! directory.

use std::path::PathBuf;
use std::time::Duration;

use rounds_core::alert::Severity;
use rounds_core::plan::PlanStatus;
use rounds_core::service::Approval;

use crate::driver::Browser;
use crate::shop::Outcome;
use crate::world::World;

const STUCK: &[&str] = &["delete", "pod", "checkout-7c9f4d5b6-x2x9k", "-n", "shop"];
const SCALE: &[&str] = &["scale", "deployment/payments-api", "--replicas=6", "-n", "payments"];
const LOOK: &[&str] = &["get", "deployment/payments-api", "-n", "payments"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes pictures for people"]
async fn pictures_of_every_page() {
    let Some(dir) = std::env::var_os("ROUNDS_SCREENS").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&dir).unwrap();
    let world = World::new().await;
    let plan = world.incident().await;
    let admin = &world.admin;
    let rounds = world.rounds();
    let rule = plan.linked_alert_rule_id.unwrap();
    let away = world.rule("Payments saturation", "max(away(cpu_used))", 0.9, Severity::High).await;
    world.rule("Queue depth", "sum(queue_depth)", 50.0, Severity::Warning).await;
    let destructive = world.plan("Delete the pod that hangs in termination", &[STUCK], false).await;
    let failed = world.plan("Give payments more replicas", &[SCALE, LOOK], true).await;
    world.shop.next(Outcome::Fails(
        "Error from server (Forbidden): deployments.apps \"payments-api\" is forbidden: User \"rounds\" cannot patch \
         resource \"deployments/scale\" in API group \"apps\" in the namespace \"payments\"",
    ));
    approve_all(&world, failed.id).await;
    world.until(failed.id, PlanStatus::Failed).await;
    let paused = world.plan("Look, then scale payments", &[LOOK, SCALE], false).await;
    rounds.plans().approve(admin, paused.id, &Approval::default()).await.unwrap();
    let rejected = world.plan("Scale checkout to zero", &[SCALE], false).await;
    rounds.plans().reject(admin, rejected.id, Some("that would take the shop down".into())).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;

    let connector = world.cluster;
    let pages = [
        ("actions", "/actions".to_owned()),
        ("steps", "/actions?tab=steps".into()),
        ("resolved", "/actions?tab=resolved".into()),
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
        ("alert-new", "/alerts/new".into()),
        ("connectors", "/settings/connectors".into()),
        ("connector", format!("/settings/connectors/{connector}")),
        ("datasources", "/settings/datasources".into()),
        ("dead-letters", "/settings/notifications/dead-letters".into()),
        ("service-accounts", "/admin/service-accounts".into()),
        ("users", "/admin/users".into()),
        ("user", format!("/admin/users/{}", admin.id)),
        ("teams", "/admin/teams".into()),
        ("roles", "/admin/roles".into()),
        ("setup-model", "/setup/model".into()),
        ("setup-datasource", "/setup/datasource".into()),
        ("setup-cluster", "/setup/cluster".into()),
        ("setup-done", "/setup/done".into()),
        ("audit", "/admin/audit".into()),
    ];
    let mut wrong = Vec::new();
    for (size, width, height) in [("phone", 390, 844), ("desk", 1440, 900)] {
        let browser = Browser::open(width, height).await;
        browser.client.goto(&world.base).await.unwrap();
        shoot(&browser, &dir, &format!("login-{size}-light")).await;
        for login in ["ada", "vera"] {
            browser.client.delete_all_cookies().await.unwrap();
            browser.sign_in(&world.base, login, "/actions").await;
            for theme in ["light", "dark"] {
                let choose = format!("document.cookie = 'rounds_theme={theme}; path=/'");
                browser.client.execute(&choose, Vec::new()).await.unwrap();
                for (name, path) in &pages {
                    if login == "vera" && (*name != "plan" || theme == "dark") {
                        continue;
                    }
                    browser.client.goto(&format!("{}{path}", world.base)).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(250)).await;
                    shoot(&browser, &dir, &format!("{name}-{login}-{size}-{theme}")).await;
                    let wide = browser
                        .client
                        .execute("return document.documentElement.scrollWidth - window.innerWidth", Vec::new())
                        .await
                        .unwrap();
                    if wide.as_i64().unwrap_or(0) > 0 {
                        wrong.push(format!("{name} at {width}: {wide} px too wide"));
                    }
                }
            }
        }
        browser.close().await;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

async fn approve_all(world: &World, id: rounds_core::PlanId) {
    use rounds_core::access::{Action, Scope};
    let who = world.admin.clone().with_grant(Action::PlansAutoEdit, Scope::all("plans"));
    world.rounds().plans().approve(&who, id, &Approval { auto_edit: true, digest: None }).await.unwrap();
}

async fn shoot(browser: &Browser, dir: &std::path::Path, name: &str) {
    let picture = browser.client.screenshot().await.unwrap();
    std::fs::write(dir.join(format!("{name}.png")), picture).unwrap();
}
