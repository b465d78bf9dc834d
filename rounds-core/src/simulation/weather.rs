//! How much goes wrong in a run. Each seed has a weather of its own, in which some faults are frequent and some never
//! happen: if everything went wrong all the time, nothing would ever get far enough to go wrong in an interesting way.

use super::rng::Rng;

/// Of a thousand times.
type PerMille = u64;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    // The store, per call.
    pub unavailable: PerMille,
    pub conflict: PerMille,
    pub answer_lost: PerMille,
    pub slow: PerMille,
    pub late: PerMille,
    // Wake-ups, per commit and replica.
    pub wake_lost: PerMille,
    pub wake_twice: PerMille,
    pub wake_late: PerMille,
    // The adapter, per effect.
    pub not_started: PerMille,
    pub fails: PerMille,
    pub unknown: PerMille,
    pub hangs: PerMille,
    pub panics: PerMille,
    pub dry_run_fails: PerMille,
    // The datasource, per query.
    pub query_fails: PerMille,
    pub query_empty: PerMille,
    pub query_slow: PerMille,
    pub query_panics: PerMille,
    // The investigator, per run.
    pub investigator_fails: PerMille,
    pub investigator_hangs: PerMille,
    pub investigator_panics: PerMille,
    // The channel, per notice.
    pub notice_fails: PerMille,
    pub notice_hangs: PerMille,
    // The machines, per moment.
    pub crash: PerMille,
    pub restart: PerMille,
    pub stall: PerMille,
    pub theft: PerMille,
    pub outage: PerMille,
    pub clock_set: PerMille,
}

impl Weather {
    pub(super) fn of(rng: &mut Rng) -> Self {
        // A fault is absent in two of five runs, and otherwise as frequent as the dice say.
        let mut up_to = |most: u64| if rng.chance(400) { 0 } else { 1 + rng.below(most) };
        Self {
            unavailable: up_to(30),
            conflict: up_to(40),
            answer_lost: up_to(40),
            slow: up_to(100),
            late: up_to(80),
            wake_lost: up_to(900),
            wake_twice: up_to(300),
            wake_late: up_to(400),
            not_started: up_to(150),
            fails: up_to(250),
            unknown: up_to(200),
            hangs: up_to(150),
            panics: up_to(100),
            dry_run_fails: up_to(100),
            query_fails: up_to(200),
            query_empty: up_to(200),
            query_slow: up_to(200),
            query_panics: up_to(50),
            investigator_fails: up_to(200),
            investigator_hangs: up_to(150),
            investigator_panics: up_to(100),
            notice_fails: up_to(300),
            notice_hangs: up_to(100),
            crash: up_to(60),
            restart: up_to(30),
            stall: up_to(80),
            theft: up_to(100),
            outage: up_to(30),
            clock_set: up_to(200),
        }
    }
}
