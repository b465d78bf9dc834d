//! `rounds-server audit`: verify, export, prune.
//!
//! It works on the database itself, with the key, and needs no running server.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use rounds_core::access::Actor;
use rounds_core::audit::chain::{Broken, Verifier};
use rounds_core::audit::{AuditRow, Prune, chain};
use rounds_core::ports::store::AuditHead;
use rounds_core::ports::{Clock as _, Store as _, StoreExt as _, SystemClock};
use rounds_core::{OrgId, Timestamp};
use rounds_store::SqlStore;
use serde::{Deserialize, Serialize};

use crate::boot;
use crate::settings::ServerSettings;

/// Rows that are read at a time.
const PAGE: u32 = 500;

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Walk the hash chain; prints its head, or the row where it breaks with exit code 1.
    Verify(VerifyArgs),
    /// Print the head of the chain as a line of JSON: keep it elsewhere, and `verify --head` notices a cut-off end.
    Head {
        /// Of which organisation.
        #[arg(long, default_value = "main")]
        org: String,
    },
    /// Print the log as JSON lines, oldest first.
    Export {
        /// Of which organisation.
        #[arg(long, default_value = "main")]
        org: String,
        /// Only rows after this number: where the last export ended.
        #[arg(long, default_value_t = 0, value_name = "SEQ")]
        after: u64,
    },
    /// Remove old rows; a signed checkpoint stays in their place. Export them first.
    Prune(PruneArgs),
}

/// What is verified, against what.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Of which organisation.
    #[arg(long, default_value = "main")]
    org: String,
    /// A head that was exported earlier: a file with the line that `head` prints, or SEQ:HASH.
    #[arg(long, value_name = "FILE|SEQ:HASH")]
    head: Option<String>,
    /// Verify this export instead of the database's rows; the key is the server's.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print the verdict as a line of JSON.
    #[arg(long)]
    json: bool,
}

/// Which rows go.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Of which organisation.
    #[arg(long, default_value = "main")]
    org: String,
    /// Rows before this moment, as 2026-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME", required_unless_present = "older_than")]
    before: Option<DateTime<Utc>>,
    /// Rows older than so many days, as 365d.
    #[arg(long, value_name = "DAYS", conflicts_with = "before")]
    older_than: Option<String>,
    /// Really do it: nothing brings the rows back.
    #[arg(long)]
    yes: bool,
}

/// A head, as it is exported.
#[derive(Debug, Serialize, Deserialize)]
struct ExportedHead {
    org: OrgId,
    seq: u64,
    hash: String,
    at: Timestamp,
}

/// A verdict, for machines.
#[derive(Debug, Serialize)]
struct Verdict<'a> {
    ok: bool,
    org: &'a OrgId,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// Does it.
///
/// # Errors
/// What was tried, what was wrong and what would work.
pub async fn run(command: AuditCommand, settings: &ServerSettings, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    if let Some(path) = settings.database_path().filter(|path| !path.exists()) {
        anyhow::bail!(
            "there is no database at {}: set ROUNDS_DATA_DIR or DATABASE_URL to the server's",
            path.display()
        );
    }
    if let AuditCommand::Verify(VerifyArgs { file: Some(file), org, head, json }) = &command {
        let verdict = verify_file(settings, file, &OrgId::new(org), head.as_deref())?;
        return tell(&OrgId::new(org), verdict, *json, out);
    }
    let store = boot::open_store(settings, false).await?;
    let done = on_store(command, &store, out).await;
    store.close().await;
    done
}

async fn on_store(command: AuditCommand, store: &SqlStore, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match command {
        AuditCommand::Verify(args) => {
            let org = OrgId::new(args.org);
            let verdict = match args.head.as_deref().map(|text| exported(text, &org)).transpose()? {
                Some(head) => store.verify_audit_against(&org, &head).await?,
                None => store.verify_audit(&org).await?,
            };
            tell(&org, verdict, args.json, out)
        }
        AuditCommand::Head { org } => {
            let org = OrgId::new(org);
            match store.verify_audit(&org).await? {
                Ok(head) => {
                    let line = ExportedHead { org, seq: head.seq, hash: head.hash, at: SystemClock.now() };
                    writeln!(out, "{}", serde_json::to_string(&line)?)?;
                    Ok(ExitCode::SUCCESS)
                }
                // The head of a log that does not hold proves nothing.
                broken => tell(&org, broken, false, out),
            }
        }
        AuditCommand::Export { org, after } => {
            let (org, mut after) = (OrgId::new(org), after);
            loop {
                let rows = store.audit_after(&org, after, PAGE).await?;
                let Some(last) = rows.last() else { return Ok(ExitCode::SUCCESS) };
                after = last.seq;
                for row in rows {
                    writeln!(out, "{}", serde_json::to_string(&row)?)?;
                }
            }
        }
        AuditCommand::Prune(args) => prune(args, store, out).await,
    }
}

