//! The commands that talk to a running server with a token, over its public API.

mod alerts;
mod approve;
mod failure;
mod http;
mod investigate;
mod local;
mod plans;
mod remote;
mod sse;
mod text;
mod token;
mod watch;

use std::process::ExitCode;

use clap::Subcommand;

use self::failure::Failure;
pub use self::remote::Remote;

/// Shown under the help of each of these commands.
pub const AFTER_HELP: &str = "\
The token comes from ROUNDS_TOKEN or --token-file and never from the command line. It is sent over https, or to this
machine, and nowhere else unless --insecure-http is said.

Exit codes:
  0  done
  1  something failed: the plan, the investigation, a rule of the file; or the alert was not seen to recover
  2  usage: an argument, or a request that the server calls wrong (400, 413, 415)
  3  not signed in, or forbidden (401, 403)
  4  there is no such thing (404)
  5  it changed, or somebody decided meanwhile (409)
  6  the gate refused it (422)
  7  the server cannot be reached, or is in trouble (429, 5xx, not a Rounds server)
  8  --timeout was over before the answer, or before the end that was waited for
  9  the plan stands still: a person must approve its next step";

/// The commands, each with where the server is.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Plans on a running server: list, show, approve, reject, retry, watch.
    #[command(after_help = AFTER_HELP)]
    Plans {
        /// Where the server is.
        #[command(flatten)]
        at: Remote,
        /// What to do.
        #[command(subcommand)]
        command: plans::PlansCommand,
    },
    /// Alert rules on a running server: list, import, backtest.
    #[command(after_help = AFTER_HELP)]
    Alerts {
        /// Where the server is.
        #[command(flatten)]
        at: Remote,
        /// What to do.
        #[command(subcommand)]
        command: alerts::AlertsCommand,
    },
    /// Investigate an alert rule, or a question, on a running server.
    #[command(after_help = AFTER_HELP)]
    Investigate {
        /// Where the server is.
        #[command(flatten)]
        at: Remote,
        /// What.
        #[command(flatten)]
        args: investigate::InvestigateArgs,
    },
    /// Tokens of service accounts: create, list, revoke. `create --local` needs no running server.
    #[command(after_help = AFTER_HELP)]
    Token {
        /// Where the server is.
        #[command(flatten)]
        at: Remote,
        /// What to do.
        #[command(subcommand)]
        command: token::TokenCommand,
    },
}

impl ClientCommand {
    /// What of it is done on the database itself, without a server.
    #[must_use]
    pub fn local(&self) -> Option<&token::CreateArgs> {
        match self {
            Self::Token { command: token::TokenCommand::Create(args), .. } if args.local => Some(args),
            _ => None,
        }
    }
}

/// Does it and says what came of it.
pub async fn run(command: ClientCommand) -> ExitCode {
    let (json, done) = match command {
        ClientCommand::Plans { at, command } => (at.json, plans::run(&at, command).await),
        ClientCommand::Alerts { at, command } => (at.json, alerts::run(&at, command).await),
        ClientCommand::Investigate { at, args } => (at.json, investigate::run(&at, args).await),
        ClientCommand::Token { at, command } => (at.json, token::run(&at, command).await),
    };
    exit(done, json)
}

/// Makes a token straight on the database.
pub async fn run_local(command: &ClientCommand, settings: &crate::settings::ServerSettings) -> ExitCode {
    let ClientCommand::Token { at, command: token::TokenCommand::Create(args) } = command else {
        return exit(Err(Failure::usage("only `token create` is done locally")), false);
    };
    exit(local::create(settings, args, at.json).await, at.json)
}

fn exit(done: Result<(), Failure>, json: bool) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell(json);
            ExitCode::from(failure.exit as u8)
        }
    }
}
