//! What is approved is what is synced: to which revision a sync goes.

use rounds_core::ports::DryRun;

use super::*;

const APPROVED: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const NEWER: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn pinned() -> StepSpec {
    step("sync", json!({ "revision": APPROVED }))
}

/// Two sources: a chart and a repository of values.
fn several(argo: &ArgoCd) {
    argo.change(|app| {
        app["spec"]["source"] = Value::Null;
        app["spec"]["sources"] = json!([
            { "repoURL": "https://charts.example", "chart": "web", "targetRevision": "1.2.*" },
            { "repoURL": "https://git.example/values.git", "targetRevision": "main", "ref": "values" },
        ]);
        app["status"]["sync"] = json!({ "status": "OutOfSync", "revisions": ["1.2.3", APPROVED] });
    });
    argo.moves("1.2.*", "1.2.4");
    argo.moves("main", NEWER);
}

async fn preview(url: &str, spec: &StepSpec) -> DryRun {
    let adapter = adapter(url);
    adapter.dry_run(&cx(), &adapter.review(spec, Mode::Write).unwrap()).await.unwrap()
}

#[tokio::test]
async fn rule_1_a_pinned_sync_goes_to_what_was_approved_though_the_branch_has_moved_on() {
    let (argo, url) = ArgoCd::serve().await;
    let rig = rig(&url, json!({})).await;
    argo.renders(APPROVED, &[]);
    let plan = rig.propose([pinned()]).await;
    let text = plan.steps[0].dry_run_text.as_deref().unwrap();
    assert!(text.contains(&format!("syncs to: {APPROVED}")), "{text}");
    assert!(text.contains("ATTENTION: main is at ccc3, so this goes to another revision"), "{text}");
    argo.moves("main", NEWER);
    argo.change(|app| app["status"]["sync"]["revision"] = NEWER.into());
    let (status, text) = ended(&rig.approve(&plan).await);
    assert!(status == StepStatus::Done && text.contains(&format!("revision {APPROVED}")), "{text}");
    assert!(text.contains(&format!("When this began: main is at {NEWER}, so")), "{text}");
    assert_eq!(argo.effects()[0].1["revision"], APPROVED);
    assert_eq!(argo.app()["status"]["history"][2]["revision"], APPROVED);
    rig.end().await;
}

#[tokio::test]
async fn rule_1_a_retry_of_argo_cds_goes_to_nothing_newer() {
    let (argo, url) = ArgoCd::serve().await;
    let rig = rig(&url, json!({})).await;
    argo.renders(APPROVED, &[]);
    argo.moves("main", NEWER);
    let retry = json!({ "limit": 5, "refresh": true, "backoff": { "duration": "5s" } });
    argo.change(|app| app["spec"]["syncPolicy"]["retry"] = retry);
    let (status, text) = ended(&rig.run([pinned()]).await);
    assert!(status == StepStatus::Done && text.contains(&format!("revision {APPROVED}")), "{text}");
    let expected = json!({ "limit": 5, "refresh": false, "backoff": { "duration": "5s" } });
    assert_eq!(argo.effects()[0].1["retryStrategy"], expected);
    // What nobody pinned is the application's own affair.
    let (status, text) = ended(&rig.run([step("sync", json!({}))]).await);
    assert!(status == StepStatus::Done && text.contains(&format!("revision {NEWER}")), "{text}");
    assert_eq!(argo.effects()[1].1.get("retryStrategy"), None);
    // A server that does it all the same is found out.
    argo.refreshes_at_every_retry();
    let (status, text) = ended(&rig.run([pinned()]).await);
    assert_eq!(status, StepStatus::Failed, "{text}");
    assert!(text.contains(&format!("found {NEWER}, expected {APPROVED}")), "{text}");
    rig.end().await;
}

#[tokio::test]
async fn rule_1_with_auto_sync_on_nothing_is_sent_for_a_pinned_revision() {
    let (argo, url) = ArgoCd::serve().await;
    let rig = rig(&url, json!({})).await;
    automated(&argo, json!({ "prune": true }));
    argo.moves("main", APPROVED);
    argo.change(|app| app["status"]["sync"]["revision"] = APPROVED.into());
    let plan = rig.propose([pinned()]).await;
    let text = plan.steps[0].dry_run_text.as_deref().unwrap();
    assert!(text.contains("auto-sync is on and set to main"), "who approves it sees that it will not do: {text}");
    // Whatever Argo CD compares with now: it would look anew.
    for compared in [APPROVED, NEWER] {
        argo.change(|app| app["status"]["sync"]["revision"] = compared.into());
        argo.moves("main", NEWER);
        let (status, text) = ended(&rig.run([pinned()]).await);
        assert_eq!(status, StepStatus::Failed, "{text}");
        assert!(text.contains("auto-sync is on and set to main") && text.contains("nothing was run"), "{text}");
    }
    assert_eq!(argo.effects(), []);
    // With auto-sync switched off before it, the commit goes in.
    let off = step("set_auto_sync", json!({ "enabled": false }));
    let (_, text) = ended(&rig.run([off, pinned()]).await);
    assert!(text.contains(&format!("revision {APPROVED}")), "{text}");
    rig.end().await;
}

