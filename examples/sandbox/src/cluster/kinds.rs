//! Which kinds the API serves.

/// One resource type: its names, where it lives and what can be done with it.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    /// The first one is how objects are stored.
    pub(crate) versions: &'static [&'static str],
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) namespaced: bool,
    pub(crate) short: &'static [&'static str],
    /// Shown by `kubectl get all`.
    pub(crate) all: bool,
    pub(crate) status: bool,
    pub(crate) scale: bool,
    pub(crate) read_only: bool,
    /// Asked by creating it; nothing is kept.
    pub(crate) review: bool,
}

impl Kind {
    const fn new(
        group: &'static str,
        version: &'static [&'static str],
        plural: &'static str,
        kind: &'static str,
    ) -> Kind {
        Kind {
            group,
            versions: version,
            plural,
            kind,
            namespaced: true,
            short: &[],
            all: false,
            status: false,
            scale: false,
            read_only: false,
            review: false,
        }
    }
    const fn cluster(mut self) -> Kind {
        self.namespaced = false;
        self
    }
    const fn short(mut self, short: &'static [&'static str]) -> Kind {
        self.short = short;
        self
    }
    const fn all(mut self) -> Kind {
        self.all = true;
        self
    }
    const fn status(mut self) -> Kind {
        self.status = true;
        self
    }
    const fn scale(mut self) -> Kind {
        self.scale = true;
        self
    }
    const fn read_only(mut self) -> Kind {
        self.read_only = true;
        self
    }

    const fn review(mut self) -> Kind {
        (self.read_only, self.review) = (true, true);
        self
    }

    pub(crate) fn id(&self) -> (&'static str, &'static str) {
        (self.group, self.plural)
    }

    pub(crate) fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    pub(crate) fn stored_api_version(&self) -> String {
        self.api_version(self.versions[0])
    }

    /// `deployments.apps`, as error messages name a resource.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }
}

macro_rules! kinds {
    ($($name:ident = $value:expr;)*) => {
        $(pub(crate) static $name: Kind = $value;)*
        pub(crate) static KINDS: &[&Kind] = &[$(&$name),*];
    };
}

const FLUX_SOURCES: &str = "source.toolkit.fluxcd.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const V1: &[&str] = &["v1"];

