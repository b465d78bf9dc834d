//! Every row of the plan's state machine with its steps and requests, and that there are no others.

use std::time::Duration;

use rounds_core::access::Actor;
use rounds_core::plan::{
    Plan, PlanEvent, PlanOutcome, PlanStatus, RequestKind, RequestStatus, StepFailure, StepResult, StepStatus,
    VerificationStatus, transition,
};
use rounds_core::step::StepSpec;
use rounds_core::{AlertRuleId, RequestId, Timestamp};
use serde_json::json;

use crate::plan_fixtures::{TTL, at, draft, drive, failed, interrupted, modify, output, person, proposed};

/// From each situation: what may happen, and what becomes of plan, steps, requests and the end (by whom).
/// Whatever is not here is an error. Step 0 of `(tolerant)` situations has continueOnError.
const TABLE: &str = "
draft
  submit                 | pending_approval | pending pending | plan:pending                 | -
  primary_ended          | cancelled        | skipped skipped |                              | nobody

proposed
  modify                 | pending_approval | pending pending | plan:superseded plan:pending | -
  approve                | approved         | pending pending | plan:approved                | -
  reject                 | rejected         | skipped skipped | plan:rejected                | ada
  cancel                 | cancelled        | skipped skipped | plan:superseded              | ada

proposed, past its time
  expire                 | expired          | skipped skipped | plan:expired                 | nobody
  cancel                 | cancelled        | skipped skipped | plan:superseded              | ada

approved
  start                  | executing        | pending pending | plan:approved                | -
  cancel                 | cancelled        | skipped skipped | plan:approved                | ada

started
  request_step 0         | executing        | pending pending | plan:approved 0:pending      | -
  cancel                 | cancelled        | skipped skipped | plan:approved                | ada
  halt_review_changed 0  | failed           | failed skipped  | plan:approved                | nobody

waiting
  approve_step 0         | executing        | pending pending | plan:approved 0:approved     | -
  reject_step 0          | failed           | failed skipped  | plan:approved 0:rejected     | nobody
  cancel                 | cancelled        | skipped skipped | plan:approved 0:superseded   | ada
  halt_review_changed 0  | failed           | failed skipped  | plan:approved 0:superseded   | nobody

waiting, past its time
  expire_step 0          | failed           | failed skipped  | plan:approved 0:expired      | nobody
  cancel                 | cancelled        | skipped skipped | plan:approved 0:superseded   | ada
  halt_review_changed 0  | failed           | failed skipped  | plan:approved 0:superseded   | nobody

step approved
  start_step 0           | executing        | executing pending | plan:approved 0:approved   | -
  cancel                 | cancelled        | skipped skipped | plan:approved 0:approved     | ada
  halt_review_changed 0  | failed           | failed skipped  | plan:approved 0:approved     | nobody

started with auto-edit
  start_step 0           | executing        | executing pending | plan:approved              | -
  cancel                 | cancelled        | skipped skipped | plan:approved                | ada
  halt_review_changed 0  | failed           | failed skipped  | plan:approved                | nobody

running
  finish_step 0 done        | executing     | done pending      | plan:approved 0:approved   | -
  finish_step 0 failed      | failed        | failed skipped    | plan:approved 0:approved   | nobody
  finish_step 0 interrupted | failed        | interrupted skipped | plan:approved 0:approved | nobody
  cancel                    | executing     | executing pending | plan:approved 0:approved   | -

running (tolerant)
  finish_step 0 done        | executing     | done pending      | plan:approved 0:approved   | -
  finish_step 0 failed      | executing     | failed pending    | plan:approved 0:approved   | -
  finish_step 0 interrupted | failed        | interrupted skipped | plan:approved 0:approved | nobody
  cancel                    | executing     | executing pending | plan:approved 0:approved   | -

running, asked to end
  finish_step 0 done        | cancelled     | done skipped      | plan:approved 0:approved   | ada
  finish_step 0 failed      | cancelled     | failed skipped    | plan:approved 0:approved   | ada
  finish_step 0 interrupted | cancelled     | interrupted skipped | plan:approved 0:approved | ada

running the last
  finish_step 1 done        | completed     | done done         | plan:approved              | nobody
  finish_step 1 failed      | failed        | done failed       | plan:approved              | nobody
  finish_step 1 interrupted | failed        | done interrupted  | plan:approved              | nobody
  cancel                    | executing     | done executing    | plan:approved              | -

