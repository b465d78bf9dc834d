//! What all parts of one run share: the dice, the store, the true time, the trace, and the book of what happened.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;
use uuid::Uuid;

use super::book::Book;
use super::rng::Rng;
use super::weather::Weather;
use crate::ports::Clock;
use crate::ports::store::RecordKind;
use crate::testing::MemoryStore;
use crate::time::{Timestamp, truncate};

/// How many lines of the trace are kept for the report.
const KEPT: usize = 300;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Sim>>> = const { RefCell::new(None) };
    static IDS: RefCell<Option<(u64, Rng)>> = const { RefCell::new(None) };
}

/// The next id of the run on this thread, if there is one. In order, as those of UUID v7 are.
pub(crate) fn next_id() -> Option<Uuid> {
    IDS.with_borrow_mut(|ids| {
        let (made, rng) = ids.as_mut()?;
        *made += 1;
        let high = 0x0190_0000_0000_7000 + (*made << 16);
        Some(Uuid::from_u64_pair(high, 0x8000_0000_0000_0000 | (rng.next() >> 2)))
    })
}

/// The run on this thread: connectors are built by plain functions, which have nothing else to know it by.
pub(super) fn current() -> Arc<Sim> {
    CURRENT.with_borrow(|sim| Arc::clone(sim.as_ref().expect("a simulation runs")))
}

/// Makes a run the current one, until it is dropped.
pub(super) struct Entered;

impl Entered {
    pub(super) fn new(seed: u64) -> Self {
        IDS.with_borrow_mut(|ids| *ids = Some((0, Rng::new(seed ^ 0x1D5))));
        Self
    }

    pub(super) fn is(&self, sim: &Arc<Sim>) {
        CURRENT.with_borrow_mut(|current| *current = Some(Arc::clone(sim)));
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|sim| *sim = None);
        IDS.with_borrow_mut(|ids| *ids = None);
    }
}

/// One life of one replica.
pub(super) type Node = u32;

pub(super) struct Sim {
    pub store: MemoryStore,
    pub time: Arc<TrueTime>,
    pub weather: Mutex<Weather>,
    pub signals: Mutex<BTreeMap<String, f64>>,
    /// What today's gate appends to every command it renders.
    pub renders: Mutex<u64>,
    /// Whether each replica lives.
    pub gates: Mutex<BTreeMap<Node, Arc<Gate>>>,
    /// Who hears of commits.
    pub ears: Mutex<BTreeMap<Node, broadcast::Sender<RecordKind>>>,
    book: Mutex<Book>,
    rng: Mutex<Rng>,
    trace: Mutex<Trace>,
}

#[derive(Default)]
struct Trace {
    lines: VecDeque<String>,
    hasher: DefaultHasher,
    count: u64,
}

pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sim {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let mut rng = Rng::new(seed);
        let weather = Weather::of(&mut rng);
        let base = chrono::DateTime::from_timestamp(1_767_225_600, 0).unwrap_or_default();
        let time = Arc::new(TrueTime { base, start: Instant::now() });
        let store = MemoryStore::with_clock(Arc::<TrueTime>::clone(&time)).plain();
        Arc::new(Self {
            store,
            time,
            weather: Mutex::new(weather),
            signals: Mutex::default(),
            renders: Mutex::default(),
            gates: Mutex::default(),
            ears: Mutex::default(),
            book: Mutex::default(),
            rng: Mutex::new(rng),
            trace: Mutex::default(),
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.time.now()
    }

    pub(super) fn weather(&self) -> Weather {
        *lock(&self.weather)
    }

    pub(super) fn chance(&self, per_mille: u64) -> bool {
        // Whatever cannot happen takes no throw, so that a calm run is a quick one.
        per_mille > 0 && lock(&self.rng).chance(per_mille)
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        lock(&self.rng).below(bound)
    }

    pub(super) fn pick<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.below(from.len() as u64) as usize) }
    }

    pub(super) fn millis(&self, most: u64) -> Duration {
        Duration::from_millis(self.below(most))
    }

    /// Goes on once a replica does: whatever reaches it from outside finds a process that runs.
    pub(super) async fn process(&self, node: Node) {
        let gate = lock(&self.gates).get(&node).cloned();
        if let Some(gate) = gate {
            gate.pass().await;
        }
    }

    pub(super) fn died(&self, node: Node) -> bool {
        lock(&self.gates).get(&node).is_some_and(|gate| gate.state() == State::Dead)
    }

    /// Looks at, or writes into, the book. What it finds wrong goes into the trace as well.
    pub(super) fn book<T>(&self, with: impl FnOnce(&mut Book) -> T) -> T {
        let mut book = lock(&self.book);
        book.now = self.now();
        let before = book.violations.len();
        let answer = with(&mut book);
        for found in &book.violations[before..] {
            self.say(|| format!("VIOLATION of {}: {}", found.rule, found.what));
        }
        answer
    }

    pub(super) fn say(&self, line: impl FnOnce() -> String) {
        let at = self.time.start.elapsed();
        let line = format!("{:>8.3} {}", at.as_secs_f64(), line());
        let mut trace = lock(&self.trace);
        line.hash(&mut trace.hasher);
        trace.count += 1;
        if trace.lines.len() == KEPT {
            trace.lines.pop_front();
        }
        trace.lines.push_back(line);
    }

    /// The last lines, how many there were, and a fingerprint of all of them and of every throw of the dice.
    pub(super) fn told(&self) -> (Vec<String>, u64, u64) {
        let trace = lock(&self.trace);
        let mut hasher = trace.hasher.clone();
        lock(&self.rng).clone().next().hash(&mut hasher);
        (trace.lines.iter().cloned().collect(), trace.count, hasher.finish())
    }
}

/// The time that nobody in the world can read but the store: tokio's, which jumps whenever nobody has anything to do.
pub(super) struct TrueTime {
    base: Timestamp,
    start: Instant,
}

#[async_trait]
impl Clock for TrueTime {
    fn now(&self) -> Timestamp {
        truncate(self.base + self.start.elapsed())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Whether a replica lives. Everything it calls goes through here, so it can stop for a while, or for good, at any of
/// its awaits; a dead one runs no destructor, as after `kill -9`.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    resumed: Notify,
}

#[derive(Clone, Copy, PartialEq, Default)]
pub(super) enum State {
    #[default]
    Lives,
    Stalls,
    Dead,
}

impl Gate {
    pub(super) async fn pass(&self) {
        loop {
            let resumed = self.resumed.notified();
            let state = *lock(&self.state);
            match state {
                State::Lives => return,
                State::Stalls => resumed.await,
                State::Dead => std::future::pending().await,
            }
        }
    }

    pub(super) fn state(&self) -> State {
        *lock(&self.state)
    }

    pub(super) fn set(&self, state: State) {
        let mut now = lock(&self.state);
        // Nobody comes back to life.
        if *now != State::Dead {
            *now = state;
        }
        drop(now);
        self.resumed.notify_waiters();
    }
}

/// A replica's own clock, which nobody has set right.
pub(super) struct SkewedClock {
    pub sim: Arc<Sim>,
    pub gate: Arc<Gate>,
    /// By how much; somebody sets it now and then.
    pub ahead_ms: Arc<AtomicI64>,
}

#[async_trait]
impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        self.sim.now() + chrono::TimeDelta::milliseconds(self.ahead_ms.load(Ordering::Relaxed))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
        self.gate.pass().await;
    }
}
