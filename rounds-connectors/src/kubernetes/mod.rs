//! Kubernetes through `kubectl`: the [`Gate`] that decides what may run, and the adapter that runs it.
//!
//! The gate is pure: `rounds-server gate`, the tests and the adapter ask the same one. The adapter adds a kubeconfig
//! that passed a policy of its own, a private place for files, and processes that end when they should. It runs on
//! Unix.

mod adapter;
mod config;
mod credentials;
pub(crate) mod gate;
mod gitops;
mod kubeconfig;
mod pin;
pub(crate) mod preview;
pub(crate) mod process;
mod proxy;
mod reach;
pub(crate) mod rights;
mod rundir;
pub(crate) mod runner;
mod version;

use rounds_core::register_connector;

pub use adapter::KubectlExecutionAdapter;
pub use config::KubernetesConfig;
pub use credentials::Credentials;
pub use gate::{CustomKind, CustomKinds, Gate, OptIn, Policy};
pub use rundir::sweep_run_dirs;
pub use version::{KubectlError, KubectlInfo, locate_kubectl};

/// The kind under which connectors to Kubernetes are stored.
pub const KIND: &str = "kubernetes";

register_connector! {
    kind: "kubernetes",
    title: "Kubernetes (kubectl)",
    role: Execution,
    secret: Optional("A kubeconfig with one context and inline data (token, certificate data), or a reference to one; none where the credentials are those of the pod (inCluster)"),
    config: KubernetesConfig,
    build: KubectlExecutionAdapter::new,
    check_secret: KubectlExecutionAdapter::check_secret,
}
