//! What investigations spent on a day.

use rounds_core::ports::store::RecordKind;
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::m0001_records::record_table;
use crate::tables::Tables;

pub(super) struct Migration {
    pub(super) tables: Tables,
}

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0006_spending"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        record_table(&self.tables, manager, RecordKind::Spending).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
