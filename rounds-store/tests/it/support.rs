//! Databases to test with, each in a folder of its own that goes with it.

use std::path::{Path, PathBuf};

use rounds_core::access::Actor;
use rounds_core::alert::{AlertRule, Condition, Operator, Severity};
use rounds_core::audit::{AuditEntry, Outcome};
use rounds_core::connector::Role;
use rounds_core::connector::{Connector, ConnectorStatus, StoredSecret};
use rounds_core::investigation::{Investigation, Trigger};
use rounds_core::ports::store::{ListQuery, Record, RecordKind, Versioned};
use rounds_core::ports::{StoreError, StoreExt as _};
use rounds_core::time::after_ms;
use rounds_core::{AlertRuleId, ConnectorId, OrgId, Timestamp};
use rounds_store::testing::TestDatabase;
use rounds_store::{MasterKey, SqlStore, StoreOptions};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, Statement};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// Which database a test runs on: each runs on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

/// A folder with a database in it, or beside it.
pub(crate) struct Place {
    folder: TempDir,
    postgres: Option<TestDatabase>,
}

/// Where a database is, for another process to open it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Address(String);

impl Address {
    pub(crate) fn options(&self) -> StoreOptions {
        StoreOptions::new(self.0.clone(), key(7))
    }
}

impl Place {
    /// On SQLite.
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), postgres: None }
    }

    pub(crate) async fn on(database: Database) -> Self {
        let postgres = match database {
            Database::Sqlite => None,
            Database::Postgres => Some(TestDatabase::create().await),
        };
        Self { folder: TempDir::new().unwrap(), postgres }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path("rounds.db")
    }

    pub(crate) fn address(&self) -> Address {
        Address(match &self.postgres {
            Some(postgres) => postgres.url(),
            None => format!("sqlite://{}", self.database().display()),
        })
    }

    pub(crate) fn options(&self) -> StoreOptions {
        self.address().options()
    }

    pub(crate) async fn open(&self) -> SqlStore {
        SqlStore::open(self.options()).await.unwrap()
    }

    async fn behind(&self) -> DatabaseConnection {
        let url = match &self.postgres {
            Some(postgres) => postgres.url(),
            None => format!("sqlite://{}?mode=rwc", self.database().display()),
        };
        sea_orm::Database::connect(url).await.unwrap()
    }

    /// Runs SQL behind the store's back.
    pub(crate) async fn sql(&self, sql: &str) -> u64 {
        let db = self.behind().await;
        let done = db.execute_unprepared(sql).await.unwrap().rows_affected();
        db.close().await.unwrap();
        done
    }

    /// The bytes of the database and of the files beside it; on a server, every text in every table.
    pub(crate) async fn bytes(&self) -> Vec<u8> {
        if self.postgres.is_none() {
            let files = std::fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().path());
            return files.flat_map(|file| std::fs::read(file).unwrap()).collect();
        }
        let db = self.behind().await;
        let all = "SELECT string_agg(query_to_xml('SELECT * FROM ' || quote_ident(tablename), true, false, '')::text, '') \
                   AS everything FROM pg_tables WHERE schemaname = 'public'";
        let row = db.query_one_raw(Statement::from_string(DbBackend::Postgres, all)).await.unwrap().unwrap();
        let text: String = row.try_get("", "everything").unwrap();
        db.close().await.unwrap();
        text.into_bytes()
    }
}

/// A few at a time: each waits most of the while for a deadline.
pub(crate) fn each<S: Copy + Send + Sync>(at_a_time: usize, scenes: &[S], play: impl AsyncFn(S) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                while let Some(scene) = scenes.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    runtime.block_on(play(*scene));
                }
            });
        }
    });
}

pub(crate) fn options(database: &Path) -> StoreOptions {
    StoreOptions::new(format!("sqlite://{}", database.display()), key(7))
}

pub(crate) fn key(byte: u8) -> MasterKey {
    MasterKey::from_text(&SecretString::from(hex::encode([byte; 32])), format!("KEY_{byte}")).unwrap()
}

pub(crate) fn now() -> Timestamp {
    chrono::DateTime::from_timestamp_micros(1_767_225_600_123_457).unwrap()
}

pub(crate) fn later(seconds: u64) -> Timestamp {
    after_ms(now(), seconds * 1000)
}

pub(crate) fn org() -> OrgId {
    OrgId::default()
}

pub(crate) fn entry(action: &str) -> AuditEntry {
    AuditEntry::new(now(), &org(), &Actor::system(), action, ("thing", "t1"), Outcome::Success)
}

pub(crate) fn rule(name: &str) -> AlertRule {
    AlertRule {
        series: Default::default(),
        absent_is_zero: false,
        annotations: Default::default(),
        source: None,
        id: AlertRuleId::new(),
        org_id: org(),
        name: name.into(),
        description: String::new(),
        condition: Condition {
            query: "up".into(),
            operator: Operator::Lt,
            threshold: 1.0,
            for_duration_sec: 0,
            keep_firing_for_sec: 0,
        },
        evaluation_interval_sec: 0,
        severity: Severity::High,
        labels: std::collections::BTreeMap::new(),
        datasource_id: None,
        owner_team_id: None,
        enabled: true,
        created_by: Actor::system(),
        created_at: now(),
        updated_at: now(),
    }
}

pub(crate) fn investigation(due: Timestamp) -> Investigation {
    let trigger = Trigger::Person { rule_id: None };
    let asked = |at| Investigation {
        requested_by: Some(Actor::system()),
        ..Investigation::queued(org(), "why?", trigger.clone(), at)
    };
    let first = asked(due);
    asked(due + (due - first.turn()))
}

pub(crate) fn connector(name: &str, secret: &str) -> Connector {
    Connector {
        id: ConnectorId::new(),
        org_id: org(),
        kind: "kubernetes".into(),
        role: Role::Execution,
        name: name.into(),
        config: serde_json::json!({}),
        secret: Some(StoredSecret::Inline(SecretString::from(secret))),
        revision: 1,
        is_default: false,
        owner_team_id: None,
        routing: Default::default(),
        status: ConnectorStatus::Unverified,
        last_verified_at: None,
        last_verify_error: None,
        last_check: None,
        created_by: Actor::system(),
        created_at: now(),
        updated_at: now(),
    }
}

/// Every record of a kind.
pub(crate) async fn all<T>(store: &SqlStore, kind: RecordKind) -> Vec<T>
where
    T: TryFrom<Record, Error = StoreError> + Send,
{
    store.all(ListQuery::new(kind)).await.unwrap().into_iter().map(|found: Versioned<T>| found.value).collect()
}
