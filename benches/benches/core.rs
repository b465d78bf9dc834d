//! The pure core: what a plan of one step costs beside one of fifty, so that a change in shape shows as a ratio.

#![allow(missing_docs, reason = "criterion's macros make items of their own")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rounds_core::plan::{Step, StepStatus, digest};
use rounds_core::step::{ReviewedStep, StepSpec, Target, Tier};
use rounds_core::{ConnectorId, PlanId, StepId};

fn step(ordinal: u32, connector_id: ConnectorId) -> Step {
    let spec = StepSpec::command(["scale", "deployment/web", "--replicas=3", "--namespace=app"]);
    Step {
        id: StepId::new(),
        ordinal,
        connector_id,
        connector_revision: 1,
        dry_run_text: None,
        risk_note: None,
        continue_on_error: false,
        status: StepStatus::Pending,
        approval_request_id: None,
        approved_by: None,
        attempt: 0,
        executed_at: None,
        effect_deadline: None,
        finished_at: None,
        exit_code: None,
        output_text: None,
        error_text: None,
        failure: None,
        review: ReviewedStep {
            kind: spec.kind,
            verb: "scale".into(),
            params: spec.params,
            command_text: "kubectl scale deployment/web --replicas=3 --namespace=app".into(),
            targets: vec![Target {
                namespace: Some("app".into()),
                kind: "deployment.apps".into(),
                name: Some("web".into()),
            }],
            tier: Tier::Write,
            reversible: true,
            idempotent: true,
            notes: Vec::new(),
        },
    }
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
