//! Connector secrets are encrypted in the file, each bound to its connector: moved to another row it does not open.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use rounds_core::connector::StoredSecret;
use rounds_core::ports::store::Key;
use secrecy::ExposeSecret as _;
use sha2::Sha256;

use crate::error::{Fail, corrupt};

const NONCE: usize = 24;

pub(crate) struct Sealer(XChaCha20Poly1305);

/// A key of its own for each purpose: no two uses of the same bytes.
pub(crate) fn derived(key: &[u8; 32], purpose: &str) -> [u8; 32] {
    // HMAC takes a key of any length, so there is always one.
    let mac = <Hmac<Sha256> as Mac>::new_from_slice(key);
    mac.map(|mac| mac.chain_update(purpose).finalize().into_bytes().into()).unwrap_or(*key)
}

impl Sealer {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(&derived(key, "secrets").into()))
    }

    pub(crate) fn seal(&self, key: Key, secret: &StoredSecret) -> Result<String, Fail> {
        let plain = match secret {
            StoredSecret::Inline(text) => format!("i{}", text.expose_secret()),
            StoredSecret::Reference(text) => format!("r{text}"),
        };
        let nonce: [u8; NONCE] = rand::random();
        let bound = key.to_string();
        let payload = Payload { msg: plain.as_bytes(), aad: bound.as_bytes() };
        let sealed =
            self.0.encrypt(XNonce::from_slice(&nonce), payload).map_err(|_| corrupt(key, "too large a secret"))?;
        Ok(STANDARD.encode([nonce.as_slice(), &sealed].concat()))
    }

    pub(crate) fn open(&self, key: Key, sealed: &str) -> Result<StoredSecret, Fail> {
        let closed = || corrupt(format!("the secret of {key}"), "it does not open with this key: enter it again");
        let bytes = STANDARD.decode(sealed).map_err(|_| closed())?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE).ok_or_else(closed)?;
        let bound = key.to_string();
        let payload = Payload { msg: sealed, aad: bound.as_bytes() };
        let plain = self.0.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| closed())?;
        match String::from_utf8(plain).map_err(|_| closed())?.split_at_checked(1) {
            Some(("i", secret)) => Ok(StoredSecret::Inline(secret.into())),
            Some(("r", reference)) => Ok(StoredSecret::Reference(reference.into())),
            _ => Err(closed()),
        }
    }
}