running the last (tolerant)
  finish_step 1 done        | completed     | failed done       | plan:approved              | nobody
  finish_step 1 failed      | completed     | failed failed     | plan:approved              | nobody
  finish_step 1 interrupted | failed        | failed interrupted | plan:approved             | nobody
  cancel                    | executing     | failed executing  | plan:approved              | -

failed
  retry 0                   | executing     | pending pending   | plan:approved 0:approved   | -
  retry 0 acknowledged      | executing     | pending pending   | plan:approved 0:approved   | -

failed at the last
  retry 1                   | executing     | done pending      | plan:approved              | -
  retry 1 acknowledged      | executing     | done pending      | plan:approved              | -

failed by interruption
  retry 0 acknowledged      | executing     | pending pending   | plan:approved 0:approved   | -

failed by rejection of a step
  retry 0                   | executing     | pending pending   | plan:approved 0:rejected   | -
  retry 0 acknowledged      | executing     | pending pending   | plan:approved 0:rejected   | -

failed by expiry of a step
  retry 0                   | executing     | pending pending   | plan:approved 0:expired    | -
  retry 0 acknowledged      | executing     | pending pending   | plan:approved 0:expired    | -

failed, then interrupted (tolerant)
  retry 0 acknowledged      | executing     | pending pending   | plan:approved              | -
  retry 1 acknowledged      | executing     | failed pending    | plan:approved              | -

failed by another review

failed, then another review (tolerant)

completed

completed (tolerant)

rejected

expired

cancelled
";

/// The parts of a row.
struct Row {
    from: String,
    event: String,
    to: String,
    steps: String,
    requests: String,
    ended_by: String,
}

fn table() -> (Vec<String>, Vec<Row>) {
    let (mut situations, mut rows) = (Vec::new(), Vec::<Row>::new());
    for line in TABLE.lines().filter(|line| !line.is_empty()) {
        if !line.starts_with(' ') {
            situations.push(line.to_owned());
            continue;
        }
        let [event, to, steps, requests, ended_by] =
            line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>().try_into().unwrap();
        rows.push(Row { from: situations.last().unwrap().clone(), event, to, steps, requests, ended_by });
    }
    (situations, rows)
}

/// A plan in a situation, and the time.
fn situation(name: &str) -> (Plan, Timestamp) {
    let tolerant = [name.contains("(tolerant)"); 2];
    let bob = || person("bob");
    let approve = |auto_edit| PlanEvent::Approve { at: at(1), by: bob(), auto_edit };
    let start = || PlanEvent::Start { at: at(2) };
    let ask =
        || PlanEvent::RequestStep { at: at(3), ordinal: 0, request_id: RequestId::new(), expires_at: at(3 + TTL) };
    let approve_step = || PlanEvent::ApproveStep { at: at(4), by: bob(), ordinal: 0 };
    let run = |ordinal| PlanEvent::StartStep { at: at(5), ordinal, effect_deadline: at(65), alert_firing: Some(true) };
    let finish = |ordinal, result| PlanEvent::FinishStep { at: at(6), ordinal, result };
    let review = |ordinal| PlanEvent::HaltReviewChanged { at: at(6), ordinal, reason: "refused today".into() };

    let approved = || drive(proposed(&tolerant), [approve(false)]);
    let started = || drive(approved(), [start()]);
    let waiting = || drive(started(), [ask()]);
    let step_approved = || drive(waiting(), [approve_step()]);
    let running = || drive(step_approved(), [run(0)]);
    let auto = || drive(proposed(&tolerant), [approve(true), start()]);
    let done = || StepResult::Done(output("scaled"));
    // With the tolerant steps the first has failed, else it is done.
    let first = || if tolerant[0] { failed() } else { done() };
    let last = || drive(auto(), [run(0), finish(0, first()), run(1)]);
    let plan = match name {
        "draft" => draft(&tolerant),
        "proposed" => proposed(&tolerant),
        "proposed, past its time" => return (proposed(&tolerant), at(TTL)),
        "approved" => approved(),
        "started" => started(),
        "waiting" => waiting(),
        "waiting, past its time" => return (waiting(), at(3 + TTL)),
        "step approved" => step_approved(),
        "started with auto-edit" => auto(),
        "running" | "running (tolerant)" => running(),
        "running, asked to end" => {
            let cancel = PlanEvent::Cancel { at: at(6), by: person("ada"), reason: Some("wrong cluster".into()) };
            drive(running(), [cancel])
        }
        "running the last" | "running the last (tolerant)" => last(),
        "failed" => drive(running(), [finish(0, failed())]),
        "failed at the last" => drive(last(), [finish(1, failed())]),
        "failed by interruption" => drive(running(), [finish(0, interrupted())]),
        "failed by rejection of a step" => {
            let reject = PlanEvent::RejectStep { at: at(4), by: bob(), ordinal: 0, reason: Some("no".into()) };
            drive(waiting(), [reject])
        }
        "failed by expiry of a step" => drive(waiting(), [PlanEvent::ExpireStep { at: at(3 + TTL), ordinal: 0 }]),
        "failed, then interrupted (tolerant)" => drive(last(), [finish(1, interrupted())]),
        "failed by another review" => drive(started(), [review(0)]),
        "failed, then another review (tolerant)" => drive(auto(), [run(0), finish(0, failed()), review(1)]),
        "completed" | "completed (tolerant)" => drive(last(), [finish(1, done())]),
        "rejected" => drive(proposed(&tolerant), [PlanEvent::Reject { at: at(1), by: bob(), reason: None }]),
        "expired" => drive(proposed(&tolerant), [PlanEvent::Expire { at: at(TTL) }]),
        "cancelled" => drive(approved(), [PlanEvent::Cancel { at: at(2), by: bob(), reason: None }]),
        other => panic!("no situation is called {other}"),
    };
    (plan, at(10))
}

