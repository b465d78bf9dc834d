//! Databases to test with, each in a folder of its own that goes with it.

use std::path::{Path, PathBuf};

use rounds_store::{MasterKey, SqlStore, StoreOptions};
use secrecy::SecretString;
use tempfile::TempDir;

/// A folder with a database in it.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path("rounds.db")
    }

    pub(crate) fn options(&self) -> StoreOptions {
        options(&self.database())
    }

    pub(crate) async fn open(&self) -> SqlStore {
        SqlStore::open(self.options()).await.unwrap()
    }
}

pub(crate) fn options(database: &Path) -> StoreOptions {
    StoreOptions::new(format!("sqlite://{}", database.display()), key(7))
}

pub(crate) fn key(byte: u8) -> MasterKey {
    MasterKey::from_text(&SecretString::from(hex::encode([byte; 32])), format!("KEY_{byte}")).unwrap()
}
