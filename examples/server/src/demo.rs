//! The demo.

use std::process::ExitCode;

/// How the demo runs.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Approve by itself, through the public API, and end with a summary.
    #[arg(long)]
    pub auto: bool,
    /// Where to listen; port 0 picks one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: String,
}

/// Runs the demo.
///
/// # Errors
/// It could not run to its end.
pub async fn run(_args: DemoArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("the demo is not part of this build")
}
