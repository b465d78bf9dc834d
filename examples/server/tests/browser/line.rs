//! The whole line as one person walks it in the browser: from an empty server to the rows of the audit log. On a phone and
//! on a desk.

use chrono::TimeDelta;
use fantoccini::Locator;

use crate::driver::{Browser, text};
use crate::shop::Outcome;
use crate::wizard::{click, set_up};
use crate::world::World;

const REFUSED: &str =
    "Error from server (Conflict): the object has been modified; please apply your changes to the latest version";

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_walks_the_whole_line_on_a_phone() {
    Box::pin(walk(390, 844)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_walks_the_whole_line_on_a_desk() {
    Box::pin(walk(1440, 900)).await;
}

async fn walk(width: u32, height: u32) {
    let world = World::empty().await;
    let browser = Browser::open(width, height).await;
    set_up(&world, &browser).await;

    // An alert rule, looked at before it is saved.
    world.shop.break_since(TimeDelta::minutes(8));
    browser.client.goto(&format!("{}/alerts/new", world.base)).await.unwrap();
    for (field, value) in [
        ("#name", "Checkout error rate"),
        ("#query", "sum(rate(http_errors_total{deployment=\"checkout\"}[5m]))"),
        ("#threshold", "0.05"),
        ("#for", "0"),
        ("#every", "1"),
        ("#labels", "namespace=shop\ndeployment=checkout"),
    ] {
        browser.fill(field, value).await;
    }
    browser.press("Preview").await;
    browser.sees("//section[@id='preview']//span[.='the condition is true']").await;
    browser.press("Create").await;
    browser.sees("//h1[.='Checkout error rate']").await;

    // It fires, it is investigated, and a plan waits.
    browser.client.goto(&format!("{}/actions", world.base)).await.unwrap();
    click(&browser, "//table[@aria-label='Plans that wait for a decision']//a[contains(., 'Roll checkout back')]")
        .await;
    browser.sees(&text("kubectl rollout undo deployment/checkout --to-revision=11 -n shop")).await;

    // Modify: one more step, looked at by the gate before it is saved.
    click(&browser, "//a[.='Modify']").await;
    browser.press("Add a step").await;
    browser.sees("//textarea[@id='command-2']").await;
    browser.fill("#command-2", "exec deployment/checkout -n shop").await;
    browser.press("Check").await;
    browser.sees("//p[@id='wrong-2'][contains(., '`exec` is not accepted')]").await;
    browser.fill("#command-2", "get deployment/checkout -n shop").await;
    browser.press("Check").await;
    browser.sees("//div[@id='checked-2']//code[.='kubectl get deployment/checkout -n shop']").await;
    browser.sees("//div[@id='checked-0']//div[contains(@class,'diff')]//div[contains(@class,'add')]").await;
    browser.press("Save changes").await;
    browser.sees("//div[@id='done'][contains(., 'new revision')]").await;
    browser.sees("//section[h2[@id='history']]//p[contains(., 'Modified by ada')]").await;

    // Approve. Without the grant for auto-edit each step is asked for; the first one fails, and is run again.
    world.shop.next(Outcome::Fails(REFUSED));
    browser.press("Approve").await;
    approve(&browser, 1).await;
    browser.sees("//li[@id='step-1'][contains(@class,'failed')]").await;
    browser.sees("//li[@id='step-1']//pre[contains(., 'the object has been modified')]").await;
    browser.sees("//section[@id='decide']//a[.='Open rescue plan']").await;
    browser.press("Retry this step").await;
    browser.sees("//li[@id='step-1'][contains(@class,'done')]").await;
    approve(&browser, 2).await;
    browser.sees("//li[@id='step-2'][contains(@class,'done')]").await;
    approve(&browser, 3).await;
    browser.sees("//section[@id='decide']//span[contains(@class,'pill')][.='completed']").await;
    browser.sees("//section[@id='decide']//span[contains(@class,'pill')][.='recovered']").await;
    let undo = "kubectl rollout undo deployment/checkout --to-revision=11 -n shop";
    let get = "kubectl get deployment/checkout -n shop";
    assert_eq!(world.shop.ran(), [undo, undo, get, get]);

    // The rescue plan is one link away, and runs nothing by itself.
    click(&browser, "//a[.='Open rescue plan']").await;
    browser.press("Submit for approval").await;
    browser.sees("//div[@id='done'][contains(., 'Nothing has run')]").await;
    browser.press("Reject").await;
    browser.sees("//div[@id='done'][contains(., 'rejected this plan, for good')]").await;
    assert_eq!(world.shop.ran().len(), 4);

    // All of it is in the audit log, whose chain holds.
    browser.client.goto(&format!("{}/admin/audit?action=agent.plan_step", world.base)).await.unwrap();
    browser.sees("//h2[contains(., 'Rows')]/span[.='4']").await;
    let failures = browser.client.find_all(Locator::XPath("//tbody//span[.='failure']")).await.unwrap();
    assert_eq!(failures.len(), 1, "the attempt that failed");
    for action in ["approval.modify", "approval.approve", "approval.retry", "approval.submit", "approval.reject"] {
        browser.client.goto(&format!("{}/admin/audit?action={action}", world.base)).await.unwrap();
        browser.sees("//tbody//span[.='success']").await;
    }
    browser.press("Verify chain").await;
    browser.sees("//section[@id='chain']//span[.='intact']").await;
    browser.close().await;
}

/// Approves the step that waits.
async fn approve(browser: &Browser, step: u32) {
    let bar = format!("//section[@id='decide'][.//a[@href='#step-{step}']]");
    click(browser, &format!("{bar}//button[.='Approve' and not(@disabled)]")).await;
}
