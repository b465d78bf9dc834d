//! `token create --local`: whoever holds the database makes the first token, and the audit log says so.

use rounds_core::access::{Actor, ActorType};
use rounds_core::audit::{AuditEntry, Outcome};
use rounds_core::ports::{Clock as _, SystemClock};
use rounds_core::time::after_ms;
use rounds_core::{OrgId, TokenId};
use rounds_store::SqlStore;
use rounds_store::identity::NewToken;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::failure::{Exit, Failure};
use super::token::{CreateArgs, print_minted, unknown};
use crate::boot;
use crate::settings::ServerSettings;

/// Who it was, as far as can be known: somebody with the database and its key in hand.
const OPERATOR: &str = "local-operator";

pub(super) async fn create(settings: &ServerSettings, args: &CreateArgs, json: bool) -> Result<(), Failure> {
    if let Some(path) = settings.database_path().filter(|path| !path.exists()) {
        let path = path.display();
        let message = format!("there is no database at {path}: set ROUNDS_DATA_DIR or DATABASE_URL to the server's");
        return Err(Failure::usage(message));
    }
    let opened = boot::open_store(settings, false).await;
    let store = opened.map_err(|error| Failure::new(Exit::Unavailable, format!("{error:#}")))?;
    let minted = mint(&store, args).await;
    store.close().await;
    print_minted(json, &minted?)
}

async fn mint(store: &SqlStore, args: &CreateArgs) -> Result<Value, Failure> {
    let identity = store.identity();
    let failed = |error: rounds_store::IdentityError| match error {
        invalid @ rounds_store::IdentityError::Invalid { .. } => Failure::usage(invalid.to_string()),
        other => Failure::failed(other.to_string()),
    };
    let org = OrgId::new(args.org.as_str());
    let accounts = identity.service_accounts(&org).await.map_err(failed)?;
    let account = accounts.into_iter().find(|account| account.login == args.service_account);
    let account = account.ok_or_else(|| unknown(&args.service_account))?;
    let (id, now) = (TokenId::new(), SystemClock.now());
    let expires = args.ttl.map(|ttl| after_ms(now, ttl.as_secs().saturating_mul(1000)));
    let actor = Actor { kind: ActorType::System, id: OPERATOR.into(), login: OPERATOR.into() };
    let entry = AuditEntry::new(now, &org, &actor, "token.create", ("token", id.to_string()), Outcome::Success)
        .with("name", args.name.as_str())
        .with("account", account.login)
        .with("via", "command line, on the database");
    let token =
        NewToken { id, account: account.id, name: args.name.clone(), created_by: OPERATOR.into(), expires_at: expires };
    let key = identity.mint_token(token, now, &[entry]).await.map_err(failed)?;
    Ok(json!({ "id": id, "name": args.name.trim(), "key": key.expose_secret(), "expires": expires }))
}
