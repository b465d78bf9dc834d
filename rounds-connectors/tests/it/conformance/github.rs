//! `github`, against a stand-in that keeps a git repository.

use rounds_core::conformance::connector::{AdapterSubject, ConnectorSubject, Sample, Served, Setup};
use rounds_core::plugin::Registration;
use rounds_core::step::StepSpec;
use serde_json::{Value, json};

use super::linked;
use crate::scm::documented;
use crate::scm::hub::Hub;
use crate::scm::server::Server;

struct Github;

/// The stand-in, and a commit of it that can be taken back: the same one each time.
fn prepared(secret: &str) -> (Hub, String) {
    let mut hub = Hub::new();
    hub.token = secret.into();
    let commit = hub.git.push("main", "scale to zero", &[("deploy/web.yaml", Some("replicas: 0\n"))]);
    (hub, commit)
}

#[rounds_core::async_trait]
impl ConnectorSubject for Github {
    fn registration(&self) -> Registration {
        linked("github")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        Setup::new(json!({
            "baseUrl": at, "repositories": ["acme/shop"], "paths": ["deploy/**"], "workflows": ["restart.yml"], "refs": ["main"],
        }))
        .with_secret(secret)
    }

    fn documented(&self) -> Value {
        documented(include_str!("../../../../docs/connectors/github.md"))
    }

    fn asks_for_an_effect(&self, request: &str) -> bool {
        // Objects that nothing points to are no effect.
        ["/git/refs", "/pulls", "/dispatches"]
            .iter()
            .any(|end| request.lines().next().is_some_and(|line| line.starts_with("POST ") && line.contains(end)))
    }

    async fn serve(&self, secret: &str) -> Served {
        let server = Server::start(prepared(secret).0).await;
        Served::new(server.url.clone(), move || server.with(|hub| hub.effects))
    }
}

impl AdapterSubject for Github {
    fn reads(&self) -> Vec<StepSpec> {
        let at = |mut params: Value| {
            params["repository"] = "acme/shop".into();
            params
        };
        vec![
            StepSpec::new("github.get_file", at(json!({ "path": "deploy/web.yaml", "ref": "main" }))),
            StepSpec::new("github.list_commits", at(json!({ "ref": "main", "limit": 3 }))),
        ]
    }

    fn writes(&self) -> Vec<Sample> {
        let open = json!({
            "repository": "acme/shop", "base": "main", "title": "Scale up",
            "changes": [{ "path": "deploy/web.yaml", "replace": [{ "old": "replicas: 0", "new": "replicas: 2" }] }],
        });
        let revert = json!({ "repository": "acme/shop", "base": "main", "commit": prepared("x").1 });
        let dispatch =
            json!({ "repository": "acme/shop", "workflow": "restart.yml", "ref": "main", "inputs": { "a": "b" } });
        vec![
            // A branch and a pull request.
            Sample::new(StepSpec::new("github.open_pull_request", open)).with_effects(2),
            Sample::new(StepSpec::new("github.revert_commit", revert)).with_effects(2),
            Sample::new(StepSpec::new("github.dispatch_workflow", dispatch)),
        ]
    }

    fn refused(&self) -> Vec<StepSpec> {
        let open = |repository: &str, path: &str| {
            let changes = json!([{ "path": path, "content": "x" }]);
            let params = json!({ "repository": repository, "base": "main", "title": "x", "changes": changes });
            StepSpec::new("github.open_pull_request", params)
        };
        vec![
            open("acme/other", "deploy/x"),
            open("acme/shop", "deploy/../x"),
            open("acme/shop", "README.md"),
            open("acme/shop", ".github/workflows/x.yml"),
            StepSpec::new(
                "github.dispatch_workflow",
                json!({ "repository": "acme/shop", "workflow": "ci.yml", "ref": "main" }),
            ),
            StepSpec::new("github.get_file", json!({ "repository": "acme/shop", "path": ".env", "ref": "main" })),
        ]
    }
}

rounds_core::adapter_conformance!(strict: Github);
