//! What every handler holds.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use rounds_core::{PrincipalId, Rounds, Running};
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::auth::{LoginLimiter, Throttle};

/// Everything that handlers share. Cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

/// The parts of an [`AppState`].
pub struct Inner {
    /// What can be decided and read.
    pub rounds: Rounds,
    /// The services, for their health. Never started ones are not ready.
    pub running: Running,
    /// Users, sessions, teams, service accounts, tokens and grants.
    pub accounts: Accounts,
    /// The seeded service account that investigations run as.
    pub agent: PrincipalId,
    /// How the HTTP side behaves.
    pub http: HttpSettings,
    /// Who failed to sign in lately.
    pub logins: LoginLimiter,
    /// The provider that people sign in with, too.
    #[cfg(feature = "oidc")]
    pub oidc: Option<crate::oidc::Oidc>,
    /// Requests with bearer tokens that are none, by address.
    pub dead_tokens: Throttle<IpAddr>,
    /// Who sent what is not proved to come from where it says, such as a click in Slack. Counted apart from sign-ins: rubbish
    /// sent there neither uses up anybody's tries nor makes them forgotten.
    pub unproved: Throttle<IpAddr>,
    /// Renders `/metrics`; absent when another recorder was there first.
    pub metrics: Option<PrometheusHandle>,
    /// Cancelled when the server stops: open streams end then.
    pub stop: CancellationToken,
}

/// How the HTTP side behaves.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Whether `X-Forwarded-Proto` and `X-Forwarded-For` are believed: only behind a proxy that sets them.
    pub trust_proxy: bool,
    /// Where people reach the pages, when the operator said so.
    pub public_url: Option<String>,
    /// How long an answer may take to begin. What a client asked to wait for (`?wait=`) comes on top.
    pub answer_within: Duration,
    /// How long a body may take to arrive.
    pub body_within: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            trust_proxy: false,
            public_url: None,
            answer_within: Duration::from_secs(180),
            body_within: Duration::from_secs(30),
        }
    }
}

impl AppState {
    /// A state of these parts.
    #[must_use]
    pub fn new(parts: Inner) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for AppState {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}
