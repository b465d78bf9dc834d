//! The login methods: from what proves who Rounds is, to a token.
//!
//! Sources: Vault's HTTP API for the token, AppRole and Kubernetes methods and for `sys/wrapping`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use rounds_core::plugin::BuildError;
use rounds_core::ports::{CallContext, PortError, PortErrorKind};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::api::{Api, Said};
use super::config::{self, VaultLogin};
use crate::reads::Reads;
use crate::secrets::open::read_named;

/// Nobody plans further ahead than this.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A token, and how long it lasts.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) token: SecretString,
    /// `None`: it does not end, or nobody knows when.
    pub(super) ttl: Option<Duration>,
    pub(super) renewable: bool,
}

/// What is shown to Vault, as it is right now.
pub(super) struct Credential(SecretString);

/// Tells one credential from another, in memory and nowhere else.
pub(super) type Mark = [u8; 32];

impl Credential {
    pub(super) fn mark(&self) -> Mark {
        Sha256::digest(self.0.expose_secret().as_bytes()).into()
    }
}

/// Why a login did not give a token.
#[derive(Debug)]
pub(super) enum NoLogin {
    /// Vault looked at the credential and refused it: the same again would be refused again, and may lock the role out.
    Refused(PortError),
    /// Anything else.
    Failed(PortError),
}

impl From<PortError> for NoLogin {
    fn from(error: PortError) -> Self {
        Self::Failed(error)
    }
}

/// A checked [`VaultLogin`].
pub(super) struct Login {
    method: VaultLogin,
    mount: Vec<String>,
    /// The secret id that came out of a wrapping token, which opens only once.
    unwrapped: Mutex<Option<(Mark, SecretString)>>,
    reads: Reads,
}

impl Login {
    pub(super) fn new(method: VaultLogin) -> Result<Self, BuildError> {
        let mount = match &method {
            VaultLogin::Token(_) | VaultLogin::TokenFile(_) => Vec::new(),
            VaultLogin::AppRole { mount, .. } | VaultLogin::Kubernetes { mount, .. } => config::mount(mount)?,
        };
        let missing = |name: &str| Err(BuildError::config(format!("{name}: it is empty")));
        match &method {
            VaultLogin::Token(token) if token.expose_secret().trim().is_empty() => return missing("VAULT_TOKEN"),
            VaultLogin::AppRole { role_id, .. } if role_id.trim().is_empty() => return missing("ROUNDS_VAULT_ROLE_ID"),
            VaultLogin::Kubernetes { role, .. } if role.trim().is_empty() => return missing("ROUNDS_VAULT_ROLE"),
            _ => {}
        }
        Ok(Self { method, mount, unwrapped: Mutex::default(), reads: Reads::default() })
    }

