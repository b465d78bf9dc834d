//! The laws of the gate over manifests and patches that are made of the fields that matter.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use rounds_connectors::kubernetes::{Gate, Policy};
use rounds_core::step::{Mode, StepSpec};
use serde_json::{Value, json};

use crate::gate_laws::{POD_KINDS, check};

/// Field names, and what is not one, of manifests and patches.
const FIELDS: &[&str] = &[
    "spec",
    "template",
    "jobTemplate",
    "containers",
    "initContainers",
    "ephemeralContainers",
    "securityContext",
    "privileged",
    "Privileged",
    "capabilities",
    "add",
    "drop",
    "volumes",
    "hostPath",
    "hostpath",
    "path",
    "emptyDir",
    "hostNetwork",
    "hostPID",
    "HOSTPID",
    "hostIPC",
    "hostPort",
    "serviceAccountName",
    "serviceAccount",
    "nodeName",
    "name",
    "image",
    "env",
    "value",
    "ports",
    "metadata",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "namespace",
    "generateName",
    "replicas",
    "paused",
    "selector",
    "matchLabels",
    "nodeSelector",
    "status",
    "items",
    "kind",
    "apiVersion",
    "data",
    "$patch",
    "$retainKeys",
    "$setElementOrder/containers",
    "$deleteFromPrimitiveList/finalizers",
    "app",
    "0",
    "-",
    "",
    "a/b",
    "a~b",
    "iam.amazonaws.com/role",
];

fn leaf() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(true),
        json!(false),
        json!(null),
        json!(0),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(100_000),
        json!(""),
        json!("true"),
        json!("app"),
        json!("web"),
        json!("kube-system"),
        json!("/"),
        json!("delete"),
        json!("replace"),
        json!("SYS_ADMIN"),
        json!("NET_BIND_SERVICE"),
        json!("yes"),
        json!("0644"),
        json!("Secret"),
        json!("ConfigMap"),
        json!("v1"),
        json!({}),
        json!([]),
        json!([true]),
        json!({ "path": "/" }),
        json!([{ "name": "h", "hostPath": { "path": "/" } }]),
        json!({ "privileged": true }),
    ])
}

fn field() -> impl Strategy<Value = String> {
    prop::sample::select(FIELDS).prop_map(str::to_owned)
}

fn tree() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            2 => prop::collection::vec((field(), inner.clone()), 0..4).prop_map(|fields| Value::Object(fields.into_iter().collect())),
            1 => prop::collection::vec(inner, 0..3).prop_map(Value::Array),
        ]
    })
}

/// A manifest that is fine but for what is put into it, at places that are reached by field name.
fn manifest() -> impl Strategy<Value = Value> {
    let graft = (prop::collection::vec(field(), 1..5), tree());
    (prop::sample::select(POD_KINDS), prop::collection::vec(graft, 0..3)).prop_map(|((_, kind, version), grafts)| {
        let pod = json!({ "containers": [{ "name": "web", "image": "web:1" }] });
        let template = json!({ "metadata": { "labels": { "app": "web" } }, "spec": pod });
        let mut object = json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "web" } });
        match kind {
            "Pod" => object["spec"] = pod,
            "PodTemplate" => object["template"] = template,
            "CronJob" => {
                object["spec"] = json!({ "schedule": "@daily", "jobTemplate": { "spec": { "template": template } } })
            }
            _ => object["spec"] = json!({ "template": template }),
        }
        for (path, value) in grafts {
            put(&mut object, &path, value);
        }
        object
    })
}

/// Puts a value somewhere: along the fields of the path that there are, into the first item of a list, or else new.
fn put(object: &mut Value, path: &[String], value: Value) {
    match (object, path) {
        (slot, []) => *slot = value,
        (Value::Array(items), path) => match items.first_mut() {
            Some(first) => put(first, path, value),
            None => items.push(value),
        },
        (Value::Object(map), [field, rest @ ..]) => {
            put(map.entry(field.clone()).or_insert_with(|| json!({})), rest, value)
        }
        (slot, _) => *slot = value,
    }
}

