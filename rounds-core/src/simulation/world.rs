//! One run: a few replicas over one store, people, and whatever the weather brings, for two minutes of simulated time;
//! then calm, in which everything must come to its end.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::book::Violation;
use super::layer::Wire;
use super::mutation::Mutation;
use super::people::People;
use super::ports::{Detective, Listener, kinds};
use super::sim::{Entered, Gate, Node, Sim, SkewedClock, State, lock};
use super::weather::Weather;
use crate::id::OrgId;
use crate::plan::VerificationStatus;
use crate::plugin::{Host, Registry};
use crate::ports::Store;
use crate::ports::store::{Record, RecordKind};
use crate::settings::Settings;
use crate::testing::Layered;
use crate::time::{Timestamp, after_ms};
use crate::{Rounds, Running};

/// The login of the agent.
pub(super) const AGENT: &str = "@syntropize/rounds";
/// How often something is done to the world, every three quarters of a second or so.
const MOMENTS: u32 = 45;
/// How long everything may take to come to its end once nothing goes wrong any more.
const CALM: Duration = Duration::from_secs(240);

/// Short times, so that much happens in a minute; in the same proportions as those that people set.
pub(super) fn settings() -> Settings {
    let secs = Duration::from_secs;
    Settings {
        evaluator_refresh: secs(20),
        queries_per_datasource: 2,
        concurrent_evaluations: 4,
        query_timeout: secs(4),
        no_data_intervals: 3,
        plan_approval_ttl: secs(16),
        plan_expiry_sweep: secs(5),
        concurrent_plans: 3,
        step_timeout: secs(5),
        effect_grace: secs(2),
        lease_ttl: secs(6),
        poll_interval: secs(4),
        verification_stable: secs(8),
        verification_deadline: secs(30),
        investigation_cooldown: secs(8),
        concurrent_investigations: 2,
        investigation_timeout: secs(12),
        investigation_stale: secs(60),
        notice_attempts: 4,
        ..Settings::default()
    }
}

/// What became of a run.
pub(super) struct Report {
    pub seed: u64,
    pub violation: Option<Violation>,
    pub lines: Vec<String>,
    pub said: u64,
    /// The same for two runs that were the same.
    pub fingerprint: u64,
    pub tally: std::collections::BTreeMap<String, u64>,
}

