//! Accounts and what belongs to them. Users and service accounts share a table, so that tokens, grants and teams
//! refer to either.

use sea_orm::sea_query::{ColumnDef, ForeignKey, ForeignKeyAction, ForeignKeyCreateStatement, Index, Table};
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::m0001_records::index;
use crate::tables::{self, Tables};

pub(super) struct Migration {
    pub(super) tables: Tables,
}

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0002_identity"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        self.accounts(manager).await?;
        self.credentials(manager).await?;
        self.access(manager).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

impl Migration {
    async fn accounts(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let org = Table::create()
            .table(self.tables.named(tables::ORG))
            .col(ColumnDef::new("id").text().not_null().primary_key())
            .col(ColumnDef::new("name").text().not_null())
            .col(ColumnDef::new("created_at").big_integer().not_null())
            .take();
        manager.create_table(org).await?;
        let account = Table::create()
            .table(self.tables.named(tables::ACCOUNT))
            .col(ColumnDef::new("id").uuid().not_null().primary_key())
            .col(ColumnDef::new("org_id").text().not_null())
            .col(ColumnDef::new("kind").text().not_null())
            .col(ColumnDef::new("login").text().not_null())
            // Lower case, so that `Ada` and `ada` are one; of a service account, with its organisation.
            .col(ColumnDef::new("login_key").text().not_null().unique_key())
            .col(ColumnDef::new("email").text().null())
            .col(ColumnDef::new("email_key").text().null().unique_key())
            .col(ColumnDef::new("name").text().not_null())
            .col(ColumnDef::new("role").text().not_null())
            .col(ColumnDef::new("is_server_admin").boolean().not_null())
            .col(ColumnDef::new("is_agent").boolean().not_null())
            .col(ColumnDef::new("is_disabled").boolean().not_null())
            .col(ColumnDef::new("password_hash").text().null())
            .col(ColumnDef::new("created_at").big_integer().not_null())
            .foreign_key(&mut self.reference(tables::ACCOUNT, "org_id", tables::ORG))
            .take();
        manager.create_table(account).await?;
        manager.create_index(index(&self.tables, tables::ACCOUNT, "org", &["org_id", "kind", "id"], false)).await
    }

    async fn credentials(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let session = Table::create()
            .table(self.tables.named(tables::SESSION))
            .col(ColumnDef::new("hash").text().not_null().primary_key())
            .col(ColumnDef::new("account_id").uuid().not_null())
            .col(ColumnDef::new("csrf").text().not_null())
            .col(ColumnDef::new("created_at").big_integer().not_null())
            .col(ColumnDef::new("expires_at").big_integer().not_null())
            .foreign_key(&mut self.reference(tables::SESSION, "account_id", tables::ACCOUNT))
            .take();
        manager.create_table(session).await?;
        manager.create_index(index(&self.tables, tables::SESSION, "account", &["account_id"], false)).await?;
        manager.create_index(index(&self.tables, tables::SESSION, "expiry", &["expires_at"], false)).await?;
        let token = Table::create()
            .table(self.tables.named(tables::TOKEN))
            .col(ColumnDef::new("id").uuid().not_null().primary_key())
            .col(ColumnDef::new("account_id").uuid().not_null())
            .col(ColumnDef::new("name").text().not_null())
            .col(ColumnDef::new("hash").text().not_null().unique_key())
            .col(ColumnDef::new("created_at").big_integer().not_null())
            .col(ColumnDef::new("created_by").text().not_null())
            .col(ColumnDef::new("last_used_at").big_integer().null())
            .col(ColumnDef::new("expires_at").big_integer().null())
            .col(ColumnDef::new("revoked_at").big_integer().null())
            .foreign_key(&mut self.reference(tables::TOKEN, "account_id", tables::ACCOUNT))
            .take();
        manager.create_table(token).await?;
        manager.create_index(index(&self.tables, tables::TOKEN, "account", &["account_id", "id"], false)).await
    }

    async fn access(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let team = Table::create()
            .table(self.tables.named(tables::TEAM))
            .col(ColumnDef::new("id").uuid().not_null().primary_key())
            .col(ColumnDef::new("org_id").text().not_null())
            .col(ColumnDef::new("name").text().not_null())
            .col(ColumnDef::new("created_at").big_integer().not_null())
            .foreign_key(&mut self.reference(tables::TEAM, "org_id", tables::ORG))
            .take();
        manager.create_table(team).await?;
        manager.create_index(index(&self.tables, tables::TEAM, "name", &["org_id", "name"], true)).await?;
        let member = Table::create()
            .table(self.tables.named(tables::TEAM_MEMBER))
            .col(ColumnDef::new("team_id").uuid().not_null())
            .col(ColumnDef::new("account_id").uuid().not_null())
            .primary_key(Index::create().col("team_id").col("account_id"))
            .foreign_key(&mut self.reference(tables::TEAM_MEMBER, "team_id", tables::TEAM))
            .foreign_key(&mut self.reference(tables::TEAM_MEMBER, "account_id", tables::ACCOUNT))
            .take();
        manager.create_table(member).await?;
        manager.create_index(index(&self.tables, tables::TEAM_MEMBER, "account", &["account_id"], false)).await?;
        let grant = Table::create()
            .table(self.tables.named(tables::GRANT))
            .col(ColumnDef::new("id").uuid().not_null().primary_key())
            .col(ColumnDef::new("org_id").text().not_null())
            .col(ColumnDef::new("account_id").uuid().null())
            .col(ColumnDef::new("team_id").uuid().null())
            // `<action> <scope>` or a fixed role's name.
            .col(ColumnDef::new("permission").text().not_null())
            .col(ColumnDef::new("unique_key").text().not_null().unique_key())
            .col(ColumnDef::new("created_at").big_integer().not_null())
            .foreign_key(&mut self.reference(tables::GRANT, "org_id", tables::ORG))
            .foreign_key(&mut self.reference(tables::GRANT, "account_id", tables::ACCOUNT))
            .foreign_key(&mut self.reference(tables::GRANT, "team_id", tables::TEAM))
            .take();
        manager.create_table(grant).await?;
        manager.create_index(index(&self.tables, tables::GRANT, "account", &["account_id"], false)).await?;
        manager.create_index(index(&self.tables, tables::GRANT, "team", &["team_id"], false)).await?;
        let setting = Table::create()
            .table(self.tables.named(tables::SETTING))
            .col(ColumnDef::new("name").text().not_null().primary_key())
            .col(ColumnDef::new("value").text().not_null())
            .take();
        manager.create_table(setting).await
    }

    fn reference(&self, table: &str, column: &'static str, to: &str) -> ForeignKeyCreateStatement {
        ForeignKey::create()
            .name(self.tables.name(&format!("fk_{table}_{column}")))
            .from(self.tables.named(table), column)
            .to(self.tables.named(to), "id")
            .on_delete(ForeignKeyAction::Cascade)
            .take()
    }
}
