//! `github`: what people approve is what is there afterwards, once, and nothing else.

use std::sync::Arc;

use rounds_connectors::github::{Github, GithubConfig};
use rounds_core::plan::{Plan, StepStatus};
use rounds_core::ports::{CallContext, ExecutionAdapter as _};
use rounds_core::step::{Mode, StepSpec, Tier};
use rounds_core::testing::AdapterRig;
use serde_json::{Value, json};

use super::hub::{Hub, TOKEN, message};
use super::server::{Moment, Said, Server};
use super::{again, approve, context, error, output, preview, refusal};

pub(super) fn config(url: &str) -> Value {
    json!({
        "baseUrl": url,
        "repositories": ["acme/shop"],
        "paths": ["deploy/**", "src/**", ".github/**", "CODEOWNERS"],
        "readPaths": ["README.md"],
        "workflows": ["restart.yml", "failover.yml"],
        "destructiveWorkflows": ["failover.yml"],
        "refs": ["main", "release/*"],
    })
}

pub(super) fn adapter(config: Value, secret: &str) -> Arc<Github> {
    let config: GithubConfig = serde_json::from_value(config).unwrap();
    Arc::new(Github::new(context(secret), config).unwrap())
}

pub(super) async fn start() -> (Server<Hub>, AdapterRig) {
    let server = Server::start(Hub::new()).await;
    let rig = super::rig(adapter(config(&server.url), TOKEN)).await;
    (server, rig)
}

fn open_with(changes: Value) -> StepSpec {
    StepSpec::new(
        "github.open_pull_request",
        json!({
            "repository": "acme/shop",
            "base": "main",
            "title": "Scale web up",
            "body": "Load has doubled.",
            "changes": changes,
        }),
    )
}

fn open(server: &Server<Hub>) -> StepSpec {
    let old = server.with(|hub| hub.git.files_of(&hub.git.branches["main"])["deploy/old.yaml"].1.clone());
    open_with(json!([
        { "path": "deploy/web.yaml", "replace": [{ "old": "replicas: 2", "new": "replicas: 4" }] },
        { "path": "deploy/new/cache.yaml", "content": "kind: Cache\n" },
        { "path": "deploy/old.yaml", "delete": true, "blobSha": old },
        { "path": "deploy/run.sh", "replace": [{ "old": "#!/bin/sh", "new": "#!/bin/sh -e" }] },
    ]))
}

/// What an executed `open` must have left: one branch, one commit on top of `main`, one pull request.
fn assert_done_once(server: &Server<Hub>, base: &str, why: &str) {
    server.with(|hub| {
        assert_eq!(hub.git.branches["main"], base, "{why}: the base branch is not pushed to");
        let made = hub.made();
        assert_eq!(made.len(), 1, "{why}: {made:?}");
        let (branch, head) = &made[0];
        assert!(branch.starts_with("rounds/") && branch.ends_with("-0"), "{why}: {branch}");
        let (_, parents, message) = hub.git.parts(head).unwrap();
        assert_eq!(parents, [base], "{why}");
        assert!(message.starts_with("Scale web up\n\nRounds-Plan: "), "{why}: {message}");
        assert_eq!(hub.git.text(head, "deploy/web.yaml").unwrap(), "replicas: 4\nimage: web:1\n", "{why}");
        assert_eq!(hub.git.text(head, "deploy/new/cache.yaml").unwrap(), "kind: Cache\n", "{why}");
        assert_eq!(hub.git.text(head, "deploy/old.yaml"), None, "{why}");
        let files = hub.git.files_of(head);
        assert_eq!(files["deploy/run.sh"].0, "100755", "{why}: a script stays one");
        assert_eq!(files["README.md"], hub.git.files_of(base)["README.md"], "{why}");
        assert_eq!(hub.pulls.len(), 1, "{why}: {:?}", hub.pulls);
        assert_eq!(
            (&hub.pulls[0]["head"]["sha"], &hub.pulls[0]["base"]["ref"]),
            (&json!(head), &json!("main")),
            "{why}"
        );
    });
}

