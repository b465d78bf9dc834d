//! What the recording server says it serves: every kind that a cluster of today or yesterday has built in, and two
//! custom ones. Written down from the API reference rather than taken from the gate: it is what the gate is held to.

use serde_json::{Map, Value, json};

/// Plural, kind, short names, group, versions, whether its objects live in a namespace.
pub(crate) type Row =
    (&'static str, &'static str, &'static [&'static str], &'static str, &'static [&'static str], bool);

const V1: &[&str] = &["v1"];

#[rustfmt::skip]
pub(crate) static SERVED: &[Row] = &[
    ("pods", "Pod", &["po"], "", V1, true),
    ("services", "Service", &["svc"], "", V1, true),
    ("configmaps", "ConfigMap", &["cm"], "", V1, true),
    ("persistentvolumeclaims", "PersistentVolumeClaim", &["pvc"], "", V1, true),
    ("replicationcontrollers", "ReplicationController", &["rc"], "", V1, true),
    ("podtemplates", "PodTemplate", &[], "", V1, true),
    ("events", "Event", &["ev"], "", V1, true),
    ("endpoints", "Endpoints", &["ep"], "", V1, true),
    ("limitranges", "LimitRange", &["limits"], "", V1, true),
    ("resourcequotas", "ResourceQuota", &["quota"], "", V1, true),
    ("secrets", "Secret", &[], "", V1, true),
    ("serviceaccounts", "ServiceAccount", &["sa"], "", V1, true),
    ("bindings", "Binding", &[], "", V1, true),
    ("namespaces", "Namespace", &["ns"], "", V1, false),
    ("nodes", "Node", &["no"], "", V1, false),
    ("persistentvolumes", "PersistentVolume", &["pv"], "", V1, false),
    ("componentstatuses", "ComponentStatus", &["cs"], "", V1, false),
    ("deployments", "Deployment", &["deploy"], "apps", V1, true),
    ("replicasets", "ReplicaSet", &["rs"], "apps", V1, true),
    ("statefulsets", "StatefulSet", &["sts"], "apps", V1, true),
    ("daemonsets", "DaemonSet", &["ds"], "apps", V1, true),
    ("controllerrevisions", "ControllerRevision", &[], "apps", V1, true),
    ("jobs", "Job", &[], "batch", V1, true),
    ("cronjobs", "CronJob", &["cj"], "batch", &["v1", "v1beta1"], true),
    ("horizontalpodautoscalers", "HorizontalPodAutoscaler", &["hpa"], "autoscaling", &["v2", "v1", "v2beta2"], true),
    ("poddisruptionbudgets", "PodDisruptionBudget", &["pdb"], "policy", &["v1", "v1beta1"], true),
    ("podsecuritypolicies", "PodSecurityPolicy", &["psp"], "policy", &["v1beta1"], false),
    ("ingresses", "Ingress", &["ing"], "networking.k8s.io", &["v1", "v1beta1"], true),
    ("ingresses", "Ingress", &["ing"], "extensions", &["v1beta1"], true),
    ("networkpolicies", "NetworkPolicy", &["netpol"], "networking.k8s.io", V1, true),
    ("ingressclasses", "IngressClass", &[], "networking.k8s.io", V1, false),
    ("ipaddresses", "IPAddress", &["ip"], "networking.k8s.io", V1, false),
    ("servicecidrs", "ServiceCIDR", &[], "networking.k8s.io", V1, false),
    ("endpointslices", "EndpointSlice", &[], "discovery.k8s.io", V1, true),
    ("leases", "Lease", &[], "coordination.k8s.io", V1, true),
    ("leasecandidates", "LeaseCandidate", &[], "coordination.k8s.io", &["v1beta1"], true),
    ("events", "Event", &["ev"], "events.k8s.io", V1, true),
    ("pods", "PodMetrics", &[], "metrics.k8s.io", &["v1beta1"], true),
    ("nodes", "NodeMetrics", &[], "metrics.k8s.io", &["v1beta1"], false),
    ("csistoragecapacities", "CSIStorageCapacity", &[], "storage.k8s.io", V1, true),
    ("storageclasses", "StorageClass", &["sc"], "storage.k8s.io", V1, false),
    ("volumeattachments", "VolumeAttachment", &[], "storage.k8s.io", V1, false),
    ("volumeattributesclasses", "VolumeAttributesClass", &["vac"], "storage.k8s.io", V1, false),
    ("csidrivers", "CSIDriver", &[], "storage.k8s.io", V1, false),
    ("csinodes", "CSINode", &[], "storage.k8s.io", V1, false),
    ("resourceclaims", "ResourceClaim", &[], "resource.k8s.io", V1, true),
    ("resourceclaimtemplates", "ResourceClaimTemplate", &[], "resource.k8s.io", V1, true),
    ("resourceslices", "ResourceSlice", &[], "resource.k8s.io", V1, false),
    ("deviceclasses", "DeviceClass", &[], "resource.k8s.io", V1, false),
    ("roles", "Role", &[], "rbac.authorization.k8s.io", V1, true),
    ("rolebindings", "RoleBinding", &[], "rbac.authorization.k8s.io", V1, true),
    ("clusterroles", "ClusterRole", &[], "rbac.authorization.k8s.io", V1, false),
    ("clusterrolebindings", "ClusterRoleBinding", &[], "rbac.authorization.k8s.io", V1, false),
    ("localsubjectaccessreviews", "LocalSubjectAccessReview", &[], "authorization.k8s.io", V1, true),
    ("subjectaccessreviews", "SubjectAccessReview", &[], "authorization.k8s.io", V1, false),
    ("selfsubjectaccessreviews", "SelfSubjectAccessReview", &[], "authorization.k8s.io", V1, false),
    ("selfsubjectrulesreviews", "SelfSubjectRulesReview", &[], "authorization.k8s.io", V1, false),
    ("tokenreviews", "TokenReview", &[], "authentication.k8s.io", V1, false),
    ("selfsubjectreviews", "SelfSubjectReview", &[], "authentication.k8s.io", V1, false),
    ("certificatesigningrequests", "CertificateSigningRequest", &["csr"], "certificates.k8s.io", V1, false),
    ("clustertrustbundles", "ClusterTrustBundle", &[], "certificates.k8s.io", &["v1beta1"], false),
    ("podcertificaterequests", "PodCertificateRequest", &[], "certificates.k8s.io", &["v1beta1"], true),
    ("customresourcedefinitions", "CustomResourceDefinition", &["crd", "crds"], "apiextensions.k8s.io", V1, false),
    ("apiservices", "APIService", &[], "apiregistration.k8s.io", V1, false),
    ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration", &[], "admissionregistration.k8s.io", V1, false),
    ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration", &[], "admissionregistration.k8s.io", V1, false),
    ("validatingadmissionpolicies", "ValidatingAdmissionPolicy", &[], "admissionregistration.k8s.io", V1, false),
    ("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", &[], "admissionregistration.k8s.io", V1, false),
    ("mutatingadmissionpolicies", "MutatingAdmissionPolicy", &[], "admissionregistration.k8s.io", V1, false),
    ("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", &[], "admissionregistration.k8s.io", V1, false),
    ("priorityclasses", "PriorityClass", &["pc"], "scheduling.k8s.io", V1, false),
    ("runtimeclasses", "RuntimeClass", &[], "node.k8s.io", V1, false),
    ("flowschemas", "FlowSchema", &[], "flowcontrol.apiserver.k8s.io", V1, false),
    ("prioritylevelconfigurations", "PriorityLevelConfiguration", &[], "flowcontrol.apiserver.k8s.io", V1, false),
    ("storageversions", "StorageVersion", &[], "internal.apiserver.k8s.io", &["v1alpha1"], false),
    ("storageversionmigrations", "StorageVersionMigration", &[], "storagemigration.k8s.io", &["v1beta1"], false),
    ("widgets", "Widget", &["wg"], "example.com", V1, true),
    ("clusterwidgets", "ClusterWidget", &[], "example.com", V1, false),
];

pub(crate) fn row(group: &str, plural: &str) -> Option<&'static Row> {
    SERVED.iter().find(|row| row.3 == group && row.0 == plural)
}

pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn versions(group: &str) -> Vec<&'static str> {
    let mut versions: Vec<&str> = Vec::new();
    for version in SERVED.iter().filter(|row| row.3 == group).flat_map(|row| row.4) {
        if !versions.contains(version) {
            versions.push(version);
        }
    }
    versions
}

fn group(name: &str) -> Value {
    let versions: Vec<Value> = versions(name)
        .into_iter()
        .map(|version| json!({ "groupVersion": format!("{name}/{version}"), "version": version }))
        .collect();
    json!({ "name": name, "versions": versions, "preferredVersion": versions[0] })
}

fn resources(group: &str, version: &str) -> Option<Value> {
    let mut list = Vec::new();
    for (plural, kind, short, ..) in SERVED.iter().filter(|row| row.3 == group && row.4.contains(&version)) {
        let namespaced = row(group, plural)?.5;
        let verbs = json!(["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]);
        // Servers before 1.27 leave the singular name out: clients make it from the kind.
        let mut entry =
            json!({ "name": plural, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": verbs });
        if !short.is_empty() {
            entry["shortNames"] = json!(short);
        }
        list.push(entry);
        list.push(json!({
            "name": format!("{plural}/status"), "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "patch", "update"],
        }));
        if ["deployments", "replicasets", "statefulsets", "replicationcontrollers"].contains(plural) {
            list.push(json!({
                "name": format!("{plural}/scale"), "singularName": "", "namespaced": true, "kind": "Scale", "group": "autoscaling",
                "version": "v1", "verbs": ["get", "patch", "update"],
            }));
        }
    }
    let group_version = api_version(group, version);
    (!list.is_empty()).then(
        || json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list }),
    )
}

/// The answer to a question about what is served; nothing for a path that is about objects.
pub(crate) fn answer(segments: &[&str]) -> Option<Value> {
    match segments {
        ["version"] => Some(json!({
            "major": "1", "minor": "33", "gitVersion": "v1.33.0", "gitCommit": "0", "gitTreeState": "clean", "goVersion": "go1.24",
            "buildDate": "2025-05-01T00:00:00Z", "compiler": "gc", "platform": "linux/amd64",
        })),
        ["api"] => Some(json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] })),
        ["api", version] => resources("", version),
        ["apis"] => {
            let mut names: Vec<&str> = Vec::new();
            for row in SERVED.iter().filter(|row| !row.3.is_empty()) {
                if !names.contains(&row.3) {
                    names.push(row.3);
                }
            }
            let groups: Vec<Value> = names.into_iter().map(group).collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        ["apis", name] if SERVED.iter().any(|row| row.3 == *name) => {
            let Value::Object(fields) = group(name) else { return None };
            let head = [("kind".to_owned(), json!("APIGroup")), ("apiVersion".to_owned(), json!("v1"))];
            Some(Value::Object(head.into_iter().chain(fields).collect::<Map<_, _>>()))
        }
        ["apis", group, version] => resources(group, version),
        _ => None,
    }
}

