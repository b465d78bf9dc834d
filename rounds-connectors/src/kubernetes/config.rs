//! What an operator configures. The docs of the fields are the form's help.

use std::collections::BTreeSet;

use rounds_core::plugin::BuildError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::credentials::Credentials;
use super::gate::{Gate, OptIn, Policy, is_namespace};

/// A Kubernetes cluster reached through kubectl.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesConfig {
    /// The namespaces that commands may name. An empty list permits nothing. System namespaces (kube-system,
    /// kube-public, kube-node-lease) can be listed for reading; they are never changed.
    pub allowed_namespaces: BTreeSet<String>,
    /// Whose credentials are used: `kubeconfig` (the secret), or `inCluster` (those of the pod that Rounds runs in, which
    /// the server's operator lends with `ROUNDS_ALLOW=NAME:in-cluster`; no secret then).
    #[serde(default)]
    pub credentials: Credentials,
    /// What this connector is meant for, in your own words. Shown to people and to the investigator; it permits
    /// nothing.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Let reads look at cluster-scoped kinds, such as nodes and persistent volumes.
    #[serde(default)]
    pub allow_cluster_reads: bool,
    /// Let reads span all namespaces (`-A`).
    #[serde(default)]
    pub allow_all_namespaces_reads: bool,
    /// Let investigations, too, run `rollout status` and `rollout history`, which only read. They are refused there
    /// by default, as every `rollout` command is; plans always may.
    #[serde(default)]
    pub allow_rollout_reads: bool,
    /// Protections to lift, by name: what plans may then contain, if a person approves it.
    #[serde(default)]
    pub opt_ins: BTreeSet<OptIn>,
    /// Service accounts that pods in manifests and patches may name, beside `default`.
    #[serde(default)]
    pub pod_service_accounts: BTreeSet<String>,
    /// The most replicas that a change may ask for.
    #[serde(default = "default_max_replicas")]
    pub max_replicas: u32,
    /// Seconds after which a command is killed (5 to 600). It bounds each step of a plan; a read of an investigation
    /// has no more than the server's own limit for steps (60).
    #[serde(default = "default_timeout")]
    pub timeout_sec: u32,
}

fn default_max_replicas() -> u32 {
    Policy::default().max_replicas
}

fn default_timeout() -> u32 {
    Policy::default().timeout_sec
}

impl KubernetesConfig {
    /// A config for these namespaces, everything else at its default.
    #[must_use]
    pub fn for_namespaces<S: Into<String>>(namespaces: impl IntoIterator<Item = S>) -> Self {
        Self {
            allowed_namespaces: namespaces.into_iter().map(Into::into).collect(),
            credentials: Credentials::default(),
            capabilities: Vec::new(),
            allow_cluster_reads: false,
            allow_all_namespaces_reads: false,
            allow_rollout_reads: false,
            opt_ins: BTreeSet::new(),
            pod_service_accounts: BTreeSet::new(),
            max_replicas: default_max_replicas(),
            timeout_sec: default_timeout(),
        }
    }

    /// The gate that this config makes: what `rounds-server gate` asks.
    ///
    /// # Errors
    /// A namespace or account is not a name, or a number is out of its range.
    pub fn gate(&self) -> Result<Gate, BuildError> {
        if let Some(entry) = self.allowed_namespaces.iter().find(|entry| !is_namespace(entry)) {
            let entry: String = entry.chars().take(80).collect();
            return Err(BuildError::config(format!(
                "allowedNamespaces: {entry:?} is not a namespace; list each by its exact name, patterns are not understood"
            )));
        }
        if let Some(entry) = self.pod_service_accounts.iter().find(|entry| !is_namespace(entry)) {
            let entry: String = entry.chars().take(80).collect();
            return Err(BuildError::config(format!(
                "podServiceAccounts: {entry:?} is not the name of a service account"
            )));
        }
        if !(5..=600).contains(&self.timeout_sec) {
            return Err(BuildError::config(format!("timeoutSec: {} is not from 5 to 600", self.timeout_sec)));
        }
        Ok(Gate::new(Policy {
            namespaces: self.allowed_namespaces.clone(),
            cluster_reads: self.allow_cluster_reads,
            all_namespaces_reads: self.allow_all_namespaces_reads,
            rollout_reads: self.allow_rollout_reads,
            opt_ins: self.opt_ins.clone(),
            pod_service_accounts: self.pod_service_accounts.clone(),
            max_replicas: self.max_replicas,
            timeout_sec: self.timeout_sec,
            ..Policy::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_11_a_pattern_is_not_a_namespace() {
        let error = KubernetesConfig::for_namespaces(["app*"]).gate().unwrap_err();
        assert!(error.to_string().contains("patterns are not understood"), "{error}");
    }
}