fn main_of(server: &Server<Hub>) -> String {
    server.with(|hub| hub.git.branches["main"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_change_is_one_branch_with_one_commit_and_one_pull_request() {
    let (server, rig) = start().await;
    let base = main_of(&server);
    let plan = rig.propose([open(&server)]).await.unwrap();
    assert!(server.asked().iter().all(|line| line.starts_with("GET ")), "a dry-run only reads");
    let shown = preview(&plan);
    for part in [
        &format!("base: acme/shop main at {base}"),
        "rights: may push",
        "-replicas: 2\n+replicas: 4\n",
        "--- /dev/null\n+++ b/deploy/new/cache.yaml",
        "+++ /dev/null",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let review = &plan.steps[0].review;
    assert!(review.command_text.contains(r#"replace "replicas: 2" by "replicas: 4""#), "{}", review.command_text);
    assert_eq!((review.tier, review.idempotent), (Tier::Write, true));
    let targets: Vec<String> = review.targets.iter().map(ToString::to_string).collect();
    assert!(targets.contains(&"path/acme/shop:deploy/web.yaml".to_owned()), "{targets:?}");
    let done = approve(&rig, &plan).await;
    assert_eq!(done.steps[0].status, StepStatus::Done, "{}", error(&done));
    assert!(output(&done).contains("https://github.example/acme/shop/pull/1"), "{}", output(&done));
    assert_done_once(&server, &base, "done");
    let text = server.with(|hub| hub.pulls[0]["body"].as_str().unwrap().to_owned());
    assert!(
        text.starts_with("Load has doubled.")
            && text.contains(&format!("https://rounds.example.com/plans/{}", plan.id))
    );
    let asked = server.asked();
    let writes: Vec<_> = asked.iter().filter(|line| !line.starts_with("GET ")).collect();
    assert!(
        writes.iter().all(|line| line.starts_with("POST /repos/acme/shop/")),
        "nothing is moved, merged or deleted: {writes:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_4_an_answer_lost_at_any_request_leaves_one_branch_and_one_pull_request_after_a_retry() {
    for moment in [Moment::Before, Moment::After] {
        for at in 0.. {
            let (server, rig) = start().await;
            let base = main_of(&server);
            let plan = rig.propose([open(&server)]).await.unwrap();
            server.asked();
            server.lose(at, moment);
            let first = approve(&rig, &plan).await;
            let why = format!("{moment:?} {at}: {}", error(&first));
            if server.is_waiting_to_lose() {
                assert!(at > 12, "so many requests there are: {at}");
                assert_eq!(first.steps[0].status, StepStatus::Done, "{why}");
                break;
            }
            let asked = server.asked();
            let lost = &asked[at];
            // Nothing is seen before the ref; from it on, nobody knows.
            let visible = asked[..=at].iter().any(|line| line.ends_with("/git/refs"));
            let expected = if visible { StepStatus::Interrupted } else { StepStatus::Failed };
            assert_eq!(first.steps[0].status, expected, "{why} {lost}");
            let second = again(&rig, &first).await;
            assert_eq!(second.steps[0].status, StepStatus::Done, "{why}, then {} {lost}", error(&second));
            assert_done_once(&server, &base, &why);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_4_a_refused_ref_has_not_started_and_a_broken_server_leaves_it_open() {
    for (said, status) in [
        (message(403, "Resource not accessible by personal access token"), StepStatus::Failed),
        (message(409, "Git Repository is empty."), StepStatus::Failed),
        (message(502, "Server Error"), StepStatus::Interrupted),
        (Said::new(307, json!({ "url": "https://elsewhere.example" })), StepStatus::Failed),
    ] {
        let (server, rig) = start().await;
        let plan = rig.propose([open(&server)]).await.unwrap();
        let why = said.body.to_string();
        server.force("POST /repos/acme/shop/git/refs", said);
        let done = approve(&rig, &plan).await;
        assert_eq!(done.steps[0].status, status, "{why}: {}", error(&done));
        assert!(server.with(|hub| hub.made().is_empty()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_that_is_refused_leaves_a_branch_that_a_retry_goes_on_from() {
    let (server, rig) = start().await;
    let base = main_of(&server);
    let plan = rig.propose([open(&server)]).await.unwrap();
    server.force("POST /repos/acme/shop/pulls", message(403, "Resource not accessible by integration"));
    let first = approve(&rig, &plan).await;
    assert_eq!(first.steps[0].status, StepStatus::Failed);
    assert!(
        error(&first).contains("is there (commit") && error(&first).contains("A retry finds it"),
        "{}",
        error(&first)
    );
    server.calm();
    let second = again(&rig, &first).await;
    assert_eq!(second.steps[0].status, StepStatus::Done, "{}", error(&second));
    assert_done_once(&server, &base, "after a retry");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_of_that_name_with_other_commits_is_left_alone() {
    type Meddle = fn(&mut Hub, &str);
    let cases: [(&str, Meddle); 3] = [
        ("somebody else's", |hub, branch| {
            hub.git.branches.insert(branch.into(), hub.git.branches["main"].clone());
            hub.git.push(branch, "mine", &[("deploy/web.yaml", Some("replicas: 9\n"))]);
        }),
        ("the base itself", |hub, branch| {
            hub.git.branches.insert(branch.into(), hub.git.branches["main"].clone());
        }),
        ("the right message with other changes", |hub, branch| {
            hub.git.branches.insert(branch.into(), hub.git.branches["main"].clone());
            let plan = branch.strip_prefix("rounds/").unwrap().strip_suffix("-0").unwrap().to_owned();
            let message = format!("Scale web up\n\nRounds-Plan: {plan}\nRounds-Step: 0");
            let evil = [
                ("deploy/web.yaml", Some("replicas: 4\nimage: evil:1\n")),
                ("deploy/new/cache.yaml", Some("kind: Cache\n")),
                ("deploy/old.yaml", None),
                ("100755:deploy/run.sh", Some("#!/bin/sh -e\n")),
            ];
            hub.git.push(branch, &message, &evil);
        }),
    ];
    for (why, meddle) in cases {
        let (server, rig) = start().await;
        let plan = rig.propose([open(&server)]).await.unwrap();
        let branch = format!("rounds/{}-0", plan.id);
        let before = server.with(|hub| {
            meddle(hub, &branch);
            hub.git.branches.clone()
        });
        server.asked();
        let done = approve(&rig, &plan).await;
        assert_eq!(done.steps[0].status, StepStatus::Failed, "{why}");
        assert!(error(&done).contains("that this step did not make"), "{why}: {}", error(&done));
        assert!(server.asked().iter().all(|line| line.starts_with("GET ")), "{why}: nothing was written");
        assert_eq!(server.with(|hub| hub.git.branches.clone()), before, "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_people_added_to_the_branch_are_not_taken_for_the_steps_own() {
    let (server, rig) = start().await;
    let plan = rig.propose([open(&server)]).await.unwrap();
    server.force("POST /repos/acme/shop/pulls", message(403, "no"));
    let first = approve(&rig, &plan).await;
    server.calm();
    let branch = format!("rounds/{}-0", plan.id);
    server.with(|hub| hub.git.push(&branch, "more", &[("deploy/web.yaml", Some("x\n"))]));
    let second = again(&rig, &first).await;
    assert!(error(&second).contains("that this step did not make"), "{}", error(&second));
    assert!(server.with(|hub| hub.pulls.is_empty()));
}

/// Approves a plan whose last answer, that the pull request is open, is lost.
async fn lost_at_the_end(server: &Server<Hub>, rig: &AdapterRig, plan: &Plan) -> Plan {
    let requests = {
        let (other, rig) = start().await;
        let plan = rig.propose([open(&other)]).await.unwrap();
        other.asked();
        approve(&rig, &plan).await;
        other.asked().len()
    };
    server.lose(requests - 1, Moment::After);
    let first = approve(rig, plan).await;
    assert_eq!(first.steps[0].status, StepStatus::Interrupted);
    first
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_that_people_took_and_tidied_away_is_not_opened_again() {
    let (server, rig) = start().await;
    let plan = rig.propose([open(&server)]).await.unwrap();
    // Its answer is lost; then it is merged and its branch deleted.
    let first = lost_at_the_end(&server, &rig, &plan).await;
    server.with(|hub| {
        let (branch, head) = hub.made().remove(0);
        hub.git.branches.insert("main".into(), head);
        hub.git.branches.remove(&branch);
        hub.pulls[0]["state"] = "closed".into();
        hub.pulls[0]["merged_at"] = "2026-01-01T00:00:00Z".into();
    });
    let second = again(&rig, &first).await;
    assert_eq!(second.steps[0].status, StepStatus::Done, "{}", error(&second));
    assert!(output(&second).contains("was there already (merged)"), "{}", output(&second));
    assert!(server.with(|hub| hub.made().is_empty() && hub.pulls.len() == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_that_people_closed_is_no_success_of_a_retry() {
    for tidied in [false, true] {
        let (server, rig) = start().await;
        let plan = rig.propose([open(&server)]).await.unwrap();
        let first = lost_at_the_end(&server, &rig, &plan).await;
        server.with(|hub| {
            hub.pulls[0]["state"] = "closed".into();
            if tidied {
                let (branch, _) = hub.made().remove(0);
                hub.git.branches.remove(&branch);
            }
        });
        let second = again(&rig, &first).await;
        assert_eq!(second.steps[0].status, StepStatus::Failed, "{}", output(&second));
        assert!(error(&second).contains("people closed"), "{}", error(&second));
        assert_eq!(server.with(|hub| hub.pulls.len()), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_1_what_was_not_seen_is_not_overwritten() {
    let (server, rig) = start().await;
    let (base, web) = server.with(|hub| {
        let base = hub.git.branches["main"].clone();
        (base.clone(), hub.git.files_of(&base)["deploy/web.yaml"].1.clone())
    });
    let whole = |pin: Value| {
        let mut change = json!({ "path": "deploy/web.yaml", "content": "replicas: 5\n" });
        if let Value::String(id) = pin {
            change["blobSha"] = id.into();
        }
        open_with(json!([change]))
    };
    let unseen = approve(&rig, &rig.propose([whole(Value::Null)]).await.unwrap()).await;
    assert!(error(&unseen).contains("is there already") && error(&unseen).contains(&web), "{}", error(&unseen));
    let pinned = rig.propose([whole(web.clone().into())]).await.unwrap();
    let mut against = open_with(json!([{ "path": "deploy/web.yaml", "content": "replicas: 6\n" }]));
    against.params["baseSha"] = base.into();
    let against = rig.propose([against]).await.unwrap();
    let exact =
        open_with(json!([{ "path": "deploy/web.yaml", "replace": [{ "old": "replicas: 2", "new": "replicas: 4" }] }]));
    let exact = rig.propose([exact]).await.unwrap();
    // Another file moves on: no harm. Then the file itself.
    server.with(|hub| hub.git.push("main", "docs", &[("README.md", Some("more\n"))]));
    server.with(|hub| hub.git.push("main", "scale", &[("deploy/web.yaml", Some("replicas: 3\n"))]));
    for (why, plan) in [("blobSha", pinned), ("baseSha", against), ("an exact text", exact)] {
        let done = approve(&rig, &plan).await;
        assert_eq!(done.steps[0].status, StepStatus::Failed, "{why}");
        let said = error(&done);
        assert!(said.contains("propose again") || said.contains("0 times"), "{why}: {said}");
    }
    assert!(server.with(|hub| hub.made().is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moved_beside_the_change_does_no_harm() {
    let (server, rig) = start().await;
    let base = main_of(&server);
    let mut step = open_with(json!([{ "path": "deploy/web.yaml", "content": "replicas: 5\n" }]));
    step.params["baseSha"] = base.into();
    let plan = rig.propose([step]).await.unwrap();
    let now = server.with(|hub| hub.git.push("main", "docs", &[("README.md", Some("more\n"))]));
    let done = approve(&rig, &plan).await;
    assert_eq!(done.steps[0].status, StepStatus::Done, "{}", error(&done));
    let head = server.with(|hub| hub.made().remove(0).1);
    assert_eq!(server.with(|hub| hub.git.parts(&head).unwrap().1), [now]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_11_what_is_not_allowed_is_refused_before_anything_is_asked() {
    let (server, rig) = start().await;
    let with = |change: fn(&mut Value)| {
        let mut step = open_with(json!([{ "path": "deploy/x.yaml", "content": "x\n" }]));
        change(&mut step.params);
        step
    };
    let cases: [(StepSpec, &str); 14] = [
        (with(|p| p["title"] = "x [skip ci]".into()), "title: found \"[skip ci]\", which leaves checks out"),
        (with(|p| p["body"] = "Fixes acme/shop#1".into()), "body: found \"Fixes acme/shop#1\", which closes an issue"),
        (with(|p| p["repository"] = "acme/other".into()), "accepted: acme/shop"),
        (with(|p| p["changes"][0]["path"] = "README.md".into()), "the path `README.md` is not accepted"),
        (with(|p| p["changes"][0]["path"] = "deploy/../README.md".into()), "holds `.` or `..`"),
        (with(|p| p["changes"][0]["path"] = "/deploy/x".into()), "starts or ends with `/`"),
        (with(|p| p["changes"][0]["path"] = ".github/workflows/x.yml".into()), "allowPipelineFiles"),
        (with(|p| p["changes"][0]["path"] = ".GitHub/Workflows/x.yml".into()), "allowPipelineFiles"),
        (with(|p| p["changes"][0]["path"] = "CODEOWNERS".into()), "allowPipelineFiles"),
        (with(|p| p["base"] = "refs/heads/main".into()), "without `refs/heads/`"),
        (with(|p| p["merge"] = true.into()), "unknown field `merge`"),
        (with(|p| p["title"] = "two\nlines".into()), "title: found"),
        (
            StepSpec::new(
                "github.dispatch_workflow",
                json!({ "repository": "acme/shop", "workflow": "ci.yml", "ref": "main" }),
            ),
            "accepted: restart.yml, failover.yml",
        ),
        (
            StepSpec::new(
                "github.dispatch_workflow",
                json!({ "repository": "acme/shop", "workflow": "restart.yml", "ref": "dev" }),
            ),
            "accepted: main, release/*",
        ),
    ];
    for (step, says) in cases {
        let said = refusal(&rig, step).await;
        assert!(said.contains(says), "{says}: {said}");
    }
    let file =
        StepSpec::new("github.get_file", json!({ "repository": "acme/shop", "path": "secrets.env", "ref": "main" }));
    assert!(refusal(&rig, file).await.contains("not accepted"));
    assert!(server.asked().is_empty());
}

#[test]
fn rule_11_empty_lists_permit_nothing() {
    let github = adapter(json!({ "repositories": [] }), TOKEN);
    let step = open_with(json!([{ "path": "deploy/x.yaml", "content": "x\n" }]));
    assert!(github.review(&step, Mode::Write).unwrap_err().message.contains("accepted: none"));
    let github = adapter(json!({ "repositories": ["acme/*"] }), TOKEN);
    assert!(github.review(&step, Mode::Write).unwrap_err().message.contains("accepted: none"));
    let dispatch = StepSpec::new(
        "github.dispatch_workflow",
        json!({ "repository": "acme/shop", "workflow": "restart.yml", "ref": "main" }),
    );
    assert!(github.review(&dispatch, Mode::Write).unwrap_err().message.contains("accepted: none"));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_folders_and_tricks_with_case_are_neither_followed_nor_made() {
    let (server, rig) = start().await;
    for (path, says) in [
        ("deploy/link", "symbolic link"),
        ("deploy/link/x.yaml", "symbolic link"),
        ("deploy/web.yaml/x", "is a file, not a folder"),
        ("deploy/Web.yaml", "differs only in case"),
    ] {
        let plan = rig.propose([open_with(json!([{ "path": path, "content": "x\n" }]))]).await.unwrap();
        assert!(preview(&plan).contains(says) || plan.steps[0].dry_run_text.is_none(), "{path}: {}", preview(&plan));
        let done = approve(&rig, &plan).await;
        assert_eq!(done.steps[0].status, StepStatus::Failed, "{path}");
        assert!(error(&done).contains(says), "{path}: {}", error(&done));
    }
    assert!(server.with(|hub| hub.made().is_empty()));
}

#[test]
fn what_is_reviewed_is_canonical_and_what_is_shown_is_in_one_line() {
    let github = adapter(config("https://api.github.com"), TOKEN);
    let id = "A".repeat(40);
    for step in [
        StepSpec::new(
            "github.open_pull_request",
            json!({
                "repository": "ACME/Shop", "base": "main", "title": "  a \"title\"  ", "body": "one\r\ntwo ✅\u{fe0f}", "baseSha": id,
                "changes": [{ "path": "src/b", "content": "x\n\u{1b}[31m\u{202e}" }, { "path": "deploy/a", "delete": true }],
            }),
        ),
        StepSpec::new(
            "github.revert_commit",
            json!({ "repository": "acme/shop", "base": "main", "commit": id, "parent": 1 }),
        ),
        StepSpec::new(
            "github.dispatch_workflow",
            json!({ "repository": "acme/shop", "workflow": "failover.yml", "ref": "release/1", "inputs": { "n": 3, "dry": true, "why": "x\ny" } }),
        ),
        StepSpec::new("github.list_commits", json!({ "repository": "acme/shop", "ref": "main" })),
        StepSpec::new("github.get_file", json!({ "repository": "acme/shop", "ref": id, "path": "README.md" })),
        StepSpec::new("github.get_pull_request", json!({ "repository": "acme/shop", "number": 3 })),
    ] {
        let once = github.review(&step, Mode::Write).unwrap();
        assert_eq!(github.review(&once.spec(), Mode::Write).unwrap(), once, "{}", once.command_text);
        assert!(!once.command_text.chars().any(char::is_control), "{}", once.command_text);
        assert!(once.targets.iter().all(|target| target.namespace.is_none()));
        let tier = match step.kind.as_str() {
            "github.dispatch_workflow" => Tier::Destructive,
            kind if kind.contains("get_") || kind.contains("list_") => Tier::Read,
            _ => Tier::Write,
        };
        assert_eq!(once.tier, tier, "{}", step.kind);
        assert!(github.describe().usage.contains(&step.kind));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_the_approver_sees_whole_contents_and_marks_that_cannot_be_seen() {
    let (_server, rig) = start().await;
    let step = open_with(json!([{ "path": "deploy/x.yaml", "content": "a: 1\n\u{202e}b\u{200b}: 2\n" }]));
    let plan = rig.propose([step]).await.unwrap();
    let notes = plan.steps[0].review.notes.join("\n");
    assert!(notes.contains("| a: 1\n| \\u{202e}b\\u{200b}: 2"), "{notes}");
    assert!(preview(&plan).contains("+\\u{202e}b\\u{200b}: 2"), "{}", preview(&plan));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_dispatched_once_and_a_lost_answer_is_unknown() {
    let (server, rig) = start().await;
    let tip = main_of(&server);
    let step = |sha: &str| {
        StepSpec::new(
            "github.dispatch_workflow",
            json!({ "repository": "acme/shop", "workflow": "restart.yml", "ref": "main", "inputs": { "service": "web", "n": 2 }, "refSha": sha }),
        )
    };
    let plan = rig.propose([step(&tip)]).await.unwrap();
    assert!(preview(&plan).contains("\"Restart\" (.github/workflows/restart.yml), active"), "{}", preview(&plan));
    let done = approve(&rig, &plan).await;
    assert_eq!(done.steps[0].status, StepStatus::Done, "{}", error(&done));
    assert_eq!(
        server.with(|hub| hub.dispatched.clone()),
        [json!({ "ref": "main", "inputs": { "service": "web", "n": "2" }, "return_run_details": true })]
    );
    assert!(output(&done).contains("run 101: https://github.com/acme/shop/actions/runs/101"), "{}", output(&done));
    let plan = rig.propose([step(&tip)]).await.unwrap();
    server.lose(1, Moment::After);
    let lost = approve(&rig, &plan).await;
    assert_eq!(lost.steps[0].status, StepStatus::Interrupted, "{}", error(&lost));
    // Whoever has to find out sees what there is; none of it is taken for this step's.
    let seen = output(&lost);
    assert!(seen.contains("run 102 at 2026-01-02T03:04:05Z by \"rounds[bot]\", \"queued\""), "{seen}");
    assert!(seen.contains("run 101 ") && seen.contains("None of them is known to be this step's"), "{seen}");
    let moved = rig.propose([step(&"b".repeat(40))]).await.unwrap();
    let moved = approve(&rig, &moved).await;
    assert!(error(&moved).contains("has moved on"), "{}", error(&moved));
    assert_eq!(server.with(|hub| hub.dispatched.len()), 2);
    // A server that does not know how to say which run it is refuses the word, and is asked without it.
    server.with(|hub| hub.tells_runs = false);
    let plan = rig.propose([step(&tip)]).await.unwrap();
    let done = approve(&rig, &plan).await;
    assert_eq!(done.steps[0].status, StepStatus::Done, "{}", error(&done));
    assert!(output(&done).contains("on the repository's Actions page"), "{}", output(&done));
    let last = server.with(|hub| (hub.dispatched.len(), hub.dispatched[2].clone()));
    assert_eq!(last, (3, json!({ "ref": "main", "inputs": { "service": "web", "n": "2" } })));
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_say_what_a_change_has_to_name() {
    let (server, rig) = start().await;
    let (tip, web) = server.with(|hub| {
        let tip = hub.git.branches["main"].clone();
        (tip.clone(), hub.git.files_of(&tip)["deploy/web.yaml"].1.clone())
    });
    let file = StepSpec::new(
        "github.get_file",
        json!({ "repository": "acme/shop", "path": "deploy/web.yaml", "ref": "main" }),
    );
    let commits = StepSpec::new("github.list_commits", json!({ "repository": "acme/shop", "ref": "main", "limit": 5 }));
    let done = rig.run([file, commits]).await.unwrap();
    let said: Vec<&str> = done.steps.iter().map(|step| step.output_text.as_deref().unwrap_or_default()).collect();
    assert!(
        said[0].contains(&format!("baseSha: {tip}\nblobSha: {web}")) && said[0].contains("replicas: 2"),
        "{}",
        said[0]
    );
    assert!(said[1].starts_with(&format!("{tip} 2026-01-02T03:04:05Z \"A Person\" \"first\"")), "{}", said[1]);
    rig.run([open(&server)]).await.unwrap();
    let pull = StepSpec::new("github.get_pull_request", json!({ "repository": "acme/shop", "number": 1 }));
    let done = rig.run([pull]).await.unwrap();
    assert!(output(&done).contains("\"Scale web up\"") && output(&done).contains("state: open"), "{}", output(&done));
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limits_and_refusals_are_said_so_that_somebody_can_act() {
    let (server, rig) = start().await;
    let limited = message(403, "API rate limit exceeded for user ID 1.")
        .with("x-ratelimit-remaining", 0)
        .with("date", "Thu, 01 Jan 2026 00:00:00 GMT")
        .with("x-ratelimit-reset", 1_767_225_660);
    let secondary = message(429, "You have exceeded a secondary rate limit.").with("retry-after", 30);
    let told =
        message(403, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.");
    for (said, words) in [
        (limited, "rate limited (403 Forbidden); it asks to be left alone for 60 s"),
        (secondary, "rate limited (429 Too Many Requests); it asks to be left alone for 30 s"),
        (told, "rate limited (403 Forbidden): You have exceeded a secondary"),
        (message(401, "Bad credentials"), "expired or revoked"),
        (message(403, "Resource not accessible by personal access token"), "lacks a right"),
        (message(301, "Moved Permanently"), "redirects are not followed"),
        (Said::new(200, json!("<html>")), "not what was expected"),
        (Said::new(503, json!("<html>a gateway's page</html>")), "503"),
    ] {
        server.force("/git/ref/heads/main", said);
        let plan = rig.propose([open(&server)]).await.unwrap();
        let done = approve(&rig, &plan).await;
        assert_eq!(done.steps[0].status, StepStatus::Failed, "{words}");
        assert!(error(&done).contains(words), "{words}: {}", error(&done));
        server.calm();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_12_the_token_is_in_no_error_output_or_debug_whoever_repeats_it() {
    let (server, rig) = start().await;
    let github = adapter(config(&server.url), TOKEN);
    assert!(!format!("{github:?}").contains(TOKEN));
    for said in [
        message(403, &format!("Bearer {TOKEN} is not allowed")),
        Said::new(200, json!({ "ref": "refs/heads/main", "object": { "sha": TOKEN } })),
        Said::new(500, json!(format!("trace: {TOKEN}"))),
    ] {
        server.force("/git/ref/heads/main", said);
        let plan = rig.propose([open(&server)]).await.unwrap();
        let done = approve(&rig, &plan).await;
        let told = format!("{done:?}");
        assert!(!told.contains(TOKEN) && told.contains("repeats this connector's credential"), "{}", error(&done));
        server.calm();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_test_says_what_the_credential_may_do() {
    let server = Server::start(Hub::new()).await;
    let cx = CallContext::with_timeout(std::time::Duration::from_secs(5));
    let github = adapter(config(&server.url), TOKEN);
    let able = github.check(&cx).await.unwrap();
    assert_eq!((able.message.as_str(), &able.lack), ("reached GitHub. acme/shop: may push", &None));
    assert!(able.facts["warning"].contains("travels unencrypted"), "{:?}", able.facts);
    server.with(|hub| hub.may_push = false);
    assert!(github.check(&cx).await.unwrap().lack.unwrap().contains("may not push"));
    server.with(|hub| hub.archived = true);
    assert!(github.check(&cx).await.unwrap().lack.unwrap().contains("archived"));
    let mut none = config(&server.url);
    none["repositories"] = json!([]);
    assert!(adapter(none, TOKEN).check(&cx).await.unwrap().lack.unwrap().contains("`repositories` is empty"));
    let stranger = adapter(config(&server.url), "github_pat_wrong");
    let refused = stranger.check(&cx).await.unwrap_err().to_string();
    assert!(refused.contains("401") && !refused.contains("github_pat_wrong"), "{refused}");
    let nonsense = adapter(config(&server.url), "two words");
    assert!(nonsense.check(&cx).await.unwrap_err().to_string().contains("no token"));
}

#[test]
fn a_step_may_take_longer_than_one_of_its_requests() {
    let mut slow = config("https://api.github.com");
    assert_eq!(adapter(slow.clone(), TOKEN).describe().step_timeout.unwrap().as_secs(), 120);
    slow["timeoutSec"] = json!(300);
    assert_eq!(adapter(slow, TOKEN).describe().step_timeout.unwrap().as_secs(), 400);
}

#[test]
fn a_wrong_config_names_the_field_and_what_is_accepted() {
    for (field, value, says) in [
        ("baseUrl", json!("ftp://x"), "baseUrl: found neither http"),
        ("baseUrl", json!("https://user:pw@x"), "baseUrl: found a user name"),
        ("repositories", json!(["acme"]), "repositories[0]"),
        ("paths", json!(["/etc"]), "paths[0]"),
        ("refs", json!(["a["]), "refs[0]"),
        ("workflows", json!(["../x.yml"]), "workflows[0]"),
        ("destructiveWorkflows", json!(["other.yml"]), "one of `workflows` is accepted"),
        ("timeoutSec", json!(0), "timeoutSec: found 0; 1 to 300"),
        ("app", json!({ "appId": "", "installationId": 1 }), "app.appId"),
    ] {
        let mut config = config("https://api.github.com");
        config[field] = value;
        let config: GithubConfig = serde_json::from_value(config).unwrap();
        let refused = Github::new(context(TOKEN), config).unwrap_err().to_string();
        assert!(refused.contains(says), "{says}: {refused}");
    }
    let unknown = serde_json::from_value::<GithubConfig>(json!({ "repositories": [], "repos": [] })).unwrap_err();
    assert!(unknown.to_string().contains("unknown field `repos`"));
    // An address of inside is not called unless the operator of the server allows it.
    let config: GithubConfig = serde_json::from_value(config("http://10.0.0.1")).unwrap();
    assert!(Github::new(context(TOKEN), config).unwrap_err().to_string().contains("ROUNDS_OUTBOUND_ALLOW"));
}

#[test]
fn the_documented_config_is_one() {
    let page = include_str!("../../../../docs/connectors/github.md");
    adapter(super::documented(page), TOKEN);
}
