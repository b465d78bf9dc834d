//! The setup wizard over HTTP, without scripts, against a real kubectl and something that answers as Prometheus.

#![allow(clippy::disallowed_methods, reason = "tests find kubectl on the PATH")]

use rounds_sandbox::Sandbox;
use serde_json::{Value, json};

use crate::support::{self, Answer, Client, PASSWORD, Server};

async fn server() -> Server {
    support::with(|settings| settings.path = std::env::var_os("PATH").unwrap_or_default()).await
}

/// Somebody with a browser that shows where it is sent, without going there.
async fn browser(server: &Server) -> Client {
    let mut client = server.anonymous();
    client.http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    client.csrf = client.get("/setup/admin").await.cookie("rounds_csrf");
    client
}

trait Page {
    fn goes_to(self, place: &str);
    fn shows(self, status: u16, what: &[&str]) -> String;
}

impl Page for Answer {
    #[track_caller]
    fn goes_to(self, place: &str) {
        assert_eq!(self.status.as_u16(), 303, "{}: {}", self.what, self.body);
        assert_eq!(self.headers["location"], place, "{}", self.what);
    }

    #[track_caller]
    fn shows(self, status: u16, what: &[&str]) -> String {
        let (asked, Value::String(page)) = (self.what.clone(), self.expect(status)) else { panic!("no page") };
        for text in what {
            assert!(page.contains(text), "{asked} says nothing of `{text}`:\n{page}");
        }
        page
    }
}

const ADMIN: [(&str, &str); 4] =
    [("name", "Ada"), ("login", "ada"), ("email", "ada@example.org"), ("password", PASSWORD)];

/// The first admin, who is signed in by making it.
async fn first_admin(server: &Server) -> Client {
    let mut ada = browser(server).await;
    let made = ada.form("/setup/admin", &ADMIN).await;
    ada.session = made.cookie("rounds_session");
    made.goes_to("/setup");
    ada
}

