use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApprovalRequest, RequestKind, RequestStatus, Verification};
use crate::access::{Actor, Scope};
use crate::id::{AlertRuleId, ConnectorId, InvestigationId, OrgId, PlanId, RequestId, StepId, TeamId};
use crate::step::{ReviewedStep, StepSpec, Tier};
use crate::time::Timestamp;

/// Where a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanStatus {
    /// A rescue plan that nobody submitted.
    Draft,
    /// Waits for a person.
    PendingApproval,
    /// A person approved; nothing has started.
    Approved,
    /// Steps run, or one waits for its own approval.
    Executing,
    /// Every step had its turn.
    Completed,
    /// A step failed, was interrupted, or its request was rejected or expired. It can be retried.
    Failed,
    /// A person rejected it.
    Rejected,
    /// Nobody decided in time.
    Expired,
    /// A person ended it, or its primary was rejected or expired.
    Cancelled,
}

impl PlanStatus {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::Draft,
        Self::PendingApproval,
        Self::Approved,
        Self::Executing,
        Self::Completed,
        Self::Failed,
        Self::Rejected,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The word that rows, filters and pages use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::PendingApproval => "pending_approval",
            Self::Approved => "approved",
            Self::Executing => "executing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing can change it any more (rule 6). A failed plan is not: a person may retry it.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Rejected | Self::Expired | Self::Cancelled)
    }
}

/// Where a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Its turn has not come, or it waits for its own approval.
    Pending,
    /// It runs: the intent is committed.
    Executing,
    /// It succeeded.
    Done,
    /// It failed, or its request was rejected or expired.
    Failed,
    /// Nobody knows how it ended.
    Interrupted,
    /// The plan ended before its turn.
    Skipped,
}

impl StepStatus {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Executing, Self::Done, Self::Failed, Self::Interrupted, Self::Skipped];

    /// The word that rows and pages use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Executing => "executing",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
        }
    }
}

/// Why a step failed; decides whether a retry makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepFailure {
    /// It ran and said that it failed, or could not start.
    Failed,
    /// Its request was rejected.
    Rejected,
    /// Its request expired.
    Expired,
    /// Today's review refuses it or renders it otherwise than what was approved. Never retryable: propose again.
    ReviewChanged,
}

/// One action of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The step.
    pub id: StepId,
    /// Its place, counted from 0.
    pub ordinal: u32,
    /// What runs, as it was reviewed, shown and digested. Its fields stand among the step's own when it is stored.
    #[serde(flatten)]
    pub review: ReviewedStep,
    /// Where it runs.
    pub connector_id: ConnectorId,
    /// The revision of that connector that was reviewed.
    pub connector_revision: u64,
    /// What the target system said it would do.
    pub dry_run_text: Option<String>,
    /// What could go wrong, from the proposer.
    pub risk_note: Option<String>,
    /// Whether a failure lets later steps run.
    pub continue_on_error: bool,
    /// Where it is.
    pub status: StepStatus,
    /// Its own request, while it waits for one or after.
    pub approval_request_id: Option<RequestId>,
    /// Who approved it: by its own request, by a retry, or by the plan with auto-edit.
    pub approved_by: Option<Actor>,
    /// How often it was started.
    pub attempt: u32,
    /// When its last attempt started.
    pub executed_at: Option<Timestamp>,
    /// When its effect must be over, while it runs.
    pub effect_deadline: Option<Timestamp>,
    /// When its last attempt ended.
    pub finished_at: Option<Timestamp>,
    /// The exit code, for adapters that have one.
    pub exit_code: Option<i32>,
    /// What it said.
    pub output_text: Option<String>,
    /// What it said on the error channel, or why it failed.
    pub error_text: Option<String>,
    /// Why it failed.
    pub failure: Option<StepFailure>,
}

