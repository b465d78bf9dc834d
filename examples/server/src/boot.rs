//! From settings to a running server: store, first accounts, services, router.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use rounds_connectors::kubernetes::{locate_kubectl, sweep_run_dirs};
use rounds_connectors::playbook::PlaybookInvestigator;
use rounds_connectors::secrets::{EnvSecrets, VaultSecrets};
use rounds_core::access::{Actor, OrgRole};
use rounds_core::agent::{AgentSettings, AutoInvestigator, OrchestratorAgent};
use rounds_core::audit::{AuditEntry, Outcome};
use rounds_core::plugin::{Host, Registry};
use rounds_core::ports::{Clock as _, Investigator, SecretResolver, SystemClock};
use rounds_core::service::ServiceName;
use rounds_core::{OrgId, PrincipalId, Rounds};
use rounds_store::{IdentityError, MasterKey, SqlIdentity, SqlStore, StoreOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::accounts::{Accounts, UserDraft};
use crate::alone::{self, Alone};
use crate::auth::{LoginLimiter, Throttle};
use crate::secrets::guarded_files;
use crate::settings::{InvestigatorChoice, ServerSettings, VaultSettings};
use crate::state::{AppState, HttpSettings, Inner};
use crate::{api, http};

/// The name of the one organisation there is.
pub const ORG_NAME: &str = "Main Org.";

/// How long open connections and services are given to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long Vault is given to end the server's token; it ends by itself, too.
const REVOKING: Duration = Duration::from_secs(2);
/// Between two sweeps of sessions that are over.
const SESSION_SWEEP: Duration = Duration::from_secs(3600);

/// Requests of an address that prove nothing, in five minutes.
const UNPROVED: u32 = 10;
/// Requests with tokens that are none, from one address in five minutes.
const DEAD_TOKENS: u32 = 100;

/// What a server is made of. The binary takes [`Boot::new`] as it is; tests and the demo change parts.
pub struct Boot {
    /// What the environment said.
    pub settings: ServerSettings,
    /// The connectors it knows.
    pub registry: Registry,
    /// Who finds causes; `None`: nothing is investigated.
    pub investigator: Option<Arc<dyn Investigator>>,
    /// Services to leave out.
    pub without: Vec<ServiceName>,
}

impl Boot {
    /// The usual parts: every linked connector, and the investigator that the settings name.
    ///
    /// # Errors
    /// A connector that the server needs is not linked.
    pub fn new(settings: ServerSettings) -> anyhow::Result<Self> {
        let registry = Registry::linked()?;
        registry.require(&["kubernetes", "prometheus"])?;
        let investigator = investigator(settings.investigator);
        Ok(Self { settings, registry, investigator: Some(investigator), without: Vec::new() })
    }
}

fn investigator(choice: InvestigatorChoice) -> Arc<dyn Investigator> {
    let playbook: Arc<dyn Investigator> = Arc::new(PlaybookInvestigator::default());
    let orchestrator =
        || Arc::new(OrchestratorAgent::new(AgentSettings::default()).with_playbook(Arc::clone(&playbook)));
    match choice {
        InvestigatorChoice::Auto => Arc::new(AutoInvestigator::new(orchestrator(), Arc::clone(&playbook))),
        InvestigatorChoice::Orchestrator => orchestrator(),
        InvestigatorChoice::Playbook => playbook,
    }
}

/// A running server, not yet listening.
pub struct App {
    /// What every handler holds.
    pub state: AppState,
    /// API and pages.
    pub router: Router,
    store: SqlStore,
    vault: Option<VaultSecrets>,
    step_timeout: Duration,
    /// Held until the store is closed.
    _alone: Option<Alone>,
}

impl App {
    /// Opens the store, makes the first accounts, and starts the services.
    ///
    /// # Errors
    /// What was tried, what was wrong and what would work.
    pub async fn start(boot: Boot) -> anyhow::Result<Self> {
        // Everything is in there, database driver and all: boxed, or the compiler gives up on whoever awaits this in something
        // that is nested itself.
        Box::pin(Self::started(boot)).await
    }

    async fn started(boot: Boot) -> anyhow::Result<Self> {
        let settings = boot.settings;
        if settings.oidc.is_some() && !cfg!(feature = "oidc") {
            anyhow::bail!("ROUNDS_OIDC_ISSUER: this build has no sign-in by OIDC; build it with `--features oidc`");
        }
        private_dir(&settings.data_dir)?;
        // Asking kubectl for its version takes longer than opening the database, so both happen at once.
        let host = tokio::spawn({
            let settings = settings.clone();
            async move { host(&settings).await }
        });
        // Before the tables are migrated: whoever is there already may be of the version before.
        let alone = settings.database_path().and_then(|path| alone::look(&path));
        let store = open_store(&settings, true).await?;
        let identity = store.identity();
        let agent = bootstrap(&identity).await?;
        let host = host.await.context("looking for kubectl panicked")?;
        let vault = vault(&settings, &host)?;
        if let Some(vault) = vault.clone() {
            try_vault(vault, &settings);
        }
        let resolvers = with_vault(&settings, vault.clone());
        let step_timeout = settings.core.step_timeout;
        let metrics = api::metrics::install();
        let mut builder = Rounds::builder(Arc::new(store.clone()), Arc::new(identity.clone()))
            .registry(boot.registry)
            .host(host)
            .settings(settings.core.clone());
        for resolver in resolvers {
            builder = builder.secret_resolver(resolver);
        }
        if let Some(investigator) = boot.investigator {
            builder = builder.investigator(investigator);
        }
        if let Some(token) = settings.pinned_token.clone() {
            builder = builder.pinned_investigation_token(token);
        }
        for service in boot.without {
            builder = builder.without(service);
        }
        let rounds = builder.build()?;
        #[cfg(feature = "oidc")]
        let oidc = match settings.oidc.clone() {
            Some(oidc) => {
                let key = store_options(&settings)?.key.key_for(crate::oidc::KEY_PURPOSE);
                Some(crate::oidc::Oidc::new(oidc, &settings, key)?)
            }
            None => None,
        };
        let accounts = Accounts::new(identity.clone(), rounds.clone()).with_session_limits(settings.sessions);
        seed_admin(&accounts, &settings).await?;
        let stop = CancellationToken::new();
        sweep_sessions(identity, rounds.clone(), settings.sessions.idle, stop.clone());
        let state = AppState::new(Inner {
            running: rounds.start(),
            rounds,
            accounts,
            agent,
            http: HttpSettings {
                trust_proxy: settings.trust_proxy,
                public_url: settings.public_url.clone(),
                answer_within: settings.answer_within,
                // Room is left to say that it did not arrive.
                body_within: HttpSettings::default().body_within.min(settings.answer_within / 2),
            },
            logins: LoginLimiter::default(),
            #[cfg(feature = "oidc")]
            oidc,
            dead_tokens: Throttle::new(DEAD_TOKENS, Duration::from_secs(300)),
            unproved: Throttle::new(UNPROVED, Duration::from_secs(300)),
            metrics,
            stop,
        });
        Ok(Self { router: http::router(state.clone()), state, store, vault, step_timeout, _alone: alone })
    }

    /// Serves until `until` is over, then stops: new connections first, then what is open, then the services.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn serve(self, listener: TcpListener, until: impl Future<Output = ()>) -> anyhow::Result<()> {
        let stop = self.state.stop.clone();
        let service = self.router.clone().into_make_service_with_connect_info::<SocketAddr>();
        let stopping = stop.clone();
        let server = axum::serve(listener, service).with_graceful_shutdown(async move { stopping.cancelled().await });
        let mut server = tokio::spawn(async move { server.await });
        let failed = tokio::select! {
            () = until => None,
            ended = &mut server => Some(ended),
        };
        stop.cancel();
        let ended = match failed {
            Some(ended) => Some(ended),
            None => tokio::time::timeout(PATIENCE, &mut server).await.ok(),
        };
        server.abort();
        self.stop().await;
        match ended {
            Some(ended) => ended.context("the HTTP server panicked")?.context("the HTTP server failed"),
            None => Ok(()),
        }
    }

    /// Stops the services and closes the store. A running step is seen to its end, within its own timeout.
    pub async fn stop(self) {
        self.state.stop.cancel();
        // A connector may allow its steps more than this. A stop does not wait for those: the next start judges them
        // by the deadline in their row, as after a crash.
        self.state.running.shutdown(self.step_timeout + PATIENCE).await;
        if let Some(vault) = &self.vault {
            vault.close(REVOKING).await;
        }
        self.store.close().await;
    }
}

