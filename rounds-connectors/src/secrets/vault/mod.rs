//! `vault://path#field`: HashiCorp Vault and OpenBao.
//!
//! **What it asks of Vault.** The HTTP API, version 1 of it, as of Vault 1.15 to 1.20 and OpenBao 2: reads of a key-value
//! engine, `sys/internal/ui/mounts` for the engine's version, a login where one is configured, and
//! `auth/token/{lookup,renew,revoke}-self`. The policy `default`, which every token has unless somebody took it away,
//! permits the latter; reading what references name is all that the role needs beside it.
//!
//! **What it refuses.** References that lead out of key-value engines: whoever may configure a connector chooses the path,
//! and `auth/token/lookup-self#id` would be Rounds' own token. Where Vault does not tell which engine is there, only what has
//! the path and the answer of version 2 is read; what has a lease or a login in it never is.
//!
//! **Limits.** A look-up takes at most ten seconds, logging in included; an answer has at most 4 MiB; a value is text.
//! Dynamic secrets (databases, clouds) are not read: their leases would have to be kept.

mod api;
mod config;
mod login;
mod mounts;
mod session;

pub use config::{SecretId, VaultConfig, VaultLogin};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Method;
use rounds_core::plugin::{BuildError, Host};
use rounds_core::ports::{CallContext, PortError, PortErrorKind, SecretResolver};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use tokio::time::Instant;
use zeroize::Zeroize as _;

use self::api::{Api, Said};
use self::login::Login;
use self::mounts::{Engine, Found, Mounts};
use self::session::{Session, Ticket};
use crate::http::{self, ChosenBy, ClientOptions};

/// How long one look-up may take, and one login.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a path that a fresh login did not open is taken to be closed by policy.
const CLOSED: Duration = Duration::from_secs(60);
/// More such paths are not remembered.
const MOST_CLOSED: usize = 1000;

/// Secrets in HashiCorp Vault or OpenBao, in a key-value engine of either version: `vault://secret/rounds/prod#kubeconfig` is
/// the field `kubeconfig` of what `vault kv get secret/rounds/prod` shows. The HTTP API's own path, with `data/` after the
/// mount of a version 2 engine, is taken as well. What may be read is Vault's policy to say.
///
/// The token is kept in memory only. It is renewed at two thirds of its life for as long as this lives, and got anew when
/// it cannot be; many callers wait for one login. Cheap to clone: several clones share the token.
#[derive(Clone, Debug)]
pub struct VaultSecrets {
    session: Arc<Session>,
    mounts: Arc<Mounts>,
    closed: Arc<Mutex<HashMap<String, Instant>>>,
}

impl std::fmt::Debug for Mounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mounts")
    }
}

/// Whether this can be a part of a path: nothing that another server might read as something else.
fn plain(part: &str) -> bool {
    !part.is_empty()
        && part != "."
        && part != ".."
        && !part.contains(['?', '\\', '%', '#'])
        && !part.contains(char::is_control)
}

impl VaultSecrets {
    /// The Vault at this address, with this token.
    ///
    /// # Errors
    /// The address is not one, or this host cannot make an HTTP client for it.
    pub fn new(address: &str, token: SecretString, host: &Arc<Host>) -> Result<Self, BuildError> {
        Self::with(VaultConfig::new(address, VaultLogin::Token(token)), host)
    }

    /// The Vault of this config. Nothing is connected to, and no file read, before the first secret is asked for.
    ///
    /// # Errors
    /// A part of the config cannot be right, or this host cannot make an HTTP client for it.
    pub fn with(config: VaultConfig, host: &Host) -> Result<Self, BuildError> {
        let address = config::address(&config.address)?;
        let client = http::client(&ClientOptions {
            url: &address,
            ca_certificate: config.ca_certificate.as_deref(),
            host,
            // `VAULT_ADDR` is the operator's; a reference chooses a path below it and no more.
            chosen_by: ChosenBy::Operator,
        })
        .map_err(|error| match error {
            // Where the certificates came from is called otherwise here than in a connector's config.
            BuildError::Config { message } => BuildError::config(message.replace("caCertificate", "VAULT_CACERT")),
            BuildError::Host { message } => BuildError::host(message.replace("`caCertificate`", "VAULT_CACERT")),
            other => other,
        })?;
        let namespace = config.namespace.as_deref().map(config::namespace).transpose()?;
        let session = Session::new(Api { client, address, namespace }, Login::new(config.login)?);
        Ok(Self { session: Arc::new(session), mounts: Arc::default(), closed: Arc::default() })
    }

