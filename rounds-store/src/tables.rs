//! Names. One table per kind of record, and those around them, all with the embedder's prefix.

use rounds_core::ports::StoreError;
use rounds_core::ports::store::RecordKind;
use sea_orm::sea_query::Alias;

/// The prefix of all tables.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    prefix: String,
}

impl Tables {
    pub(crate) fn new(prefix: &str) -> Result<Self, StoreError> {
        // Without one, `plan`, `session` and `setting` would meet the application's own.
        let starts_well = prefix.starts_with(|c: char| c.is_ascii_lowercase());
        let is_plain = prefix.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        // PostgreSQL cuts names at 63 bytes; index names need most of that.
        if !starts_well || !is_plain || prefix.len() > 20 {
            return Err(StoreError::Invalid(format!(
                "`{prefix}` cannot start table names: 1 to 20 lower-case letters, digits and `_` are accepted, \
                 a letter first"
            )));
        }
        Ok(Self { prefix: prefix.into() })
    }

    pub(crate) fn named(&self, name: &str) -> Alias {
        Alias::new(self.name(name))
    }

    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The table of a kind of record.
    pub(crate) fn record(&self, kind: RecordKind) -> Alias {
        self.named(kind.as_str())
    }

    /// The table of a kind's parts, for kinds that have any.
    pub(crate) fn parts(&self, kind: RecordKind) -> Option<Alias> {
        has_parts(kind).then(|| self.name_of_parts(kind))
    }

    pub(crate) fn name_of_parts(&self, kind: RecordKind) -> Alias {
        self.named(&format!("{kind}_part"))
    }

    /// The name of the table of a kind's tags, without the prefix.
    pub(crate) fn tags_name(&self, kind: RecordKind) -> String {
        format!("{kind}_tag")
    }

    /// The table of a kind's tags.
    pub(crate) fn tags(&self, kind: RecordKind) -> Alias {
        self.named(&self.tags_name(kind))
    }
}

/// Whether records of a kind have tags to be listed by.
pub(crate) fn has_tags(kind: RecordKind) -> bool {
    kind == RecordKind::Plan
}

/// Whether records of a kind have parts that are found on their own: a plan's requests.
pub(crate) fn has_parts(kind: RecordKind) -> bool {
    kind == RecordKind::Plan
}

/// Whether a secret travels beside records of a kind.
pub(crate) fn has_secret(kind: RecordKind) -> bool {
    kind == RecordKind::Connector
}

pub(crate) const AUDIT: &str = "audit";
pub(crate) const CHECKPOINT: &str = "audit_checkpoint";
pub(crate) const EVENT: &str = "event";
pub(crate) const HEAD: &str = "org_head";
pub(crate) const META: &str = "meta";
pub(crate) const MIGRATIONS: &str = "migration";

pub(crate) const ORG: &str = "org";
pub(crate) const ACCOUNT: &str = "account";
pub(crate) const SESSION: &str = "session";
pub(crate) const TOKEN: &str = "token";
pub(crate) const TEAM: &str = "team";
pub(crate) const TEAM_MEMBER: &str = "team_member";
pub(crate) const GRANT: &str = "access_grant";
pub(crate) const SETTING: &str = "setting";

/// Text as columns hold it. Bodies are JSON and escape NUL; PostgreSQL takes none in plain text, so names and keys
/// hold a stand-in, when they are written and when they are looked for.
pub(crate) fn column_text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
