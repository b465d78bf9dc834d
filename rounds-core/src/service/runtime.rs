//! `Rounds`: the services assembled, started and stopped.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use secrecy::SecretString;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::guard::panic_text;
use super::live::LiveConnectors;
use super::metered::Metered;
use super::shared::Shared;
use super::{
    Alerts, Approvals, AuditLog, Backlog, Changes, Channels, Connectors, DeadLetters, Investigations, Plans, Recipient,
};
use super::{dead_letters, dispatcher, evaluator, executor, feed, outbox, sink, sweeper, verifier};
use crate::id::OrgId;
use crate::plugin::{Host, Registry};
use crate::ports::{
    Authorizer, Clock, Event, EventSink, Identity, Investigator, Rbac, SecretResolver, Store, SystemClock,
};
use crate::settings::{InvalidSetting, Settings};

/// The background services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ServiceName {
    /// Evaluates alert rules.
    Evaluator,
    /// Runs investigations.
    Dispatcher,
    /// Runs approved plans.
    Executor,
    /// Expires plans.
    Sweeper,
    /// Watches alerts after a plan.
    Verifier,
    /// Delivers notices.
    Outbox,
    /// Passes events on.
    Feed,
}

impl ServiceName {
    /// Every service.
    pub const ALL: [Self; 7] =
        [Self::Evaluator, Self::Dispatcher, Self::Executor, Self::Sweeper, Self::Verifier, Self::Outbox, Self::Feed];
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evaluator => "evaluator",
            Self::Dispatcher => "dispatcher",
            Self::Executor => "executor",
            Self::Sweeper => "sweeper",
            Self::Verifier => "verifier",
            Self::Outbox => "outbox",
            Self::Feed => "feed",
        })
    }
}

/// Assembles a [`Rounds`]. A store and an identity are needed; everything else has a default.
pub struct Builder {
    store: Arc<dyn Store>,
    identity: Arc<dyn Identity>,
    clock: Arc<dyn Clock>,
    authorizer: Arc<dyn Authorizer>,
    registry: Registry,
    host: Host,
    resolvers: Vec<Arc<dyn SecretResolver>>,
    investigator: Option<Arc<dyn Investigator>>,
    sinks: Vec<Arc<dyn EventSink>>,
    settings: Settings,
    pinned_token: Option<SecretString>,
    org: OrgId,
    without: Vec<ServiceName>,
    #[cfg(test)]
    mutation: Option<crate::simulation::Mutation>,
}

impl Builder {
    /// The connectors it knows.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// What the operator offers to connectors.
    #[must_use]
    pub fn host(mut self, host: Host) -> Self {
        self.host = host;
        self
    }

    /// Another way to resolve secret references.
    #[must_use]
    pub fn secret_resolver(mut self, resolver: Arc<dyn SecretResolver>) -> Self {
        self.resolvers.push(resolver);
        self
    }

    /// Who finds causes. Without one nothing is investigated.
    #[must_use]
    pub fn investigator(mut self, investigator: Arc<dyn Investigator>) -> Self {
        self.investigator = Some(investigator);
        self
    }

