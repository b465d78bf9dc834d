//! A shop that can be broken: a cluster and its metrics, as connectors in memory. Broken, its error rate rises; rolled
//! back, it falls.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{TimeDelta, Utc};
use rounds_core::Timestamp;
use rounds_core::investigation::{Findings, Proposal, ProposedStep, RootCause, Section};
use rounds_core::plugin::{BuildContext, BuildError};
use rounds_core::ports::{
    Ability, AdapterInfo, ApprovedStep, CallContext, CheckReport, ConnectorView, DataSet, Datasource, DatasourceInfo,
    DryRun, ExecutionAdapter, FiredAlert, Investigator, Point, PortError, PortErrorKind, Query, ReadStep, Series,
    Toolbox,
};
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec, Target, Tier};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::Semaphore;

/// Shops by name: a connector's config says which one it belongs to.
static SHOPS: Mutex<BTreeMap<String, Shop>> = Mutex::new(BTreeMap::new());

/// One shop.
#[derive(Clone, Default)]
pub struct Shop(Arc<Inner>);

#[derive(Default)]
struct Inner {
    broken: Mutex<Option<Timestamp>>,
    fixed: Mutex<Option<Timestamp>>,
    outcomes: Mutex<VecDeque<Outcome>>,
    ran: Mutex<Vec<String>>,
}

