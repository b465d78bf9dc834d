//! What every facade and loop holds: the ports, the settings, and the few things done in one way everywhere.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::error::Error;
use super::live::LiveConnectors;
use crate::access::{Action, Denied, Principal, Scope};
use crate::id::{NoticeId, OrgId};
use crate::plan::Plan;
use crate::ports::store::{Commit, NoticeStatus, OutboxNotice, StoreError};
use crate::ports::{
    Authorizer, Clock, Event, EventSink, EventSubject, Identity, Investigator, Notice, NoticeKind, Store,
};
use crate::settings::Settings;
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
}

impl Shared {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Rule 8 first, in code that no authorizer can open; then whoever decides access.
    pub async fn authorize(&self, who: &Principal, action: Action, scopes: &[Scope]) -> Result<(), Denied> {
        let decides = matches!(action, Action::PlansApprove | Action::PlansAutoEdit);
        if who.is_agent && decides {
            let scope = scopes.first().cloned().unwrap_or_else(|| Scope::all("plans"));
            return Err(Denied::AgentsNeverDecide { login: who.login.clone(), action, scope });
        }
        self.authorizer.authorize(who, action, scopes).await
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
        let data = json!({
            "status": plan.status,
            "revision": plan.revision,
            "verificationStatus": plan.verification.status,
            "investigationId": plan.investigation_id,
            "steps": plan.steps.iter().map(|step| step.status.as_str()).collect::<Vec<_>>(),
        });
        self.event(&plan.org_id, EventSubject::Plan, plan.id, name, data)
    }

    /// A notice for the outbox, not yet routed.
    pub fn notice(
        &self,
        org: &OrgId,
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
                labels: Default::default(),
            },
            channel: None,
            status: NoticeStatus::Pending,
            attempts: 0,
            next_attempt_at: at,
            last_error: None,
        }
    }

    pub fn plan_notice(&self, plan: &Plan, kind: NoticeKind, what: &str, part: &str) -> OutboxNotice {
        self.notice(
            &plan.org_id,
            kind,
            format!("plan/{}/{part}", plan.id),
            format!("Plan {what}: {}", plan.summary),
            plan.steps.iter().map(|step| step.command_text.as_str()).collect::<Vec<_>>().join("\n"),
            format!("/plans/{}", plan.id),
        )
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
