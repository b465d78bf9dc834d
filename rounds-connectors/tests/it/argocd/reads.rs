//! What is read: previews, reads for investigations, the connection test; and what is never shown.

use rounds_core::ports::{DryRun, PortErrorKind, ReadStep};
use rounds_core::step::{Effect, StepError};

use super::*;

async fn preview(url: &str, change: Value, spec: StepSpec) -> Result<DryRun, StepError> {
    let adapter = adapter_with(url, change, TOKEN);
    adapter.dry_run(&cx(), &adapter.review(&spec, Mode::Write).unwrap()).await
}

fn managed(kind: &str, live: Value, target: Value) -> Value {
    let group = if kind == "Deployment" { "apps" } else { "" };
    let text = |value: &Value| if value.is_null() { "null".to_owned() } else { value.to_string() };
    json!({
        "group": group, "kind": kind, "namespace": "prod", "name": "web",
        "liveState": text(&live), "targetState": text(&target), "normalizedLiveState": text(&live), "predictedLiveState": text(&target),
    })
}

fn deployment(image: &str) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": "prod" },
            "spec": { "replicas": 3, "template": { "spec": { "containers": [{ "name": "app", "image": image }] } } } })
}

#[tokio::test]
async fn the_preview_of_a_sync_shows_what_would_change_and_only_reads() {
    let (argo, url) = ArgoCd::serve().await;
    let old = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "web" } });
    argo.manages(json!([
        managed("Deployment", deployment("web:2"), deployment("web:3")),
        managed("ConfigMap", old.clone(), Value::Null),
        managed("Service", Value::Null, json!({ "kind": "Service" })),
        managed("Secret", json!({ "data": { "key": "aHVudGVyMg==" } }), json!({ "data": { "key": "b3RoZXI=" } })),
        managed("Pod", json!({ "a": 1 }), json!({ "a": 1 })),
    ]));
    let text = preview(&url, json!({}), step("sync", json!({}))).await.unwrap();
    assert!(!text.checked_by_server, "a comparison tries nothing");
    let text = text.text;
    for line in [
        "sync: OutOfSync (compared with ccc3); health: Degraded",
        "~ Deployment.apps prod/web\n    spec.template.spec.containers[app].image: \"web:2\" → \"web:3\"\n",
        "- ConfigMap prod/web: stays (no prune)",
        "+ Service prod/web: is created",
        "~ Secret prod/web: changes; what is in a Secret is not shown",
        "3 objects differ, 1 are no longer in Git, 1 are as Git says.",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("aHVudGVyMg") && !text.contains("b3RoZXI"), "{text}");
    let pruned = preview(&url, json!({}), step("sync", json!({ "prune": true }))).await.unwrap().text;
    assert!(pruned.contains("- ConfigMap prod/web: is DELETED (prune)"), "{pruned}");
    let one = json!([{ "kind": "Service", "name": "web" }, { "kind": "Service", "name": "none" }]);
    let only = preview(&url, json!({}), step("sync", json!({ "resources": one }))).await.unwrap().text;
    assert!(only.contains("there is no object :Service:none") && only.contains("1 objects differ, 0"), "{only}");
    assert!(argo.effects().is_empty());
}

#[tokio::test]
async fn the_preview_of_another_revision_compares_with_that_one() {
    let (argo, url) = ArgoCd::serve().await;
    let mut live = deployment("web:2");
    live["spec"]["revisionHistoryLimit"] = 10.into();
    argo.manages(json!([managed("Deployment", live, deployment("web:3"))]));
    argo.renders(
        "v9",
        &[deployment("web:9"), json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "new" } })],
    );
    let preview_of_v9 = preview(&url, json!({}), step("sync", json!({ "revision": "v9" }))).await.unwrap();
    assert!(!preview_of_v9.checked_by_server, "a comparison tries nothing");
    let text = preview_of_v9.text;
    assert!(text.contains("compared with revision v9\n") && text.contains("\"web:2\" → \"web:9\""), "{text}");
    // What a manifest leaves to the cluster does not change.
    assert!(!text.contains("revisionHistoryLimit") && text.contains("+ Service new: is created"), "{text}");
    let error = preview(&url, json!({}), step("sync", json!({ "revision": "v8" }))).await.unwrap_err();
    assert!(error.message.contains("Unable to resolve 'v8'"), "{error}");
    assert!(error.output.error_output.contains("sync: OutOfSync"), "what is known is shown all the same: {error:?}");
    assert!(argo.effects().is_empty());
}

