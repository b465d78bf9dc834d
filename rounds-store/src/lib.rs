//! The Rounds [`Store`](rounds_core::ports::Store) and [`Identity`](rounds_core::ports::Identity) on SQL: SQLite for one
//! process, PostgreSQL for many replicas.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use rounds_store::{MasterKey, SqlStore, StoreOptions};
//!
//! let key = MasterKey::load_or_create("/var/lib/rounds/secret.key".as_ref())?;
//! let store = SqlStore::open(StoreOptions::new("sqlite:///var/lib/rounds/rounds.db", key)).await?;
//! let identity = store.identity();
//! # Ok(())
//! # }
//! ```
//!
//! With `postgres://user:password@host:5432/database` the same store serves many replicas: leases run by the server's
//! clock, and replicas hear of each other's commits by `LISTEN`.
//!
//! The library reads no environment variables (the PostgreSQL driver takes what an address leaves out from libpq's own,
//! such as `PGPASSWORD`) and installs no tracing subscriber. On PostgreSQL an open store has one task, which listens
//! and ends with its last clone.

mod db;
mod dialect;
mod error;
pub mod identity;
mod key;
mod leases;
mod logs;
mod migration;
mod options;
mod pruning;
mod records;
mod seal;
mod store;
mod tables;
#[cfg(feature = "testing")]
pub mod testing;
mod tx;

pub use identity::{IdentityError, SqlIdentity};
pub use key::{KeyError, MasterKey};
pub use options::StoreOptions;
pub use store::SqlStore;
