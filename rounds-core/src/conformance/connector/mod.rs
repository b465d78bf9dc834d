//! What a connector must do, as checks: one suite for each role.
//!
//! The author of a connector says in a [`ConnectorSubject`] how it is configured and brings a server that speaks its
//! protocol faithfully and counts what is changed in it. The suite of its role does the rest:
//!
//! | role | subject | macro |
//! | --- | --- | --- |
//! | execution | [`AdapterSubject`] | [`adapter_conformance!`](crate::adapter_conformance) |
//! | datasource | [`DatasourceSubject`] | [`datasource_conformance!`](crate::datasource_conformance) |
//! | notifier | [`NotifierSubject`] | [`notifier_conformance!`](crate::notifier_conformance) |
//! | model | [`ModelSubject`] | [`model_conformance!`](crate::model_conformance) |
//! | (no role) | [`ResolverSubject`] | [`secret_resolver_conformance!`](crate::secret_resolver_conformance) |
//!
//! Each macro makes one test for each behaviour, named after its rule. Servers that no connector should have to meet
//! (silent, slow, endless, garbled, leading elsewhere) are the suite's own, on loopback. So is the secret: a word that the
//! suite makes up and then looks for in all that the connector says and logs.
//!
//! A behaviour that cannot be looked at because the subject brings no sample for it is skipped, with a line that says so. With
//! `strict:` before the subject nothing is skipped like that: the test fails, until the sample is there or
//! [`waived`](ConnectorSubject::waived) gives the reason in writing.
//!
//! The checks need tokio's real time and a runtime of their own, which the tests make. Deadlines are given to the connector and
//! generous bounds are kept around it; no check says how fast something must be.

mod adapter;
mod answered;
mod config;
mod datasource;
mod hostile;
mod logs;
mod model;
mod notifier;
mod proxy;
mod resolver;
mod secret;
mod secrets;
mod servers;
mod spy;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::connector::Role;
use crate::plugin::{BuildContext, BuildError, Built, Host, Outbound, Registration};
use crate::ports::{CallContext, CheckReport, PortError, PortErrorKind, SecretHandle};
use crate::step::StepError;

pub use adapter::{AdapterSubject, CHECKS as ADAPTER_CHECKS, Sample, hold_adapter};
pub use datasource::{CHECKS as DATASOURCE_CHECKS, DatasourceSubject, hold_datasource};
pub use model::{CHECKS as MODEL_CHECKS, ModelSubject, hold_model};
pub use notifier::{CHECKS as NOTIFIER_CHECKS, NotifierSubject, hold_notifier};
pub use resolver::{CHECKS as RESOLVER_CHECKS, Planted, ResolverSubject, hold_resolver};

use logs::Logs;
use servers::{Behaviour, Server};

/// A deadline that nothing is expected to reach.
const AMPLE: Duration = Duration::from_secs(60);

/// How a connector is configured.
#[derive(Clone)]
#[non_exhaustive]
pub struct Setup {
    /// The config, as an operator would write it.
    pub config: Value,
    /// The secret, as an operator would hand it in; `None`: the connector has none.
    pub secret: Option<String>,
}

impl Setup {
    /// A connector without a secret.
    #[must_use]
    pub fn new(config: Value) -> Self {
        Self { config, secret: None }
    }

    /// The same with a secret.
    #[must_use]
    pub fn with_secret(mut self, secret: impl Into<String>) -> Self {
        self.secret = Some(secret.into());
        self
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("secret", &self.secret.is_some()).finish_non_exhaustive()
    }
}

/// Whom messages were delivered to so far.
type Told = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// A faithful server, for as long as this lives.
pub struct Served {
    address: String,
    effects: Arc<dyn Fn() -> u64 + Send + Sync>,
    told: Option<Told>,
    _keep: Vec<Arc<Mutex<dyn std::any::Any + Send>>>,
}

impl Served {
    /// A server at an address such as `http://127.0.0.1:4321` (plain TCP, no TLS: a way to it is laid through the kit).
    /// `effects` says how many requests have changed something so far (of a notifier: messages delivered); one counts before
    /// it is answered. Dry-runs and reads do not.
    pub fn new(address: impl Into<String>, effects: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { address: address.into(), effects: Arc::new(effects), told: None, _keep: Vec::new() }
    }

