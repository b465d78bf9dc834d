//! `env://` and `file://`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rounds_connectors::secrets::{EnvSecrets, FileSecrets};
use rounds_core::conformance::connector::{Planted, ResolverSubject};
use rounds_core::ports::SecretResolver;
use secrecy::SecretString;

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

struct Env;

#[rounds_core::async_trait]
impl ResolverSubject for Env {
    async fn planted(&self) -> Planted {
        let variables = Arc::<Mutex<BTreeMap<String, String>>>::default();
        // What a server would find in its environment, and no connector may have.
        variables.lock().unwrap().insert("PATH".into(), "/usr/bin".into());
        let found = Arc::clone(&variables);
        let lookup = move |name: &str| found.lock().unwrap().get(name).cloned().map(SecretString::from);
        let plant = move |value: String| {
            variables.lock().unwrap().insert("ROUNDS_SECRET_PROD".into(), value);
            std::future::ready("env://ROUNDS_SECRET_PROD".to_owned())
        };
        Planted::new(EnvSecrets::new("ROUNDS_SECRET_", lookup), plant, ())
    }

    fn missing(&self) -> Vec<String> {
        texts(&["env://ROUNDS_SECRET_ABSENT", "env://ROUNDS_SECRET_"])
    }

    fn malformed(&self) -> Vec<String> {
        texts(&[
            "env://PATH",
            "env://",
            "env:///ROUNDS_SECRET_PROD",
            "env://rounds_secret_prod",
            "env:// ROUNDS_SECRET_PROD",
        ])
    }

    fn remote(&self, _: &str, _: &str) -> Option<(Arc<dyn SecretResolver>, String)> {
        None
    }
}

mod env {
    rounds_core::secret_resolver_conformance!(strict: super::Env);
}

struct File;

#[rounds_core::async_trait]
impl ResolverSubject for File {
    async fn planted(&self) -> Planted {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("prod");
        let reference = format!("file://{}", file.display());
        let plant = move |value: String| {
            std::fs::write(&file, format!("{value}\n")).unwrap();
            std::future::ready(reference.clone())
        };
        Planted::new(FileSecrets::below([directory.path()]), plant, directory)
    }

    fn missing(&self) -> Vec<String> {
        texts(&["file:///run/secrets/absent", "file:///etc/hostname", "file:///proc/self/environ"])
    }

    fn malformed(&self) -> Vec<String> {
        texts(&[
            "file://relative",
            "file://",
            "file:///",
            "file://localhost/etc/hostname",
            "file:/etc/hostname",
            "file:///dev/zero",
        ])
    }

    fn remote(&self, _: &str, _: &str) -> Option<(Arc<dyn SecretResolver>, String)> {
        None
    }
}

mod file {
    rounds_core::secret_resolver_conformance!(strict: super::File);
}
