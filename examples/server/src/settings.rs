//! Settings: every variable that the server reads from its environment, and nowhere else.

mod oidc;
mod spending;
mod vault;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rounds_core::plugin::{InCluster, Outbound};
use secrecy::SecretString;

pub use oidc::{OidcRoles, OidcSettings};
pub use spending::InvestigatorChoice;
pub use vault::VaultSettings;

use crate::accounts::SessionLimits;
use crate::state::HttpSettings;

/// The variables and what they do, for `--help`.
pub const HELP: &str = "\
Environment:
  ROUNDS_LISTEN                 address of the server                       [127.0.0.1:3000]
  ROUNDS_DATA_DIR               database, generated key, run-time files     [~/.rounds]
  DATABASE_URL                  sqlite://PATH or postgres://USER:PW@HOST/DB [rounds.db in the data dir]
  ROUNDS_SECRET_KEY             32 bytes, base64 or hex                     [a generated file beside the database]
  SEED_ADMIN_EMAIL, _LOGIN, _NAME, _PASSWORD   the first admin, only while there is no user
  KUBECTL                       the kubectl to run                          [found on PATH]
  ALERT_EVALUATOR_ENABLED       evaluate alert rules                        [true]
  AUTO_INVESTIGATION_ENABLED    investigate firing alerts                   [true]
  ROUNDS_INVESTIGATOR           auto, orchestrator (a model) or playbook    [auto: by whether there is a model]
  INVESTIGATION_RUN_USD, INVESTIGATION_RUN_TOKENS           what one run may cost           [2, 1000000]
  INVESTIGATION_RULE_USD_PER_DAY, _RULE_TOKENS_PER_DAY      a rule's runs of a day          [10, 5000000]
  INVESTIGATION_USD_PER_DAY, INVESTIGATION_TOKENS_PER_DAY   all runs of a day               [50, 50000000]
  INVESTIGATION_RUNS_PER_RULE_PER_DAY                       runs a rule starts by itself    [100]
  AUTO_INVESTIGATION_SA_TOKEN   the one token investigations run with       [the newest live one]
  ALERT_EVALUATOR_REFRESH_MS    safety-net re-read of the rules             [60000]
  ROUNDS_SERIES_PER_RULE        label sets of a rule that may fire at a time [100]
  ROUNDS_EXTERNAL_ALERT_STALE_MS  after how long unheard of an Alertmanager's alert is over [259200000]
  PLAN_APPROVAL_TTL_MS          how long a plan waits for a decision        [86400000]
  PLAN_EXPIRY_SWEEP_MS          how often expiry is swept                   [60000]
  ROUNDS_OIDC_ISSUER, _CLIENT_ID, _CLIENT_SECRET (or _FILE), _REDIRECT_URL, and more   sign-in by OpenID Connect
  ROUNDS_SESSION_LIFETIME_MS    how long a session lasts, however busy      [604800000]
  ROUNDS_SESSION_IDLE_MS        how long a session lasts unused             [86400000]
  ROUNDS_REQUEST_TIMEOUT_MS     how long an answer may take to begin        [180000]
  ROUNDS_TRUST_PROXY            believe X-Forwarded-For and -Proto          [false]
  ROUNDS_SECRET_ENV_PREFIX      env:// may name variables that start so     [any]
  ROUNDS_SECRET_DIRS            file:// may name files below these          [/]
  VAULT_ADDR, VAULT_NAMESPACE, VAULT_CACERT     what vault://path#field asks      [no vault://]
  VAULT_TOKEN or ROUNDS_VAULT_TOKEN_FILE        a token for it, renewed while it can be
  ROUNDS_VAULT_AUTH             token, approle or kubernetes                [token]
  ROUNDS_VAULT_ROLE_ID, ROUNDS_VAULT_SECRET_ID_FILE (and _WRAPPED)   for approle
  ROUNDS_VAULT_ROLE, ROUNDS_VAULT_JWT_FILE      for kubernetes
  ROUNDS_VAULT_MOUNT            where the login method is mounted           [approle, kubernetes]
  ROUNDS_ALLOW                  powers per connector, `prod:kubeconfig-exec`, with commas
  KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT   set in pods: what `NAME:in-cluster` in ROUNDS_ALLOW lends
  ROUNDS_OUTBOUND_ALLOW         addresses connectors may call beyond public ones: 10.0.0.0/8, private, loopback,
                                prometheus.monitoring.svc, *, with commas   [none]
  ROUNDS_PUBLIC_URL             where people reach the pages, for links in messages   [no links]
  ROUNDS_CHILD_ENV              further variables that kubectl receives, with commas
  ROUNDS_LOG                    log filter, such as info or rounds_core=debug  [info]
  ROUNDS_LOG_FORMAT             text or json                                [text]
  HTTP_PROXY, HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE, SSL_CERT_DIR are passed to kubectl.";

