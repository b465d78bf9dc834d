//! Databases to test with, each in a folder of its own that goes with it.

use std::path::{Path, PathBuf};

use rounds_core::access::Actor;
use rounds_core::alert::{AlertRule, Condition, Operator, Severity};
use rounds_core::audit::{AuditEntry, Outcome};
use rounds_core::connector::{Connector, ConnectorStatus, StoredSecret};
use rounds_core::investigation::{Investigation, InvestigationStatus, Trigger};
use rounds_core::plugin::Role;
use rounds_core::time::after_ms;
use rounds_core::{AlertRuleId, ConnectorId, InvestigationId, OrgId, Timestamp};
use rounds_store::{MasterKey, SqlStore, StoreOptions};
use sea_orm::{ConnectionTrait as _, Database};
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

    /// Runs SQL behind the store's back.
    pub(crate) async fn sql(&self, sql: &str) -> u64 {
        let db = Database::connect(format!("sqlite://{}?mode=rwc", self.database().display())).await.unwrap();
        let done = db.execute_unprepared(sql).await.unwrap().rows_affected();
        db.close().await.unwrap();
        done
    }

    /// The bytes of the database and of the files beside it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().path());
        files.flat_map(|file| std::fs::read(file).unwrap()).collect()
    }
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
        id: AlertRuleId::new(),
        org_id: org(),
        name: name.into(),
        description: String::new(),
        condition: Condition { query: "up".into(), operator: Operator::Lt, threshold: 1.0, for_duration_sec: 0 },
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

pub(crate) fn investigation(created: Timestamp) -> Investigation {
    Investigation {
        id: InvestigationId::new(),
        org_id: org(),
        question: "why?".into(),
        trigger: Trigger::Person { rule_id: None },
        requested_by: Some(Actor::system()),
        force: false,
        run_as: None,
        investigator: None,
        status: InvestigationStatus::Queued,
        skip_reason: None,
        error: None,
        attempt: 0,
        created_at: created,
        updated_at: created,
        started_at: None,
        finished_at: None,
        report: None,
        plan_id: None,
    }
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
        status: ConnectorStatus::Unverified,
        last_verified_at: None,
        last_verify_error: None,
        created_by: Actor::system(),
        created_at: now(),
        updated_at: now(),
    }
}
