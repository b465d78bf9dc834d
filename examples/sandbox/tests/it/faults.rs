use rounds_sandbox::{FaultAction, FaultRule};

use crate::world::World;

#[tokio::test]
async fn a_fault_before_the_effect_leaves_things_as_they_were() {
    let w = World::new().await;
    let action = FaultAction::Status(503, "the server is having a bad day".into());
    w.sandbox.fault(FaultRule::new("/scale", action).method("PATCH"));
    w.sandbox.fault(FaultRule::new("/scale", FaultAction::Drop).method("PUT"));
    w.kubectl.fails(&w.fill("scale deployment/{d} -n {ns} --replicas=1")).await;
    assert_eq!(w.replicas(), 3);
    w.sandbox.clear_faults();
    w.run("scale deployment/{d} -n {ns} --replicas=1").await;
    assert_eq!(w.replicas(), 1);
}

#[tokio::test]
async fn a_fault_after_the_effect_loses_only_the_answer() {
    let w = World::new().await;
    for method in ["PATCH", "PUT"] {
        w.sandbox.fault(FaultRule::new("/scale", FaultAction::Drop).method(method).after_effect());
    }
    w.kubectl.fails(&w.fill("scale deployment/{d} -n {ns} --replicas=1")).await;
    assert_eq!(w.replicas(), 1);
}

#[tokio::test]
async fn a_hanging_request_ends_with_the_clients_patience() {
    let w = World::new().await;
    w.sandbox.fault(FaultRule::new("/pods", FaultAction::Hang).times(9));
    let said = w.kubectl.fails(&w.fill("get pods -n {ns} --request-timeout=1s")).await;
    assert!(said.contains("imeout") || said.contains("deadline"), "{said}");
}