/// Opens the store that the settings name.
///
/// # Errors
/// The database or the key cannot be had.
pub async fn open_store(settings: &ServerSettings, migrate: bool) -> anyhow::Result<SqlStore> {
    let options = store_options(settings)?.with_migrate(migrate);
    // Never the address: whatever part of it is taken for what, it may hold a password.
    SqlStore::open(options).await.context(match settings.database_path() {
        Some(path) => format!("the database {} cannot be used", path.display()),
        None => "the database of DATABASE_URL cannot be used".to_owned(),
    })
}

/// How the store of the settings is opened; makes its directory and key when they are not there.
///
/// # Errors
/// The directory or the key cannot be had.
pub fn store_options(settings: &ServerSettings) -> anyhow::Result<StoreOptions> {
    private_dir(&settings.database_dir())?;
    let key = match &settings.secret_key {
        Some(text) => MasterKey::from_text(text, "ROUNDS_SECRET_KEY")?,
        None => MasterKey::load_or_create(&key_path(settings))?,
    };
    Ok(StoreOptions::new(&*settings.database_url, key))
}

fn key_path(settings: &ServerSettings) -> std::path::PathBuf {
    settings.database_dir().join("secret.key")
}

fn private_dir(dir: &Path) -> anyhow::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).with_context(|| format!("the directory {} cannot be made", dir.display()))
}

