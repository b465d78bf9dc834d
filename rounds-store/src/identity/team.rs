//! Teams of accounts.

use std::collections::BTreeMap;

use rounds_core::audit::AuditEntry;
use rounds_core::{OrgId, PrincipalId, TeamId, Timestamp};
use sea_orm::ConnectionTrait as _;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, Order, Query};
use uuid::Uuid;

use super::{IdentityError, SqlIdentity, checked_name, to_micros};
use crate::dialect::unique_violation;
use crate::error::Fail;
use crate::tables::{TEAM, TEAM_MEMBER, column_text};

/// A team to be made.
#[derive(Debug, Clone)]
pub struct NewTeam {
    /// The new team's id.
    pub id: TeamId,
    /// Its organisation.
    pub org_id: OrgId,
    /// Its name; unique in the organisation.
    pub name: String,
}

/// A team.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Team {
    /// The team.
    pub id: TeamId,
    /// Its organisation.
    pub org_id: OrgId,
    /// Its name.
    pub name: String,
    /// Who is in it.
    pub members: Vec<PrincipalId>,
}

impl SqlIdentity {
    /// Makes a team.
    ///
    /// # Errors
    /// The name is taken or cannot be accepted.
    pub async fn create_team(
        &self,
        team: NewTeam,
        now: Timestamp,
        audit: &[AuditEntry],
    ) -> Result<Team, IdentityError> {
        let name = checked_name("name", &team.name)?;
        let insert = Query::insert()
            .into_table(self.table(TEAM))
            .columns(["id", "org_id", "name", "created_at"])
            .values_panic([
                team.id.as_uuid().into(),
                column_text(team.org_id.as_str()).into(),
                name.as_str().into(),
                to_micros(now).into(),
            ])
            .take();
        let tx = self.begin().await?;
        tx.execute(&insert).await.map_err(|error| match (unique_violation(&error), error.sql_err()) {
            (Some(_), _) => IdentityError::Taken { field: "name", value: name.clone() },
            (None, Some(_)) => IdentityError::NotFound { what: "organisation", id: team.org_id.to_string() },
            (None, None) => Fail::from(error).into(),
        })?;
        self.finish(tx, audit).await?;
        Ok(Team { id: team.id, org_id: team.org_id, name, members: Vec::new() })
    }

    /// The teams of an organisation with their members, oldest first.
    ///
    /// # Errors
    /// The database.
    pub async fn teams(&self, org: &OrgId) -> Result<Vec<Team>, IdentityError> {
        let of_org = Expr::col("org_id").eq(column_text(org.as_str()));
        let teams = Query::select()
            .columns(["id", "name"])
            .from(self.table(TEAM))
            .and_where(of_org.clone())
            .order_by("id", Order::Asc)
            .take();
        let ids = Query::select().column("id").from(self.table(TEAM)).and_where(of_org).take();
        let members = Query::select()
            .columns(["team_id", "account_id"])
            .from(self.table(TEAM_MEMBER))
            .and_where(Expr::col("team_id").in_subquery(ids))
            .order_by("account_id", Order::Asc)
            .take();
        let mut of_team: BTreeMap<Uuid, Vec<PrincipalId>> = BTreeMap::new();
        for row in self.db.reader.query_all(&members).await.map_err(Fail::from)? {
            let team: Uuid = row.try_get("", "team_id").map_err(Fail::from)?;
            let account: Uuid = row.try_get("", "account_id").map_err(Fail::from)?;
            of_team.entry(team).or_default().push(account.into());
        }
        let mut found = Vec::new();
        for row in self.db.reader.query_all(&teams).await.map_err(Fail::from)? {
            let id: Uuid = row.try_get("", "id").map_err(Fail::from)?;
            let name = row.try_get("", "name").map_err(Fail::from)?;
            let members = of_team.remove(&id).unwrap_or_default();
            found.push(Team { id: id.into(), org_id: org.clone(), name, members });
        }
        Ok(found)
    }

    /// Deletes a team with its memberships and grants.
    ///
    /// # Errors
    /// There is no such team.
    pub async fn delete_team(&self, id: TeamId, audit: &[AuditEntry]) -> Result<(), IdentityError> {
        let tx = self.begin().await?;
        let delete = Query::delete().from_table(self.table(TEAM)).and_where(Expr::col("id").eq(id.as_uuid())).take();
        if tx.execute(&delete).await.map_err(Fail::from)?.rows_affected() == 0 {
            return Err(IdentityError::NotFound { what: "team", id: id.to_string() });
        }
        self.finish(tx, audit).await
    }

    /// Puts an account into a team; nothing changes when it is in it.
    ///
    /// # Errors
    /// There is no such team or account.
    pub async fn add_member(
        &self,
        team: TeamId,
        account: PrincipalId,
        audit: &[AuditEntry],
    ) -> Result<(), IdentityError> {
        let insert = Query::insert()
            .into_table(self.table(TEAM_MEMBER))
            .columns(["team_id", "account_id"])
            .values_panic([team.as_uuid().into(), account.as_uuid().into()])
            .on_conflict(OnConflict::columns(["team_id", "account_id"]).do_nothing().to_owned())
            .take();
        let tx = self.begin().await?;
        tx.execute(&insert).await.map_err(|error| match error.sql_err() {
            Some(_) => IdentityError::NotFound { what: "team or account", id: format!("{team} or {account}") },
            None => Fail::from(error).into(),
        })?;
        self.finish(tx, audit).await
    }

    /// Takes an account out of a team; nothing changes when it is not in it.
    ///
    /// # Errors
    /// The database.
    pub async fn remove_member(
        &self,
        team: TeamId,
        account: PrincipalId,
        audit: &[AuditEntry],
    ) -> Result<(), IdentityError> {
        let delete = Query::delete()
            .from_table(self.table(TEAM_MEMBER))
            .and_where(Expr::col("team_id").eq(team.as_uuid()))
            .and_where(Expr::col("account_id").eq(account.as_uuid()))
            .take();
        let tx = self.begin().await?;
        tx.execute(&delete).await.map_err(Fail::from)?;
        self.finish(tx, audit).await
    }
}