    /// The same server, before a notifier that tells several one by one. `told` says whom messages were delivered to so far,
    /// each as often as that was, by the names of [`PortError::delivered`]; one is added before it is answered.
    #[must_use]
    pub fn telling(mut self, told: impl Fn() -> Vec<String> + Send + Sync + 'static) -> Self {
        self.told = Some(Arc::new(told));
        self
    }

    /// The same with what must live as long as the server does.
    #[must_use]
    pub fn keeping(mut self, keep: impl Send + 'static) -> Self {
        self._keep.push(Arc::new(Mutex::new(keep)));
        self
    }

    fn effects(&self) -> u64 {
        (self.effects)()
    }
}

/// A connector before the kit: what the suites of all roles need to know.
#[async_trait]
pub trait ConnectorSubject: Send + Sync + 'static {
    /// What is registered: `Registry::linked()?.get("units")?.clone()`.
    fn registration(&self) -> Registration;

    /// The connector for a server at `at` (`http://127.0.0.1:port`, from the kit or from [`serve`](Self::serve)).
    /// `secret` is letters and digits: put it where the credential goes, such as the token in a kubeconfig.
    fn connector(&self, at: &str, secret: &str) -> Setup;

    /// The config that the documentation shows, which must work as it stands: `serde_json::from_str(include_str!(…))`.
    fn documented(&self) -> Value;

    /// Starts a server that speaks the protocol as the real one does and accepts `secret`.
    async fn serve(&self, secret: &str) -> Served;

    /// What the operator of the server offers; more than loopback only if the connector needs it.
    fn host(&self) -> Host {
        Host { outbound: Outbound::loopback(), ..Host::default() }
    }

    /// How long a call is given where it must end by its deadline: enough to get as far as its request on a busy machine.
    fn deadline(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// How long after its deadline a call is taken for one that never ends. Checks fail by it, and wait for nothing else.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// What the answers of the protocol are; hostile servers say the same.
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    /// Bodies with which a server of the protocol says that it has nothing, such as `[]`; any other answer that says nothing is
    /// none.
    fn empty_answers(&self) -> &'static [&'static str] {
        &[]
    }

    /// What a server of the protocol says before it is asked, such as `220 mail ESMTP\r\n`.
    fn greeting(&self) -> &'static [u8] {
        b""
    }

    /// Whether a request (its whole text as it came) asks for an effect. The default goes by the HTTP method, where all but
    /// `GET`, `HEAD` and `OPTIONS` do.
    fn asks_for_an_effect(&self, request: &str) -> bool {
        !["GET ", "HEAD ", "OPTIONS "].iter().any(|method| request.starts_with(method))
    }

    /// Behaviours that this connector is not put through, each with the reason: `("name_of_the_test", "because …")`.
    fn waived(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
}

/// Why a check had nothing to look at.
#[derive(Debug)]
pub struct Skipped(String);

impl Skipped {
    fn for_want_of(what: &str) -> Self {
        Self(format!("the subject brings no {what}"))
    }
}

/// One check: its name and what it does with a subject.
pub type Check = (&'static str, fn(Bench) -> BoxFuture<'static, Result<(), Skipped>>);

/// A subject of a role.
#[derive(Clone)]
pub(crate) enum Subject {
    Adapter(Arc<dyn AdapterSubject>),
    Datasource(Arc<dyn DatasourceSubject>),
    Notifier(Arc<dyn NotifierSubject>),
    Model(Arc<dyn ModelSubject>),
    Resolver(Arc<dyn ResolverSubject>),
}

/// What a check works with. Made by the macros.
#[derive(Clone)]
pub struct Bench {
    subject: Subject,
    secret: String,
    logs: Logs,
}

/// One way of asking a connector for something, whatever its role.
struct Call {
    name: String,
    /// It cannot succeed without the other side.
    reaches: bool,
    /// Its success is what the other side answered, so an answer that says nothing must not be one.
    reads: bool,
    /// It is a step that a person approved: a caller that goes away does not end it.
    approved: bool,
    run: Run,
}

type Run = Box<dyn Fn(Built, CallContext) -> BoxFuture<'static, Said> + Send + Sync>;

/// What a connector said to a call.
#[derive(Debug, Clone)]
struct Said {
    /// All of it, as Display and as Debug: what a person or a log could get to see.
    text: String,
    failed: Option<Failed>,
}

#[derive(Debug, Clone)]
struct Failed {
    message: String,
    kind: Option<PortErrorKind>,
    retry_after: Option<Duration>,
    step: Option<StepError>,
}

