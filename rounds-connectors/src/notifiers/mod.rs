//! Channels that tell people, and signed webhooks for programs.
//!
//! Each renders a notice in its own shape from the same pieces (`said`), so that all say the same: what happened and how
//! bad it is, where, what would run, and where it is decided. Which channel hears what is not theirs to say, nor is
//! trying again: the outbox does both.

#[cfg(feature = "discord")]
mod discord;
#[cfg(feature = "email")]
mod email;
mod items;
#[cfg(feature = "pagerduty")]
mod pagerduty;
mod post;
mod said;
#[cfg(feature = "slack")]
mod slack;
#[cfg(feature = "teams")]
mod teams;
#[cfg(feature = "webhook")]
mod webhook;

use hmac::Mac as _;
use rounds_core::plugin::BuildError;
use rounds_core::ports::{PortError, PortErrorKind};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use url::Url;

#[cfg(feature = "discord")]
pub use discord::{Discord, DiscordConfig};
#[cfg(feature = "email")]
pub use email::{Email, EmailConfig, EmailSecurity};
#[cfg(feature = "pagerduty")]
pub use pagerduty::{Pagerduty, PagerdutyConfig, PagerdutyRegion};
#[cfg(feature = "slack")]
pub use slack::{Slack, SlackConfig};
#[cfg(feature = "teams")]
pub use teams::{Teams, TeamsConfig};
#[cfg(feature = "webhook")]
pub use webhook::{Webhook, WebhookConfig};

type HmacSha256 = hmac::Hmac<Sha256>;

/// Error bodies are for people; more than this is not read.
const ERROR_BODY: usize = 16 * 1024;

/// HMAC-SHA256 over these parts, one after another.
///
/// # Errors
/// None in practice: HMAC takes a key of any length.
fn mac(key: &SecretString, parts: &[&[u8]]) -> Result<HmacSha256, PortError> {
    let mut mac = HmacSha256::new_from_slice(key.expose_secret().as_bytes())
        .map_err(|_| PortError::new(PortErrorKind::Unauthorized, "the key cannot be used for HMAC-SHA256"))?;
    parts.iter().for_each(|part| mac.update(part));
    Ok(mac)
}

/// An address in a config, checked; what is wrong with it is said without repeating what may be a password.
fn address(field: &str, text: &str, example: &str) -> Result<Url, BuildError> {
    let refuse =
        |what: &str| Err(BuildError::config(format!("{field}: {what}; an address such as {example} is expected")));
    let Ok(url) = Url::parse(text.trim()) else { return refuse("not an address") };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return refuse("found neither http:// nor https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("found a user name or password in the address");
    }
    if url.fragment().is_some() {
        return refuse("found `#`");
    }
    Ok(url)
}

fn default_timeout() -> u64 {
    10
}

fn seconds(field: &str, found: u64) -> Result<std::time::Duration, BuildError> {
    match found {
        1..=60 => Ok(std::time::Duration::from_secs(found)),
        _ => Err(BuildError::config(format!("{field}: found {found}; 1 to 60 is accepted"))),
    }
}
