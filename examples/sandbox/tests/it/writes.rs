use serde_json::json;

use crate::world::{SOON, World, random};

#[tokio::test]
async fn scale_changes_the_replicas() {
    let w = World::new().await;
    w.run("scale deployment/{d} -n {ns} --replicas=5").await;
    w.rolled_out().await;
    assert_eq!(w.replicas(), 5);
    w.run("scale deployment/{d} -n {ns} --current-replicas=5 --replicas=0").await;
    w.sandbox.wait_until(|c| c.pods_of(&w.ns, &w.name).is_empty(), SOON).await.unwrap();
    let out = w.run("get events -n {ns}").await;
    assert!(out.contains("Scaled down replica set"), "{out}");
}

#[tokio::test]
async fn undo_reuses_the_old_replica_set_and_moves_its_revision() {
    let w = World::new().await;
    w.run("set image deployment/{d} -n {ns} {c}=registry.test/next:2").await;
    w.run("rollout status deployment/{d} -n {ns} --timeout=30s").await;
    assert_eq!(w.image_now(), "registry.test/next:2");
    let out = w.run("rollout history deployment/{d} -n {ns}").await;
    let revisions = |out: &str| -> Vec<String> {
        out.lines().filter(|l| l.starts_with(|c: char| c.is_ascii_digit())).map(|l| l[..1].to_owned()).collect()
    };
    assert_eq!(revisions(&out), ["1", "2"]);
    w.run("rollout undo deployment/{d} -n {ns}").await;
    w.run("rollout status deployment/{d} -n {ns} --timeout=30s").await;
    assert_eq!(w.image_now(), w.image);
    let out = w.run("rollout history deployment/{d} -n {ns}").await;
    assert_eq!(revisions(&out), ["2", "3"], "{out}");
    assert_eq!(w.sandbox.snapshot().list("ReplicaSet", Some(&w.ns)).len(), 2);
    w.run("rollout undo deployment/{d} -n {ns} --to-revision=2").await;
    w.rolled_out().await;
    assert_eq!(w.image_now(), "registry.test/next:2");
}

#[tokio::test]
async fn restart_replaces_every_pod_and_pause_holds_a_rollout() {
    let w = World::new().await;
    let names = |w: &World| -> Vec<String> {
        w.sandbox.snapshot().pods_of(&w.ns, &w.name).iter().map(|p| p["metadata"]["name"].to_string()).collect()
    };
    let before = names(&w);
    w.run("rollout restart deployment/{d} -n {ns}").await;
    w.run("rollout status deployment/{d} -n {ns} --timeout=30s").await;
    w.sandbox.wait_until(|c| c.pods_of(&w.ns, &w.name).len() == 3, SOON).await.unwrap();
    assert!(names(&w).iter().all(|n| !before.contains(n)));
    w.run("rollout pause deployment/{d} -n {ns}").await;
    w.run("set image deployment/{d} -n {ns} {c}=registry.test/held:1").await;
    let held = |c: &rounds_sandbox::Snapshot| {
        let d = c.get("Deployment", &w.ns, &w.name).unwrap();
        d["status"]["observedGeneration"] == d["metadata"]["generation"]
    };
    w.sandbox.wait_until(held, SOON).await.unwrap();
    let pods = w.sandbox.snapshot();
    assert!(pods.pods_of(&w.ns, &w.name).iter().all(|p| p["spec"]["containers"][0]["image"] == json!(w.image)));
    w.run("rollout resume deployment/{d} -n {ns}").await;
    w.run("rollout status deployment/{d} -n {ns} --timeout=30s").await;
}

