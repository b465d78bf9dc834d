//! Deterministic simulation: the services, several replicas of them, in a world that is made of one seed.

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
