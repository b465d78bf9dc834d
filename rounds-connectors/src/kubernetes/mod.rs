//! Kubernetes through `kubectl`: the gate that decides what may run, and the adapter that runs it.

mod gate;

pub use gate::{Gate, OptIn, Policy};
