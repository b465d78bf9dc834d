//! The pages in a real browser. Needs `chromedriver` and `chromium` on PATH; select with `binary(browser)`.

// A scene that starts a world, a shop and a browser is one deep future.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests start a browser, find it on PATH, and break a shop just now")]

mod a11y;
mod alerts;
mod driver;
mod forms;
mod line;
mod scene;
mod screens;
mod shop;
mod swaps;
mod watched;
mod wizard;
mod world;

use std::sync::Arc;

use driver::{Browser, button, disabled, text};
use fantoccini::Locator;
use rounds_core::plan::PlanStatus;
use shop::Outcome;
use tokio::sync::Semaphore;
use world::World;

const ROLL_BACK: &[&str] = &["rollout", "undo", "deployment/checkout", "-n", "shop"];
const LOOK: &[&str] = &["get", "deployment/checkout", "-n", "shop"];

#[tokio::test(flavor = "multi_thread")]
async fn the_first_admin_sets_up_creates_a_token_and_sees_it_once() {
    let world = World::empty().await;
    let browser = Browser::open(1440, 900).await;
    browser.client.goto(&world.base).await.unwrap();
    browser.sees("//h1[.='Set up Rounds']").await;
    for (field, value) in [("#name", "Ada"), ("#login", "ada"), ("#email", "ada@shop.example")] {
        browser.fill(field, value).await;
    }
    browser.fill("#password", world::PASSWORD).await;
    browser.press("Create the first admin").await;
    browser.sees("//p[contains(., 'Step 2 of 5')]").await;
    browser.client.goto(&format!("{}/admin/service-accounts", world.base)).await.unwrap();
    browser.sees("//h3[.='@syntropize/rounds']").await;
    browser.press("Create token").await;
    browser.sees("//code[@id='minted' and starts-with(., 'rounds_sa_')]").await;
    browser.client.goto(&format!("{}/admin/service-accounts", world.base)).await.unwrap();
    browser.sees(&button("Revoke")).await;
    assert!(!browser.text().await.contains("rounds_sa_"), "a token is shown once");
    browser.press("Revoke").await;
    browser.sees(&text("revoked")).await;
    browser.client.goto(&format!("{}/setup/admin", world.base)).await.unwrap();
    browser.sees("//p[contains(., 'Step 2 of 5')]").await;
    assert!(!browser.has(&button("Create the first admin")).await, "nobody becomes the first admin a second time");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_approved_with_auto_edit_and_its_steps_are_seen_running() {
    let world = World::new().await;
    let plan = world.incident().await;
    let gate = Arc::new(Semaphore::new(0));
    world.shop.next(Outcome::Waits(gate.clone()));
    let browser = Browser::open(1440, 900).await;
    browser.sign_in(&world.base, "ed", &format!("/investigations/{}", plan.investigation_id.unwrap())).await;
    browser.sees("//a[.='Review']").await;
    browser.client.find(Locator::XPath("//a[.='Review']")).await.unwrap().click().await.unwrap();
    browser.sees(&text("kubectl rollout undo deployment/checkout --to-revision=11 -n shop")).await;
    let page = browser.text().await;
    for seen in
        ["prod-eu · shop", "write", "crashes at start", "Open rescue plan", "image: registry.example/checkout:2.3.7"]
    {
        assert!(page.contains(seen), "the page says nothing of `{seen}`:\n{page}");
    }
    browser.client.find(Locator::Css("input[name=auto_edit]")).await.unwrap().click().await.unwrap();
    browser.press("Approve").await;
    browser.sees("//li[@id='step-1'][contains(@class,'executing')]").await;
    // Nobody reloads: what follows comes over the stream.
    gate.add_permits(1);
    browser.sees("//li[@id='step-2'][contains(@class,'done')]").await;
    browser.sees("//section[@id='decide']//span[contains(@class,'pill')][.='completed']").await;
    browser.sees("//section[@id='decide']//span[contains(@class,'pill')][.='recovered']").await;
    assert_eq!(world.shop.ran().len(), 2);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_grant_auto_edit_is_disabled_with_what_is_missing_and_each_step_is_approved() {
    let world = World::new().await;
    let plan = world.plan("Roll checkout back", &[ROLL_BACK, LOOK], false).await;
    let browser = Browser::open(390, 844).await;
    browser.sign_in(&world.base, "eve", &format!("/plans/{}", plan.id)).await;
    assert!(browser.has("//input[@name='auto_edit' and @disabled]").await);
    assert!(browser.text().await.contains("needs plans:auto_edit on plans:namespace:shop"));
    browser.press("Approve").await;
    for step in ["step-1", "step-2"] {
        // On a phone it is asked at the thumb.
        let approve = format!("//section[@id='decide'][.//a[@href='#{step}']]{}", button("Approve"));
        browser.sees(&approve).await;
        assert!(world.shop.ran().len() < 2, "nothing runs before its own approval");
        browser.client.find(Locator::XPath(&approve)).await.unwrap().click().await.unwrap();
        browser.sees(&format!("//li[@id='{step}'][contains(@class,'done')]")).await;
    }
    world.until(plan.id, PlanStatus::Completed).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_sees_the_plan_with_disabled_buttons_that_say_what_is_missing() {
    let world = World::new().await;
    let plan = world.plan("Roll checkout back", &[ROLL_BACK], false).await;
    let browser = Browser::open(1440, 900).await;
    browser.sign_in(&world.base, "vera", &format!("/plans/{}", plan.id)).await;
    for label in ["Approve", "Reject", "Modify"] {
        assert!(browser.has(&disabled(label)).await, "{label}");
        assert!(!browser.has(&button(label)).await, "{label}");
    }
    assert!(browser.text().await.contains("needs plans:approve on plans:*"));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_read_and_decided_without_scripts() {
    let world = World::without_scripts().await;
    let plan = world.plan("Roll checkout back", &[ROLL_BACK, LOOK], false).await;
    let browser = Browser::open(390, 844).await;
    browser.sign_in(&world.base, "ed", &format!("/plans/{}", plan.id)).await;
    assert!(!browser.has("//html[@data-script='on']").await, "scripts are off");
    browser.client.find(Locator::XPath("//a[.='Modify']")).await.unwrap().click().await.unwrap();
    browser.press("Remove").await;
    browser.press("Save changes").await;
    browser.sees("//div[@id='done'][contains(., 'new revision')]").await;
    browser.press("Approve").await;
    browser.sees("//div[@id='done'][contains(., 'You approved this plan')]").await;
    let plan = world
        .until_some(async || {
            let plan = world.rounds().plans().get(&world.admin, plan.id).await.unwrap();
            plan.steps[0].approval_request_id.is_some().then_some(plan)
        })
        .await;
    assert_eq!(plan.steps.len(), 1, "the first step was removed");
    browser.client.goto(&format!("{}/plans/{}", world.base, plan.id)).await.unwrap();
    browser.press("Approve").await;
    browser.sees("//div[@id='done'][contains(., 'You approved this step')]").await;
    world.until(plan.id, PlanStatus::Completed).await;
    assert_eq!(world.shop.ran(), ["kubectl get deployment/checkout -n shop"]);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_second_is_told_who_decided_and_when() {
    let world = World::new().await;
    let plan = world.plan("Roll checkout back", &[ROLL_BACK], false).await;
    let browser = Browser::open(1440, 900).await;
    browser.sign_in(&world.base, "ed", &format!("/plans/{}", plan.id)).await;
    // The page would show it at once; one that lost the server must not decide on what is no longer there.
    browser.client.execute("window.fetch = () => Promise.reject(new Error('away'))", Vec::new()).await.unwrap();
    world.rounds().plans().reject(&world.admin, plan.id, Some("not now".into())).await.unwrap();
    browser.press("Approve").await;
    browser.sees("//div[@id='error'][contains(., 'rejected by ada at ')]").await;
    assert_eq!(world.shop.ran().len(), 0);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_changes_under_the_eyes_is_not_swapped_in_and_cannot_be_approved() {
    let world = World::new().await;
    let plan = world.plan("Roll checkout back", &[ROLL_BACK], false).await;
    let browser = Browser::open(1440, 900).await;
    browser.sign_in(&world.base, "ed", &format!("/plans/{}", plan.id)).await;
    let other = Browser::open(1440, 900).await;
    other.sign_in(&world.base, "eve", &format!("/plans/{}/modify", plan.id)).await;
    other.fill("#command-0", "scale deployment/checkout; rm -n shop").await;
    other.press("Save changes").await;
    other.sees("//p[contains(@class,'wrong')][contains(., 'there is no shell')]").await;
    let kept = other.client.find(Locator::Css("#command-0")).await.unwrap().prop("value").await.unwrap();
    assert_eq!(kept.as_deref(), Some("scale deployment/checkout; rm -n shop"), "what was typed is kept");
    other.fill("#command-0", "exec deployment/checkout -n shop").await;
    other.press("Save changes").await;
    other.sees("//p[contains(@class,'wrong')][contains(., '`exec` is not accepted')]").await;
    other.fill("#command-0", "scale\ndeployment/checkout\n--replicas=4\n-n\nshop").await;
    other.press("Save changes").await;
    other.sees("//div[@id='done'][contains(., 'new revision')]").await;
    other.sees("//div[contains(@class,'diff')]//div[contains(@class,'add')][contains(., '--replicas=4')]").await;
    browser.sees("//div[@id='replaced' and not(@hidden)]").await;
    assert!(!browser.text().await.contains("--replicas=4"), "nothing changes under the finger");
    browser.press("Approve").await;
    browser.sees("//div[@id='error'][contains(., 'Nothing was decided') and contains(., 'eve changed it')]").await;
    assert_eq!(world.shop.ran().len(), 0);
    other.close().await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destructive_plan_takes_the_typed_name_and_reject_is_for_good() {
    let world = World::new().await;
    let delete: &[&str] = &["delete", "pod", "checkout-7c9f4d5b6-x2x9k", "-n", "shop"];
    let plan = world.plan("Delete a stuck pod", &[delete], false).await;
    let browser = Browser::open(1440, 900).await;
    browser.sign_in(&world.base, "ed", &format!("/plans/{}", plan.id)).await;
    browser.fill("#confirm", "checkout").await;
    browser.press("Approve").await;
    browser.sees("//div[@id='error'][contains(., 'you typed `checkout`')]").await;
    browser.client.find(Locator::Css("#reject-reason summary")).await.unwrap().click().await.unwrap();
    browser.fill("#reason", "the pod recovered").await;
    browser.press("Reject").await;
    browser.sees("//div[@id='done'][contains(., 'rejected this plan, for good')]").await;
    let plan = world.until(plan.id, PlanStatus::Rejected).await;
    assert_eq!(plan.resolution.as_deref(), Some("the pod recovered"));
    assert!(!browser.has(&button("Approve")).await);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_step_is_retried_only_when_that_is_acknowledged_and_a_rescue_is_one_link_away() {
    let world = World::new().await;
    let plan = world.plan("Roll checkout back", &[ROLL_BACK, LOOK], true).await;
    world.shop.next(Outcome::Unknown);
    let browser = Browser::open(1440, 900).await;
    browser.sign_in(&world.base, "ed", &format!("/plans/{}", plan.id)).await;
    browser.client.find(Locator::Css("input[name=auto_edit]")).await.unwrap().click().await.unwrap();
    browser.press("Approve").await;
    browser.sees("//li[@id='step-1'][contains(@class,'interrupted')]").await;
    browser.sees("//section[@id='decide']//a[.='Open rescue plan']").await;
    browser.client.find(Locator::Css("input[name=acknowledge]")).await.unwrap().click().await.unwrap();
    browser.press("Retry this step").await;
    browser.sees("//li[@id='step-2'][contains(@class,'done')]").await;
    browser.client.find(Locator::XPath("//a[.='Open rescue plan']")).await.unwrap().click().await.unwrap();
    browser.press("Submit for approval").await;
    browser.sees("//div[@id='done'][contains(., 'Nothing has run')]").await;
    assert_eq!(world.shop.ran().len(), 3, "the rescue did not run by itself");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_focused_and_open_stays_when_a_page_is_refreshed_beneath_it() {
    let world = World::new().await;
    let plan = world.incident().await;
    let rule = plan.linked_alert_rule_id.unwrap();
    let browser = Browser::open(1440, 900).await;
    browser.sign_in(&world.base, "eve", &format!("/alerts/{rule}?done=saved")).await;
    browser.client.find(Locator::Css("#silence summary")).await.unwrap().click().await.unwrap();
    browser.fill("#comment", "half a sent").await;
    let mark = "document.querySelectorAll('main *').forEach((element) => (element.marked = true))";
    browser.client.execute(mark, Vec::new()).await.unwrap();
    world.rounds().alerts().set_enabled(&world.admin, rule, false).await.unwrap();
    browser.sees(&button("Enable")).await;
    browser.client.active_element().await.unwrap().send_keys("ence").await.unwrap();
    let field = browser.client.find(Locator::Css("#comment")).await.unwrap();
    assert_eq!(field.prop("value").await.unwrap().as_deref(), Some("half a sentence"));
    assert!(field.is_displayed().await.unwrap(), "what was opened stays open");
    assert!(browser.has("//div[@id='done']").await, "the result of a form stays");
    let count = "return ['h1', '#chart', '#comment'].every((css) => document.querySelector(css).marked)";
    assert_eq!(
        browser.client.execute(count, Vec::new()).await.unwrap(),
        true,
        "nothing is replaced that did not change"
    );
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_rule_is_previewed_made_silenced_and_switched_off_on_its_pages() {
    let world = World::new().await;
    let browser = Browser::open(1440, 900).await;
    browser.sign_in(&world.base, "eve", "/alerts/new").await;
    browser.fill("#name", "Checkout errors").await;
    browser.fill("#query", "sum(typo(errors").await;
    browser.fill("#threshold", "0.05").await;
    browser.press("Preview").await;
    browser.sees("//section[@id='preview']//p[contains(., 'unclosed left parenthesis')]").await;
    browser.fill("#query", "sum(rate(http_errors_total[5m]))").await;
    browser.press("Preview").await;
    browser.sees("//section[@id='preview']//span[.='the condition is false']").await;
    browser.sees("//section[@id='preview']//*[name()='svg']").await;
    browser.fill("#labels", "no equals sign").await;
    browser.press("Create").await;
    browser.sees("//span[contains(@class,'wrong')][contains(., 'one name=value per line')]").await;
    browser.fill("#labels", "namespace=shop").await;
    browser.press("Create").await;
    browser.sees("//h1[.='Checkout errors']").await;
    browser.client.find(Locator::Css("#silence summary")).await.unwrap().click().await.unwrap();
    browser.fill("#comment", "deploying").await;
    browser.press("Silence").await;
    browser.sees(&text("Silenced by eve")).await;
    browser.press("End silence").await;
    browser.sees(&text("The silence is over")).await;
    browser.press("Disable").await;
    browser.sees(&button("Enable")).await;
    browser.press("Investigate now").await;
    browser.sees("//h1[contains(., 'Checkout errors')]").await;
    // No token was made: the investigation says so, and what to do.
    browser.sees(&text("no_live_token")).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_is_made_from_its_kinds_schema_and_its_secret_is_never_shown_again() {
    let world = World::new().await;
    let browser = Browser::open(1440, 900).await;
    browser.sign_in(&world.base, "ada", "/settings/connectors?kind=kubernetes").await;
    browser.fill("#name", "staging").await;
    browser.fill("#f-cluster", "nowhere").await;
    browser.fill("#f-allowedNamespaces", "staging\nshop").await;
    browser.fill("#secretRef", "gopher://x").await;
    browser.press("Create").await;
    browser.sees("//div[@id='error'][contains(., 'unknown secret scheme')]").await;
    let kept = browser.client.find(Locator::Css("#f-allowedNamespaces")).await.unwrap().prop("value").await.unwrap();
    assert_eq!(kept.as_deref(), Some("staging\nshop"), "what was typed is kept");
    browser.client.find(Locator::Css("#secretRef")).await.unwrap().clear().await.unwrap();
    browser.fill("#secret", "a very secret kubeconfig").await;
    browser.press("Create").await;
    browser.sees("//tr[contains(., 'staging') and contains(., 'allowed namespaces: staging, shop')]").await;
    browser.client.find(Locator::XPath("//a[.='staging']")).await.unwrap().click().await.unwrap();
    browser.sees(&text("A secret is stored, encrypted")).await;
    let source = browser.client.source().await.unwrap();
    assert!(!source.contains("a very secret kubeconfig"), "a secret goes in and never comes out");
    browser.client.goto(&format!("{}/settings/datasources", world.base)).await.unwrap();
    browser.press("Test").await;
    browser.sees("//div[@id='error'][contains(., 'connection refused')]").await;
    browser.sees("//tr[contains(., 'metrics')]//span[contains(@class,'danger')][.='error']").await;
    browser.close().await;
}
