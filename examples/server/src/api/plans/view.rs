//! Plans as clients see them.

use chrono::{DateTime, Utc};
use rounds_core::plan::{ApprovalRequest, Plan, PlanOutcome, PlanStatus, Revision, Step, StepFailure, StepStatus};
use rounds_core::plan::{Verification, VerificationStatus};
use rounds_core::step::{Target, Tier};
use rounds_core::{AlertRuleId, ConnectorId, InvestigationId, OrgId, PlanId, RequestId, StepId, TeamId};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// A plan with its steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Plan")]
pub struct PlanView {
    id: PlanId,
    org_id: OrgId,
    investigation_id: Option<InvestigationId>,
    rescue_for_plan_id: Option<PlanId>,
    rescue_plan_id: Option<PlanId>,
    summary: String,
    status: PlanStatus,
    revision: u32,
    /// Send it back when approving: the approval then holds for exactly this.
    digest: String,
    linked_alert_rule_id: Option<AlertRuleId>,
    /// The alert rule's team, else the connector's, when it was proposed.
    owner_team_id: Option<TeamId>,
    verification_status: VerificationStatus,
    verification: Verification,
    auto_edit: bool,
    approval_request_id: Option<RequestId>,
    /// The most harm any step can do.
    tier: Tier,
    /// The account that proposed it.
    created_by: String,
    created_by_login: String,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    approved_by: Option<String>,
    approved_by_login: Option<String>,
    started_at: Option<DateTime<Utc>>,
    resolved_at: Option<DateTime<Utc>>,
    /// The account that ended it.
    resolved_by: Option<String>,
    resolved_by_login: Option<String>,
    /// Why it ended as it did.
    resolution: Option<String>,
    cancel_requested_at: Option<DateTime<Utc>>,
    cancel_requested_by: Option<String>,
    steps: Vec<StepView>,
    #[schemars(with = "Vec<Value>")]
    requests: Vec<ApprovalRequest>,
    #[schemars(with = "Vec<Value>")]
    history: Vec<Revision>,
}

impl From<Plan> for PlanView {
    fn from(plan: Plan) -> Self {
        let tier = plan.tier();
        let id = plan.id;
        Self {
            id,
            org_id: plan.org_id,
            investigation_id: plan.investigation_id,
            rescue_for_plan_id: plan.rescue_for_plan_id,
            rescue_plan_id: plan.rescue_plan_id,
            summary: plan.summary,
            status: plan.status,
            revision: plan.revision,
            digest: plan.digest,
            linked_alert_rule_id: plan.linked_alert_rule_id,
            owner_team_id: plan.owner_team_id,
            verification_status: plan.verification.status,
            verification: plan.verification,
            auto_edit: plan.auto_edit,
            approval_request_id: plan.approval_request_id,
            tier,
            created_by: plan.created_by.id,
            created_by_login: plan.created_by.login,
            created_at: plan.created_at,
            expires_at: plan.expires_at,
            approved_by: plan.approved_by.as_ref().map(|actor| actor.id.clone()),
            approved_by_login: plan.approved_by.map(|actor| actor.login),
            started_at: plan.started_at,
            resolved_at: plan.resolved_at,
            resolved_by: plan.resolved_by.as_ref().map(|actor| actor.id.clone()),
            resolved_by_login: plan.resolved_by.map(|actor| actor.login),
            resolution: plan.resolution,
            cancel_requested_at: plan.cancel_requested_at,
            cancel_requested_by: plan.cancel_requested_by.map(|actor| actor.id),
            steps: plan.steps.into_iter().map(|step| StepView::new(id, step)).collect(),
            requests: plan.requests,
            history: plan.history,
        }
    }
}

/// One step of a plan.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Step")]
pub struct StepView {
    id: StepId,
    plan_id: PlanId,
    /// Its place, from 0.
    ordinal: u32,
    kind: String,
    verb: String,
    /// Rendered from the parsed command; what runs.
    command_text: String,
    /// `{argv, connectorId, stdin?}` for commands.
    params_json: Value,
    connector_id: ConnectorId,
    connector_revision: u64,
    dry_run_text: Option<String>,
    risk_note: Option<String>,
    tier: Tier,
    targets: Vec<Target>,
    reversible: bool,
    idempotent: bool,
    notes: Vec<String>,
    continue_on_error: bool,
    status: StepStatus,
    approval_request_id: Option<RequestId>,
    approved_by: Option<String>,
    executed_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    attempt: u32,
    exit_code: Option<i32>,
    output_text: Option<String>,
    error_text: Option<String>,
    failure: Option<StepFailure>,
}

impl StepView {
    /// The fields that only the server writes: a step may be sent back with them.
    pub(super) const COMPUTED: &'static [&'static str] = &[
        "id",
        "planId",
        "ordinal",
        "verb",
        "commandText",
        "connectorRevision",
        "dryRunText",
        "tier",
        "targets",
        "reversible",
        "idempotent",
        "notes",
        "status",
        "approvalRequestId",
        "approvedBy",
        "executedAt",
        "finishedAt",
        "attempt",
        "exitCode",
        "outputText",
        "errorText",
        "failure",
    ];

    fn new(plan_id: PlanId, step: Step) -> Self {
        Self {
            id: step.id,
            plan_id,
            ordinal: step.ordinal,
            kind: step.review.kind,
            verb: step.review.verb,
            command_text: step.review.command_text,
            params_json: params_json(&step.review.params, step.connector_id),
            connector_id: step.connector_id,
            connector_revision: step.connector_revision,
            dry_run_text: step.dry_run_text,
            risk_note: step.risk_note,
            tier: step.review.tier,
            targets: step.review.targets,
            reversible: step.review.reversible,
            idempotent: step.review.idempotent,
            notes: step.review.notes,
            continue_on_error: step.continue_on_error,
            status: step.status,
            approval_request_id: step.approval_request_id,
            approved_by: step.approved_by.map(|actor| actor.id),
            executed_at: step.executed_at,
            finished_at: step.finished_at,
            attempt: step.attempt,
            exit_code: step.exit_code,
            output_text: step.output_text,
            error_text: step.error_text,
            failure: step.failure,
        }
    }
}

/// The canonical parameters with the connector beside them.
pub(crate) fn params_json(params: &Value, connector: ConnectorId) -> Value {
    let mut params = params.clone();
    if let Value::Object(params) = &mut params {
        params.insert("connectorId".into(), Value::String(connector.to_string()));
    }
    params
}

/// What became of an approval or a retry so far, and the plan.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    outcome: PlanOutcome,
    plan: PlanView,
}

impl From<Plan> for Outcome {
    fn from(plan: Plan) -> Self {
        Self { outcome: PlanOutcome::of(&plan), plan: plan.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_step_can_be_sent_back() {
        let schema = schemars::schema_for!(StepView).to_value();
        let fields: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
        let accepted = ["kind", "paramsJson", "connectorId", "riskNote", "continueOnError"];
        for field in fields {
            let known = accepted.contains(&field.as_str()) || StepView::COMPUTED.contains(&field.as_str());
            assert!(known, "{field} is shown and would be refused when sent back");
        }
    }
}