/// The OpenAPI document, version 2, as the protobuf message that every kubectl can read. All that kubectl looks for in
/// it is whether a kind can be patched with `dryRun` and `fieldValidation`; there are no schemas, so nothing is
/// validated on the client's side. Numbers are those of the fields of gnostic's `openapi.v2.Document`.
pub(crate) fn openapi() -> Vec<u8> {
    let mut paths = Vec::new();
    for (plural, kind, _, group, versions, namespaced) in SERVED {
        for version in *versions {
            let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
            let place = if *namespaced { "/namespaces/{namespace}" } else { "" };
            let mut operation = Vec::new();
            for name in ["dryRun", "fieldManager", "fieldValidation", "force"] {
                let query = [field(2, b"query"), field(4, name.as_bytes()), field(6, b"string")].concat();
                operation.extend(field(8, &field(1, &field(2, &field(3, &query)))));
            }
            let gvk = format!("group: \"{group}\"\nkind: {kind}\nversion: {version}\n");
            let extension =
                [field(1, b"x-kubernetes-group-version-kind"), field(2, &field(2, gvk.as_bytes()))].concat();
            operation.extend(field(13, &extension));
            let path = format!("{root}/{version}{place}/{plural}/{{name}}");
            paths.extend(field(2, &[field(1, path.as_bytes()), field(2, &field(8, &operation))].concat()));
        }
    }
    let info = [field(1, b"Kubernetes"), field(2, b"v1.33.0")].concat();
    [field(1, b"2.0"), field(2, &info), field(8, &paths)].concat()
}

/// One length-delimited field of a protobuf message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}
