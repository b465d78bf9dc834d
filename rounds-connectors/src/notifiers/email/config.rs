//! The config of an e-mail channel.

use lettre::message::Mailbox;
use rounds_core::plugin::BuildError;
use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::notifiers::said::line;

/// More than this many people are a mailing list's business. RFC 5321 has every server take 100.
const RECIPIENTS: usize = 50;

/// How the connection to the mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EmailSecurity {
    /// `STARTTLS`, required: a server that does not offer it is refused before anything is sent. Port 587.
    #[default]
    Starttls,
    /// TLS from the first byte. Port 465.
    Tls,
    /// NO ENCRYPTION: whoever is on the way can read and change the messages. Only for a relay on this machine or on a
    /// private network, and only without a user name. Port 25.
    None,
}

/// The mail server, and who is written to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmailConfig {
    /// The mail server that takes messages for delivery, such as `smtp.example.com`.
    pub host: String,
    /// Its port. Empty: 587 with `starttls`, 465 with `tls`, 25 with `none`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// `starttls` (STARTTLS is required), `tls` (TLS from the first byte) or `none` (NO ENCRYPTION; only for a relay on
    /// this machine or on a private network, without a user name).
    #[serde(default)]
    pub security: EmailSecurity,
    /// Who to sign in as; the password is the secret. Empty: nobody.
    #[serde(default)]
    pub username: Option<String>,
    /// Who the messages are from, as `rounds@example.com` or `Rounds <rounds@example.com>`.
    pub from: String,
    /// Who they go to: 1 to 50 addresses, each as in `from`.
    #[schemars(length(min = 1, max = 50))]
    pub to: Vec<String>,
    /// Where answers go, as in `from`. Empty: to `from`. Rounds reads no answers: decisions are made on its pages.
    #[serde(default)]
    pub reply_to: Option<String>,
    /// What each subject begins with.
    #[serde(default = "default_prefix")]
    pub subject_prefix: String,
    /// The name by which this server introduces itself (EHLO), for mail servers that insist on one, such as
    /// `rounds.example.com`. Empty: its address.
    #[serde(default)]
    pub ehlo_name: Option<String>,
    /// PEM certificates of the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_certificate: Option<String>,
    /// How long a delivery may take, in seconds.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 60))]
    pub timeout_sec: u64,
}

fn default_prefix() -> String {
    "[Rounds]".into()
}

fn default_timeout() -> u64 {
    20
}

/// A config whose values are what they should be.
pub(super) struct Checked {
    pub(super) host: String,
    pub(super) name: ServerName<'static>,
    pub(super) port: u16,
    pub(super) from: Mailbox,
    pub(super) to: Vec<Mailbox>,
    pub(super) reply_to: Option<Mailbox>,
    pub(super) username: Option<String>,
    pub(super) ehlo_name: Option<String>,
}

impl EmailConfig {
    pub(super) fn check(&self) -> Result<Checked, BuildError> {
        let (host, name) = host("host", &self.host)?;
        let port = match (self.port, self.security) {
            (Some(0), _) => return refuse("port", "0", "1 to 65535"),
            (Some(port), _) => port,
            (None, EmailSecurity::Starttls) => 587,
            (None, EmailSecurity::Tls) => 465,
            (None, EmailSecurity::None) => 25,
        };
        let username = filled(self.username.as_deref());
        if let Some(username) = username {
            if username.len() > 255 || username.chars().any(char::is_control) {
                return refuse("username", username, "the name of an account, at most 255 characters");
            }
            if self.security == EmailSecurity::None {
                return Err(BuildError::config(
                    "username: found one together with `security: none`, and a password is never sent without encryption; \
                     set `security` to starttls or tls, or clear `username`",
                ));
            }
        }
        if self.to.is_empty() || self.to.len() > RECIPIENTS {
            return refuse("to", &format!("{} addresses", self.to.len()), "1 to 50");
        }
        let to =
            self.to.iter().enumerate().map(|(at, to)| mailbox(&format!("to[{at}]"), to)).collect::<Result<_, _>>()?;
        if self.subject_prefix.len() > 100 || self.subject_prefix.chars().any(char::is_control) {
            return refuse("subjectPrefix", &self.subject_prefix, "one line of at most 100 characters");
        }
        Ok(Checked {
            host,
            name,
            port,
            from: mailbox("from", &self.from)?,
            to,
            reply_to: filled(self.reply_to.as_deref()).map(|to| mailbox("replyTo", to)).transpose()?,
            username: username.map(str::to_owned),
            ehlo_name: filled(self.ehlo_name.as_deref()).map(|name| host_name("ehloName", name)).transpose()?,
        })
    }
}

