//! Forms in a browser: of several shapes only one is asked for, what was typed outlives the session, and a step that waits is
//! decided at the thumb.

use fantoccini::Locator;
use rounds_core::investigation::ProposedStep;
use rounds_core::service::Modification;
use rounds_core::step::StepSpec;
use serde_json::Value;

use crate::driver::{Browser, button};
use crate::world::{PASSWORD, World};

const ROLL_BACK: &[&str] = &["rollout", "undo", "deployment/checkout", "-n", "shop"];
const DELETE: &[&str] = &["delete", "pod", "checkout-7c9f4d5b6-x2x9k", "-n", "shop"];

/// The browser no longer says what page a form is on.
const NO_REFERRER: &str = "document.head.append(Object.assign(document.createElement('meta'), \
                           { name: 'referrer', content: 'no-referrer' }))";

async fn run(browser: &Browser, script: &str) -> Value {
    browser.client.execute(script, Vec::new()).await.unwrap()
}

async fn value(browser: &Browser, css: &str) -> String {
    let field = browser.client.find(Locator::Css(css)).await.unwrap();
    field.prop("value").await.unwrap().unwrap_or_default()
}

async fn choose(browser: &Browser, css: &str, word: &str) {
    let select = browser.client.find(Locator::Css(css)).await.unwrap();
    select.select_by_value(word).await.unwrap();
}

/// The session ends while a page is open.
async fn end_session(browser: &Browser) {
    browser.client.delete_cookie("rounds_session").await.unwrap();
}