/// Runs one seed.
pub(super) fn run(seed: u64, mutation: Option<Mutation>) -> Report {
    let entered = Entered::new(seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let sim = runtime.block_on(async {
        let sim = Sim::new(seed);
        entered.is(&sim);
        let mut world = World::new(Arc::clone(&sim), mutation).await;
        world.live().await;
        sim
    });
    let (lines, said, fingerprint) = sim.told();
    let (violation, tally) = sim.book(|book| (book.violations.first().cloned(), book.tally.clone()));
    // What still runs holds the run, and the run holds nothing of it.
    drop(runtime);
    Report { seed, violation, lines, said, fingerprint, tally }
}

/// One replica, in one of its lives.
struct Replica {
    node: Node,
    gate: Arc<Gate>,
    out_until: Arc<Mutex<Timestamp>>,
    ahead_ms: Arc<AtomicI64>,
    stalls_until: Option<Timestamp>,
    stopping: bool,
    rounds: Rounds,
    running: Running,
}

struct World {
    sim: Arc<Sim>,
    mutation: Option<Mutation>,
    people: People,
    replicas: Vec<Replica>,
    nodes: Node,
}

impl World {
    async fn new(sim: Arc<Sim>, mutation: Option<Mutation>) -> Self {
        let weather = std::mem::take(&mut *lock(&sim.weather));
        let people = People::new();
        let mut world = Self { sim, mutation, people, replicas: Vec::new(), nodes: 0 };
        for _ in 0..2 + world.sim.below(2) {
            let replica = world.replica();
            world.replicas.push(replica);
        }
        world.people.settle_in(&world.sim, &world.replicas[0].rounds).await;
        *lock(&world.sim.weather) = weather;
        world
    }

    fn replica(&mut self) -> Replica {
        let (sim, node) = (Arc::clone(&self.sim), self.nodes);
        self.nodes += 1;
        let gate = Arc::new(Gate::default());
        lock(&sim.gates).insert(node, Arc::clone(&gate));
        let out_until = Arc::new(Mutex::new(Timestamp::UNIX_EPOCH));
        let ahead_ms = Arc::new(AtomicI64::new(skew(&sim)));
        let wire = Wire { sim: Arc::clone(&sim), node, gate: Arc::clone(&gate), out_until: Arc::clone(&out_until) };
        let host = Host { child_env: [("node".to_owned(), node.to_string())].into(), ..Host::default() };
        let detective = Detective { sim: Arc::clone(&sim), node };
        let clock = SkewedClock { sim: Arc::clone(&sim), gate: Arc::clone(&gate), ahead_ms: Arc::clone(&ahead_ms) };
        let rounds = Rounds::builder(Arc::new(Layered(wire)) as Arc<dyn Store>, Arc::clone(&self.people.identity) as _)
            .registry(Registry::new(kinds()).expect("three kinds"))
            .host(host)
            .investigator(Arc::new(detective))
            .event_sink(Arc::new(Listener { sim: Arc::clone(&sim), node }))
            .clock(Arc::new(clock))
            .settings(settings())
            .mutation(self.mutation)
            .build()
            .expect("settings that work");
        sim.say(|| format!("node {node} starts, its clock {ahead_ms:?} ms ahead"));
        let running = rounds.start();
        Replica { node, gate, out_until, ahead_ms, stalls_until: None, stopping: false, rounds, running }
    }

    fn broken(&self) -> bool {
        self.sim.book(|book| !book.violations.is_empty())
    }

    async fn live(&mut self) {
        for _ in 0..MOMENTS {
            tokio::time::sleep(self.sim.millis(1500)).await;
            if self.broken() {
                return;
            }
            self.moment();
        }
        self.calm();
        let until = after_ms(self.sim.now(), CALM.as_millis() as u64);
        // The rules must be asked a few times more, and whatever waits for a person must expire.
        let mut looks = 0;
        while self.sim.now() < until && !(looks > 4 && self.quiet()) {
            tokio::time::sleep(Duration::from_secs(5)).await;
            looks += 1;
            if self.broken() {
                return;
            }
        }
        self.at_the_end().await;
    }

    /// Something happens.
    fn moment(&mut self) {
        let (sim, weather) = (Arc::clone(&self.sim), self.sim.weather());
        let now = sim.now();
        for place in 0..self.replicas.len() {
            let replica = &mut self.replicas[place];
            match replica.gate.state() {
                State::Dead if sim.chance(300) => self.replicas[place] = self.replica(),
                State::Dead => {}
                State::Stalls if replica.stalls_until.is_none_or(|until| until <= now) => {
                    sim.say(|| format!("node {} goes on", replica.node));
                    replica.gate.set(State::Lives);
                    sim.book(|book| book.disturbed(replica.node));
                }
                State::Stalls => {}
                State::Lives if sim.chance(weather.crash) => self.crash(place),
                State::Lives if !replica.stopping && sim.chance(weather.restart) => {
                    replica.stopping = true;
                    sim.say(|| format!("node {} is asked to stop", replica.node));
                    let running = replica.running.clone();
                    let deadline = sim.millis(8000);
                    let gate = Arc::clone(&replica.gate);
                    let (node, of_it) = (replica.node, Arc::clone(&sim));
                    tokio::spawn(async move {
                        running.shutdown(deadline).await;
                        of_it.say(|| format!("node {node} has stopped"));
                        of_it.book(|book| book.died(node));
                        gate.set(State::Dead);
                    });
                }
                State::Lives if sim.chance(weather.stall) => {
                    let long = sim.millis(20_000);
                    sim.say(|| format!("node {} stops for {long:?}", replica.node));
                    replica.stalls_until = Some(after_ms(now, long.as_millis() as u64));
                    replica.gate.set(State::Stalls);
                    sim.book(|book| book.disturbed(replica.node));
                }
                State::Lives if sim.chance(weather.outage) => {
                    let long = sim.millis(15_000);
                    sim.say(|| format!("node {} is cut off for {long:?}", replica.node));
                    *lock(&replica.out_until) = after_ms(now, long.as_millis() as u64);
                    sim.book(|book| book.disturbed(replica.node));
                }
                State::Lives if sim.chance(weather.clock_set) => {
                    let ahead_ms = skew(&sim);
                    sim.say(|| format!("the clock of node {} is set {ahead_ms} ms ahead", replica.node));
                    replica.ahead_ms.store(ahead_ms, Ordering::Relaxed);
                }
                State::Lives => {}
            }
        }
        if sim.chance(weather.theft) {
            self.theft();
        }
        let living: Vec<&Replica> =
            self.replicas.iter().filter(|replica| replica.gate.state() != State::Dead).collect();
        for _ in 0..2 {
            if let Some(replica) = sim.pick(&living) {
                self.people.act(&sim, &replica.rounds);
            }
        }
    }

    fn crash(&mut self, place: usize) {
        let node = self.replicas[place].node;
        self.sim.say(|| format!("node {node} dies"));
        self.replicas[place].gate.set(State::Dead);
        lock(&self.sim.ears).remove(&node);
        self.sim.book(|book| book.died(node));
    }

    /// A lease comes free before its time, as after somebody cleared it by hand.
    fn theft(&self) {
        let sim = Arc::clone(&self.sim);
        let held: Vec<_> = sim.book(|book| book.leases.values().map(|held| (held.node, held.lease.clone())).collect());
        if let Some((node, lease)) = sim.pick(&held).cloned() {
            tokio::spawn(async move {
                if sim.store.release(&lease).await.is_ok() {
                    sim.say(|| format!("{} #{} is taken from node {node}", lease.key, lease.fence));
                    sim.book(|book| {
                        book.disturbed(node);
                        book.released(&lease);
                    });
                }
            });
        }
    }

    /// Nothing goes wrong any more.
    fn calm(&mut self) {
        self.sim.say(|| "calm".into());
        *lock(&self.sim.weather) = Weather::default();
        lock(&self.sim.signals).clear();
        for place in 0..self.replicas.len() {
            *lock(&self.replicas[place].out_until) = Timestamp::UNIX_EPOCH;
            self.replicas[place].gate.set(State::Lives);
            if self.replicas[place].stopping && self.replicas[place].gate.state() == State::Lives {
                self.crash(place);
            }
            if self.replicas[place].gate.state() == State::Dead {
                self.replicas[place] = self.replica();
            }
        }
        self.people.calm();
    }

    fn quiet(&self) -> bool {
        self.sim.book(|book| {
            let waits = |record: &Record| match record {
                Record::Plan(plan) => {
                    matches!(plan.status.as_str(), "pending_approval" | "approved" | "executing")
                        || plan.verification.status == VerificationStatus::Watching
                }
                Record::Investigation(found) => !found.status.is_terminal(),
                Record::Notice(notice) => notice.status.as_str() == "pending",
                _ => false,
            };
            let kinds = [RecordKind::Plan, RecordKind::Investigation, RecordKind::Notice];
            !kinds.into_iter().any(|kind| book.of_kind(kind).any(waits))
        })
    }

    async fn at_the_end(&self) {
        let chain = self.sim.store.verify_audit(&OrgId::default()).await.expect("the store is in memory");
        self.sim.book(|book| {
            book.plans_settled();
            book.alerts_settled(&settings());
            let rows = book.audit.len() as u64;
            match chain {
                Err(broken) => book.violated("rule 10", format!("the audit chain breaks: {broken}")),
                Ok(head) => book.must(head.seq == rows, "rule 10", || {
                    format!("{rows} audit rows were committed, and {} are there", head.seq)
                }),
            }
        });
        for replica in &self.replicas {
            for (service, health) in replica.running.health() {
                if health != crate::service::ServiceHealth::Running {
                    self.sim.book(|book| {
                        book.violated("services", format!("{service} of node {}: {health:?}", replica.node))
                    });
                }
            }
        }
    }
}

/// By how many milliseconds a clock is wrong.
fn skew(sim: &Sim) -> i64 {
    i64::try_from(sim.below(8000)).unwrap_or_default() - 4000
}
