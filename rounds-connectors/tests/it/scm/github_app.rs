//! `github` as a GitHub App: a token for each call, for one repository and what the step needs.

use std::time::Duration;

use rounds_core::plan::StepStatus;
use rounds_core::plugin::Registry;
use rounds_core::ports::{CallContext, ExecutionAdapter as _};
use rounds_core::step::StepSpec;
use serde_json::{Value, json};

use super::github::{adapter, config};
use super::hub::{APP_KEY, Hub};
use super::server::Server;
use super::{approve, error, preview};

fn app_config(url: &str) -> Value {
    let mut config = config(url);
    config["app"] = json!({ "appId": "123456", "installationId": 42 });
    config
}

fn open() -> StepSpec {
    let changes = json!([{ "path": "deploy/x.yaml", "content": "x\n" }]);
    StepSpec::new(
        "github.open_pull_request",
        json!({ "repository": "acme/shop", "base": "main", "title": "x", "changes": changes }),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_gets_a_token_for_one_repository_and_what_the_step_needs() {
    let server = Server::start(Hub::new()).await;
    let rig = super::rig(adapter(app_config(&server.url), APP_KEY)).await;
    let read =
        StepSpec::new("github.get_file", json!({ "repository": "acme/shop", "path": "README.md", "ref": "main" }));
    let dispatch = StepSpec::new(
        "github.dispatch_workflow",
        json!({ "repository": "acme/shop", "workflow": "restart.yml", "ref": "main" }),
    );
    for (step, wanted) in [
        (read, json!({ "contents": "read", "pull_requests": "read" })),
        (open(), json!({ "contents": "write", "pull_requests": "write" })),
        (dispatch, json!({ "actions": "write", "contents": "read" })),
    ] {
        server.with(|hub| hub.minted.clear());
        let plan = rig.propose([step]).await.unwrap();
        assert!(!preview(&plan).contains("would fail"), "{}", preview(&plan));
        server.with(|hub| {
            let writes = |permissions: &Value| permissions.as_object().unwrap().values().any(|level| level == "write");
            assert!(!hub.minted.values().any(writes), "nobody has approved anything: {:?}", hub.minted);
            hub.minted.clear();
        });
        let done = approve(&rig, &plan).await;
        assert_eq!(done.steps[0].status, StepStatus::Done, "{}", error(&done));
        server.with(|hub| assert_eq!(hub.minted.values().collect::<Vec<_>>(), [&wanted]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_lacks_a_permission_has_not_started_and_says_which_is_needed() {
    let server = Server::start(Hub::new()).await;
    server.with(|hub| hub.granted = vec!["contents"]);
    let rig = super::rig(adapter(app_config(&server.url), APP_KEY)).await;
    let done = approve(&rig, &rig.propose([open()]).await.unwrap()).await;
    assert_eq!(done.steps[0].status, StepStatus::Failed);
    assert!(error(&done).contains("with contents: write, pull_requests: write"), "{}", error(&done));
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_12_a_key_that_is_none_is_said_and_not_repeated() {
    let server = Server::start(Hub::new()).await;
    let cx = CallContext::with_timeout(Duration::from_secs(5));
    let broken = APP_KEY.replace("MII", "AAA");
    for secret in ["ghp_a_token_and_no_key", &broken] {
        let refused = adapter(app_config(&server.url), secret).check(&cx).await.unwrap_err().to_string();
        assert!(refused.contains("private key") && !refused.contains(secret), "{refused}");
    }
    assert!(server.asked().is_empty());
    assert_eq!(
        adapter(app_config(&server.url), APP_KEY).check(&cx).await.unwrap().message,
        "reached GitHub. acme/shop: the App is installed there"
    );
    server.with(|hub| hub.archived = true);
    assert!(adapter(app_config(&server.url), APP_KEY).check(&cx).await.unwrap().lack.unwrap().contains("archived"));
}

#[test]
fn a_secret_is_looked_at_before_it_is_kept() {
    let registry = Registry::linked().unwrap();
    let kinds: Vec<&str> = registry.iter().map(|kind| kind.kind()).collect();
    assert!(kinds.contains(&"github") && kinds.contains(&"gitlab"), "{kinds:?}");
}