/// How the next step ends.
#[derive(Clone)]
pub enum Outcome {
    /// It fails with this on the error channel.
    Fails(&'static str),
    /// Nobody knows.
    Unknown,
    /// It waits until the test lets it go.
    Waits(Arc<Semaphore>),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shop {
    /// A shop under a name.
    pub fn open(name: &str) -> Self {
        let shop = Self::default();
        lock(&SHOPS).insert(name.into(), shop.clone());
        shop
    }

    /// The errors began this long ago.
    pub fn break_since(&self, ago: TimeDelta) {
        *lock(&self.0.broken) = Some(Utc::now() - ago);
        *lock(&self.0.fixed) = None;
    }

    /// How the step after the ones that are planned already ends.
    pub fn next(&self, outcome: Outcome) {
        lock(&self.0.outcomes).push_back(outcome);
    }

    /// The commands that ran, in order.
    pub fn ran(&self) -> Vec<String> {
        lock(&self.0.ran).clone()
    }

    fn value(&self, at: Timestamp) -> f64 {
        let wobble = 0.004 * (1.0 + (at.timestamp() as f64 / 37.0).sin());
        let (broken, fixed) = (*lock(&self.0.broken), *lock(&self.0.fixed));
        let level = match (broken, fixed) {
            (Some(_), Some(fixed)) if at > fixed => 0.0,
            (Some(broken), _) if at > broken => {
                0.42 * (1.0 - (-(at - broken).num_seconds() as f64 / 120.0).exp()).max(0.12)
            }
            _ => 0.0,
        };
        level + wobble
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClusterConfig {
    /// The cluster, as it is known here.
    cluster: String,
    /// The namespaces that plans may touch. Empty permits nothing.
    allowed_namespaces: Vec<String>,
    /// What the connector can do, for people; informational.
    #[serde(default)]
    #[allow(dead_code, reason = "only its schema is used")]
    capabilities: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MetricsConfig {
    /// The server's address.
    url: String,
    /// How long a query may take, in seconds.
    #[serde(default = "timeout")]
    #[allow(dead_code, reason = "only its schema is used")]
    timeout_sec: u32,
    /// Whether TLS certificates are not checked.
    #[serde(default)]
    #[allow(dead_code, reason = "only its schema is used")]
    insecure: bool,
}

fn timeout() -> u32 {
    30
}

fn shop(name: &str) -> Result<Shop, BuildError> {
    lock(&SHOPS).get(name).cloned().ok_or_else(|| BuildError::host(format!("there is no shop {name}")))
}

/// The kinds of connectors that a shop has.
pub fn registry() -> rounds_core::plugin::Registry {
    let cluster = rounds_core::registration! {
        kind: "kubernetes",
        title: "Kubernetes",
        role: Execution,
        secret: Required("A kubeconfig with one context and inline data."),
        config: ClusterConfig,
        build: |_: BuildContext, config: ClusterConfig| {
            Ok::<_, BuildError>(Cluster { shop: shop(&config.cluster)?, namespaces: config.allowed_namespaces })
        },
    };
    let metrics = rounds_core::registration! {
        kind: "prometheus",
        title: "Prometheus",
        role: Datasource,
        secret: Optional("A bearer token."),
        config: MetricsConfig,
        build: |_: BuildContext, config: MetricsConfig| {
            let name = config.url.trim_start_matches("http://").split('.').next().unwrap_or_default();
            Ok::<_, BuildError>(Metrics { shop: shop(name)? })
        },
    };
    // Real ones beside them, for their forms.
    let linked = rounds_core::plugin::Registry::linked().unwrap();
    let others = linked.iter().filter(|kind| !["kubernetes", "prometheus"].contains(&kind.kind())).cloned();
    rounds_core::plugin::Registry::new([cluster, metrics].into_iter().chain(others)).unwrap()
}

struct Cluster {
    shop: Shop,
    namespaces: Vec<String>,
}

#[async_trait]
impl ExecutionAdapter for Cluster {
    fn describe(&self) -> AdapterInfo {
        AdapterInfo::commands("kubectl, without its name").with_namespaces(self.namespaces.clone())
    }

    fn review(&self, step: &StepSpec, _: Mode) -> Result<ReviewedStep, Refusal> {
        let argv: Vec<String> = serde_json::from_value(step.params["argv"].clone())
            .map_err(|_| Refusal::new("params", "an argv is expected"))?;
        let verb = argv.first().cloned().unwrap_or_default();
        let (verb, tier) = match verb.as_str() {
            "get" | "describe" | "logs" => (verb, Tier::Read),
            "rollout" => (format!("rollout {}", argv.get(1).cloned().unwrap_or_default()), Tier::Write),
            "scale" | "patch" => (verb, Tier::Write),
            "delete" => (verb, Tier::Destructive),
            other => {
                let message =
                    format!("`{other}` is not accepted; get, describe, logs, rollout, scale, patch, delete are");
                return Err(Refusal::new("unknown_verb", message));
            }
        };
        let place = argv.iter().position(|word| word == "-n").and_then(|at| argv.get(at + 1)).cloned();
        if let Some(place) = place.as_ref().filter(|place| !self.namespaces.contains(place)) {
            let message = format!("namespace `{place}` is not allowed; allowed: {}", self.namespaces.join(", "));
            return Err(Refusal::new("namespace_not_allowed", message));
        }
        let name = argv.iter().find_map(|word| word.split_once('/')).map(|(_, name)| name.to_owned());
        let name = name.or_else(|| (tier == Tier::Destructive).then(|| argv.get(2).cloned()).flatten());
        let kind = if tier == Tier::Destructive { "pod" } else { "deployment.apps" };
        let text: Vec<String> = argv.iter().map(|word| shown(word)).collect();
        let mut target = Target::every(kind);
        (target.namespace, target.name) = (place, name);
        let step = ReviewedStep::new(step.clone(), verb, format!("kubectl {}", text.join(" ")), tier).on(target);
        Ok(match tier {
            Tier::Read => step.reversible().idempotent(),
            Tier::Write => step.reversible(),
            Tier::Destructive => step,
        })
    }

    async fn dry_run(&self, _: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        let text = match step.tier {
            Tier::Read => "This reads and changes nothing.".to_owned(),
            Tier::Write => "--- live: deployment.apps/checkout\n+++ after: deployment.apps/checkout\n@@ -38,9 +38,9 @@\n     \
                 spec:\n       containers:\n       - name: checkout\n-        image: registry.example/checkout:2.4.0-rc1\n\
                 +        image: registry.example/checkout:2.3.7\n         ports:\n         - containerPort: 8080"
                .to_owned(),
            Tier::Destructive => "pod/checkout-7c9f4d5b6-x2x9k deleted (server dry run)".to_owned(),
        };
        Ok(DryRun::by_server(text))
    }

    async fn read(&self, _: &CallContext, _: ReadStep) -> Result<StepOutput, StepError> {
        let output = "NAME                        READY   STATUS             RESTARTS\n\
                      checkout-7c9f4d5b6-x2x9k    0/1     CrashLoopBackOff   7\n\
                      checkout-7c9f4d5b6-8k4mm    0/1     CrashLoopBackOff   7\n";
        Ok(StepOutput::text(output).with_exit_code(0))
    }

    async fn execute(&self, _: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        let step = step.step();
        lock(&self.shop.0.ran).push(step.command_text.clone());
        let outcome = lock(&self.shop.0.outcomes).pop_front();
        match outcome {
            Some(Outcome::Fails(text)) => {
                let output = StepOutput::default().with_exit_code(1).with_error_output(text);
                return Err(StepError::failed("kubectl exited with 1", output));
            }
            Some(Outcome::Unknown) => {
                return Err(StepError::unknown("no answer within 60 s; kubectl was killed", StepOutput::default()));
            }
            Some(Outcome::Waits(gate)) => gate.acquire().await.unwrap().forget(),
            None => tokio::time::sleep(Duration::from_millis(100)).await,
        }
        if step.verb == "rollout undo" {
            *lock(&self.shop.0.fixed) = Some(Utc::now());
        }
        let output = match step.tier {
            Tier::Read => "deployment \"checkout\" successfully rolled out\n",
            _ => "deployment.apps/checkout rolled back\n",
        };
        Ok(StepOutput::text(output).with_exit_code(0))
    }

    async fn check(&self, _: &CallContext) -> Result<CheckReport, PortError> {
        let can = |what: &str, ok: bool, asked: &str| Ability::new("shop", what, ok, asked);
        Ok(CheckReport::new("reached v1.33.1 as rounds").with_abilities([
            can("list pods", true, "list pods"),
            can("roll back, restart and patch deployments", true, "patch deployments.apps"),
            can("scale deployments", false, "patch deployments.apps/scale"),
        ]))
    }
}

fn shown(word: &str) -> String {
    if word.contains([' ', '{', '"']) { format!("'{word}'") } else { word.into() }
}

struct Metrics {
    shop: Shop,
}

#[async_trait]
impl Datasource for Metrics {
    fn describe(&self) -> DatasourceInfo {
        DatasourceInfo::metrics("PromQL")
    }

    async fn check(&self, _: &CallContext) -> Result<CheckReport, PortError> {
        Err(PortError::new(
            PortErrorKind::Unavailable,
            "http://metrics:9090: connection refused; is the address right?",
        ))
    }

    async fn query(&self, _: &CallContext, query: &Query) -> Result<DataSet, PortError> {
        let (expr, times) = match query {
            Query::Instant { expr, at } => (expr, vec![at.unwrap_or_else(Utc::now)]),
            Query::Range { expr, start, end, step } => {
                let step = TimeDelta::from_std(*step).unwrap().max(TimeDelta::seconds(1));
                let count = ((*end - *start).num_seconds() / step.num_seconds().max(1)).min(11_000) as i32;
                (expr, (0..=count).map(|place| *start + step * place).collect())
            }
            _ => return Err(PortError::new(PortErrorKind::Invalid, "only metrics")),
        };
        if expr.contains("typo") {
            let message = "the query was refused: 1:12: parse error: unclosed left parenthesis";
            return Err(PortError::new(PortErrorKind::Invalid, message));
        }
        if expr.contains("away") {
            // A rule may be made while its datasource is away.
            return Err(PortError::new(PortErrorKind::Unavailable, "connection refused"));
        }
        let quiet = !expr.contains("error");
        let points = times.into_iter().map(|at| Point {
            at,
            value: if quiet { 0.2 + 0.05 * (at.timestamp() as f64 / 300.0).sin() } else { self.shop.value(at) },
        });
        let labels = BTreeMap::from([("namespace".into(), "shop".into()), ("deployment".into(), "checkout".into())]);
        Ok(DataSet::of_series(vec![Series::new(labels, points.collect())]))
    }
}

/// Finds that the newest image is broken.
pub struct Doctor;

#[async_trait]
impl Investigator for Doctor {
    fn name(&self) -> &str {
        "playbook"
    }

    async fn investigate(&self, tools: &dyn Toolbox, _: &FiredAlert) -> Result<Findings, PortError> {
        let expr = "sum(rate(http_errors_total{deployment=\"checkout\"}[5m]))".to_owned();
        let rate = tools.query(None, Query::Instant { expr, at: None }).await;
        let connectors = tools.connectors();
        let Some(ConnectorView { id, .. }) = connectors.first() else {
            return Ok(Findings { summary: "There is no connector to look with.".into(), ..Findings::default() });
        };
        let pods = tools.read(*id, StepSpec::command(["get", "pods", "-n", "shop"])).await;
        let step = |argv: &[&str]| ProposedStep::new(*id, StepSpec::command(argv.iter().copied()));
        let undo = step(&["rollout", "undo", "deployment/checkout", "--to-revision=11", "-n", "shop"])
            .with_risk_note("Orders in flight on the two crashing pods are lost; they are failing now anyway.");
        let again = step(&["rollout", "undo", "deployment/checkout", "--to-revision=12", "-n", "shop"])
            .with_risk_note("Brings the crashing image back.");
        Ok(Findings {
            summary: "checkout crashes since revision 12; revision 11 ran without errors.".into(),
            root_cause: Some(RootCause::new(
                "Revision 12 of deployment checkout (image 2.4.0-rc1) crashes at start: every pod is in \
                 CrashLoopBackOff since it was rolled out, and revision 11 served without errors.",
                [rate.id, pods.id],
            )),
            sections: vec![
                Section::new(
                    "What is seen",
                    "The error rate rose from under 1 % to over 40 % within five minutes.\nBoth pods restart again and \
                     again.",
                    [rate.id, pods.id],
                ),
                Section::new(
                    "What changed",
                    "Deployment checkout was rolled out to revision 12 two minutes before the first error.",
                    [pods.id],
                ),
            ],
            unknowns: vec!["Why 2.4.0-rc1 crashes: its logs end before the first line of the application.".into()],
            plan: Some(
                Proposal::new("Roll checkout back to revision 11, the last one that served without errors")
                    .with_steps([undo, step(&["get", "deployment/checkout", "-n", "shop"])]),
            ),
            rescue: Some(Proposal::new("Return checkout to revision 12").with_steps([again])),
            ..Findings::default()
        })
    }
}