/// Everything that can happen to a plan of two steps, by name. Decisions are Ada's.
fn events(plan: &Plan, now: Timestamp) -> Vec<(String, PlanEvent)> {
    let by = || person("ada");
    let later = now + Duration::from_secs(TTL);
    let mut events = vec![
        PlanEvent::Submit { at: now, by: by(), request_id: RequestId::new(), expires_at: later },
        PlanEvent::PrimaryEnded { at: now, how: "rejected" },
        modify(plan, by(), now),
        PlanEvent::Approve { at: now, by: by(), auto_edit: false },
        PlanEvent::Reject { at: now, by: by(), reason: Some("not now".into()) },
        PlanEvent::Expire { at: now },
        PlanEvent::Cancel { at: now, by: by(), reason: Some("not now".into()) },
        PlanEvent::Start { at: now },
    ]
    .into_iter()
    .map(|event| (event.name().to_owned(), event))
    .collect::<Vec<_>>();
    for ordinal in 0..2 {
        let retry = |acknowledge_unknown_outcome| PlanEvent::Retry {
            at: now,
            by: by(),
            ordinal,
            acknowledge_unknown_outcome,
            keep_auto_edit: false,
        };
        let finish = |result| PlanEvent::FinishStep { at: now, ordinal, result };
        for (event, how) in [
            (PlanEvent::RequestStep { at: now, ordinal, request_id: RequestId::new(), expires_at: later }, ""),
            (PlanEvent::ApproveStep { at: now, by: by(), ordinal }, ""),
            (PlanEvent::RejectStep { at: now, by: by(), ordinal, reason: Some("not now".into()) }, ""),
            (PlanEvent::ExpireStep { at: now, ordinal }, ""),
            (PlanEvent::StartStep { at: now, ordinal, effect_deadline: later, alert_firing: Some(true) }, ""),
            (finish(StepResult::Done(output("scaled"))), " done"),
            (finish(failed()), " failed"),
            (finish(interrupted()), " interrupted"),
            (PlanEvent::HaltReviewChanged { at: now, ordinal, reason: "refused today".into() }, ""),
            (retry(false), ""),
            (retry(true), " acknowledged"),
        ] {
            events.push((format!("{} {ordinal}{how}", event.name()), event));
        }
    }
    events
}

fn steps(plan: &Plan) -> String {
    plan.steps.iter().map(|step| step.status.as_str()).collect::<Vec<_>>().join(" ")
}

