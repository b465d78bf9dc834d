//! The audit log, for server admins.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use futures::stream;
use rounds_core::OrgId;
use rounds_core::access::ActorType;
use rounds_core::audit::{AuditRow, Outcome};
use rounds_core::ports::store::{AuditHead, AuditQuery};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Api, Op};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Body, Params};
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(Op::get("/api/admin/audit-log", "Who did what, newest first").query::<ListParams>().answers::<Page>(), list)
        .at(
            Op::get("/api/admin/audit-log/verify", "Walk the hash chain").query::<VerifyParams>().answers::<Verdict>(),
            verify,
        )
        .at(
            Op::post("/api/admin/audit-log/verify", "Walk the hash chain: its length and the hash of its head")
                .body::<VerifyParams>()
                .answers::<Verdict>(),
            verify_posted,
        )
        .at(
            Op::get("/api/admin/audit-log/export", "Every row that matches, oldest first, as JSON lines or CSV")
                .query::<ExportParams>()
                .lines(),
            export,
        )
        .at(
            Op::post("/api/admin/audit-log/prune", "Remove old rows; a signed checkpoint stays")
                .body::<PruneBody>()
                .answers::<Pruned>(),
            prune,
        )
}

/// Which rows.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListParams {
    /// Which page, from 1.
    page: Option<u64>,
    /// Rows on a page; at most 500.
    #[serde(alias = "perPage")]
    perpage: Option<u32>,
    /// With this action, such as `agent.plan_step`.
    action: Option<String>,
    /// By this account.
    actor_id: Option<String>,
    /// On this type of target, such as `remediation_plan_step`.
    target_type: Option<String>,
    /// On this target.
    target_id: Option<String>,
    /// `success` or `failure`.
    outcome: Option<Outcome>,
    /// At or after this moment.
    from: Option<DateTime<Utc>>,
    /// Before this moment.
    to: Option<DateTime<Utc>>,
    /// Only rows with a smaller number than this: the next page, whatever was appended meanwhile.
    before: Option<u64>,
}

/// A page of the log.
#[derive(Debug, Serialize, JsonSchema)]
struct Page {
    items: Vec<Item>,
    /// How many rows there are in all.
    total: u64,
    page: u64,
    perpage: u32,
}

/// One row.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AuditRow")]
struct Item {
    /// Its place in the organisation's chain.
    id: u64,
    timestamp: DateTime<Utc>,
    action: String,
    actor_type: ActorType,
    actor_id: String,
    actor_login: String,
    org_id: OrgId,
    target_type: String,
    target_id: String,
    outcome: Outcome,
    metadata: Map<String, Value>,
    /// The hash of the row before.
    previous: String,
    hash: String,
}

impl From<AuditRow> for Item {
    fn from(row: AuditRow) -> Self {
        let entry = row.entry;
        Self {
            id: row.seq,
            timestamp: entry.at,
            action: entry.action,
            actor_type: entry.actor_type,
            actor_id: entry.actor_id,
            actor_login: entry.actor_login,
            org_id: entry.org_id,
            target_type: entry.target_type,
            target_id: entry.target_id,
            outcome: entry.outcome,
            metadata: entry.metadata,
            previous: row.previous,
            hash: row.hash,
        }
    }
}

async fn list(
    State(state): State<AppState>,
    who: Who,
    Params(params): Params<ListParams>,
) -> Result<Json<Page>, ApiError> {
    let page = params.page.unwrap_or(1).max(1);
    let perpage = params.perpage.unwrap_or(100).clamp(1, 500);
    let query = AuditQuery {
        action: params.action,
        actor_id: params.actor_id,
        target_type: params.target_type,
        target_id: params.target_id,
        outcome: params.outcome,
        from: params.from,
        to: params.to,
        before: params.before,
        // A page beyond every row is empty; a database takes no offset beyond i64.
        offset: (page - 1).saturating_mul(u64::from(perpage)).min(i64::MAX as u64),
        limit: perpage,
        ..AuditQuery::new(who.principal.org_id.clone())
    };
    let found = state.rounds.audit().list(&who.principal, query).await?;
    Ok(Json(Page { items: found.rows.into_iter().map(Item::from).collect(), total: found.total, page, perpage }))
}

/// Whether the chain holds.
#[derive(Debug, Serialize, JsonSchema)]
struct Verdict {
    ok: bool,
    /// How many rows hold, or the first that does not.
    seq: u64,
    /// The hash of the last row: keep it elsewhere to notice a cut end.
    hash: Option<String>,
    /// Where it breaks.
    message: Option<String>,
}

/// Against what.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VerifyParams {
    /// The number of a head that was exported earlier; with `hash`.
    seq: Option<u64>,
    /// Its hash.
    hash: Option<String>,
}

async fn verify(
    State(state): State<AppState>,
    who: Who,
    Params(params): Params<VerifyParams>,
) -> Result<Json<Verdict>, ApiError> {
    Ok(Json(verdict(&state, &who, params).await?))
}

async fn verify_posted(
    State(state): State<AppState>,
    who: Who,
    Body(params): Body<VerifyParams>,
) -> Result<Json<Verdict>, ApiError> {
    Ok(Json(verdict(&state, &who, params).await?))
}

async fn verdict(state: &AppState, who: &Who, params: VerifyParams) -> Result<Verdict, ApiError> {
    let exported = match (params.seq, params.hash) {
        (Some(seq), Some(hash)) => Some(AuditHead { seq, hash }),
        (None, None) => None,
        _ => return Err(ApiError::bad_request("seq and hash name an exported head together: give both or neither")),
    };
    Ok(match state.rounds.audit().verify(&who.principal, exported.as_ref()).await? {
        Ok(head) => Verdict { ok: true, seq: head.seq, hash: Some(head.hash), message: None },
        Err(broken) => Verdict { ok: false, seq: broken.seq, hash: None, message: Some(broken.to_string()) },
    })
}

