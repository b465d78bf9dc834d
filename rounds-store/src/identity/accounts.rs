//! Making, changing and finding accounts.

use rounds_core::access::{ActorType, OrgRole};
use rounds_core::audit::AuditEntry;
use rounds_core::{OrgId, PrincipalId, Timestamp};
use sea_orm::sea_query::{Expr, ExprTrait as _, Func, LockType, OnConflict, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::account::{
    COLUMNS, SERVICE_ACCOUNT, USER, checked_email, checked_login, kind_text, login_key, read_account, taken,
};
use super::password::{PasswordProof, Verdict};
use super::{Account, AccountChange, IdentityError, NewServiceAccount, NewUser, SqlIdentity, checked_name, to_micros};
use crate::error::Fail;
use crate::tables::{ACCOUNT, META, ORG, SESSION, column_text};

/// The row of `meta` that outlives the first user.
const FIRST_USER: &str = "first_user";

impl SqlIdentity {
    /// Makes an organisation with its agent's service account; `false` when it is there already, and then nothing
    /// changes, whatever became of the service account.
    ///
    /// # Errors
    /// The database.
    pub async fn bootstrap(
        &self,
        org: &OrgId,
        name: &str,
        now: Timestamp,
        audit: &[AuditEntry],
    ) -> Result<bool, IdentityError> {
        let name = checked_name("name", name)?;
        if self.org_exists(org).await? {
            return Ok(false);
        }
        let tx = self.begin().await?;
        let insert = Query::insert()
            .into_table(self.table(ORG))
            .columns(["id", "name", "created_at"])
            .values_panic([column_text(org.as_str()).into(), name.into(), to_micros(now).into()])
            .on_conflict(OnConflict::column("id").do_nothing().to_owned())
            .take();
        if tx.execute(&insert).await.map_err(Fail::from)?.rows_affected() == 0 {
            return Ok(false);
        }
        let agent = Account {
            id: PrincipalId::new(),
            org_id: org.clone(),
            kind: ActorType::ServiceAccount,
            login: Self::AGENT_LOGIN.into(),
            email: None,
            name: Self::AGENT_NAME.into(),
            role: OrgRole::Editor,
            is_server_admin: false,
            is_agent: true,
            is_disabled: false,
            created_at: now,
        };
        self.insert_account(&tx, &agent, None).await?;
        self.finish(tx, audit).await?;
        Ok(true)
    }

    async fn org_exists(&self, org: &OrgId) -> Result<bool, IdentityError> {
        let select = Query::select()
            .column("id")
            .from(self.table(ORG))
            .and_where(Expr::col("id").eq(column_text(org.as_str())))
            .take();
        Ok(self.db.reader.query_one(&select).await.map_err(Fail::from)?.is_some())
    }

    /// Whether there is, or ever was, a user: without one, the first admin can be made.
    ///
    /// # Errors
    /// The database.
    pub async fn has_users(&self) -> Result<bool, IdentityError> {
        let select =
            Query::select().column("name").from(self.table(META)).and_where(Expr::col("name").eq(FIRST_USER)).take();
        Ok(self.db.reader.query_one(&select).await.map_err(Fail::from)?.is_some())
    }

    /// Makes the first user, as server admin and Admin of the organisation: once, however many ask at the same time.
    ///
    /// # Errors
    /// [`IdentityError::UsersExist`] for ever once there was any user; otherwise as [`Self::create_user`].
    pub async fn first_admin(
        &self,
        user: NewUser,
        now: Timestamp,
        audit: &[AuditEntry],
    ) -> Result<Account, IdentityError> {
        if self.has_users().await? {
            return Err(IdentityError::UsersExist);
        }
        if user.password.is_none() {
            return Err(IdentityError::Invalid { field: "password", message: "the first admin needs one".into() });
        }
        let admin = NewUser { role: OrgRole::Admin, is_server_admin: true, ..user };
        self.insert_user(admin, now, audit, true).await
    }

    /// Makes a user.
    ///
    /// # Errors
    /// The login or address is taken, or a field cannot be accepted.
    pub async fn create_user(
        &self,
        user: NewUser,
        now: Timestamp,
        audit: &[AuditEntry],
    ) -> Result<Account, IdentityError> {
        self.insert_user(user, now, audit, false).await
    }

    async fn insert_user(
        &self,
        user: NewUser,
        now: Timestamp,
        audit: &[AuditEntry],
        only_first: bool,
    ) -> Result<Account, IdentityError> {
        let account = Account {
            id: user.id,
            org_id: user.org_id,
            kind: ActorType::User,
            login: checked_login(&user.login)?,
            email: user.email.as_deref().map(checked_email).transpose()?,
            name: checked_name("name", &user.name)?,
            role: user.role,
            is_server_admin: user.is_server_admin,
            is_agent: false,
            is_disabled: false,
            created_at: now,
        };
        let hash = match &user.password {
            Some(password) => Some(self.passwords.hash(password).await?),
            None => None,
        };
        let tx = self.begin().await?;
        // Whoever writes this row first made the first user; a second first admin finds it.
        let first = Query::insert()
            .into_table(self.table(META))
            .columns(["name", "value"])
            .values_panic([FIRST_USER.into(), account.id.to_string().into()])
            .on_conflict(OnConflict::column("name").do_nothing().to_owned())
            .take();
        let is_first = tx.execute(&first).await.map_err(Fail::from)?.rows_affected() == 1;
        if only_first && !is_first {
            return Err(IdentityError::UsersExist);
        }
        self.insert_account(&tx, &account, hash).await?;
        self.finish(tx, audit).await?;
        Ok(account)
    }

    /// Makes a service account.
    ///
    /// # Errors
    /// The login is taken in the organisation, or a field cannot be accepted.
    pub async fn create_service_account(
        &self,
        new: NewServiceAccount,
        now: Timestamp,
        audit: &[AuditEntry],
    ) -> Result<Account, IdentityError> {
        let login = new.login.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@' | '/');
        if login.is_empty() || login.len() > 100 || !login.chars().all(plain) {
            return Err(IdentityError::Invalid {
                field: "login",
                message: "1 to 100 letters, digits, `.`, `-`, `_`, `@` and `/` are expected".into(),
            });
        }
        let account = Account {
            id: new.id,
            login: login.into(),
            name: checked_name("name", &new.name)?,
            org_id: new.org_id,
            kind: ActorType::ServiceAccount,
            email: None,
            role: new.role,
            is_server_admin: false,
            is_agent: new.is_agent,
            is_disabled: false,
            created_at: now,
        };
        let tx = self.begin().await?;
        self.insert_account(&tx, &account, None).await?;
        self.finish(tx, audit).await?;
        Ok(account)
    }

    async fn insert_account(
        &self,
        tx: &DatabaseTransaction,
        account: &Account,
        password_hash: Option<String>,
    ) -> Result<(), IdentityError> {
        let email_key = account.email.as_deref().map(str::to_lowercase);
        let insert = Query::insert()
            .into_table(self.table(ACCOUNT))
            .columns(COLUMNS.into_iter().chain(["login_key", "email_key", "password_hash"]))
            .values_panic([
                account.id.as_uuid().into(),
                column_text(account.org_id.as_str()).into(),
                kind_text(account.kind).into(),
                account.login.as_str().into(),
                account.email.clone().into(),
                account.name.as_str().into(),
                account.role.to_string().into(),
                account.is_server_admin.into(),
                account.is_agent.into(),
                account.is_disabled.into(),
                to_micros(account.created_at).into(),
                login_key(account.kind, &account.org_id, &account.login).into(),
                email_key.into(),
                password_hash.into(),
            ])
            .take();
        match tx.execute(&insert).await {
            Ok(_) => Ok(()),
            Err(error) => Err(taken(error, &account.login, account.email.as_deref(), &account.org_id)),
        }
    }

    /// The users of an organisation, oldest first.
    ///
    /// # Errors
    /// The database.
    pub async fn users(&self, org: &OrgId) -> Result<Vec<Account>, IdentityError> {
        self.accounts(org, USER).await
    }

    /// The service accounts of an organisation, oldest first.
    ///
    /// # Errors
    /// The database.
    pub async fn service_accounts(&self, org: &OrgId) -> Result<Vec<Account>, IdentityError> {
        self.accounts(org, SERVICE_ACCOUNT).await
    }

    async fn accounts(&self, org: &OrgId, kind: &str) -> Result<Vec<Account>, IdentityError> {
        let mut select = self.select_account();
        select
            .and_where(Expr::col("org_id").eq(column_text(org.as_str())))
            .and_where(Expr::col("kind").eq(kind))
            .order_by("id", Order::Asc);
        let rows = self.db.reader.query_all(&select).await.map_err(Fail::from)?;
        Ok(rows.iter().map(read_account).collect::<Result<_, _>>()?)
    }

    /// An account by id, disabled or not.
    ///
    /// # Errors
    /// The database.
    pub async fn account(&self, id: PrincipalId) -> Result<Option<Account>, IdentityError> {
        self.account_in(&self.db.reader, id).await
    }

    pub(super) async fn account_in(
        &self,
        db: &impl ConnectionTrait,
        id: PrincipalId,
    ) -> Result<Option<Account>, IdentityError> {
        let select = self.select_account().and_where(Expr::col("id").eq(id.as_uuid())).take();
        let row = db.query_one(&select).await.map_err(Fail::from)?;
        Ok(row.map(|row| read_account(&row)).transpose()?)
    }

    pub(super) fn select_account(&self) -> SelectStatement {
        Query::select().columns(COLUMNS).from(self.table(ACCOUNT)).take()
    }

    /// Changes an account.
    ///
    /// # Errors
    /// There is none, a field cannot be accepted, or it is the last server admin.
    pub async fn change_account(
        &self,
        id: PrincipalId,
        change: AccountChange,
        audit: &[AuditEntry],
    ) -> Result<Account, IdentityError> {
        let tx = self.begin().await?;
        self.lock_accounts(&tx).await?;
        let before = self.existing(&tx, id).await?;
        let mut after = before.clone();
        if let Some(name) = &change.name {
            after.name = checked_name("name", name)?;
        }
        if let Some(email) = &change.email {
            after.email = email.as_deref().map(checked_email).transpose()?;
        }
        after.role = change.role.unwrap_or(before.role);
        after.is_server_admin = change.is_server_admin.unwrap_or(before.is_server_admin);
        after.is_disabled = change.is_disabled.unwrap_or(before.is_disabled);
        if after.kind == ActorType::ServiceAccount && (after.is_server_admin || after.email.is_some()) {
            return Err(IdentityError::Invalid {
                field: "isServerAdmin",
                message: "a service account has no address and does not administer the server".into(),
            });
        }
        let update = Query::update()
            .table(self.table(ACCOUNT))
            .value("name", after.name.as_str())
            .value("email", after.email.clone())
            .value("email_key", after.email.as_deref().map(str::to_lowercase))
            .value("role", after.role.to_string())
            .value("is_server_admin", after.is_server_admin)
            .value("is_disabled", after.is_disabled)
            .and_where(Expr::col("id").eq(id.as_uuid()))
            .take();
        if let Err(error) = tx.execute(&update).await {
            return Err(taken(error, &after.login, after.email.as_deref(), &after.org_id));
        }
        if after.is_disabled {
            self.end_sessions(&tx, id).await?;
        }
        self.keep_an_admin(&tx, &before).await?;
        self.finish(tx, audit).await?;
        Ok(after)
    }

    /// Deletes an account with its sessions, tokens, grants and memberships.
    ///
    /// # Errors
    /// There is none, or it is the last server admin.
    pub async fn delete_account(&self, id: PrincipalId, audit: &[AuditEntry]) -> Result<(), IdentityError> {
        let tx = self.begin().await?;
        self.lock_accounts(&tx).await?;
        let before = self.existing(&tx, id).await?;
        let delete = Query::delete().from_table(self.table(ACCOUNT)).and_where(Expr::col("id").eq(id.as_uuid())).take();
        tx.execute(&delete).await.map_err(Fail::from)?;
        self.keep_an_admin(&tx, &before).await?;
        self.finish(tx, audit).await
    }

    /// Sets a user's password and ends all its sessions.
    ///
    /// # Errors
    /// There is no such user, or the password cannot be accepted.
    pub async fn set_password(
        &self,
        id: PrincipalId,
        password: &SecretString,
        audit: &[AuditEntry],
    ) -> Result<(), IdentityError> {
        let hash = self.passwords.hash(password).await?;
        let tx = self.begin().await?;
        if !self.write_hash(&tx, id, hash, None).await? {
            return Err(IdentityError::NotFound { what: "user", id: id.to_string() });
        }
        self.end_sessions(&tx, id).await?;
        self.finish(tx, audit).await
    }

    /// Sets a user's password when the one before is known, and ends its sessions but `keep`. `false`: the one before is
    /// another, and nothing changed.
    ///
    /// # Errors
    /// The new password cannot be accepted, or the database.
    pub async fn change_password(
        &self,
        id: PrincipalId,
        (current, new): (&SecretString, &SecretString),
        keep: Option<Uuid>,
        audit: &[AuditEntry],
    ) -> Result<bool, IdentityError> {
        let select = self.select_hash().and_where(Expr::col("id").eq(id.as_uuid())).take();
        let row = self.db.reader.query_one(&select).await.map_err(Fail::from)?;
        let before: Option<String> = match row {
            Some(row) => row.try_get("", "password_hash").map_err(Fail::from)?,
            None => None,
        };
        if self.passwords.verify(current, before.clone()).await? == Verdict::Wrong {
            return Ok(false);
        }
        let hash = self.passwords.hash(new).await?;
        let tx = self.begin().await?;
        // Somebody who set another password meanwhile wins: what was looked at is not the password any more.
        if !self.write_hash(&tx, id, hash, before.as_deref()).await? {
            return Ok(false);
        }
        self.end_sessions_but(&tx, id, keep).await?;
        self.finish(tx, audit).await?;
        Ok(true)
    }

    /// Writes a password's hash, where it is still `before` when that is given; whether it was.
    async fn write_hash(
        &self,
        tx: &DatabaseTransaction,
        id: PrincipalId,
        hash: String,
        before: Option<&str>,
    ) -> Result<bool, IdentityError> {
        let mut update = Query::update();
        update
            .table(self.table(ACCOUNT))
            .value("password_hash", hash)
            .and_where(Expr::col("id").eq(id.as_uuid()))
            .and_where(Expr::col("kind").eq(USER));
        if let Some(before) = before {
            update.and_where(Expr::col("password_hash").eq(before));
        }
        Ok(tx.execute(&update).await.map_err(Fail::from)?.rows_affected() == 1)
    }

    fn select_hash(&self) -> SelectStatement {
        Query::select().column("password_hash").from(self.table(ACCOUNT)).and_where(Expr::col("kind").eq(USER)).take()
    }

    /// The user of a login or address, when the password is right and the account is not disabled. Unknown logins
    /// take as long as known ones. A hash that was made with other parameters than today's is made anew. What comes with the
    /// account proves it to [`Self::create_session`].
    ///
    /// # Errors
    /// The database.
    pub async fn verify_password(
        &self,
        login_or_email: &str,
        password: &SecretString,
    ) -> Result<Option<(Account, PasswordProof)>, IdentityError> {
        let wanted = login_or_email.trim().to_lowercase();
        let mut select = self.select_account();
        select.column("password_hash").and_where(Expr::col("kind").eq(USER)).and_where(
            Expr::col("login_key").eq(column_text(&wanted)).or(Expr::col("email_key").eq(column_text(&wanted))),
        );
        let row = self.db.reader.query_one(&select).await.map_err(Fail::from)?;
        let (account, hash) = match row {
            Some(row) => {
                let hash: Option<String> = row.try_get("", "password_hash").map_err(Fail::from)?;
                (Some(read_account(&row)?), hash)
            }
            None => (None, None),
        };
        let verdict = self.passwords.verify(password, hash.clone()).await?;
        let account = account.filter(|account| verdict != Verdict::Wrong && !account.is_disabled);
        let (Some(account), Some(mut hash)) = (account, hash) else { return Ok(None) };
        if verdict == Verdict::Stale {
            match self.rehash(account.id, password, &hash).await {
                Ok(Some(anew)) => hash = anew,
                Ok(None) => {}
                // That it could not be written is no reason to refuse the password: the next sign-in tries again.
                Err(error) => {
                    tracing::warn!(%error, account = %account.id, "a password could not be hashed anew");
                }
            }
        }
        Ok(Some((account, PasswordProof(SecretString::from(hash)))))
    }

    /// Hashes a password with today's parameters, unless it was set anew meanwhile.
    async fn rehash(
        &self,
        id: PrincipalId,
        password: &SecretString,
        before: &str,
    ) -> Result<Option<String>, IdentityError> {
        let hash = self.passwords.hash_again(password).await?;
        let tx = self.begin().await?;
        let written = self.write_hash(&tx, id, hash.clone(), Some(before)).await?;
        self.finish(tx, &[]).await?;
        Ok(written.then_some(hash))
    }

    /// Whether what was proved of an account holds still. Until the end of the transaction nobody changes the password.
    pub(super) async fn still_proves(
        &self,
        tx: &DatabaseTransaction,
        id: PrincipalId,
        proof: &PasswordProof,
    ) -> Result<bool, IdentityError> {
        let select = self.select_hash().and_where(Expr::col("id").eq(id.as_uuid())).lock(LockType::Update).take();
        let hash: Option<String> = match tx.query_one(&select).await.map_err(Fail::from)? {
            Some(row) => row.try_get("", "password_hash").map_err(Fail::from)?,
            None => None,
        };
        Ok(hash.is_some_and(|hash| hash == proof.0.expose_secret()))
    }

    async fn existing(&self, tx: &DatabaseTransaction, id: PrincipalId) -> Result<Account, IdentityError> {
        let found = self.account_in(tx, id).await?;
        found.ok_or_else(|| IdentityError::NotFound { what: "account", id: id.to_string() })
    }

    pub(super) async fn end_sessions(&self, tx: &DatabaseTransaction, id: PrincipalId) -> Result<(), IdentityError> {
        self.end_sessions_but(tx, id, None).await?;
        Ok(())
    }

    /// Ends the sessions of an account but one; answers how many.
    pub(super) async fn end_sessions_but(
        &self,
        tx: &DatabaseTransaction,
        id: PrincipalId,
        keep: Option<Uuid>,
    ) -> Result<u64, IdentityError> {
        let mut delete = Query::delete();
        delete.from_table(self.table(SESSION)).and_where(Expr::col("account_id").eq(id.as_uuid()));
        if let Some(keep) = keep {
            delete.and_where(Expr::col("id").ne(keep));
        }
        Ok(tx.execute(&delete).await.map_err(Fail::from)?.rows_affected())
    }

    /// Refuses a change that took the server its last admin.
    async fn keep_an_admin(&self, tx: &DatabaseTransaction, before: &Account) -> Result<(), IdentityError> {
        if !before.is_server_admin || before.is_disabled {
            return Ok(());
        }
        let select = Query::select()
            .expr_as(Func::count(Expr::col("id")), "count")
            .from(self.table(ACCOUNT))
            .and_where(Expr::col("is_server_admin").eq(true))
            .and_where(Expr::col("is_disabled").eq(false))
            .take();
        let row = tx.query_one(&select).await.map_err(Fail::from)?;
        let left: i64 = row.map_or(Ok(0), |row| row.try_get("", "count")).map_err(Fail::from)?;
        if left == 0 { Err(IdentityError::LastAdmin) } else { Ok(()) }
    }
}