/// The address of a database. It may hold a password, so only its scheme is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl From<String> for DatabaseUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl std::ops::Deref for DatabaseUrl {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:…", self.split(':').next().unwrap_or_default())
    }
}

/// What the whole server is started with.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Where it listens.
    pub listen: String,
    /// Where its files live.
    pub data_dir: PathBuf,
    /// Where its data is.
    pub database_url: DatabaseUrl,
    /// Encrypts connector secrets; absent: a generated file.
    pub secret_key: Option<SecretString>,
    /// How the services behave.
    pub core: rounds_core::Settings,
    /// Who investigates.
    pub investigator: InvestigatorChoice,
    /// The one token that investigations run with.
    pub pinned_token: Option<SecretString>,
    /// The first admin, while there is no user.
    pub seed_admin: Option<SeedAdmin>,
    /// The kubectl to run; absent: found on the path.
    pub kubectl: Option<PathBuf>,
    /// Where programs are looked for.
    pub path: OsString,
    /// What child processes receive.
    pub child_env: BTreeMap<String, String>,
    /// Powers of connectors: `prod:kubeconfig-exec`.
    pub allowances: BTreeSet<String>,
    /// The pod's own way to its cluster, where the server runs in one.
    pub in_cluster: Option<InCluster>,
    /// The provider that people sign in with, too.
    pub oidc: Option<OidcSettings>,
    /// How long sessions last.
    pub sessions: SessionLimits,
    /// How long an answer may take to begin.
    pub answer_within: Duration,
    /// Which addresses connectors may call beyond public ones.
    pub outbound: Outbound,
    /// Where people reach the pages, without a slash at its end.
    pub public_url: Option<String>,
    /// Whether a proxy in front is believed.
    pub trust_proxy: bool,
    /// What the names of variables that connectors may refer to start with.
    pub secret_env_prefix: String,
    /// Below which directories connectors may refer to files.
    pub secret_dirs: Vec<PathBuf>,
    /// What `vault://` asks.
    pub vault: Option<VaultSettings>,
    /// What is logged.
    pub log_filter: String,
    /// Whether the log is JSON.
    pub log_json: bool,
}

/// The first admin, from the environment.
#[derive(Debug, Clone)]
pub struct SeedAdmin {
    /// An address.
    pub email: Option<String>,
    /// What they sign in with.
    pub login: String,
    /// The name to show.
    pub name: Option<String>,
    /// The password.
    pub password: SecretString,
}

/// A variable with a value that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct InvalidVariable {
    name: &'static str,
    message: String,
}

fn invalid(name: &'static str, message: impl Into<String>) -> InvalidVariable {
    InvalidVariable { name, message: message.into() }
}

/// What the command line says instead of the environment.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Where it listens.
    pub listen: Option<String>,
    /// Where its files live.
    pub data_dir: Option<PathBuf>,
}

/// Never handed to a connector through `env://`: they are the server's own.
const OWN_SECRETS: [&str; 6] = [
    "ROUNDS_SECRET_KEY",
    "SEED_ADMIN_PASSWORD",
    "AUTO_INVESTIGATION_SA_TOKEN",
    "DATABASE_URL",
    "VAULT_TOKEN",
    "ROUNDS_OIDC_CLIENT_SECRET",
];

