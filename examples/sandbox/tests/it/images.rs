use std::time::Duration;

use rounds_sandbox::{ImageBehaviour, UnknownImages};

use crate::world::{World, builder, random};

const RATIO: &str = "http_request_errors_ratio{namespace=\"{ns}\",deployment=\"{d}\"}";

#[tokio::test]
async fn a_bad_image_raises_the_error_ratio_and_undo_lowers_it() {
    let w = World::with(builder(), |w| w.rolling_update = Some(("100%".into(), "0".into()))).await;
    w.metric(RATIO, |v| v == 0.0).await;
    let bad = format!("registry.test/{}:broken", random("img"));
    w.sandbox.break_image(&w.ns, &w.name, &bad).await.unwrap();
    w.waits_for("ImagePullBackOff").await;
    w.metric(RATIO, |v| v > 0.9).await;
    w.metric("sum(rate(http_requests_total{namespace=\"{ns}\",code=\"503\"}[5s]))", |v| v > 10.0).await;
    w.metric("kube_deployment_status_replicas_unavailable{deployment=\"{d}\"}", |v| v == 3.0).await;
    w.metric(
        "count(kube_pod_container_status_waiting_reason{namespace=\"{ns}\",reason=\"ImagePullBackOff\"} == 1)",
        |v| v > 0.0,
    )
    .await;
    let out = w.run("get events -n {ns}").await;
    assert!(out.contains("Failed to pull image") && out.contains("not found"), "{out}");
    assert!(w.run("get pods -n {ns}").await.contains("BackOff"));
    w.run("rollout undo deployment/{d} -n {ns}").await;
    w.run("rollout status deployment/{d} -n {ns} --timeout=30s").await;
    w.metric(RATIO, |v| v == 0.0).await;
}

#[tokio::test]
async fn only_configuration_decides_which_images_exist() {
    let w = World::with(builder().unknown_images(UnknownImages::Missing), |_| {}).await;
    w.sandbox.images().register("registry.test/app:does-not-exist", ImageBehaviour::Runs);
    w.sandbox.set_image(&w.ns, &w.name, "registry.test/app:does-not-exist").await.unwrap();
    w.rolled_out().await;
    w.sandbox.set_image(&w.ns, &w.name, "registry.test/app:perfectly-fine").await.unwrap();
    w.waits_for("ImagePullBackOff").await;
    w.sandbox.images().register("registry.test/app:perfectly-fine", ImageBehaviour::Runs);
    w.rolled_out().await;
}

#[tokio::test]
async fn a_crashing_image_backs_off_and_keeps_its_last_words() {
    let w = World::new().await;
    let behaviour = ImageBehaviour::Crashes {
        after: Duration::from_millis(500),
        exit_code: 3,
        lines: vec!["reading config".into(), "fatal: no database".into()],
    };
    w.sandbox.images().register("registry.test/app:crash", behaviour);
    w.sandbox.set_image(&w.ns, &w.name, "registry.test/app:crash").await.unwrap();
    w.waits_for("CrashLoopBackOff").await;
    let snapshot = w.sandbox.snapshot();
    let pods = snapshot.pods_of(&w.ns, &w.name);
    let status = |p: &serde_json::Value| p["status"]["containerStatuses"][0].clone();
    let pod = pods.iter().find(|p| status(p)["state"]["waiting"]["reason"] == "CrashLoopBackOff").unwrap();
    assert_eq!(status(pod)["lastState"]["terminated"]["exitCode"], 3);
    assert!(status(pod)["restartCount"].as_i64().unwrap() >= 1);
    let pod = pod["metadata"]["name"].as_str().unwrap();
    let out = w.run(&format!("logs {pod} -n {{ns}} --previous")).await;
    assert!(out.contains("fatal: no database"), "{out}");
    w.metric("max(kube_pod_container_status_restarts_total{namespace=\"{ns}\"})", |v| v >= 1.0).await;
}

#[tokio::test]
async fn memory_is_enough_or_it_is_not() {
    let w = World::with(builder(), |w| w.resources = Some(("100m".into(), "128Mi".into()))).await;
    let hungry = ImageBehaviour::OutOfMemory { after: Duration::from_secs(1), needs_bytes: 200 << 20 };
    w.sandbox.images().register("registry.test/app:hungry", hungry);
    w.sandbox.set_image(&w.ns, &w.name, "registry.test/app:hungry").await.unwrap();
    w.waits_for("CrashLoopBackOff").await;
    w.metric("kube_pod_container_status_last_terminated_reason{namespace=\"{ns}\",reason=\"OOMKilled\"}", |v| v == 1.0)
        .await;
    w.run("set resources deployment/{d} -n {ns} -c {c} --limits=memory=256Mi --requests=memory=256Mi").await;
    w.run("rollout status deployment/{d} -n {ns} --timeout=30s").await;
}

#[tokio::test]
async fn a_rollout_that_is_never_ready_exceeds_its_deadline() {
    let w = World::with(builder(), |w| w.progress_deadline_s = Some(20)).await;
    w.sandbox.images().register("registry.test/app:slow", ImageBehaviour::NeverReady);
    w.sandbox.set_image(&w.ns, &w.name, "registry.test/app:slow").await.unwrap();
    let exceeded = |c: &rounds_sandbox::Snapshot| {
        let d = c.get("Deployment", &w.ns, &w.name).unwrap();
        let conditions = d["status"]["conditions"].as_array().unwrap();
        conditions.iter().any(|k| k["reason"] == "ProgressDeadlineExceeded" && k["status"] == "False")
    };
    w.sandbox.wait_until(exceeded, crate::world::SOON).await.unwrap();
    let said = w.kubectl.fails(&w.fill("rollout status deployment/{d} -n {ns} --timeout=30s")).await;
    assert!(said.contains("exceeded its progress deadline"), "{said}");
    assert!(w.run("get events -n {ns}").await.contains("Readiness probe failed"));
}

#[tokio::test]
async fn pods_that_ask_for_too_much_stay_pending() {
    let w = World::with(builder().nodes(1, 2.0, 4 << 30), |_| {}).await;
    w.run("set resources deployment/{d} -n {ns} --requests=cpu=3").await;
    let out = |c: &rounds_sandbox::Snapshot| {
        c.list("Event", Some(&w.ns))
            .iter()
            .any(|e| e["reason"] == "FailedScheduling" && e["message"].as_str().unwrap().contains("Insufficient cpu"))
    };
    w.sandbox.wait_until(out, crate::world::SOON).await.unwrap();
    assert!(w.run("get pods -n {ns}").await.contains("Pending"));
}
