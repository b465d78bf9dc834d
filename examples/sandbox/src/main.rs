//! Starts a sandbox with one workload, to play with by hand.
#![allow(clippy::print_stdout)]

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use rounds_sandbox::{FaultAction, FaultRule, ImageBehaviour, Sandbox, UnknownImages, Workload};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// A stand-in for a cluster and its metrics, on loopback.
#[derive(Debug, Parser)]
#[command(name = "rounds-sandbox", version)]
struct Options {
    /// The namespace of the workload.
    #[arg(short, long, default_value = "shop")]
    namespace: String,
    /// The name of the workload, a deployment.
    #[arg(long, default_value = "cart")]
    name: String,
    /// Its image.
    #[arg(long, default_value = "registry.test/cart:1.0")]
    image: String,
    /// Its container's name.
    #[arg(long, default_value = "app")]
    container: String,
    /// How many replicas it has.
    #[arg(long, default_value_t = 3)]
    replicas: u32,
    /// Requests a second that arrive.
    #[arg(long, default_value_t = 100.0)]
    rps: f64,
    /// Requests a second one replica can serve.
    #[arg(long, default_value_t = 50.0)]
    capacity: f64,
    /// How much faster than a real cluster things happen.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// Only images that were registered exist.
    #[arg(long)]
    only_known_images: bool,
    /// Plain HTTP, without a token.
    #[arg(long)]
    plain_http: bool,
    /// The port of the Kubernetes API; 0 picks one.
    #[arg(long, default_value_t = 0)]
    api_port: u16,
    /// The port of Prometheus; 0 picks one.
    #[arg(long, default_value_t = 0)]
    prometheus_port: u16,
    /// Where the kubeconfig is written.
    #[arg(long, default_value = "sandbox.kubeconfig")]
    kubeconfig: PathBuf,
}

const HELP: &str = "\
commands:
  image <image> runs|missing|never-ready      what an image does
  image <image> crashes <ms> <code> [line]    it exits after a while
  image <image> oom <bytes>                   it needs that much memory
  set-image <ns> <deployment> <image>         roll out an image
  break <ns> <deployment> <image>             roll out an image that does not exist
  scale <ns> <deployment> <n>
  traffic <ns> <workload> <rps>
  fault <path part> <status>                  requests fail with a status; `faults` clears
  query <promql>
  requests                                    what the API was asked; `clear` forgets
  quit";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let unknown = if options.only_known_images { UnknownImages::Missing } else { UnknownImages::Run };
    let sandbox = Sandbox::builder()
        .speed(options.speed)
        .tls(!options.plain_http)
        .unknown_images(unknown)
        .ports(options.api_port, options.prometheus_port)
        .start()
        .await?;
    let mut workload = Workload::new(&options.namespace, &options.name, &options.image);
    workload.container = options.container.clone();
    workload.replicas = options.replicas;
    workload.traffic_rps = options.rps;
    workload.capacity_rps_per_replica = options.capacity;
    sandbox.create_workload(workload).await?;
    write_private(&options.kubeconfig, &sandbox.kubeconfig())?;
    println!("kubeconfig  {}", options.kubeconfig.display());
    println!("api         {}", sandbox.api_url());
    println!("prometheus  {}", sandbox.prometheus_url());
    println!("{HELP}");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            _ = tokio::signal::ctrl_c() => break,
        };
        match line.as_deref().map(str::trim) {
            // Without a terminal it goes on until it is interrupted.
            None => {
                tokio::signal::ctrl_c().await?;
                break;
            }
            Some("quit" | "exit") => break,
            Some("") => {}
            Some(line) => match command(&sandbox, line).await {
                Ok(text) => println!("{text}"),
                Err(e) => println!("error: {e:#}"),
            },
        }
    }
    sandbox.shutdown().await;
    Ok(())
}

/// The file holds a token, so it is readable by its owner only.
fn write_private(path: &std::path::Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut open = std::fs::OpenOptions::new();
    open.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
    let mut file = open.open(path).with_context(|| format!("writing {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("writing {}", path.display()))
}

async fn command(sandbox: &Sandbox, line: &str) -> anyhow::Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let done = || Ok("ok".to_owned());
    match words.as_slice() {
        ["image", image, rest @ ..] => {
            let behaviour = match rest {
                ["runs"] => ImageBehaviour::Runs,
                ["missing"] => ImageBehaviour::Missing,
                ["never-ready"] => ImageBehaviour::NeverReady,
                ["crashes", ms, code, line @ ..] => ImageBehaviour::Crashes {
                    after: Duration::from_millis(ms.parse()?),
                    exit_code: code.parse()?,
                    lines: if line.is_empty() { Vec::new() } else { vec![line.join(" ")] },
                },
                ["oom", bytes] => {
                    ImageBehaviour::OutOfMemory { after: Duration::from_secs(3), needs_bytes: bytes.parse()? }
                }
                _ => anyhow::bail!("an image runs, is missing, never-ready, crashes or goes oom"),
            };
            sandbox.images().register(*image, behaviour);
            done()
        }
        ["set-image", ns, name, image] => {
            sandbox.set_image(ns, name, image).await?;
            done()
        }
        ["break", ns, name, image] => {
            sandbox.break_image(ns, name, image).await?;
            done()
        }
        ["scale", ns, name, n] => {
            sandbox.scale(ns, name, n.parse()?).await?;
            done()
        }
        ["traffic", ns, name, rps] => {
            sandbox.set_traffic(ns, name, rps.parse()?).await?;
            done()
        }
        ["fault", path, status] => {
            let action = FaultAction::Status(status.parse()?, "a fault made on purpose".to_owned());
            sandbox.fault(FaultRule::new(*path, action));
            done()
        }
        ["faults"] => {
            sandbox.clear_faults();
            done()
        }
        ["query", ..] => {
            let promql = line.trim_start_matches("query").trim();
            Ok(sandbox.query(promql)?.map_or_else(|| "no data".to_owned(), |v| v.to_string()))
        }
        ["requests"] => {
            let all = sandbox.requests();
            let lines: Vec<String> =
                all.iter().map(|r| format!("{} {} {}?{}", r.status, r.method, r.path, r.query)).collect();
            Ok(lines.join("\n"))
        }
        ["clear"] => {
            sandbox.clear_requests();
            done()
        }
        _ => Ok(HELP.to_owned()),
    }
}
