//! `gitlab`: the same rules as on GitHub, through the commits API.

use std::sync::Arc;
use std::time::Duration;

use rounds_connectors::gitlab::{Gitlab, GitlabConfig};
use rounds_core::plan::StepStatus;
use rounds_core::ports::{CallContext, ExecutionAdapter as _};
use rounds_core::step::{Mode, StepSpec, Tier};
use rounds_core::testing::AdapterRig;
use serde_json::{Value, json};

use super::lab::{Lab, TOKEN};
use super::server::{Moment, Said, Server};
use super::{again, approve, context, error, output, preview, refusal};

fn config(url: &str) -> Value {
    json!({
        "baseUrl": url,
        "projects": ["infra/**"],
        "paths": ["deploy/**", ".gitlab-ci.yml"],
        "refs": ["main"],
        "variables": ["SERVICE"],
    })
}

fn adapter(config: Value, secret: &str) -> Arc<Gitlab> {
    let config: GitlabConfig = serde_json::from_value(config).unwrap();
    Arc::new(Gitlab::new(context(secret), config).unwrap())
}

async fn start() -> (Server<Lab>, AdapterRig) {
    let server = Server::start(Lab::new()).await;
    let rig = super::rig(adapter(config(&server.url), TOKEN)).await;
    (server, rig)
}

fn open_with(changes: Value) -> StepSpec {
    StepSpec::new(
        "gitlab.open_merge_request",
        json!({ "project": "infra/apps/shop", "targetBranch": "main", "title": "Scale web up", "description": "Load has doubled.", "changes": changes }),
    )
}

fn open(server: &Server<Lab>) -> StepSpec {
    let old = server.with(|lab| lab.git.files_of(&lab.git.branches["main"])["deploy/old.yaml"].1.clone());
    open_with(json!([
        { "path": "deploy/web.yaml", "replace": [{ "old": "replicas: 2", "new": "replicas: 4" }] },
        { "path": "deploy/new/cache.yaml", "content": "kind: Cache\n" },
        { "path": "deploy/old.yaml", "delete": true, "blobSha": old },
        { "path": "deploy/run.sh", "replace": [{ "old": "#!/bin/sh", "new": "#!/bin/sh -e" }] },
    ]))
}

