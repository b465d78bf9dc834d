//! What a cluster remembers of its rollouts, as the changes that an investigation reads.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use rounds_core::ports::{CallContext, Clock as _, ExecutionAdapter as _, SystemClock};

use crate::cluster::TestCluster;

#[tokio::test]
async fn the_rollouts_of_a_cluster_are_told_within_the_namespaces_that_may_be_read_and_by_reads_alone() {
    let cluster = TestCluster::start().await;
    let adapter = cluster.adapter();
    let cx = CallContext::with_timeout(Duration::from_secs(60));
    let now = SystemClock.now();
    let between = (now - TimeDelta::hours(1), now + TimeDelta::hours(1));
    for namespace in [Some(cluster.namespace.as_str()), None] {
        let set = adapter.changes(&cx, between, namespace).await.expect("the cluster is asked").expect("it remembers");
        let texts: Vec<&str> = set.lines.iter().map(|line| line.text.as_str()).collect();
        let rolled_out = |revision: u32, image: &str| {
            let text =
                format!("deployment {}/web rolled out revision {revision}: registry.k8s.io/{image}", cluster.namespace);
            texts.iter().filter(|found| **found == text).count()
        };
        assert_eq!((rolled_out(1, "pause:3.9"), rolled_out(2, "pause:3.10")), (1, 1), "{texts:?}");
        assert_eq!(set.lines[0].labels["deployment"], "web");
        assert!(set.warnings.is_empty() && !set.truncated, "{set:?}");
    }
    let long_ago = (now - TimeDelta::hours(9), now - TimeDelta::hours(8));
    let set = adapter.changes(&cx, long_ago, None).await.expect("the cluster is asked").expect("it remembers");
    assert!(set.lines.is_empty(), "{set:?}");
    let elsewhere = adapter.changes(&cx, between, Some("kube-system")).await.expect("nobody is asked");
    assert_eq!(elsewhere, None, "a namespace that may not be read");
    assert!(cluster.requests().iter().all(|request| request.method == "GET"), "{:?}", cluster.requests());

    // The cluster's words for why not, and no empty answer that would rule something out.
    let broken = cluster.adapter_with(cluster.config(), "apiVersion: v1\nkind: Config\n", cluster.host());
    assert!(broken.changes(&cx, between, None).await.is_err());
    cluster.finish().await;
}

fn set(cluster: &TestCluster, kind: &str, name: &str, image: &str, cause: &str) -> String {
    let mut set = serde_json::json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": { "name": name, "namespace": cluster.namespace, "annotations": { "kubernetes.io/change-cause": cause } },
        "spec": {
            "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": { "containers": [{ "name": "app", "image": image }] } },
        },
    });
    if kind == "StatefulSet" {
        set["spec"]["serviceName"] = name.into();
        set["spec"]["replicas"] = 1.into();
    }
    set.to_string()
}

