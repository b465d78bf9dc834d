//! Records, leases, logs.
//!
//! Every kind of record has a table of its own with one and the same header. Times are microseconds since 1970 in
//! a BIGINT: both databases compare them, and give them back as they were. (Text would need a fixed width to
//! compare; PostgreSQL's timestamps have no counterpart in SQLite.) Bodies are text, never a JSON column, because
//! digests are over their bytes.

use rounds_core::ports::store::RecordKind;
use sea_orm::sea_query::{ColumnDef, ForeignKey, ForeignKeyAction, Index, Table};
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use crate::tables::{self, Tables, has_secret};

pub(super) struct Migration {
    pub(super) tables: Tables,
}

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0001_records"
    }
}

/// The kinds of this migration. A kind that is added later comes with a migration of its own.
const KINDS: [RecordKind; 8] = [
    RecordKind::AlertRule,
    RecordKind::AlertInstance,
    RecordKind::AlertHistory,
    RecordKind::Silence,
    RecordKind::Investigation,
    RecordKind::Plan,
    RecordKind::Connector,
    RecordKind::Notice,
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for kind in KINDS {
            record_table(&self.tables, manager, kind).await?;
        }
        self.parts_table(manager, RecordKind::Plan).await?;
        self.logs(manager).await?;
        let meta = Table::create()
            .table(self.tables.named(tables::META))
            .col(ColumnDef::new("name").text().not_null().primary_key())
            .col(ColumnDef::new("value").text().not_null())
            .take();
        manager.create_table(meta).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

impl Migration {
    async fn parts_table(&self, manager: &SchemaManager<'_>, kind: RecordKind) -> Result<(), DbErr> {
        let name = format!("{kind}_part");
        let owner = ForeignKey::create()
            .name(self.tables.name(&format!("fk_{name}_owner")))
            .from(self.tables.named(&name), "owner")
            .to(self.tables.record(kind), "id")
            .on_delete(ForeignKeyAction::Cascade)
            .take();
        let table = Table::create()
            .table(self.tables.named(&name))
            .col(ColumnDef::new("id").uuid().not_null().primary_key())
            .col(ColumnDef::new("owner").uuid().not_null())
            .col(ColumnDef::new("status").text().not_null())
            .foreign_key(&mut owner.clone())
            .take();
        manager.create_table(table).await?;
        self.index(manager, &name, "owner", &["owner"], false).await?;
        self.index(manager, &name, "status", &["status", "owner"], false).await
    }

    async fn logs(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let head = Table::create()
            .table(self.tables.named(tables::HEAD))
            .col(ColumnDef::new("org_id").text().not_null().primary_key())
            .col(ColumnDef::new("audit_seq").big_integer().not_null())
            .col(ColumnDef::new("audit_hash").text().not_null())
            .col(ColumnDef::new("event_seq").big_integer().not_null())
            .take();
        manager.create_table(head).await?;
        let audit = Table::create()
            .table(self.tables.named(tables::AUDIT))
            .col(ColumnDef::new("org_id").text().not_null())
            .col(ColumnDef::new("seq").big_integer().not_null())
            .col(ColumnDef::new("previous").text().not_null())
            .col(ColumnDef::new("hash").text().not_null())
            .col(ColumnDef::new("at").big_integer().not_null())
            .col(ColumnDef::new("action").text().not_null())
            .col(ColumnDef::new("actor_id").text().not_null())
            .col(ColumnDef::new("target_type").text().not_null())
            .col(ColumnDef::new("target_id").text().not_null())
            .col(ColumnDef::new("outcome").text().not_null())
            .col(ColumnDef::new("entry").text().not_null())
            .primary_key(Index::create().col("org_id").col("seq"))
            .take();
        manager.create_table(audit).await?;
        for (suffix, columns) in [
            ("target", &["org_id", "target_type", "target_id", "seq"][..]),
            ("action", &["org_id", "action", "seq"]),
            ("actor", &["org_id", "actor_id", "seq"]),
            ("at", &["org_id", "at"]),
        ] {
            self.index(manager, tables::AUDIT, suffix, columns, false).await?;
        }
        let event = Table::create()
            .table(self.tables.named(tables::EVENT))
            .col(ColumnDef::new("org_id").text().not_null())
            .col(ColumnDef::new("seq").big_integer().not_null())
            .col(ColumnDef::new("body").text().not_null())
            .primary_key(Index::create().col("org_id").col("seq"))
            .take();
        manager.create_table(event).await
    }

    async fn index(
        &self,
        manager: &SchemaManager<'_>,
        table: &str,
        suffix: &str,
        columns: &'static [&'static str],
        unique: bool,
    ) -> Result<(), DbErr> {
        manager.create_index(index(&self.tables, table, suffix, columns, unique)).await
    }
}

/// The table of a kind: the header that all kinds have, and what they are found by.
pub(super) async fn record_table(tables: &Tables, manager: &SchemaManager<'_>, kind: RecordKind) -> Result<(), DbErr> {
    let mut table = Table::create()
        .table(tables.record(kind))
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("org_id").text().not_null())
        .col(ColumnDef::new("version").big_integer().not_null())
        .col(ColumnDef::new("status").text().null())
        .col(ColumnDef::new("parent").uuid().null())
        .col(ColumnDef::new("unique_key").text().null())
        .col(ColumnDef::new("due_at").big_integer().null())
        .col(ColumnDef::new("lease_fence").big_integer().not_null().default(0))
        .col(ColumnDef::new("lease_worker").text().null())
        .col(ColumnDef::new("lease_until").big_integer().null())
        .col(ColumnDef::new("body").text().not_null())
        .take();
    if has_secret(kind) {
        table.col(ColumnDef::new("secret").text().null());
    }
    manager.create_table(table).await?;
    for (suffix, columns, unique) in [
        // Errors name the index on PostgreSQL and the column on SQLite: both say `unique_key`.
        ("unique_key", &["unique_key"][..], true),
        ("status", &["org_id", "status", "id"], false),
        ("parent", &["parent", "id"], false),
        ("due", &["due_at", "id"], false),
    ] {
        manager.create_index(index(tables, kind.as_str(), suffix, columns, unique)).await?;
    }
    Ok(())
}

pub(super) fn index(
    tables: &Tables,
    table: &str,
    suffix: &str,
    columns: &'static [&'static str],
    unique: bool,
) -> sea_orm::sea_query::IndexCreateStatement {
    let mut index =
        Index::create().name(tables.name(&format!("ix_{table}_{suffix}"))).table(tables.named(table)).take();
    for column in columns {
        index.col(*column);
    }
    if unique {
        index.unique();
    }
    index
}
