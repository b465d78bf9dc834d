//! The rules about plans, as the book checks them: at each commit, and at each effect.

use super::book::{Answer, Book, Effect};
use super::sim::Node;
use crate::audit::{AuditEntry, Outcome};
use crate::id::{ConnectorId, PlanId};
use crate::plan::{Plan, PlanStatus, RequestStatus, Step, StepFailure, StepStatus, VerificationStatus, digest};
use crate::ports::store::{Change, Commit, Key, Record, RecordKind};
use crate::ports::{ApprovedStep, EventSubject, NoticeKind};
use crate::settings::Settings;
use crate::time::{Timestamp, after_ms};

/// What only whoever holds the plan may write.
const DRIVER: [&str; 7] =
    ["start", "start_step", "finish_step", "request_step", "expire_step", "halt_review_changed", "expire"];

/// What an event of a plan says in the audit log.
fn audited_as(event: &str) -> Option<&'static str> {
    match event {
        "approve" | "approve_step" => Some("approval.approve"),
        "reject" | "reject_step" => Some("approval.reject"),
        "cancel" => Some("approval.cancel"),
        "modify" => Some("approval.modify"),
        "submit" => Some("approval.submit"),
        "retry" => Some("approval.retry"),
        "expire" | "expire_step" => Some("approval.expire"),
        "finish_step" | "halt_review_changed" => Some(AuditEntry::PLAN_STEP),
        _ => None,
    }
}

fn may_become(from: PlanStatus, to: PlanStatus) -> bool {
    use PlanStatus as S;
    match from {
        S::Draft => matches!(to, S::Draft | S::PendingApproval | S::Cancelled),
        S::PendingApproval => {
            matches!(to, S::PendingApproval | S::Approved | S::Rejected | S::Expired | S::Cancelled)
        }
        S::Approved => matches!(to, S::Approved | S::Executing | S::Cancelled),
        S::Executing => matches!(to, S::Executing | S::Completed | S::Failed | S::Cancelled),
        S::Failed => matches!(to, S::Failed | S::Executing),
        S::Rejected | S::Expired | S::Cancelled | S::Completed => to == from,
    }
}

fn events_of<'a>(commit: &'a Commit, plan: &Plan) -> Vec<&'a str> {
    let id = plan.id.to_string();
    let of_it = commit.events.iter().filter(|event| event.subject == EventSubject::Plan && event.subject_id == id);
    of_it.map(|event| event.name.as_str()).collect()
}

impl Book {
    pub(super) fn plan_proposed(&mut self, commit: &Commit, plan: &Plan) {
        let fresh = matches!(plan.status, PlanStatus::PendingApproval | PlanStatus::Draft);
        self.must(digest::check(plan).is_ok(), "rule 1", || format!("plan {} is not what its digest says", plan.id));
        self.must(fresh, "rule 3", || format!("plan {} began as {:?}", plan.id, plan.status));
        self.must(events_of(commit, plan) == ["proposed"], "rule 9", || format!("nobody hears of plan {}", plan.id));
        let audited = commit.audit.iter().any(|entry| entry.action == "plan.propose");
        self.must(audited, "rule 10", || format!("the proposal of plan {} is not audited", plan.id));
        self.count(if plan.rescue_for_plan_id.is_some() { "rescues" } else { "plans" });
    }

    pub(super) fn plan_changed(&mut self, node: Node, commit: &Commit, old: &Plan, new: &Plan) {
        let (id, events) = (new.id, events_of(commit, new));
        self.must(may_become(old.status, new.status), "rule 6", || {
            format!("plan {id} was {} and became {}", old.status.as_str(), new.status.as_str())
        });
        if old.status.is_terminal() {
            // Beside a plan that has ended, its alert is watched, and somebody may write down how to undo it.
            let beside = Plan {
                verification: new.verification.clone(),
                rescue_plan_id: old.rescue_plan_id.or(new.rescue_plan_id),
                ..old.clone()
            };
            self.must(beside == *new, "rule 6", || format!("plan {id} was {} and changed", old.status.as_str()));
            let told = events.iter().all(|event| matches!(*event, "verified" | "rescue_proposed"));
            self.must(told, "rule 6", || format!("plan {id} had ended, and then {events:?} happened"));
        }
        if old.status != new.status {
            self.must(events.len() == 1, "rule 9", || format!("plan {id} became another, with the events {events:?}"));
        }
        if new.revision == old.revision {
            let same = new.digest == old.digest && new.canonical == old.canonical;
            self.must(same, "rule 1", || format!("plan {id} changed under revision {}", new.revision));
        } else {
            self.must(digest::check(new).is_ok(), "rule 1", || format!("plan {id} is not what its digest says"));
            let waiting = old.status == PlanStatus::PendingApproval && events == ["modify"];
            self.must(waiting, "rule 1", || format!("plan {id} was modified while it was {}", old.status.as_str()));
        }
        for event in events {
            self.count(event);
            if DRIVER.contains(&event) {
                let key = Key::new(RecordKind::Plan, id.as_uuid());
                let holds = self.holder(key).is_some_and(|held| held.node == node);
                self.must(holds, "rule 5", || format!("{event} of plan {id} by node {node}, which does not hold it"));
            }
            self.decided(commit, event, old, new);
            self.stepped(commit, event, old, new);
        }
    }

