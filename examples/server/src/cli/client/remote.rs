//! Where the server is, and as whom it is asked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use url::{Host, Url};

use super::failure::Failure;
use super::http::Api;

/// How long a request that waits for nothing may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A token is about 60 characters: a file with more is another one.
const TOKEN_LIMIT: usize = 4096;

/// Where the server is, and as whom it is asked.
#[derive(Debug, Clone, Args)]
pub struct Remote {
    /// The server.
    #[arg(long, global = true, env = "ROUNDS_SERVER", value_name = "URL", default_value = "http://127.0.0.1:3000")]
    server: String,
    /// A file that holds the token; without it, ROUNDS_TOKEN does.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print JSON: one value, or a line for each event while watching. Errors are a line of JSON on stderr.
    #[arg(long, global = true)]
    pub json: bool,
    /// How long to wait, as 30s, 10m or 2h [default: 30s for an answer, no end while waiting or watching].
    #[arg(long, global = true, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Send the token unencrypted to another machine.
    #[arg(long, global = true)]
    insecure_http: bool,
}

impl Remote {
    /// A client for one command.
    pub(super) fn api(&self) -> Result<Api, Failure> {
        let base = base(&self.server, self.insecure_http)?;
        let token = match &self.token_file {
            Some(file) => token_in(file)?,
            None => token_of_environment()?,
        };
        Api::new(base, token, self.timeout.unwrap_or(PATIENCE))
    }

    /// When waiting ends; never when nothing was said.
    pub(super) fn deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.timeout?)
    }
}

fn base(server: &str, insecure: bool) -> Result<Url, Failure> {
    let expected = "the address of a server is expected, as https://rounds.example.org";
    // The text is not repeated where it holds a password.
    let url = Url::parse(server).map_err(|error| Failure::usage(format!("--server: {error}: {expected}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Failure::usage(format!("--server: it holds a user name or a password; {expected}")));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Failure::usage(format!("--server: it holds a query or a fragment; {expected}")));
    }
    let is_loopback = is_loopback(&url);
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback || insecure => Ok(url),
        "http" => Err(Failure::usage(format!(
            "--server: a token is not sent unencrypted to {}: use https, or add --insecure-http",
            url.host_str().unwrap_or_default()
        ))),
        other => Err(Failure::usage(format!("--server: found the scheme `{other}`; {expected}"))),
    }
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn token_of_environment() -> Result<SecretString, Failure> {
    #[allow(clippy::disallowed_methods, reason = "the client's only secret: clap would offer it as an argument, too")]
    match std::env::var("ROUNDS_TOKEN") {
        Ok(text) => token("ROUNDS_TOKEN", text.into()),
        Err(_) => Err(Failure::new(
            super::failure::Exit::Forbidden,
            "there is no token: set ROUNDS_TOKEN or give --token-file FILE (`token create --local` mints one beside the \
             server's database)",
        )),
    }
}

fn token_in(file: &Path) -> Result<SecretString, Failure> {
    use std::io::Read as _;
    let read = || -> std::io::Result<String> {
        let mut text = String::new();
        std::fs::File::open(file)?.take(TOKEN_LIMIT as u64 + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|error| Failure::usage(format!("--token-file {}: {error}", file.display())))?;
    token(&format!("--token-file {}", file.display()), text.into())
}

/// Neither the text nor a part of it is in the message.
fn token(from: &str, text: SecretString) -> Result<SecretString, Failure> {
    let token = text.expose_secret().trim();
    if token.is_empty() || token.len() > TOKEN_LIMIT || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::usage(format!("{from}: a token is expected, as rounds_sa_… or rounds_pat_…")));
    }
    Ok(token.into())
}

/// `30s`, `10m`, `2h`, `30d`, or seconds alone.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("found `{text}`; a time is expected, as 30s, 10m, 2h or 30d");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (amount, unit) = text.split_at(digits);
    let seconds: u64 = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(expected()),
    };
    let amount: u64 = amount.parse().map_err(|_| expected())?;
    let seconds = amount.checked_mul(seconds).filter(|seconds| (1..=315_360_000).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| format!("found `{text}`; between 1s and 3650d is accepted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_over_https_or_to_this_machine() {
        for fine in ["https://rounds.example.org", "http://127.0.0.1:3000", "http://[::1]:3000/", "http://localhost:1"]
        {
            assert!(base(fine, false).is_ok(), "{fine}");
        }
        for refused in
            ["http://rounds.example.org", "http://10.0.0.1", "http://localhost.example.org", "http://0.0.0.0"]
        {
            assert!(base(refused, false).unwrap_err().message.contains("--insecure-http"), "{refused}");
            assert!(base(refused, true).is_ok(), "{refused}");
        }
        for wrong in ["ftp://x", "rounds", "https://x?y", "https://user:hunter2@x"] {
            let told = base(wrong, true).unwrap_err().message;
            assert!(told.contains("is expected") && !told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn no_part_of_what_is_no_token_is_repeated() {
        for wrong in ["", " \n", "two words", "hunter2\u{1b}"] {
            let told = token("ROUNDS_TOKEN", wrong.to_owned().into()).unwrap_err().message;
            assert!(!told.contains("hunter2") && !told.contains("two"), "{told}");
        }
        assert_eq!(token("x", "rounds_sa_1\n".to_owned().into()).unwrap().expose_secret(), "rounds_sa_1");
    }

    #[test]
    fn times_are_read() {
        assert_eq!(duration("90").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("30d").unwrap(), Duration::from_secs(30 * 86_400));
        for wrong in ["", "0", "s", "-1s", "1w", "1.5h", "99999999999999999999d", "9999999999999d", "é"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