    /// For people.
    pub(super) fn name(&self) -> &'static str {
        match &self.method {
            VaultLogin::Token(_) => "token",
            VaultLogin::TokenFile(_) => "token file",
            VaultLogin::AppRole { .. } => "AppRole",
            VaultLogin::Kubernetes { .. } => "Kubernetes",
        }
    }

    /// Whether the token was given to Rounds, rather than made by a login of its own.
    pub(super) fn is_given(&self) -> bool {
        matches!(self.method, VaultLogin::Token(_) | VaultLogin::TokenFile(_))
    }

    /// Whether the token may be another one at any time.
    pub(super) fn is_exchanged(&self) -> bool {
        matches!(self.method, VaultLogin::TokenFile(_))
    }

    /// Reads what proves who Rounds is.
    pub(super) async fn credential(&self) -> Result<Credential, PortError> {
        let (file, what) = match &self.method {
            VaultLogin::Token(token) => return Ok(Credential(token.clone())),
            VaultLogin::TokenFile(file) => (file, "the token for Vault (ROUNDS_VAULT_TOKEN_FILE)"),
            VaultLogin::AppRole { secret_id, .. } => {
                (&secret_id.file, "the secret id for Vault (ROUNDS_VAULT_SECRET_ID_FILE)")
            }
            VaultLogin::Kubernetes { jwt_file, .. } => {
                (jwt_file, "the service account token for Vault (ROUNDS_VAULT_JWT_FILE)")
            }
        };
        read(&self.reads, file, what).await.map(Credential)
    }

    /// A token for this credential.
    pub(super) async fn log_in(
        &self,
        api: &Api,
        cx: &CallContext,
        credential: &Credential,
    ) -> Result<Granted, NoLogin> {
        let shown = credential.0.expose_secret();
        match &self.method {
            VaultLogin::Token(_) | VaultLogin::TokenFile(_) => Ok(look_up(api, cx, &credential.0).await?),
            VaultLogin::AppRole { role_id, secret_id, .. } => {
                let secret =
                    if secret_id.wrapped { self.unwrap(api, cx, credential).await? } else { credential.0.clone() };
                let body = json!({ "role_id": role_id, "secret_id": secret.expose_secret() });
                let of = format!("role id {role_id}");
                self.ask(api, cx, &of, &body, &[secret.expose_secret(), shown]).await
            }
            VaultLogin::Kubernetes { role, .. } => {
                let body = json!({ "role": role, "jwt": shown });
                self.ask(api, cx, &format!("role {role}"), &body, &[shown]).await
            }
        }
    }

    async fn ask(
        &self,
        api: &Api,
        cx: &CallContext,
        of: &str,
        body: &serde_json::Value,
        sent: &[&str],
    ) -> Result<Granted, NoLogin> {
        let mount = self.mount.join("/");
        let what = format!("logging in to Vault at auth/{mount} ({of})");
        let mut path = vec!["auth"];
        path.extend(self.mount.iter().map(String::as_str));
        path.push("login");
        let said = api.call(cx, &what, (Method::POST, &path), None, Some(body)).await?;
        if said.status.is_success() {
            return Ok(granted(&said, &what)?);
        }
        if let Some((kind, why)) = said.trouble() {
            let words = quoted(&said.words(sent));
            return Err(NoLogin::Failed(said.error(&what, kind, &format!("{why}{words}"))));
        }
        let words = said.words(sent);
        // Vault answers 403 where nothing is mounted, too, and 404 with words of its own on some versions.
        let hint = match said.status.as_u16() {
            404 => "no login method is mounted there; ROUNDS_VAULT_MOUNT says where it is",
            _ => "Vault refused: is the credential over, or the role or the mount (ROUNDS_VAULT_MOUNT) another one?",
        };
        let why = format!("{hint} ({}){}", said.status, quoted(&words));
        Err(NoLogin::Refused(said.error(&what, PortErrorKind::Unauthorized, &why)))
    }

    /// The secret id in a wrapping token. It opens once, so what came out is kept for as long as the file holds the same.
    async fn unwrap(&self, api: &Api, cx: &CallContext, wrapping: &Credential) -> Result<SecretString, NoLogin> {
        const WHAT: &str = "unwrapping the secret id for Vault";
        #[derive(Deserialize)]
        struct Wrapped {
            data: Origin,
        }
        #[derive(Deserialize)]
        struct Origin {
            creation_path: String,
        }
        #[derive(Deserialize)]
        struct Unwrapped {
            data: Inner,
        }
        #[derive(Deserialize)]
        struct Inner {
            secret_id: SecretString,
        }
        let mark = wrapping.mark();
        if let Some((of, secret)) = &*self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner)
            && *of == mark
        {
            return Ok(secret.clone());
        }
        let token = wrapping.0.expose_secret();
        // What was wrapped is said without opening it, so that a token which somebody exchanged is not believed.
        let body = json!({ "token": token });
        let looked = (Method::POST, ["sys", "wrapping", "lookup"]);
        let said = api.call(cx, WHAT, (looked.0, &looked.1), None, Some(&body)).await?;
        if said.status.is_success() {
            let origin = said.json::<Wrapped>(WHAT)?.data.creation_path;
            let role = format!("auth/{}/role/", self.mount.join("/"));
            if !(origin.starts_with(&role) && origin.ends_with("/secret-id")) {
                let origin: String = origin.chars().filter(|c| !c.is_control()).take(200).collect();
                let why =
                    format!("what is wrapped comes from `{origin}` and not from {role}…/secret-id: do not use it");
                return Err(NoLogin::Refused(said.error(WHAT, PortErrorKind::Unauthorized, &why)));
            }
        }
        let said = api
            .call(cx, WHAT, (Method::POST, &["sys", "wrapping", "unwrap"]), Some(&wrapping.0), Some(&json!({})))
            .await?;
        if !said.status.is_success() {
            if let Some((kind, why)) = said.trouble() {
                return Err(NoLogin::Failed(said.error(WHAT, kind, &why)));
            }
            let words = quoted(&said.words(&[token]));
            let why = format!(
                "the wrapping token in ROUNDS_VAULT_SECRET_ID_FILE is over or was opened before: if not by a Rounds that ran \
                 here, then by somebody else. Put a new one there ({}){words}",
                said.status
            );
            return Err(NoLogin::Refused(said.error(WHAT, PortErrorKind::Unauthorized, &why)));
        }
        let secret = said.json::<Unwrapped>(WHAT)?.data.secret_id;
        *self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner) = Some((mark, secret.clone()));
        Ok(secret)
    }
}