#[tokio::test]
async fn the_servers_own_dry_run_is_asked_only_where_the_config_says_so_and_persists_nothing() {
    let (argo, url) = ArgoCd::serve().await;
    argo.manages(json!([managed("Deployment", deployment("web:2"), deployment("web:3"))]));
    for spec in [step("sync", json!({ "prune": true })), step("rollback", json!({ "id": 5, "revision": "aaa1" }))] {
        let before = argo.app()["status"]["history"].clone();
        let text = preview(&url, json!({ "dryRun": "server" }), spec.clone()).await.unwrap();
        assert!(text.checked_by_server && text.text.contains("Argo CD's dry-run: Succeeded"), "{text:?}");
        assert_eq!(argo.effects().last().unwrap().1["dryRun"], true, "{spec:?}");
        assert_eq!(argo.app()["status"]["history"], before);
    }
    automated(&argo, json!({}));
    let sent = argo.effects().len();
    let text = preview(&url, json!({ "dryRun": "server" }), step("rollback", json!({ "id": 5, "revision": "aaa1" })))
        .await
        .unwrap()
        .text;
    assert!(text.contains("ATTENTION") && argo.effects().len() == sent, "{text}");
}

#[tokio::test]
async fn reads_say_how_an_application_is_without_what_may_be_secret() {
    let (argo, url) = ArgoCd::serve().await;
    argo.change(|app| {
        app["spec"]["source"]["repoURL"] = "https://ci:hunter2@git.example/shop.git".into();
        app["spec"]["source"]["helm"] =
            json!({ "values": "password: hunter2", "parameters": [{ "name": "db.password", "value": "hunter2" }] });
        app["status"]["health"]["status"] = "Degraded\nauto-sync: off\u{202e}".into();
        app["status"]["summary"]["images"] = json!(["web:2", "x\nnow: nothing"]);
        app["status"]["conditions"] = json!([{ "type": "SyncError", "message": "line one\nline two" }]);
    });
    let adapter = adapter(&url);
    let read = async |spec: StepSpec| {
        let reviewed = adapter.review(&spec, Mode::Read).unwrap();
        adapter.read(&cx(), ReadStep::new(reviewed).unwrap()).await
    };
    let whole = read(step("get_app", json!({}))).await.unwrap().output;
    for line in [
        "source: https://git.example/shop.git web at main",
        "condition SyncError: line one line two",
        "images: web:2, x now: nothing",
        "Deployment.apps prod/web: OutOfSync Degraded exceeded its progress deadline",
        "last operation: Succeeded by ada at 2026-01-03T00:00:00Z",
    ] {
        assert!(whole.contains(line), "{line}\n{whole}");
    }
    assert_eq!(
        whole.matches("\nauto-sync: ").count(),
        1,
        "no field of an application makes a line of its own: {whole}"
    );
    assert!(!whole.contains('\u{202e}'));
    assert!(!whole.contains("hunter2") && !whole.contains("Service prod/web"), "{whole}");
    let history = read(step("history", json!({}))).await.unwrap().output;
    let six = history.find("id 6 (the last full sync): revision bbb2").unwrap();
    assert!(six < history.find("id 5: revision aaa1").unwrap(), "newest first: {history}");
    argo.manages(json!([managed("Deployment", deployment("web:2"), deployment("web:3"))]));
    let diff = read(step("diff", json!({}))).await.unwrap().output;
    assert!(diff.contains("\"web:2\" → \"web:3\"") && !diff.contains("DELETED"), "{diff}");
    let missing = read(step("get_app", json!({ "app": "shop-none" }))).await.unwrap_err();
    assert_eq!(missing.effect, Effect::NotStarted);
    assert!(
        missing.message.contains("HTTP 404") && missing.message.contains("there is no such application"),
        "{missing}"
    );
    argo.change(|app| app["spec"]["project"] = "bank".into());
    let other = read(step("get_app", json!({}))).await.unwrap_err();
    assert!(other.message.contains("there is no such application"), "{other}");
    assert!(argo.effects().is_empty());
}

#[tokio::test]
async fn what_is_read_of_a_huge_application_has_bounds() {
    let (argo, url) = ArgoCd::serve().await;
    let many: Vec<_> = (0..2000)
        .map(|n| {
            let mut item = managed("Deployment", deployment("web:2"), deployment(&"x".repeat(500)));
            item["name"] = format!("web-{n}").into();
            item
        })
        .collect();
    argo.manages(json!(many));
    let text = preview(&url, json!({}), step("sync", json!({}))).await.unwrap().text;
    assert!(text.len() < 64 * 1024, "{}", text.len());
    assert!(text.contains("2000 objects differ"), "the sum is said all the same");
    // Five MiB of an answer are read where they may be.
    argo.change(|app| app["status"]["padding"] = "x".repeat(5 << 20).into());
    assert!(preview(&url, json!({}), step("sync", json!({}))).await.is_ok());
    let error = preview(&url, json!({ "maxBodyBytes": 1 << 20 }), step("sync", json!({}))).await.unwrap_err();
    assert!(error.message.contains("larger than 1048576 bytes"), "{error}");
}