    /// Rules 7, 8, 9 and 10: what a decision must come with.
    fn decided(&mut self, commit: &Commit, event: &str, old: &Plan, new: &Plan) {
        let id = new.id;
        if let Some(action) = audited_as(event) {
            let of_it = |entry: &&AuditEntry| {
                entry.action == action
                    && (entry.action == AuditEntry::PLAN_STEP
                        || entry.target_id == id.to_string()
                        || entry.metadata.get("planId").is_some_and(|found| *found == id.to_string()))
            };
            let rows: Vec<&AuditEntry> = commit.audit.iter().filter(of_it).collect();
            self.must(rows.len() == 1, "rule 10", || format!("{event} of plan {id} has {} audit rows", rows.len()));
            for row in rows {
                let digest = row.metadata.get("digest").and_then(|found| found.as_str()).unwrap_or_default();
                self.must(digest == old.digest, "rule 10", || {
                    format!("{event} of plan {id} is audited with another digest")
                });
                let agent = row.actor_login == super::world::AGENT && row.outcome == Outcome::Success;
                self.must(!agent || action == AuditEntry::PLAN_STEP, "rule 8", || {
                    format!("an agent did {event} on plan {id}")
                });
            }
        }
        for request in new.requests.iter().filter(|request| request.status == RequestStatus::Approved) {
            let late = request.resolved_at.is_none_or(|at| at >= request.expires_at);
            self.must(!late, "rule 7", || format!("plan {id}: a request was approved when it had expired"));
        }
        if event == "approve" {
            let late = old
                .requests
                .iter()
                .any(|request| Some(request.id) == old.approval_request_id && request.status != RequestStatus::Pending);
            self.must(!late, "rule 7", || format!("plan {id} was approved on a request that was not open"));
            let unbound = commit.audit.iter().any(|entry| entry.metadata.get("unbound").is_some_and(|it| *it == true));
            let seen = self.shown.contains_key(&(id, new.digest.clone()));
            self.must(unbound || seen, "rule 1", || {
                format!("plan {id} was approved at a digest that nobody was shown")
            });
            self.approved.insert(id, new.clone());
        }
    }

    /// Rule 4: what is written of a step is what became of it in the world.
    fn stepped(&mut self, commit: &Commit, event: &str, old: &Plan, new: &Plan) {
        let id = new.id;
        match event {
            "start_step" => {
                let started = new.steps.iter().zip(&old.steps).find(|(new, old)| new.attempt != old.attempt);
                let Some((step, before)) = started else {
                    return self.violated("rule 4", format!("plan {id}: a step was started, and none counts it"));
                };
                let next = step.attempt == before.attempt + 1 && step.status == StepStatus::Executing;
                self.must(next, "rule 4", || format!("plan {id}: step {} was started out of turn", step.ordinal));
                let approved = old.auto_edit || before.approved_by.is_some();
                self.must(approved, "rule 1", || format!("plan {id}: nobody approved step {}", step.ordinal));
                let free = self.under_way(id).is_none();
                self.must(free, "rule 4", || format!("plan {id}: a step was started while an effect goes on"));
            }
            "finish_step" => {
                let Some(step) = old.running_step().and_then(|step| new.step(step.ordinal)) else {
                    return self.violated("rule 4", format!("plan {id}: a step ended that did not run"));
                };
                let attempt = commit.audit.iter().find_map(|entry| entry.metadata.get("attempt")?.as_u64());
                self.must(attempt == Some(step.attempt.into()), "rule 10", || {
                    format!("plan {id}: attempt {} of step {} is audited as {attempt:?}", step.attempt, step.ordinal)
                });
                self.outcome(id, step);
            }
            "retry" => {
                let again = |step: &Step| step.status == StepStatus::Pending;
                let unknown = old
                    .steps
                    .iter()
                    .zip(&new.steps)
                    .find(|(old, new)| old.status == StepStatus::Interrupted && again(new));
                let acknowledged = commit
                    .audit
                    .iter()
                    .any(|entry| entry.metadata.get("acknowledgeUnknownOutcome").is_some_and(|it| *it == true));
                if let Some((step, _)) = unknown {
                    self.must(acknowledged, "rule 4", || {
                        format!("plan {id}: step {} runs again, and nobody said that it may have run", step.ordinal)
                    });
                }
            }
            _ => {}
        }
    }

