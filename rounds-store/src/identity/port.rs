//! The [`Identity`] port over the tables.

use async_trait::async_trait;
use rounds_core::access::Principal;
use rounds_core::ports::{Identity, PortError, TokenIdentity};
use rounds_core::{OrgId, PrincipalId, TeamId, Timestamp};
use sea_orm::ConnectionTrait as _;
use sea_orm::sea_query::{Expr, ExprTrait as _, Order, Query};
use secrecy::SecretString;
use uuid::Uuid;

use super::{IdentityError, SqlIdentity, TokenInfo};
use crate::error::Fail;
use crate::tables::TEAM_MEMBER;

impl SqlIdentity {
    /// An account with teams and grants as they are now; `None` when there is none or it is disabled.
    ///
    /// # Errors
    /// The accounts cannot be read.
    pub async fn principal(&self, id: PrincipalId) -> Result<Option<Principal>, IdentityError> {
        let Some(account) = self.account(id).await?.filter(|account| !account.is_disabled) else { return Ok(None) };
        let select = Query::select()
            .column("team_id")
            .from(self.table(TEAM_MEMBER))
            .and_where(Expr::col("account_id").eq(id.as_uuid()))
            .order_by("team_id", Order::Asc)
            .take();
        let mut teams: Vec<TeamId> = Vec::new();
        for row in self.db.reader.query_all(&select).await.map_err(Fail::from)? {
            teams.push(row.try_get::<Uuid>("", "team_id").map_err(Fail::from)?.into());
        }
        let grants = self.grants_of(&account.org_id, id, &teams).await?;
        Ok(Some(Principal { teams, grants, ..account.bare_principal() }))
    }

    async fn identify(&self, token: Option<TokenInfo>) -> Result<Option<TokenIdentity>, IdentityError> {
        let Some(token) = token else { return Ok(None) };
        let principal = self.principal(token.account).await?;
        Ok(principal.map(|principal| TokenIdentity::new(token.id, principal).with_expires_at(token.expires_at)))
    }
}

#[async_trait]
impl Identity for SqlIdentity {
    async fn authenticate(&self, token: &SecretString, now: Timestamp) -> Result<Option<TokenIdentity>, PortError> {
        let Some(found) = self.live_token(token, now).await? else { return Ok(None) };
        let identified = self.identify(Some(found.clone())).await?;
        if identified.is_some() {
            self.touch(&found, now).await;
        }
        Ok(identified)
    }

    async fn live_agent(&self, org: &OrgId, now: Timestamp) -> Result<Option<TokenIdentity>, PortError> {
        let token = self.live_agent_token(org, now).await?;
        Ok(self.identify(token).await?)
    }
}
