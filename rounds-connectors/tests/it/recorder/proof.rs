//! The proof of rule 2: what kubectl sends for an accepted command is what the gate said that it touches.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use rounds_connectors::kubernetes::{Gate, KubectlInfo, Policy};
use rounds_core::step::{Mode, ReviewedStep, Target, Tier};

use super::run::{Bench, Ran, bench, kubectls};
use super::{About, Recorded, Recorder, discovery};
use crate::corpus::{cases, step};

/// An accepted command, as it would run.
struct Accepted {
    /// The rows that become it.
    ids: Vec<String>,
    argv: Vec<String>,
    stdin: Option<String>,
    step: ReviewedStep,
}

/// Every command of the corpus that the gate accepts; rows that become the same command are one.
fn accepted() -> Vec<Accepted> {
    let mut found: BTreeMap<(Vec<String>, Option<String>), Accepted> = BTreeMap::new();
    for case in cases() {
        let gate = Gate::new(Policy::for_namespaces(case.allowed.clone()));
        let Ok(reviewed) = gate.review(&step(&case), case.mode) else { continue };
        let argv: Vec<String> = serde_json::from_value(reviewed.params["argv"].clone()).unwrap();
        let stdin = reviewed.params["stdin"].as_str().map(str::to_owned);
        for target in &reviewed.targets {
            assert!(target.namespace.as_ref().is_some_and(|it| case.allowed.contains(it)), "{}: {target:?}", case.id);
        }
        found
            .entry((argv.clone(), stdin.clone()))
            .or_insert_with(|| Accepted { ids: Vec::new(), argv, stdin, step: reviewed })
            .ids
            .push(case.id);
    }
    found.into_values().collect()
}

/// `deployments` of `apps` as targets write it: `deployment.apps`.
fn kind_of(group: &str, plural: &str) -> String {
    let singular = match discovery::row(group, plural) {
        // Metrics share their plural with what they measure, and so the word.
        Some((_, "PodMetrics", ..)) => "pod".to_owned(),
        Some((_, kind, ..)) => kind.to_ascii_lowercase(),
        None => plural.to_owned(),
    };
    if group.is_empty() { singular } else { format!("{singular}.{group}") }
}

/// What a verb reads beside its targets, and why. `targets` are the kinds of the command's own objects.
fn supporting(verb: &str, targets: &BTreeSet<&str>) -> BTreeSet<&'static str> {
    let mut kinds = BTreeSet::new();
    let about = |kind: &str| targets.contains(kind);
    match verb {
        "describe" => {
            // What happened to the object.
            kinds.extend(["event", "event.events.k8s.io"]);
            // Old and new replica sets of a deployment.
            if about("deployment.apps") {
                kinds.insert("replicaset.apps");
            }
            // How many of its pods run, wait and failed; and which pods use a claim.
            if [
                "replicaset.apps",
                "statefulset.apps",
                "daemonset.apps",
                "replicationcontroller",
                "job.batch",
                "persistentvolumeclaim",
            ]
            .iter()
            .any(|kind| about(kind))
            {
                kinds.insert("pod");
            }
            // The addresses behind a service, and behind the services of an ingress.
            if about("service") || about("ingress.networking.k8s.io") {
                kinds.extend(["service", "endpoints", "endpointslice.discovery.k8s.io"]);
            }
        }
        // Whose logs a workload's or a selector's are: the pods that its selector picks.
        "logs" => {
            kinds.insert("pod");
        }
        // Measurements, and, when there are none, whether there are pods at all.
        "top" => kinds.extend(["pod", "pod.metrics.k8s.io"]),
        // Events about the object: kubectl asks for them rather than for the object.
        "events" => kinds.extend(["event", "event.events.k8s.io"]),
        // Revisions are kept in replica sets and controller revisions.
        "rollout history" | "rollout undo" | "rollout status" => {
            kinds.extend(["replicaset.apps", "controllerrevision.apps"]);
        }
        _ => {}
    }
    kinds
}

