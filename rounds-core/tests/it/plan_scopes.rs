//! What a decision on a plan is about.

use rounds_core::step::{Target, Tier};

use crate::plan_fixtures::proposed;

#[test]
fn what_a_decision_is_about_is_every_namespace_that_is_written_to() {
    let namespaced = |namespace: &str| Target::new("deployment.apps", "web").in_namespace(namespace);
    let plan = |steps: &[(Tier, &[Target])]| {
        let mut plan = proposed(&vec![false; steps.len()]);
        for (step, (tier, targets)) in plan.steps.iter_mut().zip(steps) {
            (step.review.tier, step.review.targets) = (*tier, targets.to_vec());
        }
        plan.scopes().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let (app, web, node) = (namespaced("app"), namespaced("web"), Target::new("node", "n1"));
    let both = plan(&[(Tier::Write, std::slice::from_ref(&web)), (Tier::Destructive, &[app.clone(), web.clone()])]);
    assert_eq!(both, ["plans:namespace:app", "plans:namespace:web"]);
    let reads = (Tier::Read, std::slice::from_ref(&web));
    assert_eq!(
        plan(&[(Tier::Write, std::slice::from_ref(&app)), reads]),
        ["plans:namespace:app"],
        "a read is no write"
    );
    assert_eq!(plan(&[reads]), ["plans:namespace:web"], "a plan that only reads is about where it reads");
    let wide = plan(&[(Tier::Write, std::slice::from_ref(&app)), (Tier::Read, std::slice::from_ref(&node))]);
    assert_eq!(wide, ["plans:*", "plans:namespace:app"], "what is in no namespace cannot be narrowed to one");
    assert_eq!(plan(&[(Tier::Write, &[])]), ["plans:*"], "nor what names nothing");
    assert_eq!(plan(&[]), ["plans:*"], "an empty list would be covered by anything");
}
