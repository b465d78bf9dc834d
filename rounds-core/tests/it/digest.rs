//! What an approval is bound to (rule 1).

use proptest::prelude::*;
use rounds_core::plan::{Plan, PlanEvent, PlanStatus, Step, digest};
use rounds_core::step::{ReviewedStep, StepSpec, Target, Tier};
use rounds_core::{ConnectorId, PlanId, RequestId, StepId};
use serde_json::{Value, json};

use crate::plan_fixtures::{at, drive, modify, person, proposed, step};

fn approved() -> Plan {
    let approve = PlanEvent::Approve { at: at(1), by: person("ada"), auto_edit: true };
    drive(proposed(&[false, true, false]), [approve, PlanEvent::Start { at: at(2) }])
}

/// Rewrites bytes and digest to fit the steps, as somebody with the database in hand would.
fn reseal(plan: &mut Plan) {
    plan.canonical = digest::canonical_bytes(plan.id, plan.revision, &plan.steps);
    plan.digest = digest::digest(&plan.canonical);
}

type Edit = fn(&mut Step);

const COVERED: [(&str, Edit); 13] = [
    ("ordinal", |step| step.ordinal += 1),
    ("kind", |step| step.review.kind.push('x')),
    ("connector id", |step| step.connector_id = ConnectorId::new()),
    ("connector revision", |step| step.connector_revision += 1),
    ("params", |step| step.review.params["more"] = json!(1)),
    ("an argument", |step| step.review.params["argv"][0] = json!("delete")),
    ("stdin", |step| step.review.params["stdin"] = json!("{}")),
    ("command text", |step| step.review.command_text.push(' ')),
    ("a target's namespace", |step| step.review.targets[0].namespace = None),
    ("a target's kind", |step| step.review.targets[0].kind.push('x')),
    ("a target's name", |step| step.review.targets[0].name = None),
    ("one target more", |step| step.review.targets.push(Target::every("node"))),
    ("continueOnError", |step| step.continue_on_error = !step.continue_on_error),
];

/// What is shown or recorded beside what runs.
const FREE: [(&str, Edit); 5] = [
    ("risk note", |step| step.risk_note = Some("none".into())),
    ("dry run", |step| step.dry_run_text = Some("would scale".into())),
    ("attempt", |step| step.attempt += 1),
    ("approver", |step| step.approved_by = Some(person("ada"))),
    ("output", |step| step.output_text = Some("scaled".into())),
];

#[test]
fn rule_1_changing_any_single_field_that_the_digest_covers_is_noticed() {
    let plan = approved();
    assert_eq!(digest::check(&plan), Ok(()));
    for ordinal in 0..plan.steps.len() {
        for (field, edit) in COVERED {
            let mut plan = plan.clone();
            edit(&mut plan.steps[ordinal]);
            assert!(digest::check(&plan).is_err(), "{field} of step {ordinal}");
        }
        for (field, edit) in FREE {
            let mut plan = plan.clone();
            edit(&mut plan.steps[ordinal]);
            assert_eq!(digest::check(&plan), Ok(()), "{field} of step {ordinal}");
        }
    }
    type Rewrite = fn(&mut Plan);
    let plans: [(&str, Rewrite); 8] = [
        ("the plan's id", |plan| plan.id = PlanId::new()),
        ("the revision", |plan| plan.revision += 1),
        ("the digest", |plan| plan.digest.push('0')),
        ("the bytes", |plan| plan.canonical.push(' ')),
        ("bytes and digest", |plan| {
            plan.canonical.push(' ');
            plan.digest = digest::digest(&plan.canonical);
        }),
        ("a step less", |plan| {
            plan.steps.pop();
        }),
        ("a step more", |plan| plan.steps.push(step(3))),
        ("another order", |plan| plan.steps.swap(0, 1)),
    ];
    for (what, edit) in plans {
        for mut plan in [plan.clone(), proposed(&[false, true, false])] {
            edit(&mut plan);
            assert!(digest::check(&plan).is_err(), "{what} of a plan that is {:?}", plan.status);
        }
    }
}

#[test]
fn rule_1_an_approval_is_bound_to_its_digest_even_when_bytes_and_digest_are_rewritten_together() {
    for (field, edit) in COVERED {
        let mut plan = approved();
        edit(&mut plan.steps[1]);
        reseal(&mut plan);
        let error = digest::check(&plan).expect_err(field).to_string();
        assert!(error.contains("approved"), "{field}: {error}");
    }
}

#[test]
fn rule_1_a_plan_that_runs_without_an_approved_request_is_noticed() {
    let mut plan = approved();
    plan.requests.clear();
    assert!(digest::check(&plan).is_err());
    let mut plan = proposed(&[false]);
    plan.status = PlanStatus::Executing;
    assert!(digest::check(&plan).is_err());
}

