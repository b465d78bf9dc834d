//! Sessions of people in browsers. The cookie's value is a bearer secret, so the database holds only its hash; what lists
//! and ends a session is an id of its own.
//!
//! A session ends at a fixed time, and before that when it was not used for as long as the caller says. It is never
//! prolonged.

use std::time::Duration;

use rounds_core::access::Principal;
use rounds_core::audit::AuditEntry;
use rounds_core::time::after_ms;
use rounds_core::{PrincipalId, Timestamp};
use sea_orm::sea_query::{Expr, ExprTrait as _, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait as _, QueryResult};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::password::PasswordProof;
use super::token::{digest, random_text};
use super::{IdentityError, SqlIdentity, from_micros, to_micros};
use crate::error::Fail;
use crate::tables::{SESSION, column_text};

/// A session to be begun.
#[derive(Debug, Clone)]
pub struct SessionStart {
    /// Whose it is.
    pub account: PrincipalId,
    /// How long it may last, however busy.
    pub ttl: Duration,
    /// The program at the other side, as it calls itself. Cut to 300 characters.
    pub user_agent: Option<String>,
    /// The address at the other side.
    pub address: Option<String>,
    /// The cookie that was there before: whatever session it stood for ends, so that none outlives a sign-in.
    pub replaces: Option<SecretString>,
    /// What its password proved: a session must not begin with one that is being taken away, because whoever changes a
    /// password ends every session that there is.
    pub proof: Option<PasswordProof>,
}

impl SessionStart {
    /// A session of an account that says nothing of where it comes from and replaces none.
    #[must_use]
    pub fn new(account: PrincipalId, ttl: Duration) -> Self {
        Self { account, ttl, user_agent: None, address: None, replaces: None, proof: None }
    }
}

/// A session that was just begun.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NewSession {
    /// What it is listed and ended by. It opens nothing.
    pub session_id: Uuid,
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
    /// What it is listed and ended by.
    pub session_id: Uuid,
    /// Whose it is, with teams and grants as they are now.
    pub principal: Principal,
    /// What forms must carry.
    pub csrf: SecretString,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_seen_at: Timestamp,
}

/// What is known of a session. Its cookie is not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// What it is ended by.
    pub id: Uuid,
    /// Whose it is.
    pub account: PrincipalId,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_seen_at: Timestamp,
    /// When it ends, however busy.
    pub expires_at: Timestamp,
    /// The program at the other side, as it called itself at the beginning.
    pub user_agent: Option<String>,
    /// The address it was begun from.
    pub address: Option<String>,
}

/// Uses within this time of the last one are not written down.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// As much of a program's own name as is worth keeping.
const USER_AGENT_CHARS: usize = 300;

impl SqlIdentity {
    /// Begins a session, and ends the one it replaces in the same transaction.
    ///
    /// # Errors
    /// There is no such account, or the database.
    pub async fn create_session(
        &self,
        start: SessionStart,
        now: Timestamp,
        audit: &[AuditEntry],
    ) -> Result<NewSession, IdentityError> {
        let expires_at = after_ms(now, u64::try_from(start.ttl.as_millis()).unwrap_or(u64::MAX));
        let session = NewSession {
            session_id: Uuid::now_v7(),
            id: SecretString::from(random_text()?),
            csrf: SecretString::from(random_text()?),
            expires_at,
        };
        let insert = Query::insert()
            .into_table(self.table(SESSION))
            .columns([
                "hash",
                "id",
                "account_id",
                "csrf",
                "created_at",
                "last_seen_at",
                "expires_at",
                "user_agent",
                "address",
            ])
            .values_panic([
                digest(&session.id).into(),
                session.session_id.into(),
                start.account.as_uuid().into(),
                session.csrf.expose_secret().into(),
                to_micros(now).into(),
                to_micros(now).into(),
                to_micros(expires_at).into(),
                start.user_agent.as_deref().map(plain).into(),
                start.address.as_deref().map(plain).into(),
            ])
            .take();
        let tx = self.begin().await?;
        if let Some(proof) = &start.proof
            && !self.still_proves(&tx, start.account, proof).await?
        {
            return Err(IdentityError::PasswordChanged);
        }
        if let Some(before) = &start.replaces {
            let delete =
                Query::delete().from_table(self.table(SESSION)).and_where(Expr::col("hash").eq(digest(before))).take();
            tx.execute(&delete).await.map_err(Fail::from)?;
        }
        tx.execute(&insert).await.map_err(|error| match error.sql_err() {
            Some(sea_orm::SqlErr::ForeignKeyConstraintViolation(_)) => {
                IdentityError::NotFound { what: "account", id: start.account.to_string() }
            }
            _ => Fail::from(error).into(),
        })?;
        self.finish(tx, audit).await?;
        Ok(session)
    }

    /// The session behind a cookie; `None` when there is none, it is over, it was not used for `idle`, or its account is
    /// disabled. Looking is no use of it: [`Self::touch_session`] is.
    ///
    /// # Errors
    /// The database.
    pub async fn session(
        &self,
        id: &SecretString,
        now: Timestamp,
        idle: Duration,
    ) -> Result<Option<Session>, IdentityError> {
        let select = self.live_sessions(now, idle).column("csrf").and_where(Expr::col("hash").eq(digest(id))).take();
        let Some(row) = self.db.reader.query_one(&select).await.map_err(Fail::from)? else { return Ok(None) };
        let csrf: String = row.try_get("", "csrf").map_err(Fail::from)?;
        let found = read_session(&row)?;
        let principal = self.principal(found.account).await?;
        Ok(principal.map(|principal| Session {
            session_id: found.id,
            principal,
            csrf: SecretString::from(csrf),
            expires_at: found.expires_at,
            last_seen_at: found.last_seen_at,
        }))
    }

