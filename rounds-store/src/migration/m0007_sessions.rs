//! Sessions that can be listed and ended one by one: an id of their own, when they were last used, from where.

use sea_orm::ConnectionTrait as _;
use sea_orm::sea_query::{ColumnDef, Query, Table};
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::m0001_records::index;
use crate::tables::{self, Tables};

pub(super) struct Migration {
    pub(super) tables: Tables,
}

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0007_sessions"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // When a session of before was last used is not known, so it could not end for want of use: everybody signs in
        // once more.
        let all = Query::delete().from_table(self.tables.named(tables::SESSION)).take();
        manager.get_connection().execute(&all).await?;
        let columns = [
            ColumnDef::new("id").uuid().null().take(),
            ColumnDef::new("last_seen_at").big_integer().not_null().default(0).take(),
            ColumnDef::new("user_agent").text().null().take(),
            ColumnDef::new("address").text().null().take(),
        ];
        for mut column in columns {
            // SQLite adds one column at a time.
            let add = Table::alter().table(self.tables.named(tables::SESSION)).add_column(&mut column).take();
            manager.alter_table(add).await?;
        }
        manager.create_index(index(&self.tables, tables::SESSION, "id", &["id"], true)).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
