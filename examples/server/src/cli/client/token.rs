//! `token`: create, list and revoke the tokens of service accounts.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::failure::{Exit, Failure};
use super::http::Api;
use super::remote::{Remote, duration};
use super::text::{self, at};

/// Service accounts on a page.
const PAGE: usize = 500;

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Mint a token and print it, this once and alone.
    Create(CreateArgs),
    /// List tokens, without their text.
    List {
        /// Only those of the service account with this login.
        #[arg(long, value_name = "LOGIN")]
        service_account: Option<String>,
    },
    /// Revoke a token: it is dead at once.
    Revoke {
        /// The token's id, as `list` shows it.
        id: String,
    },
}

/// Whose token, what for, for how long.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The login of the service account, as sa-ci or @syntropize/rounds.
    #[arg(long, value_name = "LOGIN")]
    pub(super) service_account: String,
    /// What it is for.
    #[arg(long)]
    pub(super) name: String,
    /// How long it lives, as 12h or 30d; absent: until it is revoked.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) ttl: Option<Duration>,
    /// Straight on the database of ROUNDS_DATA_DIR or DATABASE_URL: for a server that has no token yet.
    #[arg(long)]
    pub(super) local: bool,
    /// Of which organisation; with --local.
    #[arg(long, default_value = "main", requires = "local")]
    pub(super) org: String,
}

pub(super) async fn run(remote: &Remote, command: TokenCommand) -> Result<(), Failure> {
    let api = remote.api()?;
    match command {
        TokenCommand::Create(args) => {
            let id = account(&api, &args.service_account).await?;
            let seconds = args.ttl.map(|ttl| ttl.as_secs());
            let mut body = json!({ "name": args.name });
            if let Some(seconds) = seconds {
                body["secondsToLive"] = seconds.into();
            }
            let minted = api.post(&["serviceaccounts", &id, "tokens"], &body).await?;
            print_minted(remote.json, &minted)
        }
        TokenCommand::List { service_account } => list(&api, remote, service_account.as_deref()).await,
        TokenCommand::Revoke { id } => {
            let (account, _) = token(&api, &id).await?;
            api.delete(&["serviceaccounts", &at(&account, "/id"), "tokens", &id]).await?;
            if remote.json { text::print_json(&json!({ "id": id, "isRevoked": true })) } else { text::print("revoked") }
        }
    }
}

/// The text alone on stdout, so that it can be piped; the rest beside it.
pub(super) fn print_minted(json: bool, minted: &Value) -> Result<(), Failure> {
    if json {
        return text::print_json(minted);
    }
    let ends = if minted["expires"].is_null() { "until it is revoked".into() } else { text::time(minted, "/expires") };
    text::progress(&format!("token {} lives {ends}; its text is shown this once", at(minted, "/id")));
    text::print(&at(minted, "/key"))
}

async fn list(api: &Api, remote: &Remote, login: Option<&str>) -> Result<(), Failure> {
    let mut accounts = accounts(api, login).await?;
    if let Some(login) = login {
        accounts.retain(|account| account["login"] == login);
        if accounts.is_empty() {
            return Err(unknown(login));
        }
    }
    let mut found = Vec::new();
    for account in &accounts {
        for mut token in tokens(api, account).await? {
            token["serviceAccount"] = account["login"].clone();
            found.push(token);
        }
    }
    if remote.json {
        return text::print_json(&Value::Array(found));
    }
    if found.is_empty() {
        return text::print("there is no token");
    }
    let row = |token: &Value| {
        let state = if token["isRevoked"] == true {
            "revoked".to_owned()
        } else if token["hasExpired"] == true {
            "expired".to_owned()
        } else if token["expires"].is_null() {
            "live".to_owned()
        } else {
            format!("ends {}", text::age(token, "/expires"))
        };
        let whose = format!("{} of {}", at(token, "/name"), at(token, "/serviceAccount"));
        vec![at(token, "/id"), state, whose]
    };
    text::print(&text::table(&["ID", "STATE", "NAME"], &found.iter().map(row).collect::<Vec<_>>()))
}

async fn accounts(api: &Api, login: Option<&str>) -> Result<Vec<Value>, Failure> {
    let mut found = Vec::new();
    for page in 1.. {
        let mut query = vec![("page", page.to_string()), ("perpage", PAGE.to_string())];
        query.extend(login.map(|login| ("query", login.to_owned())));
        let answer = api.find(&["serviceaccounts", "search"], &query).await?.body;
        let accounts = answer["serviceAccounts"].as_array().cloned().unwrap_or_default();
        let is_last = accounts.len() < PAGE;
        found.extend(accounts);
        if is_last {
            break;
        }
    }
    Ok(found)
}

async fn account(api: &Api, login: &str) -> Result<String, Failure> {
    let found = accounts(api, Some(login)).await?;
    let account = found.iter().find(|account| account["login"] == login);
    account.map(|account| at(account, "/id")).ok_or_else(|| unknown(login))
}

pub(super) fn unknown(login: &str) -> Failure {
    Failure::new(Exit::NotFound, format!("there is no service account {login}; one that is made as `ci` is sa-ci"))
}

async fn tokens(api: &Api, account: &Value) -> Result<Vec<Value>, Failure> {
    let answer = api.get(&["serviceaccounts", &at(account, "/id"), "tokens"]).await?;
    Ok(answer.as_array().cloned().unwrap_or_default())
}

/// A token is found through the account it belongs to.
async fn token(api: &Api, id: &str) -> Result<(Value, Value), Failure> {
    for account in accounts(api, None).await? {
        if let Some(token) = tokens(api, &account).await?.into_iter().find(|token| token["id"] == id) {
            return Ok((account, token));
        }
    }
    Err(Failure::new(Exit::NotFound, format!("no service account has a token {id}; `token list` shows them")))
}
