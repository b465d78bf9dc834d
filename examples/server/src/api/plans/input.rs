//! Plans as clients propose them.

use rounds_core::investigation::{Proposal, ProposedStep};
use rounds_core::step::StepSpec;
use rounds_core::{AlertRuleId, ConnectorId, InvestigationId, PlanId};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::view::StepView;
use crate::api::lenient;
use crate::error::ApiError;

/// A proposal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProposeBody {
    /// What it does and why, in a sentence.
    pub summary: String,
    /// The steps, in order.
    pub steps: Vec<StepInput>,
    /// The investigation it follows from.
    #[serde(default)]
    pub investigation_id: Option<InvestigationId>,
    /// The alert it is to end.
    #[serde(default)]
    pub linked_alert_rule_id: Option<AlertRuleId>,
    /// The plan that this one undoes: it is stored as that plan's rescue draft, and runs nothing until it is
    /// submitted and approved. It belongs to that plan's investigation and alert.
    #[serde(default)]
    pub rescue_for_plan_id: Option<PlanId>,
    /// How to undo it; stored as a draft. Also read as `rescuePlan`.
    #[serde(default, alias = "rescuePlan")]
    pub rescue: Option<RescueBody>,
}

/// How to undo a plan.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RescueBody {
    /// What it does and why, in a sentence.
    pub summary: String,
    /// The steps, in order.
    pub steps: Vec<StepInput>,
}

/// One step. What it does stands in one of `argv`, `params` and `paramsJson`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "StepInput")]
struct StepFields {
    /// `ops.run_command` when absent.
    #[serde(default)]
    kind: Option<String>,
    /// The command, one string per argument, without the program's name.
    #[serde(default)]
    argv: Option<Vec<String>>,
    /// A manifest for its standard input; beside `argv`.
    #[serde(default)]
    stdin: Option<String>,
    /// What the kind needs, as an object.
    #[serde(default)]
    params: Option<Map<String, Value>>,
    /// The same with the connector in it: `{argv, connectorId, stdin?}`.
    #[serde(default)]
    params_json: Option<Map<String, Value>>,
    /// Where it runs.
    #[serde(default)]
    connector_id: Option<ConnectorId>,
    /// Whether a failure lets later steps run.
    #[serde(default)]
    continue_on_error: bool,
    /// What could go wrong.
    #[serde(default)]
    risk_note: Option<String>,
}

/// One step, which may carry what the server computed for it before: that is not read.
#[derive(Debug)]
pub(super) struct StepInput(StepFields);

impl<'de> Deserialize<'de> for StepInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::without(deserializer, StepView::COMPUTED).map(Self)
    }
}

impl JsonSchema for StepInput {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        StepFields::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        StepFields::json_schema(generator)
    }
}

impl StepInput {
    fn proposed(self, ordinal: usize) -> Result<ProposedStep, ApiError> {
        let fields = self.0;
        let invalid = |message: &str| Err(ApiError::bad_request(format!("step {ordinal}: {message}")));
        let ways = [fields.argv.is_some(), fields.params.is_some(), fields.params_json.is_some()];
        match ways.iter().filter(|given| **given).count() {
            1 => {}
            0 => {
                return invalid(
                    "found none of argv, params and paramsJson; one of them says what the step does (commandText is \
                     computed from it and never read)",
                );
            }
            _ => return invalid("found more than one of argv, params and paramsJson; one of them is accepted"),
        }
        if fields.stdin.is_some() && fields.argv.is_none() {
            return invalid("stdin stands beside argv; elsewhere it belongs into params or paramsJson");
        }
        let mut params = fields.params.or(fields.params_json).unwrap_or_default();
        if let Some(argv) = fields.argv {
            params.insert("argv".into(), argv.into());
        }
        if let Some(stdin) = fields.stdin {
            params.insert("stdin".into(), stdin.into());
        }
        // A client that writes every field says `null` where there is nothing.
        if params.get("stdin").is_some_and(Value::is_null) {
            params.remove("stdin");
        }
        let inner = match params.remove("connectorId") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => match id.parse::<ConnectorId>() {
                Ok(id) => Some(id),
                Err(error) => return invalid(&format!("paramsJson.connectorId: {error}")),
            },
            Some(_) => return invalid("paramsJson.connectorId: the id of a connector is expected, as a string"),
        };
        let connector_id = match (fields.connector_id, inner) {
            (Some(outer), Some(inner)) if outer != inner => {
                return invalid("connectorId and paramsJson.connectorId name different connectors");
            }
            (Some(id), _) | (None, Some(id)) => id,
            (None, None) => return invalid("connectorId is missing: GET /api/connectors lists what there is"),
        };
        let kind = fields.kind.unwrap_or_else(|| StepSpec::RUN_COMMAND.into());
        let mut step = ProposedStep::new(connector_id, StepSpec::new(kind, Value::Object(params)));
        step.continue_on_error = fields.continue_on_error;
        step.risk_note = fields.risk_note;
        Ok(step)
    }
}

pub(super) fn steps(steps: Vec<StepInput>) -> Result<Vec<ProposedStep>, ApiError> {
    steps.into_iter().enumerate().map(|(ordinal, step)| step.proposed(ordinal)).collect()
}

pub(super) fn proposal(summary: String, inputs: Vec<StepInput>) -> Result<Proposal, ApiError> {
    Ok(Proposal::new(summary).with_steps(steps(inputs)?))
}
