use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;
use serde_json::Value;

use super::Outbound;
use crate::connector::Role;
use crate::id::ConnectorId;
use crate::ports::{Datasource, ExecutionAdapter, Model, Notifier, OwnRules, SecretHandle};

/// Whether a connector has a secret, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretUse {
    /// It has none.
    None,
    /// It may have one; the text says what it is.
    Optional(&'static str),
    /// It cannot work without one; the text says what it is.
    Required(&'static str),
}

/// What was built: the port behind an `Arc`.
#[derive(Clone)]
#[non_exhaustive]
pub enum Built {
    /// An execution adapter.
    Execution(Arc<dyn ExecutionAdapter>),
    /// A datasource.
    Datasource(Arc<dyn Datasource>),
    /// A notifier.
    Notifier(Arc<dyn Notifier>),
    /// A language model.
    Model(Arc<dyn Model>),
}

impl fmt::Debug for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Execution(_) => "Built::Execution",
            Self::Datasource(_) => "Built::Datasource",
            Self::Notifier(_) => "Built::Notifier",
            Self::Model(_) => "Built::Model",
        })
    }
}

/// Why a connector could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The config does not fit the connector's schema.
    #[error("the config does not fit: {message}")]
    Config {
        /// What was found and what would be accepted.
        message: String,
    },
    /// Something it needs on this host is missing.
    #[error("{message}")]
    Host {
        /// What was looked for, where, and how to provide it.
        message: String,
    },
}

impl BuildError {
    /// The config does not fit.
    pub fn config(message: impl Into<String>) -> Self {
        Self::Config { message: message.into() }
    }

    /// The host lacks something.
    pub fn host(message: impl Into<String>) -> Self {
        Self::Host { message: message.into() }
    }
}

/// What the operator of the server offers to all connectors. A connector's own config cannot widen it.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// A directory of this process for short-lived files; `None`: the system's temporary directory.
    pub run_dir: Option<PathBuf>,
    /// Programs by name, as absolute paths: `kubectl`.
    pub programs: BTreeMap<String, PathBuf>,
    /// Environment variables that child processes receive: proxies, CA bundles.
    pub child_env: BTreeMap<String, String>,
    /// Powers that connectors do not have by default, granted per connector name: `prod:kubeconfig-exec`.
    pub allowances: BTreeSet<String>,
    /// Which addresses connectors may call beyond public ones. Default: none. A connector that opens connections of its
    /// own asks [`Outbound::check`] about each address it is about to connect to.
    pub outbound: Outbound,
    /// Where people reach the pages, such as `https://rounds.example.com`, without a slash at its end; `None`: messages
    /// carry no link.
    pub public_url: Option<String>,
    /// The Kubernetes identity of this process itself, when it runs in a pod. It is the operator's to lend: a connector
    /// uses it only with the power `in-cluster`.
    pub in_cluster: Option<InCluster>,
}

/// What the kubelet gives a pod to call its own cluster with. The files are read anew at each use, since the kubelet
/// replaces them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InCluster {
    /// The address of the API server, such as `https://10.96.0.1:443`.
    pub server: String,
    /// The file with the service account's token.
    pub token_file: PathBuf,
    /// The file with the certificates, in PEM, that the API server is verified by.
    pub ca_file: PathBuf,
}

impl Host {
    /// Whether the operator granted a power to the connector of that name.
    #[must_use]
    pub fn allows(&self, connector: &str, power: &str) -> bool {
        self.allowances.contains(&format!("{connector}:{power}"))
    }

    /// The address of a page, for somebody outside: `/plans/018f…` → `https://rounds.example.com/plans/018f…`.
    #[must_use]
    pub fn link(&self, path: &str) -> Option<String> {
        let base = self.public_url.as_deref()?.trim_end_matches('/');
        path.starts_with('/').then(|| format!("{base}{path}"))
    }
}