    /// Gets a token now, so that what is wrong with the login is known before a secret is needed.
    ///
    /// # Errors
    /// There is none: what was tried, and what went wrong.
    pub async fn log_in(&self) -> Result<(), PortError> {
        let cx = CallContext::with_timeout(LIMIT);
        http::within(&cx, LIMIT, "logging in to Vault", self.session.token(None)).await.map(|_| ())
    }

    /// Ends the token, if it came from a login of Rounds' own, and asks nothing more. Takes at most `limit`.
    pub async fn close(&self, limit: Duration) {
        self.session.close(limit).await;
    }

    async fn ask(&self, cx: &CallContext, reference: &str) -> Result<SecretString, PortError> {
        let (path, field) = parse(reference)?;
        let ticket = self.session.token(None).await?;
        let said = match self.read(cx, reference, path, &ticket).await? {
            Answered::Found(said, engine) => return found(reference, field, &said, engine, &ticket.token),
            Answered::Refused(error) => error,
        };
        // The token may have been revoked, or its policies may be older than the operator's last change.
        if !self.session.can_log_in_anew() || self.is_closed(path) {
            return Err(said);
        }
        let Ok(fresh) = self.session.token(Some(ticket.generation)).await else { return Err(said) };
        match self.read(cx, reference, path, &fresh).await? {
            Answered::Found(said, engine) => found(reference, field, &said, engine, &fresh.token),
            Answered::Refused(error) => {
                self.close_path(path);
                Err(error)
            }
        }
    }

    async fn read(
        &self,
        cx: &CallContext,
        reference: &str,
        path: &str,
        Ticket { token, .. }: &Ticket,
    ) -> Result<Answered, PortError> {
        let api = &self.session.api;
        let place = match self.mounts.place(api, cx, (reference, path), token).await? {
            Found::Place(place) => place,
            Found::NotTold => match mounts::unasked(path) {
                None => self.mounts.as_it_is(path),
                Some((PortErrorKind::Unauthorized, why)) => {
                    let error = PortError::new(PortErrorKind::Unauthorized, format!("{reference}: {why}"));
                    return Ok(Answered::Refused(error));
                }
                Some((kind, why)) => return Err(PortError::new(kind, format!("{reference}: {why}"))),
            },
        };
        let what = format!("{reference}: asking Vault");
        let segments: Vec<&str> = place.path.split('/').collect();
        let said = api.call(cx, &what, (Method::GET, &segments), Some(token), None).await?;
        if said.status.is_success() {
            return Ok(Answered::Found(said, place.engine));
        }
        if let Some((kind, why)) = said.trouble() {
            return Err(said.error(reference, kind, &why));
        }
        let status = said.status;
        let explained = |why: &str| said.error(reference, http::status_kind(status), &format!("{why} ({status})"));
        // Whatever was known of the engine may be no longer so.
        self.mounts.forget(path);
        Ok(match status.as_u16() {
            403 => Answered::Refused(explained(&format!(
                "Vault's policy does not let this token read {}, or the token is over",
                place.path
            ))),
            404 => return Err(explained(&missing(&said, &place.engine))),
            405 => return Err(explained("this is no secret: a path in a key-value engine is expected")),
            _ => return Err(explained("Vault refused")),
        })
    }

    fn is_closed(&self, path: &str) -> bool {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.get(path).is_some_and(|since| since.elapsed() < CLOSED)
    }

    /// A fresh login did not open it: each read of it would make another token otherwise.
    fn close_path(&self, path: &str) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if closed.len() >= MOST_CLOSED {
            closed.clear();
        }
        closed.insert(path.to_owned(), Instant::now());
    }
}

