//! Rights that are taken away.

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forbidden_is_refused_and_kubectl_is_told_so_when_it_asks() {
    let world = World::new().await;
    world.sandbox.forbid("patch", "deployments/scale", Some(&world.ns));
    world.sandbox.forbid("list", "secrets", None);
    let can = async |what: &str| world.kubectl.try_run(&what.split(' ').collect::<Vec<_>>(), None).await;
    let ns = &world.ns;
    for (what, expected) in [
        (format!("auth can-i patch deployments --subresource=scale -n {ns}"), "no"),
        (format!("auth can-i patch deployments -n {ns}"), "yes"),
        ("auth can-i patch deployments --subresource=scale -n default".to_owned(), "yes"),
        ("auth can-i list secrets -n default".to_owned(), "no"),
    ] {
        let answer = can(&what).await;
        assert!(answer.stdout.starts_with(expected), "{what}: {}{}", answer.stdout, answer.stderr);
    }
    let refused = world.kubectl.fails(&world.fill("scale deployment/{d} --replicas=3 -n {ns}")).await;
    assert!(refused.contains("forbidden") && refused.contains("cannot patch"), "{refused}");
    world.run("get deployment/{d} -n {ns}").await;
    assert!(world.sandbox.requests().iter().all(|request| !request.is_write() || request.status == 403));
}
