//! Records to check with. Ids are new at each call, so they sort in the order of the calls.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde_json::json;
use uuid::Uuid;

use crate::access::Actor;
use crate::alert::{AlertInstance, AlertRule, AlertState, Condition, HistoryRow, Operator, Reason, Severity, Silence};
use crate::audit::{AuditEntry, Outcome};
use crate::change::{ChangeDraft, ChangeKind, ChangeRecord};
use crate::connector::Role;
use crate::connector::{Connector, ConnectorStatus, Routing, StoredSecret};
use crate::id::{
    AlertInstanceId, AlertRuleId, ConnectorId, DeadLetterId, HistoryId, InvestigationId, NoticeId, OrgId, PlanId,
    RequestId, SilenceId,
};
use crate::investigation::{
    Amount, Evidence, EvidenceSource, Investigation, InvestigationStatus, ModelUse, ReadingId, Report, RootCause,
    Section, Spending, Trigger, Usage,
};
use crate::plan::{ApprovalRequest, Plan, PlanStatus, RequestKind, RequestStatus, Step, Verification, digest};
use crate::ports::store::{
    Commit, EventCursor, EventLetter, Key, Lasts, NoticeStatus, OutboxNotice, Record, RecordKind, Versioned, Work,
    WorkSlot,
};
use crate::ports::{Event, EventSubject, Link, Notice, NoticeKind, Store};
use crate::step::{ReviewedStep, StepSpec, Target, Tier};
use crate::time::{Timestamp, after_ms};

/// A moment with microseconds, `ms` milliseconds after the fixtures' beginning.
pub(super) fn at(ms: u64) -> Timestamp {
    let start = chrono::DateTime::from_timestamp_micros(1_767_225_600_123_457).unwrap_or_default();
    after_ms(start, ms)
}

pub(super) fn org() -> OrgId {
    OrgId::default()
}

pub(super) fn other_org() -> OrgId {
    OrgId::new("other")
}

pub(super) fn rule(name: &str) -> AlertRule {
    AlertRule {
        series: Default::default(),
        absent_is_zero: false,
        annotations: Default::default(),
        source: None,
        id: AlertRuleId::new(),
        org_id: org(),
        name: name.into(),
        description: "what it means".into(),
        condition: Condition {
            query: "sum(rate(errors[5m]))".into(),
            operator: Operator::Gt,
            threshold: 0.1,
            for_duration_sec: 60,
            keep_firing_for_sec: 0,
        },
        evaluation_interval_sec: 30,
        severity: Severity::High,
        labels: BTreeMap::from([("namespace".into(), "shop".into())]),
        datasource_id: None,
        owner_team_id: None,
        enabled: true,
        created_by: Actor::system(),
        created_at: at(0),
        updated_at: at(0),
    }
}

pub(super) fn instance(rule_id: AlertRuleId) -> AlertInstance {
    AlertInstance {
        series: None,
        annotations: BTreeMap::from([("summary".into(), "it is down".into())]),
        last_true_at: Some(at(2)),
        ended_episode: Some(at(1)),
        told_episode: Some(at(2)),
        severity: Some(Severity::High),
        id: AlertInstanceId::new(),
        rule_id,
        org_id: org(),
        state: AlertState::Pending,
        state_changed_at: at(1),
        pending_since: Some(at(1)),
        firing_since: None,
        next_evaluation_at: Some(at(17)),
        last_evaluated_at: Some(at(2)),
        last_value: Some(0.25),
        last_labels: BTreeMap::from([("pod".into(), "shop-1".into())]),
        last_error: None,
        warning: Some("two series".into()),
        last_sample_at: Some(at(2)),
        empty_answers: 0,
        investigation_id: Some(InvestigationId::new()),
        investigated: Some((InvestigationId::new(), at(1))),
        silenced: false,
    }
}

pub(super) fn history(rule_id: AlertRuleId) -> HistoryRow {
    HistoryRow {
        id: HistoryId::new(),
        rule_id,
        org_id: org(),
        rule_name: "errors".into(),
        from_state: AlertState::Pending,
        to_state: AlertState::Firing,
        value: None,
        threshold: 0.1,
        timestamp: at(3),
        labels: BTreeMap::new(),
        reason: Reason::Condition,
        firing_since: Some(at(4)),
    }
}

pub(super) fn silence(rule_id: Option<AlertRuleId>) -> Silence {
    Silence {
        id: SilenceId::new(),
        org_id: org(),
        rule_id,
        matchers: BTreeMap::from([("namespace".into(), "shop".into())]),
        comment: "maintenance".into(),
        starts_at: at(0),
        ends_at: at(1000),
        created_by: Actor::system(),
    }
}

/// A queued investigation that a person asked for; due since then.
pub(super) fn investigation(due: Timestamp) -> Investigation {
    let trigger = Trigger::Person { rule_id: None };
    let asked = |at| Investigation {
        requested_by: Some(Actor::system()),
        ..Investigation::queued(org(), "why?", trigger.clone(), at)
    };
    let first = asked(due);
    asked(due + (due - first.turn()))
}

