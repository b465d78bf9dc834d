//! The gate's rules one by one: which rule refuses what, and what an accepted command becomes.

use rounds_connectors::kubernetes::{Gate, OptIn, Policy};
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepSpec, Tier};

fn gate() -> Gate {
    Gate::new(Policy::for_namespaces(["app"]))
}

fn review(line: &str) -> Result<ReviewedStep, Refusal> {
    gate().review(&StepSpec::command(line.split(' ')), Mode::Write)
}

fn apply(manifest: &str) -> Result<ReviewedStep, Refusal> {
    gate().review(&StepSpec::command(["apply", "-f", "-", "-n", "app"]).with_stdin(manifest), Mode::Write)
}

fn patch(kind: &str, patch_type: &str, body: &str) -> Result<ReviewedStep, Refusal> {
    let body = format!("--patch={body}");
    gate().review(&StepSpec::command(["patch", kind, "x", "-n", "app", "--type", patch_type, &body]), Mode::Write)
}

fn rule(result: Result<ReviewedStep, Refusal>) -> String {
    match result {
        Ok(step) => format!("allowed: {} {}", step.command_text, step.params["stdin"]),
        Err(refusal) => refusal.rule,
    }
}

#[test]
fn each_refusal_names_its_rule() {
    for (line, expected) in [
        ("exec web -n app", "denied_verb"),
        ("frobnicate", "unknown_verb"),
        ("--v=3 get pods", "verb_not_first"),
        ("--as=root get pods", "denied_flag"),
        ("get pods --as_group=x -n app", "denied_flag"),
        ("get pods --output-format=json -n app", "unknown_flag"),
        ("get pods -- web", "double_dash"),
        ("get pods -w -n app", "endless_command"),
        ("logs web -f -n app", "endless_command"),
        ("get pods -n app -n other", "namespace_conflict"),
        ("-n app get pods -n other", "namespace_conflict"),
        ("get pods -n other", "namespace_not_allowed"),
        ("delete pod web", "namespace_missing"),
        ("delete pod web -n kube-system", "system_namespace"),
        ("delete pods -l a=b -n app", "mass_change"),
        ("delete pods --all -n app", "mass_change"),
        ("delete all web -n app", "mass_change"),
        ("delete pods -n app", "missing_name"),
        ("delete pod web --force -n app", "denied_flag"),
        ("delete pod web --cascade orphan -n app", "bad_flag_value"),
        ("get secret db -n app", "secrets"),
        ("get pods,secrets -n app", "secrets"),
        ("get Secrets.v1. -n app", "secrets"),
        ("events --for secret/db -n app", "secrets"),
        ("describe sa default -n app", "secrets"),
        ("get nodes", "cluster_scoped"),
        ("get pods -A", "all_namespaces"),
        ("get pods -o go-template-file=x -n app", "output_format"),
        ("get pods -o templatefile=x -n app", "output_format"),
        ("get pods -o jsonpath -n app", "output_format"),
        ("get pod web --subresource=proxy -n app", "subresource"),
        ("scale deploy/web --replicas=5000 -n app", "replicas_out_of_range"),
        ("scale pod/web --replicas=2 -n app", "unsupported_kind"),
        ("rollout pause sts/db -n app", "unsupported_kind"),
        ("rollout abort deploy/web -n app", "unknown_verb"),
        ("patch sa default -p {} -n app", "denied_kind"),
        ("annotate role/x a=b -n app", "denied_kind"),
        ("annotate deploy/web eks.amazonaws.com/role-arn=x -n app", "denied_metadata"),
        ("label pod/web iam.gke.io/gcp-service-account=x -n app", "denied_metadata"),
        ("apply -f /tmp/x -n app", "file_source"),
        ("apply -k . -n app", "file_source"),
        ("apply -f - -n app", "missing_stdin"),
        ("get pod/web/log -n app", "bad_arguments"),
        ("get widgets -n app", "unknown_kind"),
    ] {
        assert_eq!(rule(review(line)), expected, "{line}");
    }
}

