//! Accounts, sessions, tokens, teams, grants and settings: the default
//! [`Identity`](rounds_core::ports::Identity) port, for servers without accounts of their own.
//!
//! Every change takes the audit entries that tell of it and appends them in the same transaction, so that nobody
//! can mint a token without a trace. Ids are chosen by the caller, so that an entry can name what it is about.

mod account;
mod accounts;
mod error;
mod grant;
mod link;
mod password;
mod port;
mod session;
mod setting;
mod team;
mod token;

use std::fmt;
use std::sync::Arc;

use rounds_core::Timestamp;
use rounds_core::audit::AuditEntry;
use rounds_core::ports::StoreError;
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, LockType, Query};
use sea_orm::{ConnectionTrait, DatabaseTransaction};

use self::password::Passwords;
use crate::db::Db;
use crate::error::Fail;
use crate::tables::META;
use crate::tx::finish;

pub use account::{Account, AccountChange, NewServiceAccount, NewUser};
pub use error::IdentityError;
pub use grant::{GrantRow, NewGrant, Permission, Subject};
pub use password::PasswordProof;
pub use session::{NewSession, Session, SessionInfo, SessionStart};
pub use team::{NewTeam, Team};
pub use token::{NewToken, TokenInfo};

/// Accounts and what belongs to them, in the store's database. Clones share it.
#[derive(Clone)]
pub struct SqlIdentity {
    db: Arc<Db>,
    passwords: Arc<Passwords>,
}

impl SqlIdentity {
    /// The login of the service account that is seeded with an organisation.
    pub const AGENT_LOGIN: &'static str = "@syntropize/rounds";
    /// Its display name.
    pub const AGENT_NAME: &'static str = "Rounds Auto-Investigation";

    pub(crate) fn new(db: Arc<Db>) -> Self {
        Self { db, passwords: Arc::default() }
    }

    fn table(&self, name: &str) -> Alias {
        self.db.tables.named(name)
    }

    /// Ends a change: what the audit log says of it, and the commit.
    async fn finish(&self, tx: DatabaseTransaction, audit: &[AuditEntry]) -> Result<(), IdentityError> {
        self.db.append(&tx, audit, &[]).await?;
        Ok(finish(tx).await?)
    }

    async fn begin(&self) -> Result<DatabaseTransaction, IdentityError> {
        Ok(self.db.begin().await?)
    }

    /// Makes changes that depend on several accounts wait for each other, where the database would let them pass
    /// each other. The row is there since the store was opened.
    async fn lock_accounts(&self, tx: &DatabaseTransaction) -> Result<(), IdentityError> {
        let select = Query::select()
            .column("name")
            .from(self.table(META))
            .and_where(Expr::col("name").eq(crate::db::KEY))
            .lock(LockType::Update)
            .take();
        tx.query_one(&select).await.map_err(Fail::from)?;
        Ok(())
    }
}

impl fmt::Debug for SqlIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlIdentity").finish_non_exhaustive()
    }
}

fn to_micros(at: Timestamp) -> i64 {
    at.timestamp_micros()
}

fn from_micros(micros: i64) -> Result<Timestamp, Fail> {
    chrono::DateTime::from_timestamp_micros(micros).ok_or_else(|| {
        StoreError::Corrupt { what: "a time".into(), message: format!("{micros} is beyond the calendar") }.into()
    })
}

fn corrupt(what: &str, error: impl fmt::Display) -> Fail {
    StoreError::Corrupt { what: what.into(), message: error.to_string() }.into()
}

/// Trims and bounds a name that people give.
fn checked_name(field: &'static str, text: &str) -> Result<String, IdentityError> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 200 || text.chars().any(char::is_control) {
        return Err(IdentityError::Invalid {
            field,
            message: "1 to 200 characters without line breaks are expected".into(),
        });
    }
    Ok(text.into())
}