/// What came of a read.
enum Answered {
    Found(Said, Engine),
    /// 403.
    Refused(PortError),
}

/// The path and the field of a reference.
fn parse(reference: &str) -> Result<(&str, &str), PortError> {
    let invalid = |why: &str| PortError::new(PortErrorKind::Invalid, format!("{reference}: {why}"));
    let (path, field) = super::behind("vault", reference)?
        .split_once('#')
        .filter(|(path, field)| !path.is_empty() && !field.is_empty())
        .ok_or_else(|| invalid("a reference of the form vault://path#field is expected"))?;
    if !path.split('/').all(plain) {
        return Err(invalid(
            "the path is a mount and what is below it, such as secret/rounds/prod, without empty parts, `..`, `?` or `%`",
        ));
    }
    let parts: Vec<&str> = path.split('/').collect();
    if parts.first() == Some(&"v1") {
        return Err(invalid("the path begins with the mount: leave v1/ out"));
    }
    // Below `auth/` is Rounds' own token. A namespace can stand before it.
    let own = |pair: &[&str]| matches!(pair, ["auth", "token"] | ["sys", "wrapping" | "internal"]);
    if parts.first().is_some_and(|first| matches!(*first, "auth" | "sys" | "identity" | "cubbyhole"))
        || parts.windows(2).any(own)
    {
        return Err(invalid("only secrets in key-value engines are read"));
    }
    if parts.len() < 2 {
        return Err(invalid("the path is a mount and what is below it, such as secret/rounds/prod"));
    }
    Ok((path, field))
}

/// Why there is nothing.
fn missing(said: &Said, engine: &Engine) -> String {
    let metadata = said.json::<Value>("").ok().and_then(|body| body.pointer("/data/metadata").cloned());
    if let Some(metadata) = metadata {
        let destroyed = metadata.get("destroyed").and_then(Value::as_bool).unwrap_or_default();
        let what = if destroyed { "destroyed" } else { "deleted" };
        return format!("the newest version of the secret was {what}");
    }
    match engine {
        Engine::One | Engine::Two => "Vault has no such secret".into(),
        Engine::Unknown => {
            "Vault has nothing there; the token may not ask which engine it is, so the path has to be the HTTP API's own, \
             with /data/ after the mount"
                .into()
        }
    }
}

/// The field of an answer. Never quotes it: it is the secret.
fn found(
    reference: &str,
    field: &str,
    said: &Said,
    engine: Engine,
    token: &SecretString,
) -> Result<SecretString, PortError> {
    let mut answer: Value = said.json(reference)?;
    let Some(data) = fields(&mut answer, engine) else {
        wipe(answer);
        let why = "Vault's answer is not that of a key-value engine";
        return Err(PortError::new(PortErrorKind::Protocol, format!("{reference}: {why}")));
    };
    let found = match data.get(field) {
        Some(Value::String(text)) if text.is_empty() => Err("is empty".to_owned()),
        Some(Value::String(text)) => Ok(SecretString::from(text.as_str())),
        Some(Value::Null) | None => Err("is not there; `vault kv get` shows which are".to_owned()),
        Some(Value::Bool(_)) => Err("holds true or false and no text; write it in quotes".to_owned()),
        Some(Value::Number(_)) => Err("holds a number and no text; write it in quotes".to_owned()),
        Some(Value::Array(_) | Value::Object(_)) => {
            Err("holds a structure and no text; store its JSON as one text".to_owned())
        }
    };
    data.into_iter().for_each(|(_, value)| wipe(value));
    wipe(answer);
    let secret = found.map_err(|why| {
        PortError::new(
            PortErrorKind::Unauthorized,
            format!("{reference}: the field `{field}` of what Vault has there {why}"),
        )
    })?;
    // Whatever path led here: it would go where a connector sends it.
    if secret.expose_secret() == token.expose_secret() {
        return Err(PortError::new(
            PortErrorKind::Invalid,
            format!("{reference}: only secrets in key-value engines are read"),
        ));
    }
    Ok(secret)
}