    fn outcome(&mut self, id: PlanId, step: &Step) {
        let real = self.effects.iter().find(|effect| effect.is(id, step.ordinal, step.attempt)).cloned();
        let fits = match (step.status, real.as_ref().map(|effect| effect.answer)) {
            (StepStatus::Done, Some(Some(Answer::Done))) => true,
            (StepStatus::Failed, Some(Some(Answer::Failed)) | None) => true,
            // Less may be known than there was to know.
            (StepStatus::Interrupted, _) => true,
            _ => false,
        };
        self.must(fits, "rule 4", || {
            format!("plan {id}: step {} is written down as {:?}, and it was {real:?}", step.ordinal, step.status)
        });
        let over = real.as_ref().is_none_or(|effect| effect.ended.is_some());
        self.must(over, "rule 4", || format!("plan {id}: step {} was judged while its effect goes on", step.ordinal));
    }

    /// Rule 9: what belongs to a change of a plan is in the same commit.
    pub(super) fn together(&mut self, commit: &Commit, plan: &Plan) {
        let events = events_of(commit, plan);
        let gone = matches!(plan.status, PlanStatus::Rejected | PlanStatus::Expired);
        if let Some(rescue) = plan.rescue_plan_id.filter(|_| gone).and_then(|id| self.plan(id)).cloned() {
            self.must(rescue.status != PlanStatus::Draft, "rule 9", || {
                format!("plan {} is {}, and its rescue is still a draft", plan.id, plan.status.as_str())
            });
        }
        let told = |kind: NoticeKind| {
            let about = plan.id.as_uuid();
            commit.changes.iter().any(|change| {
                matches!(change, Change::Insert(Record::Notice(notice))
                    if notice.about == Some(about) && notice.notice.kind == kind)
            })
        };
        let ended = plan.status.is_terminal() || plan.status == PlanStatus::Failed;
        let changes =
            ["finish_step", "cancel", "reject", "reject_step", "expire", "expire_step", "halt_review_changed"];
        if ended && events.iter().any(|event| changes.contains(event)) {
            self.must(told(NoticeKind::PlanEnded), "rule 9", || format!("nobody is told that plan {} ended", plan.id));
        }
        if events == ["proposed"] && plan.status == PlanStatus::PendingApproval {
            self.must(told(NoticeKind::PlanProposed), "rule 9", || format!("nobody is told of plan {}", plan.id));
        }
        if events == ["request_step"] {
            let told = told(NoticeKind::StepAwaitingApproval);
            self.must(told, "rule 9", || format!("nobody is told that a step of plan {} waits", plan.id));
        }
    }

    // Effects.

    fn under_way(&self, id: PlanId) -> Option<&Effect> {
        self.effects.iter().find(|effect| effect.plan == id && effect.ended.is_none())
    }

    /// An effect begins, through the connector as it was built from this name and config. Answers its number.
    pub(super) fn began(
        &mut self,
        approved: &ApprovedStep,
        connector: (ConnectorId, &str, &serde_json::Value),
    ) -> usize {
        let (id, ordinal, attempt) = (approved.plan_id(), approved.ordinal(), approved.attempt());
        let what = format!("plan {id} step {ordinal} attempt {attempt}");
        self.count("effects");
        self.as_approved(&what, approved, connector);
        let twice = self.effects.iter().any(|effect| effect.is(id, ordinal, attempt));
        self.must(!twice, "rule 4", || format!("{what} ran twice"));
        let other = self.under_way(id).map(|effect| (effect.ordinal, effect.attempt));
        self.must(other.is_none(), "rule 4", || format!("{what} began while {other:?} goes on"));
        let plan = self.plan(id).cloned();
        let intended = plan
            .as_ref()
            .and_then(|plan| plan.step(ordinal))
            .filter(|step| step.status == StepStatus::Executing && step.attempt == attempt);
        let now = self.now;
        match intended {
            None => self.violated("rule 4", format!("{what} began, and the store does not know that it would")),
            Some(step) => {
                let late = step.effect_deadline.is_none_or(|deadline| now >= deadline);
                self.must(!late, "rule 4", || format!("{what} began after its deadline"));
            }
        }
        for counterpart in plan.iter().flat_map(|plan| [plan.rescue_for_plan_id, plan.rescue_plan_id]).flatten() {
            let free = self.under_way(counterpart).is_none();
            self.must(free, "rule 5", || format!("{what} began while {counterpart}, its counterpart, runs"));
        }
        self.effects.push(Effect { plan: id, ordinal, attempt, ended: None, answer: None });
        self.effects.len() - 1
    }

