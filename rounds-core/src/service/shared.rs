//! What every facade and loop holds: the ports, the settings, and the few things done in one way everywhere.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::error::Error;
use super::live::LiveConnectors;
use crate::access::{Action, Denied, Principal, Scope};
use crate::alert::{AlertInstance, AlertRule};
use crate::id::{NoticeId, OrgId, RequestId};
use crate::investigation::{Investigation, Trigger};
use crate::plan::{ApprovalRequest, Plan, RequestKind, RequestStatus, Step, StepFailure};
use crate::ports::store::{Commit, Lasts, Lease, NoticeStatus, OutboxNotice, StoreError, StoreExt as _, Versioned};
use crate::ports::{
    Asked, Authorizer, Clock, Event, EventSink, EventSubject, Identity, Investigator, Notice, NoticeKind, Place, Store,
};
use crate::settings::Settings;
use crate::step::Tier;
use crate::time::Timestamp;

/// How often a decision is taken anew because somebody else was faster.
const DECISION_TRIES: u32 = 16;

pub(crate) struct Shared {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub authorizer: Arc<dyn Authorizer>,
    pub identity: Arc<dyn Identity>,
    pub investigator: Option<Arc<dyn Investigator>>,
    pub sinks: Vec<Arc<dyn EventSink>>,
    pub live: LiveConnectors,
    pub settings: Settings,
    pub pinned_token: Option<secrecy::SecretString>,
    pub org: OrgId,
    /// The rule that a test of the simulation breaks.
    #[cfg(test)]
    pub mutation: Option<crate::simulation::Mutation>,
}

/// Whether a rule is broken on purpose at this place. Only the simulation's own tests do that, to see that it finds
/// them out; in every other build this is `false`.
#[cfg(test)]
macro_rules! mutated {
    ($shared:expr, $mutation:ident) => {
        $shared.mutation == Some(crate::simulation::Mutation::$mutation)
    };
}
#[cfg(not(test))]
macro_rules! mutated {
    ($shared:expr, $mutation:ident) => {
        false
    };
}
pub(crate) use mutated;

impl Shared {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Rule 8 first, in code that no authorizer can open; then whoever decides access.
    pub async fn authorize(&self, who: &Principal, action: Action, scopes: &[Scope]) -> Result<(), Denied> {
        let decides = matches!(action, Action::PlansApprove | Action::PlansAutoEdit);
        if who.is_agent && decides {
            return Err(Denied::AgentsNeverDecide { login: who.login.clone(), action, scope: Scope::all("plans") });
        }
        self.authorizer.authorize(who, action, scopes).await
    }

    /// What an investigation is about: the very instance that fired, which may be one label set of its rule, or the rule as
    /// a whole.
    pub async fn watched(&self, about: &Investigation) -> Result<Option<Versioned<AlertInstance>>, StoreError> {
        match &about.trigger {
            Trigger::Alert { instance_id, .. } => self.store.instance(*instance_id).await,
            Trigger::Person { rule_id: Some(rule) } => self.store.instance_of(*rule).await,
            Trigger::Person { rule_id: None } => Ok(None),
        }
    }

    /// The alert that a plan is to end: that of its investigation, or the rule as a whole.
    pub async fn alert_of(&self, plan: &Plan) -> Result<Option<(AlertRule, AlertInstance)>, StoreError> {
        let Some(rule_id) = plan.linked_alert_rule_id else { return Ok(None) };
        let Some(rule) = self.store.rule(rule_id).await? else { return Ok(None) };
        let investigation = match plan.investigation_id {
            Some(id) => self.store.investigation(id).await?.map(|found| found.value),
            None => None,
        };
        let instance = match investigation.filter(|found| found.rule_id() == Some(rule_id)) {
            Some(found) => self.watched(&found).await?,
            None => self.store.instance_of(rule_id).await?,
        };
        Ok(instance.map(|instance| (rule.value, instance.value)))
    }

