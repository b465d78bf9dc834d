//! The audit log, for server admins.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use rounds_core::OrgId;
use rounds_core::access::ActorType;
use rounds_core::audit::{AuditRow, Outcome};
use rounds_core::ports::store::AuditQuery;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Api, Op};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::Params;
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(Op::get("/api/admin/audit-log", "Who did what, newest first").query::<ListParams>().answers::<Page>(), list)
        .at(Op::get("/api/admin/audit-log/verify", "Walk the hash chain").answers::<Verdict>(), verify)
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

async fn verify(State(state): State<AppState>, who: Who) -> Result<Json<Verdict>, ApiError> {
    Ok(Json(match state.rounds.audit().verify(&who.principal).await? {
        Ok(head) => Verdict { ok: true, seq: head.seq, hash: Some(head.hash), message: None },
        Err(broken) => Verdict { ok: false, seq: broken.seq, hash: None, message: Some(broken.to_string()) },
    }))
}
