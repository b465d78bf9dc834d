//! What stands in the place of audit rows that were removed. Every one is kept: each is signed by itself.

use sea_orm::sea_query::{ColumnDef, Index, Table};
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use crate::tables::{self, Tables};

pub(super) struct Migration {
    pub(super) tables: Tables,
}

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0004_audit_checkpoint"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let checkpoint = Table::create()
            .table(self.tables.named(tables::CHECKPOINT))
            .col(ColumnDef::new("org_id").text().not_null())
            .col(ColumnDef::new("seq").big_integer().not_null())
            .col(ColumnDef::new("body").text().not_null())
            .primary_key(Index::create().col("org_id").col("seq"))
            .take();
        manager.create_table(checkpoint).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
