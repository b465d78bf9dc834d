//! Flux (<https://fluxcd.io>) through the Kubernetes API: reconcile, suspend and resume, and what its objects say.
//!
//! It speaks with the real `kubectl`, under the same rules for credentials, files and processes as the
//! [Kubernetes connector](crate::kubernetes). The objects are those of Flux 2: `Kustomization`
//! (`kustomize.toolkit.fluxcd.io/v1`), `HelmRelease` (`helm.toolkit.fluxcd.io/v2`), and the sources `GitRepository`,
//! `OCIRepository`, `HelmRepository` and `Bucket` (`source.toolkit.fluxcd.io`, `v1` or `v1beta2`, whichever the cluster
//! prefers: commands name no version).
//!
//! | step | what is sent |
//! | --- | --- |
//! | `flux.get` | reads; specs are not repeated whole, since values of a `HelmRelease` may hold credentials |
//! | `flux.reconcile` | a merge patch of the annotation `reconcile.fluxcd.io/requestedAt`, then reads until the controller has written the same value to `status.lastHandledReconcileAt` and `Ready` is known |
//! | `flux.suspend`, `flux.resume` | a merge patch of `spec.suspend` |
//!
//! The value of the annotation is any text that differs from the last one
//! (<https://fluxcd.io/flux/components/kustomize/kustomizations/#triggering-a-reconcile>); here it is plan, step and
//! attempt of the approval. Every preview sends the same patch with `--dry-run=server`. The field manager is `rounds`:
//! kustomize-controller takes fields back from managers whose names begin with `kubectl`.
//!
//! **Rights**: `get`, `list` and `patch` on the kinds above, in the allowed namespaces. Nothing else, and no Secrets.
//!
//! **Limits**: which objects a reconciliation will change is known to Flux's controllers only, so a preview names the
//! revisions and not the objects. Static sources (a `HelmRepository` of type `oci`) have nothing to reconcile.

mod adapter;
mod config;
mod kinds;
mod status;
mod step;

use rounds_core::register_connector;

pub use adapter::FluxExecutionAdapter;
pub use config::FluxConfig;

/// The kind under which connectors to Flux are stored.
pub const KIND: &str = "flux";

register_connector! {
    kind: "flux",
    title: "Flux (GitOps)",
    role: Execution,
    secret: Optional("A kubeconfig with one context and inline data (token, certificate data), or a reference to one; none where the credentials are those of the pod (inCluster)"),
    config: FluxConfig,
    build: FluxExecutionAdapter::new,
    check_secret: FluxExecutionAdapter::check_secret,
}
