//! An application with its own users, roles, feed and database, and Rounds inside of it.
//!
//! [`app`] is there with or without Rounds. [`remediation`] is everything that embedding takes.

pub mod app;
pub mod remediation;