impl Step {
    /// A step that nobody has decided on, as it was reviewed for a revision of its connector.
    #[must_use]
    pub fn new(ordinal: u32, connector_id: ConnectorId, connector_revision: u64, review: ReviewedStep) -> Self {
        Self {
            id: StepId::new(),
            ordinal,
            review,
            connector_id,
            connector_revision,
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
        }
    }
}

/// An earlier revision of a plan, kept to show what changed and by whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Its number.
    pub revision: u32,
    /// Its digest.
    pub digest: String,
    /// Its summary.
    pub summary: String,
    /// Its commands, in order.
    pub commands: Vec<String>,
    /// Who replaced it.
    pub replaced_by: Actor,
    /// When.
    pub replaced_at: Timestamp,
}

/// Ordered steps proposed as a unit: the unit of approval. Its JSON has the names of the fields in camelCase
/// (`approvalRequestId`), a step's review among the step's own (`commandText`), and statuses as
/// [`PlanStatus::as_str`] says them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The plan.
    pub id: PlanId,
    /// Its organisation.
    pub org_id: OrgId,
    /// The investigation that proposed it.
    pub investigation_id: Option<InvestigationId>,
    /// The plan that this one undoes.
    pub rescue_for_plan_id: Option<PlanId>,
    /// The plan that undoes this one.
    pub rescue_plan_id: Option<PlanId>,
    /// What it does and why.
    pub summary: String,
    /// Where it is.
    pub status: PlanStatus,
    /// Counts modifications, from 1.
    pub revision: u32,
    /// The digest of this revision.
    pub digest: String,
    /// The bytes the digest was taken over. Executing verifies them; nothing recomputes them from fields.
    pub canonical: String,
    /// The alert it is to end.
    pub linked_alert_rule_id: Option<AlertRuleId>,
    /// The team it concerns: the alert rule's, else the connector's, as they were when it was proposed. It decides whose
    /// channels are told, and nothing about access.
    #[serde(default)]
    pub owner_team_id: Option<TeamId>,
    /// Whether the alert recovered.
    pub verification: Verification,
    /// Whether no step needs an approval of its own.
    pub auto_edit: bool,
    /// The open or last request on the plan itself.
    pub approval_request_id: Option<RequestId>,
    /// Who proposed it.
    pub created_by: Actor,
    /// When.
    pub created_at: Timestamp,
    /// When it can no longer be approved. A draft has none.
    pub expires_at: Option<Timestamp>,
    /// Who approved it.
    pub approved_by: Option<Actor>,
    /// When its first step started.
    pub started_at: Option<Timestamp>,
    /// When it ended, or last failed.
    pub resolved_at: Option<Timestamp>,
    /// Who ended it.
    pub resolved_by: Option<Actor>,
    /// Why it ended as it did, in a sentence.
    pub resolution: Option<String>,
    /// When a person asked to end it while a step was running.
    pub cancel_requested_at: Option<Timestamp>,
    /// Who asked.
    pub cancel_requested_by: Option<Actor>,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// Its requests, oldest first.
    pub requests: Vec<ApprovalRequest>,
    /// Its earlier revisions, oldest first.
    pub history: Vec<Revision>,
}