/// The same value as YAML in blocks, where strings are quoted unless they are plain words.
fn yaml(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                out.push_str(&format!("\n{pad}{}:", plain(key)));
                yaml(value, indent + 2, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&format!("\n{pad}-"));
                yaml(item, indent + 2, out);
            }
        }
        Value::String(text) => out.push_str(&format!(" {}", plain(text))),
        other => out.push_str(&format!(" {other}")),
    }
}

fn plain(text: &str) -> String {
    let word = text.chars().all(|c| c.is_ascii_alphabetic()) && text.len() > 3;
    if word { text.to_owned() } else { json!(text).to_string() }
}

fn operation() -> impl Strategy<Value = Value> {
    let segment = prop_oneof![4 => field(), 1 => "[0-9]{1,2}", 1 => Just("~1".to_owned()), 1 => "\\PC{0,3}"];
    let inside = prop::sample::select(
        &[
            "",
            "/spec/template/spec",
            "/spec/template/spec/containers/0",
            "/spec/template/spec/containers/0/securityContext",
            "/metadata",
            "/spec",
            "/metadata/labels",
            "/spec/template/metadata/annotations",
            "/spec/template/spec/volumes/0",
        ][..],
    );
    let op = prop::sample::select(&["add", "replace", "remove", "test", "copy", "move", "ADD"][..]);
    (op, inside, prop::collection::vec(segment, 0..4), tree(), any::<bool>()).prop_map(
        |(op, inside, segments, value, with_value)| {
            let path = segments
                .iter()
                .fold(inside.to_owned(), |path, segment| format!("{path}/{}", segment.replace('/', "~1")));
            if with_value || op != "remove" {
                json!({ "op": op, "path": path, "value": value })
            } else {
                json!({ "op": op, "path": path })
            }
        },
    )
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn no_accepted_manifest_gives_a_pod_its_host_whatever_it_is_made_of(objects in prop::collection::vec(manifest(), 1..3), shape in 0..4) {
        let one_by_one = |write: &dyn Fn(&Value) -> String| objects.iter().map(write).collect::<Vec<_>>().join("\n---\n");
        let text = match shape {
            0 => one_by_one(&Value::to_string),
            1 => json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string(),
            _ => one_by_one(&|object| { let mut text = String::new(); yaml(object, 0, &mut text); text }),
        };
        check(words("apply -f - -n app"), Some(text), Mode::Write);
    }

    #[test]
    fn no_accepted_patch_gives_a_pod_its_host_whatever_it_is_made_of(
        kind in prop::sample::select(POD_KINDS), body in manifest(), noise in tree(), at in 0..3, operations in prop::collection::vec(operation(), 0..4), merge: bool,
    ) {
        let patch = |patch_type: &str, body: String| {
            let mut argv = words(&format!("patch {}/web -n app --type={patch_type}", kind.0));
            argv.push(format!("--patch={body}"));
            check(argv, None, Mode::Write);
        };
        let mut piece = json!({ "spec": body["spec"], "metadata": {} });
        match at {
            0 => piece["spec"] = noise,
            1 => piece["metadata"] = noise,
            _ => {}
        }
        patch(if merge { "merge" } else { "strategic" }, piece.to_string());
        patch("json", Value::Array(operations).to_string());
    }
}

/// The laws above say nothing where nothing is accepted.
#[test]
fn enough_of_what_is_generated_is_accepted() {
    let gate = Gate::new(Policy::for_namespaces(["app"]));
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut share = |strategy: BoxedStrategy<StepSpec>| {
        let one = |_| strategy.new_tree(&mut runner).unwrap().current();
        (0..400).map(one).filter(|step| gate.review(step, Mode::Write).is_ok()).count()
    };
    let manifests =
        manifest().prop_map(|object| StepSpec::command(words("apply -f - -n app")).with_stdin(object.to_string()));
    let patches = operation().prop_map(|operation| {
        StepSpec::command(
            words("patch deploy/web -n app --type=json").into_iter().chain([format!("--patch={}", json!([operation]))]),
        )
    });
    let (manifests, patches) = (share(manifests.boxed()), share(patches.boxed()));
    assert!(manifests > 40 && patches > 40, "{manifests} manifests and {patches} patches of 400");
}
