//! The command line against a running server: the binary itself, over real HTTP.

#![allow(clippy::disallowed_methods, reason = "the tests of the binary spawn it")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use async_trait::async_trait;
use rounds_core::investigation::{Findings, ToolUse};
use rounds_core::ports::{FiredAlert, Investigator, PortError, Toolbox};
use rounds_core::step::{StepError, StepOutput};
use rounds_core::testing::FakeOutcome;
use serde_json::{Value, json};

use crate::support::{self, Client, Server};

/// Colours, a cleared screen, a bell, a title and text that runs the other way.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m all is fine\u{202e}\r";

/// Somebody at a shell.
#[derive(Clone)]
struct Shell {
    url: String,
    token: Option<String>,
}

/// What the command printed, and how it ended.
struct Told {
    code: i32,
    out: String,
    err: String,
}

impl Shell {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rounds-server"));
        command.env_clear().env("ROUNDS_SERVER", &self.url).stdin(Stdio::null()).args(args);
        if let Some(token) = &self.token {
            command.env("ROUNDS_TOKEN", token);
        }
        command
    }

    async fn run(&self, args: &[&str]) -> Told {
        let mut command = self.command(args);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        Told {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Told {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }
}

async fn token(admin: &Client, name: &str, role: &str) -> String {
    let made = admin.post("/api/serviceaccounts", json!({ "name": name, "role": role })).await.expect(201);
    let path = format!("/api/serviceaccounts/{}/tokens", made["id"].as_str().unwrap());
    let minted = admin.post(&path, json!({ "name": "shell" })).await.expect(201);
    minted["key"].as_str().unwrap().to_owned()
}

async fn shell(server: &Server, admin: &Client) -> Shell {
    Shell { url: server.url.clone(), token: Some(token(admin, "ops", "Admin").await) }
}

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_are_listed_and_shown_in_lines_that_fit_and_as_json_that_parses() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let shell = shell(&server, &admin).await;
    assert!(shell.run(&["plans", "list"]).await.expect(0).out.contains("no plan"));
    for _ in 0..3 {
        admin.propose(&connector, &[["scale", "app/web"]]).await;
    }
    let listed = shell.run(&["plans", "list", "--status", "pending_approval"]).await.expect(0).out;
    assert!(listed.lines().all(|line| line.chars().count() <= 80), "{listed}");
    assert_eq!(listed.matches("pending_approval").count(), 3, "{listed}");
    assert_eq!(
        shell.run(&["plans", "list", "--json", "--limit", "2"]).await.expect(0).json().as_array().unwrap().len(),
        2
    );
    let filters = ["plans", "list", "--json", "--namespace", "app", "--connector", &connector];
    assert_eq!(shell.run(&filters).await.expect(0).json().as_array().unwrap().len(), 3);
    assert_eq!(shell.run(&["plans", "list", "--json", "--namespace", "none"]).await.expect(0).json(), json!([]));

    let plan = admin.get("/api/plans").await.expect(200)[0].clone();
    let shown = shell.run(&["plans", "show", id(&plan)]).await.expect(0).out;
    for part in ["$ fake scale app/web", plan["digest"].as_str().unwrap(), "on app / ", "write"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert_eq!(shell.run(&["plans", "show", id(&plan), "--json"]).await.expect(0).json()["digest"], plan["digest"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_plan_prints_clean_and_its_json_says_the_same() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let shell = shell(&server, &admin).await;
    let mut body = support::proposal(&connector, &[["scale", "app/web"]]);
    body["summary"] = HOSTILE.into();
    body["steps"][0]["riskNote"] = HOSTILE.into();
    let plan = admin.post("/api/plans", body).await.expect(201);
    for args in [vec!["plans", "list"], vec!["plans", "show", id(&plan)], vec!["plans", "list", "--json"]] {
        let told = shell.run(&args).await.expect(0);
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(told.out.contains("all is fine") && !told.out.contains(acts), "{:?}", told.out);
    }
    let listed = shell.run(&["plans", "list", "--json"]).await.json();
    assert_eq!(listed[0]["summary"], plan["summary"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_a_plan_is_approved_only_by_its_digest_or_with_yes() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let shell = shell(&server, &admin).await;
    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    let (id, digest) = (id(&plan), plan["digest"].as_str().unwrap());

    let refused = shell.run(&["plans", "approve", id]).await.expect(2);
    assert!(refused.err.contains("--digest") && refused.err.contains("--yes"), "{}", refused.err);
    let other = digest.replace(|c: char| c.is_ascii_digit(), "f");
    shell.run(&["plans", "approve", id, "--digest", &other]).await.expect(5);
    assert_eq!(admin.get(&format!("/api/plans/{id}")).await.expect(200)["status"], "pending_approval");

    // Its one step pauses, and that is neither success nor failure.
    let paused = shell.run(&["plans", "approve", id, "--digest", digest, "--wait", "--timeout", "60s"]).await.expect(9);
    assert!(paused.err.contains(&format!("plans approve {id} --step 0")), "{}", paused.err);
    let step = ["plans", "approve", id, "--step", "0", "--digest", digest, "--wait", "--json", "--timeout", "60s"];
    assert_eq!(shell.run(&step).await.expect(0).json()["status"], "completed");
    assert_eq!(server.adapter.executed(), ["fake scale app/web"]);
    // Decided already.
    shell.run(&["plans", "approve", id, "--digest", digest]).await.expect(5);

    let again = admin.propose(&connector, &[["scale", "app/web"]]).await;
    let again = again["id"].as_str().unwrap();
    let approved = shell.run(&["plans", "approve", again, "--yes"]).await.expect(0);
    assert!(approved.err.contains("$ fake scale app/web"), "it shows what it approves: {}", approved.err);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_plan_is_exit_1_and_its_step_is_retried() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let shell = shell(&server, &admin).await;
    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    let output = StepOutput::default().with_exit_code(1).with_error_output("no such thing");
    server.adapter.script(FakeOutcome::Error(StepError::failed("exit code 1", output)));
    shell.run(&["plans", "retry", id(&plan)]).await.expect(5);
    shell.run(&["plans", "approve", id(&plan), "--yes", "--wait", "--timeout", "60"]).await.expect(9);
    let step = ["plans", "approve", id(&plan), "--step", "0", "--yes", "--wait", "--timeout", "60"];
    shell.run(&step).await.expect(1);
    assert!(shell.run(&["plans", "show", id(&plan)]).await.out.contains("no such thing"));
    let retried = shell.run(&["plans", "retry", id(&plan), "--wait", "--timeout", "60"]).await.expect(0);
    assert!(retried.out.contains("completed"), "{}", retried.out);

    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    shell.run(&["plans", "reject", id(&plan)]).await.expect(2);
    let rejected = shell.run(&["plans", "reject", id(&plan), "--reason", "not today", "--json"]).await.expect(0).json();
    assert_eq!((&rejected["status"], &rejected["resolution"]), (&json!("rejected"), &json!("not today")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_a_plan_tells_its_events_and_ends_with_it() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let shell = shell(&server, &admin).await;
    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    let other = admin.propose(&connector, &[["scale", "app/api"]]).await;
    let mut watching = shell.command(&["plans", "watch", id(&plan), "--json", "--timeout", "120s"]);
    let mut child = watching.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    let read = tokio::task::spawn_blocking(move || lines.lines().map(Result::unwrap).collect::<Vec<_>>());
    let reason = json!({ "reason": "not today" });
    admin.post(&format!("/api/plans/{}/reject", id(&other)), reason.clone()).await.expect(200);
    admin.post(&format!("/api/plans/{}/reject", id(&plan)), reason).await.expect(200);
    let lines: Vec<Value> = read.await.unwrap().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "a rejected plan is no success");
    assert_eq!(lines.last().unwrap()["plan"]["status"], "rejected");
    let events = &lines[..lines.len() - 1];
    assert!(events.iter().all(|event| event["subjectId"] == plan["id"]), "{events:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_class_of_failure_has_its_exit_code() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let ops = shell(&server, &admin).await;
    let viewer = Shell { token: Some(token(&admin, "looks", "Viewer").await), ..ops.clone() };
    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    let digest = plan["digest"].as_str().unwrap();
    let code = async |shell: &Shell, args: &[&str]| shell.run(args).await.code;

    assert_eq!(code(&ops, &["plans", "list", "--status", "wrong"]).await, 2, "400");
    assert_eq!(code(&ops, &["plans", "nothing"]).await, 2, "no such command");
    assert_eq!(code(&ops, &["plans", "list", "--server", "http://203.0.113.7"]).await, 2, "a token in clear");
    let nobody = Shell { token: None, ..ops.clone() };
    let told = nobody.run(&["plans", "list"]).await.expect(3);
    assert!(told.err.contains("ROUNDS_TOKEN"), "{}", told.err);
    assert_eq!(
        code(&Shell { token: Some("rounds_sa_wrong".into()), ..ops.clone() }, &["plans", "list"]).await,
        3,
        "401"
    );
    assert_eq!(code(&viewer, &["plans", "approve", id(&plan), "--digest", digest]).await, 3, "403");
    assert_eq!(code(&ops, &["plans", "show", "nothing/../x"]).await, 4, "404");
    let gone = Shell { url: "http://127.0.0.1:1".into(), ..ops.clone() };
    assert_eq!(code(&gone, &["plans", "list"]).await, 7, "unreachable");
    assert_eq!(code(&gone, &["plans", "watch"]).await, 7, "unreachable");
    assert_eq!(code(&ops, &["plans", "watch", id(&plan), "--timeout", "1s"]).await, 8, "timed out");

    // Machines are told the same in one line of JSON.
    let told = ops.run(&["plans", "list", "--status", "wrong", "--json"]).await.expect(2);
    let error = serde_json::from_str::<Value>(&told.err).unwrap();
    assert_eq!((&error["error"]["exit"], &error["error"]["status"]), (&json!(2), &json!(400)));
    assert!(told.out.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_created_listed_and_revoked_and_the_key_stands_alone_on_stdout() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let shell = shell(&server, &admin).await;
    admin.post("/api/serviceaccounts", json!({ "name": "ci", "role": "Viewer" })).await.expect(201);
    let create = ["token", "create", "--service-account", "sa-ci", "--name", "nightly", "--ttl", "30d"];
    let told = shell.run(&create).await.expect(0);
    let key = told.out.trim().to_owned();
    assert!(key.starts_with("rounds_sa_") && told.out.lines().count() == 1 && !told.err.contains(&key), "{}", told.err);
    let made = Shell { token: Some(key.clone()), ..shell.clone() };
    made.run(&["plans", "list"]).await.expect(0);
    // One who may not is told so.
    made.run(&create).await.expect(3);

    let listed = shell.run(&["token", "list", "--service-account", "sa-ci", "--json"]).await.expect(0).json();
    assert_eq!((&listed[0]["name"], &listed[0]["serviceAccount"]), (&json!("nightly"), &json!("sa-ci")));
    let table = shell.run(&["token", "list"]).await.expect(0).out;
    assert!(table.contains("nightly of sa-ci") && !table.contains(&key), "{table}");
    shell.run(&["token", "revoke", id(&listed[0])]).await.expect(0);
    made.run(&["plans", "list"]).await.expect(3);
    shell.run(&["token", "revoke", "unknown"]).await.expect(4);
    shell.run(&["token", "create", "--service-account", "sa-none", "--name", "x"]).await.expect(4);
    server.stop().await;
}

#[test]
fn whoever_holds_the_database_makes_the_first_token_and_the_audit_log_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rounds-server"));
        command.env_clear().env("ROUNDS_DATA_DIR", dir.path()).env("HOME", dir.path()).stdin(Stdio::null());
        command.args(args).output().unwrap()
    };
    let create = ["token", "create", "--local", "--service-account", "@syntropize/rounds", "--name", "first"];
    assert_eq!(run(&create).status.code(), Some(2), "no database is made by the way");
    let mut serving = Command::new(env!("CARGO_BIN_EXE_rounds-server"));
    serving.env_clear().env("ROUNDS_DATA_DIR", dir.path()).env("HOME", dir.path());
    let mut server = serving.args(["serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();

    let minted = run(&create);
    assert!(minted.status.success(), "{}", String::from_utf8_lossy(&minted.stderr));
    let key = String::from_utf8(minted.stdout).unwrap();
    let shell = Shell { url, token: Some(key.trim().to_owned()) };
    let listed = shell.command(&["plans", "list", "--json"]).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let nobody = ["token", "create", "--local", "--service-account", "sa-none", "--name", "x"];
    assert_eq!(run(&nobody).status.code(), Some(4));
    assert!(Command::new("kill").arg(server.id().to_string()).status().unwrap().success());
    assert!(server.wait().unwrap().success());

    let log = String::from_utf8(run(&["audit", "export"]).stdout).unwrap();
    let row = log.lines().find(|line| line.contains("token.create")).unwrap_or_else(|| panic!("{log}"));
    assert!(row.contains("local-operator") && !row.contains(key.trim()), "{row}");
    assert!(run(&["audit", "verify"]).status.success());
}

/// Calls a tool, then has found something.
struct Finds;

#[async_trait]
impl Investigator for Finds {
    fn name(&self) -> &str {
        "finds"
    }

    async fn investigate(&self, tools: &dyn Toolbox, _: &FiredAlert) -> Result<Findings, PortError> {
        Ok(Findings {
            summary: format!("It was the disk {HOSTILE}"),
            calls: vec![ToolUse::new("look", "{}", tools.now())],
            ..Findings::default()
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_investigation_is_waited_for_and_its_report_printed() {
    let server = support::investigating(Finds).await;
    let admin = server.admin().await;
    server.agent(&admin).await;
    let metrics = server.datasource(&admin, 1.0).await;
    let shell = shell(&server, &admin).await;
    let condition = json!({ "query": "up", "operator": ">", "threshold": 5, "forDurationSec": 0 });
    let draft = json!({
        "name": "Disk", "condition": condition, "evaluationIntervalSec": 60, "severity": "high", "labels": {},
        "datasourceId": metrics,
    });
    let rule = admin.post("/api/alert-rules", draft).await.expect(201);
    let listed = shell.run(&["alerts", "list"]).await.expect(0).out;
    assert!(listed.contains("Disk") && listed.contains(id(&rule)), "{listed}");

    let told = shell.run(&["investigate", id(&rule), "--wait", "--timeout", "60s"]).await.expect(0);
    assert!(told.out.contains("It was the disk") && !told.out.contains('\u{1b}'), "{:?}", told.out);
    assert!(told.err.contains("completed"), "{}", told.err);
    let asked =
        shell.run(&["investigate", "--question", "Why?", "--wait", "--json", "--timeout", "60s"]).await.expect(0);
    assert_eq!(asked.json()["question"], "Why?");
    shell.run(&["investigate"]).await.expect(2);
    shell.run(&["investigate", "unknown"]).await.expect(4);
    server.stop().await;
}

#[test]
fn completions_know_the_commands() {
    let shell = Shell { url: String::new(), token: None };
    for name in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = shell.command(&["completions", name]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains("approve") && script.contains("backtest"), "{name}");
    }
}
