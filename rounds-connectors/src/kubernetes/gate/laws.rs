//! The law that everything rests on, over random typed commands rather than random words: what is rendered is read
//! back as the same command, and has one spelling.

use proptest::option::of as maybe;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use rounds_core::step::Mode;
use serde_json::{Value, json};

use super::command::*;
use super::kinds::{self, KindRef};
use super::output::Output;
use super::policy::{OptIn, Policy};
use super::{Form, parse, render};

/// One that permits whatever any connector may permit: the laws hold for every policy.
fn policy() -> Policy {
    Policy {
        cluster_reads: true,
        all_namespaces_reads: true,
        rollout_reads: true,
        opt_ins: [
            OptIn::Rbac,
            OptIn::ServiceAccounts,
            OptIn::NetworkPolicies,
            OptIn::Quotas,
            OptIn::Endpoints,
            OptIn::PrivilegedPods,
            OptIn::HostAccess,
        ]
        .into(),
        ..Policy::for_namespaces(["app", "other-1"])
    }
}

fn namespace() -> impl Strategy<Value = String> {
    select(&["app", "other-1"][..]).prop_map(str::to_owned)
}

fn inside() -> impl Strategy<Value = Place> {
    namespace().prop_map(Place::Namespace)
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\\.[a-z0-9]{1,4})?"
}

fn kind_among(words: &'static [&'static str]) -> impl Strategy<Value = KindRef> {
    select(words).prop_map(|word| kinds::known(word).unwrap())
}

const READABLE: &[&str] =
    &["pods", "deploy", "svc", "cm", "hpa", "pods.v1.", "deployments.v1.apps", "jobs", "sts", "ev"];
const WRITABLE: &[&str] =
    &["pods", "deploy", "svc", "cm", "hpa", "deployments.v1.apps", "jobs", "sts", "role", "sa", "pvc"];
const SCALED: &[&str] = &["deploy", "sts", "rs", "deployments.v1.apps"];
const ROLLED: &[&str] = &["deploy", "sts", "ds", "deployments.v1.apps"];

fn object(words: &'static [&'static str]) -> impl Strategy<Value = ObjectRef> {
    (kind_among(words), name()).prop_map(|(kind, name)| ObjectRef { kind, name })
}

fn objects(words: &'static [&'static str]) -> impl Strategy<Value = Vec<ObjectRef>> {
    prop::collection::vec(object(words), 1..5).prop_map(|mut objects| {
        let mut seen: Vec<ObjectRef> = Vec::new();
        objects.retain(|object| {
            let fresh = !seen.contains(object);
            seen.push(object.clone());
            fresh
        });
        objects
    })
}

/// Text of a template: anything visible.
fn text() -> impl Strategy<Value = String> {
    "[ -~äß☕]{1,20}"
}

fn output() -> impl Strategy<Value = Output> {
    prop_oneof![
        4 => Just(Output::Default),
        1 => Just(Output::Wide),
        1 => Just(Output::Name),
        1 => Just(Output::Json),
        1 => Just(Output::Yaml),
        1 => text().prop_map(Output::JsonPath),
        1 => text().prop_map(Output::JsonPathAsJson),
        1 => text().prop_map(Output::CustomColumns),
        1 => text().prop_map(Output::GoTemplate),
    ]
}

fn printing() -> impl Strategy<Value = Printing> {
    (output(), maybe(any::<bool>()), any::<bool>()).prop_map(
        |(output, allow_missing_template_keys, show_managed_fields)| Printing {
            output,
            allow_missing_template_keys,
            show_managed_fields,
        },
    )
}

fn selector() -> impl Strategy<Value = String> {
    select(&["app=web", "app!=web,tier in (a, b)", "!canary", "a.b/c=d", "metadata.name=web", "a==b"][..])
        .prop_map(str::to_owned)
}

fn selection() -> impl Strategy<Value = Selection> {
    prop_oneof![
        objects(READABLE).prop_map(Selection::Named),
        (subsequence(READABLE, 1..4), maybe(selector())).prop_map(|(words, selector)| Selection::Listed {
            kinds: words.into_iter().map(|word| kinds::known(word).unwrap()).collect(),
            selector,
        }),
    ]
}