    /// Who decides access; by default roles and grants.
    #[must_use]
    pub fn authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.authorizer = authorizer;
        self
    }

    /// The time; by default the machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Somebody who is given every event, at least once and in order: see [`EventSink`].
    #[must_use]
    pub fn event_sink(mut self, sink: Arc<dyn EventSink>) -> Self {
        self.sinks.push(sink);
        self
    }

    /// How the services behave.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// The one token that investigations run with, instead of the newest live one of the service account.
    #[must_use]
    pub fn pinned_investigation_token(mut self, token: SecretString) -> Self {
        self.pinned_token = Some(token);
        self
    }

    /// The organisation whose events are passed on to sinks and subscribers; `main` by default.
    #[must_use]
    pub fn org(mut self, org: OrgId) -> Self {
        self.org = org;
        self
    }

    /// Leaves a service out: this process does not do that part.
    #[must_use]
    pub fn without(mut self, service: ServiceName) -> Self {
        self.without.push(service);
        self
    }

    /// Breaks a rule on purpose.
    #[cfg(test)]
    pub(crate) fn mutation(mut self, mutation: Option<crate::simulation::Mutation>) -> Self {
        self.mutation = mutation;
        self
    }

    /// Assembles it. Nothing runs before [`Rounds::start`].
    ///
    /// # Errors
    /// A setting cannot work, or a sink has no name of its own.
    pub fn build(self) -> Result<Rounds, InvalidSetting> {
        self.settings.validate()?;
        sink::check_names(&self.sinks)?;
        let shared = Arc::new_cyclic(|shared| Shared {
            store: Arc::new(Metered(self.store)),
            clock: Arc::clone(&self.clock),
            authorizer: self.authorizer,
            identity: self.identity,
            investigator: self.investigator,
            sinks: self.sinks,
            live: LiveConnectors::new(self.registry, Arc::new(self.host), self.resolvers, shared.clone(), self.clock),
            settings: self.settings,
            pinned_token: self.pinned_token,
            org: self.org,
            #[cfg(test)]
            mutation: self.mutation,
        });
        Ok(Rounds { shared, events: broadcast::Sender::new(1024), without: self.without.into() })
    }
}

/// Everything that can be done with Rounds. Cheap to clone; several clones are one thing.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use rounds_core::access::{Action, OrgRole, Principal, Scope};
/// use rounds_core::investigation::Proposal;
/// use rounds_core::plugin::{Registration, Registry};
/// use rounds_core::ports::SoleAgent;
/// use rounds_core::service::{Approval, ConnectorDraft};
/// use rounds_core::step::StepSpec;
/// use rounds_core::testing::{FakeAdapter, MemoryStore};
/// use rounds_core::{OrgId, Rounds};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = FakeAdapter::default();
/// let registry = Registry::new([Registration::execution("cluster", "A cluster", Arc::new(cluster.clone()))])?;
/// let agent = SoleAgent::new(Principal::agent(OrgId::default(), "agent"));
/// let rounds = Rounds::builder(Arc::new(MemoryStore::new()), Arc::new(agent)).registry(registry).build()?;
/// let running = rounds.start();
///
/// let ada = Principal::user(OrgId::default(), "ada", OrgRole::Admin)
///     .with_grant(Action::PlansAutoEdit, Scope::plan_namespace("app"));
/// let id = rounds.connectors().ensure(&ada, ConnectorDraft::new("cluster", "prod")).await?.id;
/// let proposal = Proposal::new("Restart what hangs").step(id, StepSpec::command(["restart", "app/web"]));
/// let plan = rounds.plans().propose(&ada, proposal).await?.plan;
/// assert!(cluster.executed().is_empty(), "nothing runs that nobody approved");
///
/// rounds.plans().approve(&ada, plan.id, &Approval::of(&plan).with_auto_edit()).await?;
/// rounds.plans().wait(&ada, plan.id, Duration::from_secs(10)).await?;
/// assert_eq!(cluster.executed(), ["fake restart app/web"]);
/// running.shutdown(Duration::from_secs(5)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Rounds {
    shared: Arc<Shared>,
    events: broadcast::Sender<Event>,
    without: Arc<[ServiceName]>,
}

impl Rounds {
    /// Starts assembling.
    pub fn builder(store: Arc<dyn Store>, identity: Arc<dyn Identity>) -> Builder {
        Builder {
            store,
            identity,
            clock: Arc::new(SystemClock),
            authorizer: Arc::new(Rbac),
            registry: Registry::default(),
            host: Host::default(),
            resolvers: Vec::new(),
            investigator: None,
            sinks: Vec::new(),
            settings: Settings::default(),
            pinned_token: None,
            org: OrgId::default(),
            without: Vec::new(),
            #[cfg(test)]
            mutation: None,
        }
    }