#[tokio::test]
async fn the_preview_of_a_sync_that_is_not_pinned_says_so_and_how_it_would_be() {
    let (argo, url) = ArgoCd::serve().await;
    argo.change(|app| app["status"]["sync"]["revision"] = APPROVED.into());
    let text = preview(&url, &step("sync", json!({}))).await.text;
    assert!(text.contains("syncs to: what main is when it runs"), "{text}");
    assert!(text.contains(&format!("\"revision\": \"{APPROVED}\"")), "{text}");
    // What is compared already needs no rendering.
    let text = preview(&url, &pinned()).await.text;
    assert!(text.contains(&format!("syncs to: {APPROVED}")) && !text.contains("ATTENTION"), "{text}");
    assert!(argo.asked().iter().all(|line| !line.contains("/manifests")), "{:?}", argo.asked());
    // What was shown in the meantime is another one's, so it is neither taken for this one's nor recommended.
    argo.renders(APPROVED, &[]);
    argo.compares_anew(NEWER);
    let text = preview(&url, &pinned()).await.text;
    assert!(text.contains(&format!("compared with revision {APPROVED}\n")), "{text}");
    argo.change(|app| app["status"]["sync"]["revision"] = APPROVED.into());
    argo.compares_anew(NEWER);
    let text = preview(&url, &step("sync", json!({}))).await.text;
    assert!(!text.contains("\"revision\""), "{text}");
    // A chart's version is none to be pinned by.
    argo.change(|app| app["status"]["sync"]["revision"] = "1.2.3".into());
    let text = preview(&url, &step("sync", json!({}))).await.text;
    assert!(!text.contains("\"revision\""), "{text}");
}

#[tokio::test]
async fn of_several_sources_each_goes_to_its_own_revision() {
    let (argo, url) = ArgoCd::serve().await;
    let rig = rig(&url, json!({})).await;
    several(&argo);
    let both = step("sync", json!({ "revision": format!("1.2.3,{APPROVED}") }));
    let plan = rig.propose([both.clone()]).await;
    let step = &plan.steps[0];
    let text = format!("--revisions 1.2.3 --source-positions 1 --revisions {APPROVED} --source-positions 2");
    assert!(step.review.command_text.contains(&text), "{}", step.review.command_text);
    assert!(!step.dry_run_text.as_deref().unwrap().contains("ATTENTION"), "{plan:?}");
    let (status, text) = ended(&rig.approve(&plan).await);
    assert!(status == StepStatus::Done && text.contains(&format!("revision 1.2.3, {APPROVED}")), "{text}");
    let body = argo.effects()[0].1.clone();
    assert_eq!((&body["revisions"], &body["sourcePositions"]), (&json!(["1.2.3", APPROVED]), &json!([1, 2])));
    assert_eq!(body.get("revision"), None);

    // Others than those that are compared are not previewed: a rendering of them would have an effect on the server.
    let other = super::step("sync", json!({ "revision": format!("1.2.3,{NEWER}") }));
    let text = preview(&url, &other).await.text;
    assert!(text.contains("is not known: Argo CD compares several sources with what they track"), "{text}");
    assert!(argo.asked().iter().all(|line| !line.contains("/manifests")), "{:?}", argo.asked());

    let sent = argo.effects().len();
    for (params, says) in [
        (json!({ "revision": APPROVED }), "it has 2 sources, and `revision` names 1 revision"),
        (json!({ "revision": format!("a,b,{APPROVED}") }), "names 3 revisions"),
    ] {
        let (status, text) = ended(&rig.run([super::step("sync", params)]).await);
        assert!(status == StepStatus::Failed && text.contains(says), "{text}");
    }
    // A server that does not know the fields would ignore them and sync to what is tracked.
    for version in ["v2.10.4+abc", "v2.11.0", "", "latest"] {
        argo.is_version(version);
        let (status, text) = ended(&rig.run([both.clone()]).await);
        assert!(status == StepStatus::Failed && text.contains("as 2.12 and later do"), "{version}: {text}");
    }
    assert_eq!(argo.effects().len(), sent);
    argo.is_version("v2.12.0-rc1");
    automated(&argo, json!({}));
    let (status, text) = ended(&rig.run([both]).await);
    assert!(status == StepStatus::Failed && text.contains("auto-sync is on and set to 1.2.*"), "{text}");
    assert_eq!(argo.effects().len(), sent);
    rig.end().await;
}

#[tokio::test]
async fn an_operator_may_have_syncs_of_whole_commits_only() {
    let (_, url) = ArgoCd::serve().await;
    let adapter = adapter_with(&url, json!({ "pinnedSyncsOnly": true }), TOKEN);
    adapter.review(&pinned(), Mode::Write).unwrap();
    for params in [json!({}), json!({ "revision": "main" }), json!({ "revision": format!("1.2.3, {APPROVED}") })] {
        let refused = adapter.review(&step("sync", params.clone()), Mode::Write).unwrap_err();
        assert_eq!(refused.rule, "revision_not_pinned", "{params}");
        assert!(refused.message.contains("`pinnedSyncsOnly`"), "{refused}");
    }
}

#[tokio::test]
async fn the_servers_own_dry_run_is_of_the_revision_that_the_step_names() {
    let (argo, url) = ArgoCd::serve().await;
    argo.change(|app| app["status"]["sync"]["revision"] = APPROVED.into());
    let by_server = adapter_with(&url, json!({ "dryRun": "server" }), TOKEN);
    let reviewed = by_server.review(&pinned(), Mode::Write).unwrap();
    let preview = by_server.dry_run(&cx(), &reviewed).await.unwrap();
    assert!(preview.checked_by_server && preview.text.contains(&format!("revision {APPROVED}")), "{preview:?}");
    let sent = argo.effects();
    assert_eq!((&sent[0].1["revision"], &sent[0].1["dryRun"]), (&json!(APPROVED), &json!(true)));
    // What would be refused is not tried.
    automated(&argo, json!({}));
    let preview = by_server.dry_run(&cx(), &reviewed).await.unwrap();
    assert!(
        !preview.checked_by_server && preview.text.contains("ATTENTION: auto-sync is on and set to main"),
        "{preview:?}"
    );
    assert_eq!(argo.effects().len(), 1);
}