fn assert_done_once(server: &Server<Lab>, base: &str, why: &str) {
    server.with(|lab| {
        assert_eq!(lab.git.branches["main"], base, "{why}: the target branch is not pushed to");
        let made = lab.made();
        assert_eq!(made.len(), 1, "{why}: {made:?}");
        let (branch, head) = &made[0];
        assert!(branch.starts_with("rounds/") && branch.ends_with("-0"), "{why}: {branch}");
        let (_, parents, _) = lab.git.parts(head).unwrap();
        assert_eq!(parents, [base], "{why}");
        assert_eq!(lab.git.text(head, "deploy/web.yaml").unwrap(), "replicas: 4\nimage: web:1\n", "{why}");
        assert_eq!(lab.git.text(head, "deploy/new/cache.yaml").unwrap(), "kind: Cache\n", "{why}");
        assert_eq!(lab.git.text(head, "deploy/old.yaml"), None, "{why}");
        assert_eq!(lab.git.files_of(head)["deploy/run.sh"].0, "100755", "{why}: a script stays one");
        assert_eq!(lab.merges.len(), 1, "{why}: {:?}", lab.merges);
        assert_eq!(lab.merges[0]["sha"], json!(head), "{why}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_change_is_one_branch_with_one_commit_and_one_merge_request() {
    let (server, rig) = start().await;
    let base = server.with(|lab| lab.git.branches["main"].clone());
    let plan = rig.propose([open(&server)]).await.unwrap();
    assert!(server.asked().iter().all(|line| line.starts_with("GET ")), "a dry-run only reads");
    assert!(preview(&plan).contains("-replicas: 2\n+replicas: 4\n"), "{}", preview(&plan));
    assert!(preview(&plan).contains("rights: may push (access level 30)"), "{}", preview(&plan));
    let done = approve(&rig, &plan).await;
    assert_eq!(done.steps[0].status, StepStatus::Done, "{}", error(&done));
    assert!(output(&done).contains("merge_requests/1"), "{}", output(&done));
    assert_done_once(&server, &base, "done");
    let writes: Vec<_> = server.asked().into_iter().filter(|line| !line.starts_with("GET ")).collect();
    let expected =
        ["repository/commits", "merge_requests"].map(|end| format!("POST /api/v4/projects/infra/apps/shop/{end}"));
    assert_eq!(writes, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_4_an_answer_lost_at_any_request_leaves_one_branch_and_one_merge_request_after_a_retry() {
    for moment in [Moment::Before, Moment::After] {
        for at in 0.. {
            let (server, rig) = start().await;
            let base = server.with(|lab| lab.git.branches["main"].clone());
            let plan = rig.propose([open(&server)]).await.unwrap();
            server.asked();
            server.lose(at, moment);
            let first = approve(&rig, &plan).await;
            let why = format!("{moment:?} {at}: {}", error(&first));
            if server.is_waiting_to_lose() {
                assert!(at > 9, "so many requests there are: {at}");
                assert_eq!(first.steps[0].status, StepStatus::Done, "{why}");
                break;
            }
            let asked = server.asked();
            let visible = asked[..=at].iter().any(|line| line.starts_with("POST "));
            let expected = if visible { StepStatus::Interrupted } else { StepStatus::Failed };
            assert_eq!(first.steps[0].status, expected, "{why}");
            let second = again(&rig, &first).await;
            assert_eq!(second.steps[0].status, StepStatus::Done, "{why}, then {}", error(&second));
            assert_done_once(&server, &base, &why);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_of_that_name_with_other_commits_is_left_alone() {
    let (server, rig) = start().await;
    let plan = rig.propose([open(&server)]).await.unwrap();
    let branch = format!("rounds/{}-0", plan.id);
    let theirs = server.with(|lab| {
        lab.git.branches.insert(branch.clone(), lab.git.branches["main"].clone());
        lab.git.push(&branch, "mine", &[("deploy/web.yaml", Some("replicas: 9\n"))])
    });
    server.asked();
    let done = approve(&rig, &plan).await;
    assert_eq!(done.steps[0].status, StepStatus::Failed);
    assert!(error(&done).contains("that this step did not make"), "{}", error(&done));
    assert!(server.asked().iter().all(|line| line.starts_with("GET ")));
    assert_eq!(server.with(|lab| lab.git.branches[&branch].clone()), theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changed_since_is_not_overwritten() {
    let (server, rig) = start().await;
    let web = server.with(|lab| lab.git.files_of(&lab.git.branches["main"])["deploy/web.yaml"].1.clone());
    let step = open_with(json!([{ "path": "deploy/web.yaml", "content": "replicas: 5\n", "blobSha": web }]));
    let plan = rig.propose([step]).await.unwrap();
    server.with(|lab| lab.git.push("main", "scale", &[("deploy/web.yaml", Some("replicas: 3\n"))]));
    let done = approve(&rig, &plan).await;
    assert_eq!(done.steps[0].status, StepStatus::Failed);
    assert!(error(&done).contains("propose again"), "{}", error(&done));
    assert!(server.with(|lab| lab.made().is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revert_brings_back_files_and_their_modes() {
    let (server, rig) = start().await;
    let (before, commit) = server.with(|lab| {
        let before = lab.git.branches["main"].clone();
        let changes = [
            ("deploy/web.yaml", Some("replicas: 0\n")),
            ("deploy/run.sh", Some("#!/bin/sh\n")),
            ("deploy/old.yaml", None),
            ("100755:deploy/new.sh", Some("x\n")),
        ];
        (before, lab.git.push("main", "break it", &changes))
    });
    server.with(|lab| lab.git.push("main", "docs", &[("README.md", Some("later\n"))]));
    let step = StepSpec::new(
        "gitlab.revert_commit",
        json!({ "project": "infra/apps/shop", "targetBranch": "main", "commit": commit }),
    );
    let done = approve(&rig, &rig.propose([step]).await.unwrap()).await;
    assert_eq!(done.steps[0].status, StepStatus::Done, "{}", error(&done));
    server.with(|lab| {
        let head = lab.made().remove(0).1;
        let mut expected = lab.git.files_of(&before);
        expected.insert("README.md".into(), lab.git.files_of(&head)["README.md"].clone());
        assert_eq!(lab.git.files_of(&head), expected);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_script_comes_back_as_a_script() {
    let (server, rig) = start().await;
    let commit = server.with(|lab| lab.git.push("main", "no script", &[("deploy/run.sh", None)]));
    let step = StepSpec::new(
        "gitlab.revert_commit",
        json!({ "project": "infra/apps/shop", "targetBranch": "main", "commit": commit }),
    );
    let done = approve(&rig, &rig.propose([step]).await.unwrap()).await;
    assert_eq!(done.steps[0].status, StepStatus::Done, "{}", error(&done));
    server.with(|lab| assert_eq!(lab.git.files_of(&lab.made()[0].1)["deploy/run.sh"].0, "100755"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_run_with_named_variables_and_a_lost_answer_is_unknown() {
    let (server, rig) = start().await;
    let step = |variables: Value| {
        StepSpec::new(
            "gitlab.run_pipeline",
            json!({ "project": "infra/apps/shop", "ref": "main", "variables": variables }),
        )
    };
    let done = approve(&rig, &rig.propose([step(json!({ "SERVICE": "web" }))]).await.unwrap()).await;
    assert_eq!(done.steps[0].status, StepStatus::Done, "{}", error(&done));
    assert_eq!(
        server.with(|lab| lab.pipelines.clone()),
        [json!({ "ref": "main", "variables": [{ "key": "SERVICE", "value": "web" }] })]
    );
    assert!(refusal(&rig, step(json!({ "CI_DEBUG_TRACE": "true" }))).await.contains("accepted: SERVICE"));
    let plan = rig.propose([step(json!({}))]).await.unwrap();
    server.lose(1, Moment::After);
    let lost = approve(&rig, &plan).await;
    assert_eq!(lost.steps[0].status, StepStatus::Interrupted, "{}", error(&lost));
    let seen = output(&lost);
    assert!(seen.contains("pipeline 2 at 2026-01-02T03:04:05.000Z, \"running\""), "{seen}");
    assert!(seen.contains("None of them is known to be this step's"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_11_what_is_not_allowed_is_refused_before_anything_is_asked() {
    let (server, rig) = start().await;
    let with = |change: fn(&mut Value)| {
        let mut step = open_with(json!([{ "path": "deploy/x.yaml", "content": "x\n" }]));
        change(&mut step.params);
        step
    };
    for (step, says) in [
        (with(|p| p["project"] = "other/shop".into()), "accepted: infra/**"),
        (with(|p| p["project"] = "infra/../other".into()), "`group/project` is accepted"),
        (with(|p| p["changes"][0]["path"] = ".gitlab-ci.yml".into()), "allowPipelineFiles"),
        (with(|p| p["changes"][0]["path"] = "src/x".into()), "not accepted"),
        (with(|p| p["description"] = "fine\n/merge".into()), "may take for a command"),
        (with(|p| p["force"] = true.into()), "unknown field `force`"),
    ] {
        let said = refusal(&rig, step).await;
        assert!(said.contains(says), "{says}: {said}");
    }
    assert!(server.asked().is_empty());
    let nothing = adapter(json!({ "projects": [] }), TOKEN);
    let step = open_with(json!([{ "path": "deploy/x.yaml", "content": "x\n" }]));
    assert!(nothing.review(&step, Mode::Write).unwrap_err().message.contains("accepted: none"));
}

#[test]
fn what_is_reviewed_is_canonical() {
    let gitlab = adapter(config("https://gitlab.com"), TOKEN);
    let id = "A".repeat(40);
    let project = "infra/apps/shop";
    for (tier, step) in [
        (
            Tier::Write,
            open_with(
                json!([{ "path": "deploy/b", "content": "\u{202e}\n" }, { "path": "deploy/a", "delete": true, "blobSha": id }]),
            ),
        ),
        (
            Tier::Write,
            StepSpec::new("gitlab.revert_commit", json!({ "project": project, "targetBranch": "main", "commit": id })),
        ),
        (
            Tier::Write,
            StepSpec::new(
                "gitlab.run_pipeline",
                json!({ "project": project, "ref": "main", "variables": { "SERVICE": "a\nb" } }),
            ),
        ),
        (
            Tier::Read,
            StepSpec::new("gitlab.list_commits", json!({ "project": project, "ref": "main", "path": "deploy/a" })),
        ),
        (Tier::Read, StepSpec::new("gitlab.get_file", json!({ "project": project, "ref": id, "path": "deploy/a" }))),
        (Tier::Read, StepSpec::new("gitlab.get_merge_request", json!({ "project": project, "iid": 3 }))),
    ] {
        let once = gitlab.review(&step, Mode::Write).unwrap();
        assert_eq!(gitlab.review(&once.spec(), Mode::Write).unwrap(), once, "{}", once.command_text);
        assert!(!once.command_text.chars().any(char::is_control), "{}", once.command_text);
        assert_eq!(once.tier, tier);
        assert!(gitlab.describe().usage.contains(&step.kind));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_say_what_a_change_has_to_name() {
    let (server, rig) = start().await;
    let (tip, web) = server.with(|lab| {
        let tip = lab.git.branches["main"].clone();
        (tip.clone(), lab.git.files_of(&tip)["deploy/web.yaml"].1.clone())
    });
    rig.run([open(&server)]).await.unwrap();
    let project = "infra/apps/shop";
    let steps = [
        StepSpec::new("gitlab.get_file", json!({ "project": project, "path": "deploy/web.yaml", "ref": "main" })),
        StepSpec::new("gitlab.list_commits", json!({ "project": project, "ref": "main" })),
        StepSpec::new("gitlab.get_merge_request", json!({ "project": project, "iid": 1 })),
    ];
    let done = rig.run(steps).await.unwrap();
    let said: Vec<&str> = done.steps.iter().map(|step| step.output_text.as_deref().unwrap_or_default()).collect();
    assert!(said[0].contains(&format!("baseSha: {tip}\nblobSha: {web}")), "{}", said[0]);
    assert!(said[1].contains("\"A Person\" \"first\""), "{}", said[1]);
    assert!(said[2].contains("\"Scale web up\"") && said[2].contains("state: opened"), "{}", said[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_said_and_the_token_is_not() {
    let (server, rig) = start().await;
    for (said, words) in [
        (Said::new(429, json!({ "message": "Retry later" })).with("retry-after", 9), "left alone for 9 s: Retry later"),
        (Said::new(401, json!({ "message": "401 Unauthorized" })), "expired or revoked"),
        (
            Said::new(403, json!({ "error": "insufficient_scope", "error_description": "needs the api scope" })),
            "needs the api scope",
        ),
        (Said::new(400, json!({ "message": format!("token {TOKEN}") })), "repeats this connector's credential"),
    ] {
        server.force("repository/branches/main", said);
        let done = approve(&rig, &rig.propose([open(&server)]).await.unwrap()).await;
        assert_eq!(done.steps[0].status, StepStatus::Failed, "{words}");
        assert!(error(&done).contains(words) && !format!("{done:?}").contains(TOKEN), "{words}: {}", error(&done));
        server.calm();
    }
    assert!(!format!("{:?}", adapter(config(&server.url), TOKEN)).contains(TOKEN));
    server.with(|lab| lab.level = 20);
    let plan = rig.propose([open(&server)]).await.unwrap();
    assert!(preview(&plan).contains("the step would fail"), "{}", preview(&plan));
    let done = approve(&rig, &plan).await;
    assert_eq!(done.steps[0].status, StepStatus::Failed, "a refused commit has not started: {}", error(&done));
    assert!(error(&done).contains("403"), "{}", error(&done));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_test_says_version_and_rights() {
    let server = Server::start(Lab::new()).await;
    let cx = CallContext::with_timeout(Duration::from_secs(5));
    let mut named = config(&server.url);
    named["projects"] = json!(["infra/apps/shop"]);
    let able = adapter(named.clone(), TOKEN).check(&cx).await.unwrap();
    assert_eq!(able.message, "reached GitLab 17.9.0-ee; infra/apps/shop: may push (access level 30)");
    assert!(able.lack.is_none() && able.facts["warning"].contains("travels unencrypted"), "{able:?}");
    server.with(|lab| lab.level = 20);
    let lack = adapter(named.clone(), TOKEN).check(&cx).await.unwrap().lack.unwrap();
    assert!(lack.contains("may not push (access level 20"), "{lack}");
    named["projects"] = json!([]);
    let none = adapter(named, TOKEN);
    assert!(none.check(&cx).await.unwrap().lack.unwrap().contains("`projects` is empty"));
    assert_eq!(none.describe().step_timeout.unwrap().as_secs(), 120);
    let refused = adapter(config(&server.url), "glpat-wrong").check(&cx).await.unwrap_err().to_string();
    assert!(refused.contains("401") && !refused.contains("glpat-wrong"), "{refused}");
    let config: GitlabConfig = serde_json::from_value(config(&format!("{}/api/v4", server.url))).unwrap();
    assert!(Gitlab::new(context(TOKEN), config).unwrap_err().to_string().contains("/api/v4"));
}

#[test]
fn the_documented_config_is_one() {
    adapter(super::documented(include_str!("../../../../docs/connectors/gitlab.md")), TOKEN);
}
