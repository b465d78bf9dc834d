use crate::world::World;

#[tokio::test]
async fn get_and_describe_show_the_workload_and_its_pods() {
    let w = World::new().await;
    let out = w.run("get deployments -n {ns}").await;
    assert!(out.contains(&w.name) && out.contains("3/3"), "{out}");
    let out = w.run("get pods -n {ns} -l app={d} -o wide").await;
    assert_eq!(out.matches("Running").count(), 3, "{out}");
    let out = w.run("get pods -n {ns} --field-selector status.phase=Pending").await;
    assert_eq!(out, "");
    let out = w.run("get deployment {d} -n {ns} -o jsonpath={.spec.template.spec.containers[0].image}").await;
    assert_eq!(out, w.image);
    let out = w.run("describe deployment {d} -n {ns}").await;
    assert!(out.contains("3 available") && out.contains("ScalingReplicaSet"), "{out}");
    let out = w.run("describe pods -n {ns}").await;
    assert!(out.contains("Successfully pulled image"), "{out}");
    assert!(w.run("get all -n {ns}").await.contains("service/"));
    assert!(w.run("get nodes").await.contains("node-1"));
    assert!(w.run("describe node node-1").await.contains("Capacity"));
}

#[tokio::test]
async fn logs_top_events_version_and_api_resources_answer() {
    let w = World::new().await;
    let out = w.run("logs deployment/{d} -n {ns} --tail=1").await;
    assert_eq!(out.lines().count(), 1);
    assert!(w.run("logs -n {ns} -l app={d} --prefix").await.contains("starting"));
    assert_eq!(w.run("top pods -n {ns}").await.lines().count(), 4);
    assert!(w.run("top nodes").await.contains("node-2"));
    assert!(w.run("get events -n {ns}").await.contains("SuccessfulCreate"));
    assert!(w.run("version").await.contains("v1.33"));
    assert!(w.run("api-resources").await.contains("horizontalpodautoscalers"));
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_no_token_is_unauthorized() {
    let w = World::new().await;
    let said = w.kubectl.fails(&w.fill("get deployment nothing -n {ns}")).await;
    assert!(said.contains("deployments.apps \"nothing\" not found"), "{said}");
    let stranger = crate::kubectl::Kubectl::new(&w.sandbox.kubeconfig().replace("token: ", "token: x"));
    let said = stranger.fails("get pods").await;
    assert!(said.contains("logged in") || said.contains("Unauthorized"), "{said}");
}

#[tokio::test]
async fn a_read_writes_nothing() {
    let w = World::new().await;
    w.sandbox.clear_requests();
    w.run("get pods -n {ns}").await;
    w.run("describe deployment {d} -n {ns}").await;
    w.run("rollout history deployment/{d} -n {ns}").await;
    let requests = w.sandbox.requests();
    assert!(!requests.is_empty());
    assert!(requests.iter().all(|r| !r.is_write() && r.user_agent.contains("kubectl")), "{requests:#?}");
}