const CHILD_ENV: [&str; 8] =
    ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The token of a command that asks a server, from `ROUNDS_TOKEN`.
#[allow(clippy::disallowed_methods, reason = "this is the file that reads the environment")]
pub(crate) fn token_from_process() -> Option<SecretString> {
    std::env::var("ROUNDS_TOKEN").ok().map(SecretString::from)
}

impl ServerSettings {
    /// Reads the settings of this process.
    ///
    /// # Errors
    /// The first variable with a value that cannot work.
    #[allow(clippy::disallowed_methods, reason = "this is the file that reads the environment")]
    pub fn from_process(overrides: Overrides) -> Result<Self, InvalidVariable> {
        vault::check_names(std::env::vars_os().map(|(name, _)| name))?;
        Self::read(&|name| std::env::var_os(name), overrides)
    }

    /// Reads the settings of an environment. A variable that is set to nothing counts as unset.
    ///
    /// # Errors
    /// The first variable with a value that cannot work.
    pub fn read(lookup: &dyn Fn(&str) -> Option<OsString>, overrides: Overrides) -> Result<Self, InvalidVariable> {
        let env = Env(lookup);
        let data_dir = match overrides.data_dir.or(env.path("ROUNDS_DATA_DIR")) {
            Some(dir) => std::path::absolute(&dir)
                .map_err(|error| invalid("ROUNDS_DATA_DIR", format!("{}: {error}", dir.display())))?,
            None => match env.path("HOME") {
                Some(home) => home.join(".rounds"),
                None => return Err(invalid("ROUNDS_DATA_DIR", "there is no HOME to put .rounds into: set it")),
            },
        };
        let default = rounds_core::Settings::default();
        let core = rounds_core::Settings {
            alert_evaluator: env.flag("ALERT_EVALUATOR_ENABLED", default.alert_evaluator)?,
            auto_investigation: env.flag("AUTO_INVESTIGATION_ENABLED", default.auto_investigation)?,
            evaluator_refresh: env.millis("ALERT_EVALUATOR_REFRESH_MS", default.evaluator_refresh)?,
            series_per_rule: spending::count(&env, "ROUNDS_SERIES_PER_RULE", 100, 10_000)?
                .try_into()
                .unwrap_or(default.series_per_rule),
            external_alert_stale: env.millis("ROUNDS_EXTERNAL_ALERT_STALE_MS", default.external_alert_stale)?,
            plan_approval_ttl: env.millis("PLAN_APPROVAL_TTL_MS", default.plan_approval_ttl)?,
            plan_expiry_sweep: env.millis("PLAN_EXPIRY_SWEEP_MS", default.plan_expiry_sweep)?,
            budget: spending::budget(&env)?,
            ..default
        };
        let mut child_env = BTreeMap::new();
        let further = env.list("ROUNDS_CHILD_ENV")?;
        for name in CHILD_ENV.into_iter().map(str::to_owned).chain(further) {
            if let Some(value) = env.text_of(&name) {
                child_env.insert(name, value);
            }
        }
        let log_json = match env.text("ROUNDS_LOG_FORMAT")?.as_deref() {
            None | Some("text") => false,
            Some("json") => true,
            Some(found) => {
                return Err(invalid("ROUNDS_LOG_FORMAT", format!("found `{found}`; text and json are accepted")));
            }
        };
        Ok(Self {
            listen: match overrides.listen {
                Some(listen) => listen,
                None => env.text("ROUNDS_LISTEN")?.unwrap_or_else(|| "127.0.0.1:3000".into()),
            },
            database_url: match env.text("DATABASE_URL")? {
                Some(url) => url.into(),
                None => format!("sqlite://{}", data_dir.join("rounds.db").display()).into(),
            },
            data_dir,
            secret_key: env.secret("ROUNDS_SECRET_KEY")?,
            core,
            investigator: spending::investigator(&env)?,
            pinned_token: env.secret("AUTO_INVESTIGATION_SA_TOKEN")?,
            seed_admin: seed_admin(&env)?,
            kubectl: env.path("KUBECTL"),
            path: lookup("PATH").unwrap_or_default(),
            child_env,
            allowances: env.list("ROUNDS_ALLOW")?.into_iter().collect(),
            in_cluster: in_cluster(&env)?,
            oidc: oidc::read(&env)?,
            sessions: SessionLimits {
                // Uses are written down once a minute: less than a few of those would end sessions that are used.
                lifetime: env.millis_from(300_000, "ROUNDS_SESSION_LIFETIME_MS", SessionLimits::default().lifetime)?,
                idle: env.millis_from(300_000, "ROUNDS_SESSION_IDLE_MS", SessionLimits::default().idle)?,
            },
            answer_within: env.millis_from(1000, "ROUNDS_REQUEST_TIMEOUT_MS", HttpSettings::default().answer_within)?,
            outbound: outbound(&env)?,
            public_url: public_url(&env)?,
            trust_proxy: env.flag("ROUNDS_TRUST_PROXY", false)?,
            secret_env_prefix: env.text("ROUNDS_SECRET_ENV_PREFIX")?.unwrap_or_default(),
            secret_dirs: match env.path("ROUNDS_SECRET_DIRS") {
                Some(dirs) => std::env::split_paths(&dirs).collect(),
                None => vec![PathBuf::from("/")],
            },
            vault: vault::read(&env)?,
            log_filter: env.text("ROUNDS_LOG")?.unwrap_or_else(|| "info".into()),
            log_json,
        })
    }

