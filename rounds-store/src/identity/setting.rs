//! What admins set, by name.

use std::collections::BTreeMap;

use rounds_core::audit::AuditEntry;
use sea_orm::ConnectionTrait as _;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, Query};
use serde_json::Value;

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

fn parse(name: &str, text: &str) -> Result<Value, Fail> {
    serde_json::from_str(text).map_err(|error| corrupt(&format!("the setting {name}"), error))
}
