//! `email`: each notice as a mail, through an SMTP server that takes submissions.
//!
//! Sources: RFC 5321 (SMTP), RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 6409 (submission), RFC 8314 (TLS from the first
//! byte), RFC 5322 (messages, threads), RFC 3834 (automatic messages).
//! **Rights:** an account that may send as `from`. It needs no mailbox and no other right.
//! **Asked of the server:** `STARTTLS` or TLS from the first byte, with a certificate that is trusted for `host`, and
//! `AUTH PLAIN` or `LOGIN` when there is a user name.
//! **Recipients:** each is asked for by itself. Who is refused for now (4xx: greylisting, a full mailbox) gets the message
//! at the next try, with the same `Message-ID`, and whoever has it does not; who is refused for good (5xx) is named in the
//! error, and keeps it from nobody else.
//! **Limits:** 50 recipients; a text of some 40 KB, cut beyond. Proxies are not used.

mod config;
mod message;
mod smtp;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lettre::message::Mailbox;
use rounds_core::plugin::{AddressRange, BuildContext, BuildError, Host};
use rounds_core::ports::{CallContext, CheckReport, Notice, Notifier, PortError, PortErrorKind, SecretHandle};
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use self::config::Checked;
use self::message::Headers;
use self::smtp::{Dialogue, Login, Recipients};
use crate::{http, net};

pub use config::{EmailConfig, EmailSecurity};

/// How long a server may take to say goodbye. It has the message by then.
const GOODBYE: Duration = Duration::from_millis(500);

rounds_core::register_connector! {
    kind: "email",
    title: "E-mail",
    role: Notifier,
    secret: Optional("The password of `username`. Empty for a relay that knows this server and asks for none."),
    config: EmailConfig,
    build: Email::new,
    check_secret: |_, secret| smtp::check_password(secret),
}

/// People with mailboxes, as a [`Notifier`].
pub struct Email {
    host: String,
    port: u16,
    security: EmailSecurity,
    tls: TlsConnector,
    name: ServerName<'static>,
    username: Option<String>,
    from: Mailbox,
    to: Vec<Mailbox>,
    reply_to: Option<Mailbox>,
    subject_prefix: String,
    ehlo_name: Option<String>,
    secret: SecretHandle,
    timeout: Duration,
    server: Arc<Host>,
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Email")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("security", &self.security)
            .field("secret", &self.secret)
            .finish_non_exhaustive()
    }
}

impl Email {
    /// Checks the config in full and connects to nothing.
    ///
    /// # Errors
    /// The config has a wrong value, its host may not be called, or this machine trusts no certificates.
    pub fn new(cx: BuildContext, config: EmailConfig) -> Result<Self, BuildError> {
        let Checked { host, name, port, from, to, reply_to, username, ehlo_name } = config.check()?;
        net::check_literal(&host, &cx.host.outbound)?;
        let tls = http::trusting(config.ca_certificate.as_deref(), config.security != EmailSecurity::None)?;
        Ok(Self {
            host,
            port,
            security: config.security,
            tls: TlsConnector::from(Arc::new(tls)),
            name,
            username,
            from,
            to,
            reply_to,
            subject_prefix: config.subject_prefix.trim().to_owned(),
            ehlo_name,
            secret: cx.secret,
            timeout: super::seconds("timeoutSec", config.timeout_sec)?,
            server: cx.host,
        })
    }

    fn what(&self) -> String {
        format!("the mail server {}:{}", self.host, self.port)
    }

    /// With what to sign in, if at all.
    async fn login(&self) -> Result<Option<Login>, PortError> {
        let unfit = |why: &str| Err(PortError::new(PortErrorKind::Unauthorized, why));
        match (&self.username, self.secret.reveal().await?) {
            (None, None) => Ok(None),
            (Some(username), Some(password)) => {
                // Files and pasted values often end with a line break.
                let password = SecretString::from(password.expose_secret().trim_end_matches(['\r', '\n']));
                smtp::check_password(&password)
                    .map_err(|error| PortError::new(PortErrorKind::Unauthorized, error.to_string()))?;
                Ok(Some(Login { username: username.clone(), password }))
            }
            (Some(_), None) => {
                unfit("`username` is set and the connector has no secret: set the password, or clear `username`")
            }
            (None, Some(_)) => unfit(
                "the connector has a password and no `username` to go with it: set `username`, or clear the secret",
            ),
        }
    }

