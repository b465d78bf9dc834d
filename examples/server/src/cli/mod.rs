//! The command line.

pub mod audit;
pub mod client;
pub mod gate;
pub mod record;
pub mod rehearse;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use rounds_store::SqlStore;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use crate::boot::{self, App, Boot};
use crate::demo::{self, DemoArgs};
use crate::settings::{self, Overrides, ServerSettings};

/// The whole program: command line, log, TLS provider, runtime. A server with connectors of one's own is a `main` that
/// calls this, in a crate that names theirs:
///
/// ```no_run
/// use rounds_connectors as _;
/// // use my_connectors as _;
///
/// fn main() -> std::process::ExitCode {
///     rounds_server::cli::main()
/// }
/// ```
#[must_use]
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to do when even this cannot be written.
            let _ = writeln!(std::io::stderr(), "rounds-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut cli: Cli) -> anyhow::Result<ExitCode> {
    if let Some(Command::Gate(args)) = &cli.command {
        // Its answers go to programs: it reads no settings and logs nothing.
        return gate::run(args, &mut std::io::stdin().lock(), &mut std::io::stdout().lock());
    }
    if let Some(Command::Completions { shell }) = &cli.command {
        let mut command = <Cli as clap::CommandFactory>::command();
        clap_complete::generate(*shell, &mut command, "rounds-server", &mut std::io::stdout());
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(Command::Client(command)) =
        cli.command.take_if(|command| matches!(command, Command::Client(client) if !client.is_local()))
    {
        // It asks a server, which may be another machine's: nothing of this one's settings is read.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return Ok(runtime.block_on(command.run()));
    }
    let mut settings = cli.settings()?;
    if matches!(cli.command, Some(Command::Rehearse(_) | Command::Record(_) | Command::Client(_)))
        && settings.log_filter == "info"
    {
        // What they print is for reading, and a database is set up for each file.
        settings.log_filter = "warn".into();
    }
    log(&settings)?;
    // The process is ours, so its TLS provider is, too. An error only says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(cli.run(settings))
}

fn log(settings: &ServerSettings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.log_filter)
        .map_err(|error| anyhow::anyhow!("ROUNDS_LOG: found `{}`: {error}", settings.log_filter))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if settings.log_json {
        log.json().flatten_event(true).init();
    } else {
        log.with_ansi(std::io::stderr().is_terminal()).init();
    }
    Ok(())
}

/// Auto-remediation with a human in control.
#[derive(Debug, Parser)]
#[command(name = "rounds-server", version, after_help = settings::HELP)]
pub struct Cli {
    /// What to do; `serve` when absent.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Where the database, the generated key and run-time files live.
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where to listen, when there is no subcommand; as for `serve`.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server.
    Serve {
        /// Where to listen; port 0 picks one and prints it.
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<String>,
    },
    /// See the whole line on this machine: a stand-in cluster, a fault, a plan to approve.
    Demo(DemoArgs),
    /// Bring the database up to date and do nothing else.
    Migrate,
    /// The audit log.
    Audit {
        /// What to do with it.
        #[command(subcommand)]
        command: audit::AuditCommand,
    },
    /// Replay recorded incidents, without a cluster and without a key, and check what comes of them.
    Rehearse(rehearse::RehearseArgs),
    /// Investigate an alert rule with the server's connectors and write all answers to a file, to be rehearsed.
    Record(record::RecordArgs),
    /// Say whether the Kubernetes gate would let a command run, and why not.
    Gate(gate::GateArgs),
    /// Ask a running server, with a token.
    #[command(flatten)]
    Client(client::ClientCommand),
    /// Print completions for a shell, such as `source <(rounds-server completions bash)`.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

impl Cli {
    /// The settings that environment and command line make together.
    ///
    /// # Errors
    /// A variable with a value that cannot work.
    pub fn settings(&self) -> anyhow::Result<ServerSettings> {
        let listen = match &self.command {
            Some(Command::Serve { listen }) => listen.clone().or_else(|| self.listen.clone()),
            None => self.listen.clone(),
            Some(_) => None,
        };
        Ok(ServerSettings::from_process(Overrides { listen, data_dir: self.data_dir.clone() })?)
    }

    /// Does it.
    ///
    /// # Errors
    /// What was tried, what was wrong and what would work.
    pub async fn run(self, settings: ServerSettings) -> anyhow::Result<ExitCode> {
        match self.command {
            None | Some(Command::Serve { .. }) => serve(settings).await,
            Some(Command::Demo(args)) => demo::run(args).await,
            Some(Command::Migrate) => migrate(&settings).await,
            Some(Command::Audit { command }) => audit::run(command, &settings, &mut std::io::stdout().lock()).await,
            Some(Command::Rehearse(args)) => rehearse::run(args, &settings, &mut std::io::stdout().lock()).await,
            Some(Command::Record(args)) => record::run(args, &settings, &mut std::io::stdout().lock()).await,
            Some(Command::Gate(args)) => gate::run(&args, &mut std::io::stdin().lock(), &mut std::io::stdout().lock()),
            Some(Command::Client(command)) => command.run_local(&settings).await,
            // Printed before the settings are read.
            Some(Command::Completions { .. }) => Ok(ExitCode::SUCCESS),
        }
    }
}

async fn serve(settings: ServerSettings) -> anyhow::Result<ExitCode> {
    // Heard from the start: a signal that comes while it boots ends it in order, too.
    let mut signals = Signals::hear()?;
    let listen = settings.listen.clone();
    let listener = TcpListener::bind(&listen).await.with_context(|| {
        format!("cannot listen on {listen}: an address and a free port such as 127.0.0.1:3000 are expected")
    })?;
    let address = listener.local_addr()?;
    let app = App::start(Boot::new(settings)?).await?;
    // For people and scripts that start it with port 0.
    writeln!(std::io::stdout(), "listening on http://{address}")?;
    tracing::info!(%address, "listening");
    app.serve(listener, async move {
        signals.one().await;
        tracing::info!("stopping; a running step is seen to its end. Signal again to end at once");
        tokio::spawn(async move {
            signals.one().await;
            std::process::exit(130);
        });
    })
    .await?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// SIGTERM and SIGINT.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn hear() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn one(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn hear() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn one(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn migrate(settings: &ServerSettings) -> anyhow::Result<ExitCode> {
    SqlStore::migrate(&boot::store_options(settings)?).await?;
    writeln!(std::io::stdout(), "the database is up to date")?;
    Ok(ExitCode::SUCCESS)
}