    /// The file of the database, when it is one.
    #[must_use]
    pub fn database_path(&self) -> Option<PathBuf> {
        let path = self.database_url.strip_prefix("sqlite://").or(self.database_url.strip_prefix("sqlite:"))?;
        Some(PathBuf::from(path.split('?').next().unwrap_or(path)))
    }

    /// The directory of the database, where the generated key is too.
    #[must_use]
    pub fn database_dir(&self) -> PathBuf {
        let Some(path) = self.database_path() else { return self.data_dir.clone() };
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// A variable for a connector's `env://` reference.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the file that reads the environment")]
    pub fn connector_variable(name: &str) -> Option<SecretString> {
        if OWN_SECRETS.contains(&name) {
            return None;
        }
        std::env::var(name).ok().map(SecretString::from)
    }
}

fn outbound(env: &Env<'_>) -> Result<Outbound, InvalidVariable> {
    const NAME: &str = "ROUNDS_OUTBOUND_ALLOW";
    env.text(NAME)?.unwrap_or_default().parse().map_err(|error| invalid(NAME, format!("{error}")))
}

/// As the kubelet sets it up: <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>.
fn in_cluster(env: &Env<'_>) -> Result<Option<InCluster>, InvalidVariable> {
    const HOST: &str = "KUBERNETES_SERVICE_HOST";
    const DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    let (Some(host), Some(port)) = (env.text(HOST)?, env.text("KUBERNETES_SERVICE_PORT")?) else { return Ok(None) };
    let host = host.trim();
    let server = if host.contains(':') { format!("https://[{host}]:{port}") } else { format!("https://{host}:{port}") };
    let plain = url::Url::parse(&server).is_ok_and(|url| {
        url.path() == "/" && url.username().is_empty() && url.query().is_none() && url.fragment().is_none()
    });
    if !plain {
        let found = format!("{host} and KUBERNETES_SERVICE_PORT={port}");
        return Err(invalid(HOST, format!("found {found}; an address or a name, and a port, are accepted")));
    }
    let file = |name: &str| PathBuf::from(DIR).join(name);
    Ok(Some(InCluster { server, token_file: file("token"), ca_file: file("ca.crt") }))
}

fn public_url(env: &Env<'_>) -> Result<Option<String>, InvalidVariable> {
    const NAME: &str = "ROUNDS_PUBLIC_URL";
    let Some(text) = env.text(NAME)? else { return Ok(None) };
    let url = url::Url::parse(text.trim()).ok().filter(|url| {
        let plain = url.username().is_empty() && url.password().is_none();
        matches!(url.scheme(), "http" | "https") && plain && url.query().is_none() && url.fragment().is_none()
    });
    // What was found may hold a password, so it is not repeated.
    let url = url.ok_or_else(|| invalid(NAME, "an address such as https://rounds.example.com is accepted"))?;
    Ok(Some(url.as_str().trim_end_matches('/').to_owned()))
}

fn seed_admin(env: &Env<'_>) -> Result<Option<SeedAdmin>, InvalidVariable> {
    let (email, login) = (env.text("SEED_ADMIN_EMAIL")?, env.text("SEED_ADMIN_LOGIN")?);
    let name = env.text("SEED_ADMIN_NAME")?;
    match env.secret("SEED_ADMIN_PASSWORD")? {
        Some(password) => Ok(Some(SeedAdmin { login: login.unwrap_or_else(|| "admin".into()), email, name, password })),
        None if email.is_some() || login.is_some() || name.is_some() => {
            Err(invalid("SEED_ADMIN_PASSWORD", "it is not set, and the other SEED_ADMIN_ variables are: set it too"))
        }
        None => Ok(None),
    }
}

struct Env<'a>(&'a dyn Fn(&str) -> Option<OsString>);

