//! What admins set, by name.

use std::collections::BTreeMap;

use rounds_core::OrgId;
use rounds_core::audit::AuditEntry;
use rounds_core::connector::StoredSecret;
use rounds_core::ports::store::{Key, RecordKind};
use sea_orm::ConnectionTrait as _;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, Query};
use secrecy::SecretString;
use serde_json::Value;
use uuid::Uuid;

use super::{IdentityError, SqlIdentity, corrupt};
use crate::error::Fail;
use crate::tables::{SETTING, column_text};

impl SqlIdentity {
    /// A setting.
    ///
    /// # Errors
    /// The database.
    pub async fn setting(&self, name: &str) -> Result<Option<Value>, IdentityError> {
        let select = Query::select()
            .column("value")
            .from(self.table(SETTING))
            .and_where(Expr::col("name").eq(column_text(name)))
            .take();
        let row = self.db.reader.query_one(&select).await.map_err(Fail::from)?;
        Ok(row.map(|row| parse(name, &row.try_get::<String>("", "value")?)).transpose()?)
    }

    /// Every setting by name.
    ///
    /// # Errors
    /// The database.
    pub async fn settings(&self) -> Result<BTreeMap<String, Value>, IdentityError> {
        let select = Query::select().columns(["name", "value"]).from(self.table(SETTING)).take();
        let mut settings = BTreeMap::new();
        for row in self.db.reader.query_all(&select).await.map_err(Fail::from)? {
            let name: String = row.try_get("", "name").map_err(Fail::from)?;
            let text: String = row.try_get("", "value").map_err(Fail::from)?;
            let value = parse(&name, &text)?;
            settings.insert(name, value);
        }
        Ok(settings)
    }

    /// Sets a setting; `None` removes it. Never a secret: settings are not encrypted.
    ///
    /// # Errors
    /// The database.
    pub async fn set_setting(
        &self,
        name: &str,
        value: Option<&Value>,
        audit: &[AuditEntry],
    ) -> Result<(), IdentityError> {
        let tx = self.begin().await?;
        let done = match value {
            Some(value) => {
                let insert = Query::insert()
                    .into_table(self.table(SETTING))
                    .columns(["name", "value"])
                    .values_panic([column_text(name).into(), value.to_string().into()])
                    .on_conflict(OnConflict::column("name").update_column("value").to_owned())
                    .take();
                tx.execute(&insert).await
            }
            None => {
                let named = Expr::col("name").eq(column_text(name));
                tx.execute(Query::delete().from_table(self.table(SETTING)).and_where(named)).await
            }
        };
        done.map_err(Fail::from)?;
        self.finish(tx, audit).await
    }
}

impl SqlIdentity {
    /// Sets a setting that is a secret: it is encrypted at rest and bound to its name.
    ///
    /// # Errors
    /// The database.
    pub async fn set_secret_setting(
        &self,
        name: &str,
        secret: SecretString,
        audit: &[AuditEntry],
    ) -> Result<(), IdentityError> {
        let (org, key) = place(name);
        let sealed = self.db.sealer.seal(&org, key, &StoredSecret::Inline(secret))?;
        self.set_setting(name, Some(&Value::String(sealed)), audit).await
    }

    /// A setting that is a secret.
    ///
    /// # Errors
    /// The database, or it was sealed with another key.
    pub async fn secret_setting(&self, name: &str) -> Result<Option<SecretString>, IdentityError> {
        let Some(value) = self.setting(name).await? else { return Ok(None) };
        let Some(sealed) = value.as_str() else {
            return Err(corrupt(&format!("the setting {name}"), "it is not a sealed secret").into());
        };
        let (org, key) = place(name);
        match self.db.sealer.open(&org, key, sealed)? {
            StoredSecret::Inline(secret) => Ok(Some(secret)),
            StoredSecret::Reference(_) => Err(corrupt(&format!("the setting {name}"), "it is a reference").into()),
        }
    }
}

/// What a sealed setting is bound to: no connector has this organisation and id.
fn place(name: &str) -> (OrgId, Key) {
    (OrgId::new(format!("setting:{name}")), Key::new(RecordKind::Connector, Uuid::nil()))
}

fn parse(name: &str, text: &str) -> Result<Value, Fail> {
    serde_json::from_str(text).map_err(|error| corrupt(&format!("the setting {name}"), error))
}
