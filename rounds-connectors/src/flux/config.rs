//! What an operator configures. The docs of the fields are the form's help.

use std::collections::BTreeSet;

use rounds_core::plugin::BuildError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kubernetes::Credentials;
use crate::kubernetes::gate::is_namespace;

/// Flux in a Kubernetes cluster, reached through kubectl.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FluxConfig {
    /// The namespaces whose Flux objects steps may name, and the sources they may reconcile. An empty list permits
    /// nothing. Flux's own objects are often in `flux-system`: list it, if steps may change them.
    pub allowed_namespaces: BTreeSet<String>,
    /// Whose credentials are used: `kubeconfig` (the secret), or `inCluster` (those of the pod that Rounds runs in, which
    /// the server's operator lends with `ROUNDS_ALLOW=NAME:in-cluster`; no secret then).
    #[serde(default)]
    pub credentials: Credentials,
    /// Seconds that a step may take, the wait for Flux's controller included (10 to 600). A reconciliation that is not
    /// over by then is reported as one whose outcome is unknown; Flux goes on with it.
    #[serde(default = "default_timeout")]
    pub timeout_sec: u32,
}

fn default_timeout() -> u32 {
    180
}

impl FluxConfig {
    /// A config for these namespaces, everything else at its default.
    #[must_use]
    pub fn for_namespaces<S: Into<String>>(namespaces: impl IntoIterator<Item = S>) -> Self {
        Self {
            allowed_namespaces: namespaces.into_iter().map(Into::into).collect(),
            credentials: Credentials::default(),
            timeout_sec: default_timeout(),
        }
    }

    pub(super) fn check(&self) -> Result<(), BuildError> {
        if let Some(entry) = self.allowed_namespaces.iter().find(|entry| !is_namespace(entry)) {
            let entry: String = entry.chars().take(80).collect();
            return Err(BuildError::config(format!(
                "allowedNamespaces: {entry:?} is not a namespace; list each by its exact name, patterns are not understood"
            )));
        }
        if !(10..=600).contains(&self.timeout_sec) {
            return Err(BuildError::config(format!("timeoutSec: {} is not from 10 to 600", self.timeout_sec)));
        }
        Ok(())
    }

    /// The namespaces, for messages.
    pub(super) fn shown(&self) -> String {
        match self.allowed_namespaces.iter().map(String::as_str).collect::<Vec<_>>() {
            none if none.is_empty() => "none".into(),
            some => some.join(", "),
        }
    }

    /// Seconds after which kubectl gives up on one request.
    pub(super) fn request_timeout(&self) -> u32 {
        (self.timeout_sec / 2).clamp(2, 30)
    }
}
