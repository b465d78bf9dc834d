//! Whom an identity provider's subjects stand for. A subject is what a provider never gives to somebody else; an address
//! is not.

use rounds_core::audit::AuditEntry;
use rounds_core::{PrincipalId, Timestamp};
use sea_orm::ConnectionTrait as _;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use uuid::Uuid;

use super::account::{USER, read_account};
use super::{Account, IdentityError, SqlIdentity, to_micros};
use crate::dialect::unique_violation;
use crate::error::Fail;
use crate::tables::{ACCOUNT_LINK, column_text};

impl SqlIdentity {
    /// The account that a provider's subject stands for, disabled or not.
    ///
    /// # Errors
    /// The database.
    pub async fn linked_account(&self, issuer: &str, subject: &str) -> Result<Option<Account>, IdentityError> {
        let select = Query::select()
            .column("account_id")
            .from(self.table(ACCOUNT_LINK))
            .and_where(Expr::col("issuer").eq(column_text(issuer)))
            .and_where(Expr::col("subject").eq(column_text(subject)))
            .take();
        let Some(row) = self.db.reader.query_one(&select).await.map_err(Fail::from)? else { return Ok(None) };
        let account: Uuid = row.try_get("", "account_id").map_err(Fail::from)?;
        self.account(account.into()).await
    }

    /// The user with an address, disabled or not.
    ///
    /// # Errors
    /// The database.
    pub async fn user_by_email(&self, email: &str) -> Result<Option<Account>, IdentityError> {
        let select = self
            .select_account()
            .and_where(Expr::col("kind").eq(USER))
            .and_where(Expr::col("email_key").eq(column_text(&email.trim().to_lowercase())))
            .take();
        let row = self.db.reader.query_one(&select).await.map_err(Fail::from)?;
        Ok(row.map(|row| read_account(&row)).transpose()?)
    }

    /// Says that a provider's subject stands for an account from now on.
    ///
    /// # Errors
    /// [`IdentityError::Taken`] when the subject stands for somebody, or the account has another subject of this
    /// provider; [`IdentityError::NotFound`] when there is no such account.
    pub async fn link_account(
        &self,
        account: PrincipalId,
        (issuer, subject): (&str, &str),
        now: Timestamp,
        audit: &[AuditEntry],
    ) -> Result<(), IdentityError> {
        for (field, text) in [("issuer", issuer), ("subject", subject)] {
            if text.is_empty() || text.len() > 1000 {
                return Err(IdentityError::Invalid { field, message: "1 to 1000 bytes are expected".into() });
            }
        }
        let insert = Query::insert()
            .into_table(self.table(ACCOUNT_LINK))
            .columns(["issuer", "subject", "account_id", "created_at"])
            .values_panic([
                column_text(issuer).into(),
                column_text(subject).into(),
                account.as_uuid().into(),
                to_micros(now).into(),
            ])
            .take();
        let tx = self.begin().await?;
        if let Err(error) = tx.execute(&insert).await {
            if matches!(error.sql_err(), Some(sea_orm::SqlErr::ForeignKeyConstraintViolation(_))) {
                return Err(IdentityError::NotFound { what: "account", id: account.to_string() });
            }
            if unique_violation(&error).is_some() {
                return Err(IdentityError::Taken { field: "subject", value: subject.into() });
            }
            return Err(Fail::from(error).into());
        }
        self.finish(tx, audit).await
    }
}