#[test]
fn rule_1_an_old_revision_cannot_be_put_back_under_a_new_approval() {
    let old = proposed(&[false]);
    let approve = PlanEvent::Approve { at: at(2), by: person("ada"), auto_edit: true };
    let new = drive(old.clone(), [modify(&old, person("ada"), at(1)), approve]);
    assert_eq!(digest::check(&new), Ok(()));
    let back = Plan {
        revision: old.revision,
        canonical: old.canonical.clone(),
        digest: old.digest.clone(),
        steps: old.steps.clone(),
        ..new
    };
    assert!(digest::check(&back).is_err());
}

#[test]
fn the_bytes_and_the_digest_carry_version_and_domain() {
    let plan = proposed(&[false]);
    assert!(plan.canonical.starts_with("rounds.plan.v1\n{"), "{}", plan.canonical);
    let hex = plan.digest.strip_prefix("v1:sha256:").unwrap();
    assert!(hex.len() == 64 && hex.chars().all(|c| c.is_ascii_hexdigit()), "{hex}");
}

/// The bytes are stored and compared by other versions of this code: they must not drift.
#[test]
fn the_bytes_of_a_known_plan_are_these() {
    let nil = uuid::Uuid::nil();
    let step = Step {
        id: StepId::from(nil),
        connector_id: ConnectorId::from(nil),
        review: ReviewedStep::new(
            StepSpec::new("ops.run_command", json!({ "stdin": "a\n", "argv": ["get", "pods"] })),
            "get",
            "kubectl get pods",
            Tier::Read,
        )
        .on(step(0).review.targets.remove(0)),
        ..step(0)
    };
    let bytes = digest::canonical_bytes(PlanId::from(nil), 2, &[step]);
    let expected = concat!(
        "rounds.plan.v1\n",
        r#"{"planId":"00000000-0000-0000-0000-000000000000","revision":2,"steps":[{"#,
        r#""commandText":"kubectl get pods","connectorId":"00000000-0000-0000-0000-000000000000","#,
        r#""connectorRevision":3,"continueOnError":false,"kind":"ops.run_command","ordinal":0,"#,
        r#""params":{"argv":["get","pods"],"stdin":"a\n"},"#,
        r#""targets":[{"kind":"deployment.apps","name":"web-0","namespace":"app"}]}]}"#,
    );
    assert_eq!(bytes, expected);
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(".{0,4}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one =
        (value(), ".{0,12}", any::<bool>(), any::<u64>(), proptest::collection::vec((any::<bool>(), ".{0,4}"), 0..3));
    proptest::collection::vec(one, 1..4).prop_map(|steps| {
        let step_of = |(ordinal, (params, command_text, continue_on_error, connector_revision, targets))| Step {
            continue_on_error,
            connector_revision,
            id: StepId::from(uuid::Uuid::nil()),
            connector_id: ConnectorId::from(uuid::Uuid::nil()),
            review: Vec::<(bool, String)>::into_iter(targets)
                .map(|(inside, name): (bool, String)| {
                    let target = Target::new("thing", name.clone());
                    if inside { target.in_namespace(name) } else { target }
                })
                .fold(
                    ReviewedStep::new(StepSpec::new("ops.run_command", params), "scale", command_text, Tier::Write),
                    ReviewedStep::on,
                ),
            ..step(ordinal)
        };
        (0..).zip(steps).map(step_of).collect()
    })
}

proptest! {
    #[test]
    fn rule_1_two_revisions_have_the_same_bytes_only_when_the_same_runs(left in steps(), right in steps()) {
        let id = PlanId::from(uuid::Uuid::nil());
        let bytes = |steps: &[Step]| digest::canonical_bytes(id, 1, steps);
        prop_assert_eq!(bytes(&left) == bytes(&right), left == right);
        prop_assert_eq!(bytes(&left), bytes(&left.clone()));
        prop_assert_ne!(bytes(&left), digest::canonical_bytes(id, 2, &left));
    }

    #[test]
    fn rule_1_a_plan_that_was_stored_and_read_back_is_still_what_was_approved(steps in steps()) {
        let mut plan = proposed(&[false]);
        plan.steps = steps;
        reseal(&mut plan);
        plan.requests[0].digest.clone_from(&plan.digest);
        plan.requests[0].id = RequestId::new();
        plan.approval_request_id = Some(plan.requests[0].id);
        let plan = drive(plan, [PlanEvent::Approve { at: at(1), by: person("ada"), auto_edit: false }]);
        prop_assert_eq!(digest::check(&plan), Ok(()));
        let read: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        prop_assert_eq!(digest::check(&read), Ok(()));
        prop_assert_eq!(read, plan);
    }

    #[test]
    fn rule_1_fractions_in_parameters_survive_the_store(fraction in proptest::num::f64::NORMAL) {
        let mut plan = proposed(&[false]);
        plan.steps[0].review.params = json!({ "ratio": fraction });
        reseal(&mut plan);
        let read: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        prop_assert_eq!(digest::check(&read), Ok(()), "{}", fraction);
    }
}