fn requests(plan: &Plan) -> String {
    let one = |request: &rounds_core::plan::ApprovalRequest| match request.kind {
        RequestKind::Plan => format!("plan:{}", request.status.as_str()),
        RequestKind::Step { ordinal } => format!("{ordinal}:{}", request.status.as_str()),
    };
    plan.requests.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn after(name: &str, event: &str) -> Plan {
    let (plan, now) = situation(name);
    let (_, event) = events(&plan, now).into_iter().find(|(found, _)| found == event).unwrap();
    transition(&plan, &event).unwrap()
}

#[test]
fn every_row_of_the_plan_table_and_no_other() {
    let (situations, rows) = table();
    let mut met = 0;
    for name in &situations {
        let (plan, now) = situation(name);
        for (event_name, event) in events(&plan, now) {
            let pair = format!("`{name}` on `{event_name}`");
            let row = rows.iter().find(|row| row.from == *name && row.event == event_name);
            match (transition(&plan, &event), row) {
                (Ok(next), Some(row)) => {
                    met += 1;
                    assert_eq!(next.status.as_str(), row.to, "{pair}");
                    assert_eq!(steps(&next), row.steps, "{pair}");
                    assert_eq!(requests(&next), row.requests, "{pair}");
                    let ended_by = next.resolved_at.map_or("-", |when| {
                        assert_eq!(when, now, "{pair}");
                        next.resolved_by.as_ref().map_or("nobody", |by| by.login.as_str())
                    });
                    assert_eq!(ended_by, row.ended_by, "{pair}");
                    for (old, new) in plan.requests.iter().zip(&next.requests).filter(|(old, new)| old != new) {
                        assert_eq!((old.status, new.resolved_at), (RequestStatus::Pending, Some(now)), "{pair}");
                        let decided = matches!(new.status, RequestStatus::Approved | RequestStatus::Rejected);
                        assert_eq!(new.resolved_by.clone(), decided.then(|| person("ada")), "{pair}");
                    }
                    assert_eq!((next.id, &next.org_id, next.created_at), (plan.id, &plan.org_id, plan.created_at));
                }
                (Err(error), None) => {
                    assert!(error.event.contains(event.name()), "{pair}: {error}");
                    let named = error.state == plan.status.as_str()
                        || plan.steps.iter().any(|step| step.status.as_str() == error.state);
                    assert!(named, "{pair}: {error}");
                    let text = error.to_string();
                    assert!(text.contains(&error.state) && text.contains(event.name()), "{pair}: {text}");
                }
                (Ok(next), None) => panic!("{pair} is not in the table and leads to {}", next.status.as_str()),
                (Err(error), Some(_)) => panic!("{pair} is in the table: {error}"),
            }
        }
    }
    assert_eq!(met, rows.len(), "a row names an event that does not exist");
}

#[test]
fn the_table_has_every_status() {
    let (situations, rows) = table();
    let statuses: Vec<_> = situations.iter().map(|name| situation(name).0.status).collect();
    for status in PlanStatus::ALL {
        assert!(statuses.contains(&status), "{status:?}");
    }
    let cells: String = rows.iter().map(|row| format!("{} {} ", row.steps, row.requests)).collect();
    for status in StepStatus::ALL {
        assert!(cells.contains(status.as_str()), "{status:?}");
    }
    for status in RequestStatus::ALL {
        assert!(cells.contains(&format!(":{}", status.as_str())), "{status:?}");
    }
}

#[test]
fn submitting_a_draft_stamps_its_expiry_and_runs_nothing() {
    let next = after("draft", "submit");
    assert_eq!(next.expires_at, Some(at(10 + TTL)));
    let request = next.open_request(RequestKind::Plan).unwrap();
    assert_eq!((next.approval_request_id, request.expires_at), (Some(request.id), at(10 + TTL)));
    assert_eq!((&request.digest, &next.approved_by, next.started_at), (&next.digest, &None, None));
}

#[test]
fn approving_a_draft_names_submit() {
    let (plan, now) = situation("draft");
    let error = transition(&plan, &PlanEvent::Approve { at: now, by: person("ada"), auto_edit: false }).unwrap_err();
    assert!(error.to_string().contains("submit"), "{error}");
}

#[test]
fn a_draft_whose_primary_ended_says_how() {
    assert_eq!(after("draft", "primary_ended").resolution.unwrap(), "the plan it would undo was rejected");
}

#[test]
fn modifying_makes_a_revision_with_a_digest_and_a_request_of_its_own() {
    let (plan, now) = situation("proposed");
    let next = transition(&plan, &modify(&plan, person("ada"), now)).unwrap();
    assert_eq!(next.revision, 2);
    assert_ne!((&next.digest, &next.canonical), (&plan.digest, &plan.canonical));
    let request = next.open_request(RequestKind::Plan).unwrap();
    assert_eq!((&request.digest, next.approval_request_id), (&next.digest, Some(request.id)));
    assert_eq!((next.expires_at, request.expires_at), (plan.expires_at, at(TTL)), "modifying wins no time");
    let old = &next.history[0];
    assert_eq!((old.revision, &old.digest, &old.summary), (1, &plan.digest, &plan.summary));
    assert_eq!(old.commands, plan.steps.iter().map(|step| step.review.command_text.clone()).collect::<Vec<_>>());
    assert_eq!((&old.replaced_by, old.replaced_at), (&person("ada"), now));
}

#[test]
fn a_modification_brings_only_steps_that_nobody_has_touched() {
    type Spoil = fn(&mut Vec<rounds_core::plan::Step>);
    let spoiled: [(&str, Spoil); 7] = [
        ("none at all", Vec::clear),
        ("out of order", |steps| steps.swap(0, 1)),
        ("already done", |steps| steps[1].status = StepStatus::Done),
        ("already approved", |steps| steps[1].approved_by = Some(person("mallory"))),
        ("with a request", |steps| steps[1].approval_request_id = Some(RequestId::new())),
        ("already tried", |steps| steps[1].attempt = 1),
        ("other than the bytes say", |steps| steps[1].review.command_text.push('x')),
    ];
    let (plan, now) = situation("proposed");
    for (how, spoil) in spoiled {
        let mut event = modify(&plan, person("ada"), now);
        if let PlanEvent::Modify { steps, canonical, digest, .. } = &mut event {
            spoil(steps);
            if how != "other than the bytes say" {
                *canonical = rounds_core::plan::digest::canonical_bytes(plan.id, 2, steps);
                *digest = rounds_core::plan::digest::digest(canonical);
            }
        }
        let error = transition(&plan, &event).expect_err(how);
        assert!(error.to_string().contains("pending_approval") && error.event == "modify", "{how}: {error}");
    }
}

#[test]
fn approving_records_who_and_whether_steps_pause() {
    for auto_edit in [false, true] {
        let (plan, now) = situation("proposed");
        let next = transition(&plan, &PlanEvent::Approve { at: now, by: person("ada"), auto_edit }).unwrap();
        assert_eq!((next.approved_by.clone(), next.auto_edit), (Some(person("ada")), auto_edit));
        assert_eq!((&next.digest, next.started_at, next.resolved_at), (&plan.digest, None, None));
    }
}

#[test]
fn a_step_that_starts_carries_its_intent_and_forgets_its_last_attempt() {
    for (name, approver) in [("step approved", "bob"), ("started with auto-edit", "bob"), ("failed", "ada")] {
        let (mut plan, now) = situation(name);
        if name == "failed" {
            plan = after(name, "retry 0");
        }
        let before = plan.steps[0].clone();
        let event = PlanEvent::StartStep { at: now, ordinal: 0, effect_deadline: at(77), alert_firing: Some(true) };
        let step = drive(plan, [event]).steps[0].clone();
        assert_eq!(step.attempt, before.attempt + 1, "{name}");
        assert_eq!((step.executed_at, step.effect_deadline), (Some(now), Some(at(77))), "{name}");
        assert_eq!((step.finished_at, step.exit_code, step.failure), (None, None, None), "{name}");
        assert_eq!((step.output_text, step.error_text), (None, None), "{name}");
        assert_eq!(step.approved_by, Some(person(approver)), "{name}");
    }
}

#[test]
fn how_a_step_ended_is_recorded() {
    let step = after("running", "finish_step 0 done").steps[0].clone();
    assert_eq!((step.finished_at, step.effect_deadline, step.exit_code), (Some(at(10)), None, Some(0)));
    assert_eq!((step.output_text.as_deref(), step.error_text, step.failure), (Some("scaled"), None, None));

    let plan = after("running", "finish_step 0 failed");
    let step = plan.steps[0].clone();
    assert_eq!((step.exit_code, step.failure), (Some(1), Some(StepFailure::Failed)));
    assert_eq!(
        (step.output_text.as_deref(), step.error_text.as_deref()),
        (Some("half"), Some("it said no\nno such thing"))
    );
    assert_eq!(plan.resolution.unwrap(), "step 0 failed: it said no");

    let plan = after("running", "finish_step 0 interrupted");
    let step = plan.steps[0].clone();
    assert_eq!((step.exit_code, step.failure, step.effect_deadline), (None, None, None));
    assert_eq!(step.error_text.as_deref(), Some("the worker died"));
    assert_eq!(plan.resolution.unwrap(), "step 0 was interrupted: the worker died");

    for (name, event, failure) in [
        ("waiting", "reject_step 0", StepFailure::Rejected),
        ("waiting, past its time", "expire_step 0", StepFailure::Expired),
        ("waiting", "halt_review_changed 0", StepFailure::ReviewChanged),
    ] {
        let plan = after(name, event);
        let step = &plan.steps[0];
        assert_eq!((step.failure, step.attempt, step.finished_at), (Some(failure), 0, plan.resolved_at), "{event}");
        assert!(step.error_text.is_some() && plan.resolution.is_some(), "{event}");
    }
}

#[test]
fn cancelling_while_a_step_runs_waits_for_its_real_outcome() {
    let asked = after("running", "cancel");
    assert_eq!((asked.cancel_requested_at, asked.cancel_requested_by.clone()), (Some(at(10)), Some(person("ada"))));
    assert_eq!(asked.steps[0].effect_deadline, Some(at(65)), "the process is not killed");

    let ended = after("running, asked to end", "finish_step 0 done");
    assert_eq!(ended.steps[0].output_text.as_deref(), Some("scaled"));
    assert_eq!(
        (ended.resolution.as_deref(), ended.verification.status),
        (Some("wrong cluster"), VerificationStatus::NotApplicable)
    );
    assert_eq!(after("running, asked to end", "finish_step 0 failed").steps[0].failure, Some(StepFailure::Failed));
}

#[test]
fn a_retry_approves_that_one_step_and_clears_the_end() {
    for name in ["failed", "failed by rejection of a step", "failed by expiry of a step"] {
        let plan = after(name, "retry 0");
        assert_eq!((plan.resolved_at, plan.resolved_by.clone(), plan.resolution.clone()), (None, None, None), "{name}");
        let [first, second] = plan.steps.as_slice() else { panic!("two steps") };
        assert_eq!((&first.approved_by, first.failure, first.approval_request_id), (&Some(person("ada")), None, None));
        assert_eq!(second.approved_by, None, "{name}");
    }
}

#[test]
fn auto_edit_survives_a_retry_only_with_the_grant_and_is_never_won_by_one() {
    for (had, holds_grant, has) in
        [(true, true, true), (true, false, false), (false, true, false), (false, false, false)]
    {
        let approve = PlanEvent::Approve { at: at(1), by: person("bob"), auto_edit: had };
        let mut plan = drive(proposed(&[false, false]), [approve, PlanEvent::Start { at: at(2) }]);
        plan.steps[0].approved_by = Some(person("bob"));
        let plan = drive(
            plan,
            [
                PlanEvent::StartStep { at: at(3), ordinal: 0, effect_deadline: at(60), alert_firing: None },
                PlanEvent::FinishStep { at: at(4), ordinal: 0, result: failed() },
                PlanEvent::Retry {
                    at: at(5),
                    by: person("ada"),
                    ordinal: 0,
                    acknowledge_unknown_outcome: false,
                    keep_auto_edit: holds_grant,
                },
            ],
        );
        assert_eq!(plan.auto_edit, has, "{had} {holds_grant}");
    }
}

#[test]
fn a_step_that_may_have_happened_never_runs_again_unacknowledged_not_even_behind_another_retry() {
    let (plan, now) = situation("failed, then interrupted (tolerant)");
    for ordinal in 0..2 {
        let retry = PlanEvent::Retry {
            at: now,
            by: person("ada"),
            ordinal,
            acknowledge_unknown_outcome: false,
            keep_auto_edit: true,
        };
        let error = transition(&plan, &retry).unwrap_err().to_string();
        assert!(error.contains("acknowledgeUnknownOutcome") && error.contains("interrupted"), "{error}");
    }
}

#[test]
fn a_changed_review_is_never_retryable_not_even_through_an_earlier_step() {
    let (plan, now) = situation("failed, then another review (tolerant)");
    let retry = PlanEvent::Retry {
        at: now,
        by: person("ada"),
        ordinal: 0,
        acknowledge_unknown_outcome: true,
        keep_auto_edit: true,
    };
    let error = transition(&plan, &retry).unwrap_err().to_string();
    assert!(error.contains("propose"), "{error}");
}

#[test]
fn a_step_that_does_not_exist_is_refused_with_how_many_there_are() {
    for name in table().0 {
        let (plan, now) = situation(&name);
        for event in [
            PlanEvent::Retry {
                at: now,
                by: person("ada"),
                ordinal: 7,
                acknowledge_unknown_outcome: true,
                keep_auto_edit: true,
            },
            PlanEvent::StartStep { at: now, ordinal: 7, effect_deadline: now, alert_firing: None },
            PlanEvent::FinishStep { at: now, ordinal: 7, result: failed() },
            PlanEvent::HaltReviewChanged { at: now, ordinal: 7, reason: String::new() },
            PlanEvent::ApproveStep { at: now, by: person("ada"), ordinal: 7 },
            PlanEvent::RequestStep { at: now, ordinal: 7, request_id: RequestId::new(), expires_at: now },
        ] {
            let error = transition(&plan, &event).expect_err(event.name());
            assert!(error.event.contains(event.name()), "{name}: {error}");
        }
    }
}

#[test]
fn completion_begins_the_verification_and_nothing_else_does() {
    for name in table().0 {
        let (plan, now) = situation(&name);
        for (_, event) in events(&plan, now) {
            let Ok(next) = transition(&plan, &event) else { continue };
            let (status, since) = (next.verification.status, next.verification.since);
            if next.status == PlanStatus::Completed {
                assert_eq!((status, since), (VerificationStatus::Watching, Some(now)), "{name}");
            } else {
                assert_eq!((status, since), (VerificationStatus::NotApplicable, None), "{name}");
            }
        }
    }
}

#[test]
fn a_plan_that_changes_the_rule_of_its_alert_is_never_said_to_have_helped() {
    for (params, expected) in [
        (json!({ "rule": "own", "set": { "threshold": 9 } }), VerificationStatus::Inconclusive),
        (json!({ "rule": "another", "set": { "threshold": 9 } }), VerificationStatus::Watching),
        (json!({ "rule": "own", "silence": { "minutes": 5 } }), VerificationStatus::Watching),
    ] {
        for name in table().0 {
            let (mut plan, now) = situation(&name);
            let own = plan.linked_alert_rule_id.unwrap();
            let rule = if params["rule"] == "own" { own } else { AlertRuleId::new() };
            plan.steps[0].review.kind = StepSpec::ALERT_RULE_WRITE.into();
            plan.steps[0].review.params = params.clone();
            plan.steps[0].review.params["rule"] = json!(rule);
            for (_, event) in events(&plan, now) {
                let Ok(next) = transition(&plan, &event) else { continue };
                if next.status == PlanStatus::Completed {
                    assert_eq!(next.verification.status, expected, "{name}: {params}");
                }
            }
        }
    }
}

#[test]
fn whoever_waits_for_an_approval_learns_what_became_of_it() {
    for (name, expected) in [
        ("approved", PlanOutcome::Started),
        ("started", PlanOutcome::Started),
        ("running", PlanOutcome::Started),
        ("completed", PlanOutcome::Completed),
        ("cancelled", PlanOutcome::Cancelled),
        ("rejected", PlanOutcome::Cancelled),
        ("failed", PlanOutcome::Failed { failed_ordinal: 0, reason: "step 0 failed: it said no".into() }),
        ("failed at the last", PlanOutcome::Failed { failed_ordinal: 1, reason: "step 1 failed: it said no".into() }),
    ] {
        assert_eq!(PlanOutcome::of(&situation(name).0), expected, "{name}");
    }
    let waiting = situation("waiting").0;
    let approval_request_id = waiting.steps[0].approval_request_id.unwrap();
    assert_eq!(PlanOutcome::of(&waiting), PlanOutcome::PausedForApproval { step_ordinal: 0, approval_request_id });
}

#[test]
fn the_system_expires_and_nobody_is_blamed() {
    for (name, event) in [("proposed, past its time", "expire"), ("waiting, past its time", "expire_step 0")] {
        let plan = after(name, event);
        let expired = plan.requests.iter().find(|request| request.status == RequestStatus::Expired).unwrap();
        assert_eq!((&expired.resolved_by, &plan.resolved_by), (&None::<Actor>, &None), "{name}");
    }
}