/// The organisation with its agent; gives the agent's id.
async fn bootstrap(identity: &SqlIdentity) -> anyhow::Result<PrincipalId> {
    let org = OrgId::default();
    let now = SystemClock.now();
    let target = ("organisation", org.to_string());
    let entry = AuditEntry::new(now, &org, &Actor::system(), "org.create", target, Outcome::Success)
        .with("serviceAccount", SqlIdentity::AGENT_LOGIN);
    if identity.bootstrap(&org, ORG_NAME, now, &[entry]).await? {
        tracing::info!(login = SqlIdentity::AGENT_LOGIN, "the organisation and its service account were made");
    }
    let found = identity.service_accounts(&org).await?.into_iter().find(|a| a.login == SqlIdentity::AGENT_LOGIN);
    // Only somebody with the database in hand can have removed it; nothing runs as it then.
    Ok(found.map_or_else(PrincipalId::new, |agent| agent.id))
}

async fn seed_admin(accounts: &Accounts, settings: &ServerSettings) -> anyhow::Result<()> {
    let Some(seed) = settings.seed_admin.clone() else { return Ok(()) };
    if accounts.has_users().await.map_err(|error| anyhow::anyhow!(error.body.message))? {
        return Ok(());
    }
    let login = seed.login.clone();
    let draft = UserDraft {
        email: seed.email,
        login: seed.login,
        name: seed.name,
        password: seed.password,
        org_role: OrgRole::Admin,
        is_admin: true,
    };
    match accounts.first_admin(draft).await {
        Ok(_) => tracing::info!(login, "the first admin was made from SEED_ADMIN_*"),
        // Another replica was faster.
        Err(error) if error.body.code == "already_set_up" => {}
        Err(error) => anyhow::bail!("SEED_ADMIN_*: {}", error.body.message),
    }
    Ok(())
}

/// Who resolves secret references: variables, files, and a Vault when there is one.
///
/// # Errors
/// What the settings say of Vault cannot work.
pub fn resolvers(settings: &ServerSettings, host: &Host) -> anyhow::Result<Vec<Arc<dyn SecretResolver>>> {
    Ok(with_vault(settings, vault(settings, host)?))
}

