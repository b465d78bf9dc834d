//! The tables, as a list of steps forward.

#![allow(elided_lifetimes_in_paths, reason = "MigrationTrait elides them, and async_trait tells the two apart")]

mod m0001_records;
mod m0002_identity;
mod m0003_work_slots;
mod m0004_audit_checkpoint;
mod m0005_event_sinks;
mod m0006_spending;
mod m0007_sessions;
mod m0008_order;
mod m0009_tags;
mod m0010_account_links;
mod m0011_changes;

use rounds_core::ports::StoreError;
use sea_orm::sea_query::IntoIden as _;
use sea_orm::{DbErr, DynIden};
use sea_orm_migration::{MigrationTrait, MigratorTraitSelf};

use crate::db::Db;
use crate::dialect;
use crate::error::Fail;
use crate::tables::{MIGRATIONS, Tables};
use crate::tx::finish;

struct Migrator {
    tables: Tables,
}

impl MigratorTraitSelf for Migrator {
    fn migrations(&self) -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_records::Migration { tables: self.tables.clone() }),
            Box::new(m0002_identity::Migration { tables: self.tables.clone() }),
            Box::new(m0003_work_slots::Migration { tables: self.tables.clone() }),
            Box::new(m0004_audit_checkpoint::Migration { tables: self.tables.clone() }),
            Box::new(m0005_event_sinks::Migration { tables: self.tables.clone() }),
            Box::new(m0006_spending::Migration { tables: self.tables.clone() }),
            Box::new(m0007_sessions::Migration { tables: self.tables.clone() }),
            Box::new(m0008_order::Migration { tables: self.tables.clone() }),
            Box::new(m0009_tags::Migration { tables: self.tables.clone() }),
            Box::new(m0010_account_links::Migration { tables: self.tables.clone() }),
            Box::new(m0011_changes::Migration { tables: self.tables.clone() }),
        ]
    }

    fn migration_table_name(&self) -> DynIden {
        self.tables.named(MIGRATIONS).into_iden()
    }
}

/// Brings the tables up to date: every pending step in one transaction, so that a crash leaves either the old
/// tables or the new ones.
pub(crate) async fn migrate(db: &Db) -> Result<(), StoreError> {
    let migrator = Migrator { tables: db.tables.clone() };
    // Reads first: a start with nothing to do takes no write lock.
    let pending = migrator.get_pending_migrations_read_only(&db.reader).await.map_err(|error| match error {
        // The only custom error of that call: a step was applied that is not in the list above.
        DbErr::Custom(_) => Fail::Store(StoreError::Corrupt {
            what: "the database".into(),
            message: "a newer version of Rounds brought it up to date, and there is no way back: run that version or \
                      a later one, or restore a backup from before"
                .into(),
        }),
        error => error.into(),
    })?;
    if pending.is_empty() {
        return Ok(());
    }
    let tx = db.begin().await?;
    dialect::lock_migrations(&tx, &db.tables).await.map_err(Fail::from)?;
    // Asks again what is pending, now that nobody else can change it.
    migrator.up(&tx, None).await.map_err(Fail::from)?;
    Ok(finish(tx).await?)
}
