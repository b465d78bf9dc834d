//! What changed outside of Rounds.

use rounds_core::ports::store::RecordKind;
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::m0001_records::{index, record_table};
use crate::tables::Tables;

pub(super) struct Migration {
    pub(super) tables: Tables,
}

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0011_changes"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let kind = RecordKind::Change;
        record_table(&self.tables, manager, kind).await?;
        manager.create_index(index(&self.tables, kind.as_str(), "order", &["org_id", "id"], false)).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
