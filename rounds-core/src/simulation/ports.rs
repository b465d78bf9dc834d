//! The world around Rounds: a cluster, a datasource, a channel and an investigator, each as unreliable as the weather.
//!
//! A panic unwinds without its message, which would otherwise fill the terminal with faults that are meant.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::book::Answer;
use super::sim::{Node, Sim, current, lock};
use super::world;
use crate::id::ConnectorId;
use crate::investigation::{Findings, Proposal, ProposedStep, RootCause};
use crate::plugin::{BuildContext, BuildError, Registration};
use crate::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DataSet, Datasource, DatasourceInfo, DryRun, Event, EventSink,
    ExecutionAdapter, FiredAlert, Investigator, Notice, Notifier, Point, PortError, PortErrorKind, Query, ReadStep,
    Series, Toolbox,
};
use crate::registration;
use crate::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec};
use crate::testing::FakeAdapter;
use crate::time::Timestamp;

/// What the simulated connectors are configured with: nothing but which version of the config it is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Which one.
    generation: u64,
}

/// The kinds of connectors in the world.
pub(super) fn kinds() -> [Registration; 3] {
    [
        registration! {
            kind: "cluster", title: "A cluster", role: Execution, secret: None, config: Config,
            build: |cx: BuildContext, config: Config| Ok::<_, BuildError>(Cluster {
                sim: current(), node: node(&cx), connector: cx.id, name: cx.name, generation: config.generation,
            })
        },
        registration! {
            kind: "metrics", title: "Metrics", role: Datasource, secret: None, config: Config,
            build: |cx: BuildContext, _config: Config| Ok::<_, BuildError>(Metrics { sim: current(), node: node(&cx) })
        },
        registration! {
            kind: "channel", title: "A channel", role: Notifier, secret: None, config: Config,
            build: |cx: BuildContext, _config: Config| Ok::<_, BuildError>(Channel {
                sim: current(), node: node(&cx), connector: cx.id,
            })
        },
    ]
}

/// Which replica builds it: each hands its number to its connectors, as an operator hands on a variable.
fn node(cx: &BuildContext) -> Node {
    cx.host.child_env.get("node").and_then(|node| node.parse().ok()).unwrap_or_default()
}

fn panics() -> ! {
    std::panic::resume_unwind(Box::new("a fault that the simulation asked for"))
}

fn fine() -> CheckReport {
    CheckReport::new("there is nothing to reach")
}

/// Runs commands of [`FakeAdapter`]'s grammar.
struct Cluster {
    sim: Arc<Sim>,
    node: Node,
    connector: ConnectorId,
    name: String,
    generation: u64,
}

/// Says that an effect is over, whether it ended or was ended.
struct Under {
    sim: Arc<Sim>,
    number: usize,
    answer: Option<Answer>,
}

impl Drop for Under {
    fn drop(&mut self) {
        let (number, answer) = (self.number, self.answer);
        self.sim.say(|| format!("effect {number} is over: {answer:?}"));
        self.sim.book(|book| book.over(number, answer, &world::settings()));
    }
}

#[async_trait]
impl ExecutionAdapter for Cluster {
    fn describe(&self) -> AdapterInfo {
        FakeAdapter::default().describe()
    }