/// What a connector is built from, beside its config.
#[derive(Clone)]
#[non_exhaustive]
pub struct BuildContext {
    /// The connector's id.
    pub id: ConnectorId,
    /// The name an operator gave it.
    pub name: String,
    /// Its secret, resolved at each use.
    pub secret: SecretHandle,
    /// What the operator of the server offers.
    pub host: Arc<Host>,
    /// The alert rules of the organisation that the connector belongs to; `None` when it is only checked, or built by hand.
    pub rules: Option<Arc<dyn OwnRules>>,
}

impl fmt::Debug for BuildContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildContext")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("secret", &self.secret)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl BuildContext {
    /// A context for building by hand: tests, static setups.
    #[must_use]
    pub fn new(name: &str, secret: SecretHandle, host: Arc<Host>) -> Self {
        Self { id: ConnectorId::new(), name: name.into(), secret, host, rules: None }
    }

    /// The same context with the alert rules of its organisation.
    #[must_use]
    pub fn with_rules(mut self, rules: Arc<dyn OwnRules>) -> Self {
        self.rules = Some(rules);
        self
    }

    /// The same context for a connector that already has an id.
    #[must_use]
    pub fn with_id(mut self, id: ConnectorId) -> Self {
        self.id = id;
        self
    }
}

/// A kind of connector. Made by [`registration!`](crate::registration); linked by
/// [`register_connector!`](crate::register_connector); or from an instance that is there: [`execution`](Self::execution) and its siblings.
#[derive(Debug, Clone)]
pub struct Registration {
    kind: &'static str,
    title: &'static str,
    role: Role,
    secret: SecretUse,
    check_secret: Option<SecretCheck>,
    make: Make,
}

/// Looks at a secret that an operator hands in, and says what is wrong with it. Pure: it reaches nothing.
pub type SecretCheck = fn(&BuildContext, &SecretString) -> Result<(), BuildError>;

#[derive(Debug, Clone)]
enum Make {
    FromConfig { schema: fn() -> Value, build: fn(BuildContext, Value) -> Result<Built, BuildError> },
    Ready(Built),
}

impl Registration {
    #[doc(hidden)]
    #[must_use]
    pub const fn __new(
        kind: &'static str,
        title: &'static str,
        role: Role,
        secret: SecretUse,
        check_secret: Option<SecretCheck>,
        schema: fn() -> Value,
        build: fn(BuildContext, Value) -> Result<Built, BuildError>,
    ) -> Self {
        Self { kind, title, role, secret, check_secret, make: Make::FromConfig { schema, build } }
    }

    /// A kind with exactly one connector, which is there already: an embedder's own adapter, a fake in a test. Its
    /// config is the empty object.
    #[must_use]
    pub fn execution(kind: &'static str, title: &'static str, adapter: Arc<dyn ExecutionAdapter>) -> Self {
        Self::ready(kind, title, Built::Execution(adapter))
    }

    /// As [`execution`](Self::execution).
    #[must_use]
    pub fn datasource(kind: &'static str, title: &'static str, datasource: Arc<dyn Datasource>) -> Self {
        Self::ready(kind, title, Built::Datasource(datasource))
    }

    /// As [`execution`](Self::execution).
    #[must_use]
    pub fn notifier(kind: &'static str, title: &'static str, notifier: Arc<dyn Notifier>) -> Self {
        Self::ready(kind, title, Built::Notifier(notifier))
    }

    /// As [`execution`](Self::execution).
    #[must_use]
    pub fn model(kind: &'static str, title: &'static str, model: Arc<dyn Model>) -> Self {
        Self::ready(kind, title, Built::Model(model))
    }

    fn ready(kind: &'static str, title: &'static str, built: Built) -> Self {
        let role = match built {
            Built::Execution(_) => Role::Execution,
            Built::Datasource(_) => Role::Datasource,
            Built::Notifier(_) => Role::Notifier,
            Built::Model(_) => Role::Model,
        };
        Self {
            kind,
            title,
            role,
            secret: SecretUse::Optional("Not used."),
            check_secret: None,
            make: Make::Ready(built),
        }
    }

    /// The kind, as connectors name it: `kubernetes`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The title, for people.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// The port it implements.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether it has a secret.
    #[must_use]
    pub fn secret(&self) -> SecretUse {
        self.secret
    }

