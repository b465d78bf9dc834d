//! What ends a run before it is done, other than its budget: turns, time, going in circles.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use super::AgentSettings;
use crate::canonical;
use crate::ports::Toolbox;
use crate::time::{Timestamp, elapsed};

/// How often the same call is made in one run.
const SAME: u32 = 2;
/// How many calls that repeat themselves a run survives.
const REPEATS: u32 = 5;
/// How many turns in a row may bring nothing but errors.
const BARREN: u32 = 6;
/// How much time the last turn is given; less, of a short run.
const CLOSING: Duration = Duration::from_secs(60);
/// What is kept back of the dispatcher's own limit, to come home in time.
const MARGIN: Duration = Duration::from_secs(10);

pub(super) struct Limits {
    began: Timestamp,
    wall_time: Duration,
    turns: u32,
    turn: u32,
    seen: HashMap<(String, String), u32>,
    repeats: u32,
    barren: u32,
}

impl Limits {
    pub fn new(settings: &AgentSettings, tools: &dyn Toolbox) -> Self {
        let began = tools.now();
        let given = elapsed(began, tools.deadline());
        Self {
            began,
            // Of a run that has only seconds, half is still worth having.
            wall_time: settings.wall_time.min(given.saturating_sub(MARGIN.min(given / 2))),
            turns: settings.turns,
            turn: 0,
            seen: HashMap::new(),
            repeats: 0,
            barren: 0,
        }
    }

    /// How much time is left.
    pub fn left(&self, now: Timestamp) -> Duration {
        self.wall_time.saturating_sub(elapsed(self.began, now))
    }

    /// How much of the time is for the conclusion.
    pub fn closing(&self) -> Duration {
        CLOSING.min(self.wall_time / 5)
    }

    /// Begins a turn.
    ///
    /// # Errors
    /// The limit that forbids it.
    pub fn begin_turn(&mut self, now: Timestamp) -> Result<(), String> {
        if self.turn >= self.turns || self.left(now) < Duration::from_secs(1) {
            return Err(self.reached());
        }
        if self.repeats > REPEATS {
            return Err(format!("loop: the model repeated itself {} times", self.repeats));
        }
        if self.barren >= BARREN {
            return Err(format!("loop: {BARREN} turns in a row brought nothing but errors"));
        }
        self.turn += 1;
        Ok(())
    }

    /// The limit that ends a run after its last turn: turns, or else time.
    pub fn reached(&self) -> String {
        match self.turns_left() {
            0 => format!("turns: the run had its {} turns", self.turns),
            _ => format!("time: the run took its {} s", self.wall_time.as_secs()),
        }
    }

    /// How many turns are left after this one.
    pub fn turns_left(&self) -> u32 {
        self.turns.saturating_sub(self.turn)
    }

    /// Whether such a call was made often enough. What was read before is still there to be cited.
    pub fn repeats(&mut self, tool: &str, arguments: &Value) -> bool {
        let times = self.seen.entry((tool.to_owned(), canonical::to_string(arguments))).or_default();
        *times += 1;
        let again = *times > SAME;
        self.repeats += u32::from(again);
        again
    }

    /// Ends a turn that brought something, or nothing.
    pub fn end_turn(&mut self, fruitful: bool) {
        self.barren = if fruitful { 0 } else { self.barren + 1 };
    }
}
