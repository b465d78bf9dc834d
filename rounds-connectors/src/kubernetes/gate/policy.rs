//! What one connector may do: the gate's only input beside the command.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::custom::CustomKinds;
use super::names;

/// A protection that an operator may lift for one connector, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum OptIn {
    /// Write Roles and RoleBindings.
    Rbac,
    /// Write ServiceAccounts.
    ServiceAccounts,
    /// Write NetworkPolicies.
    NetworkPolicies,
    /// Write ResourceQuotas and LimitRanges.
    Quotas,
    /// Write Endpoints and EndpointSlices.
    Endpoints,
    /// Privileged containers, added capabilities, privilege escalation, unconfined profiles.
    PrivilegedPods,
    /// Pods that use the host's files, network, ports or processes.
    HostAccess,
}

impl OptIn {
    /// The word an operator writes in the connector's config.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Rbac => "rbac",
            Self::ServiceAccounts => "serviceAccounts",
            Self::NetworkPolicies => "networkPolicies",
            Self::Quotas => "quotas",
            Self::Endpoints => "endpoints",
            Self::PrivilegedPods => "privilegedPods",
            Self::HostAccess => "hostAccess",
        }
    }
}

/// What one connector may do. The default permits nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// The namespaces that commands may name. Entries that are not namespaces match nothing.
    pub namespaces: BTreeSet<String>,
    /// Whether reads may look at cluster-scoped kinds.
    pub cluster_reads: bool,
    /// Whether reads may span all namespaces.
    pub all_namespaces_reads: bool,
    /// Whether investigations, too, may run `rollout status` and `rollout history`.
    pub rollout_reads: bool,
    /// Protections that are lifted.
    pub opt_ins: BTreeSet<OptIn>,
    /// Service accounts that pods in manifests and patches may name, beside `default`.
    pub pod_service_accounts: BTreeSet<String>,
    /// The most replicas a change may ask for.
    pub max_replicas: u32,
    /// The time after which a command is killed, in seconds.
    pub timeout_sec: u32,
    /// What the cluster was seen to serve beside the built-in kinds; none in a gate that knows no cluster.
    pub custom_kinds: CustomKinds,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            namespaces: BTreeSet::new(),
            cluster_reads: false,
            all_namespaces_reads: false,
            rollout_reads: false,
            opt_ins: BTreeSet::new(),
            pod_service_accounts: BTreeSet::new(),
            max_replicas: 1000,
            timeout_sec: 60,
            custom_kinds: CustomKinds::default(),
        }
    }
}

impl Policy {
    /// A policy that permits these namespaces and nothing unusual.
    #[must_use]
    pub fn for_namespaces<S: Into<String>>(namespaces: impl IntoIterator<Item = S>) -> Self {
        Self { namespaces: namespaces.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    pub(crate) fn allows(&self, namespace: &str) -> bool {
        names::is_dns_label(namespace) && self.namespaces.contains(namespace)
    }

    /// The one namespace there is, when there is exactly one.
    pub(crate) fn only_namespace(&self) -> Option<&str> {
        let mut usable = self.namespaces.iter().filter(|namespace| names::is_dns_label(namespace));
        usable.next().filter(|_| usable.next().is_none()).map(String::as_str)
    }

    pub(crate) fn opted_in(&self, opt_in: OptIn) -> bool {
        self.opt_ins.contains(&opt_in)
    }

    /// The namespaces, for messages.
    pub(crate) fn shown(&self) -> String {
        if self.namespaces.is_empty() {
            return "none: the connector's allowedNamespaces is empty".into();
        }
        self.namespaces.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// How long one request may take. Half the process's time, so that a dead server is reported as such rather
    /// than as a killed process.
    pub(crate) fn request_timeout(&self) -> u32 {
        (self.timeout_sec / 2).max(1)
    }

    /// How long a command that waits may wait: it should say itself that the time is over, before it is killed.
    pub(crate) fn wait_timeout(&self) -> u32 {
        (self.timeout_sec - self.timeout_sec / 6).saturating_sub(1).max(1)
    }
}
