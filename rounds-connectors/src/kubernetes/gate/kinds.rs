//! The kinds of objects that Kubernetes 1.20 to 1.36 serves out of the box, and what each may be used for.
//!
//! A kind that is not here is looked for among the [custom kinds](super::custom) that the cluster was seen to serve;
//! one that is in neither is refused, because whether its objects live in a namespace cannot be proven.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use rounds_core::step::Refusal;

use super::policy::Policy;
use super::refusal::{Rule, quote, refuse};

/// Where a kind's objects live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Namespaced,
    Cluster,
}

/// What a kind is to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Reads and writes, as the connector allows.
    Ordinary,
    /// Never read, never written.
    Secret,
    /// Who may do what. Written only where the connector opted in.
    Rbac,
    /// Identities of pods. Written only where the connector opted in.
    ServiceAccount,
    /// Who may talk to whom. Written only where the connector opted in.
    NetworkPolicy,
    /// Quotas and limits: the guard rails of a namespace. Written only where the connector opted in.
    Guard,
    /// Routes traffic to any address. Written only where the connector opted in.
    Endpoints,
    /// Controllers' own records, and evidence: never written by a person.
    Record,
    /// Answers to questions and one-way actions, never objects: neither read nor written.
    Virtual,
    /// Served by the cluster and not built into Kubernetes: only its scope is known here.
    Custom,
}

/// One kind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) kind: Cow<'static, str>,
    pub(crate) plural: Cow<'static, str>,
    pub(crate) singular: Cow<'static, str>,
    pub(crate) short: &'static [&'static str],
    pub(crate) group: Cow<'static, str>,
    pub(crate) scope: Scope,
    pub(crate) class: Class,
}

impl Kind {
    /// `deployment.apps`, `pod`: what targets, audit rows and named objects carry.
    pub(crate) fn canonical(&self) -> String {
        if self.group.is_empty() { self.singular.to_string() } else { format!("{}.{}", self.singular, self.group) }
    }

    /// Whether nothing but its scope is known of it.
    pub(crate) fn is_custom(&self) -> bool {
        self.class == Class::Custom
    }

    /// Whether its objects hold a pod template or are pods.
    pub(crate) fn has_pods(&self) -> bool {
        matches!(
            &*self.kind,
            "Pod"
                | "PodTemplate"
                | "Deployment"
                | "StatefulSet"
                | "DaemonSet"
                | "ReplicaSet"
                | "ReplicationController"
                | "Job"
                | "CronJob"
        ) && matches!(&*self.group, "" | "apps" | "batch" | "extensions")
    }

    /// Whether `kubectl scale` and a `replicas` field may mean something to it. A custom kind has the subresource or
    /// the server says that it has not.
    pub(crate) fn scales(&self) -> bool {
        self.is_custom()
            || (matches!(&*self.kind, "Deployment" | "StatefulSet" | "ReplicaSet" | "ReplicationController")
                && matches!(&*self.group, "" | "apps" | "extensions"))
    }

    /// Whether `kubectl rollout` knows it.
    pub(crate) fn rolls_out(&self) -> bool {
        matches!(&*self.kind, "Deployment" | "StatefulSet" | "DaemonSet") && self.group == "apps"
    }

    /// Whether `kubectl logs` can find pods behind it.
    pub(crate) fn has_logs(&self) -> bool {
        (self.has_pods() && !matches!(&*self.kind, "PodTemplate" | "CronJob"))
            || (self.kind == "Service" && self.group.is_empty())
    }
}

use Class::{Endpoints, Guard, NetworkPolicy, Ordinary, Rbac, Record, Secret, ServiceAccount, Virtual};
use Scope::{Cluster, Namespaced};

const fn row(
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short: &'static [&'static str],
    group: &'static str,
    scope: Scope,
    class: Class,
) -> Kind {
    Kind {
        kind: Cow::Borrowed(kind),
        plural: Cow::Borrowed(plural),
        singular: Cow::Borrowed(singular),
        short,
        group: Cow::Borrowed(group),
        scope,
        class,
    }
}

