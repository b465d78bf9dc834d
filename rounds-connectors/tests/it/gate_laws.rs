//! Laws of the gate over generated commands; those over manifests and patches are in `gate_shapes.rs`.

use proptest::prelude::*;
use rounds_connectors::kubernetes::{Gate, Policy};
use rounds_core::step::{Mode, ReviewedStep, StepSpec, Tier};
use serde_json::{Map, Value, json};

/// Words that commands, good and bad, are made of.
const WORDS: &[&str] = &[
    "get",
    "describe",
    "logs",
    "top",
    "events",
    "version",
    "api-resources",
    "scale",
    "rollout",
    "status",
    "history",
    "undo",
    "restart",
    "pause",
    "resume",
    "patch",
    "apply",
    "annotate",
    "label",
    "delete",
    "exec",
    "-n",
    "app",
    "--namespace=app",
    "-napp",
    "kube-system",
    "pods",
    "pod",
    "pod/web",
    "deploy/web",
    "deployment",
    "svc,deploy",
    "all",
    "secrets",
    "secret/db",
    "nodes",
    "node/n1",
    "web",
    "web-1",
    "-o",
    "json",
    "yaml",
    "-oyaml",
    "-o=wide",
    "jsonpath={.a}",
    "-A",
    "--all-namespaces",
    "--all",
    "-l",
    "app=web",
    "a=b",
    "c-",
    "--replicas=3",
    "--replicas",
    "0",
    "--overwrite",
    "-p",
    "{\"spec\":{\"replicas\":2}}",
    "--type=merge",
    "--type",
    "json",
    "-f",
    "-",
    "--filename=-",
    "--dry-run=server",
    "--dry-run",
    "--force",
    "--grace-period=0",
    "--as=root",
    "--token=x",
    "--kubeconfig",
    "/tmp/x",
    "--raw=/api",
    "--",
    "-w",
    "--watch",
    "--tail=5",
    "--since=1h",
    "-c",
    "main",
    "--timeout=5s",
    "--to-revision=2",
    "--v=9",
    "--v=3",
    "--subresource=proxy",
    "--subresource=scale",
    "--context=x",
    "-s",
    "https://x",
    "--request-timeout=0",
    "--request-timeout=10s",
    "",
    "*",
];

const NEVER: &[&str] = &[
    "--as",
    "--token",
    "--kubeconfig",
    "--context",
    "--cluster",
    "--user",
    "--server",
    "--raw",
    "--all",
    "--force",
    "--watch",
    "--follow",
    "--kustomize",
    "--recursive",
    "--prune",
    "--cache-dir",
    "--profile",
    "--insecure-skip-tls-verify",
    "--client-key",
    "--local",
    "--",
];

fn canonical(step: &ReviewedStep) -> Vec<String> {
    serde_json::from_value(step.params["argv"].clone()).unwrap()
}

pub(crate) fn check(argv: Vec<String>, stdin: Option<String>, mode: Mode) {
    let gate = Gate::new(Policy::for_namespaces(["app"]));
    let mut step = StepSpec::command(argv);
    if let Some(stdin) = stdin {
        step = step.with_stdin(stdin);
    }
    let verdict = gate.review(&step, mode);
    assert_eq!(gate.review(&step, mode), verdict, "two reviews of one command agree");
    let Ok(reviewed) = verdict else { return };
    let again = reviewed.spec();
    assert_eq!(gate.review(&again, mode).unwrap(), reviewed);
    for argument in canonical(&reviewed) {
        let flag = argument.split('=').next().unwrap();
        assert!(!NEVER.contains(&flag), "{}", reviewed.command_text);
        assert!(
            !argument.starts_with('-') || argument.starts_with("--"),
            "short flags are written out: {}",
            reviewed.command_text
        );
    }
    for target in &reviewed.targets {
        assert_eq!(target.namespace.as_deref(), Some("app"), "{}", reviewed.command_text);
        assert_ne!(target.kind, "secret");
        assert!(target.name.is_some() || reviewed.tier == Tier::Read, "{}", reviewed.command_text);
    }
    if mode == Mode::Read {
        assert_eq!(reviewed.tier, Tier::Read);
    }
    if let Some(text) = reviewed.params["stdin"].as_str() {
        let manifest: Value = serde_json::from_str(text).unwrap();
        let objects = manifest["items"].as_array().cloned().unwrap_or_else(|| vec![manifest]);
        for object in objects.iter().filter(|object| POD_KINDS.iter().any(|kind| object["kind"] == kind.1)) {
            assert_eq!(host_power(object), None, "{}", reviewed.command_text);
        }
    }
    let patches = canonical(&reviewed).into_iter().filter_map(|word| word.strip_prefix("--patch=").map(str::to_owned));
    for patch in
        patches.filter(|_| reviewed.targets.iter().any(|target| POD_KINDS.iter().any(|kind| kind.0 == target.kind)))
    {
        let body: Value = serde_json::from_str(&patch).unwrap();
        let operations = body.as_array().cloned().unwrap_or_else(|| vec![json!({ "path": "/", "value": body })]);
        for operation in operations {
            let path: Vec<&str> = operation["path"].as_str().unwrap().split('/').collect();
            // There is no pod in an object's own metadata.
            let is_text = path.get(1) == Some(&"metadata") || path.iter().any(|segment| TEXT.contains(segment));
            let placed = Value::Object(Map::from_iter([(path[path.len() - 1].to_owned(), operation["value"].clone())]));
            assert!(is_text || host_power(&placed).is_none(), "{}", reviewed.command_text);
        }
    }
}

