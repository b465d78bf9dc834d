//! What a cluster remembers of its rollouts, as the changes that an investigation reads.

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
