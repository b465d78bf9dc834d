//! Changes of objects that Argo CD or Flux manages are flagged before anybody decides.

use std::time::Duration;

use rounds_core::ports::{CallContext, ExecutionAdapter};
use rounds_core::step::{Mode, StepSpec};
use serde_json::json;

use crate::cluster::TestCluster;

async fn preview(cluster: &TestCluster, line: &str) -> String {
    let adapter = cluster.adapter();
    let spec = StepSpec::command(line.split(' ').chain(["-n", &cluster.namespace]));
    let step = adapter.review(&spec, Mode::Write).unwrap();
    match adapter.dry_run(&CallContext::with_timeout(Duration::from_secs(60)), &step).await {
        Ok(dry) => dry.text,
        Err(error) => format!("error: {}", error.message),
    }
}

async fn meta(cluster: &TestCluster, what: &str, metadata: serde_json::Value) {
    let body = json!({ "metadata": metadata }).to_string();
    cluster.prepare(&["-n", &cluster.namespace, "patch", what, "--type=merge", "-p", &body], "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_line_of_a_preview_says_who_will_revert_the_change() {
    let cluster = TestCluster::start().await;
    let n = cluster.namespace.clone();
    for line in ["scale deploy/web --replicas=3", "rollout restart deploy/web"] {
        let text = preview(&cluster, line).await;
        assert!(!text.contains("managed by"), "{line}: {text}");
    }
    let id = format!("shop:apps/Deployment:{n}/web");
    meta(&cluster, "deploy/web", json!({ "annotations": { "argocd.argoproj.io/tracking-id": id } })).await;
    let flux =
        json!({ "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system" });
    meta(&cluster, "cm/settings", json!({ "labels": flux })).await;
    let argo = "Deployment/web: managed by Argo CD application shop: this change will be reverted at its next sync; propose a pull request instead";
    for line in [
        "scale deploy/web --replicas=3",
        "rollout restart deploy/web",
        "rollout undo deploy/web",
        "label deploy/web tier=front",
        "patch deploy/web -p {\"spec\":{\"replicas\":3}}",
    ] {
        let text = preview(&cluster, line).await;
        assert_eq!(text.lines().next(), Some(argo), "{line}: {text}");
        assert!(text.lines().count() > 1, "{line}: the preview itself follows: {text}");
    }
    let text = preview(&cluster, "delete cm settings").await;
    assert!(
        text.starts_with("ConfigMap/settings: managed by Flux Kustomization flux-system/apps: this change"),
        "{text}"
    );
    assert!(preview(&cluster, "label cm/settings deploy/web a=b").await.matches("managed by").count() == 2);

    let pods = cluster.prepare(&["-n", &n, "get", "pods", "-o", "name"], "").await;
    let pod = pods.lines().next().unwrap();
    let text = preview(&cluster, &format!("delete {pod}")).await;
    assert!(text.starts_with(&format!("through its owner, {argo}")), "{text}");
    assert!(cluster.requests().iter().all(|request| !request.path.contains("secrets")));
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_the_owners_that_fails_is_said_and_the_preview_stands() {
    let cluster = TestCluster::start().await;
    let Some(sandbox) = &cluster.sandbox else { return cluster.finish().await };
    let pods = cluster.prepare(&["-n", &cluster.namespace, "get", "pods", "-o", "name"], "").await;
    sandbox.forbid("get", "replicasets", None);
    let text = preview(&cluster, &format!("label {} a=b", pods.lines().next().unwrap())).await;
    assert!(text.starts_with("whether Argo CD or Flux manages ReplicaSet.v1.apps/web-"), "{text}");
    assert!(text.contains("forbidden") && text.contains("+    a: b"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_flag_is_there_when_the_dry_run_itself_is_refused() {
    let cluster = TestCluster::start().await;
    let Some(sandbox) = &cluster.sandbox else { return cluster.finish().await };
    meta(&cluster, "deploy/web", json!({ "labels": { "argocd.argoproj.io/instance": "shop" } })).await;
    sandbox.forbid("patch", "deployments", None);
    let text = preview(&cluster, "label deploy/web a=b").await;
    assert!(text.starts_with("error: Deployment/web: managed by Argo CD application shop"), "{text}");
    assert!(text.contains("forbidden"), "{text}");
}
