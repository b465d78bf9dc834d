//! Whom an identity provider's subjects stand for.

use sea_orm::sea_query::{ColumnDef, ForeignKey, ForeignKeyAction, Index, Table};
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::m0001_records::index;
use crate::tables::{self, Tables};

pub(super) struct Migration {
    pub(super) tables: Tables,
}

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0010_account_links"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let reference = ForeignKey::create()
            .name(self.tables.name("fk_account_link_account_id"))
            .from(self.tables.named(tables::ACCOUNT_LINK), "account_id")
            .to(self.tables.named(tables::ACCOUNT), "id")
            .on_delete(ForeignKeyAction::Cascade)
            .take();
        let link = Table::create()
            .table(self.tables.named(tables::ACCOUNT_LINK))
            .col(ColumnDef::new("issuer").text().not_null())
            .col(ColumnDef::new("subject").text().not_null())
            .col(ColumnDef::new("account_id").uuid().not_null())
            .col(ColumnDef::new("created_at").big_integer().not_null())
            .primary_key(Index::create().col("issuer").col("subject"))
            .foreign_key(&mut { reference })
            .take();
        manager.create_table(link).await?;
        // An account is one person: of one provider it has one subject.
        manager
            .create_index(index(&self.tables, tables::ACCOUNT_LINK, "account", &["account_id", "issuer"], true))
            .await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
