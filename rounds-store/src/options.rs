use std::fmt;
use std::time::Duration;

use crate::MasterKey;

/// Where the data is and how it is opened.
#[derive(Clone)]
#[non_exhaustive]
pub struct StoreOptions {
    /// `sqlite://PATH`, where PATH is absolute (`sqlite:///var/lib/rounds/rounds.db`) or relative: the file is made
    /// when there is none; its folder must exist. Or `postgres://user:password@host:5432/database`, with libpq's
    /// parameters (`?sslmode=verify-full`, `?host=/var/run/postgresql` for a socket): the database must exist.
    pub url: String,
    /// Encrypts connector secrets, keys the audit chain.
    pub key: MasterKey,
    /// What the names of all tables start with, for whoever shares a database with other programs: `rounds_` by default.
    /// Two stores with different ones in one database know nothing of each other.
    pub prefix: String,
    /// How many reads may run at once.
    pub readers: u32,
    /// How many writes may run at once on PostgreSQL; on SQLite it is always one. A replica holds `readers + writers`
    /// connections, one of them to hear of other replicas' commits.
    pub writers: u32,
    /// How long a write waits for another process's write before it is tried again.
    pub busy_timeout: Duration,
    /// Whether opening brings the tables up to date; otherwise [`SqlStore::migrate`](crate::SqlStore::migrate) is
    /// called beforehand.
    pub migrate: bool,
}

/// Without the address, which may hold a password.
impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.url.split_once(':').map_or("", |(scheme, _)| scheme);
        f.debug_struct("StoreOptions")
            .field("url", &format_args!("{scheme}:…"))
            .field("key", &self.key)
            .field("prefix", &self.prefix)
            .field("readers", &self.readers)
            .field("writers", &self.writers)
            .field("busy_timeout", &self.busy_timeout)
            .field("migrate", &self.migrate)
            .finish()
    }
}

impl StoreOptions {
    /// The usual: tables start with `rounds_`, and opening brings them up to date.
    pub fn new(url: impl Into<String>, key: MasterKey) -> Self {
        Self {
            url: url.into(),
            key,
            prefix: "rounds_".into(),
            readers: 5,
            writers: 6,
            busy_timeout: Duration::from_secs(5),
            migrate: true,
        }
    }

    /// Another prefix: 1 to 20 lower-case letters, digits and `_`, a letter first. `_` at its end is not added.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Whether opening brings the tables up to date.
    #[must_use]
    pub fn with_migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }
}