#[tokio::test]
async fn the_connection_test_says_who_the_token_is_and_what_it_may_do() {
    let (_, url) = ArgoCd::serve().await;
    let report = adapter(&url).check(&cx()).await.unwrap();
    assert!(report.message.contains("Argo CD v3.0.0+1234567") && report.message.ends_with("to rounds"), "{report:?}");
    let may: Vec<_> = report.abilities.iter().map(|ability| (ability.what.as_str(), ability.ok)).collect();
    assert_eq!(may, [("read", true), ("sync and roll back", true), ("switch auto-sync", false)]);
    assert!(report.facts["warning"].contains("unencrypted") && report.lack.is_none(), "{report:?}");
    let nothing = adapter_with(&url, json!({ "allowedApps": [] }), TOKEN).check(&cx()).await.unwrap();
    assert!(nothing.lack.unwrap().contains("allowedApps"));
}

#[tokio::test]
async fn rule_12_a_token_that_the_server_repeats_is_not_repeated_by_us() {
    let (_, url) = ArgoCd::serve().await;
    let wrong = "hunter2-and-more-of-it";
    let adapter = adapter_with(&url, json!({}), wrong);
    let error = adapter.check(&cx()).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unauthorized);
    assert!(error.message.contains("401") && !error.message.contains("hunter2"), "{error}");
    let reviewed = adapter.review(&step("sync", json!({})), Mode::Write).unwrap();
    let error = adapter.dry_run(&cx(), &reviewed).await.unwrap_err();
    assert!(error.effect == Effect::NotStarted && !format!("{error:?}").contains("hunter2"), "{error:?}");
    for token in ["", " \n", "a\r\nb", "\u{7f}"] {
        let error = adapter_with(&url, json!({}), token).check(&cx()).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Unauthorized, "{token:?}: {error}");
    }
}

#[tokio::test]
async fn a_token_that_is_no_token_is_refused_when_it_is_handed_in() {
    let registry = Registry::linked().unwrap();
    let cx = BuildContext::new("cd", SecretHandle::none(), Arc::new(Host::default()));
    let check = |token: &str| registry.get("argocd").unwrap().check_secret(&cx, &token.into());
    check(&format!("{TOKEN}\n")).unwrap();
    for token in ["", "Bearer hunter2", "hunter2 hunter2"] {
        let error = check(token).unwrap_err().to_string();
        assert!(error.contains("secret: ") && !error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_preview_that_nobody_waits_for_ends() {
    let (argo, url) = ArgoCd::serve().await;
    argo.fate(Fate { reads: None, phase: "", message: "" });
    let adapter = adapter_with(&url, json!({ "dryRun": "server", "timeoutSec": 600 }), TOKEN);
    let reviewed = adapter.review(&step("sync", json!({})), Mode::Write).unwrap();
    let cx = CallContext::with_timeout(std::time::Duration::from_secs(600));
    let cancel = cx.cancel.clone();
    let asked = tokio::spawn(async move { adapter.dry_run(&cx, &reviewed).await });
    while argo.effects().is_empty() {
        tokio::task::yield_now().await;
    }
    cancel.cancel();
    let preview = tokio::time::timeout(PATIENCE, asked).await.expect("it ends").unwrap();
    assert!(!format!("{preview:?}").contains("Succeeded: successfully"), "{preview:?}");
}

#[tokio::test]
async fn a_server_that_hangs_never_ends_or_sends_elsewhere_is_an_error_in_time() {
    let hostile = |answer: fn() -> axum::response::Response| async move {
        let router = axum::Router::new().fallback(async move || answer());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    };
    let endless =
        hostile(|| axum::response::Response::new(axum::body::Body::from_stream(super::server::Endless))).await;
    let redirects = hostile(|| {
        axum::response::IntoResponse::into_response((
            axum::http::StatusCode::FOUND,
            [("location", "http://127.0.0.1:1/")],
        ))
    })
    .await;
    let page = hostile(|| axum::response::IntoResponse::into_response("<html>sign in</html>")).await;
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", deaf.local_addr().unwrap());
    for (url, says) in
        [(endless, "larger than"), (redirects, "redirects are not followed"), (page, "`url`"), (silent, "within 1 s")]
    {
        let adapter = adapter_with(&url, json!({ "requestTimeoutSec": 1, "maxBodyBytes": 65_536 }), TOKEN);
        let reviewed = adapter.review(&step("get_app", json!({})), Mode::Read).unwrap();
        let error = adapter.read(&cx(), ReadStep::new(reviewed).unwrap()).await.unwrap_err();
        assert!(error.effect == Effect::NotStarted && error.message.contains(says), "{says}: {error}");
        assert!(adapter.check(&cx()).await.is_err(), "{says}");
    }
}
