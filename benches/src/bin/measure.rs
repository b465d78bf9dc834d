//! Measures a server from outside, as an operator would: `measure PATH/TO/rounds-server`.
//!
//! Time to ready on an empty database, resident memory idle and after the whole line, the end of `forDurationSec` to
//! a plan, and what a step costs over bare kubectl. Prints one line of JSON.

#![allow(clippy::print_stdout, reason = "a program whose output is the point")]
#![allow(clippy::disallowed_methods, reason = "it starts the server and kubectl from outside")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rounds_server::demo::client::Client;
use rounds_server::demo::story::{self, Story, text};
use rounds_server::demo::{cluster, setup};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const PASSWORD: &str = "measured-from-outside";
const STARTS: usize = 11;
const STEPS: usize = 15;

struct Server {
    child: Child,
    url: String,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts a server on an empty folder and waits until it is ready; answers how long that took.
    async fn start(program: &Path) -> anyhow::Result<(Self, Duration)> {
        let folder = tempfile::tempdir()?;
        let begun = Instant::now();
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env("ROUNDS_DATA_DIR", folder.path())
            .env("SEED_ADMIN_EMAIL", "admin@example.com")
            .env("SEED_ADMIN_LOGIN", setup::LOGIN)
            .env("SEED_ADMIN_NAME", "Admin")
            .env("SEED_ADMIN_PASSWORD", PASSWORD)
            .env("ROUNDS_LOG", "warn")
            .env("ROUNDS_OUTBOUND_ALLOW", "loopback")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the server")?;
        let stdout = child.stdout.take().context("the server's output")?;
        let mut lines = BufReader::new(stdout).lines();
        let url = loop {
            let Some(line) = lines.next_line().await? else { bail!("the server ended before it listened") };
            if let Some(at) = line.find("http://") {
                break line[at..].split_whitespace().next().unwrap_or_default().trim_end_matches('/').to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        loop {
            let status = Command::new("curl")
                .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &format!("{url}/api/health/ready")])
                .output()
                .await
                .context("asking with curl")?;
            if status.stdout == b"200" {
                break;
            }
        }
        Ok((Self { child, url, folder }, begun.elapsed()))
    }

    /// `VmRSS` or `VmHWM` in MiB.
    fn memory(&self, what: &str) -> anyhow::Result<f64> {
        let pid = self.child.id().context("the server has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find(|line| line.starts_with(what)).context("no such line")?;
        let kib: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
        Ok(kib / 1024.0)
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        drop(self.folder);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let program: PathBuf = std::env::args_os().nth(1).context("usage: measure PATH/TO/rounds-server")?.into();

    let mut ready = Vec::new();
    for _ in 0..STARTS {
        let (server, took) = Server::start(&program).await?;
        ready.push(took.as_secs_f64() * 1000.0);
        server.stop().await?;
    }

    let (server, _) = Server::start(&program).await?;
    // Long enough for every service to have looked at least twice.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let idle = server.memory("VmRSS")?;

    let sandbox = cluster::start().await?;
    let mut client = Client::sign_in(&server.url, setup::LOGIN, PASSWORD).await?;
    let rule = setup::configure(&mut client, &sandbox).await?;
    cluster::break_it(&sandbox).await?;
    let mut story = Story::begin();
    let plan = story::to_the_plan(&mut client, &mut story, &rule).await?;
    let fired = fired_at(&mut client, &rule).await?;
    let proposed = millis_of(&plan, "createdAt")?;
    story::approve(&mut client, &mut story, &plan).await?;
    let overhead = overhead(&mut client, &sandbox, server.folder.path()).await?;
    let active = server.memory("VmRSS")?;
    let peak = server.memory("VmHWM")?;
    server.stop().await?;
    sandbox.shutdown().await;

    println!(
        "{}",
        json!({
            "readyMs": summary(&mut ready),
            "idleMiB": idle,
            "activeMiB": active,
            "peakMiB": peak,
            "firingToPlanMs": proposed - fired,
            "step": overhead,
        })
    );
    Ok(())
}

/// When the alert fired: that is the evaluation which found `forDurationSec` over.
async fn fired_at(client: &mut Client, rule: &str) -> anyhow::Result<i64> {
    let rows = client.get(&format!("/api/alert-rules/{rule}/history")).await?;
    let fired = rows.as_array().into_iter().flatten().find(|row| text(row, "toState") == "firing");
    millis_of(fired.context("the alert did not fire")?, "timestamp")
}

fn millis_of(value: &Value, key: &str) -> anyhow::Result<i64> {
    let at = serde_json::from_value::<rounds_core::Timestamp>(value[key].clone()).with_context(|| key.to_owned())?;
    Ok(at.timestamp_millis())
}

/// The same command as a step of an approved plan and as bare kubectl, in turn.
async fn overhead(client: &mut Client, sandbox: &rounds_sandbox::Sandbox, folder: &Path) -> anyhow::Result<Value> {
    let grant = json!({ "subject": format!("user:{}", setup::LOGIN), "role": "fixed:plans:auto_editor" });
    client.post("/api/access-control/grants", &grant).await?;
    let connectors = client.get("/api/connectors").await?;
    let kubernetes = connectors["connectors"].as_array().into_iter().flatten().find(|c| c["type"] == "kubernetes");
    let id = kubernetes.context("no connector")?["id"].clone();
    let target = format!("deployment/{}", cluster::DEPLOYMENT);
    let kubeconfig = folder.join("bare.kubeconfig");
    std::fs::write(&kubeconfig, sandbox.kubeconfig())?;
    // The program that the server runs: a wrapper in front of it would be measured, too.
    let kubectl = std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
    let (mut as_step, mut bare) = (Vec::new(), Vec::new());
    for turn in 0..STEPS {
        let argv = ["annotate", &target, &format!("measured={turn}"), "--overwrite", "-n", cluster::NAMESPACE];
        let step = json!({ "kind": "ops.run_command", "paramsJson": { "argv": argv, "connectorId": id } });
        let plan = client.post("/api/plans", &json!({ "summary": "measure", "steps": [step] })).await?;
        let path = format!("/api/plans/{}", text(&plan, "id"));
        let body = json!({ "autoEdit": true, "digest": plan["digest"] });
        client.post(&format!("{path}/approve?wait=30"), &body).await?;
        let plan = client.get(&path).await?;
        let step = &plan["steps"][0];
        ensure!(text(step, "status") == "done", "the step is {step}");
        as_step.push((millis_of(step, "finishedAt")? - millis_of(step, "executedAt")?) as f64);
        let command = text(step, "commandText").to_owned();
        let begun = Instant::now();
        let done = Command::new(&kubectl)
            .args(command.split_whitespace().skip(1))
            .arg("--cache-dir")
            .arg(folder.join("bare-cache"))
            .env("KUBECONFIG", &kubeconfig)
            .output()
            .await?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        bare.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(json!({ "asStepMs": summary(&mut as_step), "bareKubectlMs": summary(&mut bare) }))
}

/// Minimum, median and maximum.
fn summary(values: &mut [f64]) -> Value {
    values.sort_by(f64::total_cmp);
    let middle = values.get(values.len() / 2);
    json!({ "min": values.first(), "median": middle, "max": values.last() })
}