/// The id that the forms of a step's page carry.
fn subject(page: &str) -> String {
    let from = page.split("name=\"id\" value=\"").nth(1).expect("the step has a connector");
    from.split('"').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wizard_goes_from_nobody_to_a_cluster_and_is_closed_for_ever_then() {
    let sandbox = Sandbox::builder().speed(20.0).start().await.unwrap();
    sandbox.forbid("patch", "deployments/scale", Some("default"));
    let server = server().await;
    let nobody = browser(&server).await;
    nobody.get("/setup").await.goes_to("/setup/admin");
    nobody.get("/setup/admin").await.shows(200, &["Step 1 of 5", "First admin"]);
    // What is wrong stands beside its field, and what was typed stays.
    let mut short = ADMIN;
    short[3].1 = "short";
    let page =
        nobody.form("/setup/admin", &short).await.shows(400, &["id=\"w-password\"", "value=\"ada@example.org\""]);
    assert!(!page.contains("value=\"short\""), "a password is never shown again");

    let ada = first_admin(&server).await;
    ada.get("/setup").await.goes_to("/setup/model");
    nobody.form("/setup/admin", &ADMIN).await.shows(409, &["already has its first admin"]);
    ada.get("/setup/model").await.shows(200, &["Step 2 of 5", "the playbook investigates"]);
    ada.get("/actions").await.shows(200, &["The setup is unfinished.", "Step 2 of 5 is next"]);
    ada.form("/setup/model/skip", &[]).await.goes_to("/setup/datasource");

    // The datasource is tested as soon as it is saved; a failure is shown with what to try, and is corrected in place.
    ada.form("/setup/datasource/skip", &[]).await.shows(400, &["cannot be skipped"]);
    ada.form("/setup/datasource?kind=prometheus", &[("name", "metrics"), ("config.url", "ftp://x")])
        .await
        .shows(400, &["value=\"ftp://x\"", "aria-invalid"]);
    let dead = [("name", "metrics"), ("config.url", "http://127.0.0.1:9"), ("isDefault", "1")];
    ada.form("/setup/datasource?kind=prometheus", &dead).await.goes_to("/setup/datasource#there");
    let page = ada
        .get("/setup/datasource")
        .await
        .shows(200, &["What to try", "Nothing listens", "Continue without a passed test", "http://127.0.0.1:9"]);
    ada.get("/setup").await.goes_to("/setup/datasource");
    let id = subject(&page);
    let alive = [("id", id.as_str()), ("name", "metrics"), ("config.url", sandbox.prometheus_url())];
    ada.form("/setup/datasource?kind=prometheus", &alive).await.goes_to("/setup/datasource#there");
    ada.get("/setup/datasource").await.shows(200, &["href=\"/setup/cluster\">Continue</a>", "answers queries"]);

    // Another browser goes on where this one stopped.
    let elsewhere = server.sign_in("ada").await;
    elsewhere.get("/setup").await.shows(200, &["Step 4 of 5: Kubernetes connector"]);
    let kubeconfig = sandbox.kubeconfig();
    let cluster =
        [("name", "prod"), ("config.allowedNamespaces", "default\nkube-public"), ("secret", kubeconfig.as_str())];
    ada.form("/setup/cluster?kind=kubernetes", &cluster).await.goes_to("/setup/cluster#there");
    let page = ada
        .get("/setup/cluster")
        .await
        .shows(200, &["id=\"abilities\"", "scale deployments", ">no</span>", ">yes</span>", "1 are missing"]);
    assert!(!page.contains("certificate-authority-data"), "a secret goes in and never comes out");
    let id = subject(&page);
    let api = server.sign_in("ada").await;
    let seen = api.get(&format!("/api/connectors/{id}")).await.expect(200);
    let scale = seen["connector"]["lastCheck"]["abilities"]
        .as_array()
        .unwrap()
        .iter()
        .find(|ability| ability["what"] == "scale deployments" && ability["where"] == "default")
        .unwrap();
    assert_eq!(scale["ok"], false);
    ada.get(&format!("/settings/connectors/{id}")).await.shows(200, &["id=\"abilities\"", "The last test"]);

    ada.form("/setup/done", &[]).await.shows(409, &["`notifications` waits"]);
    ada.form("/setup/notifications?kind=pager", &[("name", "pager"), ("config.key", server.key())])
        .await
        .goes_to("/setup/notifications#there");
    ada.get("/setup").await.goes_to("/setup/done");

    // What is missing: a token, which is shown once, and an alert.
    ada.get("/setup/done").await.shows(200, &["Create token", "Create the first alert", "/alerts/new"]);
    ada.form("/setup/token", &[]).await.shows(200, &["rounds_sa_"]);
    let page = ada.get("/setup/done").await.shows(200, &["has a live token"]);
    assert!(!page.contains("rounds_sa_"), "a token is shown once");

    ada.form("/setup/done", &[]).await.goes_to("/actions?done=set-up");
    let status = api.get("/api/setup/status").await.expect(200);
    assert_eq!(status["configured"], true);
    let finished = status["configuredAt"].as_str().unwrap().to_owned();
    let row = api.get("/api/admin/audit-log?action=setup.finish").await.expect(200);
    assert_eq!(row["total"], 1);
    for path in ["/setup", "/setup/done", "/setup/cluster", "/setup/model"] {
        ada.get(path).await.goes_to("/");
    }
    for path in [
        "/setup/done",
        "/setup/token",
        "/setup/model/skip",
        "/setup/cluster/continue",
        "/setup/cluster/test",
        "/setup/cluster/remove",
        "/setup/cluster?kind=kubernetes",
    ] {
        ada.form(path, &[("id", &id), ("name", "x")]).await.shows(409, &["closed for good"]);
    }
    nobody.form("/setup/admin", &ADMIN).await.shows(409, &["already has its first admin"]);
    // Nothing that happens later opens it again.
    api.delete(&format!("/api/connectors/{id}")).await.expect(204);
    ada.get("/setup/cluster").await.goes_to("/");
    assert_eq!(api.get("/api/setup/status").await.expect(200)["configuredAt"], finished.as_str());
    server.stop().await;
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_whoever_may_set_up_the_installation_goes_on_with_it() {
    let server = server().await;
    let ada = first_admin(&server).await;
    let api = server.sign_in("ada").await;
    let mut olga = server.user(&api, "olga", "Admin").await;
    olga.http = ada.http.clone();
    olga.get("/setup/model").await.shows(403, &["needs settings:write"]);
    olga.form("/setup/model/skip", &[]).await.shows(403, &["needs settings:write"]);
    olga.form("/setup/done", &[]).await.shows(403, &["needs settings:write"]);
    let page = olga.get("/actions").await.shows(200, &["Action Center"]);
    assert!(!page.contains("The setup is unfinished"), "who cannot go on is not asked to");
    let nobody = browser(&server).await;
    nobody.get("/setup/model").await.goes_to("/login?next=%2Fsetup%2Fmodel");
    nobody.form("/setup/model/skip", &[]).await.goes_to("/login?next=%2Fsetup%2Fmodel");
    let mut forged = ada.clone();
    forged.csrf = Some("forged".into());
    let answer = forged.form("/setup/model/skip", &[]).await;
    assert_eq!(ada.get("/setup").await.headers["location"], "/setup/model", "{}", answer.status);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_fails_its_test_is_kept_gone_on_with_or_removed_as_the_person_wants() {
    let server = server().await;
    let ada = first_admin(&server).await;
    let place = "/setup/datasource";
    let draft = [("name", "m"), ("config.key", "x"), ("config.value", "1")];
    ada.form(&format!("{place}/continue"), &[]).await.shows(400, &["no connector yet"]);
    ada.form(&format!("{place}?kind=fixed"), &draft).await.goes_to("/setup/datasource#there");
    let page = ada.get(place).await.shows(200, &["nobody answers at the other side", "test not passed"]);
    ada.form(&format!("{place}/remove"), &[("id", &subject(&page))]).await.goes_to("/setup/datasource?done=deleted");
    let page = ada.get(place).await.shows(200, &["Save and test"]);
    assert!(!page.contains("id=\"there\""));
    ada.form(&format!("{place}?kind=fixed"), &draft).await.goes_to("/setup/datasource#there");
    // Its name is taken: said on the form, and nothing typed is lost.
    ada.form(&format!("{place}?kind=fixed"), &draft).await.shows(409, &["value=\"m\""]);
    ada.form(&format!("{place}/continue"), &[]).await.goes_to("/setup/cluster");
    ada.get("/setup").await.goes_to("/setup/model");
    ada.form("/setup/model/skip", &[]).await.goes_to("/setup/datasource");
    ada.get("/setup").await.goes_to("/setup/cluster");
    let api = server.sign_in("ada").await;
    let log = api.get("/api/admin/audit-log?action=setup.accepted").await.expect(200);
    assert_eq!(log["items"][0]["targetId"], json!("setup.datasource"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_begins_with_the_kind_that_its_words_are_about_and_offers_every_other() {
    let server = server().await;
    let ada = first_admin(&server).await;
    for (step, kind, other) in [
        ("model", "anthropic", "openai"),
        ("datasource", "prometheus", "alertmanager"),
        ("cluster", "kubernetes", "alert_rules"),
        ("notifications", "slack", "email"),
    ] {
        let form = format!("action=\"/setup/{step}?kind={kind}\"");
        let choice = format!("href=\"/setup/{step}?kind={other}\"");
        ada.get(&format!("/setup/{step}")).await.shows(200, &[&form, &choice]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_wizard_stays_closed_when_it_cannot_be_read_since_when() {
    let server = server().await;
    let ada = first_admin(&server).await;
    ada.get("/setup/model").await.shows(200, &["Step 2 of 5"]);
    for odd in [json!("soon"), Value::Null, json!({})] {
        let identity = server.state.accounts.identity();
        identity.set_setting("setup.finished", Some(&odd), &[]).await.unwrap();
        ada.get("/setup/model").await.goes_to("/");
        ada.form("/setup/model/skip", &[]).await.shows(409, &["closed for good"]);
    }
}
