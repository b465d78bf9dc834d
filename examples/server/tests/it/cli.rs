//! The binary: what it prints, logs and returns.

#![allow(clippy::disallowed_methods, reason = "the tests of the binary spawn it")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

fn binary(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rounds-server"));
    command.env_clear().env("ROUNDS_DATA_DIR", data).env("HOME", data).stdin(Stdio::null());
    command
}

/// Starts a server and waits until it says where it listens.
fn serve(command: Command) -> (Child, String) {
    serve_with(command, &["serve", "--listen", "127.0.0.1:0"])
}

fn serve_with(mut command: Command, args: &[&str]) -> (Child, String) {
    let mut child = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
    (child, url)
}

/// Stops it as an orchestrator does; gives its log.
fn stop(mut child: Child) -> String {
    let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(child.wait().unwrap().success(), "{log}");
    log
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_log_says_why_the_dispatcher_did_not_start_and_what_to_do_without_kubectl() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = binary(dir.path());
    command.env("AUTO_INVESTIGATION_ENABLED", "false").env("ALERT_EVALUATOR_ENABLED", "0");
    let (child, url) = serve(command);
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let log = stop(child);
    let line = "auto-investigation dispatcher NOT started: AUTO_INVESTIGATION_ENABLED=false";
    assert_eq!(log.matches(line).count(), 1, "{log}");
    assert!(log.contains("alert evaluator NOT started: ALERT_EVALUATOR_ENABLED=false"), "{log}");
    assert!(log.contains("install it or set KUBECTL"), "{log}");
}

#[test]
fn without_a_subcommand_it_serves_where_it_is_told_to_listen() {
    let dir = tempfile::tempdir().unwrap();
    let (child, url) = serve_with(binary(dir.path()), &["--listen", "localhost:0"]);
    assert!(!url.ends_with(":0") && !url.ends_with(":3000"), "{url}");
    stop(child);
}

#[test]
fn the_name_alone_makes_no_admin_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let refused = binary(dir.path()).env("SEED_ADMIN_NAME", "Ada").arg("migrate").output().unwrap();
    assert!(!refused.status.success() && text(&refused).contains("SEED_ADMIN_PASSWORD"), "{}", text(&refused));
}

#[test]
fn a_second_server_on_the_same_sqlite_file_says_so_and_one_after_the_first_has_ended_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = serve(binary(dir.path()));
    let (second, _) = serve(binary(dir.path()));
    let process = format!("another server (process {}) uses {}", first.id(), dir.path().join("rounds.db").display());
    let log = stop(second);
    assert!(log.contains(&process) && log.contains("SQLite serves one"), "{log}");
    assert!(!stop(first).contains("another server"));
    let (third, _) = serve(binary(dir.path()));
    assert!(!stop(third).contains("another server"));
}

#[test]
fn the_demo_takes_a_host_name() {
    use clap::Parser as _;
    rounds_server::cli::Cli::try_parse_from(["rounds-server", "demo", "--listen", "localhost:0"]).unwrap();
}

#[test]
fn logs_can_be_json() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = binary(dir.path());
    command.env("ROUNDS_LOG_FORMAT", "json");
    let (child, _) = serve(command);
    for line in stop(child).lines() {
        assert!(serde_json::from_str::<Value>(line).unwrap()["level"].is_string(), "{line}");
    }
}

#[test]
fn audit_verify_prints_the_head_and_names_the_row_that_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = binary(dir.path());
    command.env("SEED_ADMIN_LOGIN", "ada").env("SEED_ADMIN_PASSWORD", "correct-horse");
    let (child, _) = serve(command);
    stop(child);
    let verified = binary(dir.path()).args(["audit", "verify"]).output().unwrap();
    assert!(verified.status.success(), "{}", text(&verified));
    assert!(text(&verified).contains("main: 2 rows, head "), "{}", text(&verified));

    let path = dir.path().join("rounds.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let (what, instead) = (b"\"action\":\"user.create\"", b"\"action\":\"user.creatE\"");
    let places: Vec<usize> = (0..bytes.len() - what.len()).filter(|at| bytes[*at..].starts_with(what)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + what.len()].copy_from_slice(instead);
    }
    std::fs::write(&path, bytes).unwrap();
    let broken = binary(dir.path()).args(["audit", "verify", "--org", "main"]).output().unwrap();
    assert_eq!(broken.status.code(), Some(1), "{}", text(&broken));
    assert!(text(&broken).contains("breaks at row 2"), "{}", text(&broken));
}