    fn review(&self, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal> {
        let mut reviewed = FakeAdapter::default().review(step, mode)?;
        let renders = *lock(&self.sim.renders);
        if renders > 0 {
            reviewed.command_text.push_str(&format!(" --as-of={renders}"));
        }
        Ok(reviewed)
    }

    async fn dry_run(&self, _cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        tokio::time::sleep(self.sim.millis(300)).await;
        if self.sim.chance(self.sim.weather().dry_run_fails) {
            return Err(StepError::not_started("the cluster did not like it"));
        }
        Ok(DryRun::by_server(format!("would run {}", step.command_text)))
    }

    async fn read(&self, _cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        tokio::time::sleep(self.sim.millis(300)).await;
        Ok(StepOutput::text(format!("read {}", step.step().command_text)))
    }

    /// The effect happens in the world, which goes on whether or not the replica that started it does.
    async fn execute(&self, cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        let (sim, weather) = (&self.sim, self.sim.weather());
        // A dead process begins nothing. One that stalls here begins late, which nobody can prevent: see docs/design.
        if sim.died(self.node) {
            std::future::pending::<()>().await;
        }
        if sim.chance(weather.not_started) {
            tokio::time::sleep(sim.millis(500)).await;
            sim.say(|| format!("node {} cannot start {}", self.node, step.step().command_text));
            sim.book(|book| book.did_not_start(&step));
            return Err(StepError::not_started("connection refused"));
        }
        let config = serde_json::json!({ "generation": self.generation });
        let number = sim.book(|book| book.began(&step, (self.connector, &self.name, &config)));
        sim.say(|| {
            let place = (super::layer::short(&step.plan_id().to_string()).to_owned(), step.ordinal(), step.attempt());
            format!("node {} runs effect {number}: {} {place:?}", self.node, step.step().command_text)
        });
        let mut under = Under { sim: Arc::clone(sim), number, answer: None };
        if sim.chance(weather.hangs) {
            // It keeps to no limit, so its caller has to end it.
            std::future::pending::<()>().await;
        }
        let takes = sim.millis(4000);
        if takes > cx.timeout {
            tokio::time::sleep(cx.timeout).await;
            return Err(StepError::unknown("it took too long and was ended", StepOutput::default()));
        }
        tokio::time::sleep(takes).await;
        if sim.chance(weather.panics) {
            panics();
        }
        let output = StepOutput::text("ok").with_exit_code(0);
        if sim.chance(weather.unknown) {
            under.answer = Some(Answer::Unknown);
            return Err(StepError::unknown("the connection was lost", output));
        }
        if sim.chance(weather.fails) {
            under.answer = Some(Answer::Failed);
            return Err(StepError::failed("it said no", output));
        }
        under.answer = Some(Answer::Done);
        Ok(output)
    }

    async fn check(&self, _cx: &CallContext) -> Result<CheckReport, PortError> {
        Ok(fine())
    }
}

/// Answers the name of a rule with that rule's signal.
struct Metrics {
    sim: Arc<Sim>,
    node: Node,
}

struct Asked(Arc<Sim>, u64);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.book(|book| book.answered(self.1));
    }
}

#[async_trait]
impl Datasource for Metrics {
    fn describe(&self) -> DatasourceInfo {
        DatasourceInfo::metrics("PromQL")
    }

    async fn check(&self, _cx: &CallContext) -> Result<CheckReport, PortError> {
        Ok(fine())
    }

    async fn query(&self, _cx: &CallContext, query: &Query) -> Result<DataSet, PortError> {
        let (sim, weather) = (&self.sim, self.sim.weather());
        let Query::Instant { expr, .. } = query else { return Ok(DataSet::default()) };
        let node = self.node;
        sim.process(node).await;
        let task = tokio::task::try_id();
        let number = sim.book(|book| book.asks(node, task, expr));
        let _asked = Asked(Arc::clone(sim), number);
        sim.say(|| format!("node {node} asks {expr} (query {number})"));
        tokio::time::sleep(sim.millis(200)).await;
        if sim.chance(weather.query_slow) {
            tokio::time::sleep(sim.millis(8000)).await;
        }
        sim.process(node).await;
        if sim.chance(weather.query_panics) {
            panics();
        }
        if sim.chance(weather.query_fails) {
            return Err(PortError::new(PortErrorKind::Unavailable, "no route"));
        }
        if sim.chance(weather.query_empty) {
            return Ok(DataSet::default());
        }
        let value = lock(&sim.signals).get(expr.as_str()).copied().unwrap_or_default();
        let point = Point { at: Timestamp::UNIX_EPOCH, value };
        Ok(DataSet::of_series(vec![Series::new(Default::default(), vec![point])]))
    }
}

/// Remembers what it was told.
struct Channel {
    sim: Arc<Sim>,
    node: Node,
    connector: ConnectorId,
}

#[async_trait]
impl Notifier for Channel {
    async fn check(&self, _cx: &CallContext) -> Result<CheckReport, PortError> {
        Ok(fine())
    }