fn tell(org: &OrgId, verdict: Result<AuditHead, Broken>, json: bool, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    if json {
        let line = match &verdict {
            Ok(head) => Verdict { ok: true, org, seq: head.seq, hash: Some(&head.hash), reason: None },
            Err(broken) => Verdict { ok: false, org, seq: broken.seq, hash: None, reason: Some(&broken.reason) },
        };
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
    } else {
        match &verdict {
            Ok(head) => writeln!(out, "{org}: {} rows, head {}", head.seq, head.hash)?,
            Err(broken) => writeln!(out, "{broken}")?,
        }
    }
    Ok(if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A head that was exported: a file with its line, or the two values themselves.
fn exported(text: &str, org: &OrgId) -> anyhow::Result<AuditHead> {
    if let Some((seq, hash)) = text.split_once(':')
        && let Ok(seq) = seq.parse()
        && hash.len() == 64
    {
        return Ok(AuditHead { seq, hash: hash.to_ascii_lowercase() });
    }
    let line = std::fs::read_to_string(text)
        .with_context(|| format!("--head {text}: a file that `audit head` wrote, or SEQ:HASH, is expected"))?;
    let head: ExportedHead =
        serde_json::from_str(line.trim()).with_context(|| format!("{text} does not hold what `audit head` prints"))?;
    anyhow::ensure!(head.org == *org, "{text} is the head of {}, not of {org}: add --org {}", head.org, head.org);
    Ok(AuditHead { seq: head.seq, hash: head.hash })
}

/// Verifies an export by itself. It may begin in the middle: then its first row says what it follows, and only an
/// exported head or the export before it says whether that is true.
fn verify_file(
    settings: &ServerSettings,
    file: &Path,
    org: &OrgId,
    head: Option<&str>,
) -> anyhow::Result<Result<AuditHead, Broken>> {
    let key = boot::store_options(settings)?.key;
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let head = head.map(|text| exported(text, org)).transpose()?;
    let (mut verifier, mut met) = (None::<Verifier>, false);
    for (number, line) in text.lines().enumerate() {
        let row: AuditRow = serde_json::from_str(line).with_context(|| {
            format!("{} line {}: this is no row that `audit export` prints", file.display(), number + 1)
        })?;
        let begun = if row.seq <= 1 { (0, chain::GENESIS) } else { (row.seq - 1, row.previous.as_str()) };
        let verifier = verifier.get_or_insert_with(|| key.audit_verifier(org.clone(), begun.0, begun.1));
        if let Err(broken) = verifier.next(row.seq, &row.previous, &row.hash, &chain::entry_text(&row.entry)) {
            return Ok(Err(broken));
        }
        met |= head.as_ref().is_some_and(|head| head.seq == row.seq && head.hash == row.hash);
    }
    let Some(verifier) = verifier else { anyhow::bail!("{} holds no row", file.display()) };
    let (seq, hash) = verifier.head();
    let last = AuditHead { seq, hash: hash.to_owned() };
    match head {
        Some(head) if !met => {
            let reason = "the export does not hold the row that the exported head names".to_owned();
            Ok(Err(Broken { org: org.clone(), seq: head.seq, reason }))
        }
        _ => Ok(Ok(last)),
    }
}

async fn prune(args: PruneArgs, store: &SqlStore, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let (org, now) = (OrgId::new(args.org), SystemClock.now());
    let before = match (args.before, &args.older_than) {
        (Some(before), _) => before,
        (None, Some(text)) => {
            let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
            let days = days.with_context(|| format!("--older-than {text}: so many days are expected, as 365d"))?;
            now - chrono::TimeDelta::days(days.into())
        }
        (None, None) => anyhow::bail!("--before or --older-than says which rows go"),
    };
    let prune = Prune::new(&org, before, &Actor::system(), now)?;
    if let Err(broken) = store.verify_audit(&org).await? {
        anyhow::bail!("{broken}: nothing is removed from a log that does not hold, it is evidence");
    }
    let old = store.audit_after(&org, 0, 1).await?;
    let Some(oldest) = old.first().filter(|row| row.entry.at < before) else {
        writeln!(out, "{org}: no row is older than {before}")?;
        return Ok(ExitCode::SUCCESS);
    };
    if !args.yes {
        anyhow::bail!(
            "this removes the rows of {org} from {} (row {}) up to {before}, and nothing brings them back: export them first, then add --yes",
            oldest.entry.at,
            oldest.seq
        );
    }
    match store.prune_audit(&prune).await? {
        Some(checkpoint) => {
            writeln!(out, "{org}: rows up to {} were removed; {} is its hash", checkpoint.seq, checkpoint.hash)?
        }
        None => writeln!(out, "{org}: no row is older than {before}")?,
    }
    Ok(ExitCode::SUCCESS)
}
