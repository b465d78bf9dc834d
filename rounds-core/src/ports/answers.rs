//! The way back from a channel: the [`Answers`] side of a [`Notifier`](super::Notifier) whose messages can be answered.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};

use super::{CallContext, PortError};
use crate::id::RequestId;
use crate::time::Timestamp;

/// What a channel's service sent to the server, as it came: nothing in it is proved yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inbound {
    headers: BTreeMap<String, String>,
    /// The body, byte by byte: signatures are over these.
    pub body: Vec<u8>,
}

impl Inbound {
    /// A body that came with these headers, whatever the case of their names.
    pub fn new(headers: impl IntoIterator<Item = (String, String)>, body: Vec<u8>) -> Self {
        let headers = headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        Self { headers, body }
    }

    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What somebody in a channel wants, once it is proved where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wish {
    /// To approve what the message showed.
    Approve(Seen),
    /// To reject it.
    Reject(Seen),
    /// Nothing that is decided here, such as following a link.
    Nothing,
}

/// What a message showed: the request, and the digest of the plan revision in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The request.
    pub request_id: RequestId,
    /// The digest of what was shown. Another one now, and nothing is decided.
    pub digest: String,
}

/// An answer that was proved to come from the channel.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Answer {
    /// Who answered, as the channel names them: `U024BE7LH`.
    pub user: String,
    /// The login of the account that the connector's config maps them to.
    pub login: Option<String>,
    /// What they want.
    pub wish: Wish,
    /// Where to say what became of it.
    pub reply_to: ReplyTo,
}

impl Answer {
    /// An answer of somebody who is mapped to no account.
    pub fn new(user: impl Into<String>, wish: Wish, reply_to: ReplyTo) -> Self {
        Self { user: user.into(), login: None, wish, reply_to }
    }

    /// The same from somebody who is mapped to this account.
    #[must_use]
    pub fn with_login(mut self, login: Option<String>) -> Self {
        self.login = login;
        self
    }
}

/// Where to reply to. Whoever knows it can write there, so it is a secret.
#[derive(Clone)]
pub struct ReplyTo(SecretString);

impl ReplyTo {
    /// What the channel said; the notifier that gave it knows what it means.
    pub fn new(place: impl Into<String>) -> Self {
        Self(SecretString::from(place.into()))
    }

    /// For the notifier that gave it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for ReplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplyTo(redacted)")
    }
}

/// What became of an answer, for those who see the message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// Plain text.
    pub text: String,
    /// Whether it is settled: the message is replaced, for all. Otherwise only who answered is told.
    pub settled: bool,
    /// The page to open, as a path.
    pub link: String,
}

impl Reply {
    /// Tells only who answered; everybody else sees the message as it was.
    pub fn to_them(text: impl Into<String>) -> Self {
        Self { text: text.into(), settled: false, link: String::new() }
    }

    /// Replaces the message: there is nothing left to decide in it.
    pub fn to_all(text: impl Into<String>) -> Self {
        Self { text: text.into(), settled: true, link: String::new() }
    }

    /// The same with the page to open.
    #[must_use]
    pub fn with_link(mut self, path: impl Into<String>) -> Self {
        self.link = path.into();
        self
    }
}

/// Takes answers to its messages.
///
/// **Implemented by** authors of notifiers whose channel can be answered. **Called by**
/// [`Channels`](crate::service::Channels), which decides nothing that `verify` did not prove. Cancel safe.
#[async_trait]
pub trait Answers: Send + Sync {
    /// Proves that something came from the channel, is of now, and says what it asks. MUST compare signatures in constant
    /// time, over the body as it came, before anything in the body is believed, and MUST refuse what is older than a few
    /// minutes.
    ///
    /// # Errors
    /// [`Unauthorized`](super::PortErrorKind::Unauthorized): it is not proved. Any other kind: it is, and is not
    /// understood.
    async fn verify(&self, cx: &CallContext, inbound: &Inbound, now: Timestamp) -> Result<Answer, PortError>;

    /// Says what became of an answer. MUST send nothing to a place that is not the channel's own.
    ///
    /// # Errors
    /// It was not said.
    async fn reply(&self, cx: &CallContext, to: &ReplyTo, reply: &Reply) -> Result<(), PortError>;
}
