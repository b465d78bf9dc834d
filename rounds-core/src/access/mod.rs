//! Who may do what. Pure: no ports, no clock.
//!
//! A [`Principal`] holds an organisation role and grants; [`evaluate`] says whether an [`Action`] on some
//! [`Scope`]s is allowed, and [`Denied`] names what is missing. Embedders with rules of their own implement
//! [`Authorizer`](crate::ports::Authorizer) instead.

mod action;
mod evaluate;
mod principal;
mod role;
mod scope;

pub use action::{Action, ActionInfo, UnknownAction};
pub use evaluate::{Denied, covers, evaluate};
pub use principal::{Actor, ActorType, Grant, Principal};
pub use role::{FixedRole, OrgRole, UnknownRole};
pub use scope::{InvalidScope, Scope};
