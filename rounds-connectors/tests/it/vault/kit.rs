//! `vault://` before the conformance kit, with each login that the server here gives.

use std::sync::Arc;

use rounds_connectors::secrets::{SecretId, VaultConfig, VaultLogin, VaultSecrets};
use rounds_core::conformance::connector::{Planted, ResolverSubject};
use rounds_core::plugin::Host;
use rounds_core::ports::SecretResolver;
use serde_json::json;

use super::server::Vault;

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn plant_in(vault: &Vault) -> impl Fn(String) -> std::future::Ready<String> + Send + Sync + 'static {
    let vault = vault.clone();
    move |value| {
        vault.with(|inside| inside.planted = Some(json!({ "kubeconfig": value, "number": 7 })));
        std::future::ready("vault://secret/planted#kubeconfig".to_owned())
    }
}

fn missing() -> Vec<String> {
    texts(&[
        "vault://secret/absent#kubeconfig",
        "vault://secret/planted#absent",
        "vault://secret/planted#number",
        "vault://kv/absent#kubeconfig",
        "vault://absent/prod#kubeconfig",
    ])
}

fn malformed() -> Vec<String> {
    texts(&[
        "vault://secret/planted",
        "vault://secret/planted#",
        "vault://#kubeconfig",
        "vault:///secret/planted#kubeconfig",
        "vault://secret/../secret/planted#kubeconfig",
        "vault://secret/%70lanted#kubeconfig",
        "vault://secret/planted?version=1#kubeconfig",
        "vault://auth/token/lookup-self#id",
    ])
}

struct ByToken;

#[rounds_core::async_trait]
impl ResolverSubject for ByToken {
    async fn planted(&self) -> Planted {
        let vault = Vault::start().await;
        let secrets = VaultSecrets::new(&vault.address, "s.root".into(), &Arc::new(Host::default())).unwrap();
        Planted::new(secrets, plant_in(&vault), vault)
    }

    fn missing(&self) -> Vec<String> {
        missing()
    }

    fn malformed(&self) -> Vec<String> {
        malformed()
    }

    fn remote(&self, at: &str, credential: &str) -> Option<(Arc<dyn SecretResolver>, String)> {
        let secrets = VaultSecrets::new(at, credential.to_owned().into(), &Arc::new(Host::default())).unwrap();
        Some((Arc::new(secrets), "vault://secret/data/prod#kubeconfig".into()))
    }
}

mod token {
    rounds_core::secret_resolver_conformance!(strict: super::ByToken);
}

struct ByAppRole;

impl ByAppRole {
    fn at(address: &str, secret_id: &str, wrapped: bool) -> VaultSecrets {
        // The file must live as long as the resolver does, which the kit holds.
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path().keep().unwrap();
        std::fs::write(&file, secret_id).unwrap();
        let secret_id = SecretId { file, wrapped };
        let login = VaultLogin::AppRole { mount: "approle".into(), role_id: "role-1".into(), secret_id };
        VaultSecrets::with(VaultConfig::new(address, login), &Host::default()).unwrap()
    }
}

#[rounds_core::async_trait]
impl ResolverSubject for ByAppRole {
    async fn planted(&self) -> Planted {
        let vault = Vault::start().await;
        vault.with(|inside| inside.approle = Some(("role-1".into(), "secret-id-1".into())));
        Planted::new(Self::at(&vault.address, "secret-id-1", false), plant_in(&vault), vault)
    }

    fn missing(&self) -> Vec<String> {
        missing()
    }

    fn malformed(&self) -> Vec<String> {
        malformed()
    }

    fn remote(&self, at: &str, credential: &str) -> Option<(Arc<dyn SecretResolver>, String)> {
        Some((Arc::new(Self::at(at, credential, false)), "vault://secret/prod#kubeconfig".into()))
    }
}

mod approle {
    rounds_core::secret_resolver_conformance!(strict: super::ByAppRole);
}

struct Wrapped;

#[rounds_core::async_trait]
impl ResolverSubject for Wrapped {
    async fn planted(&self) -> Planted {
        let vault = Vault::start().await;
        let made = ("auth/approle/role/rounds/secret-id".to_owned(), "secret-id-1".to_owned());
        vault.with(|inside| {
            inside.approle = Some(("role-1".into(), "secret-id-1".into()));
            inside.wrapped.insert("hvs.wrapping".into(), made);
        });
        Planted::new(ByAppRole::at(&vault.address, "hvs.wrapping", true), plant_in(&vault), vault)
    }

    fn missing(&self) -> Vec<String> {
        missing()
    }

    fn malformed(&self) -> Vec<String> {
        malformed()
    }

    fn remote(&self, at: &str, credential: &str) -> Option<(Arc<dyn SecretResolver>, String)> {
        Some((Arc::new(ByAppRole::at(at, credential, true)), "vault://secret/prod#kubeconfig".into()))
    }
}

mod wrapped {
    rounds_core::secret_resolver_conformance!(strict: super::Wrapped);
}
