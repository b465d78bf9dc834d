use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn a_server_dry_run_changes_nothing() {
    let w = World::new().await;
    w.run("set image deployment/{d} -n {ns} {c}=registry.test/next:2").await;
    w.rolled_out().await;
    w.run("rollout status deployment/{d} -n {ns} --timeout=30s").await;
    w.sandbox.wait_until(|c| c.pods_of(&w.ns, &w.name).len() == 3, crate::world::SOON).await.unwrap();
    let before = w.sandbox.snapshot();
    let spec = |s: &rounds_sandbox::Snapshot| {
        let d = s.get("Deployment", &w.ns, &w.name).unwrap();
        (d["metadata"].clone(), d["spec"].clone())
    };
    w.sandbox.clear_requests();
    for line in [
        "scale deployment/{d} -n {ns} --replicas=9 --dry-run=server",
        "rollout undo deployment/{d} -n {ns} --dry-run=server",
        "patch deployment/{d} -n {ns} --type=merge -p {\"spec\":{\"replicas\":9}} --dry-run=server",
        "patch deployment/{d} -n {ns} --type=strategic -p {\"spec\":{\"replicas\":9}} --dry-run=server",
        "patch deployment/{d} -n {ns} --type=json -p [{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":9}] --dry-run=server",
        "annotate deployment/{d} -n {ns} note=yes --dry-run=server",
        "label deployment/{d} -n {ns} team=blue --dry-run=server",
        "set image deployment/{d} -n {ns} {c}=registry.test/other:3 --dry-run=server",
        "delete deployment {d} -n {ns} --dry-run=server",
        "delete service {d} -n {ns} --dry-run=server",
    ] {
        w.run(line).await;
    }
    let manifest =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new", "namespace": w.ns}, "data": {}});
    for args in
        [&["apply", "-f", "-", "--dry-run=server"][..], &["apply", "--server-side", "-f", "-", "--dry-run=server"]]
    {
        w.kubectl.run_args(args, Some(&manifest.to_string())).await;
    }
    let after = w.sandbox.snapshot();
    assert_eq!(spec(&before), spec(&after));
    assert!(after.get("ConfigMap", &w.ns, "new").is_none());
    assert!(after.get("Service", &w.ns, &w.name).is_some());
    let requests = w.sandbox.requests();
    assert!(requests.iter().filter(|r| r.is_dry_run()).count() >= 12);
    assert!(requests.iter().all(|r| !r.is_write()), "every mutating request of a dry run says dryRun=All");
}

#[tokio::test]
async fn a_dry_run_is_refused_for_what_would_be_refused() {
    let w = World::new().await;
    let said = w.kubectl.fails(&w.fill("scale deployment/{d} -n {ns} --replicas=-1 --dry-run=server")).await;
    assert!(said.contains("replicas"), "{said}");
    let line = "patch deployment/{d} -n {ns} --type=merge -p {\"spec\":{\"replicas\":\"three\"}} --dry-run=server";
    let said = w.kubectl.fails(&w.fill(line)).await;
    assert!(said.contains("replicas"), "{said}");
}