/// Why a request is not what the gate said, if it is not.
fn stray(command: &Accepted, request: &Recorded) -> Option<String> {
    let About::Objects { group, namespace, plural, name, subresource, .. } = &request.about else {
        return (request.about == About::Unknown || request.is_write()).then(|| "not a path that is known".into());
    };
    let step = &command.step;
    let kind = kind_of(group, plural);
    if kind == "secret" {
        return Some("it touches Secrets".into());
    }
    let wanted = command.argv.iter().find_map(|word| word.strip_prefix("--namespace="));
    // Where an object is missing, kubectl asks whether its namespace is there.
    if kind == "namespace" && request.method == "GET" && subresource.is_none() && name.as_deref() == wanted {
        return None;
    }
    if namespace.is_none() || namespace.as_deref() != wanted {
        return Some(format!("it leaves the namespace {wanted:?}"));
    }
    let is_target = |target: &Target| target.kind == kind && target.namespace == *namespace;
    if request.is_write() {
        let through_scale = subresource.as_deref() == Some("scale") && matches!(step.verb.as_str(), "scale" | "patch");
        if subresource.is_some() && !through_scale {
            return Some("a subresource is written".into());
        }
        if step.tier == Tier::Read || command.argv.iter().any(|word| word == "--dry-run=client") {
            return Some("a read writes".into());
        }
        if command.argv.iter().any(|word| word == "--dry-run=server") != request.is_dry_run() {
            return Some("a question that changes, or a change that only asks".into());
        }
        let named = request.object_name();
        let meant = |target: &Target| is_target(target) && target.name.is_some() && target.name.as_deref() == named;
        return (!step.targets.iter().any(meant)).then(|| "no target of the command".into());
    }
    let reads = match subresource.as_deref() {
        None => true,
        Some("log") => step.verb == "logs",
        Some("scale") => matches!(step.verb.as_str(), "scale" | "get" | "patch"),
        Some("status") => step.verb == "get",
        Some(_) => false,
    };
    if !reads {
        return Some("a subresource that the command has no use for".into());
    }
    let kinds: BTreeSet<&str> = step.targets.iter().map(|target| target.kind.as_str()).collect();
    if supporting(&step.verb, &kinds).contains(kind.as_str()) {
        return None;
    }
    // Reading one's own object by name; all of a kind only where the target names none. `describe` also asks for the
    // objects whose names begin with the one it was given.
    let looks = |target: &Target| {
        is_target(target)
            && (target.name.is_none()
                || target.name.as_deref() == request.object_name()
                || (name.is_none() && step.verb == "describe"))
    };
    (!step.targets.iter().any(looks)).then(|| "it reads what the command does not name".into())
}

/// What an old kubectl is known to do whatever it is told. It is printed, so that nobody takes it for proven.
fn known(info: &KubectlInfo, command: &Accepted, request: &Recorded) -> bool {
    // `describe ingress` used to look for the cluster's default backend, by a name of its own.
    let backend =
        ["services", "endpoints"].map(|plural| format!("/api/v1/namespaces/kube-system/{plural}/default-http-backend"));
    info.release < (1, 27)
        && command.step.verb == "describe"
        && command.step.targets.iter().any(|target| target.kind == "ingress.networking.k8s.io")
        && request.method == "GET"
        && backend.contains(&request.path)
}

/// The targets that nothing was asked about, when the command is to change them.
fn overclaimed<'a>(command: &'a Accepted, ran: &Ran) -> Vec<&'a Target> {
    // A question that the client answers sends no change, and perhaps nothing.
    if command.argv.iter().any(|word| word == "--dry-run=client") {
        return Vec::new();
    }
    // A label that was not there need not be removed: the object is read, and that is all.
    let removes_only = matches!(command.step.verb.as_str(), "label" | "annotate")
        && !command.argv.iter().any(|word| !word.starts_with("--") && word.contains('='));
    let touched = |target: &&Target| {
        ran.requests.iter().any(|request| {
            let About::Objects { group, namespace, plural, .. } = &request.about else { return false };
            (request.is_write() || removes_only)
                && kind_of(group, plural) == target.kind
                && *namespace == target.namespace
                && request.object_name() == target.name.as_deref()
        })
    };
    command.step.targets.iter().filter(|target| !touched(target)).collect()
}

/// Whether kubectl is too old to know what was written, in its own words.
fn lacks(info: &KubectlInfo, ran: &Ran) -> Option<String> {
    const NEWEST: (u32, u32) = (1, 33);
    let words = ["unknown flag", "unknown command", "unknown shorthand flag", "invalid argument"];
    let line = ran.said.lines().find(|line| words.iter().any(|word| line.contains(word)))?;
    (info.release < NEWEST && !ran.success).then(|| line.to_owned())
}