/// How an export is written.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// A row's JSON on each line, with what proves it.
    #[default]
    Jsonl,
    /// For spreadsheets. Texts that one would take for a formula begin with `'`.
    Csv,
}

/// Which rows, and how they are written.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExportParams {
    /// `jsonl` or `csv`.
    #[serde(default)]
    format: Format,
    /// Only rows after this number: where the last export ended.
    after: Option<u64>,
    /// With this action.
    action: Option<String>,
    /// By this account.
    actor_id: Option<String>,
    /// On this type of target.
    target_type: Option<String>,
    /// On this target.
    target_id: Option<String>,
    /// `success` or `failure`.
    outcome: Option<Outcome>,
    /// At or after this moment.
    from: Option<DateTime<Utc>>,
    /// Before this moment.
    to: Option<DateTime<Utc>>,
}

/// An export under way.
struct Export {
    state: AppState,
    who: Who,
    query: AuditQuery,
    format: Format,
    /// The page that was read and is not written yet.
    rows: Vec<AuditRow>,
    begun: bool,
}

/// Streams page by page, so that a long log needs no memory. A stream that breaks off in the middle ends without its
/// last line; whoever reads it goes on from the last whole one.
async fn export(
    State(state): State<AppState>,
    who: Who,
    Params(params): Params<ExportParams>,
) -> Result<Response, ApiError> {
    let rows = state.rounds.audit().after(&who.principal, params.after.unwrap_or(0), 500).await?;
    let query = AuditQuery {
        action: params.action,
        actor_id: params.actor_id,
        target_type: params.target_type,
        target_id: params.target_id,
        outcome: params.outcome,
        from: params.from,
        to: params.to,
        ..AuditQuery::new(who.principal.org_id.clone())
    };
    let (kind, name) = match params.format {
        Format::Jsonl => ("application/x-ndjson", "audit.jsonl"),
        Format::Csv => ("text/csv; charset=utf-8", "audit.csv"),
    };
    let export = Export { state, who, query, format: params.format, rows, begun: false };
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename={name}")),
    ];
    let lines = stream::try_unfold(export, async |mut export: Export| {
        let text = export.next().await?;
        Ok::<_, std::io::Error>(text.map(|text| (text, export)))
    });
    Ok((headers, axum::body::Body::from_stream(lines)).into_response())
}

impl Export {
    /// The next part of the text that has anything in it; `None`: that was all.
    async fn next(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut text = Vec::new();
        if !std::mem::replace(&mut self.begun, true)
            && let Format::Csv = self.format
        {
            text = csv_lines([COLUMNS.map(str::to_owned)])?;
        }
        while let Some(last) = self.rows.last().map(|row| row.seq) {
            let wanted = self.rows.iter().filter(|row| self.query.matches(&row.entry));
            match self.format {
                Format::Jsonl => {
                    for row in wanted {
                        serde_json::to_writer(&mut text, row)?;
                        text.push(b'\n');
                    }
                }
                Format::Csv => text.extend(csv_lines(wanted.map(cells))?),
            }
            self.rows =
                self.state.rounds.audit().after(&self.who.principal, last, 500).await.map_err(std::io::Error::other)?;
            if !text.is_empty() {
                break;
            }
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}

const COLUMNS: [&str; 13] = [
    "id",
    "timestamp",
    "action",
    "actorType",
    "actorId",
    "actorLogin",
    "orgId",
    "targetType",
    "targetId",
    "outcome",
    "metadata",
    "previous",
    "hash",
];

fn cells(row: &AuditRow) -> [String; 13] {
    let entry = &row.entry;
    let actor_type = serde_json::to_value(entry.actor_type).ok();
    [
        row.seq.to_string(),
        entry.at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        entry.action.clone(),
        actor_type.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned(),
        entry.actor_id.clone(),
        entry.actor_login.clone(),
        entry.org_id.to_string(),
        entry.target_type.clone(),
        entry.target_id.clone(),
        entry.outcome.as_str().to_owned(),
        Value::Object(entry.metadata.clone()).to_string(),
        row.previous.clone(),
        row.hash.clone(),
    ]
    .map(inert)
}

/// Logins and names are whatever people chose: none becomes a formula in somebody's spreadsheet.
fn inert(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
}

fn csv_lines(rows: impl IntoIterator<Item = [String; 13]>) -> std::io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(&row)?;
    }
    writer.into_inner().map_err(|error| std::io::Error::other(error.to_string()))
}

/// Which rows go.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PruneBody {
    /// Rows before this moment; at least 30 days ago.
    before: DateTime<Utc>,
}

/// What went.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Pruned {
    /// The last row that was removed; absent when none was old enough.
    through: Option<u64>,
    /// Its hash.
    hash: Option<String>,
}

async fn prune(State(state): State<AppState>, who: Who, Body(body): Body<PruneBody>) -> Result<Json<Pruned>, ApiError> {
    let checkpoint = state.rounds.audit().prune(&who.principal, body.before).await?;
    Ok(Json(Pruned { through: checkpoint.as_ref().map(|done| done.seq), hash: checkpoint.map(|done| done.hash) }))
}

#[cfg(test)]
mod tests {
    use super::inert;

    #[test]
    fn a_text_that_a_spreadsheet_would_run_is_made_inert() {
        for (text, expected) in [("=1+1", "'=1+1"), ("@home", "'@home"), ("-1", "'-1"), ("ada", "ada"), ("", "")] {
            assert_eq!(inert(text.to_owned()), expected);
        }
    }
}
