//! Import of rule files of Prometheus.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::header;
use futures::StreamExt as _;
use rounds_core::access::{Action, Scope};
use rounds_core::alert::AlertRule;
use rounds_core::service::RuleDraft;
use rounds_core::{AlertRuleId, ConnectorId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rulefile::{self, FileRule, GROUP_LABEL, Unread};
use crate::api::{Api, Op};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Body, Params, bytes};
use crate::state::AppState;

/// Making a rule asks its datasource once; so many are asked at a time.
const AT_A_TIME: usize = 4;

pub(super) fn routes(api: Api) -> Api {
    api.at(
        Op::post(
            "/api/alert-rules/import",
            "Import a rule file of Prometheus: as JSON, or as it is with Content-Type application/yaml",
        )
        .query::<ImportOptions>()
        .body::<ImportBody>()
        .answers::<ImportAnswer>(),
        import,
    )
}

/// How to import.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ImportOptions {
    /// Only says what would be done.
    #[serde(default)]
    dry_run: bool,
    /// Changes a rule of the same name, too, that did not come from the same group.
    #[serde(default)]
    overwrite: bool,
    /// The datasource of new rules; absent: the organisation's default. Rules that there are keep theirs.
    #[serde(default)]
    datasource_id: Option<ConnectorId>,
}

/// A rule file with how to import it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ImportFields {
    /// The file, as YAML.
    yaml: String,
    /// Only says what would be done.
    #[serde(default)]
    dry_run: bool,
    /// Changes a rule of the same name, too, that did not come from the same group.
    #[serde(default)]
    overwrite: bool,
    /// The datasource of new rules; absent: the organisation's default. Rules that there are keep theirs.
    #[serde(default)]
    datasource_id: Option<ConnectorId>,
}

/// The file as JSON says it, or as it is.
struct ImportBody {
    yaml: String,
    options: ImportOptions,
}

impl JsonSchema for ImportBody {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ImportBody".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        ImportFields::json_schema(generator)
    }
}

impl FromRequest<AppState> for ImportBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if matches!(kind.as_str(), "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml") {
            let body = bytes(request, state).await?;
            let yaml = String::from_utf8(body.to_vec());
            let yaml = yaml.map_err(|_| ApiError::bad_request("the file is not UTF-8"))?;
            return Ok(Self { yaml, options: ImportOptions::default() });
        }
        let Body(ImportFields { yaml, dry_run, overwrite, datasource_id }) = Body::from_request(request, state).await?;
        Ok(Self { yaml, options: ImportOptions { dry_run, overwrite, datasource_id } })
    }
}

/// What became, or would become, of a rule of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ImportOutcome")]
enum Outcome {
    /// There was none of this name.
    Created,
    /// It was another one before.
    Updated,
    /// It is so already.
    Unchanged,
    /// It is of a kind that there is none of here, or somebody else's: the reason says more.
    Skipped,
    /// It does not hold: the reason says why.
    Failed,
}

/// One rule of the file.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ImportedRule")]
struct Imported {
    group: String,
    name: String,
    outcome: Outcome,
    /// The rule, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_id: Option<AlertRuleId>,
    /// Why it was skipped or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What is not as in Prometheus.
    warnings: Vec<String>,
    /// What was made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<RuleDraft>,
}

/// What became of a file.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ImportAnswer {
    /// Whether nothing was changed.
    dry_run: bool,
    created: usize,
    updated: usize,
    unchanged: usize,
    skipped: usize,
    failed: usize,
    /// In the order of the file.
    rules: Vec<Imported>,
}

async fn import(
    State(state): State<AppState>,
    who: Who,
    Params(asked): Params<ImportOptions>,
    body: ImportBody,
) -> Result<Json<ImportAnswer>, ApiError> {
    let options = ImportOptions {
        dry_run: asked.dry_run || body.options.dry_run,
        overwrite: asked.overwrite || body.options.overwrite,
        datasource_id: body.options.datasource_id.or(asked.datasource_id),
    };
    let who = &who.principal;
    // Said before anything else: also of a file that would change nothing.
    state.rounds.authorize(who, Action::AlertRulesWrite, &[Scope::all("alert.rules")]).await?;
    let rules = rulefile::read(&body.yaml).map_err(|error| ApiError::bad_request(format!("the file: {error}")))?;
    let known = state.rounds.alerts().list(who).await?;
    let known: BTreeMap<String, AlertRule> =
        known.into_iter().map(|found| (found.rule.name.clone(), found.rule)).collect();
    let work = rules.into_iter().map(|rule| {
        let known = known.get(&rule.name);
        one(&state, who, rule, known, &options)
    });
    // Collected first: the futures borrow from here, and a stream of them needs one type.
    let work: Vec<_> = work.collect();
    let rules: Vec<Imported> = futures::stream::iter(work).buffered(AT_A_TIME).collect().await;
    let count = |outcome| rules.iter().filter(|rule| rule.outcome == outcome).count();
    Ok(Json(ImportAnswer {
        dry_run: options.dry_run,
        created: count(Outcome::Created),
        updated: count(Outcome::Updated),
        unchanged: count(Outcome::Unchanged),
        skipped: count(Outcome::Skipped),
        failed: count(Outcome::Failed),
        rules,
    }))
}

async fn one(
    state: &AppState,
    who: &rounds_core::access::Principal,
    rule: FileRule,
    known: Option<&AlertRule>,
    options: &ImportOptions,
) -> Imported {
    let FileRule { group, name, read, warnings } = rule;
    let mut imported =
        Imported { group, name, outcome: Outcome::Failed, rule_id: None, reason: None, warnings, rule: None };
    let mut draft = match read {
        Ok(draft) => draft,
        Err(Unread::Skipped(reason)) => {
            imported.outcome = Outcome::Skipped;
            imported.reason = Some(reason);
            return imported;
        }
        Err(Unread::Wrong(reason)) => {
            imported.reason = Some(reason);
            return imported;
        }
    };
    // What a file does not say stays as it is.
    draft.datasource_id = known.map_or(options.datasource_id, |known| known.datasource_id);
    draft.owner_team_id = known.and_then(|known| known.owner_team_id);
    imported.rule_id = known.map(|known| known.id);
    imported.rule = Some(draft.clone());
    if let Some(known) = known {
        let group = known.labels.get(GROUP_LABEL);
        if RuleDraft::from(known) == draft {
            imported.outcome = Outcome::Unchanged;
            return imported;
        }
        if group != Some(&imported.group) && !options.overwrite {
            let from = group.map_or_else(|| "was made here".to_owned(), |group| format!("came from group `{group}`"));
            imported.outcome = Outcome::Skipped;
            imported.reason =
                Some(format!("there is a rule of this name that {from}: rename one of them, or import with overwrite"));
            return imported;
        }
    }
    let alerts = state.rounds.alerts();
    let done = match (known, options.dry_run) {
        (_, true) => alerts.check_draft(who, &draft).await.map(|()| known.map(|known| known.id)),
        (Some(known), false) => alerts.update(who, known.id, draft).await.map(|view| Some(view.rule.id)),
        (None, false) => alerts.create(who, draft).await.map(|view| Some(view.rule.id)),
    };
    match done {
        Ok(id) => {
            imported.outcome = if known.is_some() { Outcome::Updated } else { Outcome::Created };
            imported.rule_id = id;
        }
        // One place decides what of an error is said to a client.
        Err(error) => imported.reason = Some(ApiError::from(error).body.message),
    }
    imported
}