fn with_vault(settings: &ServerSettings, vault: Option<VaultSecrets>) -> Vec<Arc<dyn SecretResolver>> {
    // A database in a shared place closes itself and its key there, not that whole place.
    let oidc = settings.oidc.as_ref().and_then(|oidc| oidc.client_secret_file.clone());
    let own = [Some(settings.data_dir.clone()), Some(key_path(settings)), settings.database_path(), oidc];
    let logins = settings.vault.iter().flat_map(VaultSettings::own_files);
    let mut resolvers: Vec<Arc<dyn SecretResolver>> = vec![
        Arc::new(EnvSecrets::new(settings.secret_env_prefix.clone(), ServerSettings::connector_variable)),
        Arc::new(guarded_files(&settings.secret_dirs, own.into_iter().flatten().chain(logins))),
    ];
    if let Some(vault) = vault {
        resolvers.push(Arc::new(vault));
    }
    resolvers
}

/// The Vault of the settings. Nothing is connected to.
fn vault(settings: &ServerSettings, host: &Host) -> anyhow::Result<Option<VaultSecrets>> {
    let Some(VaultSettings { config, ca_file }) = settings.vault.clone() else { return Ok(None) };
    let pem = match &ca_file {
        Some(file) => {
            let pem = std::fs::read_to_string(file);
            Some(pem.with_context(|| format!("VAULT_CACERT: {} cannot be read", file.display()))?)
        }
        None => None,
    };
    Ok(Some(VaultSecrets::with(config.with_ca_certificate(pem), host)?))
}

/// Logs in once, so that what is wrong is in the log before a secret is needed. Nothing waits for it.
fn try_vault(vault: VaultSecrets, settings: &ServerSettings) {
    let address = settings.vault.as_ref().map(|vault| vault.config.address.clone()).unwrap_or_default();
    if let Ok(url) = url::Url::parse(&address)
        && url.scheme() == "http"
        && !url.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"))
    {
        tracing::warn!("VAULT_ADDR is http://: tokens and secrets cross the network readable to all on it");
    }
    tokio::spawn(async move {
        match vault.log_in().await {
            Ok(()) => tracing::info!("there is a token for Vault"),
            Err(error) => tracing::warn!(%error, "vault:// references cannot be resolved"),
        }
    });
}

/// What a connector is offered that runs no program and keeps no file.
#[must_use]
pub fn bare_host(settings: &ServerSettings) -> Host {
    Host {
        child_env: settings.child_env.clone(),
        allowances: settings.allowances.clone(),
        outbound: settings.outbound.clone(),
        public_url: settings.public_url.clone(),
        in_cluster: settings.in_cluster.clone(),
        ..Host::default()
    }
}

/// What the operator offers to connectors.
pub async fn host(settings: &ServerSettings) -> Host {
    let mut programs = BTreeMap::new();
    match locate_kubectl(settings.kubectl.as_deref(), &settings.path).await {
        Ok(kubectl) => {
            tracing::info!(%kubectl, "found");
            programs.insert("kubectl".to_owned(), kubectl.path);
        }
        Err(error) => tracing::warn!(
            %error,
            "no kubectl: plans on Kubernetes can neither be proposed nor run; install it or set KUBECTL, and restart"
        ),
    }
    let run_dir = settings.data_dir.join("run");
    // What a killed server left may hold credentials: it goes now, not when a connector is first used.
    sweep_run_dirs(&run_dir);
    Host { run_dir: Some(run_dir), programs, ..bare_host(settings) }
}

fn sweep_sessions(identity: SqlIdentity, rounds: Rounds, idle: Duration, stop: CancellationToken) {
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SESSION_SWEEP) => {}
            }
            let swept: Result<u64, IdentityError> = identity.sweep_sessions(rounds.now(), idle).await;
            if let Err(error) = swept {
                tracing::warn!(%error, "sessions that are over could not be removed; they do not work anyway");
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_choose_the_investigator() {
        let chosen = |choice| investigator(choice).name().to_owned();
        assert_eq!(chosen(InvestigatorChoice::default()), "auto");
        assert_eq!(chosen(InvestigatorChoice::Orchestrator), "orchestrator");
        assert_eq!(chosen(InvestigatorChoice::Playbook), "playbook");
    }
}
