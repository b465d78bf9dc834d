//! Runs a kubectl against the recording server, in the environment that the adapter gives it.
#![allow(
    clippy::disallowed_methods,
    reason = "tests read their environment and run kubectl past the adapter, to see what it sends"
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rounds_connectors::kubernetes::{KubectlInfo, locate_kubectl};
use tokio::io::AsyncWriteExt;

use super::{Recorded, Recorder};
use crate::cluster::kubectl;

/// How a kubectl ended, and what it sent.
pub(crate) struct Ran {
    pub(crate) success: bool,
    pub(crate) said: String,
    pub(crate) requests: Vec<Recorded>,
}

/// The kubectls to try: the one that the other tests use, and those in `ROUNDS_TEST_KUBECTLS`.
pub(crate) async fn kubectls() -> Vec<KubectlInfo> {
    let mut found = vec![kubectl().await];
    let others = std::env::var_os("ROUNDS_TEST_KUBECTLS").unwrap_or_default();
    for path in std::env::split_paths(&others).filter(|path| path.is_absolute()) {
        let info = locate_kubectl(Some(&path), "".as_ref()).await.unwrap();
        if found.iter().all(|known| known.path != info.path) {
            found.push(info);
        }
    }
    found
}

/// Everything that one kubectl's runs share.
pub(crate) struct Bench<'a> {
    pub(crate) recorder: &'a Recorder,
    pub(crate) program: PathBuf,
    pub(crate) files: tempfile::TempDir,
}

impl Bench<'_> {
    /// Runs an argv as it is. `token` names the run; ending in `paused`, every deployment is.
    pub(crate) async fn run(&self, token: &str, argv: &[String], stdin: Option<&str>) -> Ran {
        let kubeconfig = self.files.path().join(format!("config-{token}"));
        std::fs::write(&kubeconfig, config(&self.recorder.address.to_string())).unwrap();
        let mut child = tokio::process::Command::new(&self.program)
            // The first word of the user agent, by which the server tells the runs apart: kubectl sends no credentials
            // without TLS, and what is served is remembered by address and path.
            .arg0(token)
            .args(argv)
            .arg(format!("--cache-dir={}", self.files.path().join("cache").display()))
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.files.path())
            .env("KUBECONFIG", &kubeconfig)
            .env("KUBERC", "off")
            .env("KUBECTL_KUBERC", "false")
            .current_dir(self.files.path())
            .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let feed = async {
            if let (Some(mut pipe), Some(text)) = (input, stdin) {
                let _closed = pipe.write_all(text.as_bytes()).await;
            }
        };
        let talk = async { tokio::join!(feed, child.wait_with_output()).1 };
        let (success, said) = match tokio::time::timeout(Duration::from_secs(45), talk).await {
            Ok(output) => {
                let output = output.unwrap();
                let text = [output.stdout, output.stderr].concat();
                (output.status.success(), String::from_utf8_lossy(&text).into_owned())
            }
            Err(_) => (false, "it did not end".to_owned()),
        };
        Ran { success, said, requests: self.recorder.requests(token) }
    }
}

fn config(address: &str) -> String {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{ "name": "c", "cluster": { "server": format!("http://{address}") } }],
        "users": [{ "name": "u", "user": {} }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u", "namespace": "not-named" } }],
    })
    .to_string()
}

/// A folder of its own for one kubectl's files.
pub(crate) fn bench<'a>(recorder: &'a Recorder, program: &Path) -> Bench<'a> {
    Bench { recorder, program: program.to_owned(), files: tempfile::tempdir().unwrap() }
}
