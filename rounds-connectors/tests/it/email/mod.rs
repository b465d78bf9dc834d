//! E-mail, against a real mail server, and against hostile ones.

mod hostile;
mod real;
mod restart;

use std::sync::Arc;

use rounds_core::plugin::{BuildContext, Built, Host, Outbound, Registry};
use rounds_core::ports::{Notifier, SecretHandle};
use serde_json::{Value, json};

const PASSWORD: &str = "hunter2 hunter2";

/// An authority, and what it vouches for: `localhost`.
struct Certificates {
    authority: String,
    chain: String,
    key: String,
}

fn certificates() -> Certificates {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(params, authority_key);
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    Certificates { authority: authority.pem(), chain: server.pem(), key: key.serialize_pem() }
}

/// A channel through a server on this machine.
fn channel(port: u16, secret: Option<&str>, change: Value) -> Arc<dyn Notifier> {
    let mut config = json!({
        "host": "localhost", "port": port, "from": "Rounds <rounds@example.com>", "to": ["ops@example.com"],
    });
    for (name, value) in change.as_object().unwrap() {
        config[name] = value.clone();
    }
    let secret = secret.map_or_else(SecretHandle::none, |secret| SecretHandle::inline(secret.into()));
    let public_url = Some("https://rounds.example".to_owned());
    let host = Host { outbound: Outbound::loopback(), public_url, ..Host::default() };
    match Registry::linked().unwrap().build("email", BuildContext::new("mail", secret, Arc::new(host)), config).unwrap()
    {
        Built::Notifier(notifier) => notifier,
        other => panic!("{other:?}"),
    }
}
