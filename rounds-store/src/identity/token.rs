//! API tokens: random, shown once, kept as a hash.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rounds_core::access::ActorType;
use rounds_core::audit::AuditEntry;
use rounds_core::ports::StoreError;
use rounds_core::{OrgId, PrincipalId, Timestamp, TokenId};
use sea_orm::sea_query::{Expr, ExprTrait as _, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait as _, QueryResult};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::{IdentityError, SqlIdentity, checked_name, from_micros, to_micros};
use crate::error::Fail;
use crate::key::random;
use crate::tables::{ACCOUNT, TOKEN, column_text};

/// A token to be minted.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// The new token's id.
    pub id: TokenId,
    /// Whose it is.
    pub account: PrincipalId,
    /// What it is for.
    pub name: String,
    /// The login of whoever mints it.
    pub created_by: String,
    /// When it ends; `None`: when it is revoked.
    pub expires_at: Option<Timestamp>,
}

/// What is known of a token. Its text is not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenInfo {
    /// The token.
    pub id: TokenId,
    /// Whose it is.
    pub account: PrincipalId,
    /// What it is for.
    pub name: String,
    /// When it was minted.
    pub created_at: Timestamp,
    /// The login of whoever minted it.
    pub created_by: String,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl TokenInfo {
    /// Whether it works, as far as the token itself goes: its account may be disabled.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }
}

const COLUMNS: [&str; 8] =
    ["id", "account_id", "name", "created_at", "created_by", "last_used_at", "expires_at", "revoked_at"];
/// Uses within this time of the last one are not written down.
const TOUCH_EVERY_MICROS: i64 = 60_000_000;

impl SqlIdentity {
    /// Mints a token; the answer is the only time its text is seen. Whoever clicked is in the audit entry, which
    /// is committed with the token.
    ///
    /// # Errors
    /// There is no such account, or a field cannot be accepted.
    pub async fn mint_token(
        &self,
        token: NewToken,
        now: Timestamp,
        audit: &[AuditEntry],
    ) -> Result<SecretString, IdentityError> {
        let name = checked_name("name", &token.name)?;
        if token.expires_at.is_some_and(|at| at <= now) {
            return Err(IdentityError::Invalid { field: "expiresAt", message: "a time to come is expected".into() });
        }
        let tx = self.begin().await?;
        let account = self
            .account_in(&tx, token.account)
            .await?
            .ok_or_else(|| IdentityError::NotFound { what: "account", id: token.account.to_string() })?;
        let prefix = match account.kind {
            ActorType::User => "rounds_pat_",
            ActorType::ServiceAccount | ActorType::System => "rounds_sa_",
        };
        let text = SecretString::from(format!("{prefix}{}", random_text()?));
        let insert = Query::insert()
            .into_table(self.table(TOKEN))
            .columns(["id", "account_id", "name", "hash", "created_at", "created_by", "expires_at"])
            .values_panic([
                token.id.as_uuid().into(),
                token.account.as_uuid().into(),
                name.into(),
                digest(&text).into(),
                to_micros(now).into(),
                column_text(&token.created_by).into(),
                token.expires_at.map(to_micros).into(),
            ])
            .take();
        tx.execute(&insert).await.map_err(Fail::from)?;
        self.finish(tx, audit).await?;
        Ok(text)
    }

    /// The tokens of an account, newest first, dead ones included.
    ///
    /// # Errors
    /// The database.
    pub async fn tokens(&self, account: PrincipalId) -> Result<Vec<TokenInfo>, IdentityError> {
        let mut select = self.select_token();
        select.and_where(Expr::col("account_id").eq(account.as_uuid())).order_by("id", Order::Desc);
        let rows = self.db.reader.query_all(&select).await.map_err(Fail::from)?;
        Ok(rows.iter().map(read_token).collect::<Result<_, _>>()?)
    }

    /// A token by id.
    ///
    /// # Errors
    /// The database.
    pub async fn token(&self, id: TokenId) -> Result<Option<TokenInfo>, IdentityError> {
        let select = self.select_token().and_where(Expr::col("id").eq(id.as_uuid())).take();
        let row = self.db.reader.query_one(&select).await.map_err(Fail::from)?;
        Ok(row.map(|row| read_token(&row)).transpose()?)
    }

    /// Revokes a token: it is dead at once. `false` when it was revoked before, and then nothing is audited.
    ///
    /// # Errors
    /// There is no such token.
    pub async fn revoke_token(&self, id: TokenId, now: Timestamp, audit: &[AuditEntry]) -> Result<bool, IdentityError> {
        let tx = self.begin().await?;
        let update = Query::update()
            .table(self.table(TOKEN))
            .value("revoked_at", to_micros(now))
            .and_where(Expr::col("id").eq(id.as_uuid()))
            .and_where(Expr::col("revoked_at").is_null())
            .take();
        if tx.execute(&update).await.map_err(Fail::from)?.rows_affected() == 1 {
            self.finish(tx, audit).await?;
            return Ok(true);
        }
        drop(tx);
        match self.token(id).await? {
            Some(_) => Ok(false),
            None => Err(IdentityError::NotFound { what: "token", id: id.to_string() }),
        }
    }

