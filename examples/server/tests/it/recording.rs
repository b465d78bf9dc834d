//! An incident is recorded with the server's own connectors and the real kubectl, and replayed without either.

#![allow(clippy::disallowed_methods, reason = "tests run in real time")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use rounds_rehearsal::{Driver, Incident, rehearse};
use rounds_server::cli::record::{self, RecordArgs};
use rounds_server::cli::rehearse::{self as replay, RehearseArgs};
use rounds_server::demo::client::Client;
use rounds_server::demo::{cluster, setup};
use rounds_server::settings::{Overrides, SeedAdmin, ServerSettings};
use rounds_server::{App, Boot};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const PASSWORD: &str = "correct-horse";

fn tools_only(name: &str) -> Option<OsString> {
    ["PATH", "KUBECTL", "HOME"].contains(&name).then(|| std::env::var_os(name)).flatten()
}

fn rehearsal(files: Vec<PathBuf>) -> RehearseArgs {
    RehearseArgs { files, json: true, playbook: false, live: None, config: None, secret: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_with_a_cluster_is_replayed_without_one() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let sandbox = cluster::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let overrides = Overrides { data_dir: Some(folder.path().to_owned()), ..Overrides::default() };
    let mut settings = ServerSettings::read(&tools_only, overrides).unwrap();
    settings.outbound = rounds_core::plugin::Outbound::loopback();
    settings.seed_admin =
        Some(SeedAdmin { email: None, login: "admin".into(), name: None, password: PASSWORD.to_owned().into() });
    // Nothing but the recording investigates.
    settings.core.auto_investigation = false;
    let app = App::start(Boot::new(settings.clone()).unwrap()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let until = stop.clone();
    let server = tokio::spawn(async move { app.serve(listener, async move { until.cancelled().await }).await });
    let mut client = Client::sign_in(&url, "admin", PASSWORD).await.unwrap();
    let rule = setup::configure(&mut client, &sandbox).await.unwrap();
    cluster::break_it(&sandbox).await.unwrap();
    let path = format!("/api/alert-rules/{rule}");
    rounds_server::demo::story::until(
        &mut client,
        &path,
        "the alert fires",
        Duration::from_secs(60),
        |rule: &Value| (rule["state"] == "firing").then_some(()),
    )
    .await
    .unwrap();

    // Beside the running server, as an operator does it.
    let out = folder.path().join("incident.yaml");
    let args = || RecordArgs { rule: "Checkout errors".into(), out: out.clone(), playbook: false };
    let mut said = Vec::new();
    record::run(args(), &settings, &mut said).await.unwrap();
    let again = record::run(args(), &settings, &mut said).await.unwrap_err();
    assert!(format!("{again:#}").contains("cannot be written"), "a recording is not overwritten: {again:#}");
    let plans = client.get("/api/plans").await.unwrap();
    assert_eq!(plans.as_array().map(Vec::len), Some(0), "nothing is proposed to anybody");
    stop.cancel();
    server.await.unwrap().unwrap();
    sandbox.shutdown().await;

    let text = std::fs::read_to_string(&out).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let incident = Incident::parse(&text).unwrap();
    assert_eq!(incident.expect.plan, Some(true), "the playbook knew what to do: {}", String::from_utf8_lossy(&said));
    let outcome = rehearse(&incident, &Driver::Recorded).await.unwrap();
    assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
    let unrecorded =
        outcome.report().evidence.into_iter().filter(|reading| reading.excerpt.contains("not in the recording"));
    assert_eq!(unrecorded.map(|reading| reading.source).collect::<Vec<_>>(), [], "everything it asks was recorded");

    let mut printed = Vec::new();
    let code = replay::run(rehearsal(vec![out.clone()]), &settings, &mut printed).await.unwrap();
    assert_eq!(code, std::process::ExitCode::SUCCESS);
    let said: Value = serde_json::from_slice(&printed).unwrap();
    assert!(said["plan"]["steps"][0]["commandText"].as_str().unwrap().contains("rollout undo"), "{said}");

    let mut wrong = incident;
    wrong.expect.mention = vec!["gremlins".into()];
    let file = folder.path().join("wrong.yaml");
    std::fs::write(&file, wrong.to_text().unwrap()).unwrap();
    let code = replay::run(rehearsal(vec![file]), &settings, &mut Vec::new()).await.unwrap();
    assert_eq!(code, std::process::ExitCode::from(3));
}