async fn sign_in_again(browser: &Browser, login: &str) {
    browser.sees("//h1[.='Sign in']").await;
    browser.fill("#user", login).await;
    browser.fill("#password", PASSWORD).await;
    browser.press("Sign in").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_fields_of_the_shape_that_is_chosen_are_asked_for_and_sent() {
    let world = World::new().await;
    let browser = Browser::open(1440, 900).await;
    browser.sign_in(&world.base, "ada", "/settings/datasources?kind=loki").await;
    let username = "//div[not(@hidden)]/input[@id='f-auth-username']";
    assert!(!browser.has(username).await, "nobody signs in by default");
    choose(&browser, "#f-auth", "basic").await;
    browser.sees(username).await;
    browser.fill("#f-auth-username", "reader").await;
    choose(&browser, "#f-auth", "bearer").await;
    assert!(!browser.has(username).await);
    browser.fill("#name", "logs").await;
    browser.fill("#f-url", "https://logs.example.com").await;
    browser.press("Create").await;
    browser.sees("//div[@id='done'][contains(., 'Created')]").await;
    let made = world.rounds().connectors().list(&world.admin).await.unwrap();
    let made = made.iter().find(|found| found.name == "logs").unwrap();
    assert_eq!(made.config["auth"], serde_json::json!({ "type": "bearer" }));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_typed_is_back_after_signing_in_again_and_no_secret_was_kept() {
    let world = World::new().await;
    let browser = Browser::open(1440, 900).await;
    browser.sign_in(&world.base, "ada", "/settings/notifications?kind=email").await;
    for (field, typed) in [
        ("#name", "night shift"),
        ("#f-host", "smtp.example.com"),
        ("#f-from", "r@example.com"),
        ("#f-to", "a@example.com\nb@example.com"),
    ] {
        browser.fill(field, typed).await;
    }
    browser.fill("#secret", "a very secret password").await;
    choose(&browser, "#f-security", "tls").await;
    run(&browser, "document.querySelector(\"[name='routing.severities'][value='critical']\").click()").await;
    end_session(&browser).await;
    browser.press("Create").await;
    browser.sees("//h1[.='Sign in']").await;
    let kept = run(&browser, "return JSON.stringify(sessionStorage) + JSON.stringify(localStorage)").await.to_string();
    assert!(kept.contains("night shift") && !kept.contains("very secret"), "{kept}");
    assert!(!browser.client.source().await.unwrap().contains("night shift"), "the server was told nothing to keep");
    sign_in_again(&browser, "ada").await;
    browser.sees("//div[@id='draft'][contains(., 'nothing was sent')]").await;
    assert!(browser.client.current_url().await.unwrap().as_str().ends_with("/settings/notifications?kind=email"));
    assert_eq!(value(&browser, "#name").await, "night shift");
    assert_eq!(value(&browser, "#f-to").await, "a@example.com\nb@example.com");
    assert_eq!(value(&browser, "#f-security").await, "tls");
    assert_eq!(value(&browser, "#secret").await, "", "a secret is typed again");
    let ticked = "return document.querySelector(\"[name='routing.severities'][value='critical']\").checked";
    assert_eq!(run(&browser, ticked).await, true);
    assert_eq!(run(&browser, "return sessionStorage.length").await, 0, "it was given back once");
    browser.fill("#secret", "a very secret password").await;
    browser.press("Create").await;
    browser.sees("//div[@id='done'][contains(., 'Created')]").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_person_typed_is_not_shown_to_another() {
    let world = World::new().await;
    let browser = Browser::open(1440, 900).await;
    browser.sign_in(&world.base, "ada", "/alerts/new").await;
    browser.fill("#name", "of ada").await;
    browser.fill("#query", "sum(errors)").await;
    browser.fill("#threshold", "1").await;
    end_session(&browser).await;
    browser.press("Create").await;
    sign_in_again(&browser, "eve").await;
    browser.sees("//h1[.='New alert rule']").await;
    assert_eq!(value(&browser, "#name").await, "");
    assert_eq!(run(&browser, "return sessionStorage.length").await, 0);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_to_a_plan_are_back_after_signing_in_again_and_what_has_no_place_is_shown() {
    let world = World::new().await;
    let plan = world.plan("Roll checkout back", &[ROLL_BACK], true).await;
    let browser = Browser::open(390, 844).await;
    browser.sign_in(&world.base, "eve", &format!("/plans/{}/modify", plan.id)).await;
    browser.sees("//section[@id='rescue'][contains(., 'stays as it is')]//code[contains(., 'rollout undo')]").await;
    browser.press("Add a step").await;
    browser.sees("//textarea[@id='command-1']").await;
    browser.fill("#command-0", "scale deployment/checkout --replicas=4 -n shop").await;
    browser.fill("#command-1", "get deployment/checkout -n shop").await;
    end_session(&browser).await;
    browser.press("Save changes").await;
    sign_in_again(&browser, "eve").await;
    browser.sees("//div[@id='draft']").await;
    assert_eq!(value(&browser, "#command-0").await, "scale deployment/checkout --replicas=4 -n shop");
    browser.sees("//div[@id='draft']//pre[contains(., 'get deployment/checkout -n shop')]").await;
    assert_eq!(world.rounds().plans().get(&world.admin, plan.id).await.unwrap().revision, 1, "nothing was sent");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_typed_into_a_plan_that_somebody_else_changed_is_shown_and_not_put_over_their_change() {
    let world = World::new().await;
    let plan = world.plan("Roll checkout back", &[ROLL_BACK], false).await;
    let browser = Browser::open(390, 844).await;
    browser.sign_in(&world.base, "eve", &format!("/plans/{}/modify", plan.id)).await;
    browser.fill("#command-0", "scale deployment/checkout --replicas=4 -n shop").await;
    end_session(&browser).await;
    let other = ["scale", "deployment/checkout", "--replicas=9", "-n", "shop"];
    let steps = vec![ProposedStep::new(world.cluster, StepSpec::command(other))];
    let change = Modification { summary: None, steps, digest: Some(plan.digest) };
    world.rounds().plans().modify(&world.admin, plan.id, &change).await.unwrap();
    browser.press("Save changes").await;
    sign_in_again(&browser, "eve").await;
    browser.sees("//div[@id='draft'][contains(., 'changed meanwhile')]//pre[contains(., '--replicas=4')]").await;
    assert!(value(&browser, "#command-0").await.contains("--replicas=9"), "the change of somebody else stands");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_was_removed_and_is_back_is_not_saved_with_the_text_of_another() {
    let world = World::new().await;
    let plan = world.plan("Roll back, then delete", &[ROLL_BACK, DELETE], false).await;
    let browser = Browser::open(390, 844).await;
    browser.sign_in(&world.base, "eve", &format!("/plans/{}/modify", plan.id)).await;
    browser.press("Remove").await;
    browser.sees("//form[not(.//textarea[@id='command-1'])]//textarea[@id='command-0']").await;
    end_session(&browser).await;
    browser.press("Save changes").await;
    sign_in_again(&browser, "eve").await;
    browser.sees("//div[@id='draft'][contains(., 'steps that you removed')]//pre[contains(., 'delete')]").await;
    assert!(value(&browser, "#command-0").await.contains("rollout"));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fields_of_the_shape_that_was_chosen_are_back_too() {
    let world = World::new().await;
    let browser = Browser::open(1440, 900).await;
    browser.sign_in(&world.base, "ada", "/settings/datasources?kind=loki").await;
    choose(&browser, "#f-auth", "basic").await;
    browser.fill("#f-auth-username", "reader").await;
    browser.fill("#name", "logs").await;
    browser.fill("#f-url", "https://logs.example.com").await;
    end_session(&browser).await;
    browser.press("Create").await;
    sign_in_again(&browser, "ada").await;
    browser.sees("//div[@id='draft']").await;
    assert_eq!(value(&browser, "#f-auth-username").await, "reader");
    browser.sees("//div[not(@hidden)]/input[@id='f-auth-username' and not(@disabled)]").await;
    assert!(!browser.has("//div[@id='draft']//pre").await, "everything has its place");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_kind_of_step_can_be_added_that_kind_is() {
    let world = World::new().await;
    let plan = world.plan("Roll checkout back", &[ROLL_BACK], false).await;
    let rules = rounds_core::service::ConnectorDraft {
        kind: "alert_rules".into(),
        name: "own rules".into(),
        config: serde_json::json!({ "allowedRules": ["*"] }),
        secret: None,
        secret_ref: None,
        is_default: false,
        owner_team_id: None,
        routing: None,
    };
    world.rounds().connectors().create(&world.admin, rules).await.unwrap();
    world.rounds().connectors().delete(&world.admin, world.cluster).await.unwrap();
    let browser = Browser::open(390, 844).await;
    browser.sign_in(&world.base, "eve", &format!("/plans/{}/modify", plan.id)).await;
    assert!(!browser.has("//select[@id='add']").await, "there is nothing to choose");
    browser.press("Add a step").await;
    browser.sees("//label[@for='params-1'][contains(., 'alert_rule.write')]").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_any_connector_can_be_added_and_how_it_is_written_stands_beside_it() {
    let world = World::new().await;
    let rules = rounds_core::service::ConnectorDraft {
        kind: "alert_rules".into(),
        name: "own rules".into(),
        config: serde_json::json!({ "allowedRules": ["*"] }),
        secret: None,
        secret_ref: None,
        is_default: false,
        owner_team_id: None,
        routing: None,
    };
    let rules = world.rounds().connectors().create(&world.admin, rules).await.unwrap().id;
    let plan = world.plan("Roll checkout back", &[ROLL_BACK], false).await;
    let browser = Browser::open(390, 844).await;
    browser.sign_in(&world.base, "eve", &format!("/plans/{}/modify", plan.id)).await;
    choose(&browser, "#add", &format!("{rules} alert_rule.write")).await;
    browser.press("Add a step").await;
    browser.sees("//details[@id='usage-1']").await;
    assert_eq!(value(&browser, "#params-1").await.trim(), "{\n}");
    browser.fill("#params-1", "{\"rule\": 1}").await;
    browser.press("Check").await;
    browser.sees("//p[@id='wrong-1']").await;
    assert_eq!(value(&browser, "#params-1").await, "{\"rule\": 1}", "what was typed is kept");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_is_said_before_something_is_typed_for_nothing() {
    let world = World::new().await;
    let plan = world.plan("Roll checkout back", &[ROLL_BACK], false).await;
    let browser = Browser::open(1440, 900).await;
    browser.sign_in(&world.base, "ed", &format!("/plans/{}", plan.id)).await;
    browser.sees(&button("Approve")).await;
    end_session(&browser).await;
    run(&browser, "document.dispatchEvent(new Event('visibilitychange'))").await;
    let over = "//div[@id='over' and not(@hidden)]//a[contains(., 'Sign in again')]";
    browser.sees(over).await;
    // Where most is typed, nothing else is asked for while it is.
    for (login, path) in [
        ("ed", format!("/plans/{}/modify", plan.id)),
        ("ed", "/alerts/new".into()),
        ("ada", "/admin/users".into()),
        ("ada", "/admin/roles".into()),
    ] {
        browser.sign_in(&world.base, login, &path).await;
        end_session(&browser).await;
        run(&browser, "window.dispatchEvent(new Event('focus'))").await;
        browser.sees(over).await;
    }
    browser.close().await;
}

#[cfg(feature = "oidc")]
#[tokio::test(flavor = "multi_thread")]
async fn the_provider_leads_back_to_what_was_typed_too() {
    use rounds_server::settings::{OidcRoles, OidcSettings};
    let world = World::with(|settings| {
        settings.oidc = Some(OidcSettings {
            issuer: "http://127.0.0.1:9".into(),
            client_id: "rounds".into(),
            client_secret: None,
            client_secret_file: None,
            redirect_url: "http://127.0.0.1:9/login/oidc/callback".parse().unwrap(),
            scopes: Vec::new(),
            name: "the provider".into(),
            allow_sign_up: false,
            link_admins: false,
            login_claim: "preferred_username".into(),
            roles: OidcRoles::default(),
        });
    })
    .await;
    let browser = Browser::open(1440, 900).await;
    let page = "/settings/datasources?kind=loki&seen=here";
    browser.sign_in(&world.base, "ada", page).await;
    browser.fill("#name", "logs").await;
    browser.fill("#f-url", "https://logs.example.com").await;
    run(&browser, NO_REFERRER).await;
    end_session(&browser).await;
    browser.press("Create").await;
    browser.sees("//a[@href='/login/oidc?next=%2Fsettings%2Fdatasources%3Fkind%3Dloki%26seen%3Dhere']").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_whose_session_had_ended_leads_back_to_its_plan_and_decides_nothing() {
    // By the browser's word first, which the address bar of a refused form makes useless; then by none.
    for is_silent in [false, true] {
        let world = World::without_scripts().await;
        let plan = world.plan("Delete a stuck pod", &[DELETE], false).await;
        let browser = Browser::open(390, 844).await;
        let page = format!("/plans/{}", plan.id);
        browser.sign_in(&world.base, "ed", &page).await;
        browser.fill("#confirm", "checkout").await;
        browser.press("Approve").await;
        browser.sees("//div[@id='error'][contains(., 'you typed `checkout`')]").await;
        if is_silent {
            run(&browser, NO_REFERRER).await;
        }
        end_session(&browser).await;
        browser.fill("#confirm", "checkout-7c9f4d5b6-x2x9k").await;
        browser.press("Approve").await;
        sign_in_again(&browser, "ed").await;
        browser.sees(&button("Approve")).await;
        assert!(browser.client.current_url().await.unwrap().as_str().ends_with(&page));
        assert_eq!(world.shop.ran().len(), 0);
        browser.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_phone_a_step_that_waits_is_approved_in_the_bar_at_the_bottom() {
    let world = World::new().await;
    let plan = world.plan("Roll back, then delete", &[ROLL_BACK, DELETE], false).await;
    let browser = Browser::open(390, 844).await;
    browser.sign_in(&world.base, "ed", &format!("/plans/{}", plan.id)).await;
    browser.fill("#confirm", "checkout-7c9f4d5b6-x2x9k").await;
    browser.press("Approve").await;
    // In sight without scrolling, with what would run.
    let bar = "//section[@id='decide']";
    browser.sees(&format!("{bar}//code[contains(., 'rollout undo')]")).await;
    browser.sees(&format!("{bar}{}", button("Approve"))).await;
    // Wherever the page is scrolled to.
    let inside = "window.scrollTo(0, arguments[0]); \
                  const box = document.querySelector('#decide button.primary').getBoundingClientRect(); \
                  return box.top > window.innerHeight / 2 && box.bottom <= window.innerHeight";
    for place in [99_999, 0] {
        let seen = browser.client.execute(inside, vec![place.into()]).await.unwrap();
        assert_eq!(seen, true, "Approve is at the bottom, at {place}");
    }
    let wide = "return document.documentElement.scrollWidth > window.innerWidth";
    assert_eq!(run(&browser, wide).await, false);
    let approve = format!("{bar}{}", button("Approve"));
    browser.client.find(Locator::XPath(&approve)).await.unwrap().click().await.unwrap();
    // The next one destroys: its name is typed here, too.
    browser.sees(&format!("{bar}//code[contains(., 'delete pod')]")).await;
    assert_eq!(world.shop.ran().len(), 1);
    browser.fill("#confirm-step", "checkout").await;
    browser.sees(&approve).await;
    browser.client.find(Locator::XPath(&approve)).await.unwrap().click().await.unwrap();
    browser.sees("//div[@id='error'][contains(., 'you typed `checkout`')]").await;
    browser.fill("#confirm-step", "checkout-7c9f4d5b6-x2x9k").await;
    browser.client.find(Locator::XPath(&approve)).await.unwrap().click().await.unwrap();
    browser.sees("//li[@id='step-2'][contains(@class,'done')]").await;
    browser.close().await;
}
