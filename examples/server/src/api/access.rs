//! Roles and grants.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rounds_core::access::{Action, Scope};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::lenient;
use super::{Api, Op};
use crate::accounts::{GrantDraft, GrantView, RoleView, SubjectDraft};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Body, Id, Params};
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(Op::get("/api/access-control/roles", "What each role permits").answers::<Vec<RoleView>>(), roles)
        .at(
            Op::get("/api/access-control/grants", "List grants").query::<ListParams>().answers::<Vec<GrantView>>(),
            list,
        )
        .at(
            Op::post("/api/access-control/grants", "Grant an action on a scope, or a role")
                .body::<GrantDraft>()
                .status(201)
                .answers::<GrantView>(),
            add,
        )
        .at(
            Op::delete("/api/access-control/grants", "Take back the grant that is like this")
                .query::<LikeParams>()
                .body::<GrantDraft>(),
            remove_like,
        )
        .at(Op::delete("/api/access-control/grants/{id}", "Take a grant back"), remove)
}

async fn roles(State(state): State<AppState>, who: Who) -> Result<Json<Vec<RoleView>>, ApiError> {
    Ok(Json(state.accounts.roles(&who.principal).await?))
}

/// Which grants.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListParams {
    /// Only of this subject, written as when granting.
    subject: Option<String>,
}

async fn list(
    State(state): State<AppState>,
    who: Who,
    Params(params): Params<ListParams>,
) -> Result<Json<Vec<GrantView>>, ApiError> {
    let subject = params.subject.map(SubjectDraft::Text);
    Ok(Json(state.accounts.grants(&who.principal, subject.as_ref()).await?))
}

/// A grant, which may carry what the server wrote about it before: that is not read.
struct GrantBody(GrantDraft);

impl<'de> Deserialize<'de> for GrantBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::without(deserializer, &["id", "subjectName", "createdAt"]).map(Self)
    }
}

impl JsonSchema for GrantBody {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        GrantDraft::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        GrantDraft::json_schema(generator)
    }
}

/// Which grant to take back, when no body says so.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LikeParams {
    /// The grant itself; nothing else is needed then.
    id: Option<Uuid>,
    /// Whose.
    subject: Option<String>,
    /// The action.
    #[schemars(with = "Option<String>")]
    action: Option<Action>,
    /// On what.
    #[schemars(with = "Option<String>")]
    scope: Option<Scope>,
    /// Or the role.
    role: Option<String>,
}

async fn add(
    State(state): State<AppState>,
    who: Who,
    Body(GrantBody(draft)): Body<GrantBody>,
) -> Result<(StatusCode, Json<GrantView>), ApiError> {
    Ok((StatusCode::CREATED, Json(state.accounts.add_grant(&who.principal, &draft).await?)))
}

async fn remove_like(
    State(state): State<AppState>,
    who: Who,
    Params(params): Params<LikeParams>,
    Body(body): Body<Map<String, Value>>,
) -> Result<StatusCode, ApiError> {
    if body.is_empty() {
        let LikeParams { id, subject, action, scope, role } = params;
        match (id, subject) {
            (Some(id), None) => state.accounts.remove_grant(&who.principal, id).await?,
            (None, Some(subject)) => {
                let draft = GrantDraft { subject: SubjectDraft::Text(subject), action, scope, role };
                state.accounts.remove_grant_like(&who.principal, &draft).await?;
            }
            _ => {
                return Err(ApiError::bad_request(
                    "which grant: subject with action and scope or role, or id alone, is expected in the body or the \
                     query",
                ));
            }
        }
        return Ok(StatusCode::NO_CONTENT);
    }
    if let (1, Some(Value::String(id))) = (body.len(), body.get("id")) {
        let id = id.parse().map_err(|error| ApiError::bad_request(format!("id: {error}")))?;
        state.accounts.remove_grant(&who.principal, id).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    let GrantBody(draft) = lenient::read(body)?;
    state.accounts.remove_grant_like(&who.principal, &draft).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(State(state): State<AppState>, who: Who, Id(id): Id<Uuid>) -> Result<StatusCode, ApiError> {
    state.accounts.remove_grant(&who.principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