    /// The adapter proved that nothing happened. Even so it must have been the turn of this attempt.
    pub(super) fn did_not_start(&mut self, approved: &ApprovedStep) {
        let (id, ordinal, attempt) = (approved.plan_id(), approved.ordinal(), approved.attempt());
        let twice = self.effects.iter().any(|effect| effect.is(id, ordinal, attempt));
        self.must(!twice, "rule 4", || format!("plan {id} step {ordinal} attempt {attempt} was started twice"));
        self.count("not started");
    }

    /// Rule 1: what runs is what a person was shown and approved.
    fn as_approved(
        &mut self,
        what: &str,
        approved: &ApprovedStep,
        (connector, name, config): (ConnectorId, &str, &serde_json::Value),
    ) {
        let Some(plan) = self.approved.get(&approved.plan_id()).cloned() else {
            return self.violated("rule 1", format!("{what} runs, and nobody approved its plan"));
        };
        let shown = self.shown.get(&(plan.id, plan.digest.clone())).cloned().unwrap_or(plan);
        let Some(step) = shown.step(approved.ordinal()) else {
            return self.violated("rule 1", format!("{what} was not in what was approved"));
        };
        let run = approved.step();
        let same = run.command_text == step.review.command_text
            && run.params == step.review.params
            && run.targets == step.review.targets;
        self.must(same, "rule 1", || {
            format!("{what} runs `{}`, and `{}` was approved", run.command_text, step.review.command_text)
        });
        let meant = self.connectors.get(&(step.connector_id, step.connector_revision)).cloned();
        let there = step.connector_id == connector && meant.as_ref().is_some_and(|(n, c)| n == name && c == config);
        self.must(there, "rule 1", || format!("{what} runs on {name} {config}, and it was approved for {meant:?}"));
    }

    pub(super) fn over(&mut self, number: usize, answer: Option<Answer>, settings: &Settings) {
        let now = self.now;
        let effect = &mut self.effects[number];
        effect.ended = Some(now);
        effect.answer = answer;
        let (id, ordinal, attempt) = (effect.plan, effect.ordinal, effect.attempt);
        let deadline = self.plan(id).and_then(|plan| plan.step(ordinal)).and_then(|step| step.effect_deadline);
        if let Some(deadline) = deadline {
            let over = latest(deadline, settings);
            self.must(now <= over, "rule 4", || {
                format!("plan {id} step {ordinal} attempt {attempt} went on until {now}, and had to be over at {over}")
            });
        }
    }

    // At the end, when nothing goes wrong any more and everything had its time.

    pub(super) fn plans_settled(&mut self) {
        for plan in self.plans() {
            let (id, now) = (plan.id, self.now);
            let waits = plan.requests.iter().any(|request| request.status == RequestStatus::Pending);
            let stuck = match plan.status {
                PlanStatus::Approved => true,
                PlanStatus::Executing => !waits,
                PlanStatus::PendingApproval => plan.expires_at.is_none_or(|at| after_ms(at, 60_000) < now),
                _ => false,
            };
            let watching = plan.verification.status == VerificationStatus::Watching;
            self.must(!watching, "rule 13", || format!("plan {id} is watched for ever"));
            self.must(!stuck, "rule 13", || format!("plan {id} is {} for ever", plan.status.as_str()));
        }
        for effect in self.effects.clone() {
            let target = format!("{}:{}", effect.plan, effect.ordinal);
            let of_it = |entry: &&AuditEntry| {
                entry.action == AuditEntry::PLAN_STEP
                    && entry.target_id == target
                    && entry.metadata.get("attempt").and_then(|it| it.as_u64()) == Some(effect.attempt.into())
                    && entry.metadata.get("error").is_none_or(|it| !it.to_string().contains("review_changed"))
            };
            let rows = self.audit.iter().filter(of_it).count();
            self.must(rows == 1, "rule 10", || format!("{effect:?} has {rows} audit rows"));
        }
    }
}

impl Effect {
    fn is(&self, plan: PlanId, ordinal: u32, attempt: u32) -> bool {
        self.plan == plan && self.ordinal == ordinal && self.attempt == attempt
    }
}

fn latest(deadline: Timestamp, settings: &Settings) -> Timestamp {
    after_ms(deadline, u64::try_from(settings.effect_grace.as_millis()).unwrap_or(u64::MAX))
}

/// Whether a step that failed may be run again at all.
pub(super) fn retryable(plan: &Plan) -> Option<u32> {
    let failed = plan.steps.iter().find(|step| matches!(step.status, StepStatus::Failed | StepStatus::Interrupted));
    failed.filter(|step| step.failure != Some(StepFailure::ReviewChanged)).map(|step| step.ordinal)
}
