//! `record`: investigates a rule with the server's own connectors, stores and proposes nothing, and writes down all that was
//! answered, to be rehearsed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use rounds_core::alert::AlertRule;
use rounds_core::connector::{Connector, Role, StoredSecret};
use rounds_core::plugin::{BuildContext, Built, Host, Registry};
use rounds_core::ports::store::StoreExt as _;
use rounds_core::ports::{Clock as _, SecretHandle, SecretResolver, SystemClock};
use rounds_core::{AlertRuleId, OrgId};
use rounds_rehearsal::{Alert, Expectations, Incident, Recorder, Sources};
use rounds_store::SqlStore;

use crate::boot;
use crate::settings::ServerSettings;

/// How many connectors of a kind a recording has.
const MOST: usize = 4;

/// What to record, and where to.
#[derive(Debug, clap::Args)]
pub struct RecordArgs {
    /// The alert rule: its name or its id.
    #[arg(long, value_name = "NAME")]
    pub rule: String,
    /// The file to write. It must not be there yet.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Let the playbook investigate, though there is a language model.
    #[arg(long)]
    pub playbook: bool,
}

/// Records one incident.
///
/// # Errors
/// There is no such rule, a connector cannot be made, or the file cannot be written.
pub async fn run(args: RecordArgs, settings: &ServerSettings, output: &mut dyn Write) -> anyhow::Result<ExitCode> {
    // Before anything is asked of anybody: a recording that cannot be kept is not made.
    let mut file = private(&args.out).with_context(|| format!("{} cannot be written", args.out.display()))?;
    let store = boot::open_store(settings, false).await?;
    let recorded = record(&args, settings, &store).await;
    store.close().await;
    let (incident, outcome) = match recorded {
        Ok(recorded) => recorded,
        Err(error) => {
            // An empty file would only be in the way of the next try.
            let _ = std::fs::remove_file(&args.out);
            return Err(error);
        }
    };
    file.write_all(incident.to_text()?.as_bytes())?;
    super::rehearse::show(output, &args.out.display().to_string(), &incident, &outcome)?;
    writeln!(
        output,
        "  Written to {}. What looks like a credential is taken out; read it all the same before it goes to anybody, for \
         names, logs and labels are in it. Say under `expect` what must come of it.",
        args.out.display()
    )?;
    Ok(ExitCode::SUCCESS)
}

async fn record(
    args: &RecordArgs,
    settings: &ServerSettings,
    store: &SqlStore,
) -> anyhow::Result<(Incident, rounds_rehearsal::Outcome)> {
    let org = OrgId::default();
    let rule = rule(store, &org, &args.rule).await?;
    let instance = store.instance_of(rule.id).await?.map(|found| found.value);
    let now = SystemClock.now();
    let incident = Incident {
        version: 1,
        title: rule.name.clone(),
        at: now,
        alert: Alert {
            name: rule.name.clone(),
            description: rule.description.clone(),
            query: rule.condition.query.clone(),
            operator: rule.condition.operator,
            threshold: rule.condition.threshold,
            for_sec: rule.condition.for_duration_sec,
            severity: rule.severity,
            rule_labels: rule.labels.clone(),
            labels: instance.as_ref().map(|instance| instance.last_labels.clone()).unwrap_or_default(),
            value: instance.as_ref().and_then(|instance| instance.last_value),
            firing_since: instance.and_then(|instance| instance.firing_since).unwrap_or(now),
        },
        connectors: Vec::new(),
        datasources: Vec::new(),
        model: None,
        facts: false,
        expect: Expectations::default(),
    };
    let mut rows: Vec<Connector> = store.connectors(&org).await?.into_iter().map(|found| found.value).collect();
    // The rule's own datasource comes first, then the default: the first one of a recording is asked when none is named.
    rows.sort_by_key(|row| (Some(row.id) != rule.datasource_id, !row.is_default, row.name.clone()));
    let maker = Maker::new(settings).await?;
    let mut sources = Sources::default();
    for row in &rows {
        match row.role {
            Role::Execution if row.kind == "kubernetes" && sources.clusters.len() < MOST => {
                if let Built::Execution(adapter) = maker.make(row)? {
                    sources.clusters.push((row.name.clone(), adapter));
                }
            }
            Role::Datasource if sources.datasources.len() < MOST => {
                if let Built::Datasource(source) = maker.make(row)? {
                    sources.datasources.push((row.name.clone(), source));
                }
            }
            Role::Model if sources.model.is_none() && !args.playbook => {
                if let Built::Model(model) = maker.make(row)? {
                    sources.model = Some(model);
                }
            }
            _ => {}
        }
    }
    Recorder::record(incident, sources).await
}

async fn rule(store: &SqlStore, org: &OrgId, wanted: &str) -> anyhow::Result<AlertRule> {
    let found = match wanted.parse::<AlertRuleId>() {
        Ok(id) => store.rule(id).await?.filter(|found| found.value.org_id == *org),
        Err(_) => store.rule_named(org, wanted).await?,
    };
    found.map(|found| found.value).with_context(|| format!("--rule: there is no alert rule called `{wanted}`"))
}

/// Makes connectors as the server does.
struct Maker {
    registry: Registry,
    host: Arc<Host>,
    resolvers: Vec<Arc<dyn SecretResolver>>,
}

impl Maker {
    async fn new(settings: &ServerSettings) -> anyhow::Result<Self> {
        let host = boot::host(settings).await;
        let resolvers = boot::resolvers(settings, &host)?;
        Ok(Self { registry: Registry::linked()?, host: Arc::new(host), resolvers })
    }

    fn make(&self, row: &Connector) -> anyhow::Result<Built> {
        let secret = match &row.secret {
            None => SecretHandle::none(),
            Some(StoredSecret::Inline(secret)) => SecretHandle::inline(secret.clone()),
            Some(StoredSecret::Reference(reference)) => {
                let scheme = reference.split("://").next().unwrap_or_default();
                match self.resolvers.iter().find(|resolver| resolver.scheme() == scheme) {
                    Some(resolver) => SecretHandle::reference(Arc::clone(resolver), reference.clone()),
                    None => SecretHandle::broken(format!("nobody resolves {scheme}:// here")),
                }
            }
        };
        let cx = BuildContext::new(&row.name, secret, Arc::clone(&self.host)).with_id(row.id);
        let built = self.registry.build(&row.kind, cx, row.config.clone());
        built.with_context(|| format!("the connector {} cannot be made", row.name))
    }
}

/// A new file that only its owner reads: a recording holds what a cluster says about itself.
fn private(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