impl Plan {
    /// The step that runs.
    #[must_use]
    pub fn running_step(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.status == StepStatus::Executing)
    }

    /// The step at a place.
    #[must_use]
    pub fn step(&self, ordinal: u32) -> Option<&Step> {
        self.steps.get(ordinal as usize)
    }

    /// A request by id.
    #[must_use]
    pub fn request(&self, id: RequestId) -> Option<&ApprovalRequest> {
        self.requests.iter().find(|request| request.id == id)
    }

    /// The request that waits for a person, on the plan or on a step, when one does.
    #[must_use]
    pub fn waiting_for(&self) -> Option<&ApprovalRequest> {
        self.requests.iter().find(|request| request.status == RequestStatus::Pending)
    }

    /// The open request on the plan or on a step.
    #[must_use]
    pub fn open_request(&self, kind: RequestKind) -> Option<&ApprovalRequest> {
        self.requests.iter().find(|request| request.kind == kind && request.status == RequestStatus::Pending)
    }

    /// Whether one of its steps changes when the alert that it is to end fires. To silence it changes nothing about that.
    #[must_use]
    pub fn changes_its_rule(&self) -> bool {
        let Some(rule) = self.linked_alert_rule_id else { return false };
        let is_own = |step: &Step| {
            let params = &step.review.params;
            step.review.kind == StepSpec::ALERT_RULE_WRITE
                && params["rule"] == rule.to_string().as_str()
                && params["set"].is_object()
        };
        self.steps.iter().any(is_own)
    }

    /// The most harm any step can do.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.steps.iter().map(|step| step.review.tier).max().unwrap_or(Tier::Read)
    }

    /// What a decision on this plan is about, and what `plans:auto_edit` must cover: every namespace that is written to, and
    /// all plans when a step touches something that is in none. A plan that only reads is about where it reads. Never empty.
    #[must_use]
    pub fn scopes(&self) -> Vec<Scope> {
        let writes = self.steps.iter().any(|step| step.review.tier != Tier::Read);
        let mut namespaces: BTreeSet<Option<&str>> = BTreeSet::new();
        for step in &self.steps {
            if step.review.targets.is_empty() {
                namespaces.insert(None);
            }
            for target in &step.review.targets {
                if target.namespace.is_none() || step.review.tier != Tier::Read || !writes {
                    namespaces.insert(target.namespace.as_deref());
                }
            }
        }
        if namespaces.is_empty() {
            // An empty list would be covered by anything.
            namespaces.insert(None);
        }
        let scope = |namespace: Option<&str>| namespace.map_or_else(|| Scope::all("plans"), Scope::plan_namespace);
        namespaces.into_iter().map(scope).collect()
    }
}

/// What became of an approval, for whoever waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", rename_all_fields = "camelCase", tag = "kind")]
#[non_exhaustive]
pub enum PlanOutcome {
    /// It goes on in the background.
    Started,
    /// Every step had its turn.
    Completed,
    /// A step failed, was interrupted, or its request was rejected or expired.
    Failed {
        /// Which step.
        failed_ordinal: u32,
        /// Why.
        reason: String,
    },
    /// A person ended it.
    Cancelled,
    /// A step waits for its own approval.
    PausedForApproval {
        /// Which step.
        step_ordinal: u32,
        /// Its request.
        approval_request_id: RequestId,
    },
}

impl PlanOutcome {
    /// What became of a plan so far.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        match plan.status {
            PlanStatus::Completed => Self::Completed,
            PlanStatus::Cancelled | PlanStatus::Rejected | PlanStatus::Expired => Self::Cancelled,
            PlanStatus::Failed => {
                let failed = plan
                    .steps
                    .iter()
                    .rev()
                    .find(|step| matches!(step.status, StepStatus::Failed | StepStatus::Interrupted));
                Self::Failed {
                    failed_ordinal: failed.map_or(0, |step| step.ordinal),
                    reason: plan.resolution.clone().unwrap_or_else(|| "a step failed".into()),
                }
            }
            PlanStatus::Draft | PlanStatus::PendingApproval | PlanStatus::Approved => Self::Started,
            PlanStatus::Executing => {
                let paused = plan.requests.iter().find_map(|request| match (request.kind, request.status) {
                    (RequestKind::Step { ordinal }, RequestStatus::Pending) => Some((ordinal, request.id)),
                    _ => None,
                });
                match paused {
                    Some((step_ordinal, approval_request_id)) => {
                        Self::PausedForApproval { step_ordinal, approval_request_id }
                    }
                    None => Self::Started,
                }
            }
        }
    }

    /// Whether the plan goes on without anybody doing anything.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        matches!(self, Self::Started)
    }
}
