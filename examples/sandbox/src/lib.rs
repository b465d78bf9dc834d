//! A stand-in for a cluster and its metrics, for the demo and the tests.
//!
//! [`Sandbox`] serves enough of the Kubernetes API on loopback for the real `kubectl`, with small
//! controllers behind it, and a Prometheus-compatible server whose series follow the cluster's state.
//!
//! ```
//! # async fn example() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use rounds_sandbox::{Sandbox, Workload};
//!
//! let sandbox = Sandbox::builder().speed(10.0).start().await?;
//! sandbox.create_workload(Workload::new("shop", "cart", "registry.test/cart:1.0")).await?;
//! sandbox.wait_until(|c| c.rolled_out("shop", "cart"), Duration::from_secs(20)).await?;
//! std::fs::write("kubeconfig", sandbox.kubeconfig())?;
//! sandbox.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! It decides nothing by magic names: which images exist and what they do is said through
//! [`Registry`], how much load arrives through [`Workload`], which requests fail through [`FaultRule`].

mod access;
mod api;
mod clock;
mod cluster;
mod controllers;
mod faults;
mod hub;
mod metrics;
mod registry;
mod requests;
mod sandbox;
mod snapshot;
mod tls;
mod traffic;
mod workload;

pub use faults::{FaultAction, FaultMoment, FaultRule};
pub use registry::{ImageBehaviour, Registry, UnknownImages};
pub use requests::RecordedRequest;
pub use sandbox::{Builder, Sandbox, ScalingWording};
pub use snapshot::Snapshot;
pub use workload::{Workload, WorkloadKind};
