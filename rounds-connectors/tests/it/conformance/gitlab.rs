//! `gitlab`, against a stand-in that keeps a git repository.

use rounds_core::conformance::connector::{AdapterSubject, ConnectorSubject, Sample, Served, Setup};
use rounds_core::plugin::Registration;
use rounds_core::step::StepSpec;
use serde_json::{Value, json};

use super::linked;
use crate::scm::documented;
use crate::scm::lab::Lab;
use crate::scm::server::Server;

struct Gitlab;

const PROJECT: &str = "infra/apps/shop";

/// The stand-in, and a commit of it that can be taken back: the same one each time.
fn prepared(secret: &str) -> (Lab, String) {
    let mut lab = Lab::new();
    lab.token = secret.into();
    let commit = lab.git.push("main", "scale to zero", &[("deploy/web.yaml", Some("replicas: 0\n"))]);
    (lab, commit)
}

#[rounds_core::async_trait]
impl ConnectorSubject for Gitlab {
    fn registration(&self) -> Registration {
        linked("gitlab")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        Setup::new(json!({ "baseUrl": at, "projects": [PROJECT], "paths": ["deploy/**"], "refs": ["main"], "variables": ["A"] }))
            .with_secret(secret)
    }

    fn documented(&self) -> Value {
        documented(include_str!("../../../../docs/connectors/gitlab.md"))
    }

    async fn serve(&self, secret: &str) -> Served {
        let server = Server::start(prepared(secret).0).await;
        Served::new(server.url.clone(), move || server.with(|lab| lab.effects))
    }
}

impl AdapterSubject for Gitlab {
    fn reads(&self) -> Vec<StepSpec> {
        vec![
            StepSpec::new("gitlab.get_file", json!({ "project": PROJECT, "path": "deploy/web.yaml", "ref": "main" })),
            StepSpec::new("gitlab.list_commits", json!({ "project": PROJECT, "ref": "main", "limit": 3 })),
        ]
    }

    fn writes(&self) -> Vec<Sample> {
        let open = json!({
            "project": PROJECT, "targetBranch": "main", "title": "Scale up",
            "changes": [{ "path": "deploy/web.yaml", "replace": [{ "old": "replicas: 0", "new": "replicas: 2" }] }],
        });
        let revert = json!({ "project": PROJECT, "targetBranch": "main", "commit": prepared("x").1 });
        let run = json!({ "project": PROJECT, "ref": "main", "variables": { "A": "b" } });
        vec![
            // A branch with its commit, and a merge request.
            Sample::new(StepSpec::new("gitlab.open_merge_request", open)).with_effects(2),
            Sample::new(StepSpec::new("gitlab.revert_commit", revert)).with_effects(2),
            Sample::new(StepSpec::new("gitlab.run_pipeline", run)),
        ]
    }

    fn refused(&self) -> Vec<StepSpec> {
        let open = |project: &str, path: &str, description: &str| {
            let changes = json!([{ "path": path, "content": "x" }]);
            let params = json!({
                "project": project, "targetBranch": "main", "title": "x", "description": description, "changes": changes,
            });
            StepSpec::new("gitlab.open_merge_request", params)
        };
        vec![
            open("infra/other", "deploy/x", ""),
            open(PROJECT, "deploy/../x", ""),
            open(PROJECT, "README.md", ""),
            open(PROJECT, ".gitlab-ci.yml", ""),
            open(PROJECT, "deploy/x", "/merge"),
            StepSpec::new("gitlab.run_pipeline", json!({ "project": PROJECT, "ref": "dev" })),
            StepSpec::new("gitlab.get_file", json!({ "project": PROJECT, "path": ".env", "ref": "main" })),
        ]
    }
}

rounds_core::adapter_conformance!(strict: Gitlab);
