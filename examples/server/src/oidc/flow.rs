//! What this server remembers of a sign-in while the browser is at the provider: in a cookie of the browser's, signed,
//! for ten minutes. Any replica can go on with it.

use axum_extra::extract::cookie::{Cookie, SameSite};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use rounds_core::Timestamp;
use secrecy::{ExposeSecret as _, SecretBox};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The cookie.
pub(crate) const FLOW_COOKIE: &str = "rounds_oidc";
/// Only the two addresses of the sign-in see it.
const PATH: &str = "/login/oidc";
/// As long as somebody may take at the provider.
pub(super) const SECONDS: i64 = 600;

/// What is remembered.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Flow {
    /// What the provider must bring back with the browser.
    pub(super) state: String,
    /// What it must put into the token.
    pub(super) nonce: String,
    /// What proves that the code is for this browser.
    pub(super) verifier: String,
    /// Where to go afterwards.
    pub(super) next: String,
    /// When it was begun, in seconds.
    pub(super) at: i64,
}

type Mac = Hmac<Sha256>;

fn mac(key: &SecretBox<[u8; 32]>, payload: &str) -> Option<Mac> {
    let mut mac = Mac::new_from_slice(key.expose_secret()).ok()?;
    mac.update(payload.as_bytes());
    Some(mac)
}

impl Flow {
    /// As a cookie's value: the text, and what shows that this server wrote it.
    pub(super) fn seal(&self, key: &SecretBox<[u8; 32]>) -> Option<String> {
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).ok()?);
        let tag = hex::encode(mac(key, &payload)?.finalize().into_bytes());
        Some(format!("{payload}.{tag}"))
    }

    /// Reads a cookie's value; `None` when this server did not write it, or too long ago.
    pub(super) fn open(text: &str, key: &SecretBox<[u8; 32]>, now: Timestamp) -> Option<Self> {
        let (payload, tag) = text.split_once('.')?;
        mac(key, payload)?.verify_slice(&hex::decode(tag).ok()?).ok()?;
        let flow: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        let age = now.timestamp().checked_sub(flow.at)?;
        // A replica's clock may be a little behind the one that wrote it.
        (-60..SECONDS).contains(&age).then_some(flow)
    }
}

/// The cookie of a flow.
pub(super) fn cookie(value: String, secure: bool) -> Cookie<'static> {
    // Lax: the provider sends the browser back from another site, by a link.
    Cookie::build((FLOW_COOKIE, value)).path(PATH).http_only(true).same_site(SameSite::Lax).secure(secure).build()
}

/// What takes it away again.
pub(super) fn over(secure: bool) -> Cookie<'static> {
    let mut cookie = cookie(String::new(), secure);
    cookie.make_removal();
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SecretBox<[u8; 32]> {
        SecretBox::new(Box::new([byte; 32]))
    }

    #[test]
    fn a_flow_opens_with_its_key_unchanged_and_in_time_only() {
        let at = |seconds| chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(seconds);
        let text = |name: &str| name.to_owned();
        let flow = Flow { state: text("s"), nonce: text("n"), verifier: text("v"), next: text("/plans"), at: 1000 };
        let sealed = flow.seal(&key(1)).unwrap();
        let opens = |text: &str, byte, seconds| Flow::open(text, &key(byte), at(seconds)).map(|flow| flow.next);
        assert_eq!(opens(&sealed, 1, 1599).as_deref(), Some("/plans"));
        assert_eq!((opens(&sealed, 1, 1600), opens(&sealed, 1, 900)), (None, None));
        assert_eq!(opens(&sealed, 2, 1000), None);
        let (payload, tag) = sealed.split_once('.').unwrap();
        let other = Flow { next: text("//evil.test"), ..flow }.seal(&key(2)).unwrap();
        let forged = format!("{}.{tag}", other.split_once('.').unwrap().0);
        for text in [forged.as_str(), payload, "", ".", &format!("{payload}."), &format!("{payload}.zz")] {
            assert_eq!(opens(text, 1, 1000), None, "{text}");
        }
    }
}
