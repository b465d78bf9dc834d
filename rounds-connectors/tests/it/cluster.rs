//! A cluster for tests: the one in `ROUNDS_TEST_KUBECONFIG`, or else an in-process stand-in. The same tests run
//! against both, in a namespace of their own.
#![allow(clippy::disallowed_methods, reason = "tests read their environment and prepare their cluster with kubectl")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rounds_connectors::kubernetes::{KubectlExecutionAdapter, KubectlInfo, KubernetesConfig, locate_kubectl};
use rounds_core::plugin::{BuildContext, Host, Outbound};
use rounds_core::ports::SecretHandle;
use rounds_sandbox::{RecordedRequest, Sandbox};
use secrecy::SecretString;

/// A cluster with one namespace, gone with the value where it is the stand-in.
pub(crate) struct TestCluster {
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) kubeconfig: String,
    pub(crate) namespace: String,
    pub(crate) kubectl: KubectlInfo,
    pub(crate) files: tempfile::TempDir,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) async fn kubectl() -> KubectlInfo {
    let explicit = std::env::var_os("KUBECTL").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    locate_kubectl(explicit.as_deref(), &path).await.unwrap()
}

impl TestCluster {
    /// A cluster with a deployment `web` of two revisions and a config map `settings` in the namespace.
    pub(crate) async fn start() -> Self {
        let (sandbox, kubeconfig) = match std::env::var_os("ROUNDS_TEST_KUBECONFIG") {
            Some(path) => (None, std::fs::read_to_string(path).unwrap()),
            None => {
                let sandbox = Sandbox::builder().speed(50.0).start().await.unwrap();
                let kubeconfig = sandbox.kubeconfig();
                (Some(sandbox), kubeconfig)
            }
        };
        let seed = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
        let namespace = format!("t{seed:x}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let cluster =
            Self { sandbox, kubeconfig, namespace, kubectl: kubectl().await, files: tempfile::tempdir().unwrap() };
        let namespace =
            serde_json::json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": cluster.namespace } });
        cluster.prepare(&["apply", "-f", "-"], &namespace.to_string()).await;
        let deployment = |image: &str| {
            serde_json::json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": cluster.namespace },
                "spec": {
                    "replicas": 2, "selector": { "matchLabels": { "app": "web" } },
                    "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "app", "image": image }] } },
                },
            })
            .to_string()
        };
        cluster.prepare(&["apply", "-f", "-"], &deployment("registry.k8s.io/pause:3.9")).await;
        cluster.prepare(&["-n", &cluster.namespace, "rollout", "status", "deploy/web", "--timeout=60s"], "").await;
        cluster.prepare(&["apply", "-f", "-"], &deployment("registry.k8s.io/pause:3.10")).await;
        cluster.prepare(&["-n", &cluster.namespace, "rollout", "status", "deploy/web", "--timeout=60s"], "").await;
        let settings = serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings", "namespace": cluster.namespace }, "data": { "colour": "blue" },
        });
        cluster.prepare(&["apply", "-f", "-"], &settings.to_string()).await;
        if let Some(sandbox) = &cluster.sandbox {
            sandbox.clear_requests();
        }
        cluster
    }

    /// Runs kubectl as whoever prepares the cluster does, past the gate.
    pub(crate) async fn prepare(&self, arguments: &[&str], stdin: &str) -> String {
        use tokio::io::AsyncWriteExt;
        let file = self.files.path().join("kubeconfig");
        std::fs::write(&file, &self.kubeconfig).unwrap();
        let mut child = tokio::process::Command::new(&self.kubectl.path)
            .args(arguments)
            .env("KUBECONFIG", &file)
            .env("HOME", self.files.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn config(&self) -> KubernetesConfig {
        KubernetesConfig::for_namespaces([self.namespace.clone()])
    }

    pub(crate) fn host(&self) -> Host {
        Host {
            run_dir: Some(self.files.path().join("run")),
            // The stand-in is on this machine, and so is many a cluster for tests.
            outbound: Outbound::loopback(),
            programs: [("kubectl".to_owned(), self.kubectl.path.clone())].into(),
            ..Host::default()
        }
    }

    pub(crate) fn adapter(&self) -> KubectlExecutionAdapter {
        self.adapter_with(self.config(), &self.kubeconfig, self.host())
    }

    pub(crate) fn adapter_with(
        &self,
        config: KubernetesConfig,
        kubeconfig: &str,
        host: Host,
    ) -> KubectlExecutionAdapter {
        let secret = SecretHandle::inline(SecretString::from(kubeconfig));
        KubectlExecutionAdapter::new(BuildContext::new("test", secret, Arc::new(host)), config).unwrap()
    }

    /// What the stand-in was asked; nothing for a real cluster.
    pub(crate) fn requests(&self) -> Vec<RecordedRequest> {
        self.sandbox.as_ref().map(Sandbox::requests).unwrap_or_default()
    }

    /// Cleans up a real cluster.
    pub(crate) async fn finish(self) {
        if self.sandbox.is_none() {
            self.prepare(&["delete", "namespace", &self.namespace, "--wait=false"], "").await;
        }
    }
}