#[test]
fn an_exported_head_and_an_export_prove_what_the_database_alone_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = binary(dir.path());
    command.env("SEED_ADMIN_LOGIN", "ada").env("SEED_ADMIN_PASSWORD", "correct-horse");
    let (child, _) = serve(command);
    stop(child);
    let audit = |args: &[&str]| binary(dir.path()).arg("audit").args(args).output().unwrap();
    let file = |name: &str, output: &Output| {
        let path = dir.path().join(name);
        std::fs::write(&path, &output.stdout).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let head = file("head.json", &audit(&["head"]));
    let export = file("audit.jsonl", &audit(&["export"]));
    assert_eq!(std::fs::read_to_string(&export).unwrap().lines().count(), 2);
    assert!(audit(&["verify", "--head", &head]).status.success());
    assert!(audit(&["verify", "--file", &export, "--head", &head]).status.success(), "without the database's rows");
    assert!(audit(&["export", "--after", "2"]).stdout.is_empty());

    // In the export: a row changed, one removed, two exchanged, the end cut off.
    let lines: Vec<String> = std::fs::read_to_string(&export).unwrap().lines().map(str::to_owned).collect();
    let changed = lines[1].replace("user.create", "user.creatE");
    for (what, kept, row) in [
        ("changed", vec![&lines[0], &changed], "row 2"),
        ("removed", vec![&lines[1]], "row 2"),
        ("exchanged", vec![&lines[1], &lines[0]], "row 1"),
        ("cut off", vec![&lines[0]], "row 2"),
    ] {
        let path = dir.path().join("forged.jsonl");
        std::fs::write(&path, kept.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        let verdict = audit(&["verify", "--file", path.to_str().unwrap(), "--head", &head]);
        // An export may begin anywhere, so a removed beginning is no break in itself.
        let expected = if what == "removed" { Some(0) } else { Some(1) };
        assert_eq!(verdict.status.code(), expected, "{what}: {}", text(&verdict));
        assert!(what == "removed" || text(&verdict).contains(row), "{what}: {}", text(&verdict));
    }
    // In the database, with the head of the organisation put back: only the exported head shows it.
    let longer = format!("5:{}", "a".repeat(64));
    let cut = audit(&["verify", "--json", "--head", &longer]);
    let verdict: Value = serde_json::from_slice(&cut.stdout).unwrap();
    assert_eq!((&verdict["ok"], &verdict["seq"]), (&Value::from(false), &Value::from(3)), "{verdict}");
    let elsewhere = audit(&["verify", "--head", "/nowhere/head.json"]);
    assert!(text(&elsewhere).contains("SEQ:HASH, is expected"), "{}", text(&elsewhere));

    // Nothing here is old enough to be removed.
    let young = audit(&["prune", "--older-than", "7d", "--yes"]);
    assert!(text(&young).contains("kept for at least 30 days"), "{}", text(&young));
    let none = audit(&["prune", "--older-than", "31d", "--yes"]);
    assert!(none.status.success() && text(&none).contains("no row is older"), "{}", text(&none));
}

#[test]
fn a_wrong_variable_stops_it_before_anything_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let refused = binary(&data).env("ALERT_EVALUATOR_ENABLED", "maybe").arg("migrate").output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("ALERT_EVALUATOR_ENABLED: found `maybe`"), "{}", text(&refused));
    assert!(!data.exists());
    let migrated = binary(&data).arg("migrate").output().unwrap();
    assert!(migrated.status.success(), "{}", text(&migrated));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data), mode(&data.join("secret.key"))), (0o700, 0o600));
    }
}

#[test]
fn the_gate_answers_a_person_and_by_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    // No environment at all, not even where data would live.
    let gate = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rounds-server"));
        command.env_clear().stdin(Stdio::null()).arg("gate").args(args).output().unwrap()
    };
    let command = ["--mode", "write", "--namespace", "app", "--", "scale", "deploy/web", "--replicas=0", "-n", "app"];
    let allowed = gate(&command);
    assert_eq!(allowed.status.code(), Some(0), "{}", text(&allowed));
    for said in [
        "allow   kubectl scale deployment.apps/web --replicas=0 --namespace=app --request-timeout=30s",
        "tier    destructive, reversible, idempotent",
        "target  app/deployment.apps/web",
    ] {
        assert!(text(&allowed).lines().any(|line| line == said), "{}", text(&allowed));
    }
    let json = gate(&[&["--json"], &command[..]].concat());
    let answer: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&answer["verdict"], &answer["tier"]), (&Value::from("allow"), &Value::from("destructive")));
    let denied = gate(&["--mode", "read", "--namespace", "app", "--namespace=b", "--", "get", "secrets", "-n", "b"]);
    assert_eq!(denied.status.code(), Some(3));
    assert!(text(&denied).starts_with("deny    secrets\nreason  Secrets are"), "{}", text(&denied));
    let manifest = dir.path().join("manifest.yaml");
    std::fs::write(&manifest, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n").unwrap();
    let file = manifest.to_str().unwrap();
    let applied = gate(&["--namespace", "app", "--stdin-file", file, "--", "apply", "-f", "-", "-n", "app"]);
    assert_eq!(applied.status.code(), Some(0), "{}", text(&applied));
    assert!(text(&applied).contains("target  app/configmap/a"), "{}", text(&applied));
    let missing = gate(&["--stdin-file", "/nowhere/manifest.yaml", "--", "apply", "-f", "-", "-n", "app"]);
    assert_eq!(missing.status.code(), Some(1), "{}", text(&missing));
    for usage in [&[][..], &["--batch", "--", "get", "pods"], &["--mode", "admin", "--", "get", "pods"]] {
        assert_eq!(gate(usage).status.code(), Some(2), "{usage:?}");
    }
    let old_name = gate(&["--allowed", "app", "--", "get", "pods", "-n", "app"]);
    assert_eq!(old_name.status.code(), Some(0), "{}", text(&old_name));
}

#[test]
fn the_gate_answers_each_line_of_a_batch_before_the_next_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut batch = binary(dir.path());
    let mut batch = batch.args(["gate", "--batch"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut questions, mut answers) = (batch.stdin.take().unwrap(), BufReader::new(batch.stdout.take().unwrap()));
    for (line, verdict) in [
        (r#"{"id":1,"argv":["get","pods","-n","app"],"stdin":null,"mode":"read","allowed":["app"]}"#, "allow"),
        (r#"{"id":2,"argv":["get","pods","-n","kube-system"],"stdin":null,"mode":"read","allowed":["app"]}"#, "deny"),
        ("{", "deny"),
    ] {
        writeln!(questions, "{line}").unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["verdict"], verdict, "{answer}");
    }
    drop(questions);
    assert!(batch.wait().unwrap().success());
}