/// A completed investigation of an alert, with every part of a report.
pub(super) fn reported(rule_id: AlertRuleId) -> Investigation {
    let reading = Evidence {
        id: ReadingId(1),
        source: EvidenceSource::Query {
            datasource_id: Some(ConnectorId::new()),
            expr: "up".into(),
            metric: Some("up".into()),
        },
        at: at(5),
        duration_ms: 12,
        ok: true,
        excerpt: "up 0".into(),
        truncated: false,
    };
    Investigation {
        trigger: Trigger::Alert {
            rule_id,
            rule_name: "errors".into(),
            instance_id: AlertInstanceId::new(),
            firing_since: at(4),
            value: Some(0.5),
            labels: BTreeMap::from([("pod".into(), "shop-1".into())]),
            after_silence: false,
        },
        status: InvestigationStatus::Completed,
        attempt: 1,
        started_at: Some(at(5)),
        finished_at: Some(at(6)),
        plan_id: Some(PlanId::new()),
        report: Some(Report {
            summary: "a bad image".into(),
            root_cause: Some(RootCause::new("the tag is wrong", [ReadingId(1)])),
            sections: vec![Section { title: "Pods".into(), body: "none".into(), citations: vec![ReadingId(1)] }],
            unknowns: vec!["who pushed it".into()],
            evidence: vec![reading],
            model: Some(model_use()),
            ..Report::default()
        }),
        model_use: Some(model_use()),
        ..investigation(at(4))
    }
}

fn model_use() -> ModelUse {
    let mut used = ModelUse::of("a model", true);
    used.usage = Usage::new(1_000, 20).with_cache(600, 0);
    used.reserved = Some(Amount { tokens: 5, cost_micros: 7 });
    used
}

/// A plan that waits for approval, with one step and one request.
pub(super) fn plan() -> Plan {
    let id = PlanId::new();
    let review = ReviewedStep {
        kind: StepSpec::RUN_COMMAND.into(),
        verb: "scale".into(),
        params: json!({ "argv": ["scale", "deployment/shop", "--replicas=3"], "ratio": 0.1 }),
        command_text: "kubectl -n shop scale deployment/shop --replicas=3".into(),
        targets: vec![Target {
            namespace: Some("shop".into()),
            kind: "deployment.apps".into(),
            name: Some("shop".into()),
        }],
        tier: Tier::Write,
        reversible: true,
        idempotent: true,
        notes: vec!["a note".into()],
    };
    let step = Step { risk_note: Some("more load".into()), ..Step::new(0, ConnectorId::new(), 3, review) };
    let steps = vec![step];
    let canonical = digest::canonical_bytes(id, 1, &steps);
    let digest = digest::digest(&canonical);
    let request = ApprovalRequest {
        id: RequestId::new(),
        kind: RequestKind::Plan,
        status: RequestStatus::Pending,
        digest: digest.clone(),
        created_at: at(7),
        expires_at: at(1000),
        resolved_at: None,
        resolved_by: None,
        reason: None,
    };
    Plan {
        id,
        org_id: org(),
        investigation_id: Some(InvestigationId::new()),
        rescue_for_plan_id: None,
        rescue_plan_id: None,
        summary: "scale up".into(),
        status: PlanStatus::PendingApproval,
        revision: 1,
        digest,
        canonical,
        linked_alert_rule_id: Some(AlertRuleId::new()),
        owner_team_id: None,
        verification: Verification::default(),
        auto_edit: false,
        approval_request_id: Some(request.id),
        created_by: Actor::system(),
        created_at: at(7),
        expires_at: Some(at(1000)),
        approved_by: None,
        started_at: None,
        resolved_at: None,
        resolved_by: None,
        resolution: None,
        cancel_requested_at: None,
        cancel_requested_by: None,
        steps,
        requests: vec![request],
        history: Vec::new(),
    }
}

pub(super) fn connector(name: &str, secret: Option<StoredSecret>) -> Connector {
    Connector {
        id: ConnectorId::new(),
        org_id: org(),
        kind: "kubernetes".into(),
        role: Role::Execution,
        name: name.into(),
        config: json!({ "allowedNamespaces": ["shop"] }),
        secret,
        revision: 1,
        is_default: true,
        owner_team_id: None,
        routing: Routing { group_wait_sec: Some(30), ..Routing::default() },
        status: ConnectorStatus::Unverified,
        last_verified_at: None,
        last_verify_error: None,
        last_check: None,
        created_by: Actor::system(),
        created_at: at(0),
        updated_at: at(0),
    }
}

pub(super) fn inline(text: &str) -> Option<StoredSecret> {
    Some(StoredSecret::Inline(SecretString::from(text)))
}

