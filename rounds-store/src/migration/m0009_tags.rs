//! What plans are listed by besides their status, and the tags of the plans that are there.

use rounds_core::ports::store::{Record, RecordKind};
use sea_orm::ConnectionTrait as _;
use sea_orm::sea_query::{ColumnDef, Expr, ExprTrait as _, ForeignKey, ForeignKeyAction, Index, Order, Query, Table};
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};
use uuid::Uuid;

use super::m0001_records::index;
use crate::tables::Tables;

/// How many plans are read at a time: their bodies are a few kilobytes each.
const AT_A_TIME: u64 = 200;

pub(super) struct Migration {
    pub(super) tables: Tables,
}

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0009_tags"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let name = self.tables.tags_name(RecordKind::Plan);
        let mut owner = ForeignKey::create()
            .name(self.tables.name("fk_plan_tag_owner"))
            .from(self.tables.named(&name), "owner")
            .to(self.tables.record(RecordKind::Plan), "id")
            .on_delete(ForeignKeyAction::Cascade)
            .take();
        let table = Table::create()
            .table(self.tables.named(&name))
            .col(ColumnDef::new("owner").uuid().not_null())
            .col(ColumnDef::new("tag").text().not_null())
            .primary_key(Index::create().col("owner").col("tag"))
            .foreign_key(&mut owner)
            .take();
        manager.create_table(table).await?;
        manager.create_index(index(&self.tables, &name, "tag", &["tag", "owner"], false)).await?;
        self.tag_what_is_there(manager).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

impl Migration {
    async fn tag_what_is_there(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let db = manager.get_connection();
        let mut after: Option<Uuid> = None;
        loop {
            let mut select = Query::select();
            select.columns(["id", "body"]).from(self.tables.record(RecordKind::Plan));
            select.order_by("id", Order::Asc).limit(AT_A_TIME);
            if let Some(after) = after {
                select.and_where(Expr::col("id").gt(after));
            }
            let rows = db.query_all(&select).await?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in rows {
                let id: Uuid = row.try_get("", "id")?;
                after = Some(id);
                // A plan that cannot be read is left out of every list as it is, and is tagged when it is next written.
                let Ok(record) = Record::decode(RecordKind::Plan, &row.try_get::<String>("", "body")?) else {
                    continue;
                };
                for tag in record.index().tags {
                    let insert = Query::insert()
                        .into_table(self.tables.named(&self.tables.tags_name(RecordKind::Plan)))
                        .columns(["owner", "tag"])
                        .values([id.into(), crate::tables::column_text(&tag).into()])
                        .map_err(|error| DbErr::Custom(error.to_string()))?
                        .take();
                    db.execute(&insert).await?;
                }
            }
        }
    }
}