#[test]
fn accepted_commands_have_one_spelling() {
    for (line, canonical) in [
        ("get po -napp -ojson", "get pods --output=json --namespace=app --request-timeout=30s"),
        ("-n app get Deployment web", "get deployment.apps/web --namespace=app --request-timeout=30s"),
        ("get pods", "get pods --namespace=app --request-timeout=30s"),
        ("get pods -A=false --watch=false", "get pods --namespace=app --request-timeout=30s"),
        ("get svc,ing web", "get service/web ingress.networking.k8s.io/web --namespace=app --request-timeout=30s"),
        ("logs web main", "logs pod/web --container=main --tail=1000 --namespace=app --request-timeout=30s"),
        ("logs -l app=web --tail -1", "logs --selector=app=web --tail=-1 --namespace=app --request-timeout=30s"),
        (
            "events --for deploy/web --types Warning",
            "events --for=deployment.apps/web --types=Warning --namespace=app --request-timeout=30s",
        ),
        ("version -n app", "version --request-timeout=30s"),
        (
            "rollout -n app undo deploy/web --to-revision 2",
            "rollout undo deployment.apps/web --to-revision=2 --namespace=app --request-timeout=30s",
        ),
        (
            "rollout status deploy/web --timeout=10m",
            "rollout status deployment.apps/web --timeout=49s --namespace=app --request-timeout=60s",
        ),
        (
            "delete pod web-1 web-2 -n app",
            "delete pod/web-1 pod/web-2 --timeout=49s --namespace=app --request-timeout=60s",
        ),
        (
            "label deploy web b=2 a=1 c- -n app",
            "label deployment.apps/web a=1 b=2 c- --namespace=app --request-timeout=30s",
        ),
        (
            "patch hpa web -p {\"spec\":{\"maxReplicas\":5}} -n app",
            "patch horizontalpodautoscaler.autoscaling/web --type=strategic --patch='{\"spec\":{\"maxReplicas\":5}}' --namespace=app --request-timeout=30s",
        ),
    ] {
        assert_eq!(
            review(line).unwrap_or_else(|refusal| panic!("{line}: {refusal}")).command_text,
            format!("kubectl {canonical}")
        );
    }
}

const POD_ESCAPES: &[&str] = &[
    "hostNetwork: true",
    "hostPID: true",
    "hostIPC: true",
    "serviceAccountName: admin",
    "serviceAccount: admin",
    "nodeName: n1",
    "volumes: [{name: h, hostPath: {path: /}}]",
    "volumes: [{name: h, flexVolume: {driver: x}}]",
    "ephemeralContainers: [{name: a, image: b}]",
    "containers: [{name: a, image: b, securityContext: {privileged: true}}]",
    "containers: [{name: a, image: b, securityContext: {allowPrivilegeEscalation: true}}]",
    "containers: [{name: a, image: b, securityContext: {capabilities: {add: [NET_ADMIN]}}}]",
    "containers: [{name: a, image: b, securityContext: {procMount: Unmasked}}]",
    "containers: [{name: a, image: b, ports: [{containerPort: 80, hostPort: 80}]}]",
    "initContainers: [{name: a, image: b, securityContext: {privileged: true}}]",
    "securityContext: {seccompProfile: {type: Unconfined}}",
    "securityContext: {sysctls: [{name: a, value: b}]}",
    "securityContext: {windowsOptions: {hostProcess: true}}",
];

#[test]
fn no_pod_template_reaches_its_host_or_another_identity() {
    for escape in POD_ESCAPES {
        let kinds = [
            ("v1", "Pod", format!("spec: {{{escape}}}")),
            ("apps/v1", "Deployment", format!("spec: {{template: {{spec: {{{escape}}}}}}}")),
            ("batch/v1", "CronJob", format!("spec: {{jobTemplate: {{spec: {{template: {{spec: {{{escape}}}}}}}}}}}")),
        ];
        for (version, kind, body) in &kinds {
            let manifest = format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n{body}\n");
            assert_eq!(rule(apply(&manifest)), "pod_security", "{manifest}");
        }
        for patch_type in ["strategic", "merge"] {
            let body = format!("{{spec: {{template: {{spec: {{{escape}}}}}}}}}");
            assert_eq!(rule(patch("deploy", patch_type, &body)), "pod_security", "{body}");
        }
        let body = format!("[{{op: add, path: /spec/template/spec, value: {{{escape}}}}}]");
        assert_eq!(rule(patch("deploy", "json", &body)), "pod_security", "{body}");
    }
}

