//! The client side of the command line: the real binary against a real server.

#![allow(clippy::disallowed_methods, reason = "the tests of the binary spawn it")]

use std::path::Path;
use std::process::{Command, Stdio};

use async_trait::async_trait;
use rounds_core::investigation::{Findings, Section};
use rounds_core::ports::{FiredAlert, Investigator, PortError, Toolbox};
use rounds_core::step::StepSpec;
use serde_json::{Value, json};

use crate::support::{self, Client, Server, proposal};

/// Reads once, and says what it read.
struct Looks;

#[async_trait]
impl Investigator for Looks {
    fn name(&self) -> &str {
        "looks"
    }

    async fn investigate(&self, tools: &dyn Toolbox, _: &FiredAlert) -> Result<Findings, PortError> {
        let connector = tools.connectors().remove(0);
        let reading = tools.read(connector.id, StepSpec::command(["get", "app/web"])).await.id;
        let sections = vec![Section::new("What runs", "One replica.", [reading])];
        Ok(Findings { summary: "All is well.".into(), sections, ..Findings::default() })
    }
}

/// What a run of the binary came to.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn expect(self, code: i32) -> String {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self.out
    }

    #[track_caller]
    fn json(self) -> Value {
        let out = self.expect(0);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

/// Somebody at a shell.
struct Shell {
    url: String,
    token: String,
}

impl Shell {
    async fn of(server: &Server, client: &Client) -> Self {
        let minted = client.post("/api/user/tokens", json!({ "name": "shell" })).await.expect(201);
        Self { url: server.url.clone(), token: minted["key"].as_str().unwrap().to_owned() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rounds-server"));
        command.env_clear().env("ROUNDS_SERVER", &self.url).env("ROUNDS_TOKEN", &self.token);
        command.args(args).stdin(Stdio::null());
        command
    }

    async fn run(&self, args: &[&str]) -> Ran {
        run(self.command(args)).await
    }
}

async fn run(mut command: Command) -> Ran {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_are_listed_shown_approved_step_by_step_and_watched_to_their_end() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let shell = Shell::of(&server, &admin).await;
    let plan = admin.propose(&connector, &[["get", "app/web"], ["scale", "app/web"]]).await;
    let (id, digest) = (id(&plan), plan["digest"].as_str().unwrap());

    let listed = shell.run(&["plans", "list", "--status", "pending_approval", "--namespace", "app"]).await.expect(0);
    assert!(listed.contains(id) && listed.contains("Bring it back"), "{listed}");
    assert!(!shell.run(&["plans", "list", "--namespace", "db"]).await.expect(0).contains(id));
    let shown = shell.run(&["plans", "show", id]).await.expect(0);
    for part in ["fake scale app/web", "runs on cluster", "touches app/", digest, "write"] {
        assert!(shown.contains(part), "`{part}` is missing:\n{shown}");
    }
    assert_eq!(shell.run(&["plans", "show", id, "--json"]).await.json()["digest"], digest);

    // Nobody can be asked here, and a wrong digest approves nothing.
    let refused = shell.run(&["plans", "approve", id]).await;
    assert!(refused.err.contains("--digest"), "{}", refused.err);
    refused.expect(2);
    shell.run(&["plans", "approve", id, "--digest", "v1:sha256:other"]).await.expect(5);
    assert!(server.adapter.executed().is_empty());

    let waits = shell.run(&["plans", "approve", id, "--digest", digest, "--wait"]).await;
    assert!(waits.out.contains("executing"), "{}", waits.out);
    waits.expect(9);
    shell.run(&["plans", "approve", id, "--step", "1", "--yes", "--wait"]).await.expect(9);
    shell.run(&["plans", "approve", id, "--step", "7", "--yes"]).await.expect(2);
    shell.run(&["plans", "approve", id, "--step", "1", "--yes"]).await.expect(5);
    let done = shell.run(&["plans", "approve", id, "--step", "2", "--yes", "--wait"]).await.expect(0);
    assert!(done.contains("completed"), "{done}");
    assert_eq!(server.adapter.executed(), ["fake get app/web", "fake scale app/web"]);
    shell.run(&["plans", "watch", id]).await.expect(0);
    shell.run(&["plans", "reject", id]).await.expect(5);

    let other = admin.propose(&connector, &[["scale", "app/web"]]).await;
    let other = other["id"].as_str().unwrap();
    shell.run(&["plans", "reject", other, "--reason", "not now"]).await.expect(0);
    let found = admin.get(&format!("/api/plans/{other}")).await.expect(200);
    assert_eq!((&found["status"], &found["resolution"]), (&json!("rejected"), &json!("not now")));
    shell.run(&["plans", "watch", other]).await.expect(1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_takes_the_beginning_or_end_of_an_id_and_deciding_the_whole() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let shell = Shell::of(&server, &admin).await;
    let plan = admin.propose(&connector, &[["get", "app/web"]]).await;
    let other = admin.propose(&connector, &[["get", "app/db"]]).await;
    let (whole, end) = (id(&plan), &id(&plan)[28..]);
    assert!(shell.run(&["plans", "show", end]).await.expect(0).contains(whole));
    assert!(shell.run(&["plans", "show", &whole[..20]]).await.expect(0).contains(whole));
    // Both were made in this minute: their beginnings are alike.
    let ambiguous = shell.run(&["plans", "show", &whole[..8]]).await;
    assert!(ambiguous.err.contains("ambiguous") && ambiguous.err.contains(id(&other)), "{}", ambiguous.err);
    ambiguous.expect(2);
    shell.run(&["plans", "show", "ffffffff"]).await.expect(4);
    let short = shell.run(&["plans", "show", "019"]).await;
    assert!(short.err.contains("at least 4"), "{}", short.err);
    short.expect(2);
    // A decision is about what was looked at, and not about whatever begins so.
    for decision in [&["plans", "approve", end, "--yes"][..], &["plans", "reject", end], &["plans", "retry", end]] {
        let refused = shell.run(decision).await;
        assert!(refused.err.contains("a whole id"), "{}", refused.err);
        refused.expect(2);
    }
    assert_eq!(admin.get(&format!("/api/plans/{whole}")).await.expect(200)["status"], "pending_approval");

    let draft = json!({ "name": "up", "condition": { "query": "up", "operator": "<", "threshold": 1, "forDurationSec": 0 },
        "evaluationIntervalSec": 60, "severity": "info", "labels": {} });
    server.datasource(&admin, 1.0).await;
    let rule = admin.post("/api/alert-rules", draft).await.expect(201);
    shell.run(&["alerts", "backtest", "--rule", &id(&rule)[24..], "--hours", "1"]).await.expect(0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_with_verify_goes_on_until_it_is_known_what_became_of_the_alert() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let shell = Shell::of(&server, &admin).await;
    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    let (id, digest) = (id(&plan), plan["digest"].as_str().unwrap());
    shell.run(&["plans", "approve", id, "--digest", digest, "--verify"]).await.expect(2);
    shell.run(&["plans", "approve", id, "--digest", digest]).await.expect(0);
    let done = shell.run(&["plans", "approve", id, "--step", "1", "--yes", "--wait", "--verify"]).await;
    assert!(done.err.contains("no alert is linked"), "{}", done.err);
    done.expect(0);
    shell.run(&["plans", "watch", id, "--verify"]).await.expect(0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_step_is_told_and_retried() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let shell = Shell::of(&server, &admin).await;
    let grant = json!({ "subject": "user:root", "role": "fixed:plans:auto_editor" });
    admin.post("/api/access-control/grants", grant).await.expect(201);
    let no = rounds_core::step::StepError::not_started("the API server said no");
    server.adapter.script(rounds_core::testing::FakeOutcome::Error(no));
    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    let failed = shell.run(&["plans", "approve", id(&plan), "--yes", "--auto-edit", "--wait"]).await;
    assert!(failed.err.contains("step 1 failed"), "{}", failed.err);
    failed.expect(1);
    let done = shell.run(&["plans", "retry", id(&plan), "--wait", "--json"]).await.expect(0);
    let last: Value = serde_json::from_str(done.lines().last().unwrap()).unwrap();
    assert_eq!(last["status"], "completed");
    shell.run(&["plans", "retry", id(&plan)]).await.expect(5);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_class_of_failure_has_its_exit_code() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let viewer = server.user(&admin, "vera", "Viewer").await;
    let (shell, viewers) = (Shell::of(&server, &admin).await, Shell::of(&server, &viewer).await);
    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    let (id, nothing) = (id(&plan), rounds_core::PlanId::new().to_string());

    let forbidden = viewers.run(&["plans", "approve", id, "--yes"]).await;
    assert!(forbidden.err.contains("vera needs plans:approve on plans:*"), "{}", forbidden.err);
    forbidden.expect(3);
    let dead = Shell { url: server.url.clone(), token: "rounds_pat_nothing".into() };
    dead.run(&["plans", "list"]).await.expect(3);
    let none = Shell { url: server.url.clone(), token: String::new() };
    let none = none.run(&["plans", "list"]).await;
    assert!(none.err.contains("ROUNDS_TOKEN"), "{}", none.err);
    none.expect(3);
    shell.run(&["plans", "show", &nothing]).await.expect(4);
    shell.run(&["plans", "show", "../users"]).await.expect(2);
    shell.run(&["plans", "list", "--status", "nonsense"]).await.expect(2);
    shell.run(&["plans", "list", "--timeout", "soon"]).await.expect(2);
    let away = Shell { url: "http://127.0.0.1:1".into(), token: "rounds_pat_x".into() };
    away.run(&["plans", "list"]).await.expect(7);
    let waiting = shell.run(&["plans", "watch", id, "--timeout", "2s"]).await;
    waiting.expect(9);
    let in_clear = Shell { url: "http://rounds.example.org".into(), token: "rounds_pat_x".into() };
    let refused = in_clear.run(&["plans", "list"]).await;
    assert!(refused.err.contains("in clear") && !refused.err.contains("rounds_pat_x"), "{}", refused.err);
    refused.expect(2);
    // What a program reads is the server's own answer.
    let told = viewers.run(&["plans", "reject", id, "--json"]).await;
    let body: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!((told.code, &body["code"]), (3, &json!("forbidden")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_destroys_takes_the_digest_of_what_was_looked_at() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let shell = Shell::of(&server, &admin).await;
    let plan = admin.propose(&connector, &[["delete", "app/web"]]).await;
    assert_eq!(plan["steps"][0]["tier"], "destructive");
    let refused = shell.run(&["plans", "approve", id(&plan), "--yes"]).await;
    assert!(refused.err.contains("destroys"), "{}", refused.err);
    refused.expect(2);
    shell.run(&["plans", "approve", id(&plan), "--digest", plan["digest"].as_str().unwrap()]).await.expect(0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plan_says_cannot_take_over_the_terminal() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let shell = Shell::of(&server, &admin).await;
    let mut hostile = proposal(&connector, &[["scale", "app/web"]]);
    hostile["summary"] = json!("fine\u{1b}[2J\u{1b}]0;x\u{7}\u{202e}\rapproved");
    let plan = admin.post("/api/plans", hostile).await.expect(201);
    for args in [&["plans", "list"][..], &["plans", "show", id(&plan)], &["plans", "reject", id(&plan)]] {
        let out = shell.run(args).await.expect(0);
        assert!(out.contains("fine"), "{out}");
        assert!(!out.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}'), "{out:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_service_accounts_are_made_listed_and_revoked() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let shell = Shell::of(&server, &admin).await;
    let agent = "@syntropize/rounds";
    let create = ["token", "create", "--service-account", agent, "--name", "laptop", "--ttl", "30d"];
    let key = shell.run(&create).await.expect(0);
    assert!(key.starts_with("rounds_sa_") && key.trim().lines().count() == 1, "only the key is printed");
    let bearer = server.anonymous().with_bearer(key.trim());
    bearer.get("/api/plans").await.expect(200);
    let listed = shell.run(&["token", "list", "--json"]).await.json();
    let token = listed.as_array().unwrap().iter().find(|token| token["name"] == "laptop").unwrap();
    assert_eq!(token["serviceAccount"], agent);
    assert!(!listed.to_string().contains(key.trim()), "a key is shown once");
    let people = shell.run(&["token", "list", "--service-account", agent]).await.expect(0);
    assert!(people.contains("laptop") && people.contains("in 29 d"), "{people}");
    shell.run(&["token", "revoke", id(token)]).await.expect(0);
    bearer.get("/api/plans").await.refused(401, "unauthorized");
    shell.run(&["token", "revoke", &rounds_core::TokenId::new().to_string()]).await.expect(4);
    let unknown = shell.run(&["token", "create", "--service-account", "sa-nobody", "--name", "x"]).await;
    assert!(unknown.err.contains(agent), "it lists those there are: {}", unknown.err);
    unknown.expect(4);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_token_is_made_on_the_database_itself_and_audited() {
    let dir = tempfile::tempdir().unwrap();
    let local = |data: &Path, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rounds-server"));
        command.env_clear().env("HOME", data).env("ROUNDS_DATA_DIR", data).args(args).stdin(Stdio::null());
        command
    };
    let create = ["token", "create", "--local", "--service-account", "@syntropize/rounds", "--name", "first"];
    let none = run(local(dir.path(), &create)).await;
    assert!(none.err.contains("there is no database"), "{}", none.err);
    assert_ne!(none.code, 0);

    let server = support::with_data(dir.path()).await;
    let key = run(local(dir.path(), &create)).await.expect(0);
    let agent = server.anonymous().with_bearer(key.trim());
    assert_eq!(agent.get("/api/whoami").await.expect(200)["isAgent"], true, "at once, without a restart");
    let admin = server.admin().await;
    let rows = admin.get("/api/admin/audit-log?action=serviceaccount.create_token").await.expect(200);
    assert_eq!(rows["total"], 1, "{rows}");
    assert!(rows["items"][0]["metadata"]["by"].as_str().unwrap().contains("--local"));
    assert!(!rows.to_string().contains(key.trim()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_listed_and_one_is_investigated_until_its_report() {
    let server = support::investigating(Looks).await;
    let admin = server.admin().await;
    server.connector(&admin).await;
    server.datasource(&admin, 0.0).await;
    server.agent(&admin).await;
    let shell = Shell::of(&server, &admin).await;
    let condition = json!({ "query": "up", "operator": ">", "threshold": 1 });
    let rule = admin.post("/api/alert-rules", json!({ "name": "Errors", "condition": condition })).await.expect(201);
    let listed = shell.run(&["alerts", "list"]).await.expect(0);
    assert!(listed.contains("Errors") && listed.contains(id(&rule)), "{listed}");
    assert!(shell.run(&["alerts", "list", "--state", "firing"]).await.expect(0).contains("no alert rule"));
    let tried = shell.run(&["alerts", "backtest", "--rule", id(&rule), "--hours", "1"]).await.expect(0);
    assert!(tried.contains("fired") || tried.contains("firing"), "{tried}");
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("rules.yaml");
    let group = "groups:\n- name: g\n  rules:\n  - alert: Down\n    expr: up < 1\n  - record: r\n    expr: up\n";
    std::fs::write(&file, group).unwrap();
    let import = ["alerts", "import", file.to_str().unwrap()];
    let imported = shell.run(&import).await;
    assert!(imported.out.contains("created") && imported.out.contains("skipped"), "{}", imported.out);
    imported.expect(1);
    let again = shell.run(&import).await;
    assert!(again.out.contains("unchanged") && !again.out.contains("created"), "{}", again.out);

    let report = shell.run(&["investigate", id(&rule), "--wait", "--timeout", "60s"]).await;
    assert!(report.err.contains("completed"), "{}", report.err);
    let told = report.expect(0);
    assert!(told.contains("All is well.") && told.contains("What runs"), "{told}");
    let asked = shell.run(&["investigate", "--question", "why is it slow?", "--json"]).await.json();
    assert_eq!(asked["question"], "why is it slow?");
    server.stop().await;
}

#[test]
fn completions_are_there_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = Command::new(env!("CARGO_BIN_EXE_rounds-server"))
            .env_clear()
            .args(["completions", shell])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("approve") && text.contains("token"), "{shell}");
    }
}
