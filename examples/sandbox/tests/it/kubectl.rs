//! Running kubectl against a sandbox, with a home and a discovery cache of its own.

use std::{path::PathBuf, process::Stdio};

use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

pub(crate) struct Kubectl {
    binary: PathBuf,
    home: TempDir,
}

pub(crate) struct Output {
    pub(crate) ok: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Kubectl {
    pub(crate) fn new(kubeconfig: &str) -> Kubectl {
        let binary = std::env::var_os("KUBECTL").map_or_else(|| PathBuf::from("kubectl"), PathBuf::from);
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("config"), kubeconfig).unwrap();
        Kubectl { binary, home }
    }

    pub(crate) async fn try_run(&self, args: &[&str], stdin: Option<&str>) -> Output {
        let mut child = tokio::process::Command::new(&self.binary)
            .arg(args[0])
            .args(["--cache-dir".as_ref(), self.home.path().join("cache").as_os_str()])
            .args(&args[1..])
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("config"))
            .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl must be on PATH or named by KUBECTL");
        if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
            pipe.write_all(text.as_bytes()).await.unwrap();
        }
        let out = tokio::time::timeout(std::time::Duration::from_secs(60), child.wait_with_output())
            .await
            .expect("kubectl did not finish")
            .unwrap();
        Output {
            ok: out.status.success(),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }

    /// Runs a command line that must succeed, and returns what it printed.
    pub(crate) async fn run(&self, line: &str) -> String {
        let args: Vec<&str> = line.split_whitespace().collect();
        self.run_args(&args, None).await
    }

    pub(crate) async fn run_args(&self, args: &[&str], stdin: Option<&str>) -> String {
        let out = self.try_run(args, stdin).await;
        assert!(out.ok, "kubectl {args:?} failed:\n{}\n{}", out.stdout, out.stderr);
        out.stdout
    }

    /// Runs a command line that must fail, and returns what it said.
    pub(crate) async fn fails(&self, line: &str) -> String {
        let args: Vec<&str> = line.split_whitespace().collect();
        let out = self.try_run(&args, None).await;
        assert!(!out.ok, "kubectl {line} succeeded:\n{}", out.stdout);
        out.stderr
    }
}
