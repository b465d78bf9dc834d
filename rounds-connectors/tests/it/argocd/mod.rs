//! The Argo CD adapter, through real approvals, against a server that keeps to Argo CD's protocol.

mod reads;
mod revisions;
pub(crate) mod server;

use std::sync::Arc;

use rounds_core::plan::StepStatus;
use rounds_core::plugin::{BuildContext, Built, Host, Outbound, Registry};
use rounds_core::ports::{CallContext, ExecutionAdapter, Inverse, SecretHandle};
use rounds_core::step::{Mode, StepSpec};
use serde_json::{Value, json};

use crate::rig::{Rig, ended};

use self::server::{ArgoCd, Fate, PATIENCE, TOKEN, Trouble, app};

fn config(url: &str, change: Value) -> Value {
    let mut config = json!({ "url": url, "allowedProjects": ["shop"], "allowedApps": ["shop-*"], "timeoutSec": 20 });
    for (key, value) in change.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn adapter_with(url: &str, change: Value, token: &str) -> Arc<dyn ExecutionAdapter> {
    let host = Host { outbound: Outbound::loopback(), ..Host::default() };
    let cx = BuildContext::new("cd", SecretHandle::inline(token.into()), Arc::new(host));
    match Registry::linked().unwrap().build("argocd", cx, config(url, change)).unwrap() {
        Built::Execution(adapter) => adapter,
        other => panic!("{other:?}"),
    }
}

fn adapter(url: &str) -> Arc<dyn ExecutionAdapter> {
    adapter_with(url, json!({}), TOKEN)
}

fn cx() -> CallContext {
    CallContext::with_timeout(PATIENCE)
}

async fn rig(url: &str, change: Value) -> Rig {
    Rig::start("argocd", config(url, change), Some(TOKEN)).await
}

fn step(kind: &str, more: Value) -> StepSpec {
    let mut params = json!({ "app": "shop-web", "project": "shop" });
    for (key, value) in more.as_object().unwrap() {
        params[key] = value.clone();
    }
    StepSpec::new(format!("argocd.{kind}"), params)
}

fn automated(argo: &ArgoCd, automated: Value) {
    argo.change(|app| app["spec"]["syncPolicy"]["automated"] = automated);
}

#[tokio::test]
async fn an_approved_sync_is_asked_for_once_with_its_key_and_followed_to_its_end() {
    let (argo, url) = ArgoCd::serve().await;
    let rig = rig(&url, json!({})).await;
    let resources = json!([{ "group": "apps", "kind": "Deployment", "name": "web" }]);
    let plan = rig.run([step("sync", json!({ "revision": "ddd4", "prune": true, "resources": resources }))]).await;
    let (status, text) = ended(&plan);
    assert_eq!(status, StepStatus::Done, "{text}");
    assert!(text.contains("Succeeded: successfully synced") && text.contains("Deployment prod/web Synced"), "{text}");
    let effects = argo.effects();
    assert_eq!(effects.len(), 1, "{effects:?}");
    let (path, body) = &effects[0];
    assert_eq!(path, "/api/v1/applications/shop-web/sync");
    let key = format!("{}:{}:1", plan.id, plan.steps[0].id);
    assert_eq!(
        *body,
        json!({
            "name": "shop-web", "project": "shop", "revision": "ddd4", "prune": true, "dryRun": false,
            "resources": [{ "group": "apps", "kind": "Deployment", "name": "web", "namespace": "" }],
            "infos": [
                { "name": "Reason", "value": "a step of a plan in Rounds" }, { "name": "rounds.io/idempotency-key", "value": key },
            ],
        })
    );
    rig.end().await;
}

#[tokio::test]
async fn an_operation_that_ends_badly_is_a_failed_step_with_what_it_said() {
    let (argo, url) = ArgoCd::serve().await;
    let rig = rig(&url, json!({})).await;
    for phase in ["Failed", "Error"] {
        argo.fate(Fate { reads: Some(1), phase, message: "one or more objects failed to apply" });
        let (status, text) = ended(&rig.run([step("sync", json!({}))]).await);
        assert_eq!(status, StepStatus::Failed, "{text}");
        assert!(text.contains(&format!("ended as {phase}: one or more objects failed to apply")), "{text}");
        assert!(text.contains("SyncFailed: error validating data"), "{text}");
    }
    rig.end().await;
}

#[tokio::test]
async fn one_look_at_the_past_does_not_end_the_watch_over_an_operation() {
    let (argo, url) = ArgoCd::serve().await;
    argo.fate(Fate { reads: Some(3), phase: "Succeeded", message: "successfully synced (all tasks run)" });
    let rig = rig(&url, json!({})).await;
    let plan = rig.propose([step("sync", json!({}))]).await;
    argo.lags();
    let (status, text) = ended(&rig.approve(&plan).await);
    assert!(status == StepStatus::Done && text.contains("Succeeded: successfully synced"), "{text}");
    assert!(argo.has_lagged() && argo.effects().len() == 1);
    rig.end().await;
}

#[tokio::test]
async fn an_operation_that_outlives_the_step_has_an_unknown_outcome() {
    let (argo, url) = ArgoCd::serve().await;
    argo.fate(Fate { reads: None, phase: "", message: "" });
    let rig = rig(&url, json!({ "timeoutSec": 2 })).await;
    let (status, text) = ended(&rig.run([step("sync", json!({}))]).await);
    assert_eq!(status, StepStatus::Interrupted, "{text}");
    assert!(text.contains("its operation goes on in Argo CD (Running"), "{text}");
    assert_eq!(argo.effects().len(), 1, "nobody ends it half way");
    rig.end().await;
}

#[tokio::test]
async fn an_operation_that_is_there_already_is_a_refusal_and_nothing_is_sent() {
    let (argo, url) = ArgoCd::serve().await;
    let rig = rig(&url, json!({})).await;
    let plan = rig.propose([step("sync", json!({}))]).await;
    argo.fate(Fate { reads: None, phase: "", message: "" });
    argo.change(|app| app["operation"] = json!({ "sync": {}, "initiatedBy": { "automated": true } }));
    let (status, text) = ended(&rig.approve(&plan).await);
    assert_eq!(status, StepStatus::Failed, "{text}");
    assert!(text.contains("an operation by auto-sync is in progress") && text.contains("nothing was run"), "{text}");
    assert!(argo.effects().is_empty());
    rig.end().await;
}

#[tokio::test]
async fn a_lost_answer_to_a_sync_is_made_up_for_by_its_key_and_the_sync_is_not_sent_again() {
    for trouble in [Trouble::LosesTheAnswer, Trouble::Hangs, Trouble::NeverEnds] {
        let (argo, url) = ArgoCd::serve().await;
        let rig = rig(&url, json!({ "requestTimeoutSec": 2 })).await;
        argo.trouble(1, trouble);
        let (status, text) = ended(&rig.run([step("sync", json!({}))]).await);
        assert_eq!(status, StepStatus::Done, "{trouble:?}: {text}");
        assert!(text.contains("The answer to the request was lost"), "{trouble:?}: {text}");
        assert_eq!(argo.effects().len(), 1, "{trouble:?}");
        rig.end().await;
    }
}

#[tokio::test]
async fn an_answer_that_was_lost_together_with_the_request_is_unknown_and_never_success() {
    for kind in [
        step("sync", json!({})),
        step("rollback", json!({ "id": 5, "revision": "aaa1" })),
        step("set_auto_sync", json!({ "enabled": true })),
    ] {
        let (argo, url) = ArgoCd::serve().await;
        let rig = rig(&url, json!({ "timeoutSec": 3 })).await;
        argo.trouble(1, Trouble::LosesTheRequest);
        let (status, text) = ended(&rig.run([kind.clone()]).await);
        assert_eq!(status, StepStatus::Interrupted, "{kind:?}: {text}");
        assert_eq!(argo.effects().len(), 1, "{kind:?}");
        rig.end().await;
    }
}

#[tokio::test]
async fn what_the_server_or_a_proxy_refuses_has_not_started_and_what_a_proxy_gave_up_on_is_unknown() {
    for (trouble, expected) in [
        (Trouble::Redirects(307), StepStatus::Failed),
        (Trouble::Proxy(401), StepStatus::Failed),
        (Trouble::Proxy(429), StepStatus::Failed),
        (Trouble::Redirects(303), StepStatus::Interrupted),
        (Trouble::Proxy(400), StepStatus::Interrupted),
        (Trouble::Proxy(502), StepStatus::Interrupted),
        (Trouble::Proxy(504), StepStatus::Interrupted),
        (Trouble::Proxy(200), StepStatus::Interrupted),
    ] {
        let (argo, url) = ArgoCd::serve().await;
        let rig = rig(&url, json!({ "timeoutSec": 1 })).await;
        argo.trouble(1, trouble);
        let (status, text) = ended(&rig.run([step("sync", json!({}))]).await);
        assert_eq!(status, expected, "{trouble:?}: {text}");
        rig.end().await;
    }
    let (_, url) = ArgoCd::serve().await;
    let rig = rig(&url, json!({})).await;
    let (status, text) = ended(&rig.run([step("sync", json!({ "revision": "unknown" }))]).await);
    assert!(status == StepStatus::Failed && text.contains("unable to resolve 'unknown'"), "{text}");
    rig.end().await;
}

#[tokio::test]
async fn an_approved_rollback_goes_to_the_entry_that_was_shown() {
    let (argo, url) = ArgoCd::serve().await;
    let rig = rig(&url, json!({})).await;
    let plan = rig.propose([step("rollback", json!({ "id": 5, "revision": "aaa1" }))]).await;
    let preview = plan.steps[0].dry_run_text.clone().unwrap();
    assert!(
        preview.contains("to id 5: revision aaa1, deployed at 2026-01-02T00:00:00Z by ada, images web:1"),
        "{preview}"
    );
    assert!(preview.contains("from id 6: revision bbb2"), "{preview}");
    let (status, text) = ended(&rig.approve(&plan).await);
    assert_eq!(status, StepStatus::Done, "{text}");
    let effects = argo.effects();
    assert_eq!(
        effects,
        [(
            "/api/v1/applications/shop-web/rollback".to_owned(),
            json!({ "name": "shop-web", "project": "shop", "id": 5, "prune": false, "dryRun": false })
        )]
    );
    assert_eq!(argo.app()["status"]["history"][2]["revision"], "aaa1");
    rig.end().await;
}

#[tokio::test]
async fn a_rollback_is_refused_while_auto_sync_is_on_and_says_what_to_do() {
    let (argo, url) = ArgoCd::serve().await;
    let rig = rig(&url, json!({})).await;
    automated(&argo, json!({ "prune": true }));
    let plan = rig.propose([step("rollback", json!({ "id": 5, "revision": "aaa1" }))]).await;
    assert!(plan.steps[0].dry_run_text.as_deref().unwrap().contains("ATTENTION: auto-sync is on"), "{plan:?}");
    let (status, text) = ended(&rig.approve(&plan).await);
    assert_eq!(status, StepStatus::Failed, "{text}");
    assert!(text.contains("put argocd.set_auto_sync with `enabled: false` before it"), "{text}");
    let gone = ended(
        &rig.run([
            step("set_auto_sync", json!({ "enabled": false })),
            step("rollback", json!({ "id": 99, "revision": "aaa1" })),
        ])
        .await,
    );
    assert!(gone.1.contains("has no entry 99; there are: 5, 6"), "{gone:?}");
    let sent = argo.effects().len();
    let other = rig.propose([step("rollback", json!({ "id": 5, "revision": "bbb2" }))]).await;
    assert!(other.steps[0].dry_run_text.as_deref().unwrap().contains("ATTENTION: the entry 5"), "{other:?}");
    let other = ended(&rig.approve(&other).await);
    assert!(other.0 == StepStatus::Failed && other.1.contains("is of revision aaa1, not of bbb2"), "{other:?}");
    assert_eq!(argo.effects().len(), sent, "the number is not enough");
    let done = ended(&rig.run([step("rollback", json!({ "id": 5, "revision": "aaa1" }))]).await);
    assert_eq!(done.0, StepStatus::Done, "{done:?}");
    rig.end().await;
}

#[tokio::test]
async fn a_lost_answer_to_a_rollback_is_made_up_for_only_by_an_operation_of_ours() {
    let (argo, url) = ArgoCd::serve().await;
    let rig = rig(&url, json!({ "timeoutSec": 4 })).await;
    argo.trouble(1, Trouble::LosesTheAnswer);
    let (status, text) = ended(&rig.run([step("rollback", json!({ "id": 5, "revision": "aaa1" }))]).await);
    assert_eq!(status, StepStatus::Done, "{text}");
    assert!(text.contains("the operation was found by its mark"), "{text}");
    // The same rollback was ours a moment ago: the one before is never taken for the one that was lost.
    argo.trouble(1, Trouble::LosesTheRequest);
    let (status, text) = ended(&rig.run([step("rollback", json!({ "id": 5, "revision": "aaa1" }))]).await);
    assert_eq!(status, StepStatus::Interrupted, "{text}");
    argo.trouble(1, Trouble::AnotherComesFirst);
    let (status, text) = ended(&rig.run([step("rollback", json!({ "id": 5, "revision": "aaa1" }))]).await);
    assert_eq!(status, StepStatus::Interrupted, "somebody else's: {text}");
    assert_eq!(argo.effects().len(), 3);
    rig.end().await;
}

#[tokio::test]
async fn auto_sync_is_switched_off_and_back_to_what_it_was() {
    let (argo, url) = ArgoCd::serve().await;
    let rig = rig(&url, json!({})).await;
    let before = json!({ "prune": true, "selfHeal": true });
    argo.change(|app| {
        app["spec"]["syncPolicy"] = json!({ "automated": before, "syncOptions": ["CreateNamespace=true"] })
    });
    let adapter = adapter(&url);
    let off = adapter.review(&step("set_auto_sync", json!({ "enabled": false })), Mode::Write).unwrap();
    let Inverse::Steps(back) = adapter.inverse(&cx(), &off).await.unwrap() else { panic!("there is a way back") };
    let plan = rig.propose([off.spec()]).await;
    assert!(
        plan.steps[0].dry_run_text.as_deref().unwrap().contains("auto-sync: on (prune, self-heal) → off"),
        "{plan:?}"
    );
    assert_eq!(ended(&rig.approve(&plan).await).0, StepStatus::Done);
    assert_eq!(argo.app()["spec"]["syncPolicy"], json!({ "syncOptions": ["CreateNamespace=true"] }));
    assert_eq!(ended(&rig.run(back).await).0, StepStatus::Done);
    assert_eq!(
        argo.app()["spec"]["syncPolicy"]["automated"],
        json!({ "prune": true, "selfHeal": true, "allowEmpty": false })
    );
    // A lost answer, and the application shows the change all the same.
    argo.trouble(1, Trouble::LosesTheAnswer);
    let (status, text) = ended(&rig.run([step("set_auto_sync", json!({ "enabled": false }))]).await);
    assert!(status == StepStatus::Done && text.contains("the application shows it"), "{text}");
    let sent = argo.effects().len();
    let (status, text) = ended(&rig.run([step("set_auto_sync", json!({ "enabled": false }))]).await);
    assert!(status == StepStatus::Done && text.contains("It was so already"), "{text}");
    assert_eq!(argo.effects().len(), sent, "what is so already is not sent");
    // 3.1 and later: there, and switched off.
    automated(&argo, json!({ "prune": true, "enabled": false }));
    let (status, text) = ended(&rig.run([step("rollback", json!({ "id": 5, "revision": "aaa1" }))]).await);
    assert_eq!(status, StepStatus::Done, "{text}");
    rig.end().await;
}

#[tokio::test]
async fn the_way_back_from_a_sync_or_rollback_is_the_entry_that_is_in_place_now() {
    let (argo, url) = ArgoCd::serve().await;
    let adapter = adapter(&url);
    let back =
        async |spec: StepSpec| adapter.inverse(&cx(), &adapter.review(&spec, Mode::Write).unwrap()).await.unwrap();
    let rollback = step("rollback", json!({ "id": 6, "revision": "bbb2", "prune": false }));
    assert_eq!(back(step("sync", json!({}))).await, Inverse::Steps(vec![rollback.clone()]));
    assert_eq!(
        back(step("rollback", json!({ "id": 5, "revision": "aaa1" }))).await,
        Inverse::Steps(vec![rollback.clone()])
    );
    assert_eq!(back(step("refresh", json!({}))).await, Inverse::NotNeeded);
    assert_eq!(back(step("get_app", json!({}))).await, Inverse::NotNeeded);
    assert_eq!(back(step("set_auto_sync", json!({ "enabled": false }))).await, Inverse::NotNeeded);
    automated(&argo, json!({}));
    let Inverse::Steps(steps) = back(step("sync", json!({}))).await else { panic!("there is a way back") };
    assert_eq!(
        (&*steps[0].kind, &steps[0].params["enabled"], &steps[1]),
        ("argocd.set_auto_sync", &json!(false), &rollback)
    );
    argo.change(|app| app["status"]["history"] = Value::Null);
    assert_eq!(back(step("sync", json!({}))).await, Inverse::Unknown);
    assert!(argo.effects().is_empty(), "asking for the way back changes nothing");
}

#[tokio::test]
async fn an_application_of_another_project_is_never_touched() {
    let (argo, url) = ArgoCd::serve().await;
    let rig = rig(&url, json!({ "allowedProjects": ["shop", "team"] })).await;
    // The name is allowed, the project is, and they do not belong together.
    argo.change(|app| app["spec"]["project"] = "bank".into());
    for kind in [
        step("sync", json!({})),
        step("rollback", json!({ "id": 5, "revision": "aaa1" })),
        step("refresh", json!({})),
        step("set_auto_sync", json!({ "enabled": true })),
    ] {
        let (status, text) = ended(&rig.run([kind.clone()]).await);
        assert_eq!(status, StepStatus::Failed, "{kind:?}: {text}");
    }
    assert!(argo.effects().is_empty());
    for (what, change) in [("app", json!({ "app": "shop-none" })), ("project", json!({ "project": "team" }))] {
        let (status, text) = ended(&rig.run([step("sync", change)]).await);
        assert!(status == StepStatus::Failed && text.contains("nothing was run"), "{what}: {text}");
    }
    assert!(argo.effects().is_empty());
    rig.end().await;
}

#[tokio::test]
async fn an_answer_about_another_application_is_not_believed() {
    let (argo, url) = ArgoCd::serve().await;
    let rig = rig(&url, json!({})).await;
    // A server that ignores the project it is asked for, as those before 2.7 do: the answer itself is looked at.
    for (pointer, value) in [("/spec/project", "bank"), ("/metadata/name", "shop-other")] {
        argo.put("argocd/shop-web", app("shop-web", "shop"));
        let plan = rig.propose([step("sync", json!({}))]).await;
        argo.ignores_projects();
        argo.change(|app| *app.pointer_mut(pointer).unwrap() = value.into());
        let (status, text) = ended(&rig.approve(&plan).await);
        assert_eq!(status, StepStatus::Failed, "{text}");
        assert!(text.contains(&format!("Argo CD says `{value}`")), "{text}");
    }
    assert!(argo.effects().is_empty());
    rig.end().await;
}

#[tokio::test]
async fn a_destination_namespace_that_the_step_names_is_the_one_that_everything_is_in() {
    let (argo, url) = ArgoCd::serve().await;
    let rig = rig(&url, json!({})).await;
    let named = |namespace: &str| step("sync", json!({ "destinationNamespace": namespace }));
    let (status, text) = ended(&rig.run([named("dev")]).await);
    assert!(status == StepStatus::Failed && text.contains("Argo CD says `prod`"), "{text}");
    argo.change(|app| app["status"]["resources"][1]["namespace"] = "kube-system".into());
    let (status, text) = ended(&rig.run([named("prod")]).await);
    assert!(status == StepStatus::Failed && text.contains("Service web is kube-system"), "{text}");
    assert!(argo.effects().is_empty());
    argo.change(|app| app["status"]["resources"][1]["namespace"] = "prod".into());
    let plan = rig.run([named("prod")]).await;
    assert_eq!(ended(&plan).0, StepStatus::Done, "{plan:?}");
    assert_eq!(plan.steps[0].review.targets[0].to_string(), "application/shop-web");
    rig.end().await;
}

#[tokio::test]
async fn an_application_outside_argo_cds_own_namespace_is_named_with_it_everywhere() {
    let (argo, url) = ArgoCd::serve().await;
    let mut theirs = app("shop-web", "shop");
    theirs["metadata"]["namespace"] = "team-a".into();
    argo.put("team-a/shop-web", theirs);
    let rig = rig(&url, json!({ "allowedAppNamespaces": ["team-*"] })).await;
    let (status, text) = ended(&rig.run([step("sync", json!({ "appNamespace": "team-a" }))]).await);
    assert_eq!(status, StepStatus::Done, "{text}");
    assert_eq!(argo.effects()[0].1["appNamespace"], "team-a");
    let reads = argo.asked();
    assert!(
        reads
            .iter()
            .filter(|line| line.contains("/applications/shop-web?"))
            .all(|line| line.contains("appNamespace=team-a")),
        "{reads:?}"
    );
    assert_eq!(argo.app()["status"]["sync"]["status"], "OutOfSync");
    rig.end().await;
}

#[tokio::test]
async fn a_refresh_is_asked_for_as_the_step_says() {
    let (argo, url) = ArgoCd::serve().await;
    let rig = rig(&url, json!({})).await;
    for (hard, how) in [(false, "refresh=normal"), (true, "refresh=hard")] {
        let (status, text) = ended(&rig.run([step("refresh", json!({ "hard": hard }))]).await);
        assert!(status == StepStatus::Done && text.contains("sync: Synced"), "{text}");
        assert!(argo.effects().last().unwrap().0.ends_with(how), "{:?}", argo.effects());
    }
    rig.end().await;
}

#[tokio::test]
async fn a_sync_to_another_revision_than_auto_syncs_is_refused_before_it_is_sent() {
    let (argo, url) = ArgoCd::serve().await;
    let rig = rig(&url, json!({})).await;
    automated(&argo, json!({}));
    let (status, text) = ended(&rig.run([step("sync", json!({ "revision": "ddd4" }))]).await);
    assert!(status == StepStatus::Failed && text.contains("auto-sync is on and set to main"), "{text}");
    assert!(argo.effects().is_empty());
    assert_eq!(ended(&rig.run([step("sync", json!({ "revision": "main" }))]).await).0, StepStatus::Done);
    rig.end().await;
}