#[tokio::test]
async fn stateful_and_daemon_sets_tell_their_revisions_and_the_way_back_to_one() {
    let cluster = TestCluster::start().await;
    let n = cluster.namespace.as_str();
    let status = async |object: &str| {
        cluster.prepare(&["-n", n, "rollout", "status", object, "--timeout=60s"], "").await;
    };
    for (kind, object) in [("StatefulSet", "sts/db"), ("DaemonSet", "ds/log")] {
        let name = object.split('/').next_back().unwrap();
        for (image, cause) in [("pause:3.9", "first"), ("pause:3.10", "a newer one")] {
            let manifest = set(&cluster, kind, name, &format!("registry.k8s.io/{image}"), cause);
            cluster.prepare(&["apply", "-f", "-"], &manifest).await;
            status(object).await;
        }
    }
    // A way back is known by its whole second.
    let begun = SystemClock.now();
    while SystemClock.now() - begun < TimeDelta::seconds(3) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.prepare(&["-n", n, "rollout", "undo", "sts/db"], "").await;
    status("sts/db").await;
    // Whatever anybody else writes on the newest revision is no way back to it.
    let revision_2 = "jsonpath={.items[?(@.revision==2)].metadata.name}";
    let newest = cluster.prepare(&["-n", n, "get", "controllerrevisions", "-l", "app=log", "-o", revision_2], "").await;
    let annotate = ["-n", n, "annotate", "controllerrevisions", newest.trim(), "team=shop", "--field-manager=somebody"];
    cluster.prepare(&annotate, "").await;
    if cluster.sandbox.is_some() {
        // The sandbox does not write down who changed an object, as a cluster does.
        let time = SystemClock.now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let entry =
            serde_json::json!({ "manager": "somebody", "operation": "Update", "apiVersion": "apps/v1", "time": time });
        let patch =
            serde_json::json!([{ "op": "add", "path": "/metadata/managedFields/-", "value": entry }]).to_string();
        let revision = newest.trim();
        cluster.prepare(&["-n", n, "patch", "controllerrevisions", revision, "--type=json", "-p", &patch], "").await;
    }
    let adapter = cluster.adapter();
    let cx = CallContext::with_timeout(Duration::from_secs(60));
    let now = SystemClock.now();
    let between = (now - TimeDelta::hours(1), now + TimeDelta::hours(1));
    let told = adapter.changes(&cx, between, Some(n)).await.expect("the cluster is asked").expect("it remembers");
    // What happened within one second is in the order of its words.
    let of = |label: &str| {
        let of_kind = told.lines.iter().filter(|line| line.labels.contains_key(label));
        of_kind.map(|line| line.text.clone()).collect::<BTreeSet<_>>()
    };
    assert_eq!(
        of("statefulset"),
        BTreeSet::from([
            format!("statefulset {n}/db rolled out what is revision 3 now: registry.k8s.io/pause:3.9 (first)"),
            format!("statefulset {n}/db rolled out revision 2: registry.k8s.io/pause:3.10 (a newer one)"),
            format!(
                "statefulset {n}/db took up an older template again as revision 3: registry.k8s.io/pause:3.9 (first)"
            ),
        ])
    );
    assert_eq!(
        of("daemonset"),
        BTreeSet::from([
            format!("daemonset {n}/log rolled out revision 1: registry.k8s.io/pause:3.9 (first)"),
            format!("daemonset {n}/log rolled out revision 2: registry.k8s.io/pause:3.10 (a newer one)"),
        ])
    );
    assert!(told.warnings.is_empty() && !of("deployment").is_empty(), "{told:?}");

    // What may not be listed is said, and the rest is told.
    if let Some(sandbox) = &cluster.sandbox {
        sandbox.forbid("list", "controllerrevisions", None);
        let told = adapter.changes(&cx, between, None).await.expect("the rest").expect("it remembers");
        assert!(!told.lines.is_empty() && told.lines.iter().all(|line| line.labels.contains_key("deployment")));
        let said = format!("changes of StatefulSets and DaemonSets in {n} are not seen: ");
        assert!(told.warnings.len() == 1 && told.warnings[0].starts_with(&said), "{:?}", told.warnings);
        assert!(told.warnings[0].contains("forbidden"), "{:?}", told.warnings);
        let report = adapter.check(&cx).await.expect("it answers");
        let sees = report.abilities.iter().find(|ability| ability.what.starts_with("see changes of")).expect("asked");
        assert!(!sees.ok && sees.detail.contains("optional: changes of StatefulSets"), "{sees:?}");
        assert!(report.message.contains("no plan fails for that"), "{}", report.message);
        sandbox.forbid("list", "replicasets", None);
        assert!(adapter.changes(&cx, between, None).await.is_err(), "nothing at all could be read");
    }
    cluster.finish().await;
}

/// Rows of objects that there are not, as whoever annotates might write them: in columns, and as rows are read here.
fn forged(now: &str) -> String {
    let escaped = now.replace(':', "%3A");
    format!(
        "fine\n{now}   ghost   Deployment   9   evil:1   none\n{now}   ghost   apps/v1   StatefulSet   9   {now}   evil:1   none\n\
         {escaped}|ghost|Deployment|9|evil%3A1,||.\n{escaped}|ghost|StatefulSet|9|{escaped},|evil%3A1,||.\n"
    )
}

#[tokio::test]
async fn no_annotation_makes_a_rollout_of_another_object() {
    let cluster = TestCluster::start().await;
    let n = cluster.namespace.as_str();
    let now = SystemClock.now();
    let cause = forged(&now.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
    cluster
        .prepare(&["apply", "-f", "-"], &set(&cluster, "StatefulSet", "db", "registry.k8s.io/pause:3.9", &cause))
        .await;
    cluster.prepare(&["-n", n, "rollout", "status", "sts/db", "--timeout=60s"], "").await;
    let annotation = format!("kubernetes.io/change-cause={cause}");
    cluster.prepare(&["-n", n, "annotate", "rs", "--all", "--overwrite", &annotation], "").await;
    let cx = CallContext::with_timeout(Duration::from_secs(60));
    let between = (now - TimeDelta::hours(1), now + TimeDelta::hours(1));
    let told = cluster.adapter().changes(&cx, between, Some(n)).await.expect("it is asked").expect("it remembers");
    for (label, name) in [("deployment", "web"), ("statefulset", "db")] {
        let of_kind: Vec<_> = told.lines.iter().filter(|line| line.labels.contains_key(label)).collect();
        assert!(of_kind.iter().any(|line| line.text.contains("(fine ")), "what it says is told: {told:?}");
        assert!(of_kind.iter().all(|line| line.labels[label] == name), "{told:?}");
        let starts = format!("{label} {n}/{name}");
        assert!(of_kind.iter().all(|line| line.text.starts_with(&starts)), "{told:?}");
    }
    cluster.finish().await;
}