async fn run(bench: &Bench<'_>, number: usize, command: &Accepted) -> Ran {
    // Only a deployment that is paused can be resumed.
    let state = if command.step.verb == "rollout resume" { "paused" } else { "running" };
    bench.run(&format!("{number}-{state}"), &command.argv, command.stdin.as_deref()).await
}

async fn prove(info: &KubectlInfo) {
    let recorder = Recorder::start().await;
    let bench = bench(&recorder, &info.path);
    let commands = accepted();
    // The first one fills the cache of what is served, for all.
    bench.run("first", &["get".into(), "pods".into()], None).await;
    let ran: Vec<(&Accepted, Ran)> = futures::stream::iter(commands.iter().enumerate())
        .map(|(number, command)| {
            let bench = &bench;
            async move { (command, run(bench, number, command).await) }
        })
        .buffer_unordered(4)
        .collect()
        .await;
    let (mut wrong, mut skipped, mut failed, mut silent) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (command, ran) in &ran {
        let shown = format!("{} `{}`", command.ids.join(" "), command.step.command_text);
        for request in &ran.requests {
            if known(info, command, request) {
                println!("{shown}: {request}: an old kubectl does that");
                continue;
            }
            wrong.extend(stray(command, request).map(|why| format!("{shown}: {request}: {why}")));
        }
        if let Some(line) = lacks(info, ran) {
            skipped.push(format!("{shown}: {line}"));
            continue;
        }
        if !ran.success {
            failed.push(format!("{shown}: {}", ran.said.lines().last().unwrap_or("it said nothing")));
        }
        if command.step.tier != Tier::Read {
            let missed = overclaimed(command, ran);
            if !missed.is_empty() && ran.success {
                wrong.push(format!(
                    "{shown}: claims {missed:?}, and sends {:?}",
                    ran.requests.iter().map(ToString::to_string).collect::<Vec<_>>()
                ));
            }
        }
        silent += usize::from(ran.requests.is_empty());
    }
    println!("{info}: {} commands, {} that it does not know:\n{}", ran.len(), skipped.len(), skipped.join("\n"));
    println!("{} ended with an error of kubectl's own:\n{}", failed.len(), failed.join("\n"));
    println!("{silent} sent nothing");
    assert!(wrong.is_empty(), "{info}: {} requests are not what the gate said:\n{}", wrong.len(), wrong.join("\n"));
    assert!(ran.len() > 400, "{}", ran.len());
    assert!(failed.len() * 20 < ran.len(), "{} failed", failed.len());
    assert!(skipped.len() * 10 < ran.len(), "{} skipped", skipped.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_every_accepted_command_of_the_corpus_sends_only_what_its_targets_say() {
    for info in kubectls().await {
        prove(&info).await;
    }
}

/// Commands that known gates of this sort let through, and the request that each was worth refusing for. It also shows
/// that the recorder sees an escape when there is one.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_would_have_reached_where_it_must_not() {
    let binding = r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"new-x"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"}}"#;
    let elsewhere = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new-x","namespace":"kube-system"}}"#;
    let hidden = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new-x","namespace":"app"},"items":[{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"new-y"}}]}"#;
    let table: [(&str, Option<&str>, &str, &str); 16] = [
        ("get --raw /api/v1/namespaces/kube-system/secrets/s", None, "GET", "/api/v1/namespaces/kube-system/secrets/s"),
        ("delete pod x -n app -nkube-system", None, "DELETE", "/api/v1/namespaces/kube-system/pods/x"),
        ("-l get delete pods -n kube-system", None, "DELETE", "/api/v1/namespaces/kube-system/pods/"),
        ("--field-manager get annotate ns prod a=b", None, "PATCH", "/api/v1/namespaces/prod"),
        (
            "patch clusterrole view -n app -p {\"rules\":[]}",
            None,
            "PATCH",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/view",
        ),
        ("apply -f - -n app", Some(binding), "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
        ("apply -f - -n app", Some(hidden), "POST", "/api/v1/namespaces"),
        ("apply -f -", Some(elsewhere), "POST", "/api/v1/namespaces/kube-system/configmaps"),
        ("delete pod web --cascade orphan -n app", None, "DELETE", "/api/v1/namespaces/app/pods/orphan"),
        ("delete node n1 -n app", None, "DELETE", "/api/v1/nodes/n1"),
        ("delete pods -l app=web -n app", None, "DELETE", "/api/v1/namespaces/app/pods/web-1"),
        ("get pods,secrets -n app", None, "GET", "/api/v1/namespaces/app/secrets"),
        ("get pods -n app -A", None, "GET", "/api/v1/pods"),
        ("get pods -namespace app", None, "GET", "/api/v1/namespaces/amespace/pods"),
        ("label clusterwidget x a=b -n app", None, "PATCH", "/apis/example.com/v1/clusterwidgets/x"),
        ("describe sa default -n app", None, "GET", "/api/v1/namespaces/app/secrets"),
    ];
    let recorder = Recorder::start().await;
    let gate = Gate::new(Policy::for_namespaces(["app"]));
    for info in kubectls().await {
        let bench = bench(&recorder, &info.path);
        for (number, (line, stdin, method, path)) in table.into_iter().enumerate() {
            let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let mut spec = rounds_core::step::StepSpec::command(argv.clone());
            if let Some(stdin) = stdin {
                spec = spec.with_stdin(stdin);
            }
            assert!(gate.review(&spec, Mode::Write).is_err(), "{line}");
            let token = format!("{}-{number}", info.release.1);
            let ran = bench.run(&token, &argv, stdin).await;
            let reaches = |request: &Recorded| request.method == method && request.path.starts_with(path);
            assert!(
                ran.requests.iter().any(reaches),
                "{info}: `{line}` does not send {method} {path} but {:?}; {}",
                ran.requests.iter().map(ToString::to_string).collect::<Vec<_>>(),
                ran.said
            );
        }
    }
}

/// The proof is worth what its checks are: each is shown a request that it must not let pass.
#[test]
fn the_proof_sees_a_request_that_strays() {
    let gate = Gate::new(Policy::for_namespaces(["app"]));
    let command = |line: &str| {
        let spec = rounds_core::step::StepSpec::command(line.split(' '));
        let step = gate.review(&spec, Mode::Write).unwrap();
        let argv = serde_json::from_value(step.params["argv"].clone()).unwrap();
        Accepted { ids: vec![line.into()], argv, stdin: None, step }
    };
    let request = |line: &str| {
        let (method, rest) = line.split_once(' ').unwrap();
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let query =
            query.split('&').filter_map(|pair| pair.split_once('=')).map(|(key, value)| (key.into(), value.into()));
        Recorded {
            method: method.into(),
            path: path.into(),
            query: query.collect(),
            about: super::about(path),
            body: serde_json::Value::Null,
        }
    };
    for (line, fine, strays) in [
        (
            "scale deploy/web --replicas=2 -n app",
            "PATCH /apis/apps/v1/namespaces/app/deployments/web/scale",
            &[
                "PATCH /apis/apps/v1/namespaces/app/deployments/api/scale",
                "PATCH /apis/apps/v1/namespaces/other/deployments/web/scale",
                "PATCH /apis/apps/v1/namespaces/app/statefulsets/web/scale",
                "PATCH /apis/apps/v1/namespaces/app/deployments/web/status",
                "PATCH /apis/apps/v1/namespaces/app/deployments/web/scale?dryRun=All",
                "GET /api/v1/namespaces/app/secrets",
                "GET /api/v1/namespaces/app/configmaps/settings",
                "DELETE /api/v1/namespaces/app/pods",
                "POST /version",
            ][..],
        ),
        (
            "delete pod web -n app --dry-run=server",
            "DELETE /api/v1/namespaces/app/pods/web?dryRun=All",
            &[
                "DELETE /api/v1/namespaces/app/pods/web",
                "DELETE /api/v1/namespaces/app/pods?dryRun=All",
                "DELETE /api/v1/namespaces/app?dryRun=All",
            ][..],
        ),
        (
            "get pod web -n app",
            "GET /api/v1/namespaces/app/pods/web",
            &[
                "GET /api/v1/namespaces/app/pods",
                "GET /api/v1/pods",
                "GET /api/v1/namespaces/app/pods/web/proxy",
                "GET /api/v1/nodes",
                "PATCH /api/v1/namespaces/app/pods/web",
            ][..],
        ),
        (
            "describe deploy web -n app",
            "GET /apis/apps/v1/namespaces/app/replicasets",
            &[
                "GET /api/v1/namespaces/kube-system/events",
                "GET /api/v1/namespaces/app/secrets/web",
                "GET /api/v1/events",
            ][..],
        ),
    ] {
        let command = command(line);
        assert_eq!(stray(&command, &request(fine)), None, "{line}: {fine}");
        for other in strays {
            assert!(stray(&command, &request(other)).is_some(), "{line}: {other}");
        }
    }
}
