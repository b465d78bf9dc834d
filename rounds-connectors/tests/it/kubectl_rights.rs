//! The Role that the page for operators shows is enough for what it says, and kubectl asks for nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use rounds_core::ports::{CallContext, Clock as _, ExecutionAdapter, ReadStep, SystemClock};
use rounds_core::step::{Mode, StepSpec};
use rounds_sandbox::RecordedRequest;

use crate::cluster::TestCluster;

/// Verb, group and resource, as RBAC has them.
type Right = (String, String, String);

/// The words of one list in a rule that is written in one line.
fn words(line: &str, field: &str) -> Vec<String> {
    let (_, list) = line.split_once(&format!("{field}: [")).unwrap_or_else(|| panic!("{field}: {line}"));
    let (list, _) = list.split_once(']').unwrap();
    list.split(',').map(|word| word.trim().trim_matches('"').to_owned()).collect()
}

/// What the Role of the page grants.
fn documented() -> BTreeSet<Right> {
    let page = include_str!("../../../docs/connectors/kubernetes.md");
    let (_, role) = page.split_once("kind: Role\n").expect("the page shows a Role");
    let (role, _) = role.split_once("\n```").unwrap();
    let mut rights = BTreeSet::new();
    for rule in role.lines().filter(|line| line.starts_with("- {")) {
        for verb in words(rule, "verbs") {
            for group in words(rule, "apiGroups") {
                rights.extend(words(rule, "resources").into_iter().map(|one| (verb.clone(), group.clone(), one)));
            }
        }
    }
    assert!(rights.len() > 20, "{rights:?}");
    rights
}

/// The right that a request takes; `None`: one that everybody has (discovery, a question about rights).
fn right(request: &RecordedRequest) -> Option<Right> {
    let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return None,
    };
    let rest = match rest {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let (resource, name) = match rest {
        [] => return None,
        [resource] => ((*resource).to_owned(), false),
        [resource, _] => ((*resource).to_owned(), true),
        [resource, _, sub, ..] => (format!("{resource}/{sub}"), true),
    };
    let verb = match (request.method.as_str(), name) {
        ("GET", _) if request.query.contains("watch=") => "watch",
        ("GET", true) => "get",
        ("GET", false) => "list",
        ("PATCH", _) => "patch",
        ("POST", _) if group == "authorization.k8s.io" => return None,
        ("POST", _) => "create",
        ("PUT", _) => "update",
        _ => "delete",
    };
    Some((verb.to_owned(), group.to_owned(), resource))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_of_the_page_is_what_kubectl_asks_for() {
    let cluster = TestCluster::start().await;
    let Some(sandbox) = &cluster.sandbox else { return cluster.finish().await };
    let n = cluster.namespace.as_str();
    for (kind, name, more) in
        [("StatefulSet", "db", r#""serviceName": "db", "replicas": 1,"#), ("DaemonSet", "log", "")]
    {
        for image in ["pause:3.9", "pause:3.10"] {
            let manifest = format!(
                r#"{{ "apiVersion": "apps/v1", "kind": "{kind}", "metadata": {{ "name": "{name}", "namespace": "{n}" }},
                "spec": {{ {more} "selector": {{ "matchLabels": {{ "app": "{name}" }} }}, "template": {{
                    "metadata": {{ "labels": {{ "app": "{name}" }} }},
                    "spec": {{ "containers": [{{ "name": "app", "image": "registry.k8s.io/{image}" }}] }} }} }} }}"#
            );
            cluster.prepare(&["apply", "-f", "-"], &manifest).await;
            cluster.prepare(&["-n", n, "rollout", "status", &format!("{kind}/{name}"), "--timeout=60s"], "").await;
        }
    }
    let pods = cluster.prepare(&["-n", n, "get", "pods", "-l", "app=web", "-o", "name"], "").await;
    let pod = pods.lines().next().unwrap().to_owned();
    sandbox.clear_requests();

    let adapter = cluster.adapter();
    let cx = CallContext::with_timeout(Duration::from_secs(60));
    let line = |line: &str| StepSpec::command(format!("{line} -n {n}").split(' '));
    for read in [
        "get pods,services,configmaps,deployments,statefulsets,daemonsets,replicasets,controllerrevisions",
        "get events",
        "get horizontalpodautoscalers",
        "get deploy/web -o yaml",
        "describe deploy/web",
        "describe sts/db",
        "logs deploy/web",
        "logs -l app=web",
        "top pods",
    ] {
        let step = ReadStep::new(adapter.review(&line(read), Mode::Read).unwrap()).unwrap();
        adapter.read(&cx, step).await.unwrap_or_else(|error| panic!("{read}: {error}"));
    }
    let now = SystemClock.now();
    adapter.changes(&cx, (now - TimeDelta::hours(1), now), Some(n)).await.unwrap();
    adapter.check(&cx).await.unwrap();
    let merge = r#"{"metadata":{"labels":{"a":"b"}}}"#;
    let manifest = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"settings","namespace":"{n}"}},"data":{{"colour":"red"}}}}"#
    );
    for step in [
        // While it is there: what follows replaces it.
        line(&format!("delete {pod}")),
        line("scale deploy/web --replicas=3"),
        line("scale sts/db --replicas=2"),
        line("rollout undo deploy/web"),
        line("rollout undo sts/db"),
        line("rollout undo ds/log"),
        line("rollout restart deploy/web"),
        line("rollout status deploy/web"),
        line("rollout history sts/db"),
        line("annotate deploy/web a=b"),
        line("label deploy/web a=b"),
        StepSpec::command(["patch", "deploy/web", "-n", n, "--type=merge", "-p", merge]),
        StepSpec::command(["patch", "cm/settings", "-n", n, "--type=merge", "-p", merge]),
        StepSpec::command(["apply", "-n", n, "-f", "-"]).with_stdin(&manifest),
    ] {
        let reviewed = adapter.review(&step, Mode::Write).unwrap_or_else(|refusal| panic!("{step:?}: {refusal}"));
        adapter.dry_run(&cx, &reviewed).await.unwrap_or_else(|error| panic!("{step:?}: {error}"));
        adapter.inverse(&cx, &reviewed).await.unwrap_or_else(|error| panic!("{step:?}: {error}"));
        // Past the approval that the executor would ask for.
        let argv: Vec<String> = serde_json::from_value(reviewed.params["argv"].clone()).unwrap();
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        cluster.prepare(&argv, reviewed.params["stdin"].as_str().unwrap_or_default()).await;
    }

    let granted = documented();
    let asked: BTreeSet<Right> = sandbox.requests().iter().filter_map(right).collect();
    let missing: Vec<_> = asked.difference(&granted).collect();
    assert!(missing.is_empty(), "kubectl asks for what the page does not list: {missing:?}");
    assert!(!granted.iter().any(|(_, _, resource)| resource == "secrets" || resource == "*"));
    // Rights to change are listed no wider than what the steps above took.
    let changes = |right: &&Right| !matches!(right.0.as_str(), "get" | "list" | "watch");
    let unused: Vec<_> = granted.difference(&asked).filter(changes).collect();
    assert!(unused.is_empty(), "the page lists what nothing asks for: {unused:?}");
    cluster.finish().await;
}