impl Said {
    fn of<T: fmt::Debug>(result: Result<T, PortError>) -> Self {
        match result {
            Ok(said) => Self { text: format!("{said:?}"), failed: None },
            Err(error) => {
                let mut text = format!("{error} {error:?}");
                let mut source = error.source.as_deref().map(|error| error as &dyn std::error::Error);
                while let Some(error) = source {
                    text.push_str(&format!(" {error} {error:?}"));
                    source = error.source();
                }
                let failed = Failed {
                    message: error.message.clone(),
                    kind: Some(error.kind),
                    retry_after: error.retry_after,
                    step: None,
                };
                Self { text, failed: Some(failed) }
            }
        }
    }

    fn of_step<T: fmt::Debug>(result: Result<T, StepError>) -> Self {
        match result {
            Ok(said) => Self { text: format!("{said:?}"), failed: None },
            Err(error) => {
                let failed =
                    Failed { message: error.message.clone(), kind: None, retry_after: None, step: Some(error.clone()) };
                Self { text: format!("{error} {error:?}"), failed: Some(failed) }
            }
        }
    }

    fn of_check(result: Result<CheckReport, PortError>) -> Self {
        // A report of something that lacks is no success either.
        match result {
            Ok(report) => match report.lack.clone() {
                Some(lack) => Self {
                    text: format!("{report:?}"),
                    failed: Some(Failed { message: lack, kind: None, retry_after: None, step: None }),
                },
                None => Self { text: format!("{report:?}"), failed: None },
            },
            Err(error) => Self::of::<()>(Err(error)),
        }
    }
}

impl Call {
    fn check(reaches: bool) -> Self {
        Self {
            name: "check".into(),
            reaches,
            reads: false,
            approved: false,
            run: Box::new(|built, cx| {
                Box::pin(async move {
                    Said::of_check(match built {
                        Built::Execution(port) => port.check(&cx).await,
                        Built::Datasource(port) => port.check(&cx).await,
                        Built::Notifier(port) => port.check(&cx).await,
                        Built::Model(port) => port.check(&cx).await,
                    })
                })
            }),
        }
    }
}

impl Bench {
    /// What is common to the roles that are configured.
    fn connector(&self) -> &dyn ConnectorSubject {
        match &self.subject {
            Subject::Adapter(subject) => &**subject,
            Subject::Datasource(subject) => &**subject,
            Subject::Notifier(subject) => &**subject,
            Subject::Model(subject) => &**subject,
            Subject::Resolver(_) => panic!("a resolver is no connector"),
        }
    }

    /// Every way of asking this connector for something.
    fn calls(&self) -> Vec<Call> {
        // Some channels cannot be tested without disturbing people.
        let mut calls = vec![Call::check(!matches!(self.subject, Subject::Notifier(_)))];
        calls.extend(match &self.subject {
            Subject::Adapter(subject) => adapter::calls(&**subject),
            Subject::Datasource(subject) => datasource::calls(&**subject),
            Subject::Notifier(subject) => notifier::calls(&**subject),
            Subject::Model(subject) => model::calls(&**subject),
            Subject::Resolver(_) => Vec::new(),
        });
        calls
    }

    /// The connector for a server at that address.
    fn at(&self, address: &str) -> Built {
        self.built(&self.connector().connector(address, &self.secret))
    }

    fn built(&self, setup: &Setup) -> Built {
        let secret = setup.secret.clone().map_or_else(SecretHandle::none, |secret| SecretHandle::inline(secret.into()));
        match self.build(setup.config.clone(), secret, self.connector().host()) {
            Ok(built) => built,
            Err(error) => panic!("the connector of the subject is not built: {error}"),
        }
    }

    fn build(&self, config: Value, secret: SecretHandle, host: Host) -> Result<Built, BuildError> {
        let cx = BuildContext::new("conformance", secret, Arc::new(host));
        self.connector().registration().build(cx, config)
    }

    async fn served(&self) -> Served {
        self.connector().serve(&self.secret).await
    }

    async fn hostile(&self, behaviour: Behaviour) -> Server {
        let subject = self.connector();
        Server::new(behaviour, subject.greeting(), subject.content_type()).await
    }

    /// How long after its deadline a call is taken for one that never ends.
    fn patience(&self) -> Duration {
        match &self.subject {
            Subject::Resolver(subject) => subject.patience(),
            _ => self.connector().patience(),
        }
    }

