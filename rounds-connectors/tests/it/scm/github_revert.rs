//! `github.revert_commit`: exactly what one commit did is taken back, or nothing.

use rounds_core::plan::StepStatus;
use rounds_core::step::StepSpec;
use serde_json::json;

use super::github::start;
use super::server::{Moment, Server};
use super::{again, approve, error, hub::Hub, output, preview};

fn revert(commit: &str) -> StepSpec {
    StepSpec::new("github.revert_commit", json!({ "repository": "acme/shop", "base": "main", "commit": commit }))
}

/// A commit that changes, adds and deletes.
fn bad(server: &Server<Hub>) -> (String, String) {
    server.with(|hub| {
        let before = hub.git.branches["main"].clone();
        let changes = [
            ("deploy/web.yaml", Some("replicas: 0\n")),
            ("deploy/more/new.yaml", Some("x\n")),
            ("deploy/run.sh", None),
        ];
        (before, hub.git.push("main", "scale to zero", &changes))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revert_brings_back_what_was_there_and_touches_nothing_else() {
    let (server, rig) = start().await;
    let (before, commit) = bad(&server);
    let now = server.with(|hub| hub.git.push("main", "docs", &[("README.md", Some("later\n"))]));
    let plan = rig.propose([revert(&commit)]).await.unwrap();
    assert!(preview(&plan).contains("-replicas: 0\n+replicas: 2\n"), "{}", preview(&plan));
    let done = approve(&rig, &plan).await;
    assert_eq!(done.steps[0].status, StepStatus::Done, "{}", error(&done));
    assert!(output(&done).contains("pull/1"));
    server.with(|hub| {
        let head = hub.made().remove(0).1;
        let (_, parents, message) = hub.git.parts(&head).unwrap();
        assert_eq!(parents, [now]);
        assert!(message.contains(&format!("This reverts commit {commit}.")), "{message}");
        let mut expected = hub.git.files_of(&before);
        expected.insert("README.md".into(), hub.git.files_of(&head)["README.md"].clone());
        assert_eq!(hub.git.files_of(&head), expected);
        assert_eq!(hub.git.text(&head, "README.md").unwrap(), "later\n");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_later_commits_touched_is_not_taken_back() {
    let (server, rig) = start().await;
    let (_, commit) = bad(&server);
    server.with(|hub| hub.git.push("main", "tune", &[("deploy/web.yaml", Some("replicas: 1\n"))]));
    let done = approve(&rig, &rig.propose([revert(&commit)]).await.unwrap()).await;
    assert_eq!(done.steps[0].status, StepStatus::Failed);
    assert!(
        error(&done).contains("later commits touched the same files") && error(&done).contains("deploy/web.yaml"),
        "{}",
        error(&done)
    );
    assert!(server.with(|hub| hub.made().is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_is_reverted_only_from_a_parent_that_is_named() {
    let (server, rig) = start().await;
    let merge = server.with(|hub| {
        let main = hub.git.branches["main"].clone();
        hub.git.branches.insert("side".into(), main.clone());
        let side = hub.git.push("side", "side", &[("deploy/web.yaml", Some("replicas: 7\n"))]);
        let tree = hub.git.parts(&side).unwrap().0;
        let merge = hub.git.commit(&tree, &[main, side], "Merge side");
        hub.git.branches.insert("main".into(), merge.clone());
        hub.git.branches.remove("side");
        merge
    });
    let unnamed = approve(&rig, &rig.propose([revert(&merge)]).await.unwrap()).await;
    assert!(error(&unnamed).contains("`parent`"), "{}", error(&unnamed));
    let with = |parent: u32| {
        let mut step = revert(&merge);
        step.params["parent"] = parent.into();
        step
    };
    let outside = approve(&rig, &rig.propose([with(3)]).await.unwrap()).await;
    assert!(error(&outside).contains("1 to 2 is accepted"), "{}", error(&outside));
    let named = approve(&rig, &rig.propose([with(1)]).await.unwrap()).await;
    assert_eq!(named.steps[0].status, StepStatus::Done, "{}", error(&named));
    let text = server.with(|hub| {
        let head = hub.made().remove(0).1;
        hub.git.text(&head, "deploy/web.yaml")
    });
    assert_eq!(text.unwrap(), "replicas: 2\nimage: web:1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_may_not_write_a_revert_may_not_either() {
    let (server, rig) = start().await;
    let (pipeline, outside, first, stray, link) = server.with(|hub| {
        let first = hub.git.branches["main"].clone();
        let pipeline = hub.git.push("main", "ci", &[(".github/workflows/restart.yml", Some("on: push\n"))]);
        let outside = hub.git.push("main", "docs", &[("README.md", Some("x\n"))]);
        let link = hub.git.push("main", "link", &[("120000:deploy/link", Some("../README.md"))]);
        hub.git.branches.insert("side".into(), first.clone());
        let stray = hub.git.push("side", "side", &[("deploy/web.yaml", Some("x\n"))]);
        (pipeline, outside, first, stray, link)
    });
    for (commit, says) in [
        (&pipeline, "allowPipelineFiles"),
        (&outside, "the path `README.md` is not accepted"),
        (&first, "first of its history"),
        (&stray, "does not hold it"),
        (&link, "symbolic link"),
        (&"d".repeat(40), "404"),
    ] {
        let done = approve(&rig, &rig.propose([revert(commit)]).await.unwrap()).await;
        assert_eq!(done.steps[0].status, StepStatus::Failed, "{says}");
        assert!(error(&done).contains(says), "{says}: {}", error(&done));
    }
    assert_eq!(server.with(|hub| hub.made().len()), 1, "side, which was there");
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_4_a_revert_whose_answer_is_lost_is_there_once_after_a_retry() {
    for at in 0.. {
        let (server, rig) = start().await;
        let (_, commit) = bad(&server);
        let plan = rig.propose([revert(&commit)]).await.unwrap();
        server.lose(at, Moment::After);
        let first = approve(&rig, &plan).await;
        if server.is_waiting_to_lose() {
            assert!(at > 12);
            break;
        }
        // The base moves on between the attempts, too.
        server.with(|hub| hub.git.push("main", "docs", &[("README.md", Some("later\n"))]));
        let second = again(&rig, &first).await;
        assert_eq!(second.steps[0].status, StepStatus::Done, "{at}: {}; {}", error(&first), error(&second));
        server.with(|hub| assert_eq!((hub.made().len(), hub.pulls.len()), (1, 1), "{at}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_reverted_already_is_said() {
    let (server, rig) = start().await;
    let (before, commit) = bad(&server);
    server.with(|hub| {
        let (tree, ..) = hub.git.parts(&before).unwrap();
        let tip = hub.git.branches["main"].clone();
        let undone = hub.git.commit(&tree, &[tip], "by hand");
        hub.git.branches.insert("main".into(), undone);
    });
    let done = approve(&rig, &rig.propose([revert(&commit)]).await.unwrap()).await;
    assert!(error(&done).contains("nothing would change"), "{}", error(&done));
}