/// Lists may span the cluster, named objects may not.
fn read_place(selection: &Selection) -> BoxedStrategy<Place> {
    match selection {
        Selection::Named(_) => inside().boxed(),
        Selection::Listed { .. } => prop_oneof![3 => inside(), 1 => Just(Place::AllNamespaces)].boxed(),
    }
}

fn dry_run() -> impl Strategy<Value = Option<DryRunFlag>> {
    maybe(select(&[DryRunFlag::Client, DryRunFlag::Server][..]))
}

fn manager() -> impl Strategy<Value = Option<String>> {
    maybe("[a-z0-9][a-zA-Z0-9._/-]{0,9}")
}

fn version() -> impl Strategy<Value = Option<String>> {
    maybe("[0-9]{1,20}")
}

fn wait() -> impl Strategy<Value = u32> {
    1..=Policy::default().wait_timeout()
}

type Placed = BoxedStrategy<(Place, Action)>;

fn get() -> Placed {
    selection()
        .prop_flat_map(|selection| (read_place(&selection), Just(selection)))
        .prop_flat_map(|(place, selection)| {
            let listed = matches!(selection, Selection::Listed { .. });
            let fields = if listed { maybe(selector()).boxed() } else { Just(None).boxed() };
            let looks = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), maybe(any::<bool>()));
            let columns = maybe(select(&["app", "app,a.b/c"][..]).prop_map(str::to_owned));
            let sort = maybe(select(&[".metadata.name", "{.status.startTime}"][..]).prop_map(str::to_owned));
            let part = maybe(select(&[Subresource::Status, Subresource::Scale][..]));
            (Just(place), Just(selection), fields, printing(), maybe(0_u32..=100_000), looks, columns, sort, part)
        })
        .prop_map(
            |(place, selection, field_selector, printing, chunk_size, looks, label_columns, sort_by, subresource)| {
                let (ignore_not_found, no_headers, show_kind, show_labels, server_print) = looks;
                let get = Get {
                    selection,
                    field_selector,
                    printing,
                    chunk_size,
                    ignore_not_found,
                    label_columns,
                    no_headers,
                    show_kind,
                    show_labels,
                    server_print,
                    sort_by,
                    subresource,
                };
                (place, Action::Get(get))
            },
        )
        .boxed()
}

fn describe() -> Placed {
    selection()
        .prop_flat_map(|selection| {
            (read_place(&selection), Just(selection), maybe(any::<bool>()), maybe(0_u32..=100_000))
        })
        .prop_map(|(place, selection, show_events, chunk_size)| {
            (place, Action::Describe(Describe { selection, show_events, chunk_size }))
        })
        .boxed()
}

fn logs() -> Placed {
    let source = prop_oneof![
        object(&["pods", "deploy", "sts", "svc", "jobs"]).prop_map(LogSource::Object),
        selector().prop_map(LogSource::Selector),
    ];
    let container = prop_oneof![Just((None, false)), Just((None, true)), name().prop_map(|name| (Some(name), false))];
    let since = prop_oneof![
        Just((None, None)),
        (1_u32..=100_000).prop_map(|seconds| (Some(seconds), None)),
        Just((None, Some("2026-01-31T12:00:00Z".to_owned()))),
    ];
    let switches = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let bounds = (maybe(-1_i64..=100_000), maybe(1_u32..=1 << 30), maybe(1_u8..=50), maybe(wait()));
    (inside(), source, container, since, switches, bounds)
        .prop_map(|(place, source, (container, all_containers), (since, since_time), switches, bounds)| {
            let (all_pods, previous, timestamps, prefix, ignore_errors) = switches;
            let (tail, limit_bytes, max_log_requests, pod_running_timeout) = bounds;
            // Logs without any bound do not exist.
            let unbounded = tail.is_none() && since.is_none() && since_time.is_none() && limit_bytes.is_none();
            let logs = Logs {
                source,
                container,
                all_containers,
                all_pods,
                pod_running_timeout,
                previous,
                since,
                since_time,
                tail: if unbounded { Some(1000) } else { tail },
                limit_bytes,
                timestamps,
                prefix,
                ignore_errors,
                max_log_requests,
            };
            (place, Action::Logs(logs))
        })
        .boxed()
}

