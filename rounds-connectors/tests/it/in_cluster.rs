//! The credentials of the pod that the server runs in.

use std::sync::Arc;
use std::time::Duration;

use rounds_connectors::kubernetes::{Credentials, KubectlExecutionAdapter, KubernetesConfig};
use rounds_core::plugin::{BuildContext, Host, InCluster};
use rounds_core::ports::{CallContext, ExecutionAdapter, ReadStep, SecretHandle};
use rounds_core::step::{Mode, StepError, StepOutput, StepSpec};
use serde_json::json;

use crate::approved_steps::Rig;
use crate::cluster::TestCluster;

/// What the kubelet of the stand-in would mount, and a host that lends it to `prod`.
fn pod(cluster: &TestCluster) -> Option<(Host, InCluster, String)> {
    let sandbox = cluster.sandbox.as_ref()?;
    let dir = cluster.files.path();
    let token = sandbox.token().unwrap().to_owned();
    std::fs::write(dir.join("token"), &token).unwrap();
    std::fs::write(dir.join("ca.crt"), sandbox.certificate().unwrap()).unwrap();
    let mounted =
        InCluster { server: sandbox.api_url().to_owned(), token_file: dir.join("token"), ca_file: dir.join("ca.crt") };
    let allowances = ["prod:in-cluster".to_owned()].into();
    let host = Host { in_cluster: Some(mounted.clone()), allowances, ..cluster.host() };
    Some((host, mounted, token))
}

async fn pods(adapter: &KubectlExecutionAdapter) -> Result<StepOutput, StepError> {
    let step = adapter.review(&StepSpec::command(["get", "pods"]), Mode::Read).unwrap();
    adapter.read(&CallContext::with_timeout(Duration::from_secs(30)), ReadStep::new(step).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_kubelet_replaces_is_the_one_of_the_next_call() {
    let cluster = TestCluster::start().await;
    let Some((host, mounted, token)) = pod(&cluster) else { return cluster.finish().await };
    let config = KubernetesConfig { credentials: Credentials::InCluster, ..cluster.config() };
    let cx = BuildContext::new("prod", SecretHandle::none(), Arc::new(host));
    let adapter = KubectlExecutionAdapter::new(cx, config).unwrap();
    assert!(pods(&adapter).await.unwrap().output.contains("web-"));
    // Replaced as the kubelet does it: another file, put in the place of the first.
    let rotate = |token: &str| {
        std::fs::write(cluster.files.path().join("next"), token).unwrap();
        std::fs::rename(cluster.files.path().join("next"), &mounted.token_file).unwrap();
    };
    rotate("one-that-is-over");
    let error = pods(&adapter).await.unwrap_err();
    assert!(!format!("{error:?} {adapter:?}").contains("one-that-is-over"), "{error:?}");
    rotate(&token);
    assert!(pods(&adapter).await.unwrap().output.contains("web-"));
    assert!(!format!("{adapter:?}").contains(&token));
    let left: Vec<_> = std::fs::read_dir(cluster.files.path().join("run"))
        .unwrap()
        .flat_map(|dir| std::fs::read_dir(dir.unwrap().path()).unwrap())
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("file-"))
        .collect();
    assert_eq!(left, Vec::<String>::new(), "the kubeconfig written for kubectl is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_11_the_pods_identity_serves_only_a_connector_that_it_was_lent_to() {
    let cluster = TestCluster::start().await;
    let Some((host, ..)) = pod(&cluster) else { return cluster.finish().await };
    let config = || KubernetesConfig { credentials: Credentials::InCluster, ..cluster.config() };
    let build = |name: &str, host: Host| {
        let cx = BuildContext::new(name, SecretHandle::none(), Arc::new(host));
        KubectlExecutionAdapter::new(cx, config())
    };
    let error = build("another", host.clone()).err().unwrap().to_string();
    assert!(error.contains("ROUNDS_ALLOW=another:in-cluster"), "{error}");
    let error = build("prod", Host { in_cluster: None, ..host.clone() }).err().unwrap().to_string();
    assert!(error.contains("runs in a pod"), "{error}");
    build("prod", host).unwrap();
    assert!(cluster.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_beside_the_pods_credentials_is_refused_when_it_is_handed_in() {
    let cluster = TestCluster::start().await;
    let Some((host, ..)) = pod(&cluster) else { return cluster.finish().await };
    let rig = Rig::start_kind("kubernetes", &cluster, None, json!({ "credentials": "inCluster" }), host).await;
    let step = rig.run(StepSpec::command(["scale", "deploy/web", "--replicas=3", "-n", &cluster.namespace])).await;
    assert_eq!(step.status, rounds_core::plan::StepStatus::Done, "{step:?}");
    let draft = json!({
        "type": "kubernetes", "name": "second", "secret": cluster.kubeconfig,
        "config": { "allowedNamespaces": [], "credentials": "inCluster" },
    });
    let error = rig.rounds.connectors().create(&rig.ada, serde_json::from_value(draft).unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("a secret beside it"), "{error}");
}