kinds! {
    NAMESPACES = Kind::new("", V1, "namespaces", "Namespace").cluster().short(&["ns"]).status();
    NODES = Kind::new("", V1, "nodes", "Node").cluster().short(&["no"]).status();
    PODS = Kind::new("", V1, "pods", "Pod").short(&["po"]).all().status();
    SERVICES = Kind::new("", V1, "services", "Service").short(&["svc"]).all().status();
    ENDPOINTS = Kind::new("", V1, "endpoints", "Endpoints").short(&["ep"]);
    CONFIGMAPS = Kind::new("", V1, "configmaps", "ConfigMap").short(&["cm"]);
    SECRETS = Kind::new("", V1, "secrets", "Secret");
    SERVICEACCOUNTS = Kind::new("", V1, "serviceaccounts", "ServiceAccount").short(&["sa"]);
    EVENTS = Kind::new("", V1, "events", "Event").short(&["ev"]);
    PVCS = Kind::new("", V1, "persistentvolumeclaims", "PersistentVolumeClaim").short(&["pvc"]).status();
    PVS = Kind::new("", V1, "persistentvolumes", "PersistentVolume").cluster().short(&["pv"]).status();
    QUOTAS = Kind::new("", V1, "resourcequotas", "ResourceQuota").short(&["quota"]).status();
    LIMITRANGES = Kind::new("", V1, "limitranges", "LimitRange").short(&["limits"]);
    DEPLOYMENTS = Kind::new("apps", V1, "deployments", "Deployment").short(&["deploy"]).all().status().scale();
    REPLICASETS = Kind::new("apps", V1, "replicasets", "ReplicaSet").short(&["rs"]).all().status().scale();
    STATEFULSETS = Kind::new("apps", V1, "statefulsets", "StatefulSet").short(&["sts"]).all().status().scale();
    DAEMONSETS = Kind::new("apps", V1, "daemonsets", "DaemonSet").short(&["ds"]).all().status();
    CONTROLLERREVISIONS = Kind::new("apps", V1, "controllerrevisions", "ControllerRevision");
    JOBS = Kind::new("batch", V1, "jobs", "Job").all().status();
    CRONJOBS = Kind::new("batch", V1, "cronjobs", "CronJob").short(&["cj"]).all().status();
    HPAS = Kind::new("autoscaling", &["v2", "v1"], "horizontalpodautoscalers", "HorizontalPodAutoscaler").short(&["hpa"]).all().status();
    PDBS = Kind::new("policy", V1, "poddisruptionbudgets", "PodDisruptionBudget").short(&["pdb"]).status();
    INGRESSES = Kind::new("networking.k8s.io", V1, "ingresses", "Ingress").short(&["ing"]).status();
    NETWORKPOLICIES = Kind::new("networking.k8s.io", V1, "networkpolicies", "NetworkPolicy").short(&["netpol"]);
    ROLES = Kind::new(RBAC, V1, "roles", "Role");
    ROLEBINDINGS = Kind::new(RBAC, V1, "rolebindings", "RoleBinding");
    CLUSTERROLES = Kind::new(RBAC, V1, "clusterroles", "ClusterRole").cluster();
    CLUSTERROLEBINDINGS = Kind::new(RBAC, V1, "clusterrolebindings", "ClusterRoleBinding").cluster();
    LEASES = Kind::new("coordination.k8s.io", V1, "leases", "Lease");
    EVENTS_V1 = Kind::new("events.k8s.io", V1, "events", "Event").short(&["ev"]).read_only();
    ACCESS_REVIEWS =
        Kind::new("authorization.k8s.io", V1, "selfsubjectaccessreviews", "SelfSubjectAccessReview").cluster().review();
    POD_METRICS = Kind::new("metrics.k8s.io", &["v1beta1"], "pods", "PodMetrics").read_only();
    NODE_METRICS = Kind::new("metrics.k8s.io", &["v1beta1"], "nodes", "NodeMetrics").cluster().read_only();
    // Flux's, as custom resources of Flux 2.5: one group may serve its kinds in different versions.
    KUSTOMIZATIONS = Kind::new("kustomize.toolkit.fluxcd.io", V1, "kustomizations", "Kustomization").short(&["ks"]).status();
    HELMRELEASES = Kind::new("helm.toolkit.fluxcd.io", &["v2"], "helmreleases", "HelmRelease").short(&["hr"]).status();
    GITREPOSITORIES = Kind::new(FLUX_SOURCES, V1, "gitrepositories", "GitRepository").short(&["gitrepo"]).status();
    HELMREPOSITORIES = Kind::new(FLUX_SOURCES, V1, "helmrepositories", "HelmRepository").short(&["helmrepo"]).status();
    BUCKETS = Kind::new(FLUX_SOURCES, V1, "buckets", "Bucket").status();
    OCIREPOSITORIES = Kind::new(FLUX_SOURCES, &["v1beta2"], "ocirepositories", "OCIRepository").short(&["ocirepo"]).status();
}

pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|k| k.group == group && k.plural == plural && k.versions.contains(&version))
}

/// A kind by the name a person would write: `Deployment`, `deployments`, `deploy`.
pub(crate) fn by_name(word: &str) -> Option<&'static Kind> {
    let lower = word.to_lowercase();
    KINDS
        .iter()
        .copied()
        .find(|k| k.plural == lower || k.kind.to_lowercase() == lower || k.short.contains(&lower.as_str()))
}

/// Every (group, version) pair, in the order of the table.
pub(crate) fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut out = Vec::new();
    for kind in KINDS {
        for version in kind.versions {
            if !out.contains(&(kind.group, *version)) {
                out.push((kind.group, *version));
            }
        }
    }
    out
}