fn top() -> Placed {
    let pods = (
        prop_oneof![
            name().prop_map(|name| (Some(name), None, false)),
            (maybe(selector()), any::<bool>()).prop_map(|(selector, everywhere)| (None, selector, everywhere)),
        ],
        maybe(selector()),
        any::<bool>(),
        any::<bool>(),
        inside(),
    )
        .prop_map(|((name, selector, everywhere), field_selector, containers, sum, place)| {
            let place = if everywhere { Place::AllNamespaces } else { place };
            (
                place,
                Top {
                    pods: true,
                    name,
                    selector,
                    field_selector,
                    containers,
                    no_headers: false,
                    sum,
                    sort_by_memory: None,
                },
            )
        });
    let nodes =
        prop_oneof![name().prop_map(|name| (Some(name), None)), maybe(selector()).prop_map(|labels| (None, labels))]
            .prop_map(|(name, selector)| {
                let top = Top {
                    pods: false,
                    name,
                    selector,
                    field_selector: None,
                    containers: false,
                    no_headers: false,
                    sum: false,
                    sort_by_memory: None,
                };
                (Place::Cluster, top)
            });
    (prop_oneof![pods, nodes], any::<bool>(), maybe(any::<bool>()))
        .prop_map(|((place, top), no_headers, sort_by_memory)| {
            (place, Action::Top(Top { no_headers, sort_by_memory, ..top }))
        })
        .boxed()
}

fn events() -> Placed {
    let about = prop_oneof![
        (inside(), object(READABLE)).prop_map(|(place, object)| (place, Some(object))),
        inside().prop_map(|place| (place, None)),
        Just((Place::AllNamespaces, None)),
    ];
    let printing = printing().prop_filter("events have no wide output", |printing| printing.output != Output::Wide);
    (about, any::<bool>(), any::<bool>(), printing, any::<bool>(), maybe(0_u32..=100_000))
        .prop_map(|((place, about), normal, warning, printing, no_headers, chunk_size)| {
            (place, Action::Events(Events { about, normal, warning, printing, no_headers, chunk_size }))
        })
        .boxed()
}

fn outside() -> Placed {
    let version = (any::<bool>(), select(&[Output::Default, Output::Json, Output::Yaml][..]))
        .prop_map(|(client, output)| Action::Version(Version { client, output }));
    let words = || maybe(select(&["apps", "list,get", "a.b"][..]).prop_map(str::to_owned));
    let sort = maybe(select(&["name", "kind"][..]).prop_map(str::to_owned));
    let formats = select(&[Output::Default, Output::Wide, Output::Name][..]);
    let resources = (maybe(any::<bool>()), words(), words(), words(), any::<bool>(), sort, formats).prop_map(
        |(namespaced, api_group, verbs, categories, no_headers, sort_by, output)| {
            Action::ApiResources(ApiResources { namespaced, api_group, verbs, categories, no_headers, sort_by, output })
        },
    );
    prop_oneof![version, resources].prop_map(|action| (Place::Cluster, action)).boxed()
}

fn scale() -> Placed {
    (inside(), objects(SCALED), 0_u32..=1000, maybe(0_u32..=100_000), maybe(wait()), version(), dry_run(), printing())
        .prop_map(|(place, objects, replicas, current_replicas, timeout, resource_version, dry_run, printing)| {
            let scale = Scale { objects, replicas, current_replicas, timeout, resource_version, dry_run, printing };
            (place, Action::Scale(scale))
        })
        .boxed()
}

fn rollouts() -> Placed {
    let status = (object(ROLLED), maybe(wait()), maybe(1_u32..)).prop_map(|(object, timeout, revision)| {
        let limit = Policy::default().wait_timeout();
        Action::RolloutStatus(RolloutStatus {
            object,
            watch: timeout.is_some(),
            timeout: timeout.unwrap_or(limit),
            revision,
        })
    });
    let history = (objects(ROLLED), maybe(1_u32..), printing()).prop_map(|(objects, revision, printing)| {
        Action::RolloutHistory(RolloutHistory { objects, revision, printing })
    });
    let undo = (objects(ROLLED), maybe(1_u32..), dry_run(), printing()).prop_map(
        |(objects, to_revision, dry_run, printing)| {
            Action::RolloutUndo(RolloutUndo { objects, to_revision, dry_run, printing })
        },
    );
    let verb = select(&[RolloutVerb::Restart, RolloutVerb::Pause, RolloutVerb::Resume][..]);
    let change = (verb, objects(&["deploy", "deployments.v1.apps"]), manager(), printing()).prop_map(
        |(verb, objects, field_manager, printing)| {
            Action::RolloutChange(RolloutChange { verb, objects, field_manager, printing })
        },
    );
    (inside(), prop_oneof![status, history, undo, change]).boxed()
}