    /// Plans: propose, read, decide.
    #[must_use]
    pub fn plans(&self) -> Plans<'_> {
        Plans { shared: &self.shared }
    }

    /// Approval requests.
    #[must_use]
    pub fn approvals(&self) -> Approvals<'_> {
        Approvals { shared: &self.shared }
    }

    /// What changed outside of Rounds, as pipelines and people tell it.
    #[must_use]
    pub fn changes(&self) -> Changes<'_> {
        Changes { shared: &self.shared }
    }

    /// Answers from channels.
    #[must_use]
    pub fn channels(&self) -> Channels<'_> {
        Channels { shared: &self.shared }
    }

    /// Alert rules.
    #[must_use]
    pub fn alerts(&self) -> Alerts<'_> {
        Alerts { shared: &self.shared }
    }

    /// Investigations.
    #[must_use]
    pub fn investigations(&self) -> Investigations<'_> {
        Investigations { shared: &self.shared }
    }

    /// Connectors.
    #[must_use]
    pub fn connectors(&self) -> Connectors<'_> {
        Connectors { shared: &self.shared }
    }

    /// What could not be delivered to a channel or a sink.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters<'_> {
        DeadLetters { shared: &self.shared }
    }

    /// The audit log.
    #[must_use]
    pub fn audit(&self) -> AuditLog<'_> {
        AuditLog { shared: &self.shared }
    }

    /// The store, for front ends that read beside the facades.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// Who decides access, for front ends with actions of their own.
    ///
    /// # Errors
    /// The principal lacks the action on one of the scopes.
    pub async fn authorize(
        &self,
        who: &crate::access::Principal,
        action: crate::access::Action,
        scopes: &[crate::access::Scope],
    ) -> Result<(), crate::access::Denied> {
        self.shared.authorize(who, action, scopes).await
    }

    /// How the services behave.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The time, as the services see it.
    #[must_use]
    pub fn now(&self) -> crate::Timestamp {
        self.shared.now()
    }

    /// Hears of every event from now on, while the feed of this process runs. A slow receiver misses some and is told so;
    /// the store has them all, and an [`EventSink`] is given them all.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// The number of an organisation's newest event; 0 before there is any. Whoever subscribes first and reads this
    /// then knows from where on nothing is missed.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn last_event(&self, org: &OrgId) -> Result<u64, super::error::Error> {
        feed::last(&self.shared, org).await
    }

    /// How much waits for each notification channel and each sink, under `None` what is not routed yet: for metrics, and
    /// so without a principal. Counted from the oldest 10,000 records of each kind; the store's
    /// [`count`](Store::count) is exact.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn backlog(&self, org: &OrgId) -> Result<BTreeMap<Option<Recipient>, Backlog>, super::error::Error> {
        dead_letters::backlog(&self.shared, org).await
    }

    /// Starts the services on the current tokio runtime. They run until [`Running::shutdown`], whether or not this and what
    /// it answers are dropped; started twice, two of each share the work by leases, as two processes would.
    #[must_use]
    pub fn start(&self) -> Running {
        let stop = CancellationToken::new();
        let mut services = BTreeMap::new();
        for name in ServiceName::ALL {
            if self.without.contains(&name) {
                continue;
            }
            if let Some(task) = self.service(name, &stop) {
                services.insert(name, task);
            }
        }
        Running { stop, services: Arc::new(Mutex::new(services)), ended: Arc::default() }
    }

    fn service(&self, name: ServiceName, stop: &CancellationToken) -> Option<JoinHandle<()>> {
        let (shared, stop) = (Arc::clone(&self.shared), stop.clone());
        Some(match name {
            ServiceName::Evaluator => {
                if !shared.settings.alert_evaluator {
                    tracing::info!("alert evaluator NOT started: ALERT_EVALUATOR_ENABLED=false");
                    return None;
                }
                tokio::spawn(evaluator::run(shared, stop))
            }
            ServiceName::Dispatcher => {
                // Operators search for these words.
                if !shared.settings.auto_investigation {
                    tracing::warn!("auto-investigation dispatcher NOT started: AUTO_INVESTIGATION_ENABLED=false");
                }
                let Some(investigator) = shared.investigator.clone() else {
                    tracing::warn!("auto-investigation dispatcher NOT started: no investigator was configured");
                    return None;
                };
                // Switched off, it still serves what a person asks for: no firing alert is queued.
                tokio::spawn(dispatcher::run(shared, investigator, stop))
            }
            ServiceName::Executor => tokio::spawn(executor::run(shared, stop)),
            ServiceName::Sweeper => tokio::spawn(sweeper::run(shared, stop)),
            ServiceName::Verifier => tokio::spawn(verifier::run(shared, stop)),
            ServiceName::Outbox => tokio::spawn(outbox::run(shared, stop)),
            ServiceName::Feed => tokio::spawn(feed::run(shared, self.events.clone(), stop)),
        })
    }
}

