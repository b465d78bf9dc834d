//! `rounds-server`: serve, demo, migrate, audit, gate.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use rounds_server::cli::{Cli, Command, gate};
use rounds_server::settings::ServerSettings;
use tracing_subscriber::EnvFilter;

// Linking registers the connectors; the linker drops a crate that nothing names.
use rounds_connectors as _;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to do when even this cannot be written.
            let _ = writeln!(std::io::stderr(), "rounds-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Some(Command::Gate(args)) = &cli.command {
        // Its answers go to programs: it reads no settings and logs nothing.
        return gate::run(args, &mut std::io::stdin().lock(), &mut std::io::stdout().lock());
    }
    let settings = cli.settings()?;
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