/// A value that may stand in the `data` of a ConfigMap or in an object's annotations.
fn data() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-zA-Z][a-zA-Z0-9._-]{0,8}", "(\\PC|\n|\t){0,20}", 0..4)
        .prop_map(|map| json!(map))
        .prop_filter("nothing invisible", |map| !map.to_string().chars().any(super::names::is_odd))
}

fn patch() -> Placed {
    let merged = (select(&[PatchType::Strategic, PatchType::Merge][..]), data(), 0..50_u32, any::<bool>()).prop_map(
        |(patch_type, data, replicas, on_scale)| match patch_type {
            _ if on_scale => ("deploy", patch_type, json!({"spec": {"replicas": replicas}}), true),
            PatchType::Merge => ("cm", patch_type, json!({"data": data, "binaryData": null}), false),
            _ => (
                "deploy",
                patch_type,
                json!({"spec": {"template": {"metadata": {"annotations": data},
                "spec": {"containers": [{"name": "web", "image": "a:1", "livenessProbe": null, "$patch": "merge"}]}}}}),
                false,
            ),
        },
    );
    let operations = (data(), 0..9_u8).prop_map(|(data, i)| {
        let body = json!([
            {"op": "test", "path": format!("/spec/template/spec/containers/{i}/name"), "value": "web"},
            {"op": "replace", "path": format!("/spec/template/spec/containers/{i}/image"), "value": "a:1"},
            {"op": "add", "path": "/metadata/annotations", "value": data},
            {"op": "remove", "path": "/spec/template/spec/containers/0/env/0"},
        ]);
        ("deploy", PatchType::Json, body, false)
    });
    (inside(), prop_oneof![merged, operations], name(), dry_run(), manager(), printing())
        .prop_map(|(place, (kind, patch_type, body, on_scale), name, dry_run, field_manager, printing)| {
            let object = ObjectRef { kind: kinds::known(kind).unwrap(), name };
            let patch = Patch { object, patch_type, body, on_scale, dry_run, field_manager, printing };
            (place, Action::Patch(patch))
        })
        .boxed()
}

fn manifest_object(namespace: String) -> impl Strategy<Value = ManifestObject> {
    (any::<bool>(), name(), data(), 0..50_u32).prop_map(move |(config, name, data, replicas)| {
        let (api_version, kind) = if config { ("v1", "ConfigMap") } else { ("apps/v1", "Deployment") };
        let metadata = json!({"name": name, "namespace": namespace, "annotations": {"note": "x"}});
        let value = if config {
            json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "data": data})
        } else {
            json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": {
                "replicas": replicas, "template": {"metadata": {"annotations": data}, "spec": {"containers": [{"name": "web"}]}}}})
        };
        ManifestObject { object: ObjectRef { kind: kinds::of_manifest(api_version, kind, &Policy::default()).unwrap(), name }, value }
    })
}

fn apply() -> Placed {
    let objects = namespace().prop_flat_map(|namespace| {
        let objects = prop::collection::vec(manifest_object(namespace.clone()), 1..4);
        (Just(Place::Namespace(namespace)), objects)
    });
    let validate =
        maybe(select(&[Validate::True, Validate::Strict, Validate::Warn, Validate::Ignore, Validate::False][..]));
    (objects, any::<bool>(), any::<bool>(), validate, dry_run(), manager(), printing())
        .prop_map(|((place, mut objects), server_side, force, validate, dry_run, field_manager, printing)| {
            objects.sort_by(|a, b| {
                (&a.object.kind.kind.kind, &a.object.name).cmp(&(&b.object.kind.kind.kind, &b.object.name))
            });
            objects.dedup_by(|a, b| a.object == b.object);
            let apply = Apply {
                objects,
                server_side,
                force_conflicts: server_side && force,
                validate,
                dry_run: dry_run.filter(|dry_run| !server_side || *dry_run == DryRunFlag::Server),
                field_manager,
                printing,
            };
            (place, Action::Apply(apply))
        })
        .boxed()
}

