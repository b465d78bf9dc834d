//! The client side of the command line: the same API as everybody's, with a token.

mod alerts;
mod api;
mod ids;
mod investigate;
mod plans;
mod print;
mod token;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use self::api::Api;
use crate::settings;

pub use alerts::AlertsCommand;
pub use investigate::InvestigateArgs;
pub use plans::PlansCommand;
pub use token::TokenCommand;

/// What every command ends with; documented in `docs/command-line.md`, and the same for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// It was done, or it is as it was asked to be.
    Done = 0,
    /// It was done and came to a bad end: a plan failed, an import left something out.
    Failed = 1,
    /// What was typed, or sent, cannot work.
    Usage = 2,
    /// Not signed in, or not permitted.
    Denied = 3,
    /// There is no such thing.
    NotFound = 4,
    /// Something else happened meanwhile: decided by somebody, changed, expired.
    Conflict = 5,
    /// The gate refuses it.
    Refused = 6,
    /// The server cannot be reached, or could not answer.
    Unreachable = 7,
    /// The time to wait was over first.
    TimedOut = 8,
    /// A plan waits for a person.
    Waits = 9,
    /// The plan is completed and its alert did not recover.
    NotRecovered = 10,
    /// The plan is completed and nobody can say whether its alert recovered.
    Inconclusive = 11,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    message: String,
    /// What the server said, for `--json`.
    body: Option<Value>,
}

impl Failure {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), body: None }
    }

    fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Code::Failed, format!("the output cannot be written: {error}"))
    }
}

/// Where the server is, and as whom to ask.
#[derive(Debug, Args)]
pub struct Remote {
    /// The server's address.
    #[arg(long, global = true, env = "ROUNDS_SERVER", default_value = "http://127.0.0.1:3000", value_name = "URL")]
    server: Url,
    /// A file with the token, for its owner only; else the variable ROUNDS_TOKEN. There is no option with the token itself:
    /// everybody on the machine sees the arguments of a process.
    #[arg(long, global = true, env = "ROUNDS_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print what the server answers, as JSON: one value, or one a line while watching.
    #[arg(long, global = true)]
    json: bool,
    /// How long to wait at most, as 90s, 10m or 2h: for an answer, and with --wait for the end.
    #[arg(long, global = true, default_value = "10m", value_name = "TIME", value_parser = duration)]
    timeout: Duration,
    /// Send the token to an http:// address that is not this machine: whoever is on the way can read it.
    #[arg(long, global = true)]
    insecure_http: bool,
}

/// A command that asks a server.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Look at plans, decide on them, watch them run.
    Plans {
        /// What to do.
        #[command(subcommand)]
        command: PlansCommand,
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
    /// Look at alert rules, import them, try them on the past.
    Alerts {
        /// What to do.
        #[command(subcommand)]
        command: AlertsCommand,
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
    /// Investigate an alert rule now, or a question.
    Investigate {
        /// What.
        #[command(flatten)]
        args: InvestigateArgs,
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
    /// Tokens of service accounts.
    Token {
        /// What to do.
        #[command(subcommand)]
        command: TokenCommand,
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
}

/// What a command holds: the API, and how to say things.
struct Client {
    api: Api,
    json: bool,
    timeout: Duration,
    /// Whether a person can be asked.
    asks: bool,
}

impl ClientCommand {
    fn remote(&self) -> &Remote {
        match self {
            Self::Plans { remote, .. }
            | Self::Alerts { remote, .. }
            | Self::Investigate { remote, .. }
            | Self::Token { remote, .. } => remote,
        }
    }

    /// Whether it works on the database itself, with the server's settings.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Token { command, .. } if command.is_local())
    }

    /// Does it on the database itself.
    ///
    /// # Errors
    /// What was tried, what was wrong and what would work.
    pub async fn run_local(self, settings: &settings::ServerSettings) -> anyhow::Result<ExitCode> {
        match self {
            Self::Token { command, remote } => command.run_local(settings, remote.json).await,
            _ => anyhow::bail!("this command asks a server"),
        }
    }

    /// Does it, and says how it ended.
    pub async fn run(self) -> ExitCode {
        let json = self.remote().json;
        let result = async {
            let client = Client::new(self.remote())?;
            match self {
                Self::Plans { command, .. } => command.run(&client).await,
                Self::Alerts { command, .. } => command.run(&client).await,
                Self::Investigate { args, .. } => args.run(&client).await,
                Self::Token { command, .. } => command.run(&client).await,
            }
        };
        let code = match result.await {
            Ok(code) => code,
            Err(failure) => {
                // Nothing is left to do when even this cannot be written.
                if let Some(body) = failure.body.filter(|_| json) {
                    let _ = writeln!(std::io::stdout(), "{body}");
                }
                let _ = writeln!(std::io::stderr(), "rounds-server: {}", print::clean(&failure.message));
                failure.code
            }
        };
        ExitCode::from(code as u8)
    }
}

impl Client {
    fn new(remote: &Remote) -> Result<Self, Failure> {
        let token = token(remote)?;
        let api = Api::new(&remote.server, token, remote.insecure_http, remote.timeout)?;
        let asks = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        Ok(Self { api, json: remote.json, timeout: remote.timeout, asks })
    }

    /// Prints an answer: as it is for programs, as `text` makes of it for people.
    fn show(&self, answer: &Value, text: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{answer}")?;
        } else {
            write!(out, "{}", text(answer))?;
        }
        Ok(())
    }

    /// Says something beside the answer.
    #[allow(clippy::unused_self, reason = "it is the client that speaks")]
    fn say(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{}", print::clean(text));
    }

    /// Asks the person at the terminal, and answers what they typed.
    #[allow(clippy::unused_self, reason = "it is the client that asks")]
    fn ask(&self, question: &str) -> Result<String, Failure> {
        write!(std::io::stderr(), "{question} ")?;
        std::io::stderr().flush()?;
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

/// The token, from a file that only its owner reads, or from the environment.
fn token(remote: &Remote) -> Result<SecretString, Failure> {
    let text = match &remote.token_file {
        Some(path) => {
            let shown = path.display();
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::usage(format!("--token-file {shown}: cannot be read: {error}")))?;
            #[cfg(unix)]
            if let Ok(metadata) = std::fs::metadata(path)
                && std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0
            {
                return Err(Failure::usage(format!("--token-file {shown}: others may read it: chmod 600 it")));
            }
            Some(SecretString::from(text))
        }
        None => settings::token_from_process(),
    };
    use secrecy::ExposeSecret as _;
    match text.map(|text| SecretString::from(text.expose_secret().trim())) {
        Some(text) if !text.expose_secret().is_empty() => Ok(text),
        _ => Err(Failure::new(
            Code::Denied,
            "there is no token: set ROUNDS_TOKEN or --token-file. An account page makes a token of one's own, `rounds-server \
             token create --local` one of a service account",
        )),
    }
}

/// A time as people write it: a number and s, m, h or d.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("found `{text}`; a whole number and s, m, h or d is expected, such as 90s or 2h");
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let each = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = number.checked_mul(each).filter(|seconds| *seconds > 0).ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_a_unit_and_anything_else_says_what_is_expected() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
        for wrong in ["", "90", "s", "1w", "-1s", "1.5h", "0s", "99999999999999999999h", "9999999999999999999d", "1 h"]
        {
            assert!(duration(wrong).unwrap_err().contains("such as 90s"), "{wrong}");
        }
    }
}
