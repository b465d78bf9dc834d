//! Steps that change Rounds' own alert rules, through real approvals.

use std::time::Duration;

use rounds_core::alert::Operator;
use rounds_core::plan::StepStatus;
use rounds_core::plugin::Registry;
use rounds_core::ports::store::AuditQuery;
use rounds_core::service::{ConnectorDraft, RuleDraft};
use rounds_core::step::StepSpec;
use rounds_core::testing::AdapterRig;
use rounds_core::{AlertRuleId, Error, OrgId, Settings};
use serde_json::{Value, json};

async fn rig(allowed: &[&str]) -> AdapterRig {
    let settings = Settings { poll_interval: Duration::from_millis(50), ..Settings::default() };
    let draft = ConnectorDraft::new("alert_rules", "own rules").with_config(json!({ "allowedRules": allowed }));
    AdapterRig::with(Registry::linked().unwrap(), draft, settings).await.unwrap()
}

async fn rule(rig: &AdapterRig, name: &str) -> AlertRuleId {
    let draft = RuleDraft::new(name, "errors", Operator::Gt, 0.5);
    rig.rounds().alerts().create(rig.person(), draft).await.unwrap().rule.id
}

async fn threshold(rig: &AdapterRig, id: AlertRuleId) -> f64 {
    rig.rounds().alerts().get(rig.person(), id).await.unwrap().rule.condition.threshold
}

fn write(params: Value) -> StepSpec {
    StepSpec::new("alert_rule.write", params)
}

fn set(id: AlertRuleId, name: &str, from: f64, to: f64) -> StepSpec {
    write(json!({ "rule": id, "name": name, "set": { "threshold": to }, "from": { "threshold": from } }))
}

#[tokio::test]
async fn an_approved_step_changes_the_rule_and_the_audit_log_names_who_approved_it() {
    let rig = rig(&["errors*"]).await;
    let id = rule(&rig, "errors in shop").await;
    let done = rig.run([set(id, "errors in shop", 0.5, 0.75)]).await.unwrap();
    assert_eq!(done.steps[0].status, StepStatus::Done, "{:?}", done.steps[0].error_text);
    let text = &done.steps[0].review.command_text;
    assert_eq!(*text, format!("alert rule \"errors in shop\" ({id}): set threshold 0.5 -> 0.75"));
    assert!(done.steps[0].dry_run_text.as_deref().unwrap().contains("now: errors > 0.5"), "{done:?}");
    assert!((threshold(&rig, id).await - 0.75).abs() < f64::EPSILON);
    let query = AuditQuery { action: Some("alert_rule.update".into()), ..AuditQuery::new(OrgId::default()) };
    let rows = rig.rounds().store().audit(&query).await.unwrap().rows;
    assert_eq!(rows[0].entry.actor_id, rig.person().id.to_string());
    assert_eq!(rows[0].entry.metadata["planId"], json!(done.id));
}

#[tokio::test]
async fn a_rule_that_was_changed_meanwhile_is_left_alone() {
    let rig = rig(&["*"]).await;
    let id = rule(&rig, "errors").await;
    let proposed = rig.propose([set(id, "errors", 0.5, 0.75)]).await.unwrap();
    let other = RuleDraft::new("errors", "errors", Operator::Gt, 0.1);
    rig.rounds().alerts().update(rig.person(), id, other).await.unwrap();
    let preview = rig.propose([set(id, "errors", 0.5, 0.75)]).await.unwrap();
    assert!(preview.steps[0].dry_run_text.as_deref().unwrap().contains("threshold 0.1 now"), "{preview:?}");
    let done = rig.run([set(id, "errors", 0.5, 0.75)]).await.unwrap();
    assert_eq!(done.steps[0].status, StepStatus::Failed, "nothing was changed, and that is known");
    assert!((threshold(&rig, id).await - 0.1).abs() < f64::EPSILON);
    drop(proposed);
}

#[tokio::test]
async fn a_silence_is_made_once_and_ends_by_itself() {
    let rig = rig(&["errors"]).await;
    let id = rule(&rig, "errors").await;
    let silence =
        || write(json!({ "rule": id, "name": "errors", "silence": { "minutes": 30, "comment": "being mended" } }));
    let done = rig.run([silence()]).await.unwrap();
    assert_eq!(done.steps[0].status, StepStatus::Done, "{:?}", done.steps[0].error_text);
    let silences = rig.rounds().alerts().silences(rig.person()).await.unwrap();
    assert_eq!((silences.len(), silences[0].rule_id), (1, Some(id)));
    assert_eq!((silences[0].ends_at - silences[0].starts_at).num_minutes(), 30);
    assert!(silences[0].comment.starts_with("being mended (plan "), "{}", silences[0].comment);
}

#[tokio::test]
async fn only_listed_rules_by_their_own_names_are_changed_and_odd_steps_are_refused_with_what_is_accepted() {
    let rig = rig(&["errors"]).await;
    let (errors, other) = (rule(&rig, "errors").await, rule(&rig, "other").await);
    let refused = [
        (set(other, "other", 0.5, 1.0), "accepted: errors"),
        (set(errors, "errors", 0.5, 0.5), "would change nothing"),
        (write(json!({ "rule": errors, "name": "errors" })), "either `set` with `from`, or `silence`"),
        (
            write(json!({ "rule": errors, "name": "errors", "set": { "query": "1" }, "from": {} })),
            "unknown field `query`",
        ),
        (write(json!({ "rule": "x", "name": "errors", "silence": { "minutes": 1, "comment": "c" } })), "x"),
        (
            write(
                json!({ "rule": errors, "name": "errors", "set": { "threshold": 1 }, "from": { "forDurationSec": 1 } }),
            ),
            "set names [threshold] and from names [forDurationSec]",
        ),
        (
            write(json!({ "rule": errors, "name": "errors", "silence": { "minutes": 100_000, "comment": "c" } })),
            "found 100000; 1 to 1440 is accepted",
        ),
        (
            write(json!({ "rule": errors, "name": "errors", "silence": { "minutes": 5, "comment": "a\nb" } })),
            "one line",
        ),
    ];
    for (step, says) in refused {
        let Err(Error::Refused(refusals)) = rig.propose([step.clone()]).await else { panic!("{step:?} passes") };
        assert!(refusals[0].message.contains(says), "{step:?}: {}", refusals[0].message);
    }
    // A listed name is no way to another rule.
    let done = rig.run([set(other, "errors", 0.5, 1.0)]).await.unwrap();
    assert_eq!(done.steps[0].status, StepStatus::Failed);
    assert!((threshold(&rig, other).await - 0.5).abs() < f64::EPSILON);
    let none = self::rig(&[]).await;
    let id = rule(&none, "errors").await;
    assert!(
        matches!(none.propose([set(id, "errors", 0.5, 1.0)]).await, Err(Error::Refused(_))),
        "empty permits nothing"
    );
}
