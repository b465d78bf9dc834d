//! Permissions beyond the organisation role, given to accounts and teams.

use std::fmt;
use std::str::FromStr;

use rounds_core::access::{Action, FixedRole, Grant, Scope};
use rounds_core::audit::AuditEntry;
use rounds_core::{OrgId, PrincipalId, TeamId, Timestamp};
use sea_orm::sea_query::{Expr, ExprTrait as _, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait as _, QueryResult};
use uuid::Uuid;

use super::{IdentityError, SqlIdentity, corrupt, from_micros, to_micros};
use crate::dialect::unique_violation;
use crate::error::Fail;
use crate::tables::{GRANT, column_text};

/// To whom something is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A user or a service account.
    Account(PrincipalId),
    /// Everybody in a team.
    Team(TeamId),
}

/// What is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// One action on one scope.
    Action(Action, Scope),
    /// What a fixed role bundles.
    Role(FixedRole),
}

impl Permission {
    /// As access decisions see it.
    #[must_use]
    pub fn grants(&self) -> Vec<Grant> {
        match self {
            Self::Action(action, scope) => vec![Grant::new(*action, scope.clone())],
            Self::Role(role) => role.grants(),
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action(action, scope) => write!(f, "{action} {scope}"),
            Self::Role(role) => f.write_str(role.name()),
        }
    }
}

impl FromStr for Permission {
    type Err = String;

    /// `<action> <scope>` or the name of a fixed role.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(' ') {
            Some((action, scope)) => {
                let action = action.parse().map_err(|error: rounds_core::access::UnknownAction| error.to_string())?;
                let scope = scope.parse().map_err(|error: rounds_core::access::InvalidScope| error.to_string())?;
                Ok(Self::Action(action, scope))
            }
            None => FixedRole::find(text).map(Self::Role),
        }
    }
}

/// A grant to be made.
#[derive(Debug, Clone)]
pub struct NewGrant {
    /// The new grant's id.
    pub id: Uuid,
    /// The organisation.
    pub org_id: OrgId,
    /// To whom.
    pub subject: Subject,
    /// What.
    pub permission: Permission,
}

/// A grant that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GrantRow {
    /// The grant.
    pub id: Uuid,
    /// The organisation.
    pub org_id: OrgId,
    /// To whom.
    pub subject: Subject,
    /// What.
    pub permission: Permission,
    /// When.
    pub created_at: Timestamp,
}

impl SqlIdentity {
    /// Grants something.
    ///
    /// # Errors
    /// It is granted already, or there is no such account or team.
    pub async fn add_grant(
        &self,
        grant: NewGrant,
        now: Timestamp,
        audit: &[AuditEntry],
    ) -> Result<GrantRow, IdentityError> {
        let permission = grant.permission.to_string();
        let (account, team) = match grant.subject {
            Subject::Account(id) => (Some(id.as_uuid()), None),
            Subject::Team(id) => (None, Some(id.as_uuid())),
        };
        let subject = account.or(team).unwrap_or_default();
        let insert = Query::insert()
            .into_table(self.table(GRANT))
            .columns(["id", "org_id", "account_id", "team_id", "permission", "unique_key", "created_at"])
            .values_panic([
                grant.id.into(),
                column_text(grant.org_id.as_str()).into(),
                account.into(),
                team.into(),
                permission.as_str().into(),
                format!("{}/{subject}/{permission}", column_text(grant.org_id.as_str())).into(),
                to_micros(now).into(),
            ])
            .take();
        let tx = self.begin().await?;
        tx.execute(&insert).await.map_err(|error| match (unique_violation(&error), error.sql_err()) {
            (Some(_), _) => IdentityError::Taken { field: "permission", value: permission.clone() },
            (None, Some(_)) => {
                IdentityError::NotFound { what: "organisation, account or team", id: subject.to_string() }
            }
            (None, None) => Fail::from(error).into(),
        })?;
        self.finish(tx, audit).await?;
        Ok(GrantRow {
            id: grant.id,
            org_id: grant.org_id,
            subject: grant.subject,
            permission: grant.permission,
            created_at: now,
        })
    }

    /// The grants of an organisation, oldest first.
    ///
    /// # Errors
    /// The database.
    pub async fn grants(&self, org: &OrgId) -> Result<Vec<GrantRow>, IdentityError> {
        let mut select = self.select_grant();
        select.and_where(Expr::col("org_id").eq(column_text(org.as_str())));
        Ok(self.read_grants(&select).await?)
    }

    /// Takes a grant back.
    ///
    /// # Errors
    /// There is no such grant.
    pub async fn remove_grant(&self, id: Uuid, audit: &[AuditEntry]) -> Result<(), IdentityError> {
        let tx = self.begin().await?;
        let delete = Query::delete().from_table(self.table(GRANT)).and_where(Expr::col("id").eq(id)).take();
        if tx.execute(&delete).await.map_err(Fail::from)?.rows_affected() == 0 {
            return Err(IdentityError::NotFound { what: "grant", id: id.to_string() });
        }
        self.finish(tx, audit).await
    }

    /// What an account holds by itself and through its teams, in its organisation.
    pub(super) async fn grants_of(
        &self,
        org: &OrgId,
        account: PrincipalId,
        teams: &[TeamId],
    ) -> Result<Vec<Grant>, IdentityError> {
        let mut select = self.select_grant();
        let own = Expr::col("account_id").eq(account.as_uuid());
        let through_teams = Expr::col("team_id").is_in(teams.iter().map(TeamId::as_uuid));
        select.and_where(Expr::col("org_id").eq(column_text(org.as_str()))).and_where(own.or(through_teams));
        let rows = self.read_grants(&select).await?;
        Ok(rows.iter().flat_map(|row| row.permission.grants()).collect())
    }

    fn select_grant(&self) -> SelectStatement {
        Query::select()
            .columns(["id", "org_id", "account_id", "team_id", "permission", "created_at"])
            .from(self.table(GRANT))
            .order_by("id", Order::Asc)
            .take()
    }

    async fn read_grants(&self, select: &SelectStatement) -> Result<Vec<GrantRow>, Fail> {
        let rows = self.db.reader.query_all(select).await?;
        rows.iter().filter_map(|row| read_grant(row).transpose()).collect()
    }
}

/// A permission that this version does not know is not a permission (rule 11), and said in the log.
fn read_grant(row: &QueryResult) -> Result<Option<GrantRow>, Fail> {
    let id: Uuid = row.try_get("", "id")?;
    let org: String = row.try_get("", "org_id")?;
    let permission: String = row.try_get("", "permission")?;
    let account: Option<Uuid> = row.try_get("", "account_id")?;
    let team: Option<Uuid> = row.try_get("", "team_id")?;
    let subject = match (account, team) {
        (Some(account), None) => Subject::Account(account.into()),
        (None, Some(team)) => Subject::Team(team.into()),
        _ => return Err(corrupt("a grant", format!("{id} is to nobody or to two"))),
    };
    match permission.parse() {
        Ok(permission) => {
            let created_at = from_micros(row.try_get("", "created_at")?)?;
            Ok(Some(GrantRow { id, org_id: OrgId::new(org), subject, permission, created_at }))
        }
        Err(error) => {
            tracing::warn!(grant = %id, %error, "a grant is ignored");
            Ok(None)
        }
    }
}