impl Env<'_> {
    fn path(&self, name: &str) -> Option<PathBuf> {
        (self.0)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    fn text_of(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())?.into_string().ok()
    }

    fn text(&self, name: &'static str) -> Result<Option<String>, InvalidVariable> {
        match (self.0)(name).filter(|value| !value.is_empty()) {
            Some(value) => match value.into_string() {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(invalid(name, "found bytes that are no UTF-8; text is accepted")),
            },
            None => Ok(None),
        }
    }

    fn secret(&self, name: &'static str) -> Result<Option<SecretString>, InvalidVariable> {
        Ok(self.text(name)?.map(SecretString::from))
    }

    fn list(&self, name: &'static str) -> Result<Vec<String>, InvalidVariable> {
        let text = self.text(name)?.unwrap_or_default();
        Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
    }

    fn flag(&self, name: &'static str, default: bool) -> Result<bool, InvalidVariable> {
        let Some(text) = self.text(name)? else { return Ok(default) };
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(invalid(name, format!("found `{text}`; true, false, 1, 0, yes, no, on and off are accepted"))),
        }
    }

    fn millis(&self, name: &'static str, default: Duration) -> Result<Duration, InvalidVariable> {
        self.millis_from(10, name, default)
    }

    fn millis_from(&self, least: u64, name: &'static str, default: Duration) -> Result<Duration, InvalidVariable> {
        /// A year and a day, as core's own check.
        const MAX: u64 = 366 * 86_400_000;
        let Some(text) = self.text(name)? else { return Ok(default) };
        // The product's own page writes 86_400_000.
        match text.trim().replace('_', "").parse::<u64>() {
            Ok(found) if (least..=MAX).contains(&found) => Ok(Duration::from_millis(found)),
            _ => Err(invalid(name, format!("found `{text}`; {least} to {MAX} milliseconds are accepted"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn read(variables: &[(&str, &str)]) -> Result<ServerSettings, InvalidVariable> {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        let lookup = |name: &str| match name {
            "HOME" => Some(OsString::from("/home/ada")),
            name => variables.get(name).map(OsString::from),
        };
        ServerSettings::read(&lookup, Overrides::default())
    }

    #[test]
    fn the_defaults_are_those_of_the_table() {
        let settings = read(&[("ROUNDS_LOG", "")]).unwrap();
        assert_eq!(settings.core, rounds_core::Settings::default());
        assert_eq!(settings.listen, "127.0.0.1:3000");
        assert_eq!(&*settings.database_url, "sqlite:///home/ada/.rounds/rounds.db");
        assert_eq!(settings.database_dir(), PathBuf::from("/home/ada/.rounds"));
        assert!(settings.seed_admin.is_none() && settings.pinned_token.is_none());
    }

    #[test]
    fn a_pod_knows_its_cluster_by_two_variables() {
        let server = |host, port| {
            let settings = read(&[("KUBERNETES_SERVICE_HOST", host), ("KUBERNETES_SERVICE_PORT", port)])?;
            Ok::<_, InvalidVariable>(settings.in_cluster.map(|found| found.server))
        };
        assert_eq!(server("10.96.0.1", "443").unwrap().as_deref(), Some("https://10.96.0.1:443"));
        assert_eq!(server("fd00::1", "6443").unwrap().as_deref(), Some("https://[fd00::1]:6443"));
        assert_eq!(server("10.96.0.1", "").unwrap(), None);
        for (host, port) in [("me@evil", "443"), ("10.96.0.1", "tcp"), ("a/b", "443"), ("a?b", "1")] {
            let error = server(host, port).unwrap_err().to_string();
            assert!(error.contains("KUBERNETES_SERVICE_HOST") && error.contains("are accepted"), "{error}");
        }
    }

    #[test]
    fn a_wrong_value_says_what_was_found_and_what_is_accepted() {
        let error = |name, value| read(&[(name, value)]).unwrap_err().to_string();
        let flag = error("AUTO_INVESTIGATION_ENABLED", "maybe");
        assert_eq!(
            flag,
            "AUTO_INVESTIGATION_ENABLED: found `maybe`; true, false, 1, 0, yes, no, on and off are accepted"
        );
        assert!(error("PLAN_APPROVAL_TTL_MS", "1h").contains("found `1h`"));
        assert!(error("PLAN_EXPIRY_SWEEP_MS", "0").contains("10 to"));
        assert!(error("ROUNDS_SESSION_IDLE_MS", "1000").contains("300000 to"));
        assert!(error("ROUNDS_LOG_FORMAT", "xml").contains("text and json"));
        assert!(error("SEED_ADMIN_LOGIN", "ada").contains("set it too"));
        assert!(error("SEED_ADMIN_NAME", "Ada").contains("set it too"));
    }

    #[test]
    fn where_connectors_may_call_and_where_people_reach_the_pages_is_checked_at_start() {
        let settings = read(&[("ROUNDS_OUTBOUND_ALLOW", "private, loopback"), ("ROUNDS_PUBLIC_URL", "https://r.x/a/")]);
        let settings = settings.unwrap();
        assert_eq!(settings.outbound, "private,loopback".parse().unwrap());
        assert_eq!(settings.public_url.as_deref(), Some("https://r.x/a"));
        assert_eq!(read(&[]).unwrap().outbound, Outbound::default());
        let error = read(&[("ROUNDS_OUTBOUND_ALLOW", "10.0.0.0/40")]).unwrap_err().to_string();
        assert!(error.contains("10.0.0.0/40") && error.contains("10.0.0.0/8"), "{error}");
        for wrong in ["rounds.example.com", "ftp://x", "https://me:hunter2@x", "https://x/?a"] {
            let error = read(&[("ROUNDS_PUBLIC_URL", wrong)]).unwrap_err().to_string();
            assert!(error.contains("https://rounds.example.com") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn flags_and_times_are_read_as_people_write_them() {
        let settings = read(&[
            ("ALERT_EVALUATOR_ENABLED", "0"),
            ("AUTO_INVESTIGATION_ENABLED", "False"),
            ("PLAN_APPROVAL_TTL_MS", "86_400_000"),
        ])
        .unwrap();
        assert!(!settings.core.alert_evaluator && !settings.core.auto_investigation);
        assert_eq!(settings.core.plan_approval_ttl, Duration::from_secs(86_400));
    }

    #[test]
    fn rule_12_debug_of_the_settings_shows_no_secret() {
        let settings = read(&[
            ("ROUNDS_SECRET_KEY", "hunter2"),
            ("SEED_ADMIN_PASSWORD", "hunter2"),
            ("AUTO_INVESTIGATION_SA_TOKEN", "hunter2"),
        ]);
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
