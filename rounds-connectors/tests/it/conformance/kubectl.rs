//! What the subjects share whose connectors run kubectl.
#![allow(clippy::disallowed_methods, reason = "the tests look for their own child processes")]

use std::path::PathBuf;
use std::time::Duration;

use rounds_core::conformance::connector::Setup;
use rounds_core::plugin::{Host, Outbound};
use serde_json::json;

/// The kubectl of this machine, and a directory of the subject's own by which its processes are known.
pub(super) struct Kubectl {
    program: PathBuf,
    files: tempfile::TempDir,
}

impl Kubectl {
    /// Starting a program takes a while on a busy machine.
    pub(super) const DEADLINE: Duration = Duration::from_secs(4);

    pub(super) fn new() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::var_os("KUBECTL").map(PathBuf::from);
        let program =
            program.or_else(|| std::env::split_paths(&path).map(|dir| dir.join("kubectl")).find(|file| file.is_file()));
        Self { program: program.expect("kubectl is on PATH"), files: tempfile::tempdir().unwrap() }
    }

    pub(super) fn setup(&self, at: &str, secret: &str) -> Setup {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": { "server": at } }],
            "users": [{ "name": "u", "user": { "token": secret } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
        });
        // kubectl asks a server that hangs up until its request timeout, which is half of this, and does so twice.
        Setup::new(json!({ "allowedNamespaces": ["shop"], "timeoutSec": 20 })).with_secret(kubeconfig.to_string())
    }

    pub(super) fn host(&self) -> Host {
        Host {
            run_dir: Some(self.files.path().to_owned()),
            outbound: Outbound::loopback(),
            programs: [("kubectl".to_owned(), self.program.clone())].into(),
            ..Host::default()
        }
    }

    /// Each is given a kubeconfig in the directory of this subject, and nothing else is.
    pub(super) fn processes(&self) -> Option<usize> {
        let mark = self.files.path().to_str()?.as_bytes().to_vec();
        let environments = std::fs::read_dir("/proc").ok()?.flatten();
        let environments = environments.filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
        Some(environments.filter(|environment| environment.windows(mark.len()).any(|part| part == mark)).count())
    }
}