    /// Writes down that a session was used, at most once a minute. That it could not be written down is no reason to
    /// refuse whoever uses it.
    pub async fn touch_session(&self, session: &Session, now: Timestamp) {
        let stale = before(now, TOUCH_EVERY);
        if to_micros(session.last_seen_at) > stale {
            return;
        }
        if let Err(error) = self.try_touch_session(session.session_id, now, stale).await {
            tracing::debug!(%error, session = %session.session_id, "the use of a session could not be written down");
        }
    }

    async fn try_touch_session(&self, id: Uuid, now: Timestamp, stale: i64) -> Result<(), IdentityError> {
        let tx = self.begin().await?;
        let update = Query::update()
            .table(self.table(SESSION))
            .value("last_seen_at", to_micros(now))
            .and_where(Expr::col("id").eq(id))
            .and_where(Expr::col("last_seen_at").lte(stale))
            .take();
        tx.execute(&update).await.map_err(Fail::from)?;
        self.finish(tx, &[]).await
    }

    /// The sessions of an account that go on, the one used last before others.
    ///
    /// # Errors
    /// The database.
    pub async fn sessions(
        &self,
        account: PrincipalId,
        now: Timestamp,
        idle: Duration,
    ) -> Result<Vec<SessionInfo>, IdentityError> {
        let mut select = self.live_sessions(now, idle);
        select
            .and_where(Expr::col("account_id").eq(account.as_uuid()))
            .order_by("last_seen_at", Order::Desc)
            .order_by("id", Order::Desc);
        let rows = self.db.reader.query_all(&select).await.map_err(Fail::from)?;
        Ok(rows.iter().map(read_session).collect::<Result<_, _>>()?)
    }

    /// Ends the session behind a cookie.
    ///
    /// # Errors
    /// The database.
    pub async fn delete_session(&self, id: &SecretString, audit: &[AuditEntry]) -> Result<(), IdentityError> {
        let tx = self.begin().await?;
        let delete = Query::delete().from_table(self.table(SESSION)).and_where(Expr::col("hash").eq(digest(id))).take();
        tx.execute(&delete).await.map_err(Fail::from)?;
        self.finish(tx, audit).await
    }

    /// Ends a session of an account. `false` when the account has no such session, and then nothing is audited.
    ///
    /// # Errors
    /// The database.
    pub async fn end_session(
        &self,
        account: PrincipalId,
        id: Uuid,
        audit: &[AuditEntry],
    ) -> Result<bool, IdentityError> {
        let tx = self.begin().await?;
        let delete = Query::delete()
            .from_table(self.table(SESSION))
            .and_where(Expr::col("id").eq(id))
            .and_where(Expr::col("account_id").eq(account.as_uuid()))
            .take();
        if tx.execute(&delete).await.map_err(Fail::from)?.rows_affected() == 0 {
            return Ok(false);
        }
        self.finish(tx, audit).await?;
        Ok(true)
    }

    /// Ends every session of an account, but `keep`; answers how many.
    ///
    /// # Errors
    /// The database.
    pub async fn delete_sessions(
        &self,
        account: PrincipalId,
        keep: Option<Uuid>,
        audit: &[AuditEntry],
    ) -> Result<u64, IdentityError> {
        let tx = self.begin().await?;
        let ended = self.end_sessions_but(&tx, account, keep).await?;
        self.finish(tx, audit).await?;
        Ok(ended)
    }

    /// Removes the sessions that are over; answers how many. They work no more whether swept or not.
    ///
    /// # Errors
    /// The database.
    pub async fn sweep_sessions(&self, now: Timestamp, idle: Duration) -> Result<u64, IdentityError> {
        let over = Expr::col("expires_at").lte(to_micros(now)).or(Expr::col("last_seen_at").lte(before(now, idle)));
        let tx = self.begin().await?;
        let delete = Query::delete().from_table(self.table(SESSION)).and_where(over).take();
        let swept = tx.execute(&delete).await.map_err(Fail::from)?.rows_affected();
        self.finish(tx, &[]).await?;
        Ok(swept)
    }

    fn live_sessions(&self, now: Timestamp, idle: Duration) -> SelectStatement {
        Query::select()
            .columns(COLUMNS)
            .from(self.table(SESSION))
            .and_where(Expr::col("expires_at").gt(to_micros(now)))
            .and_where(Expr::col("last_seen_at").gt(before(now, idle)))
            .take()
    }
}

const COLUMNS: [&str; 7] = ["id", "account_id", "created_at", "last_seen_at", "expires_at", "user_agent", "address"];

fn read_session(row: &QueryResult) -> Result<SessionInfo, Fail> {
    Ok(SessionInfo {
        id: row.try_get("", "id")?,
        account: row.try_get::<Uuid>("", "account_id")?.into(),
        created_at: from_micros(row.try_get("", "created_at")?)?,
        last_seen_at: from_micros(row.try_get("", "last_seen_at")?)?,
        expires_at: from_micros(row.try_get("", "expires_at")?)?,
        user_agent: row.try_get("", "user_agent")?,
        address: row.try_get("", "address")?,
    })
}

fn before(now: Timestamp, span: Duration) -> i64 {
    to_micros(now).saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX))
}

/// What a stranger calls itself: without control characters, and not endless.
fn plain(text: &str) -> String {
    column_text(&text.chars().filter(|c| !c.is_control()).take(USER_AGENT_CHARS).collect::<String>())
}
