//! Encryption of connector secrets at rest.
//!
//! XChaCha20-Poly1305 with a random nonce: at 192 bits, nonces never repeat by chance. The organisation and the
//! connector are bound in, so a sealed secret moved to another row does not open there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rounds_core::OrgId;
use rounds_core::connector::StoredSecret;
use rounds_core::ports::StoreError;
use rounds_core::ports::store::Key;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::MasterKey;
use crate::key::random;

const VERSION: &str = "v1:";
const NONCE: usize = 24;

pub(crate) struct Sealer {
    cipher: XChaCha20Poly1305,
    source: String,
}

impl Sealer {
    pub(crate) fn new(key: &MasterKey) -> Self {
        let derived = key.derive("connector-secrets");
        Self { cipher: XChaCha20Poly1305::new(derived.as_slice().into()), source: key.source().into() }
    }

    /// Inline secrets and references alike: a reference is no secret, but whoever can write to the database must
    /// not be able to point a connector at another one.
    pub(crate) fn seal(&self, org: &OrgId, key: Key, secret: &StoredSecret) -> Result<String, StoreError> {
        let plain = Zeroizing::new(match secret {
            StoredSecret::Inline(text) => format!("i{}", text.expose_secret()),
            StoredSecret::Reference(text) => format!("r{text}"),
        });
        let mut sealed = vec![0; NONCE];
        random(&mut sealed)
            .map_err(|error| StoreError::Unavailable { message: format!("no random bytes: {error}") })?;
        let payload = Payload { msg: plain.as_bytes(), aad: &bound(org, key) };
        let encrypted = self.cipher.encrypt(XNonce::from_slice(&sealed), payload);
        sealed.extend(encrypted.map_err(|_| StoreError::Invalid(format!("the secret of {key} is too large")))?);
        Ok(format!("{VERSION}{}", STANDARD.encode(sealed)))
    }

    pub(crate) fn open(&self, org: &OrgId, key: Key, sealed: &str) -> Result<StoredSecret, StoreError> {
        let corrupt = |message: String| StoreError::Corrupt { what: format!("the secret of {key}"), message };
        let Some(encoded) = sealed.strip_prefix(VERSION) else {
            return Err(corrupt("it was written by a newer version of Rounds, or damaged".into()));
        };
        let bytes = STANDARD.decode(encoded).map_err(|_| corrupt("it is damaged".into()))?;
        let (nonce, encrypted) =
            bytes.split_at_checked(NONCE).ok_or_else(|| corrupt("it is damaged: too short".into()))?;
        let payload = Payload { msg: encrypted, aad: &bound(org, key) };
        let plain = self.cipher.decrypt(XNonce::from_slice(nonce), payload).map(Zeroizing::new).map_err(|_| {
            corrupt(format!(
                "it does not open with the key from {}: it was sealed with another key, belongs to another \
                 connector, or was changed. Restore the key it was sealed with, or enter the secret again",
                self.source
            ))
        })?;
        let text = std::str::from_utf8(&plain).map_err(|_| corrupt("it is not text".into()))?;
        match text.split_at_checked(1) {
            Some(("i", secret)) => Ok(StoredSecret::Inline(SecretString::from(secret))),
            Some(("r", reference)) => Ok(StoredSecret::Reference(reference.into())),
            _ => Err(corrupt("it was written by a newer version of Rounds".into())),
        }
    }
}

/// Lengths before parts, so that no two different places give the same bytes.
fn bound(org: &OrgId, key: Key) -> Vec<u8> {
    format!("rounds.secret.v1\n{}:{org}\n{key}", org.as_str().len()).into_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
mod tests {
    use rounds_core::ports::store::RecordKind;

    use super::*;

    fn sealer(byte: u8) -> Sealer {
        let text = SecretString::from(hex::encode([byte; 32]));
        Sealer::new(&MasterKey::from_text(&text, "a test").unwrap())
    }

    fn place() -> (OrgId, Key) {
        (OrgId::default(), Key::new(RecordKind::Connector, uuid::Uuid::now_v7()))
    }

    #[test]
    fn rule_12_a_sealed_secret_opens_only_with_its_key_and_in_its_place() {
        let (org, key) = place();
        let secret = StoredSecret::Inline(SecretString::from("hunter2"));
        let sealed = sealer(1).seal(&org, key, &secret).unwrap();
        match sealer(1).open(&org, key, &sealed).unwrap() {
            StoredSecret::Inline(text) => assert_eq!(text.expose_secret(), "hunter2"),
            StoredSecret::Reference(_) => panic!("it was inline"),
        }
        let wrong_key = sealer(2).open(&org, key, &sealed).unwrap_err().to_string();
        assert!(wrong_key.contains("the key from a test"), "{wrong_key}");
        assert!(sealer(1).open(&OrgId::new("other"), key, &sealed).is_err());
        assert!(sealer(1).open(&org, place().1, &sealed).is_err());
        let cut = &sealed[..sealed.len() - 8];
        assert!(sealer(1).open(&org, key, cut).is_err());
        assert!(sealer(1).open(&org, key, "v1:AA==").is_err());
    }

    #[test]
    fn sealing_twice_gives_two_texts() {
        let (org, key) = place();
        let secret = StoredSecret::Reference("env://TOKEN".into());
        let seal = || sealer(1).seal(&org, key, &secret).unwrap();
        assert_ne!(seal(), seal());
    }
}