fn filled(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn refuse<T>(field: &str, found: &str, accepted: &str) -> Result<T, BuildError> {
    Err(BuildError::config(format!("{field}: found `{}`; {accepted} is accepted", line(found, 100))))
}

fn host(field: &str, text: &str) -> Result<(String, ServerName<'static>), BuildError> {
    // As in URLs, an IPv6 address may stand in brackets.
    let host = text.trim().trim_start_matches('[').trim_end_matches(']');
    let expected = "a host name such as smtp.example.com, without a scheme and a port (that is `port`),";
    match ServerName::try_from(host.to_owned()) {
        Ok(name) if host.len() <= 253 => Ok((host.to_owned(), name)),
        _ => refuse(field, text, expected),
    }
}

/// A name that is one, and no address.
fn host_name(field: &str, text: &str) -> Result<String, BuildError> {
    match host(field, text)? {
        (host, ServerName::DnsName(_)) => Ok(host),
        _ => refuse(field, text, "a host name such as rounds.example.com"),
    }
}

fn mailbox(field: &str, text: &str) -> Result<Mailbox, BuildError> {
    let expected = "an address such as rounds@example.com or Rounds <rounds@example.com>, the part in ASCII (other domains in \
                    their xn-- spelling),";
    let is_one_line = text.len() <= 400 && !text.chars().any(char::is_control);
    match text.trim().parse::<Mailbox>() {
        // Not every server takes addresses beyond ASCII (SMTPUTF8), and one that does not would say so at night.
        Ok(mailbox) if is_one_line && mailbox.email.to_string().is_ascii() => Ok(mailbox),
        _ => refuse(field, text, expected),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(change: Value) -> Result<Checked, String> {
        let mut config = json!({ "host": "smtp.example.com", "from": "rounds@example.com", "to": ["ops@example.com"] });
        for (name, value) in change.as_object().unwrap() {
            config[name] = value.clone();
        }
        let config: EmailConfig = serde_json::from_value(config).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())
    }

    #[test]
    fn the_port_follows_the_encryption() {
        for (security, port) in [("starttls", 587), ("tls", 465), ("none", 25)] {
            assert_eq!(check(json!({ "security": security })).unwrap().port, port);
            assert_eq!(check(json!({ "security": security, "port": 2525 })).unwrap().port, 2525);
        }
        assert_eq!(check(json!({})).unwrap().port, 587);
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_field_and_what_would_be_accepted() {
        for (field, wrong) in [
            ("host", json!("smtp://smtp.example.com")),
            ("host", json!("smtp.example.com:587")),
            ("host", json!("a\r\nb")),
            ("host", json!("")),
            ("port", json!(0)),
            ("security", json!("opportunistic")),
            ("from", json!("nobody")),
            ("from", json!("a@b.example\r\nBcc: c@d.example")),
            ("from", json!("\"a\r\nBcc: c@d.example\" <a@b.example>")),
            ("from", json!("a@b.example, c@d.example")),
            ("to[0]", json!(["ä@example.com"])),
            ("to[1]", json!(["a@example.com", "x y"])),
            ("to", json!([])),
            ("replyTo", json!("nobody")),
            ("subjectPrefix", json!("a\nb")),
            ("ehloName", json!("127.0.0.1")),
            ("username", json!("a\u{0}b")),
        ] {
            let name = field.split('[').next().unwrap();
            let error = check(json!({ name: wrong })).err().unwrap_or_else(|| panic!("{field}: {wrong} is accepted"));
            let names_it = error.contains(field) || (field == "security" && error.contains("starttls"));
            assert!(names_it && !error.contains('\n') && !error.contains('\r'), "{field}: {error}");
        }
    }

    #[test]
    fn a_password_is_never_sent_without_encryption() {
        let error = check(json!({ "security": "none", "username": "rounds" })).err().unwrap();
        assert!(error.contains("username") && error.contains("starttls"), "{error}");
        check(json!({ "security": "none", "username": " " })).unwrap();
    }
}
