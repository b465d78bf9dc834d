//! `token`: create, list and revoke tokens of service accounts; and the first one, on the database itself.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use rounds_core::access::Actor;
use rounds_core::audit::{AuditEntry, Outcome};
use rounds_core::ports::{Clock as _, SystemClock};
use rounds_core::{OrgId, TokenId, time};
use rounds_store::identity::NewToken;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::ids::whole as id;
use super::print::{self, field};
use super::{Client, Code, Failure, duration};
use crate::boot;
use crate::settings::ServerSettings;

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token of a service account and print it, this once.
    Create(CreateArgs),
    /// List the tokens of service accounts; never their text.
    List {
        /// Of this service account only.
        #[arg(long, value_name = "LOGIN")]
        service_account: Option<String>,
    },
    /// Revoke a token: it is dead at once.
    Revoke {
        /// The token.
        id: String,
    },
}

/// Whose, and for how long.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The service account, by its login such as `@syntropize/rounds`.
    #[arg(long, value_name = "LOGIN")]
    service_account: String,
    /// What it is for, to know it by later.
    #[arg(long)]
    name: String,
    /// When it ends, as 12h or 30d; absent: when it is revoked.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttl: Option<Duration>,
    /// Make it in the database itself, as whoever may read the server's files: for a server that nobody has a token of yet.
    #[arg(long)]
    local: bool,
}

impl TokenCommand {
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::Create(args) if args.local)
    }

    pub(super) async fn run(self, client: &Client) -> Result<Code, Failure> {
        match self {
            Self::Create(args) => create(client, &args).await,
            Self::List { service_account } => list(client, service_account.as_deref()).await,
            Self::Revoke { id } => revoke(client, &id).await,
        }
    }

    /// Makes a token in the database that the settings name.
    pub(super) async fn run_local(self, settings: &ServerSettings, json: bool) -> anyhow::Result<ExitCode> {
        let Self::Create(args) = self else { anyhow::bail!("only `token create` works without a server") };
        if let Some(path) = settings.database_path().filter(|path| !path.exists()) {
            anyhow::bail!(
                "there is no database at {}: set ROUNDS_DATA_DIR or DATABASE_URL to the server's",
                path.display()
            );
        }
        let store = boot::open_store(settings, false).await?;
        let (identity, org, now) = (store.identity(), OrgId::default(), SystemClock.now());
        let accounts = identity.service_accounts(&org).await?;
        let known: Vec<&str> = accounts.iter().map(|account| account.login.as_str()).collect();
        let account = accounts.iter().find(|account| account.login == args.service_account).with_context(|| {
            format!("there is no service account `{}`; there are: {}", args.service_account, known.join(", "))
        })?;
        let token = NewToken {
            id: TokenId::new(),
            account: account.id,
            name: args.name.clone(),
            created_by: OPERATOR.into(),
            expires_at: args.ttl.map(|ttl| time::after_ms(now, u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))),
        };
        let target = ("service_account", account.id.to_string());
        let entry =
            AuditEntry::new(now, &org, &Actor::system(), "serviceaccount.create_token", target, Outcome::Success)
                .with("tokenId", token.id.to_string())
                .with("name", args.name)
                .with("by", OPERATOR);
        let (id, expires) = (token.id, token.expires_at);
        let text = identity.mint_token(token, now, &[entry]).await?;
        store.close().await;
        let mut out = std::io::stdout().lock();
        if json {
            writeln!(out, "{}", json!({ "id": id, "key": text.expose_secret(), "expires": expires }))?;
        } else {
            writeln!(out, "{}", text.expose_secret())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Who is in the audit log when a token was made without the server.
const OPERATOR: &str = "whoever operates the server's machine (rounds-server token create --local)";

async fn accounts(client: &Client, only: Option<&str>) -> Result<Vec<Value>, Failure> {
    let mut found = Vec::new();
    for page in 1.. {
        let answer = client.api.get(&format!("/api/serviceaccounts/search?page={page}&perPage=100")).await?;
        let accounts = answer["serviceAccounts"].as_array().cloned().unwrap_or_default();
        let (len, total) = (accounts.len(), answer["totalCount"].as_u64().unwrap_or_default());
        found.extend(accounts);
        if len == 0 || found.len() as u64 >= total {
            break;
        }
    }
    let Some(only) = only else { return Ok(found) };
    let known: Vec<String> = found.iter().map(|account| field(account, "login")).collect();
    found.retain(|account| account["login"] == only);
    if found.is_empty() {
        let message = format!("there is no service account `{only}`; there are: {}", known.join(", "));
        return Err(Failure::new(Code::NotFound, message));
    }
    Ok(found)
}

async fn create(client: &Client, args: &CreateArgs) -> Result<Code, Failure> {
    let account = accounts(client, Some(&args.service_account)).await?.remove(0);
    let path = format!("/api/serviceaccounts/{}/tokens", id(account["id"].as_str().unwrap_or_default())?);
    let mut body = json!({ "name": args.name });
    if let Some(ttl) = args.ttl {
        body["secondsToLive"] = json!(ttl.as_secs());
    }
    let minted = client.api.post(&path, &body).await?;
    client.show(&minted, |minted| format!("{}\n", field(minted, "key")))?;
    Ok(Code::Done)
}

/// Every token, with the login of its account.
async fn tokens(client: &Client, only: Option<&str>) -> Result<Vec<Value>, Failure> {
    let mut found = Vec::new();
    for account in accounts(client, only).await? {
        let owner = account["id"].as_str().unwrap_or_default();
        let tokens = client.api.get(&format!("/api/serviceaccounts/{}/tokens", id(owner)?)).await?;
        for mut token in tokens.as_array().cloned().unwrap_or_default() {
            token["serviceAccount"] = account["login"].clone();
            token["serviceAccountId"] = account["id"].clone();
            found.push(token);
        }
    }
    Ok(found)
}

async fn list(client: &Client, only: Option<&str>) -> Result<Code, Failure> {
    let found = Value::Array(tokens(client, only).await?);
    client.show(&found, |found| {
        let tokens = found.as_array().map(Vec::as_slice).unwrap_or_default();
        if tokens.is_empty() {
            return "there is no token; `rounds-server token create` makes one\n".into();
        }
        let row = |token: &Value| {
            let state = if token["isRevoked"] == true { "revoked".to_owned() } else { print::ago(&token["expires"]) };
            vec![
                field(token, "id"),
                field(token, "serviceAccount"),
                state,
                print::ago(&token["lastUsedAt"]),
                field(token, "name"),
            ]
        };
        let rows: Vec<_> = tokens.iter().map(row).collect();
        print::table(&["ID", "SERVICE ACCOUNT", "ENDS", "LAST USED", "NAME"], &rows)
    })?;
    Ok(Code::Done)
}

async fn revoke(client: &Client, token: &str) -> Result<Code, Failure> {
    let token = id(token)?;
    let found = tokens(client, None).await?.into_iter().find(|found| found["id"] == token);
    let found = found.ok_or_else(|| Failure::new(Code::NotFound, format!("there is no token {token}")))?;
    let owner = found["serviceAccountId"].as_str().unwrap_or_default();
    let answer = client.api.delete(&format!("/api/serviceaccounts/{}/tokens/{token}", id(owner)?)).await?;
    client.show(&answer, |_| "revoked\n".into())?;
    Ok(Code::Done)
}
