//! Rounds in the application: its store in the application's database, its people, roles and feed the application's.

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use rounds_core::access::{Action, Denied, OrgRole, Principal, Scope};
use rounds_core::plan::Plan;
use rounds_core::plugin::{Registration, Registry};
use rounds_core::ports::{Authorizer, CallContext, CheckReport, Notice, Notifier, PortError, SoleAgent};
use rounds_core::service::{Approval, ConnectorDraft, PlanFilter};
use rounds_core::{Error, OrgId, PlanId, Rounds};
use rounds_store::{MasterKey, SqlStore, StoreOptions};

use crate::app::{App, User};

/// Assembles it. Nothing runs before [`Rounds::start`]; doing it again on the same data changes nothing.
///
/// # Errors
/// The store cannot be opened.
pub async fn assemble(app: &App) -> anyhow::Result<(Rounds, SqlStore)> {
    let key = MasterKey::load_or_create(&app.dir.join("rounds.key"))?;
    let store = SqlStore::open(StoreOptions::new(app.database_url(), key).with_prefix("ops_")).await?;
    let registry = Registry::new([
        Registration::notifier("feed", "The feed", Arc::new(Feed(app.clone()))),
        Registration::execution("fleet", "The fleet", Arc::new(app.fleet.clone())),
    ])?;
    let agent = SoleAgent::new(Principal::agent(OrgId::default(), "@platform/rounds"));
    let rounds = Rounds::builder(Arc::new(store.clone()), Arc::new(agent))
        .registry(registry)
        .authorizer(Arc::new(Roles(app.clone())))
        .build()?;
    for kind in ["feed", "fleet"] {
        rounds.connectors().ensure(&setup(), ConnectorDraft::new(kind, kind)).await?;
    }
    Ok((rounds, store))
}

/// Its routes, in the application's style and for the application's people.
pub fn routes(rounds: Rounds) -> Router<App> {
    let plans = async |who: User, Extension(rounds): Extension<Rounds>| {
        let found = rounds.plans().list(&principal(&who.id), &PlanFilter::default()).await.map_err(Failed)?;
        Ok::<_, Failed>(Json(found.items))
    };
    Router::new().route("/plans", get(plans)).route("/plans/{id}/approve", post(approve)).layer(Extension(rounds))
}

async fn approve(
    who: User,
    Extension(rounds): Extension<Rounds>,
    Path(id): Path<PlanId>,
    Json(approval): Json<Approval>,
) -> Result<Json<Plan>, Failed> {
    rounds.plans().approve(&principal(&who.id), id, &approval).await.map(Json).map_err(Failed)
}

struct Failed(Error);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, self.0.to_string()).into_response()
    }
}

/// The application itself, as it sets up what it brings along.
fn setup() -> Principal {
    Principal::service_account(OrgId::default(), "the application", OrgRole::Admin)
}

/// One of the application's people, as Rounds knows them. What they may do is `Roles`' to say, so the role here says
/// nothing.
#[must_use]
pub fn principal(user: &str) -> Principal {
    Principal::user(OrgId::default(), user, OrgRole::Viewer)
}

/// Leads do everything, site reliability engineers decide for their team's namespace, developers look.
struct Roles(App);

#[async_trait]
impl Authorizer for Roles {
    async fn authorize(&self, who: &Principal, action: Action, scopes: &[Scope]) -> Result<(), Denied> {
        let user = self.0.user(&who.login).await.ok().flatten();
        let may = |scope: &Scope| match user.as_ref().map(|user| (user.role.as_str(), &*user.team)) {
            Some(("lead", _)) => true,
            Some(("sre", team)) if action == Action::PlansApprove => scope.namespace() == Some(team),
            Some(_) => action.is_read(),
            None if who.is_agent => action.is_for_agents(),
            None => who.id == setup().id,
        };
        let refused = scopes.iter().find(|scope| !may(scope));
        refused.map_or(Ok(()), |scope| Err(Denied::missing(who, action, scope)))
    }
}

struct Feed(App);

#[async_trait]
impl Notifier for Feed {
    async fn check(&self, _: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport::new("everybody reads the feed"))
    }

    async fn send(&self, _: &CallContext, notice: &Notice) -> Result<(), PortError> {
        self.0.post(notice.title.clone());
        Ok(())
    }
}
