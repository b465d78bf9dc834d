//! Open and decided requests, across plans.

use serde::Serialize;

use super::decide::Decision;
use super::error::Error;
use super::listed::{Listed, limit};
use super::plans::{Approval, Plans};
use super::shared::Shared;
use crate::access::{Action, Principal, Scope};
use crate::id::{PlanId, RequestId};
use crate::plan::{ApprovalRequest, Plan, RequestKind, RequestStatus};
use crate::ports::store::{Cursor, ListQuery, RecordKind, StoreExt};

/// Approval requests. Approving a plan's request is the same act as approving the plan.
pub struct Approvals<'a> {
    pub(crate) shared: &'a Shared,
}

/// Which requests are wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ApprovalFilter {
    /// With one of these statuses; empty: any.
    pub statuses: Vec<RequestStatus>,
    /// Of this plan.
    pub plan_id: Option<PlanId>,
    /// Of plans after this one, in the order of the list (newest first).
    pub after: Option<PlanId>,
    /// Of at most this many plans; 0 is 500, and more than 500 is 500.
    pub limit: u32,
}

/// A request with the plan it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ApprovalView {
    /// The request.
    pub request: ApprovalRequest,
    /// Its plan.
    pub plan: Plan,
}

impl Approvals<'_> {
    /// Requests, of the newest plan first.
    ///
    /// # Errors
    /// `plans:read` is missing.
    pub async fn list(&self, who: &Principal, filter: &ApprovalFilter) -> Result<Listed<ApprovalView, PlanId>, Error> {
        let store = &self.shared.store;
        self.shared.authorize(who, Action::PlansRead, &[Scope::all("plans")]).await?;
        if let Some(id) = filter.plan_id {
            let found = store.plan(id).await?.filter(|found| found.value.org_id == who.org_id);
            return Ok(Listed::new(found.map(|found| wanted(&found.value, filter)).unwrap_or_default(), None));
        }
        let mut query = ListQuery {
            org: Some(who.org_id.clone()),
            // The store looks for one; of several, plans without any are left out below.
            child_status: match filter.statuses.as_slice() {
                [only] => Some(only.as_str().to_owned()),
                _ => None,
            },
            newest_first: true,
            after: filter.after.map(|id| Cursor(id.as_uuid())),
            limit: limit(filter.limit, 500),
            ..ListQuery::new(RecordKind::Plan)
        };
        loop {
            let page = store.list(&query).await?;
            let mut views = Vec::new();
            for record in page.records {
                let plan: Plan = record.value.try_into()?;
                views.extend(wanted(&plan, filter));
            }
            if !views.is_empty() || page.next.is_none() {
                return Ok(Listed::new(views, page.next.map(|cursor| PlanId::from(cursor.0))));
            }
            query.after = page.next;
        }
    }

    /// One request.
    ///
    /// # Errors
    /// There is none in the principal's organisation, or `plans:read` is missing.
    pub async fn get(&self, who: &Principal, id: RequestId) -> Result<ApprovalView, Error> {
        self.shared.authorize(who, Action::PlansRead, &[Scope::all("plans")]).await?;
        self.load(who, id).await
    }

    /// Approves what the request asks.
    ///
    /// # Errors
    /// `plans:approve` is missing, or the request is no longer open: who decided and when is said.
    pub async fn approve(&self, who: &Principal, id: RequestId) -> Result<ApprovalView, Error> {
        self.approve_because(who, id, None).await
    }

    /// Approves what the request asks, and says why: the request and the audit log keep it.
    ///
    /// # Errors
    /// As [`approve`](Self::approve).
    pub async fn approve_because(
        &self,
        who: &Principal,
        id: RequestId,
        reason: Option<String>,
    ) -> Result<ApprovalView, Error> {
        let view = self.load(who, id).await?;
        let plans = Plans { shared: self.shared };
        let plan = match view.request.kind {
            RequestKind::Plan => {
                // A request is superseded when its plan changes, so its digest is what was shown.
                let approval = Approval { auto_edit: false, digest: Some(view.request.digest.clone()) };
                plans.decide(who, view.plan.id, Some(id), &Decision::Approve { approval, reason }).await?
            }
            RequestKind::Step { ordinal } => {
                plans.decide(who, view.plan.id, Some(id), &Decision::ApproveStep { ordinal, reason }).await?
            }
        };
        self.view(plan, id)
    }

    /// Rejects what the request asks.
    ///
    /// # Errors
    /// As [`approve`](Self::approve).
    pub async fn reject(&self, who: &Principal, id: RequestId, reason: Option<String>) -> Result<ApprovalView, Error> {
        let view = self.load(who, id).await?;
        let plans = Plans { shared: self.shared };
        let plan = match view.request.kind {
            RequestKind::Plan => plans.decide(who, view.plan.id, Some(id), &Decision::Reject(reason)).await?,
            RequestKind::Step { ordinal } => {
                plans.decide(who, view.plan.id, Some(id), &Decision::RejectStep { ordinal, reason }).await?
            }
        };
        self.view(plan, id)
    }

    pub(crate) async fn load(&self, who: &Principal, id: RequestId) -> Result<ApprovalView, Error> {
        let found = self.shared.store.plan_of_request(id).await?.map(|found| found.value);
        let plan =
            found.filter(|plan| plan.org_id == who.org_id).ok_or_else(|| Error::not_found("approval request", id))?;
        self.view(plan, id)
    }

    pub(crate) fn view(&self, plan: Plan, id: RequestId) -> Result<ApprovalView, Error> {
        let request = plan.request(id).cloned().ok_or_else(|| Error::not_found("approval request", id))?;
        Ok(ApprovalView { request, plan })
    }
}

/// The requests of a plan that a filter wants, newest first.
fn wanted(plan: &Plan, filter: &ApprovalFilter) -> Vec<ApprovalView> {
    let of_status =
        |request: &&ApprovalRequest| filter.statuses.is_empty() || filter.statuses.contains(&request.status);
    let requests = plan.requests.iter().rev().filter(of_status);
    requests.map(|request| ApprovalView { request: request.clone(), plan: plan.clone() }).collect()
}