/// Kinds that hold pods, as targets and as manifests write them.
pub(crate) const POD_KINDS: &[(&str, &str, &str)] = &[
    ("pod", "Pod", "v1"),
    ("deployment.apps", "Deployment", "apps/v1"),
    ("statefulset.apps", "StatefulSet", "apps/v1"),
    ("daemonset.apps", "DaemonSet", "apps/v1"),
    ("replicaset.apps", "ReplicaSet", "apps/v1"),
    ("job.batch", "Job", "batch/v1"),
    ("cronjob.batch", "CronJob", "batch/v1"),
    ("podtemplate", "PodTemplate", "v1"),
    ("replicationcontroller", "ReplicationController", "v1"),
];

/// Maps whose keys are text of the owner's choice, never fields.
const TEXT: &[&str] = &["labels", "annotations", "matchLabels", "nodeSelector", "selector"];

/// The first field, in any case and at any depth, by which a pod would get hold of its host.
fn host_power(value: &Value) -> Option<String> {
    const FIELDS: [&str; 5] = ["privileged", "hostpath", "hostnetwork", "hostpid", "hostipc"];
    let is_set = |value: &Value| ![json!(null), json!(false), json!(""), json!(0), json!([])].contains(value);
    match value {
        Value::Object(map) => map.iter().find_map(|(key, value)| {
            if FIELDS.contains(&key.to_ascii_lowercase().as_str()) && is_set(value) {
                return Some(key.clone());
            }
            (!TEXT.contains(&key.as_str())).then(|| host_power(value)).flatten()
        }),
        Value::Array(items) => items.iter().find_map(host_power),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn no_command_made_of_known_words_leaves_its_namespace_or_changes_on_a_second_review(
        argv in prop::collection::vec(prop::sample::select(WORDS).prop_map(str::to_owned), 0..8), write: bool,
    ) {
        check(argv, None, if write { Mode::Write } else { Mode::Read });
    }

    #[test]
    fn a_plausible_command_with_noise_holds_the_same_laws(
        verb in prop::sample::select(&[
            "get pods", "get deploy/web", "describe pod web", "logs web-1", "scale deploy/web --replicas=3", "rollout undo deploy/web",
            "rollout status deploy/web", "delete pod web", "label pod/web a=b", "annotate deploy/web a=b", "top pods", "events",
            "patch deploy/web -p {\"spec\":{\"replicas\":2}}",
        ][..]),
        noise in prop::collection::vec(prop::sample::select(WORDS).prop_map(str::to_owned), 0..3), at in 0_usize..8, write: bool,
    ) {
        let mut argv: Vec<String> = verb.split(' ').map(str::to_owned).collect();
        argv.extend(["-n".to_owned(), "app".to_owned()]);
        for word in noise {
            argv.insert(at.min(argv.len()), word);
        }
        check(argv, None, if write { Mode::Write } else { Mode::Read });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn no_argv_and_no_manifest_makes_the_gate_panic(
        argv in prop::collection::vec("\\PC{0,12}", 0..6), manifest in "(\\PC|\n|: |- ){0,60}",
    ) {
        check(argv, None, Mode::Write);
        let apply = ["apply", "-f", "-", "-n", "app"].map(str::to_owned).to_vec();
        check(apply, Some(manifest.clone()), Mode::Write);
        let patch = vec!["patch".to_owned(), "deploy/web".to_owned(), "-n".to_owned(), "app".to_owned(), format!("--patch={manifest}")];
        check(patch, None, Mode::Write);
    }
}
