//! What a page that refreshes itself must not do: take away what was refused, change a question under the finger, fall silent.

use std::sync::atomic::Ordering;

use fantoccini::Locator;
use rounds_core::RequestId;
use rounds_core::plan::{Plan, PlanStatus, RequestKind};
use serde_json::Value;

use crate::driver::{Browser, button};
use crate::world::World;

const ROLL_BACK: &[&str] = &["rollout", "undo", "deployment/checkout", "-n", "shop"];
const SCALE: &[&str] = &["scale", "deployment/checkout", "--replicas=4", "-n", "shop"];
const DELETE: &[&str] = &["delete", "pod", "checkout-7c9f4d5b6-x2x9k", "-n", "shop"];
const DELETE_OTHER: &[&str] = &["delete", "pod", "checkout-7c9f4d5b6-q4q7z", "-n", "shop"];

async fn run(browser: &Browser, script: &str) -> Value {
    browser.client.execute(script, Vec::new()).await.unwrap()
}

/// Has the page refresh itself, and waits until it did.
async fn swapped(browser: &Browser) {
    let count = "delete document.documentElement.dataset.swapped; \
                 document.addEventListener('rounds:swapped', () => (document.documentElement.dataset.swapped = '1')); \
                 document.dispatchEvent(new Event('visibilitychange'))";
    run(browser, count).await;
    browser.sees("//html[@data-swapped]").await;
}

/// Sends a form that the browser itself would hold back.
async fn send(browser: &Browser, label: &str) {
    browser.sees(&button(label)).await;
    // In one go: a refresh between the two would take the permission back.
    let script = "const button = [...document.querySelectorAll('button')].find((one) => one.textContent.trim() === arguments[0]); \
                  button.form.noValidate = true; button.click()";
    browser.client.execute(script, vec![label.into()]).await.unwrap();
}