fn metadata() -> Placed {
    let key = "[a-z][a-z0-9]{0,5}(\\.example\\.com/[a-zA-Z0-9]{1,5})?";
    let changes = (
        prop::collection::btree_map(key, "[a-zA-Z0-9]([a-zA-Z0-9._-]{0,5}[a-zA-Z0-9])?", 0..3),
        prop::collection::btree_set(key, 0..3),
    );
    let changes = changes.prop_filter("something changes, and nothing twice", |(set, remove)| {
        !(set.is_empty() && remove.is_empty()) && remove.iter().all(|key| !set.contains_key(key))
    });
    (inside(), objects(WRITABLE), changes, any::<bool>(), version(), dry_run(), manager(), printing(), any::<bool>())
        .prop_map(
            |(place, objects, (set, remove), overwrite, resource_version, dry_run, field_manager, printing, label)| {
                let metadata =
                    Metadata { objects, set, remove, overwrite, resource_version, dry_run, field_manager, printing };
                (place, if label { Action::Label(metadata) } else { Action::Annotate(metadata) })
            },
        )
        .boxed()
}

fn delete() -> Placed {
    let cascade = maybe(select(&[Cascade::Background, Cascade::Foreground, Cascade::Orphan][..]));
    (
        inside(),
        objects(WRITABLE),
        any::<bool>(),
        maybe(wait()),
        maybe(1_u32..=3600),
        any::<bool>(),
        cascade,
        dry_run(),
        any::<bool>(),
    )
        .prop_map(|(place, objects, ignore_not_found, timeout, grace_period, now, cascade, dry_run, name_only)| {
            let delete = Delete {
                objects,
                ignore_not_found,
                wait: timeout.is_some(),
                timeout,
                grace_period: grace_period.filter(|_| !now),
                now,
                cascade,
                dry_run,
                name_only,
            };
            (place, Action::Delete(delete))
        })
        .boxed()
}

fn command() -> impl Strategy<Value = Command> {
    let action = prop_oneof![
        get(),
        describe(),
        logs(),
        top(),
        events(),
        outside(),
        scale(),
        rollouts(),
        patch(),
        apply(),
        metadata(),
        delete(),
    ];
    (action, 1_u32..=30, maybe(0_u8..=5)).prop_map(|((place, action), request_timeout, verbosity)| Command {
        place,
        request_timeout,
        verbosity,
        action,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rule_2_a_command_that_is_written_out_is_read_back_as_itself(command in command()) {
        let policy = policy();
        let (argv, stdin) = (render::argv(&command, Form::Reviewed), render::stdin(&command));
        let again = parse::parse(&argv, stdin.as_deref(), &policy, Mode::Write);
        let again = again.map_err(|refusal| TestCaseError::fail(format!("{refusal} in {argv:?} {stdin:?}")))?;
        prop_assert_eq!(&again, &command);
        prop_assert_eq!(render::argv(&again, Form::Reviewed), argv);
        prop_assert_eq!(render::stdin(&again), stdin);
    }
}

/// A strategy that never builds one of the actions would prove nothing about it.
#[test]
fn the_law_is_tried_on_every_action() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut verbs = std::collections::BTreeSet::new();
    for _ in 0..600 {
        verbs.insert(command().new_tree(&mut runner).unwrap().current().action.verb());
    }
    let all = [
        "annotate",
        "api-resources",
        "apply",
        "delete",
        "describe",
        "events",
        "get",
        "label",
        "logs",
        "patch",
        "rollout history",
        "rollout pause",
        "rollout restart",
        "rollout resume",
        "rollout status",
        "rollout undo",
        "scale",
        "top",
        "version",
    ];
    assert_eq!(verbs.into_iter().collect::<Vec<_>>(), all);
}
