//! Sessions of people in browsers. The id is a bearer secret, so the database holds only its hash.

use std::time::Duration;

use rounds_core::access::Principal;
use rounds_core::audit::AuditEntry;
use rounds_core::time::after_ms;
use rounds_core::{PrincipalId, Timestamp};
use sea_orm::ConnectionTrait as _;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::token::{digest, random_text};
use super::{IdentityError, SqlIdentity, from_micros, to_micros};
use crate::error::Fail;
use crate::tables::SESSION;

/// A session that was just begun.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NewSession {
    /// The cookie's value. It cannot be had again.
    pub id: SecretString,
    /// What forms must carry.
    pub csrf: SecretString,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A session that goes on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Session {
    /// Whose it is, with teams and grants as they are now.
    pub principal: Principal,
    /// What forms must carry.
    pub csrf: SecretString,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl SqlIdentity {
    /// Begins a session.
    ///
    /// # Errors
    /// There is no such account, or the database.
    pub async fn create_session(
        &self,
        account: PrincipalId,
        now: Timestamp,
        ttl: Duration,
        audit: &[AuditEntry],
    ) -> Result<NewSession, IdentityError> {
        let expires_at = after_ms(now, u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let session =
            NewSession { id: SecretString::from(random_text()?), csrf: SecretString::from(random_text()?), expires_at };
        let insert = Query::insert()
            .into_table(self.table(SESSION))
            .columns(["hash", "account_id", "csrf", "created_at", "expires_at"])
            .values_panic([
                digest(&session.id).into(),
                account.as_uuid().into(),
                session.csrf.expose_secret().into(),
                to_micros(now).into(),
                to_micros(expires_at).into(),
            ])
            .take();
        let tx = self.begin().await?;
        tx.execute(&insert).await.map_err(|error| match error.sql_err() {
            Some(sea_orm::SqlErr::ForeignKeyConstraintViolation(_)) => {
                IdentityError::NotFound { what: "account", id: account.to_string() }
            }
            _ => Fail::from(error).into(),
        })?;
        self.finish(tx, audit).await?;
        Ok(session)
    }

    /// The session behind a cookie; `None` when there is none, it is over, or its account is disabled.
    ///
    /// # Errors
    /// The database.
    pub async fn session(&self, id: &SecretString, now: Timestamp) -> Result<Option<Session>, IdentityError> {
        let select = Query::select()
            .columns(["account_id", "csrf", "expires_at"])
            .from(self.table(SESSION))
            .and_where(Expr::col("hash").eq(digest(id)))
            .and_where(Expr::col("expires_at").gt(to_micros(now)))
            .take();
        let Some(row) = self.db.reader.query_one(&select).await.map_err(Fail::from)? else { return Ok(None) };
        let account: Uuid = row.try_get("", "account_id").map_err(Fail::from)?;
        let csrf: String = row.try_get("", "csrf").map_err(Fail::from)?;
        let expires_at = from_micros(row.try_get("", "expires_at").map_err(Fail::from)?)?;
        let principal = self.principal(account.into()).await?;
        Ok(principal.map(|principal| Session { principal, csrf: SecretString::from(csrf), expires_at }))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// The database.
    pub async fn delete_session(&self, id: &SecretString, audit: &[AuditEntry]) -> Result<(), IdentityError> {
        let tx = self.begin().await?;
        let delete = Query::delete().from_table(self.table(SESSION)).and_where(Expr::col("hash").eq(digest(id))).take();
        tx.execute(&delete).await.map_err(Fail::from)?;
        self.finish(tx, audit).await
    }

    /// Ends every session of an account.
    ///
    /// # Errors
    /// The database.
    pub async fn delete_sessions(&self, account: PrincipalId, audit: &[AuditEntry]) -> Result<(), IdentityError> {
        let tx = self.begin().await?;
        self.end_sessions(&tx, account).await?;
        self.finish(tx, audit).await
    }

    /// Removes the sessions that are over; answers how many. They work no more whether swept or not.
    ///
    /// # Errors
    /// The database.
    pub async fn sweep_sessions(&self, now: Timestamp) -> Result<u64, IdentityError> {
        let tx = self.begin().await?;
        let delete = Query::delete()
            .from_table(self.table(SESSION))
            .and_where(Expr::col("expires_at").lte(to_micros(now)))
            .take();
        let swept = tx.execute(&delete).await.map_err(Fail::from)?.rows_affected();
        self.finish(tx, &[]).await?;
        Ok(swept)
    }
}
