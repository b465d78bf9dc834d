//! The setup wizard in a browser: from nobody to the first alert, on a phone, with and without scripts.

use fantoccini::Locator;

use crate::driver::{Browser, button, disabled, text};
use crate::world::{PASSWORD, World};

pub async fn click(browser: &Browser, xpath: &str) {
    browser.sees(xpath).await;
    browser.client.find(Locator::XPath(xpath)).await.unwrap().click().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wizard_leads_from_nobody_to_the_first_alert_and_is_gone_then() {
    walk(&World::empty().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wizard_works_without_scripts() {
    walk(&World::empty_without_scripts().await).await;
}

async fn walk(world: &World) {
    let browser = Browser::open(390, 844).await;
    set_up(world, &browser).await;
    browser.close().await;
}

/// Walks through the wizard, to its end. Whoever does is `ada`, and signed in then.
pub async fn set_up(world: &World, browser: &Browser) {
    browser.client.goto(&world.base).await.unwrap();
    browser.sees("//p[contains(., 'Step 1 of 5')]").await;
    for (field, value) in [("#name", "Ada"), ("#login", "ada"), ("#email", "ada@shop.example"), ("#password", PASSWORD)]
    {
        browser.fill(field, value).await;
    }
    browser.press("Create the first admin").await;
    browser.sees("//p[contains(., 'Step 2 of 5')]").await;
    browser.sees(&text("the playbook investigates")).await;
    browser.press("Skip").await;

    // A datasource that does not answer: what went wrong, what to try, and on.
    browser.sees("//p[contains(., 'Step 3 of 5')]").await;
    let address = format!("http://{}.test:9090", world.name());
    browser.fill("#f-url", &address).await;
    browser.press("Save and test").await;
    browser.sees("//section[@id='there']//p[contains(@class,'wrong')]").await;
    browser.sees(&text("What to try")).await;
    assert!(browser.has("//details[@id='change' and @open]").await, "the form is what is needed next");
    let kept = browser.client.find(Locator::Css("#f-url")).await.unwrap().prop("value").await.unwrap();
    assert_eq!(kept, Some(address));
    browser.press("Continue without a passed test").await;

    // Left in the middle, and found again.
    browser.sees("//p[contains(., 'Step 4 of 5')]").await;
    click(browser, "//a[.='Go on later']").await;
    browser.sees(&text("Step 4 of 5 is next")).await;
    click(browser, "//a[.='Continue setup']").await;
    browser.fill("#f-cluster", world.name()).await;
    browser.fill("#f-allowedNamespaces", "shop").await;
    browser.fill("#secret", "a very secret kubeconfig").await;
    browser.press("Save and test").await;
    browser.sees("//section[@id='there']//span[contains(@class,'ok')][.='ok']").await;
    browser.sees("//div[@id='abilities']//tr[contains(., 'scale deployments')]//span[.='no']").await;
    browser.sees("//div[@id='abilities']//tr[contains(., 'list pods')]//span[.='yes']").await;
    assert!(!browser.client.source().await.unwrap().contains("a very secret kubeconfig"));
    let wide = "return document.documentElement.scrollWidth - window.innerWidth";
    assert!(browser.client.execute(wide, Vec::new()).await.unwrap().as_i64().unwrap_or(0) <= 0, "too wide for a phone");
    click(browser, "//section[@id='there']//a[.='Continue']").await;
    browser.sees("//p[contains(., 'Step 5 of 5')]").await;
    browser.press("Skip").await;

    browser.sees("//h2[contains(., 'what is missing')]").await;
    assert!(!browser.has(&disabled("Finish setup")).await);
    browser.press("Create token").await;
    browser.sees("//code[@id='minted' and starts-with(., 'rounds_sa_')]").await;
    browser.press("Finish setup").await;
    browser.sees("//div[@id='done'][contains(., 'The setup is finished')]").await;
    assert!(!browser.has("//*[@id='setup']").await);
    browser.client.goto(&format!("{}/setup/cluster", world.base)).await.unwrap();
    browser.sees("//h1[.='Action Center']").await;
    assert!(!browser.has(&button("Save and test")).await, "closed for good");
}