#[tokio::test]
async fn the_three_patch_types_do_what_they_say() {
    let w = World::new().await;
    let patch = async |kind: &str, body: String| {
        let d = format!("deployment/{}", w.name);
        w.kubectl.run_args(&["patch", &d, "-n", &w.ns, "--type", kind, "-p", &body], None).await
    };
    let env = json!({"spec": {"template": {"spec": {"containers": [
        {"name": w.container, "env": [{"name": "A", "value": "1"}]}]}}}});
    patch("strategic", env.to_string()).await;
    let container = |w: &World| {
        let s = w.sandbox.snapshot();
        s.get("Deployment", &w.ns, &w.name).unwrap()["spec"]["template"]["spec"]["containers"][0].clone()
    };
    assert_eq!(container(&w)["env"], json!([{"name": "A", "value": "1"}]));
    assert_eq!(container(&w)["image"], json!(w.image), "a strategic merge keeps the rest of the container");
    let more = json!({"spec": {"template": {"spec": {"containers": [{"name": w.container, "env": [
        {"name": "B", "value": "2"}, {"name": "A", "$patch": "delete"}]}]}}}});
    patch("strategic", more.to_string()).await;
    assert_eq!(container(&w)["env"], json!([{"name": "B", "value": "2"}]));
    patch("merge", json!({"spec": {"replicas": 2}, "metadata": {"labels": {"x": "y"}}}).to_string()).await;
    assert_eq!(w.replicas(), 2);
    patch("json", json!([{"op": "replace", "path": "/spec/replicas", "value": 4}]).to_string()).await;
    assert_eq!(w.replicas(), 4);
    w.rolled_out().await;
}

#[tokio::test]
async fn apply_annotate_label_and_delete() {
    let w = World::new().await;
    let name = random("cm");
    let manifest = |value: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": w.ns}, "data": {"k": value}})
            .to_string()
    };
    let value = |w: &World| w.sandbox.snapshot().get("ConfigMap", &w.ns, &name).map(|c| c["data"]["k"].clone());
    w.kubectl.run_args(&["apply", "-f", "-"], Some(&manifest("1"))).await;
    assert_eq!(value(&w), Some(json!("1")));
    let out = w.kubectl.run_args(&["apply", "-f", "-"], Some(&manifest("2"))).await;
    assert!(out.contains("configured"), "{out}");
    assert_eq!(value(&w), Some(json!("2")));
    w.kubectl.run_args(&["apply", "--server-side", "--force-conflicts", "-f", "-"], Some(&manifest("3"))).await;
    assert_eq!(value(&w), Some(json!("3")));
    w.run("annotate deployment/{d} -n {ns} note=yes").await;
    w.run("label deployment/{d} -n {ns} team=blue").await;
    w.run("label deployment/{d} -n {ns} team-").await;
    let s = w.sandbox.snapshot();
    let d = s.get("Deployment", &w.ns, &w.name).unwrap();
    assert_eq!(d["metadata"]["annotations"]["note"], "yes");
    assert!(d["metadata"]["labels"].get("team").is_none());
    w.run(&format!("delete configmap {name} -n {{ns}}")).await;
    assert_eq!(value(&w), None);
    w.run("delete deployment {d} -n {ns}").await;
    w.sandbox.wait_until(|c| c.pods_of(&w.ns, &w.name).is_empty(), SOON).await.unwrap();
    w.run("delete namespace {ns}").await;
    assert!(w.sandbox.snapshot().get("Namespace", "", &w.ns).is_none());
}

#[tokio::test]
async fn an_update_of_an_old_version_is_a_conflict() {
    let w = World::new().await;
    let snapshot = w.sandbox.snapshot();
    let mut old = snapshot.get("Deployment", &w.ns, &w.name).unwrap().clone();
    w.run("scale deployment/{d} -n {ns} --replicas=2").await;
    old["spec"]["replicas"] = json!(7);
    let out = w.kubectl.try_run(&["replace", "-f", "-"], Some(&old.to_string())).await;
    assert!(!out.ok && out.stderr.contains("the object has been modified"), "{}", out.stderr);
    assert_eq!(w.replicas(), 2);
}

#[tokio::test]
async fn scale_refuses_when_the_current_replicas_are_others() {
    let w = World::new().await;
    let said = w.kubectl.fails(&w.fill("scale deployment/{d} -n {ns} --current-replicas=9 --replicas=1")).await;
    assert!(said.contains("xpected"), "{said}");
    assert_eq!(w.replicas(), 3);
}