/// Order matters where two groups serve the same word: the first is what the bare word means to kubectl.
#[rustfmt::skip]
pub(crate) static KINDS: &[Kind] = &[
    row("Pod", "pods", "pod", &["po"], "", Namespaced, Ordinary),
    row("Service", "services", "service", &["svc"], "", Namespaced, Ordinary),
    row("ConfigMap", "configmaps", "configmap", &["cm"], "", Namespaced, Ordinary),
    row("PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim", &["pvc"], "", Namespaced, Ordinary),
    row("ReplicationController", "replicationcontrollers", "replicationcontroller", &["rc"], "", Namespaced, Ordinary),
    row("PodTemplate", "podtemplates", "podtemplate", &[], "", Namespaced, Ordinary),
    row("Event", "events", "event", &["ev"], "", Namespaced, Record),
    row("Endpoints", "endpoints", "endpoints", &["ep"], "", Namespaced, Endpoints),
    row("LimitRange", "limitranges", "limitrange", &["limits"], "", Namespaced, Guard),
    row("ResourceQuota", "resourcequotas", "resourcequota", &["quota"], "", Namespaced, Guard),
    row("Secret", "secrets", "secret", &[], "", Namespaced, Secret),
    row("ServiceAccount", "serviceaccounts", "serviceaccount", &["sa"], "", Namespaced, ServiceAccount),
    row("Binding", "bindings", "binding", &[], "", Namespaced, Virtual),
    row("Namespace", "namespaces", "namespace", &["ns"], "", Cluster, Ordinary),
    row("Node", "nodes", "node", &["no"], "", Cluster, Ordinary),
    row("PersistentVolume", "persistentvolumes", "persistentvolume", &["pv"], "", Cluster, Ordinary),
    row("ComponentStatus", "componentstatuses", "componentstatus", &["cs"], "", Cluster, Ordinary),

    row("Deployment", "deployments", "deployment", &["deploy"], "apps", Namespaced, Ordinary),
    row("ReplicaSet", "replicasets", "replicaset", &["rs"], "apps", Namespaced, Ordinary),
    row("StatefulSet", "statefulsets", "statefulset", &["sts"], "apps", Namespaced, Ordinary),
    row("DaemonSet", "daemonsets", "daemonset", &["ds"], "apps", Namespaced, Ordinary),
    row("ControllerRevision", "controllerrevisions", "controllerrevision", &[], "apps", Namespaced, Record),

    row("Job", "jobs", "job", &[], "batch", Namespaced, Ordinary),
    row("CronJob", "cronjobs", "cronjob", &["cj"], "batch", Namespaced, Ordinary),
    row("HorizontalPodAutoscaler", "horizontalpodautoscalers", "horizontalpodautoscaler", &["hpa"], "autoscaling", Namespaced, Ordinary),
    row("PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget", &["pdb"], "policy", Namespaced, Ordinary),
    row("PodSecurityPolicy", "podsecuritypolicies", "podsecuritypolicy", &["psp"], "policy", Cluster, Ordinary),

    row("Ingress", "ingresses", "ingress", &["ing"], "networking.k8s.io", Namespaced, Ordinary),
    row("Ingress", "ingresses", "ingress", &["ing"], "extensions", Namespaced, Ordinary),
    row("NetworkPolicy", "networkpolicies", "networkpolicy", &["netpol"], "networking.k8s.io", Namespaced, NetworkPolicy),
    row("IngressClass", "ingressclasses", "ingressclass", &[], "networking.k8s.io", Cluster, Ordinary),
    row("IPAddress", "ipaddresses", "ipaddress", &["ip"], "networking.k8s.io", Cluster, Ordinary),
    row("ServiceCIDR", "servicecidrs", "servicecidr", &[], "networking.k8s.io", Cluster, Ordinary),
    row("EndpointSlice", "endpointslices", "endpointslice", &[], "discovery.k8s.io", Namespaced, Endpoints),
    row("Lease", "leases", "lease", &[], "coordination.k8s.io", Namespaced, Ordinary),
    row("LeaseCandidate", "leasecandidates", "leasecandidate", &[], "coordination.k8s.io", Namespaced, Record),
    row("Event", "events", "event", &["ev"], "events.k8s.io", Namespaced, Record),
    row("PodMetrics", "pods", "pod", &[], "metrics.k8s.io", Namespaced, Record),
    row("NodeMetrics", "nodes", "node", &[], "metrics.k8s.io", Cluster, Record),
    row("CSIStorageCapacity", "csistoragecapacities", "csistoragecapacity", &[], "storage.k8s.io", Namespaced, Record),
    row("StorageClass", "storageclasses", "storageclass", &["sc"], "storage.k8s.io", Cluster, Ordinary),
    row("VolumeAttachment", "volumeattachments", "volumeattachment", &[], "storage.k8s.io", Cluster, Ordinary),
    row("VolumeAttributesClass", "volumeattributesclasses", "volumeattributesclass", &["vac"], "storage.k8s.io", Cluster, Ordinary),
    row("CSIDriver", "csidrivers", "csidriver", &[], "storage.k8s.io", Cluster, Ordinary),
    row("CSINode", "csinodes", "csinode", &[], "storage.k8s.io", Cluster, Ordinary),
    row("ResourceClaim", "resourceclaims", "resourceclaim", &[], "resource.k8s.io", Namespaced, Record),
    row("ResourceClaimTemplate", "resourceclaimtemplates", "resourceclaimtemplate", &[], "resource.k8s.io", Namespaced, Record),
    row("ResourceSlice", "resourceslices", "resourceslice", &[], "resource.k8s.io", Cluster, Ordinary),
    row("DeviceClass", "deviceclasses", "deviceclass", &[], "resource.k8s.io", Cluster, Ordinary),

    row("Role", "roles", "role", &[], "rbac.authorization.k8s.io", Namespaced, Rbac),
    row("RoleBinding", "rolebindings", "rolebinding", &[], "rbac.authorization.k8s.io", Namespaced, Rbac),
    row("ClusterRole", "clusterroles", "clusterrole", &[], "rbac.authorization.k8s.io", Cluster, Rbac),
    row("ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding", &[], "rbac.authorization.k8s.io", Cluster, Rbac),
    row("LocalSubjectAccessReview", "localsubjectaccessreviews", "localsubjectaccessreview", &[], "authorization.k8s.io", Namespaced, Virtual),
    row("SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview", &[], "authorization.k8s.io", Cluster, Virtual),
    row("SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview", &[], "authorization.k8s.io", Cluster, Virtual),
    row("SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview", &[], "authorization.k8s.io", Cluster, Virtual),
    row("TokenReview", "tokenreviews", "tokenreview", &[], "authentication.k8s.io", Cluster, Virtual),
    row("SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview", &[], "authentication.k8s.io", Cluster, Virtual),

    row("CertificateSigningRequest", "certificatesigningrequests", "certificatesigningrequest", &["csr"], "certificates.k8s.io", Cluster, Rbac),
    row("ClusterTrustBundle", "clustertrustbundles", "clustertrustbundle", &[], "certificates.k8s.io", Cluster, Rbac),
    row("PodCertificateRequest", "podcertificaterequests", "podcertificaterequest", &[], "certificates.k8s.io", Namespaced, Record),
    row("CustomResourceDefinition", "customresourcedefinitions", "customresourcedefinition", &["crd", "crds"], "apiextensions.k8s.io", Cluster, Ordinary),
    row("APIService", "apiservices", "apiservice", &[], "apiregistration.k8s.io", Cluster, Ordinary),
    row("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", "mutatingwebhookconfiguration", &[], "admissionregistration.k8s.io", Cluster, Ordinary),
    row("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "validatingwebhookconfiguration", &[], "admissionregistration.k8s.io", Cluster, Ordinary),
    row("ValidatingAdmissionPolicy", "validatingadmissionpolicies", "validatingadmissionpolicy", &[], "admissionregistration.k8s.io", Cluster, Ordinary),
    row("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", "validatingadmissionpolicybinding", &[], "admissionregistration.k8s.io", Cluster, Ordinary),
    row("MutatingAdmissionPolicy", "mutatingadmissionpolicies", "mutatingadmissionpolicy", &[], "admissionregistration.k8s.io", Cluster, Ordinary),
    row("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", "mutatingadmissionpolicybinding", &[], "admissionregistration.k8s.io", Cluster, Ordinary),
    row("PriorityClass", "priorityclasses", "priorityclass", &["pc"], "scheduling.k8s.io", Cluster, Ordinary),
    row("RuntimeClass", "runtimeclasses", "runtimeclass", &[], "node.k8s.io", Cluster, Ordinary),
    row("FlowSchema", "flowschemas", "flowschema", &[], "flowcontrol.apiserver.k8s.io", Cluster, Ordinary),
    row("PriorityLevelConfiguration", "prioritylevelconfigurations", "prioritylevelconfiguration", &[], "flowcontrol.apiserver.k8s.io", Cluster, Ordinary),
    row("StorageVersion", "storageversions", "storageversion", &[], "internal.apiserver.k8s.io", Cluster, Ordinary),
    row("StorageVersionMigration", "storageversionmigrations", "storageversionmigration", &[], "storagemigration.k8s.io", Cluster, Ordinary),
];

/// What the category `all` stands for, but for replication controllers, which deployments replaced. It is expanded
/// here rather than by kubectl: a custom kind can put itself into the category, whatever its scope.
const ALL: &[&str] = &[
    "pods",
    "services",
    "daemonsets",
    "deployments",
    "replicasets",
    "statefulsets",
    "horizontalpodautoscalers",
    "cronjobs",
    "jobs",
];

/// One kind of either sort.
#[derive(Debug, Clone, Eq)]
pub(crate) enum KindHandle {
    BuiltIn(&'static Kind),
    Custom(Arc<Kind>),
}

impl Deref for KindHandle {
    type Target = Kind;

    fn deref(&self) -> &Kind {
        match self {
            Self::BuiltIn(kind) => kind,
            Self::Custom(kind) => kind,
        }
    }
}

impl PartialEq for KindHandle {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// A kind as a command names it, with the API version when it insists on one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KindRef {
    pub(crate) kind: KindHandle,
    pub(crate) version: Option<String>,
}

impl KindRef {
    pub(super) const fn built_in(kind: &'static Kind) -> Self {
        Self { kind: KindHandle::BuiltIn(kind), version: None }
    }

    fn at(self, version: &str) -> Self {
        Self { version: Some(version.to_owned()), ..self }
    }

    fn qualify(&self, word: &str) -> String {
        match (&self.version, &*self.kind.group) {
            (Some(version), group) => format!("{word}.{version}.{group}"),
            (None, "") => word.to_owned(),
            (None, group) => format!("{word}.{group}"),
        }
    }

    /// `deployments.apps`: in lists.
    pub(crate) fn plural(&self) -> String {
        self.qualify(&self.kind.plural)
    }

    /// `deployment.apps`: before a slash and a name. A custom kind's singular is not known, its plural always works.
    pub(crate) fn singular(&self) -> String {
        self.qualify(if self.kind.is_custom() { &self.kind.plural } else { &self.kind.singular })
    }
}

pub(super) fn is_version(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('v') else { return false };
    let digits = |s: &str| !s.is_empty() && s.len() <= 3 && s.bytes().all(|c| c.is_ascii_digit());
    ["alpha", "beta"]
        .iter()
        .find_map(|stage| rest.split_once(stage))
        .map_or_else(|| digits(rest), |(a, b)| digits(a) && digits(b))
}

/// Finds the kind behind a word: singular, plural, short name or kind, alone or with `.group` or `.version.group`.
pub(crate) fn resolve(word: &str, policy: &Policy) -> Result<KindRef, Refusal> {
    let lower = word.to_ascii_lowercase();
    let (resource, rest) = match lower.split_once('.') {
        Some((resource, rest)) => (resource, Some(rest)),
        None => (lower.as_str(), None),
    };
    let (version, group) = match rest {
        None => (None, None),
        Some(rest) => match rest.split_once('.') {
            Some((version, group)) if is_version(version) => (Some(version), Some(group)),
            _ => (None, Some(rest)),
        },
    };
    let built_in = |kind: &&Kind| {
        (resource == kind.plural || resource == kind.singular || kind.short.contains(&resource))
            && group.is_none_or(|group| group == kind.group)
    };
    // `pods.` names no group, but `pods.v1.` names the core one.
    let found = if rest == Some("") {
        None
    } else {
        match KINDS.iter().find(built_in) {
            Some(kind) => Some(KindRef::built_in(kind)),
            None => policy.custom_kinds.find(resource, group)?,
        }
    };
    let found = found.map(|kind| match version {
        Some(version) => kind.at(version),
        None => kind,
    });
    found.ok_or_else(|| {
        refuse(
            Rule::UnknownKind,
            format!(
                "{} is not a kind built into Kubernetes and none that the cluster was seen to serve, so whether its objects \
                 live in a namespace cannot be proven; built-in kinds are pods, deployments, statefulsets, services, events, \
                 configmaps and so on",
                quote(word)
            ),
        )
    })
}

/// A built-in kind that is there for certain.
pub(crate) fn known(kind: &str) -> Result<KindRef, Refusal> {
    resolve(kind, &Policy::default())
}

/// The kinds of a comma list, in order and without repetition; `all` is expanded.
pub(crate) fn resolve_list(words: &str, policy: &Policy) -> Result<Vec<KindRef>, Refusal> {
    let mut kinds: Vec<KindRef> = Vec::new();
    let mut add = |kind: KindRef| {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    };
    for word in words.split(',') {
        if word.eq_ignore_ascii_case("all") {
            for member in ALL {
                add(resolve(member, policy)?);
            }
        } else {
            add(resolve(word, policy)?);
        }
    }
    Ok(kinds)
}

/// The kind of a manifest's `apiVersion` and `kind`; both are case-sensitive there.
pub(crate) fn of_manifest(api_version: &str, kind: &str, policy: &Policy) -> Result<KindRef, Refusal> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let built_in = KINDS.iter().find(|known| known.kind == kind && known.group == group).map(KindRef::built_in);
    let found = built_in.or_else(|| policy.custom_kinds.of_manifest(group, kind));
    found.filter(|_| is_version(version)).map(|kind| kind.at(version)).ok_or_else(|| {
        refuse(
            Rule::UnknownKind,
            format!(
                "a manifest of apiVersion {} and kind {} is neither of a kind built into Kubernetes nor of one that the \
                 cluster was seen to serve, so its scope cannot be proven",
                quote(api_version),
                quote(kind)
            ),
        )
    })
}

/// Whether Kubernetes itself serves kinds in this group.
pub(super) fn is_built_in_group(group: &str) -> bool {
    KINDS.iter().any(|kind| kind.group == group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_by_each_of_its_names() {
        for word in ["deploy", "Deployment", "deployments", "deployment.apps", "deployments.v1.apps"] {
            assert_eq!(resolve(word, &Policy::default()).unwrap().kind.canonical(), "deployment.apps", "{word}");
        }
        assert_eq!(known("pods.metrics.k8s.io").unwrap().kind.kind, "PodMetrics");
        for word in ["foo", "", "deployments.", "deployments.extensions", "pods.v1", "deploy.v1x.apps", "secretlist"] {
            assert!(resolve(word, &Policy::default()).is_err(), "{word}");
        }
    }

    #[test]
    fn every_canonical_name_resolves_to_its_own_row() {
        for kind in KINDS {
            let one = KindRef::built_in(kind);
            assert_eq!(known(&one.singular()).unwrap(), one);
            assert_eq!(known(&one.plural()).unwrap(), one);
        }
    }

    #[test]
    fn the_category_all_holds_no_secret_and_nothing_outside_namespaces() {
        for kind in resolve_list("all", &Policy::default()).unwrap() {
            assert_eq!((kind.kind.scope, kind.kind.class), (Scope::Namespaced, Class::Ordinary));
        }
    }
}