/// The fields in an answer: `data` in version 1, `data.data` beside `data.metadata` in version 2. An engine that Vault did
/// not tell of must answer as version 2 does. What has a lease, or logs in, was made for this call and is no secret of a
/// key-value engine.
fn fields(answer: &mut Value, engine: Engine) -> Option<Map<String, Value>> {
    let leased = answer.get("lease_id").is_some_and(|id| !id.is_null() && id.as_str() != Some(""));
    if leased || answer.get("auth").is_some_and(|auth| !auth.is_null()) {
        return None;
    }
    let data = answer.get_mut("data")?.as_object_mut()?;
    let is_two = match engine {
        Engine::One => return Some(std::mem::take(data)),
        Engine::Two => true,
        Engine::Unknown => data.get("metadata").is_some_and(Value::is_object),
    };
    if !is_two {
        return None;
    }
    match data.get_mut("data").map(Value::take) {
        Some(Value::Object(inner)) => Some(inner),
        _ => None,
    }
}

/// What else was in the answer is secret, too.
fn wipe(value: Value) {
    match value {
        Value::String(mut text) => text.zeroize(),
        Value::Array(values) => values.into_iter().for_each(wipe),
        Value::Object(fields) => fields.into_iter().for_each(|(_, value)| wipe(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[async_trait]
impl SecretResolver for VaultSecrets {
    fn scheme(&self) -> &'static str {
        "vault"
    }

    async fn resolve(&self, reference: &str) -> Result<SecretString, PortError> {
        let cx = CallContext::with_timeout(LIMIT);
        http::within(&cx, LIMIT, &format!("{reference}: asking Vault"), self.ask(&cx, reference)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_12_a_reference_leads_to_a_key_value_engine_and_nowhere_else() {
        for own in [
            "vault://auth/token/lookup-self#id",
            "vault://team/auth/token/lookup-self#id",
            "vault://sys/raw/core/keyring#value",
            "vault://team/sys/wrapping/unwrap#x",
            "vault://cubbyhole/response#response",
            "vault://identity/oidc/token/x#token",
            "vault://kv/../auth/token/lookup-self#id",
            "vault://kv/%2e%2e/auth#id",
            "vault://kv//a#id",
            "vault:///kv/a#id",
            "vault://kv#id",
            "vault://kv/a",
            "vault://kv/a#",
            "vault://v1/kv/a#b",
            "vault://kv/a?version=1#b",
        ] {
            let error = parse(own).unwrap_err();
            assert_eq!(error.kind, PortErrorKind::Invalid, "{own}");
        }
        assert_eq!(parse("vault://secret/rounds/prod#a.b#c").unwrap(), ("secret/rounds/prod", "a.b#c"));
    }

    #[test]
    fn a_field_called_data_in_version_1_is_a_field() {
        let mut answer = serde_json::json!({ "data": { "data": { "a": "1" }, "b": "2" } });
        assert!(fields(&mut answer.clone(), Engine::One).unwrap().contains_key("b"));
        assert!(fields(&mut answer, Engine::Two).unwrap().contains_key("a"));
    }

    #[test]
    fn rule_12_an_engine_that_nobody_told_of_answers_as_version_2_does_or_is_not_read() {
        let answer = |also: (&str, Value)| {
            let two = serde_json::json!({ "data": { "a": "1" }, "metadata": { "version": 1 } });
            let mut answer = serde_json::json!({ "lease_id": "", "auth": null, "data": two });
            answer[also.0] = also.1;
            answer
        };
        let one = serde_json::json!({ "password": "hunter2", "data": { "a": "1" } });
        assert!(fields(&mut answer(("lease_id", "".into())), Engine::Unknown).unwrap().contains_key("a"));
        assert!(fields(&mut answer(("data", one)), Engine::Unknown).is_none());
        for engine in [Engine::One, Engine::Two, Engine::Unknown] {
            assert!(fields(&mut answer(("lease_id", "database/creds/a/1".into())), engine).is_none());
            assert!(fields(&mut answer(("auth", serde_json::json!({ "client_token": "x" }))), engine).is_none());
        }
    }
}