/// How one service is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceHealth {
    /// It runs.
    Running,
    /// It ended, as it was asked to.
    Stopped,
    /// It was asked to end, did not within the time it was given, and was ended in the middle: the next start takes up
    /// what it had in hand, when its leases are over.
    CutOff,
    /// It panicked: this is a fault of Rounds, and the process should be restarted.
    Panicked(String),
}

/// How the services are.
pub type Health = BTreeMap<ServiceName, ServiceHealth>;

/// The running services. Dropping it does not stop them: [`shutdown`](Self::shutdown) does.
#[derive(Clone)]
pub struct Running {
    stop: CancellationToken,
    services: Arc<Mutex<BTreeMap<ServiceName, JoinHandle<()>>>>,
    ended: Arc<Mutex<Health>>,
}

impl Running {
    /// How each started service is.
    #[must_use]
    pub fn health(&self) -> Health {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let mut health = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        services.retain(|name, task| match task.now_or_never() {
            None => true,
            Some(ended) => {
                // A service ends only when it is stopped, or by a panic.
                let state = match ended {
                    Err(error) => ServiceHealth::Panicked(ended_by(error)),
                    Ok(()) if self.stop.is_cancelled() => ServiceHealth::Stopped,
                    Ok(()) => ServiceHealth::Panicked("it ended without being asked to".into()),
                };
                health.insert(*name, state);
                false
            }
        });
        let running = services.keys().map(|name| (*name, ServiceHealth::Running));
        health.iter().map(|(name, state)| (*name, state.clone())).chain(running).collect()
    }

    /// Asks every service to stop and waits, at most until the deadline. A running step is seen to its end within
    /// it; what is left over is recovered at the next start, and its service is [`CutOff`](ServiceHealth::CutOff). A step
    /// that was cut off is not killed: its effect has a task of its own, which lives until the step's time limit, for as
    /// long as the runtime does.
    pub async fn shutdown(&self, deadline: Duration) -> Health {
        self.stop.cancel();
        let services = std::mem::take(&mut *self.services.lock().unwrap_or_else(PoisonError::into_inner));
        let until = tokio::time::Instant::now() + deadline;
        for (name, mut task) in services {
            let health = match tokio::time::timeout_at(until, &mut task).await {
                Ok(Ok(())) => ServiceHealth::Stopped,
                Ok(Err(error)) => ServiceHealth::Panicked(ended_by(error)),
                Err(_) => {
                    tracing::warn!(service = %name, "the service did not stop in time");
                    task.abort();
                    ServiceHealth::CutOff
                }
            };
            self.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(name, health);
        }
        self.health()
    }

    /// Waits until a service ends without being asked to, which is a panic, or until [`shutdown`](Self::shutdown)
    /// is called.
    pub async fn join(&self) -> Health {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return self.health(),
                () = tokio::time::sleep(Duration::from_millis(250)) => {
                    let health = self.health();
                    if health.values().any(|state| matches!(state, ServiceHealth::Panicked(_))) {
                        return health;
                    }
                }
            }
        }
    }
}

fn ended_by(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => panic_text(panic.as_ref()).to_owned(),
        Err(error) => error.to_string(),
    }
}
