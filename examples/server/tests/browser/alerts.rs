//! Alerts in a browser: what a rule says while it is typed, what it would have done, and charts that ask again.

use chrono::TimeDelta;
use fantoccini::Locator;
use serde_json::Value;

use crate::driver::{Browser, button, text};
use crate::world::World;

const QUERY: &str = "sum(rate(http_errors_total[5m]))";
const WIDER: &str = "return document.documentElement.scrollWidth > window.innerWidth";
/// What the policy of the page refused, and what a script threw.
const LISTEN: &str = "window.refused = []; \
    document.addEventListener('securitypolicyviolation', (event) => window.refused.push(event.violatedDirective)); \
    window.addEventListener('error', (event) => window.refused.push(String(event.message)));";

async fn run(browser: &Browser, script: &str) -> Value {
    browser.client.execute(script, Vec::new()).await.unwrap()
}

async fn value(browser: &Browser, css: &str) -> String {
    let field = browser.client.find(Locator::Css(css)).await.unwrap();
    field.prop("value").await.unwrap().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_is_previewed_while_it_is_typed_and_backtested_before_it_is_made() {
    let world = World::new().await;
    world.shop.break_since(TimeDelta::minutes(20));
    let browser = Browser::open(1440, 900).await;
    browser.sign_in(&world.base, "eve", "/alerts/new").await;
    run(&browser, LISTEN).await;
    browser.fill("#name", "Checkout errors").await;
    browser.fill("#threshold", "0.9").await;
    browser.fill("#query", QUERY).await;
    // Nobody presses anything.
    browser.sees("//section[@id='preview']//span[.='the condition is false']").await;
    browser.sees("//section[@id='preview']//*[name()='svg']").await;
    browser.fill("#threshold", "0.1").await;
    browser.sees("//section[@id='preview']//span[.='the condition is true']").await;
    browser.press("Last 6 hours").await;
    browser.sees("//section[@id='backtest']//p[contains(., 'It would have fired once, first at')]").await;
    browser.sees("//section[@id='backtest']//*[name()='rect'][@class='span firing']").await;
    // The backtest follows what is typed, too.
    browser.fill("#threshold", "0.95").await;
    browser.sees("//section[@id='backtest']//p[contains(., 'It would not have fired')]").await;
    browser.fill("#query", "sum(typo(errors").await;
    browser.sees("//section[@id='preview']//p[contains(., 'unclosed left parenthesis')]").await;
    browser.fill("#query", QUERY).await;
    assert_eq!(value(&browser, "#name").await, "Checkout errors");
    assert_eq!(run(&browser, "return window.refused").await, serde_json::json!([]));
    // A look is no decision: the button that decides works at once.
    browser.press("Last hour").await;
    browser.press("Create").await;
    browser.sees("//h1[.='Checkout errors']").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_a_backtest_comes_with_the_page_and_what_was_typed_stays() {
    let world = World::without_scripts().await;
    world.shop.break_since(TimeDelta::minutes(20));
    let browser = Browser::open(360, 800).await;
    browser.sign_in(&world.base, "eve", "/alerts/new").await;
    browser.fill("#name", "half a na").await;
    browser.fill("#query", QUERY).await;
    browser.fill("#threshold", "0.1").await;
    browser.press("Last 6 hours").await;
    browser.sees("//section[@id='backtest']//p[contains(., 'It would have fired once')]").await;
    assert_eq!(value(&browser, "#name").await, "half a na");
    assert_eq!(value(&browser, "#query").await, QUERY);
    assert_eq!(run(&browser, WIDER).await, false, "nothing is wider than the phone");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_is_drawn_over_the_window_that_is_asked_for_and_stays_when_the_page_is_refreshed() {
    let world = World::new().await;
    let plan = world.incident().await;
    let browser = Browser::open(360, 800).await;
    let path = format!("/investigations/{}", plan.investigation_id.unwrap());
    browser.sign_in(&world.base, "vera", &path).await;
    run(&browser, LISTEN).await;
    assert!(browser.has("//div[@id='plan-banner']//a[.='Review']").await);
    browser.sees(&text("Triggered by alert")).await;
    run(&browser, "document.querySelector('[data-series]').scrollIntoView()").await;
    browser.sees("//div[@data-series]//canvas").await;
    browser.sees("//div[@data-series]//figcaption[contains(., 'threshold 0.05')][contains(., 'fired ')]").await;
    browser.press("6 h").await;
    browser.sees("//div[@data-series]//button[.='6 h'][@aria-pressed='true']").await;
    browser.sees("//div[@data-series]//canvas").await;
    run(&browser, "document.querySelector('[data-series] figure').marked = true").await;
    // The plan is rejected: the page is refreshed beneath, and says so.
    world.rounds().plans().reject(&world.admin, plan.id, None).await.unwrap();
    browser.sees("//div[@id='plan-banner']//a[.='Open plan']").await;
    assert_eq!(run(&browser, "return document.querySelector('[data-series] figure').marked").await, true);
    assert_eq!(run(&browser, WIDER).await, false, "nothing is wider than the phone");
    assert_eq!(run(&browser, "return window.refused").await, serde_json::json!([]));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_draws_the_last_hour_of_the_rows_that_are_seen() {
    let world = World::new().await;
    let rule = world.rule("Checkout error rate", QUERY, 0.05, rounds_core::alert::Severity::Critical).await;
    let browser = Browser::open(360, 800).await;
    browser.sign_in(&world.base, "vera", "/alerts").await;
    run(&browser, LISTEN).await;
    browser.sees(&format!("//td[@data-spark='{rule}']//*[name()='svg']")).await;
    assert_eq!(run(&browser, WIDER).await, false, "nothing is wider than the phone");
    world.rounds().alerts().set_enabled(&world.admin, rule, false).await.unwrap();
    browser.sees(&format!("//tr[@id='alert-{rule}']//span[contains(@class,'pill')][.='disabled']")).await;
    assert!(browser.has(&format!("//td[@data-spark='{rule}']//*[name()='svg']")).await, "it stays");
    assert!(!browser.has(&button("New alert rule")).await);
    assert_eq!(run(&browser, "return window.refused").await, serde_json::json!([]));
    browser.close().await;
}