/// What is known of a token that was given. One that may not look at itself is used all the same, and not renewed.
async fn look_up(api: &Api, cx: &CallContext, token: &SecretString) -> Result<Granted, PortError> {
    const WHAT: &str = "looking at the token for Vault";
    #[derive(Deserialize)]
    struct Looked {
        data: About,
    }
    #[derive(Deserialize)]
    struct About {
        #[serde(default)]
        ttl: u64,
        #[serde(default)]
        renewable: bool,
    }
    let said = api.call(cx, WHAT, (Method::GET, &["auth", "token", "lookup-self"]), Some(token), None).await?;
    let about = match said.status.is_success().then(|| said.json::<Looked>(WHAT)) {
        Some(Ok(Looked { data })) => data,
        Some(Err(_)) | None => About { ttl: 0, renewable: false },
    };
    Ok(Granted { token: token.clone(), ttl: seconds(about.ttl), renewable: about.renewable })
}

/// Renews a token.
pub(super) async fn renew(api: &Api, cx: &CallContext, token: &SecretString) -> Result<Granted, NoLogin> {
    const WHAT: &str = "renewing the token for Vault";
    let call = (Method::POST, ["auth", "token", "renew-self"]);
    let said = api.call(cx, WHAT, (call.0, &call.1), Some(token), Some(&json!({}))).await?;
    if said.status.is_success() {
        return Ok(granted(&said, WHAT)?);
    }
    if let Some((kind, why)) = said.trouble() {
        return Err(NoLogin::Failed(said.error(WHAT, kind, &why)));
    }
    let why = format!("Vault refused ({}){}", said.status, quoted(&said.words(&[token.expose_secret()])));
    Err(NoLogin::Refused(said.error(WHAT, PortErrorKind::Unauthorized, &why)))
}

/// Ends a token. What Vault says to that changes nothing.
pub(super) async fn revoke(api: &Api, cx: &CallContext, token: &SecretString) -> Result<(), PortError> {
    let call = (Method::POST, ["auth", "token", "revoke-self"]);
    let what = "revoking the token for Vault";
    api.call(cx, what, (call.0, &call.1), Some(token), Some(&json!({}))).await.map(|_| ())
}

fn granted(said: &Said, what: &str) -> Result<Granted, PortError> {
    #[derive(Deserialize)]
    struct Answer {
        auth: Auth,
    }
    #[derive(Deserialize)]
    struct Auth {
        client_token: SecretString,
        #[serde(default)]
        lease_duration: u64,
        #[serde(default)]
        renewable: bool,
    }
    let Answer { auth } = said.json(what)?;
    Ok(Granted { token: auth.client_token, ttl: seconds(auth.lease_duration), renewable: auth.renewable })
}

fn seconds(ttl: u64) -> Option<Duration> {
    (ttl > 0).then(|| Duration::from_secs(ttl).min(LONGEST))
}

fn quoted(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("; Vault says: {words:?}") }
}

async fn read(reads: &Reads, file: &Path, what: &'static str) -> Result<SecretString, PortError> {
    let file: PathBuf = file.to_owned();
    let text = match reads.run(move || read_named(&file)).await {
        Ok(read) => read.map_err(|why| PortError::new(PortErrorKind::Unauthorized, format!("{what}: {why}")))?,
        Err(why) => return Err(PortError::new(PortErrorKind::Unavailable, format!("{what}: {why}"))),
    };
    Ok(SecretString::from(text.trim()))
}