    /// The live token of a text.
    pub(super) async fn live_token(
        &self,
        text: &SecretString,
        now: Timestamp,
    ) -> Result<Option<TokenInfo>, IdentityError> {
        let wanted = digest(text);
        let select = self.select_token().column("hash").and_where(Expr::col("hash").eq(wanted.as_str())).take();
        let Some(row) = self.db.reader.query_one(&select).await.map_err(Fail::from)? else { return Ok(None) };
        let found: String = row.try_get("", "hash").map_err(Fail::from)?;
        let same = bool::from(found.as_bytes().ct_eq(wanted.as_bytes()));
        let token = read_token(&row)?;
        Ok((same && token.is_live(now)).then_some(token))
    }

    /// The newest live token of any agent in an organisation, the seeded agent's before others'.
    pub(super) async fn live_agent_token(
        &self,
        org: &OrgId,
        now: Timestamp,
    ) -> Result<Option<TokenInfo>, IdentityError> {
        let agents = Query::select()
            .columns(["id", "login"])
            .from(self.table(ACCOUNT))
            .and_where(Expr::col("org_id").eq(column_text(org.as_str())))
            .and_where(Expr::col("is_agent").eq(true))
            .and_where(Expr::col("is_disabled").eq(false))
            .take();
        let rows = self.db.reader.query_all(&agents).await.map_err(Fail::from)?;
        let mut agents = Vec::new();
        for row in &rows {
            let id: Uuid = row.try_get("", "id").map_err(Fail::from)?;
            let login: String = row.try_get("", "login").map_err(Fail::from)?;
            agents.push((login != Self::AGENT_LOGIN, id));
        }
        let live = Expr::col("expires_at").is_null().or(Expr::col("expires_at").gt(to_micros(now)));
        let mut select = self.select_token();
        select
            .and_where(Expr::col("account_id").is_in(agents.iter().map(|(_, id)| *id)))
            .and_where(Expr::col("revoked_at").is_null())
            .and_where(live)
            .order_by("id", Order::Desc);
        let rows = self.db.reader.query_all(&select).await.map_err(Fail::from)?;
        let tokens: Vec<TokenInfo> = rows.iter().map(read_token).collect::<Result<_, _>>()?;
        let is_other = |token: &TokenInfo| !agents.contains(&(false, token.account.as_uuid()));
        Ok(tokens.into_iter().min_by_key(is_other))
    }

    /// Writes down that a token was used, at most once a minute. That it could not be written down is no reason to
    /// refuse the token.
    pub(super) async fn touch(&self, token: &TokenInfo, now: Timestamp) {
        let stale = to_micros(now).saturating_sub(TOUCH_EVERY_MICROS);
        if token.last_used_at.is_some_and(|at| to_micros(at) > stale) {
            return;
        }
        if let Err(error) = self.try_touch(token.id, now, stale).await {
            tracing::debug!(%error, token = %token.id, "the use of a token could not be written down");
        }
    }

    async fn try_touch(&self, id: TokenId, now: Timestamp, stale: i64) -> Result<(), IdentityError> {
        let tx = self.begin().await?;
        let update = Query::update()
            .table(self.table(TOKEN))
            .value("last_used_at", to_micros(now))
            .and_where(Expr::col("id").eq(id.as_uuid()))
            .and_where(Expr::col("last_used_at").is_null().or(Expr::col("last_used_at").lte(stale)))
            .take();
        tx.execute(&update).await.map_err(Fail::from)?;
        self.finish(tx, &[]).await
    }

    fn select_token(&self) -> SelectStatement {
        Query::select().columns(COLUMNS).from(self.table(TOKEN)).take()
    }
}

fn read_token(row: &QueryResult) -> Result<TokenInfo, Fail> {
    let time = |column: &str| -> Result<Option<Timestamp>, Fail> {
        row.try_get::<Option<i64>>("", column)?.map(from_micros).transpose()
    };
    Ok(TokenInfo {
        id: row.try_get::<Uuid>("", "id")?.into(),
        account: row.try_get::<Uuid>("", "account_id")?.into(),
        name: row.try_get("", "name")?,
        created_at: from_micros(row.try_get("", "created_at")?)?,
        created_by: row.try_get("", "created_by")?,
        last_used_at: time("last_used_at")?,
        expires_at: time("expires_at")?,
        revoked_at: time("revoked_at")?,
    })
}

/// 32 random bytes as text: nothing to guess, so a plain hash of it keeps it safe at rest.
pub(super) fn random_text() -> Result<String, IdentityError> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    random(bytes.as_mut_slice())
        .map_err(|error| StoreError::Unavailable { message: format!("no random bytes: {error}") })?;
    Ok(URL_SAFE_NO_PAD.encode(bytes.as_slice()))
}

pub(super) fn digest(text: &SecretString) -> String {
    hex::encode(Sha256::digest(text.expose_secret().as_bytes()))
}
