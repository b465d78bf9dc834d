//! The way back from a change: asked for before it, it leads back to what was there.

use std::time::Duration;

use rounds_core::ports::{CallContext, ExecutionAdapter, Inverse};
use rounds_core::step::{Mode, ReviewedStep, StepSpec};
use serde_json::Value;

use crate::cluster::TestCluster;

/// Runs a reviewed step past the approval that the executor would ask for.
async fn run(cluster: &TestCluster, step: &ReviewedStep) {
    let argv: Vec<String> = serde_json::from_value(step.params["argv"].clone()).unwrap();
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    cluster.prepare(&argv, step.params["stdin"].as_str().unwrap_or_default()).await;
}

/// A mapping, unless it is empty: an empty one and none are the same.
fn filled(metadata: &Value, field: &str) -> Option<Value> {
    metadata.get(field).cloned().filter(|map| map.as_object().is_some_and(|map| !map.is_empty()))
}

/// What people decided about the objects, without what the cluster counts.
async fn state(cluster: &TestCluster) -> Vec<Value> {
    let text = cluster.prepare(&["-n", &cluster.namespace, "get", "deploy,cm", "-o", "json"], "").await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    let decided = |object: &Value| {
        let mut metadata = object["metadata"].clone();
        if let Some(annotations) = metadata["annotations"].as_object_mut() {
            annotations.retain(|key, _| !key.contains("kubernetes.io/"));
        }
        serde_json::json!({
            "name": metadata["name"],
            "labels": filled(&metadata, "labels"),
            "annotations": filled(&metadata, "annotations"),
            "data": object.get("data"),
            "spec": object.get("spec"),
        })
    };
    answer["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|object| object["metadata"]["name"] != "kube-root-ca.crt")
        .map(decided)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_steps_back_from_a_change_bring_back_what_was_observed_before_it() {
    let cluster = TestCluster::start().await;
    let adapter = cluster.adapter();
    let n = &cluster.namespace;
    let cx = CallContext::with_timeout(Duration::from_secs(60));
    let line = |line: &str| StepSpec::command(format!("{line} -n {n}").split(' '));
    let patch =
        |kind: &str, body: &str| StepSpec::command(["patch", "deploy/web", "-n", n, "--type", kind, "-p", body]);
    let apply = |manifest: &str| StepSpec::command(["apply", "-f", "-", "-n", n]).with_stdin(manifest);
    for step in [
        line("scale deploy/web --replicas=5"),
        line("rollout undo deploy/web"),
        line("rollout pause deploy/web"),
        line("label cm/settings tier=front"),
        line("annotate deploy/web note=x"),
        patch("strategic", r#"{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"new:1"}]}}}}"#),
        patch("merge", r#"{"spec":{"minReadySeconds":7},"metadata":{"labels":{"a":"b"}}}"#),
        patch("json", r#"[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"new:2"}]"#),
        apply(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: red, more: x}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: fresh}\ndata: {a: b}\n",
        ),
        line("delete cm/settings"),
    ] {
        let step = adapter.review(&step, Mode::Write).unwrap();
        let before = state(&cluster).await;
        let Inverse::Steps(back) = adapter.inverse(&cx, &step).await.unwrap() else {
            panic!("{} has a way back", step.command_text)
        };
        run(&cluster, &step).await;
        assert_ne!(state(&cluster).await, before, "{} changes something", step.command_text);
        for back in back {
            let back = adapter.review(&back, Mode::Write).unwrap_or_else(|refusal| panic!("{back:?}: {refusal}"));
            run(&cluster, &back).await;
        }
        assert_eq!(state(&cluster).await, before, "{}", step.command_text);
    }
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_nothing_behind_needs_no_way_back_and_what_cannot_be_had_back_has_none() {
    let cluster = TestCluster::start().await;
    let adapter = cluster.adapter();
    let n = &cluster.namespace;
    let cx = CallContext::with_timeout(Duration::from_secs(60));
    let secret = r#"{"data":{"password":"hunter2-hunter2"}}"#;
    cluster.prepare(&["-n", n, "patch", "cm/settings", "--type=merge", "-p", secret], "").await;
    let pods = cluster.prepare(&["-n", n, "get", "pods", "-o", "name"], "").await;
    let pod = pods.lines().next().unwrap();
    for (words, expected) in [
        (vec!["get", "pods"], Inverse::NotNeeded),
        (vec!["rollout", "restart", "deploy/web"], Inverse::NotNeeded),
        // Its controller makes it anew.
        (vec!["delete", pod], Inverse::NotNeeded),
        (vec!["scale", "deploy/web", "--replicas=4", "--dry-run=server"], Inverse::NotNeeded),
        // Bringing the value back would write it into the plan.
        (vec!["patch", "cm/settings", "--type=merge", "-p", r#"{"data":{"password":"other"}}"#], Inverse::Unknown),
        (vec!["delete", "cm/settings"], Inverse::Unknown),
    ] {
        let step = StepSpec::command(words.iter().copied().chain(["-n", n.as_str()]));
        let step = adapter.review(&step, Mode::Write).unwrap();
        assert_eq!(adapter.inverse(&cx, &step).await.unwrap(), expected, "{}", step.command_text);
    }
    cluster.finish().await;
}
