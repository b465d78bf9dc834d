//! Deterministic simulation: the services, several replicas of them, in a world that is made of one seed.
//!
//! `world` runs a seed; `layer`, `ports` and `people` are what goes wrong in it, as often as its `weather` says; `book`,
//! with `rules` and `alerting`, knows what really happened and what of it must not have. `docs/testing.md` says how to
//! replay a seed and how to add a fault.

mod alerting;
mod book;
mod layer;
mod mutation;
mod people;
mod ports;
mod rng;
mod rules;
mod sim;
mod tests;
mod weather;
mod world;

pub(crate) use mutation::Mutation;
pub(crate) use sim::next_id;