/// The request of a step, once it asks.
async fn asked(world: &World, id: rounds_core::PlanId, ordinal: u32) -> RequestId {
    world
        .until_some(async || {
            let plan = world.rounds().plans().get(&world.admin, id).await.unwrap();
            plan.open_request(RequestKind::Step { ordinal }).map(|request| request.id)
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_field_stays_beside_it_when_the_page_refreshes_itself() {
    let world = World::new().await;
    let browser = Browser::open(1440, 900).await;
    browser.sign_in(&world.base, "ada", "/settings/datasources?kind=loki").await;
    browser.fill("#name", "logs").await;
    browser.fill("#f-url", "https://logs.example.com").await;
    browser.client.find(Locator::Css("#aside > summary")).await.unwrap().click().await.unwrap();
    browser.fill("#f-timeoutSec", "-1").await;
    send(&browser, "Create").await;
    let wrong = "//details[@id='aside' and @open]//span[@id='w-f-timeoutSec']";
    browser.sees(wrong).await;
    swapped(&browser).await;
    assert!(browser.has(wrong).await, "{}", browser.text().await);
    let field = "//input[@id='f-timeoutSec' and @aria-invalid and contains(@aria-describedby, 'w-f-timeoutSec')]";
    assert!(browser.has(field).await);
    assert_eq!(run(&browser, "return document.getElementById('f-timeoutSec').value").await, "-1");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_that_was_refused_stays_open_with_why() {
    let world = World::new().await;
    let rule = world.rule("Checkout error rate", "up", 0.05, rounds_core::alert::Severity::Warning).await;
    let browser = Browser::open(390, 844).await;
    browser.sign_in(&world.base, "eve", &format!("/alerts/{rule}")).await;
    browser.client.find(Locator::Css("#silence summary")).await.unwrap().click().await.unwrap();
    send(&browser, "Silence").await;
    let wrong = "//details[@id='silence' and @open]//span[@id='why-comment']";
    browser.sees(wrong).await;
    swapped(&browser).await;
    assert!(browser.has(wrong).await, "{}", browser.text().await);
    browser.close().await;
}

/// The bar's button while it asks about a step with this in its command.
fn asking(command: &str) -> String {
    format!("//section[@id='decide'][.//code[contains(., '{command}')]]{}", button("Approve"))
}

/// A phone on the page of a plan of two steps, whose first one waits for somebody.
async fn first_step_asked(world: &World) -> (Plan, Browser) {
    let plan = world.plan("Roll back, then scale", &[ROLL_BACK, SCALE], false).await;
    let browser = Browser::open(390, 844).await;
    browser.sign_in(&world.base, "ed", &format!("/plans/{}", plan.id)).await;
    browser.press("Approve").await;
    browser.sees(&asking("rollout undo")).await;
    (plan, browser)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_step_is_not_approved_by_a_finger_that_was_on_its_way_to_the_one_before() {
    let world = World::new().await;
    let (plan, browser) = first_step_asked(&world).await;
    // Whatever the bar asks next is pressed at once, as by somebody who taps twice.
    let tap = "document.addEventListener('rounds:swapped', () => { \
                 const button = document.querySelector('#decide button.primary'); \
                 if (document.querySelector('#decide code').textContent.includes('scale') && !window.tapped) { \
                   window.tapped = true; button.click(); document.documentElement.dataset.tapped = button.disabled; } })";
    run(&browser, tap).await;
    let first = asked(&world, plan.id, 0).await;
    world.rounds().approvals().approve(&world.admin, first).await.unwrap();
    browser.sees("//html[@data-tapped='true']").await;
    asked(&world, plan.id, 1).await;
    assert_eq!(world.shop.ran().len(), 1, "the second step still waits");
    // Once it could be read, it is decided as ever.
    let next = asking("scale");
    browser.sees(&next).await;
    browser.client.find(Locator::XPath(&next)).await.unwrap().click().await.unwrap();
    world.until(plan.id, PlanStatus::Completed).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_comes_after_an_answer_lets_its_question_be_read_first() {
    let world = World::new().await;
    let (plan, browser) = first_step_asked(&world).await;
    // The page lost the server, and somebody else decides meanwhile.
    run(&browser, "window.fetch = () => Promise.reject(new Error('away'))").await;
    let first = asked(&world, plan.id, 0).await;
    world.rounds().approvals().approve(&world.admin, first).await.unwrap();
    asked(&world, plan.id, 1).await;
    browser.client.find(Locator::XPath(&asking("rollout undo"))).await.unwrap().click().await.unwrap();
    browser.sees("//div[@id='error']").await;
    let rests = "const button = document.querySelector('#decide button.primary'); \
                 return button.disabled || performance.now() > 1400";
    assert_eq!(run(&browser, rests).await, true, "what asks now is another step");
    let next = asking("scale");
    browser.sees(&next).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_typed_for_one_step_is_not_typed_for_the_next() {
    let world = World::new().await;
    let plan = world.plan("Delete two pods", &[DELETE, DELETE_OTHER], false).await;
    let browser = Browser::open(1440, 900).await;
    browser.sign_in(&world.base, "ed", &format!("/plans/{}", plan.id)).await;
    browser.fill("#confirm", "checkout-7c9f4d5b6-x2x9k").await;
    browser.press("Approve").await;
    browser.sees("//input[@id='confirm-step']").await;
    browser.fill("#confirm-step", "checkout-7c9f4d5b6-x2x9k").await;
    let first = asked(&world, plan.id, 0).await;
    world.rounds().approvals().approve(&world.admin, first).await.unwrap();
    browser.sees("//section[@id='decide']//label[@for='confirm-step'][contains(., 'q4q7z')]").await;
    assert_eq!(run(&browser, "return document.getElementById('confirm-step').value").await, "");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_a_proxy_answered_in_the_servers_place_comes_back() {
    let world = World::new().await;
    let plan = world.plan("Roll checkout back", &[ROLL_BACK], false).await;
    let browser = Browser::open(1440, 900).await;
    world.no_events.store(true, Ordering::SeqCst);
    browser.sign_in(&world.base, "ed", &format!("/plans/{}", plan.id)).await;
    browser.sees("//div[@id='stream' and not(@hidden)]").await;
    // The stream alone tells: what the page asks for by itself does not.
    run(&browser, "window.fetch = () => new Promise(() => {})").await;
    world.no_events.store(false, Ordering::SeqCst);
    browser.sees("//div[@id='stream' and @hidden]").await;
    browser.close().await;
}