    /// Connects, encrypts and signs in.
    async fn open(&self) -> Result<Dialogue, PortError> {
        let login = self.login().await?;
        let what = self.what();
        let stream = net::connect(&what, &self.host, self.port, &self.server.outbound).await?;
        let ends = stream.local_addr().and_then(|local| Ok((local.ip(), stream.peer_addr()?.ip())));
        let (local, peer) = ends.map_err(|error| {
            PortError::new(PortErrorKind::Unavailable, format!("{what}: the connection is gone: {error}"))
        })?;
        let name = self.ehlo_name.clone().unwrap_or_else(|| smtp::address_literal(local));
        let mut dialogue = match self.security {
            EmailSecurity::Tls => {
                let stream = self.encrypted(&what, stream).await?;
                let mut dialogue = Dialogue::new(what, stream);
                dialogue.greet(&name).await?;
                dialogue
            }
            EmailSecurity::Starttls => {
                let mut plain = Dialogue::over(what.clone(), stream);
                plain.greet(&name).await?;
                let stream = plain.starttls().await?;
                let stream = self.encrypted(&what, stream).await?;
                // What the server said before is forgotten: anybody may have said it.
                let mut dialogue = Dialogue::new(what, stream);
                dialogue.hello(&name).await?;
                dialogue
            }
            EmailSecurity::None => {
                unencrypted_only_inside(&what, peer)?;
                let mut dialogue = Dialogue::new(what, stream);
                dialogue.greet(&name).await?;
                dialogue
            }
        };
        if let Some(login) = login {
            dialogue.sign_in(login).await?;
        }
        Ok(dialogue)
    }

    async fn encrypted(
        &self,
        what: &str,
        stream: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, PortError> {
        self.tls.connect(self.name.clone(), stream).await.map_err(|error| {
            PortError::new(
                PortErrorKind::Unavailable,
                format!("{what}: TLS could not be begun, and nothing was sent without it: {error}"),
            )
        })
    }

    /// Hands a message over for these recipients; it names all of them.
    async fn deliver(&self, notice: &Notice, to: &[&Mailbox]) -> Result<(Dialogue, Recipients), PortError> {
        let headers = Headers {
            from: &self.from,
            to: &self.to,
            reply_to: self.reply_to.as_ref(),
            subject_prefix: &self.subject_prefix,
        };
        let message = message::render(notice, &|path| self.server.link(path), &headers)
            .map_err(|why| PortError::new(PortErrorKind::Invalid, format!("the message cannot be written: {why}")))?;
        let mut dialogue = self.open().await?;
        let recipients = dialogue.envelope(&self.from.email, to.iter().map(|to| &to.email), message.len()).await?;
        dialogue.message(&message).await?;
        Ok((dialogue, recipients))
    }

    async fn test(&self) -> Result<CheckReport, PortError> {
        let mut dialogue = self.open().await?;
        let recipients = dialogue.envelope(&self.from.email, self.to.iter().map(|to| &to.email), 0).await?;
        dialogue.forget().await?;
        dialogue.quit(GOODBYE).await;
        if let Some(left) = recipients.left(&self.what()) {
            return Err(left);
        }
        let encryption = match self.security {
            EmailSecurity::Starttls => "TLS, after STARTTLS",
            EmailSecurity::Tls => "TLS, from the first byte",
            EmailSecurity::None => "NONE: whoever is on the way reads the messages",
        };
        let report = CheckReport::new(format!(
            "{} takes mail from {} to {} recipients; none was sent",
            self.what(),
            self.from.email,
            self.to.len()
        ));
        let signed_in = self.username.clone().unwrap_or_else(|| "nobody: there is no `username`".into());
        Ok(report
            .with_facts([("encryption".to_owned(), encryption.to_owned()), ("signed in as".to_owned(), signed_in)]))
    }
}

/// Without encryption only a relay beside this server is spoken to.
fn unencrypted_only_inside(what: &str, peer: IpAddr) -> Result<(), PortError> {
    match AddressRange::of(peer) {
        Some(AddressRange::Loopback | AddressRange::Private | AddressRange::Shared) => Ok(()),
        _ => Err(PortError::new(
            PortErrorKind::Invalid,
            format!(
                "{what}: {peer} is neither on this machine nor on a private network, so nothing is sent to it without \
                 encryption: set `security` to starttls or tls"
            ),
        )),
    }
}

#[async_trait]
impl Notifier for Email {
    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        http::within(cx, self.timeout, &self.what(), self.test()).await
    }

    async fn send(&self, cx: &CallContext, notice: &Notice) -> Result<(), PortError> {
        // Who has it from an earlier try does not get it twice.
        let has = |to: &Mailbox| notice.delivered.contains(&to.email.to_string());
        let to: Vec<&Mailbox> = self.to.iter().filter(|to| !has(to)).collect();
        if to.is_empty() {
            return Ok(());
        }
        let sent = http::within(cx, self.timeout, &self.what(), self.deliver(notice, &to)).await?;
        let (mut dialogue, recipients) = sent;
        // The server has it: what goes wrong from here on must not have it sent again.
        dialogue.quit(GOODBYE).await;
        match recipients.left(&self.what()) {
            None => Ok(()),
            Some(left) => Err(left.with_delivered(recipients.taken)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_unencrypted_beyond_this_machine_and_private_networks() {
        for inside in ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1"] {
            unencrypted_only_inside("the server", inside.parse().unwrap()).unwrap();
        }
        for outside in ["1.1.1.1", "2606:4700::1111", "169.254.169.254", "192.0.2.1", "0.0.0.0", "224.0.0.1"] {
            let error = unencrypted_only_inside("the server", outside.parse().unwrap()).unwrap_err();
            assert!(error.to_string().contains("security"), "{outside}: {error}");
        }
    }
}
