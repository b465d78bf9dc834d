//! The audit log: who did what, when, bound to which digest, and how it ended. Pure.
//!
//! Core passes entries without place or hash; the store gives each its number and chains it ([`chain`]).

pub mod chain;
mod entry;
mod prune;

pub use entry::{AuditEntry, AuditRow, Outcome};
pub use prune::{Checkpoint, Prune, TooYoung};
