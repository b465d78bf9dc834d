//! The connector, through real approvals, against the stand-in service manager and against one that never answers.

use std::time::Duration;

use rounds_core::plan::StepStatus;
use rounds_core::plugin::Registry;
use rounds_core::service::ConnectorDraft;
use rounds_core::step::StepSpec;
use rounds_core::testing::AdapterRig;
use rounds_core::{Error, Settings};
use rounds_custom_connector::manager;
use serde_json::json;
use tokio::net::TcpListener;

fn draft(url: &str, token: &str) -> ConnectorDraft {
    crate::provide_tls();
    let config = json!({ "url": url, "allowedUnits": ["nginx.service", "gone.service"] });
    ConnectorDraft::new("units", "edge").with_config(config).with_secret(token)
}

async fn rig(url: &str, token: &str) -> AdapterRig {
    let settings = Settings {
        poll_interval: Duration::from_millis(50),
        step_timeout: Duration::from_millis(500),
        ..Settings::default()
    };
    AdapterRig::with(Registry::linked().unwrap(), draft(url, token), settings).await.unwrap()
}

fn step(words: &str) -> StepSpec {
    StepSpec::command(words.split(' '))
}

#[tokio::test]
async fn an_approved_step_runs_and_its_preview_is_the_service_managers() {
    let url = manager::serve("a token", &["nginx.service"]).await.unwrap().url;
    let rig = rig(&url, "a token").await;
    let proposed = rig.propose([step("stop nginx.service")]).await.unwrap();
    let preview = proposed.steps[0].dry_run_text.as_deref();
    assert_eq!(preview, Some("nginx.service is inactive and would be inactive"));
    let done = rig.run([step("restart nginx.service"), step("status nginx.service")]).await.unwrap();
    let said: Vec<_> = done.steps.iter().map(|step| (step.status, step.output_text.as_deref().unwrap())).collect();
    assert_eq!(said, [(StepStatus::Done, "nginx.service is active"); 2]);
    rig.end().await;
}

#[tokio::test]
async fn what_it_does_not_know_is_refused_with_what_it_accepts() {
    let url = manager::serve("a token", &[]).await.unwrap().url;
    let rig = rig(&url, "a token").await;
    for (words, says) in [
        ("reboot nginx.service", "accepted: status, start, restart, stop"),
        ("stop sshd.service", "accepted: nginx.service, gone.service"),
        ("stop", "`<verb> <unit>` is accepted"),
        ("stop nginx.service now", "`<verb> <unit>` is accepted"),
    ] {
        let Err(Error::Refused(refusals)) = rig.propose([step(words)]).await else { panic!("{words} passes") };
        assert!(refusals[0].message.contains(says), "{words}: {}", refusals[0].message);
    }
    let config = json!({ "adress": "x", "allowedUnits": [] });
    let wrong = ConnectorDraft::new("units", "other").with_config(config).with_secret("a token");
    let refused = rig.rounds().connectors().create(rig.person(), wrong).await.unwrap_err().to_string();
    assert!(refused.contains("unknown field `adress`, expected `url` or `allowedUnits`"), "{refused}");
}

#[tokio::test]
async fn a_step_that_nobody_took_is_failed_and_one_without_an_answer_is_interrupted() {
    let url = manager::serve("a token", &["nginx.service"]).await.unwrap().url;
    let rig1 = rig(&url, "a token").await;
    let gone = rig1.run([step("start gone.service")]).await.unwrap();
    assert_eq!(gone.steps[0].status, StepStatus::Failed);
    assert!(gone.steps[0].error_text.as_deref().unwrap().contains("there is no unit gone.service"), "{gone:?}");
    let stranger = rig(&url, "hunter2").await;
    let refused = stranger.run([step("start nginx.service")]).await.unwrap();
    assert_eq!(refused.steps[0].status, StepStatus::Failed);
    assert!(!format!("{refused:?}").contains("hunter2"), "rule 12: {refused:?}");
    // It takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let deaf = rig(&format!("http://{}", silent.local_addr().unwrap()), "a token").await;
    let unknown = deaf.run([step("start nginx.service")]).await.unwrap();
    assert_eq!(unknown.steps[0].status, StepStatus::Interrupted, "nobody knows whether it started: {unknown:?}");
}
