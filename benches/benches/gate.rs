//! The Kubernetes gate: what one review costs, for a plain command, a named read, a patch, and a manifest of 10 KB.

#![allow(missing_docs, reason = "criterion's macros make items of their own")]
#![allow(clippy::expect_used, reason = "a bench whose input is refused must stop")]

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rounds_connectors::kubernetes::{Gate, Policy};
use rounds_core::step::{Mode, StepSpec};

/// A Deployment of about ten kilobytes, as long ones are: many environment variables.
fn manifest() -> String {
    let mut text = String::from(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  namespace: app\n  labels: {app: web}\nspec:\n  \
         replicas: 3\n  selector:\n    matchLabels: {app: web}\n  template:\n    metadata:\n      labels: {app: web}\n    spec:\n      \
         containers:\n      - name: web\n        image: registry.example.com/team/web:v1.2.3\n        env:\n",
    );
    for i in 0..155 {
        let _ = write!(text, "        - name: SETTING_{i}\n          value: \"value number {i}\"\n");
    }
    assert!((9_500..10_500).contains(&text.len()), "{}", text.len());
    text
}

/// The same object as JSON, by way of the gate itself: what it sends is canonical JSON.
fn as_json(gate: &Gate, yaml: &str) -> String {
    let reviewed = gate.review(&apply(yaml), Mode::Write).expect("the manifest is accepted");
    reviewed.params["stdin"].as_str().expect("apply has a manifest").to_owned()
}

fn apply(manifest: &str) -> StepSpec {
    StepSpec::command(["apply", "-f", "-", "-n", "app"]).with_stdin(manifest)
}

fn reviews(criterion: &mut Criterion) {
    let gate = Gate::new(Policy::for_namespaces(["app"]));
    let yaml = manifest();
    let json = as_json(&gate, &yaml);
    let image = r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:1.25"}]}}}}"#;
    let mut group = criterion.benchmark_group("gate");
    for (name, step, mode) in [
        ("plain", StepSpec::command(["get", "pods", "-n", "app"]), Mode::Read),
        ("named read", StepSpec::command(["describe", "deployment/web", "-n", "app"]), Mode::Read),
        ("scale", StepSpec::command(["scale", "deploy/web", "--replicas=3", "-n", "app"]), Mode::Write),
        ("patch", StepSpec::command(["patch", "deploy/web", "-n", "app", "-p", image]), Mode::Write),
        ("refused", StepSpec::command(["get", "secrets", "-n", "kube-system"]), Mode::Read),
        ("manifest 10 KB, YAML", apply(&yaml), Mode::Write),
        ("manifest 10 KB, JSON", apply(&json), Mode::Write),
    ] {
        group.bench_function(name, |bencher| bencher.iter(|| gate.review(black_box(&step), mode)));
    }
    group.finish();
}

criterion_group!(gate, reviews);
criterion_main!(gate);
