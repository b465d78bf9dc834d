//! Lists in the order of ids, and audit rows of one target whatever its type: without these, both databases sort or walk
//! everything an organisation has. Measured with 10,000 plans: `benches/src/bin/pages.rs`.

use rounds_core::ports::store::RecordKind;
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::m0001_records::index;
use crate::tables::{self, Tables};

pub(super) struct Migration {
    pub(super) tables: Tables,
}

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0008_order"
    }
}

/// The kinds that there were. A kind that is added later brings such an index with it.
const KINDS: [RecordKind; 9] = [
    RecordKind::AlertRule,
    RecordKind::AlertInstance,
    RecordKind::AlertHistory,
    RecordKind::Silence,
    RecordKind::Investigation,
    RecordKind::Plan,
    RecordKind::Connector,
    RecordKind::Notice,
    RecordKind::Spending,
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for kind in KINDS {
            manager.create_index(index(&self.tables, kind.as_str(), "order", &["org_id", "id"], false)).await?;
        }
        let columns = &["org_id", "target_id", "seq"];
        manager.create_index(index(&self.tables, tables::AUDIT, "target_id", columns, false)).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