/// A pending notice that is due at a moment.
pub(super) fn notice(due: Timestamp) -> OutboxNotice {
    let id = NoticeId::new();
    OutboxNotice {
        id,
        notice: Notice {
            id,
            org_id: org(),
            idempotency_key: id.to_string(),
            kind: NoticeKind::AlertFiring,
            at: at(8),
            title: "errors".into(),
            body: "it fires".into(),
            severity: "high".into(),
            link: "/plans/1".into(),
            about: Some("plan/1".into()),
            labels: BTreeMap::new(),
            namespaces: vec!["shop".into()],
            owner_team_id: None,
            asked: None,
            repeat: 2,
            folded: Vec::new(),
            links: Link::new("runbook_url", "https://wiki.example.com/errors").into_iter().collect(),
            delivered: ["ops@example.com".to_owned()].into(),
        },
        channel: Some(ConnectorId::new()),
        about: Some(PlanId::new().as_uuid()),
        place: 3,
        status: NoticeStatus::Pending,
        attempts: 1,
        next_attempt_at: due,
        last_error: Some("refused".into()),
        lasts: Some(Lasts::Alert { instance_id: AlertInstanceId::new(), firing_since: at(7) }),
        group: None,
        members: Vec::new(),
    }
}

/// How far a sink got; due.
pub(super) fn cursor(sink: &str) -> EventCursor {
    EventCursor {
        id: Uuid::now_v7(),
        org_id: org(),
        sink: sink.into(),
        seq: 7,
        attempts: 2,
        next_attempt_at: at(12),
        last_error: Some("refused".into()),
    }
}

/// An event that a sink could not be given.
pub(super) fn letter(cursor: &EventCursor) -> EventLetter {
    EventLetter {
        id: DeadLetterId::new(),
        cursor: cursor.id,
        sink: cursor.sink.clone(),
        event: Event { seq: 6, ..event(&org(), "e") },
        status: NoticeStatus::Dead,
        attempts: 8,
        next_attempt_at: at(13),
        last_error: Some("refused".into()),
    }
}

/// A change with everything that one can say.
pub(super) fn change() -> ChangeRecord {
    let draft = ChangeDraft {
        source: Some("pipeline".into()),
        service: Some("web".into()),
        labels: BTreeMap::from([("version".into(), "v42".into())]),
        url: Some("https://ci.example.com/runs/1".into()),
        ..ChangeDraft::new(ChangeKind::Deployment, "web v42").in_namespace("shop").at(at(11)).with_key("run-1")
    };
    ChangeRecord::new(draft, org(), Actor::system(), at(14), at(1000))
}

/// One record of every kind.
pub(super) fn one_of_each() -> Vec<Record> {
    let rule = rule("errors");
    let rule_id = rule.id;
    let all: Vec<Record> = vec![
        rule.into(),
        instance(rule_id).into(),
        history(rule_id).into(),
        silence(Some(rule_id)).into(),
        reported(rule_id).into(),
        plan().into(),
        connector("cluster", inline("a secret")).into(),
        notice(at(9)).into(),
        WorkSlot { id: Uuid::now_v7(), work: Work::Investigation, number: 2 }.into(),
        cursor("bus").into(),
        letter(&cursor("search")).into(),
        Spending::new(OrgId::default(), Some(rule_id), at(12)).into(),
        change().into(),
    ];
    let kinds: Vec<RecordKind> = all.iter().map(Record::kind).collect();
    assert_eq!(kinds, RecordKind::ALL, "the suite has a fixture for every kind of record");
    all
}

pub(super) fn event(org: &OrgId, name: &str) -> Event {
    Event {
        seq: 0,
        org_id: org.clone(),
        subject: EventSubject::Plan,
        subject_id: Uuid::now_v7().to_string(),
        name: name.into(),
        at: at(10),
        data: json!({ "ratio": 0.1, "text": "a\u{0}b" }),
    }
}

pub(super) fn entry(org: &OrgId, action: &str) -> AuditEntry {
    AuditEntry::new(at(11), org, &Actor::system(), action, ("thing", "t1"), Outcome::Success).with("note", "a\u{0}b")
}

/// What two equal records have in common: body and secret.
pub(super) fn content(record: &Record) -> (String, Option<(bool, String)>) {
    use secrecy::ExposeSecret;
    let secret = record.secret().map(|secret| match secret {
        StoredSecret::Inline(text) => (true, text.expose_secret().to_owned()),
        StoredSecret::Reference(text) => (false, text.clone()),
    });
    (record.encode().unwrap(), secret)
}

/// Inserts records, each at version 1.
pub(super) async fn insert<R: Into<Record>>(store: &dyn Store, records: impl IntoIterator<Item = R>) {
    let commit = records.into_iter().fold(Commit::new(), Commit::insert);
    let count = commit.changes.len();
    let committed = store.commit(commit).await.unwrap();
    assert_eq!(committed.versions, vec![1; count], "a new record is at version 1");
}

/// The record of a key, which must be there.
pub(super) async fn read(store: &dyn Store, key: Key) -> Versioned<Record> {
    let found = store.load(&crate::ports::store::Lookup::Key(key)).await.unwrap();
    found.unwrap_or_else(|| panic!("{key} is in the store"))
}

/// Whether there is a record.
pub(super) async fn exists(store: &dyn Store, key: Key) -> bool {
    store.load(&crate::ports::store::Lookup::Key(key)).await.unwrap().is_some()
}