    /// Commits a decision. `false`: somebody else was faster, so read again and decide anew.
    pub async fn settle(&self, commit: Commit, tries: &mut u32) -> Result<bool, Error> {
        match self.store.commit(commit).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict { .. }) if *tries < DECISION_TRIES => {
                *tries += 1;
                tokio::task::yield_now().await;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Renews a lease while work goes on; returns when it is lost. Dropped when the work is done.
    pub async fn keep(&self, lease: &Lease) {
        let ttl = self.settings.lease_ttl;
        loop {
            self.clock.sleep(ttl / 3).await;
            match self.store.renew(lease, ttl).await {
                Ok(()) => {}
                Err(error) if error.is_transient() => {
                    tracing::warn!(lease = %lease.key, %error, "the lease could not be renewed; trying again");
                }
                Err(_) => return,
            }
        }
    }

    pub fn event(&self, org: &OrgId, subject: EventSubject, id: impl ToString, name: &str, data: Value) -> Event {
        Event {
            seq: 0,
            org_id: org.clone(),
            subject,
            subject_id: id.to_string(),
            name: name.into(),
            at: self.now(),
            data,
        }
    }

    pub fn plan_event(&self, plan: &Plan, name: &str) -> Event {
        let (step, request) = about(plan, name);
        let mut data = json!({
            "planId": plan.id,
            "status": plan.status,
            "revision": plan.revision,
            "verificationStatus": plan.verification.status,
            "investigationId": plan.investigation_id,
            "steps": plan.steps.iter().map(|step| step.status.as_str()).collect::<Vec<_>>(),
        });
        if let Value::Object(data) = &mut data {
            data.extend(step.map(|ordinal| ("stepOrdinal".to_owned(), json!(ordinal))));
            data.extend(request.map(|id| ("approvalRequestId".to_owned(), json!(id))));
        }
        self.event(&plan.org_id, EventSubject::Plan, plan.id, name, data)
    }

    /// A notice for the outbox, not yet routed: about a plan or a rule, in the place that its version gives it.
    #[allow(clippy::too_many_arguments, reason = "a notice has that many parts")]
    pub fn notice(
        &self,
        org: &OrgId,
        (about, place): (Uuid, u64),
        kind: NoticeKind,
        key: String,
        title: String,
        body: String,
        link: String,
    ) -> OutboxNotice {
        let at = self.now();
        OutboxNotice {
            id: NoticeId::new(),
            notice: Notice {
                id: NoticeId::new(),
                org_id: org.clone(),
                idempotency_key: key,
                kind,
                at,
                title,
                body,
                severity: String::new(),
                link,
                about: None,
                labels: Default::default(),
                namespaces: Vec::new(),
                owner_team_id: None,
                asked: None,
                repeat: 0,
                folded: Vec::new(),
                links: Vec::new(),
                delivered: BTreeSet::new(),
            },
            channel: None,
            about: Some(about),
            place,
            status: NoticeStatus::Pending,
            attempts: 0,
            next_attempt_at: at,
            last_error: None,
            lasts: None,
            group: None,
            members: Vec::new(),
        }
    }

    /// A notice about a plan that is committed at `version`.
    pub fn plan_notice(&self, plan: &Plan, version: u64, kind: NoticeKind, what: &str, part: &str) -> OutboxNotice {
        let mut notice = self.notice(
            &plan.org_id,
            (plan.id.as_uuid(), version),
            kind,
            format!("plan/{}/{part}", plan.id),
            format!("Plan {what}: {}", plan.summary),
            plan.steps.iter().map(|step| step.review.command_text.as_str()).collect::<Vec<_>>().join("\n"),
            format!("/plans/{}", plan.id),
        );
        notice.notice.about = Some(format!("plan/{}", plan.id));
        notice.notice.owner_team_id = plan.owner_team_id;
        let namespaces = plan.steps.iter().flat_map(|step| &step.review.targets).filter_map(|it| it.namespace.clone());
        notice.notice.namespaces = namespaces.collect::<BTreeSet<_>>().into_iter().collect();
        notice.notice.asked = asked(plan, kind);
        let request = notice.notice.asked.as_ref().map(|asked| asked.request_id);
        notice.lasts = request.map(|request_id| Lasts::Request { plan_id: plan.id, request_id });
        notice
    }
}

/// What a notice about a plan asks to decide. The connectors' names are filled in when it is routed.
fn asked(plan: &Plan, kind: NoticeKind) -> Option<Asked> {
    let is_asked = |request: &&ApprovalRequest| match kind {
        NoticeKind::PlanProposed => request.kind == RequestKind::Plan,
        NoticeKind::StepAwaitingApproval => request.kind != RequestKind::Plan,
        NoticeKind::AlertFiring | NoticeKind::AlertResolved | NoticeKind::PlanEnded => false,
    };
    let mut open = plan.requests.iter().rev().filter(|request| request.status == RequestStatus::Pending);
    let request = open.find(is_asked)?;
    let step_ordinal = match request.kind {
        RequestKind::Step { ordinal } => Some(ordinal),
        RequestKind::Plan => None,
    };
    let steps = || plan.steps.iter().filter(|step| step_ordinal.is_none_or(|only| step.ordinal == only));
    let mut places: Vec<Place> = steps()
        .flat_map(|step| {
            let place = |namespace| Place { connector_id: step.connector_id, connector: None, namespace };
            let named = step.review.targets.iter().map(move |target| place(target.namespace.clone()));
            named.chain(step.review.targets.is_empty().then(|| place(None)))
        })
        .collect();
    places.sort();
    places.dedup();
    let tier = steps().map(|step| step.review.tier).max().unwrap_or(Tier::Destructive);
    let commands = steps().map(|step| step.review.command_text.clone()).collect();
    let asked = Asked::new(request.id, request.digest.clone(), tier, request.expires_at);
    Some(Asked { step_ordinal, places, commands, ..asked })
}

/// The step and the request that an event of a plan is about, as the plan is after it.
fn about(plan: &Plan, event: &str) -> (Option<u32>, Option<RequestId>) {
    let step_of = |request: &ApprovalRequest| match request.kind {
        RequestKind::Step { ordinal } => Some(ordinal),
        RequestKind::Plan => None,
    };
    // The last that was resolved so; requests stand in the order in which they were opened.
    let resolved = |status: RequestStatus, of_step: bool| {
        let requests = plan.requests.iter().filter(|request| request.status == status);
        let request =
            requests.filter(|request| step_of(request).is_some() == of_step).max_by_key(|found| found.resolved_at);
        request.map_or((None, None), |request| (step_of(request), Some(request.id)))
    };
    let of_step = |step: Option<&Step>| (step.map(|step| step.ordinal), None);
    match event {
        "start_step" => of_step(plan.running_step()),
        // Of several that ended in the same instant, the last.
        "finish_step" => {
            of_step(plan.steps.iter().filter(|step| step.finished_at.is_some()).max_by_key(|s| s.finished_at))
        }
        "halt_review_changed" => {
            of_step(plan.steps.iter().rev().find(|step| step.failure == Some(StepFailure::ReviewChanged)))
        }
        "request_step" => {
            let open = plan
                .requests
                .iter()
                .rev()
                .find(|found| found.status == RequestStatus::Pending && step_of(found).is_some());
            open.map_or((None, None), |request| (step_of(request), Some(request.id)))
        }
        "approve_step" => resolved(RequestStatus::Approved, true),
        "reject_step" => resolved(RequestStatus::Rejected, true),
        "expire_step" => resolved(RequestStatus::Expired, true),
        "approve" => resolved(RequestStatus::Approved, false),
        "reject" => resolved(RequestStatus::Rejected, false),
        "expire" => resolved(RequestStatus::Expired, false),
        "proposed" | "submit" | "modify" => (None, plan.approval_request_id),
        _ => (None, None),
    }
}

/// How many milliseconds to wait after so many tries in vain: 1 s, 2 s, 4 s, … at most 5 min.
pub(crate) fn backoff_ms(attempts: u32) -> u64 {
    1000u64.saturating_mul(1 << attempts.min(12).saturating_sub(1)).min(300_000)
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