    /// The JSON Schema of its config; forms are made from it.
    #[must_use]
    pub fn schema(&self) -> Value {
        match &self.make {
            Make::FromConfig { schema, .. } => schema(),
            Make::Ready(_) => serde_json::json!({ "type": "object", "additionalProperties": false }),
        }
    }

    /// Looks at a secret before it is stored.
    ///
    /// # Errors
    /// The connector could not use it; the message says why and never quotes it.
    pub fn check_secret(&self, cx: &BuildContext, secret: &SecretString) -> Result<(), BuildError> {
        self.check_secret.map_or(Ok(()), |check| check(cx, secret))
    }

    /// Builds a connector: checks the config in full, and connects to nothing.
    ///
    /// # Errors
    /// The config has an unknown key or a wrong value, or the host lacks something.
    pub fn build(&self, cx: BuildContext, config: Value) -> Result<Built, BuildError> {
        match (&self.make, config) {
            (Make::FromConfig { build, .. }, config) => build(cx, config),
            (Make::Ready(built), Value::Null) => Ok(built.clone()),
            (Make::Ready(built), Value::Object(config)) if config.is_empty() => Ok(built.clone()),
            (Make::Ready(_), found) => Err(BuildError::config(format!("found {found}; {{}} is accepted"))),
        }
    }
}

/// A [`Registration`](crate::plugin::Registration) as a value, for tests and statically assembled servers:
///
/// ```
/// # use rounds_core::plugin::Registry;
/// # use rounds_core::testing::FakeAdapter;
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct Config {
///     /// The service manager's address.
///     address: String,
/// }
///
/// let units = rounds_core::registration! {
///     kind: "units",
///     title: "Service manager",
///     role: Execution,
///     secret: None,
///     config: Config,
///     build: |_cx, _config| Ok(FakeAdapter::default()),
/// };
/// let registry = Registry::new([units])?;
/// let error = registry.check("units", &serde_json::json!({ "adress": "x" })).unwrap_err();
/// assert!(error.to_string().contains("unknown field `adress`, expected `address`"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! registration {
    (
        kind: $kind:literal,
        title: $title:literal,
        role: $role:ident,
        secret: $secret:ident $(($secret_help:literal))?,
        config: $config:ty,
        build: $build:expr
        $(, check_secret: $check_secret:expr)? $(,)?
    ) => {
        $crate::plugin::Registration::__new(
            $kind,
            $title,
            $crate::connector::Role::$role,
            $crate::plugin::SecretUse::$secret $(($secret_help))?,
            {
                // The first of what there is: the check, when one is given.
                let checks: &[::std::option::Option<$crate::plugin::SecretCheck>] =
                    &[$(::std::option::Option::Some($check_secret),)? ::std::option::Option::None];
                checks[0]
            },
            {
                fn schema() -> $crate::plugin::__private::serde_json::Value {
                    $crate::plugin::__private::schemars::schema_for!($config).to_value()
                }
                schema
            },
            {
                fn build(
                    cx: $crate::plugin::BuildContext,
                    config: $crate::plugin::__private::serde_json::Value,
                ) -> ::std::result::Result<$crate::plugin::Built, $crate::plugin::BuildError> {
                    let config = $crate::plugin::__private::parse_config::<$config>(config)?;
                    // Its type is said, so that a closure need not say it.
                    let build: fn($crate::plugin::BuildContext, $config) -> ::std::result::Result<_, $crate::plugin::BuildError> =
                        $build;
                    let built = build(cx, config)?;
                    ::std::result::Result::Ok($crate::plugin::Built::$role(::std::sync::Arc::new(built)))
                }
                build
            },
        )
    };
}

/// Links a connector into every binary that names its crate. Takes what [`registration!`](crate::registration)
/// takes.
///
/// A crate that nothing names is dropped by the linker together with its registrations: a server writes
/// `use the_connector_crate as _;` and checks with [`Registry::require`](crate::plugin::Registry::require).
#[macro_export]
macro_rules! register_connector {
    ($($body:tt)*) => {
        $crate::plugin::__private::inventory::submit! { $crate::registration! { $($body)* } }
    };
}

inventory::collect!(Registration);
