//! What connectors of code forges share: the parameters of a change to files, which paths may be touched, what a change
//! comes to against a commit, the diff that people see, and how a branch and its request come to be exactly once.
//!
//! A forge is a [`forge::Forge`]: it reads git's objects and has three requests with an effect. Everything that decides
//! is here, so that both forges keep the same rules:
//!
//! - the branch belongs to one step of one plan ([`order::Order`]). A repeat finds it, proves that it holds what
//!   the step would have made and nothing else, and goes on from there;
//! - nothing is pushed to a branch that exists, nothing is forced, nothing is merged;
//! - paths are in one spelling, inside the allow-list, and outside what makes pipelines run or says who reviews.

pub(crate) mod changes;
pub(crate) mod commands;
pub(crate) mod diff;
pub(crate) mod edits;
pub(crate) mod forge;
pub(crate) mod names;
pub(crate) mod order;
pub(crate) mod paths;
pub(crate) mod reads;
pub(crate) mod session;
pub(crate) mod steps;
pub(crate) mod tree;

pub(crate) use changes::Change;
