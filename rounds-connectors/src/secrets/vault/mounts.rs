//! Which version a key-value engine has, and so what a path in it means.
//!
//! `sys/internal/ui/mounts/<path>` is what Vault's own command line asks: whoever may read anything below a mount may ask
//! about it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use rounds_core::ports::{CallContext, PortError, PortErrorKind};
use secrecy::SecretString;
use serde::Deserialize;
use tokio::time::Instant;

use super::api::Api;

/// Engines are seldom upgraded, and one that was is asked again when something is not found in it.
const FRESH: Duration = Duration::from_secs(300);
/// More paths than this are not remembered.
const MOST: usize = 1000;

/// The version of an engine, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    One,
    Two,
    /// The token may not know.
    Unknown,
}

/// What is known of the mounts.
#[derive(Default)]
pub(super) struct Mounts {
    /// By mount, with a slash at the end; unknown ones by the whole path.
    known: Mutex<HashMap<String, (Engine, Instant)>>,
}

/// Where a secret is in the HTTP API.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) engine: Engine,
}

impl Mounts {
    /// Where the secret of a reference is.
    pub(super) async fn place(
        &self,
        api: &Api,
        cx: &CallContext,
        (reference, path): (&str, &str),
        token: &SecretString,
    ) -> Result<Found, PortError> {
        if let Some((mount, engine)) = self.remembered(path) {
            return Ok(Found::Place(place(path, &mount, engine)));
        }
        let what = format!("{reference}: asking Vault for the version of the engine");
        let mut segments = vec!["sys", "internal", "ui", "mounts"];
        segments.extend(path.split('/'));
        let said = api.call(cx, &what, (Method::GET, &segments), Some(token), None).await?;
        if let Some((kind, why)) = said.trouble() {
            return Err(said.error(&what, kind, &why));
        }
        if !said.status.is_success() {
            // 403 is the answer for a mount that is not there, for a path that this token may not touch, and for a token
            // that is over.
            return Ok(Found::NotTold);
        }
        let Answer { data } = said.json(&what)?;
        let mount = format!("{}/", data.path.trim_matches('/'));
        if !matches!(data.kind.as_str(), "kv" | "generic") {
            let kind: String = data.kind.chars().filter(|c| !c.is_control()).take(50).collect();
            let why = format!("{mount} is an engine of type `{kind}`; only key-value engines (kv) are read");
            return Err(said.error(reference, PortErrorKind::Invalid, &why));
        }
        if !path.starts_with(&mount) {
            // A namespace stands before the mount, which is told without it.
            return Ok(Found::NotTold);
        }
        let version = data.options.and_then(|options| options.version);
        let engine = if version.as_deref() == Some("2") { Engine::Two } else { Engine::One };
        self.remember(&mount, engine);
        Ok(Found::Place(place(path, &mount, engine)))
    }

    /// What to do where Vault does not tell: take the path as it is, as the HTTP API's own.
    pub(super) fn as_it_is(&self, path: &str) -> Place {
        self.remember(path, Engine::Unknown);
        Place { path: path.to_owned(), engine: Engine::Unknown }
    }

    /// Forgets what was known of the mount of a path.
    pub(super) fn forget(&self, path: &str) {
        self.known().retain(|mount, _| !(path == mount || path.starts_with(mount.as_str())));
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Engine, Instant)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self, path: &str) -> Option<(String, Engine)> {
        let known = self.known();
        let covers = |mount: &str| path == mount || (mount.ends_with('/') && path.starts_with(mount));
        let fresh = known.iter().filter(|(mount, (_, since))| covers(mount) && since.elapsed() < FRESH);
        let (mount, (engine, _)) = fresh.max_by_key(|(mount, _)| mount.len())?;
        Some((mount.clone(), *engine))
    }

    fn remember(&self, mount: &str, engine: Engine) {
        let mut known = self.known();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(mount.to_owned(), (engine, Instant::now()));
    }
}

/// What came of asking.
#[derive(Debug)]
pub(super) enum Found {
    Place(Place),
    NotTold,
}

/// What stands before the mount's own name, or is it, of engines that hold no key-value secrets.
const OTHERS: [&str; 17] = [
    "auth",
    "sys",
    "identity",
    "cubbyhole",
    "database",
    "pki",
    "ssh",
    "transit",
    "totp",
    "aws",
    "azure",
    "gcp",
    "ad",
    "ldap",
    "consul",
    "nomad",
    "rabbitmq",
];

/// Why a path is not asked for where Vault does not say which engine is there: reading from another engine can make
/// credentials. Only version 2 of the key-value engine shows by its path, and by its answer, what it is.
pub(super) fn unasked(path: &str) -> Option<(PortErrorKind, String)> {
    let Some((mount, _)) = path.split_once("/data/") else {
        let why = format!(
            "Vault's policy does not let this token read {path} or ask which engine is there, or the token is over; \
             untold, only version 2 of the key-value engine is read, by the HTTP API's own path with /data/ after the mount"
        );
        return Some((PortErrorKind::Unauthorized, why));
    };
    let other = mount.split('/').find(|part| OTHERS.contains(part))?;
    let why = format!(
        "only secrets in key-value engines are read; Vault does not say which engine is there, and `{other}` before /data/ is \
         the name of another one"
    );
    Some((PortErrorKind::Invalid, why))
}

fn place(path: &str, mount: &str, engine: Engine) -> Place {
    let below = path.strip_prefix(mount).unwrap_or_default();
    let path = match engine {
        Engine::Two if !below.starts_with("data/") => format!("{mount}data/{below}"),
        Engine::One | Engine::Two | Engine::Unknown => path.to_owned(),
    };
    Place { path, engine }
}

#[derive(Deserialize)]
struct Answer {
    data: Mount,
}

#[derive(Deserialize)]
struct Mount {
    path: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    options: Option<Options>,
}

#[derive(Deserialize)]
struct Options {
    #[serde(default)]
    version: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_version_2_gets_its_data_once_and_one_in_version_1_stays() {
        for (path, mount, engine, expected) in [
            ("secret/app/db", "secret/", Engine::Two, "secret/data/app/db"),
            ("secret/app/data/db", "secret/", Engine::Two, "secret/data/app/data/db"),
            ("team/a/kv/app", "team/a/kv/", Engine::Two, "team/a/kv/data/app"),
            ("team/a/kv/data/app", "team/a/kv/", Engine::Two, "team/a/kv/data/app"),
            ("kv/app", "kv/", Engine::One, "kv/app"),
            ("team/kv/data/app", "team/kv/", Engine::One, "team/kv/data/app"),
        ] {
            assert_eq!(place(path, mount, engine).path, expected, "{path}");
        }
    }

    #[test]
    fn what_is_remembered_of_a_mount_is_said_of_what_is_below_it_and_of_nothing_beside_it() {
        let mounts = Mounts::default();
        mounts.remember("kv/", Engine::One);
        mounts.remember("kv/team/", Engine::Two);
        let of = |path: &str| mounts.remembered(path);
        assert_eq!(of("kv/a"), Some(("kv/".into(), Engine::One)));
        assert_eq!(of("kv/team/a"), Some(("kv/team/".into(), Engine::Two)));
        assert_eq!(of("kvother/a"), None);
        mounts.forget("kv/team/a");
        assert_eq!(of("kv/team/a"), None);
    }
}