    async fn send(&self, _cx: &CallContext, notice: &Notice) -> Result<(), PortError> {
        let (sim, weather) = (&self.sim, self.sim.weather());
        sim.process(self.node).await;
        tokio::time::sleep(sim.millis(200)).await;
        if sim.chance(weather.notice_hangs) {
            std::future::pending::<()>().await;
        }
        if sim.chance(weather.notice_fails) {
            let kind = if sim.chance(100) { PortErrorKind::Invalid } else { PortErrorKind::Unavailable };
            return Err(PortError::new(kind, "the channel is down"));
        }
        sim.say(|| format!("told: {}", notice.idempotency_key));
        sim.book(|book| book.told(self.connector, notice));
        sim.process(self.node).await;
        // It arrived; whether the sender hears of that is another question.
        if sim.chance(weather.notice_fails) {
            return Err(PortError::new(PortErrorKind::Timeout, "no answer"));
        }
        Ok(())
    }
}

/// Reads one thing, and then proposes, reports, fails, hangs or panics.
pub(super) struct Detective {
    pub sim: Arc<Sim>,
    pub node: Node,
}

struct Investigating<'a>(&'a Detective, crate::id::InvestigationId);

impl Drop for Investigating<'_> {
    fn drop(&mut self) {
        self.0.sim.book(|book| book.investigated(self.0.node, self.1));
    }
}

#[async_trait]
impl Investigator for Detective {
    fn name(&self) -> &str {
        "detective"
    }

    async fn investigate(&self, tools: &dyn Toolbox, alert: &FiredAlert) -> Result<Findings, PortError> {
        let (sim, weather) = (&self.sim, self.sim.weather());
        let cap = world::settings().concurrent_investigations;
        sim.book(|book| book.investigates(self.node, alert.investigation_id, alert.attempt, cap));
        let _investigating = Investigating(self, alert.investigation_id);
        tokio::time::sleep(sim.millis(3000)).await;
        sim.process(self.node).await;
        if sim.chance(weather.investigator_hangs) {
            std::future::pending::<()>().await;
        }
        if sim.chance(weather.investigator_panics) {
            panics();
        }
        if sim.chance(weather.investigator_fails) {
            return Err(PortError::new(PortErrorKind::Unavailable, "the model is overloaded"));
        }
        let mut findings = Findings { summary: "it is broken".into(), ..Findings::default() };
        let Some(connector) = sim.pick(&tools.connectors()).map(|view| view.id) else { return Ok(findings) };
        let reading = tools.read(connector, StepSpec::command(["get", "app/web"])).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        sim.process(self.node).await;
        findings.root_cause = Some(RootCause::new("somebody broke it", [reading.id]));
        if sim.chance(700) {
            findings.plan = Some(proposal(sim, connector));
            if sim.chance(500) {
                findings.rescue = Some(proposal(sim, connector));
            }
        }
        Ok(findings)
    }
}

/// One to three commands on a connector.
pub(super) fn proposal(sim: &Sim, connector: ConnectorId) -> Proposal {
    Proposal { summary: "mend it".into(), steps: steps(sim, connector) }
}

pub(super) fn steps(sim: &Sim, connector: ConnectorId) -> Vec<ProposedStep> {
    let verbs = ["get", "restart", "scale", "delete"];
    (0..1 + sim.below(3))
        .map(|place| ProposedStep {
            connector_id: connector,
            spec: StepSpec::command([
                verbs[sim.below(verbs.len() as u64) as usize].to_owned(),
                format!("app/web-{place}-{}", sim.below(1000)),
            ]),
            continue_on_error: sim.chance(200),
            risk_note: None,
        })
        .collect()
}

/// Hears of every event.
pub(super) struct Listener {
    pub sim: Arc<Sim>,
    pub node: Node,
}

#[async_trait]
impl EventSink for Listener {
    fn name(&self) -> &str {
        "listener"
    }
    async fn event(&self, _cx: &CallContext, event: &Event) -> Result<(), PortError> {
        self.sim.book(|book| book.heard(self.node, event.seq));
        Ok(())
    }
}
