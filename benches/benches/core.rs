//! The pure core: what a plan of one step costs beside one of fifty, so that a change in shape shows as a ratio.

#![allow(missing_docs, reason = "criterion's macros make items of their own")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rounds_core::plan::{Step, digest};
use rounds_core::step::{ReviewedStep, Target, Tier};
use rounds_core::{ConnectorId, PlanId};

fn step(ordinal: u32, connector_id: ConnectorId) -> Step {
    let target = Target::new("deployment.apps", "web").in_namespace("app");
    let argv = ["scale", "deployment/web", "--replicas=3", "--namespace=app"];
    Step::new(ordinal, connector_id, 1, ReviewedStep::command("kubectl", argv, Tier::Write).on(target))
}

fn digests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("digest");
    let (plan, connector) = (PlanId::new(), ConnectorId::new());
    for count in [1u32, 10, 50] {
        let steps: Vec<Step> = (0..count).map(|ordinal| step(ordinal, connector)).collect();
        group.bench_with_input(BenchmarkId::from_parameter(count), &steps, |bencher, steps| {
            bencher.iter(|| digest::digest(&digest::canonical_bytes(plan, 1, black_box(steps))));
        });
    }
    group.finish();
}

criterion_group!(core, digests);
criterion_main!(core);
