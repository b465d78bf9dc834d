use rounds_sandbox::{ScalingWording, Workload, WorkloadKind};

use crate::world::{SOON, World, builder, random};

#[tokio::test]
async fn stateful_and_daemon_sets_run_their_pods() {
    let w = World::new().await;
    let (sts, ds) = (random("sts"), random("ds"));
    for (name, kind) in [(&sts, WorkloadKind::StatefulSet), (&ds, WorkloadKind::DaemonSet)] {
        let mut workload = Workload::new(&w.ns, name, "registry.test/set:1");
        workload.kind = kind;
        workload.replicas = 2;
        w.sandbox.create_workload(workload).await.unwrap();
    }
    w.run(&format!("rollout status statefulset/{sts} -n {{ns}} --timeout=30s")).await;
    w.run(&format!("rollout status daemonset/{ds} -n {{ns}} --timeout=30s")).await;
    assert!(w.sandbox.snapshot().get("Pod", &w.ns, &format!("{sts}-1")).is_some());
    w.run(&format!("scale statefulset/{sts} -n {{ns}} --replicas=1")).await;
    w.sandbox.wait_until(|c| c.pods_of(&w.ns, &sts).len() == 1, SOON).await.unwrap();
    w.run(&format!("rollout restart statefulset/{sts} -n {{ns}}")).await;
    w.run(&format!("rollout status statefulset/{sts} -n {{ns}} --timeout=30s")).await;
    w.run(&format!("rollout restart daemonset/{ds} -n {{ns}}")).await;
    w.run(&format!("rollout status daemonset/{ds} -n {{ns}} --timeout=30s")).await;
    w.run(&format!("rollout undo statefulset/{sts} -n {{ns}}")).await;
}

#[tokio::test]
async fn a_deleted_pod_is_replaced() {
    let w = World::new().await;
    let snapshot = w.sandbox.snapshot();
    let pod = snapshot.pods_of(&w.ns, &w.name)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    w.run(&format!("delete pod {pod} -n {{ns}}")).await;
    assert!(w.sandbox.snapshot().get("Pod", &w.ns, &pod).is_none());
    w.rolled_out().await;
    assert!(w.run("get events -n {ns}").await.contains("Stopping container"));
}

#[tokio::test]
async fn saturation_makes_an_autoscaler_scale() {
    let w = World::new().await;
    let hpa = serde_json::json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": w.name, "namespace": w.ns},
        "spec": {"minReplicas": 1, "maxReplicas": 8, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": w.name},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}]},
    });
    w.kubectl.run_args(&["apply", "-f", "-"], Some(&hpa.to_string())).await;
    w.sandbox.set_traffic(&w.ns, &w.name, 300.0).await.unwrap();
    w.sandbox
        .wait_until(|c| c.get("Deployment", &w.ns, &w.name).unwrap()["spec"]["replicas"] == 8, SOON)
        .await
        .unwrap();
    assert!(w.run("get hpa -n {ns}").await.contains(&w.name));
    w.metric("workload_saturation_ratio{deployment=\"{d}\"}", |v| v < 0.8).await;
}

#[tokio::test]
async fn scaling_events_speak_the_chosen_dialect() {
    for (wording, said) in
        [(ScalingWording::FromTo, "from 3 to 0"), (ScalingWording::ToFrom, "to 0 from 3"), (ScalingWording::To, "to 0")]
    {
        let w = World::with(builder().scaling_wording(wording), |_| {}).await;
        w.sandbox.scale(&w.ns, &w.name, 0).await.unwrap();
        let recorded = |c: &rounds_sandbox::Snapshot| {
            c.list("Event", Some(&w.ns)).iter().any(|e| {
                let message = e["message"].as_str().unwrap_or_default();
                message.starts_with("Scaled down replica set") && message.ends_with(said)
            })
        };
        w.sandbox.wait_until(recorded, SOON).await.unwrap();
    }
}
