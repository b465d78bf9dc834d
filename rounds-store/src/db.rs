//! An open database: pools, table names and keys.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use rounds_core::ports::StoreError;
use rounds_core::ports::store::RecordKind;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, Query};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use tokio::sync::broadcast;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::dialect::Wire;
use crate::error::Fail;
use crate::key::AUDIT_CHAIN;
use crate::seal::Sealer;
use crate::tables::{META, Tables};
use crate::tx::finish;
use crate::{MasterKey, StoreOptions, dialect, migration};

pub(crate) struct Db {
    pub(crate) writer: DatabaseConnection,
    pub(crate) reader: DatabaseConnection,
    pub(crate) tables: Tables,
    pub(crate) sealer: Sealer,
    pub(crate) audit_key: Zeroizing<[u8; 32]>,
    pub(crate) wakes: broadcast::Sender<RecordKind>,
    /// Which open store this is, so that it does not hear of its own commits twice.
    pub(crate) me: String,
    /// Ends with the last clone of the store.
    wire: OnceLock<Wire>,
}

/// The row of `meta` that says which master key the data belongs to.
pub(crate) const KEY: &str = "master_key";

impl Db {
    pub(crate) async fn open(options: &StoreOptions) -> Result<Self, StoreError> {
        let db = Self::connect(options).await?;
        match db.prepare(options).await {
            Ok(()) => Ok(db),
            Err(error) => {
                // A transaction that failed holds its locks until its connection is gone.
                db.close().await;
                Err(error)
            }
        }
    }

    async fn prepare(&self, options: &StoreOptions) -> Result<(), StoreError> {
        if options.migrate {
            migration::migrate(self).await?;
        }
        self.check_key(&options.key).await?;
        if let Some(wire) = dialect::wire(&self.reader, &self.tables, &self.me, &self.wakes).await? {
            let _ = self.wire.set(wire);
        }
        Ok(())
    }

    /// Connects without looking at what is there.
    pub(crate) async fn connect(options: &StoreOptions) -> Result<Self, StoreError> {
        let tables = Tables::new(&options.prefix)?;
        let pools = dialect::connect(options).await?;
        Ok(Self {
            writer: pools.writer,
            reader: pools.reader,
            tables,
            sealer: Sealer::new(&options.key),
            audit_key: options.key.derive(AUDIT_CHAIN),
            wakes: broadcast::Sender::new(1024),
            me: Uuid::now_v7().simple().to_string(),
            wire: OnceLock::new(),
        })
    }

    /// Refuses another master key than the one the data was begun with: secrets would not open, and the audit
    /// chain would break where the new key takes over.
    async fn check_key(&self, key: &MasterKey) -> Result<(), StoreError> {
        let given = key.fingerprint();
        let known = match self.meta(KEY).await? {
            Some(known) => known,
            None => {
                let begun = format!("{given} {}", key.source());
                self.set_meta_once(KEY, &begun).await?;
                self.meta(KEY).await?.unwrap_or(begun)
            }
        };
        let (fingerprint, source) = known.split_once(' ').unwrap_or((&known, "an unknown place"));
        if fingerprint == given {
            return Ok(());
        }
        Err(StoreError::Corrupt {
            what: "the database".into(),
            message: format!(
                "it belongs to another key than the one from {}: it was begun with key {fingerprint} from \
                 {source}, and {given} was given. Restore that key; the connector secrets cannot be read without it",
                key.source()
            ),
        })
    }

    /// Wakes whoever waits for records of these kinds, here and in other replicas.
    pub(crate) fn wake(&self, kinds: &BTreeSet<RecordKind>) {
        for kind in kinds {
            // Nobody may be listening.
            let _ = self.wakes.send(*kind);
        }
        if let Some(wire) = self.wire.get() {
            wire.tell(kinds);
        }
    }

    pub(crate) async fn close(&self) {
        if let Some(wire) = self.wire.get() {
            wire.flush().await;
        }
        for pool in [&self.reader, &self.writer] {
            if let Err(error) = pool.close_by_ref().await {
                tracing::warn!(%error, "the database did not close cleanly");
            }
        }
    }

    async fn meta(&self, name: &str) -> Result<Option<String>, StoreError> {
        let select =
            Query::select().column("value").from(self.tables.named(META)).and_where(Expr::col("name").eq(name)).take();
        let row = self.reader.query_one(&select).await.map_err(Fail::from)?;
        Ok(row.map(|row| row.try_get("", "value")).transpose().map_err(Fail::from)?)
    }

    async fn set_meta_once(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let insert = Query::insert()
            .into_table(self.tables.named(META))
            .columns(["name", "value"])
            .values_panic([name.into(), value.into()])
            .on_conflict(OnConflict::column("name").do_nothing().to_owned())
            .take();
        let tx = self.begin().await?;
        tx.execute(&insert).await.map_err(Fail::from)?;
        Ok(finish(tx).await?)
    }
}
