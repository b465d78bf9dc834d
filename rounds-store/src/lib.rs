//! The Rounds [`Store`](rounds_core::ports::Store) and [`Identity`](rounds_core::ports::Identity) on SQL: SQLite
//! today, written so that PostgreSQL needs one file more.
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
//! The library reads no environment variables, installs no tracing subscriber and starts no tasks of its own.

mod db;
mod dialect;
mod error;
pub mod identity;
mod key;
mod leases;
mod logs;
mod migration;
mod options;
mod records;
mod seal;
mod store;
mod tables;
mod tx;

pub use identity::{IdentityError, SqlIdentity};
pub use key::{KeyError, MasterKey};
pub use options::StoreOptions;
pub use store::SqlStore;