    /// Runs a call, and fails when it is not back long after its deadline.
    async fn run(&self, call: &Call, built: &Built, cx: &CallContext) -> Said {
        let within = cx.timeout + self.patience();
        match tokio::time::timeout(within, (call.run)(built.clone(), cx.clone())).await {
            Ok(said) => said,
            Err(_) => panic!("{} had {:?}, and was not back after {within:?}", call.name, cx.timeout),
        }
    }

    /// Waits until an adapter has no child process.
    async fn childless(&self, what: &str) {
        let Subject::Adapter(subject) = &self.subject else { return };
        let gone = async {
            while subject.child_processes().is_some_and(|children| children > 0) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let gone = tokio::time::timeout(self.patience(), gone).await;
        assert!(gone.is_ok(), "{what} is over, and {:?} of its processes run", subject.child_processes());
    }

    /// A call that has to end by its deadline.
    fn tight(&self) -> CallContext {
        CallContext::with_timeout(self.connector().deadline())
    }
}

fn ample() -> CallContext {
    CallContext::with_timeout(AMPLE)
}

/// Runs one check in a runtime of its own: what the macros make tests of.
fn hold(name: &str, checks: &[Check], strict: bool, subject: Subject, waived: Vec<(&'static str, &'static str)>) {
    let known = |name: &str| checks.iter().find(|(known, _)| *known == name);
    for (waived, reason) in &waived {
        assert!(known(waived).is_some(), "`{waived}` is waived, and there is no such behaviour");
        assert!(reason.len() >= 12, "`{waived}` is waived, and the reason is no reason: {reason:?}");
    }
    let (_, check) = known(name).unwrap_or_else(|| panic!("there is no check `{name}`"));
    if let Some((_, reason)) = waived.iter().find(|(waived, _)| *waived == name) {
        say(&format!("{name} is waived: {reason}"));
        return;
    }
    let logs = Logs::default();
    let dispatch = tracing::Dispatch::new(logs.clone());
    let everywhere = dispatch.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        // What is logged on a thread of this runtime is kept, for as long as the thread lives.
        .on_thread_start(move || std::mem::forget(tracing::dispatcher::set_default(&everywhere)))
        .build()
        .expect("a runtime");
    let bench = Bench { subject, secret: secret::planted(), logs };
    let outcome = {
        let _here = tracing::dispatcher::set_default(&dispatch);
        runtime.block_on(async { tokio::spawn(check(bench)).await })
    };
    // Whatever a broken connector left hanging ends with the process.
    runtime.shutdown_background();
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(Skipped(why))) if strict => {
            panic!("nothing is skipped silently: {why}; bring it, or give the reason in `waived`")
        }
        Ok(Err(Skipped(why))) => say(&format!("{name} is skipped: {why}")),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => panic!("{error}"),
        },
    }
}

#[allow(clippy::print_stderr, reason = "a test says what it left out to whoever runs it")]
fn say(what: &str) {
    eprintln!("{what}");
}

/// Makes the table of a role's checks, and the macro that makes tests of them.
macro_rules! suite {
    (($d:tt) $(#[$doc:meta])* $suite:ident, $hold:ident, $subject:path, $role:ident; $($name:ident,)*) => {
        /// Every check of the suite.
        pub const CHECKS: &[$crate::conformance::connector::Check] =
            &[$((stringify!($name), |bench| Box::pin($name(bench))),)*];

        /// Runs one check of the suite by its name, in a runtime of its own. The macro makes tests of it.
        ///
        /// # Panics
        /// The behaviour does not hold; with `strict`, also when the subject brings nothing to look at.
        pub fn $hold(name: &str, strict: bool, subject: impl $subject) {
            let waived = subject.waived();
            let subject = $crate::conformance::connector::Subject::$role(::std::sync::Arc::new(subject));
            $crate::conformance::connector::hold(name, CHECKS, strict, subject, waived);
        }

        $(#[$doc])*
        #[macro_export]
        macro_rules! $suite {
            (strict: $d subject:expr) => {
                $(#[test]
                fn $name() {
                    $crate::conformance::connector::$hold(stringify!($name), true, $d subject);
                })*
            };
            ($d subject:expr) => {
                $(#[test]
                fn $name() {
                    $crate::conformance::connector::$hold(stringify!($name), false, $d subject);
                })*
            };
        }
    };
}
use suite;

/// Asserts that a connector is of the role whose suite it is put through.
fn assert_role(bench: &Bench, role: Role) {
    let found = bench.connector().registration().role();
    assert_eq!(found, role, "the connector is of another role than its suite");
}