#[test]
fn an_escape_in_pieces_of_a_json_patch_is_seen() {
    for (operation, expected) in [
        (r#"{"op":"add","path":"/spec/template/spec/hostNetwork","value":true}"#, "pod_security"),
        (
            r#"{"op":"add","path":"/spec/template/spec/containers/0/securityContext/privileged","value":true}"#,
            "pod_security",
        ),
        (
            r#"{"op":"add","path":"/spec/template/spec/containers/0/securityContext/capabilities/add/-","value":"SYS_ADMIN"}"#,
            "pod_security",
        ),
        (r#"{"op":"replace","path":"/spec/template/spec/volumes/0/hostPath/path","value":"/"}"#, "pod_security"),
        (
            r#"{"op":"add","path":"/spec/template/metadata/annotations/iam.amazonaws.com~1role","value":"x"}"#,
            "denied_metadata",
        ),
        (
            r#"{"op":"add","path":"/metadata/annotations/deployment.kubernetes.io~1revision","value":"1"}"#,
            "denied_metadata",
        ),
        (r#"{"op":"replace","path":"/metadata/namespace","value":"other"}"#, "denied_field"),
        (r#"{"op":"add","path":"/metadata/ownerReferences","value":[]}"#, "denied_field"),
        (r#"{"op":"replace","path":"","value":{}}"#, "bad_patch"),
        (r#"{"op":"copy","from":"/metadata/annotations/x","path":"/spec/template/spec/hostNetwork"}"#, "bad_patch"),
        (r#"{"op":"move","from":"/a","path":"/b"}"#, "bad_patch"),
        (r#"{"op":"remove","path":"/spec/replicas"}"#, "bad_patch"),
        (r#"{"op":"add","path":"/spec/replicas","value":99999}"#, "replicas_out_of_range"),
    ] {
        assert_eq!(rule(patch("deploy", "json", &format!("[{operation}]"))), expected, "{operation}");
    }
}

#[test]
fn manifests_keep_to_their_namespace_and_to_kinds_that_are_written() {
    for (manifest, expected) in [
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n", "secrets"),
        ("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: x}\n", "denied_kind"),
        ("apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: x}\n", "denied_kind"),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n", "cluster_scoped"),
        (
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: x}\n",
            "cluster_scoped",
        ),
        ("apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: x}\n", "unknown_kind"),
        ("apiVersion: apps/v1\nkind: deployment\nmetadata: {name: x}\n", "unknown_kind"),
        ("apiVersion: apps/v1\nkind: DeploymentList\nitems: []\n", "bad_manifest"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: other}\n", "namespace_conflict"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: x}\n", "denied_field"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, ownerReferences: []}\n", "denied_field"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\nITEMS: []\n", "bad_manifest"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: yes}\n", "ambiguous_scalar"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {externalIPs: [1.2.3.4]}\n", "denied_field"),
        (
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: x, annotations: {nginx.ingress.kubernetes.io/server-snippet: x}}\n",
            "denied_metadata",
        ),
        ("kind: ConfigMap\nmetadata: {name: x}\n", "bad_manifest"),
        ("- a\n", "bad_manifest"),
        ("# nothing\n", "missing_stdin"),
    ] {
        assert_eq!(rule(apply(manifest)), expected, "{manifest}");
    }
}

#[test]
fn a_manifest_becomes_canonical_json_with_its_namespace() {
    let step = apply(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, creationTimestamp: null}\ndata: {z: \"1\", a: x}\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 0}, status: {}}\n",
    )
    .unwrap();
    assert_eq!(
        step.params["stdin"],
        r#"{"apiVersion":"v1","items":[{"apiVersion":"v1","data":{"a":"x","z":"1"},"kind":"ConfigMap","metadata":{"name":"b","namespace":"app"}},{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"app"},"spec":{"replicas":0}}],"kind":"List"}"#
    );
    assert_eq!(
        step.targets.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["app/configmap/b", "app/deployment.apps/web"]
    );
    assert_eq!(step.tier, Tier::Destructive);
}

#[test]
fn a_reader_is_told_which_secrets_pods_are_given() {
    let step = apply("apiVersion: batch/v1\nkind: Job\nmetadata: {name: x}\nspec: {template: {spec: {containers: [{name: a, image: b, envFrom: [{secretRef: {name: db}}]}]}}}\n").unwrap();
    assert!(step.notes.iter().any(|note| note.contains("Secrets") && note.contains("db")), "{:?}", step.notes);
}

#[test]
fn tiers_are_computed_from_the_command() {
    for (line, tier, reversible, idempotent) in [
        ("get pods", Tier::Read, true, true),
        ("rollout history deploy/web", Tier::Read, true, true),
        ("scale deploy/web --replicas=2 -n app", Tier::Write, true, true),
        ("scale deploy/web --replicas=0 -n app", Tier::Destructive, true, true),
        ("rollout undo deploy/web -n app", Tier::Write, true, false),
        ("rollout restart deploy/web -n app", Tier::Write, true, false),
        ("delete pod web -n app", Tier::Destructive, false, false),
        ("delete cm web -n app", Tier::Destructive, false, true),
        ("patch deploy/web -n app -p {\"spec\":{\"replicas\":0}}", Tier::Destructive, false, true),
        ("patch cm/web -n app -p {\"data\":{\"a\":null}}", Tier::Destructive, false, true),
        ("patch cm/web -n app -p {\"metadata\":{\"labels\":{\"a\":null}}}", Tier::Write, false, true),
    ] {
        let step = review(line).unwrap_or_else(|refusal| panic!("{line}: {refusal}"));
        assert_eq!((step.tier, step.reversible, step.idempotent), (tier, reversible, idempotent), "{line}");
    }
}

#[test]
fn an_opt_in_lifts_its_own_protection_and_no_other() {
    let mut policy = Policy::for_namespaces(["app"]);
    policy.opt_ins = [OptIn::Rbac, OptIn::HostAccess].into();
    policy.cluster_reads = true;
    policy.all_namespaces_reads = true;
    let gate = Gate::new(policy);
    let review = |line: &str| rule(gate.review(&StepSpec::command(line.split(' ')), Mode::Write));
    assert!(review("get nodes").starts_with("allowed"), "{}", review("get nodes"));
    assert!(review("get pods -A").starts_with("allowed"));
    assert!(review("label role/x a=b -n app").starts_with("allowed"));
    assert_eq!(review("get secrets -A"), "secrets");
    assert_eq!(review("get nodes,pods"), "cluster_scoped");
    assert_eq!(review("get nodes -n app"), "namespace_conflict");
    assert_eq!(review("label node/n a=b -n app"), "cluster_scoped");
    assert_eq!(review("label clusterrole/x a=b -n app"), "cluster_scoped");
    assert_eq!(review("label sa/x a=b -n app"), "denied_kind");
    assert_eq!(review("delete pod/x -A"), "all_namespaces");
    let pod = |escape: &str| {
        let manifest = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: x}}\nspec: {{{escape}}}\n");
        rule(gate.review(&StepSpec::command(["apply", "-f", "-", "-n", "app"]).with_stdin(manifest), Mode::Write))
    };
    assert!(pod("hostNetwork: true").starts_with("allowed"));
    assert_eq!(pod("containers: [{securityContext: {privileged: true}}]"), "pod_security");
}

#[test]
fn messages_escape_what_they_quote() {
    let refusal = gate().review(&StepSpec::command(["get", "pods", "-n", "a\u{202e}b"]), Mode::Read).unwrap_err();
    assert_eq!(refusal.rule, "odd_character");
    assert!(!refusal.message.contains('\u{202e}'));
    let long = gate().review(&StepSpec::command(["get", &"x".repeat(5000)]), Mode::Read).unwrap_err();
    assert!(long.message.len() < 600, "{}", long.message);
}
