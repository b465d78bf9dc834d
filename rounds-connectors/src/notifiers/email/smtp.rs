//! The dialogue with a mail server (RFC 5321), bounded in every direction.
//!
//! Written here, and not taken from the library that writes the messages: what that library does not do is what matters
//! against a hostile server. It resolves and connects by itself (the guard of addresses would be passed by), keeps what
//! came before TLS in the buffer that it reads from after (RFC 3207 has it thrown away), and reads a line to its end
//! before it looks at its length.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lettre::Address;
use rounds_core::plugin::BuildError;
use rounds_core::ports::{PortError, PortErrorKind};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::notifiers::said::line;

/// Bytes of a line of a reply. RFC 5321 allows 512.
const LINE: usize = 2_048;
/// Lines of a reply.
const LINES: usize = 100;
/// How long a server that answers 4xx is left alone. RFC 5321 speaks of half an hour, which is long for an alert; those
/// who let unknown senders wait (greylisting, RFC 6647) mostly want five minutes, so that some tries come after that.
const LATER: Duration = Duration::from_secs(120);
/// Of an error that names recipients. All fifty fit, with what was said to the first of them.
const MESSAGE: usize = 4_000;
/// To how many it is said what the server answered, beside its code.
const QUOTED: usize = 5;

/// Who to sign in as.
pub(super) struct Login {
    pub(super) username: String,
    pub(super) password: SecretString,
}

/// Looks at a password that cannot be one. Never says it.
///
/// # Errors
/// It holds what `AUTH` cannot carry.
pub(super) fn check_password(password: &SecretString) -> Result<(), BuildError> {
    let text = password.expose_secret().trim_end_matches(['\r', '\n']);
    if text.is_empty() || text.len() > 1_024 || text.contains(['\0', '\r', '\n']) {
        return Err(BuildError::config(
            "found an empty password, one of several lines, or one of more than 1024 bytes; the password of `username` is \
             expected",
        ));
    }
    Ok(())
}

/// The name of a host that has none (RFC 5321, 4.1.3).
pub(super) fn address_literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

/// What a server says to a command.
struct Reply {
    code: u16,
    lines: Vec<String>,
}

impl Reply {
    fn is(&self, hundreds: u16) -> bool {
        self.code / 100 == hundreds
    }
}

/// What a server said to each recipient of a message.
#[derive(Debug, Default)]
pub(super) struct Recipients {
    /// They have it once the message is handed over.
    pub(super) taken: Vec<String>,
    /// 4xx: they may be taken later. Servers that do not know this one yet say so the first time, and to whom in a long
    /// list is one too many.
    later: Vec<String>,
    /// 5xx.
    refused: Vec<String>,
}

impl Recipients {
    /// Who was not taken, and why, for a person; `None`: all were.
    pub(super) fn left(&self, what: &str) -> Option<PortError> {
        if self.later.is_empty() && self.refused.is_empty() {
            return None;
        }
        let mut said = vec![format!("takes mail for {} recipients", self.taken.len())];
        for (not, some) in [("not yet for", &self.later), ("not for", &self.refused)] {
            if !some.is_empty() {
                said.push(format!("{not} {}", some.join("; ")));
            }
        }
        let message = format!("{what}: {}", line(&said.join(", and "), MESSAGE));
        Some(match self.later.is_empty() {
            true => PortError::new(PortErrorKind::Invalid, message),
            false => PortError::new(PortErrorKind::Unavailable, message).with_retry_after(Some(LATER)),
        })
    }
}

/// A connection with a mail server, after each reply.
pub(super) struct Dialogue<S = Box<dyn Wire>> {
    stream: S,
    what: String,
    /// What was read beyond the last reply.
    unread: Vec<u8>,
    /// What the server offers, in capitals, a line each.
    offers: Vec<String>,
    /// What no error may repeat, in case the server does.
    hidden: Vec<SecretString>,
}

/// What a dialogue goes over.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl<S> fmt::Debug for Dialogue<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialogue").field("what", &self.what).finish_non_exhaustive()
    }
}

impl Dialogue {
    /// Over a connection that stays as it is.
    pub(super) fn new(what: String, stream: impl Wire + 'static) -> Self {
        Self::over(what, Box::new(stream))
    }
}

impl<S: Wire> Dialogue<S> {
    /// Over a connection that is wanted back.
    pub(super) fn over(what: String, stream: S) -> Self {
        Self { stream, what, unread: Vec::new(), offers: Vec::new(), hidden: Vec::new() }
    }

    /// The server's greeting, and ours.
    ///
    /// # Errors
    /// It greets in another way, or not at all.
    pub(super) async fn greet(&mut self, name: &str) -> Result<(), PortError> {
        let reply = self.reply().await?;
        if reply.code != 220 {
            return Err(self.refused("the connection", &reply));
        }
        self.hello(name).await
    }

    /// Introduces this server, and learns what the other offers.
    ///
    /// # Errors
    /// It does not take that.
    pub(super) async fn hello(&mut self, name: &str) -> Result<(), PortError> {
        let reply = self.command(&format!("EHLO {name}")).await?;
        if !reply.is(2) {
            return Err(self.refused("EHLO", &reply));
        }
        self.offers = reply.lines.iter().skip(1).map(|line| line.trim().to_ascii_uppercase()).collect();
        Ok(())
    }

    /// What is offered under a keyword.
    fn offer(&self, keyword: &str) -> Option<Vec<&str>> {
        self.offers.iter().find_map(|line| {
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            (words.next() == Some(keyword)).then(|| words.collect())
        })
    }

    /// Agrees on TLS and gives the connection back, on which the next byte is TLS's.
    ///
    /// # Errors
    /// The server offers no TLS, or said something that it says TLS should protect.
    pub(super) async fn starttls(mut self) -> Result<S, PortError> {
        if self.offer("STARTTLS").is_none() {
            return Err(self.protocol(
                "it does not offer STARTTLS, so neither a password nor a message was sent: check `port`, set `security` to \
                 tls if it speaks TLS from the first byte, and if it used to offer it, somebody may be in between",
            ));
        }
        let reply = self.command("STARTTLS").await?;
        if reply.code != 220 {
            return Err(self.refused("STARTTLS", &reply));
        }
        if !self.unread.is_empty() {
            return Err(self.protocol(
                "something came after its answer to STARTTLS and before TLS began: somebody in between may have put it \
                 there, so neither a password nor a message was sent",
            ));
        }
        Ok(self.stream)
    }

    /// Signs in.
    ///
    /// # Errors
    /// The server takes no password, or not this one.
    pub(super) async fn sign_in(&mut self, login: Login) -> Result<(), PortError> {
        let offered = self.offer("AUTH").unwrap_or_default();
        let encode = |text: &str| SecretString::from(BASE64_STANDARD.encode(text));
        let (name, password) = (encode(&login.username), encode(login.password.expose_secret()));
        let plain = encode(&format!("\0{}\0{}", login.username, login.password.expose_secret()));
        let (mechanism, answers) = if offered.contains(&"PLAIN") {
            (SecretString::from(format!("AUTH PLAIN {}", plain.expose_secret())), vec![])
        } else if offered.contains(&"LOGIN") {
            (SecretString::from("AUTH LOGIN"), vec![name, password.clone()])
        } else {
            let offered = if offered.is_empty() { "no AUTH".to_owned() } else { line(&offered.join(" "), 100) };
            let why = format!("`username` is set, and it offers {offered}; AUTH PLAIN or LOGIN is needed to sign in");
            return Err(self.protocol(&why));
        };
        self.hidden = vec![login.password, password, plain];
        let mut reply = self.command(mechanism.expose_secret()).await?;
        for answer in answers {
            if reply.code != 334 {
                break;
            }
            reply = self.command(answer.expose_secret()).await?;
        }
        match reply.code {
            235 => Ok(()),
            // A step more than there is in these mechanisms.
            334 => Err(self.protocol("it asks for more than AUTH PLAIN and LOGIN have")),
            _ => {
                let mut error = self.refused("signing in", &reply);
                if reply.is(5) {
                    error.kind = PortErrorKind::Unauthorized;
                }
                Err(error)
            }
        }
    }

    /// Says who a message of so many bytes is from and for. Who is not taken is in the answer.
    ///
    /// # Errors
    /// The server takes nothing from this sender, nothing of that size, or nothing for anybody.
    pub(super) async fn envelope(
        &mut self,
        from: &Address,
        to: impl Iterator<Item = &Address>,
        bytes: usize,
    ) -> Result<Recipients, PortError> {
        let most =
            self.offer("SIZE").map(|words| words.first().and_then(|most| most.parse::<usize>().ok()).unwrap_or(0));
        if most.is_some_and(|most| most > 0 && bytes > most) {
            let why =
                format!("it takes messages of at most {} bytes, and this one has {bytes}", most.unwrap_or_default());
            return Err(PortError::new(PortErrorKind::Invalid, format!("{}: {why}", self.what)));
        }
        let size = if most.is_some() && bytes > 0 { format!(" SIZE={bytes}") } else { String::new() };
        let reply = self.command(&format!("MAIL FROM:<{from}>{size}")).await?;
        if !reply.is(2) {
            return Err(self.passing(&format!("the sender {from}"), &reply));
        }
        let mut recipients = Recipients::default();
        let mut first: Option<PortError> = None;
        for to in to {
            let reply = self.command(&format!("RCPT TO:<{to}>")).await?;
            if reply.is(2) {
                recipients.taken.push(to.to_string());
                continue;
            }
            let error = self.passing(&format!("the recipient {to}"), &reply);
            if reply.code == 421 {
                return Err(error);
            }
            let left = recipients.later.len() + recipients.refused.len();
            let said = if left < QUOTED { self.quoted(&reply) } else { reply.code.to_string() };
            let some = if error.is_transient() { &mut recipients.later } else { &mut recipients.refused };
            some.push(format!("{to} ({said})"));
            // Of several, one that may pass by itself: then it is worth another try.
            if first.as_ref().is_none_or(|first| !first.is_transient()) {
                first = Some(error);
            }
        }
        match first {
            Some(mut error) if recipients.taken.is_empty() => {
                if recipients.later.len() + recipients.refused.len() > 1 {
                    error.message = recipients.left(&self.what).map_or(error.message, |all| all.message);
                }
                Err(error)
            }
            _ => Ok(recipients),
        }
    }

    /// Hands over the message, for whom the server has taken.
    ///
    /// # Errors
    /// It did not take it, or nobody knows.
    pub(super) async fn message(&mut self, message: &[u8]) -> Result<(), PortError> {
        let reply = self.command("DATA").await?;
        if reply.code != 354 {
            return Err(self.passing("DATA", &reply));
        }
        self.write(&stuffed(message)).await?;
        let reply = self.reply().await?;
        if reply.is(2) { Ok(()) } else { Err(self.passing("the message", &reply)) }
    }

    /// Takes the envelope back: no message follows.
    ///
    /// # Errors
    /// The connection broke.
    pub(super) async fn forget(&mut self) -> Result<(), PortError> {
        self.command("RSET").await.map(drop)
    }

    /// Says goodbye; how it ends is nobody's concern.
    pub(super) async fn quit(&mut self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.command("QUIT")).await;
    }

    async fn command(&mut self, command: &str) -> Result<Reply, PortError> {
        // Nothing that is put into a command can hold a line break; if it ever does, it must not become two.
        if command.contains(['\r', '\n', '\0']) {
            return Err(PortError::new(PortErrorKind::Invalid, format!("{}: a command of two lines", self.what)));
        }
        self.write(format!("{command}\r\n").as_bytes()).await?;
        self.reply().await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| self.broken(&error.to_string()))
    }

    async fn reply(&mut self) -> Result<Reply, PortError> {
        let mut lines = Vec::new();
        let mut code = None;
        loop {
            let text = self.line().await?;
            let digits = text.get(..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
            let found = digits.and_then(|digits| digits.parse::<u16>().ok()).filter(|code| (200..600).contains(code));
            let ends = match text.as_bytes().get(3) {
                None | Some(b' ') => true,
                Some(b'-') => false,
                Some(_) => return Err(self.protocol("it does not speak SMTP: check `host` and `port`")),
            };
            match (found, code) {
                (Some(found), None) => code = Some(found),
                (Some(found), Some(code)) if found == code => {}
                _ => return Err(self.protocol("it does not speak SMTP: check `host`, `port` and `security`")),
            }
            lines.push(text.get(4..).unwrap_or_default().to_owned());
            if lines.len() > LINES {
                return Err(self.protocol("its reply has more lines than are read"));
            }
            if let (true, Some(code)) = (ends, code) {
                return Ok(Reply { code, lines });
            }
        }
    }

    async fn line(&mut self) -> Result<String, PortError> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.unread[seen..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=seen + at).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
            }
            seen = self.unread.len();
            if seen > LINE {
                return Err(self.protocol("a line of its reply is longer than is read"));
            }
            let mut chunk = [0; 1_024];
            match self.stream.read(&mut chunk).await {
                Ok(0) => return Err(self.broken("it closed the connection")),
                Ok(count) => self.unread.extend_from_slice(&chunk[..count]),
                Err(error) => return Err(self.broken(&error.to_string())),
            }
        }
    }

    fn broken(&self, why: &str) -> PortError {
        PortError::new(PortErrorKind::Unavailable, format!("{}: {why}", self.what))
    }

    fn protocol(&self, why: &str) -> PortError {
        PortError::new(PortErrorKind::Protocol, format!("{}: {why}", self.what))
    }

    fn refused(&self, what: &str, reply: &Reply) -> PortError {
        let kind = match reply.code {
            // Credentials: required, too weak, wrong, encryption needed (RFC 4954).
            530 | 534 | 535 | 538 => PortErrorKind::Unauthorized,
            400..500 => PortErrorKind::Unavailable,
            500..600 => PortErrorKind::Invalid,
            _ => PortErrorKind::Protocol,
        };
        PortError::new(kind, format!("{}: {what} was refused: {}", self.what, self.quoted(reply)))
    }

    /// The same of what is about this message and not about the connection: what may pass is worth waiting for.
    fn passing(&self, what: &str, reply: &Reply) -> PortError {
        let waits = reply.is(4) && reply.code != 421;
        self.refused(what, reply).with_retry_after(waits.then_some(LATER))
    }

    /// A reply for people: one line, bounded, without what it must not repeat.
    fn quoted(&self, reply: &Reply) -> String {
        let mut text = reply.lines.join(" ");
        for hidden in &self.hidden {
            text = text.replace(hidden.expose_secret(), "[redacted]");
        }
        let text = line(&text, 200);
        if text.is_empty() { reply.code.to_string() } else { format!("{} \"{text}\"", reply.code) }
    }
}

/// A message as it goes over the wire: a line that begins with a dot gets another one (RFC 5321, 4.5.2), and a line that
/// is one ends it.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut sent = Vec::with_capacity(message.len() + 64);
    let mut begins = true;
    for byte in message {
        if begins && *byte == b'.' {
            sent.push(b'.');
        }
        sent.push(*byte);
        begins = *byte == b'\n';
    }
    if !sent.ends_with(b"\r\n") {
        sent.extend_from_slice(b"\r\n");
    }
    sent.extend_from_slice(b".\r\n");
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_message_ends_it() {
        let text = |message: &str| String::from_utf8(stuffed(message.as_bytes())).unwrap();
        assert_eq!(text("a\r\n.\r\nRCPT TO:<x>\r\n"), "a\r\n..\r\nRCPT TO:<x>\r\n.\r\n");
        assert_eq!(text(".a"), "..a\r\n.\r\n");
        assert_eq!(text("a.b\r\n..c\r\n"), "a.b\r\n...c\r\n.\r\n");
    }

    /// Speaks to a server whose whole part is written down.
    async fn script(said: &str) -> Result<(), PortError> {
        let (ours, mut theirs) = tokio::io::duplex(256 * 1024);
        theirs.write_all(said.as_bytes()).await.unwrap();
        theirs.shutdown().await.unwrap();
        let keep = theirs;
        let mut dialogue = Dialogue::new("the server".into(), ours);
        let done = async {
            dialogue.greet("[127.0.0.1]").await?;
            dialogue.sign_in(Login { username: "ada".into(), password: "hunter2".into() }).await?;
            let (from, to): (Address, Address) = ("a@b.example".parse().unwrap(), "c@d.example".parse().unwrap());
            dialogue.envelope(&from, [&to].into_iter(), 1_000).await?;
            dialogue.message(b"Subject: x\r\n\r\nx\r\n").await
        };
        let done = done.await;
        drop(keep);
        done
    }

    #[tokio::test]
    async fn each_reply_means_what_the_protocol_says() {
        use PortErrorKind as K;
        let hello = "220 hi\r\n250-x\r\n250-SIZE 5000\r\n250 AUTH LOGIN PLAIN\r\n";
        let signed = format!("{hello}235 ok\r\n");
        script(&format!("{signed}250 ok\r\n250 ok\r\n354 go\r\n250 queued\r\n")).await.unwrap();
        script(&format!("{signed}250 ok\r\n251 forwarded\r\n354 go\r\n250-a\r\n250 queued\r\n")).await.unwrap();
        for (said, kind, part) in [
            ("554 no\r\n".to_owned(), K::Invalid, "the connection was refused: 554"),
            ("421 later\r\n".to_owned(), K::Unavailable, "421"),
            ("HTTP/1.1 400 Bad Request\r\n".to_owned(), K::Protocol, "does not speak SMTP"),
            ("\u{16}\u{3}\u{1}é\u{2}\r\n".to_owned(), K::Protocol, "does not speak SMTP"),
            ("220".to_owned(), K::Unavailable, "closed"),
            ("220 hi\r\n502 what\r\n".to_owned(), K::Invalid, "EHLO"),
            ("220 hi\r\n250-x\r\n251 y\r\n".to_owned(), K::Protocol, "does not speak SMTP"),
            ("220 hi\r\n250-x\r\n250-   \r\n250 AUTH\r\n".to_owned(), K::Protocol, "PLAIN or LOGIN is needed"),
            ("220 hi\r\n250 x\r\n".to_owned(), K::Protocol, "no AUTH"),
            (format!("{hello}535 5.7.8 bad\r\n"), K::Unauthorized, "535 \"5.7.8 bad\""),
            (format!("{hello}454 4.7.0 later\r\n"), K::Unavailable, "454"),
            (format!("{hello}504 what\r\n"), K::Unauthorized, "504"),
            (format!("{hello}334 more\r\n"), K::Protocol, "asks for more"),
            (format!("{hello}535 hunter2 aHVudGVyMg== AGFkYQBodW50ZXIy\r\n"), K::Unauthorized, "[redacted]"),
            (format!("{signed}530 5.7.0 first\r\n"), K::Unauthorized, "the sender a@b.example"),
            (format!("{signed}550 no\r\n"), K::Invalid, "550"),
            (format!("{signed}250 ok\r\n550 5.1.1 gone\r\n"), K::Invalid, "the recipient c@d.example was refused: 550"),
            (format!("{signed}250 ok\r\n451 4.7.1 grey\r\n"), K::Unavailable, "451"),
            (format!("{signed}250 ok\r\n250 ok\r\n451 no\r\n"), K::Unavailable, "DATA"),
            (
                format!("{signed}250 ok\r\n250 ok\r\n354 go\r\n452 full\r\n"),
                K::Unavailable,
                "the message was refused: 452",
            ),
            (format!("{signed}250 ok\r\n250 ok\r\n354 go\r\n554 spam hunter2\r\n"), K::Invalid, "554"),
            (format!("{signed}250 ok\r\n250 ok\r\n354 go\r\n"), K::Unavailable, "closed"),
            (
                "220 hi\r\n250-SIZE 10\r\n250-SIZE 10\r\n250 AUTH PLAIN\r\n235 ok\r\n".to_owned(),
                K::Invalid,
                "at most 10",
            ),
            (format!("220 {}", "x".repeat(100_000)), K::Protocol, "longer than is read"),
            (format!("220 hi\r\n{}", "250-x\r\n".repeat(5_000)), K::Protocol, "more lines"),
        ] {
            let error = script(&said).await.err().unwrap_or_else(|| panic!("{said}"));
            let text = error.to_string();
            assert!(error.kind == kind && text.contains(part), "{part}: {:?} {text}", error.kind);
            for secret in ["hunter2", "aHVudGVyMg", "AGFkYQBodW50ZXIy"] {
                assert!(!text.contains(secret), "{text}");
            }
        }
    }

    #[tokio::test]
    async fn what_comes_before_tls_is_never_taken_for_what_comes_after() {
        let (ours, mut theirs) = tokio::io::duplex(4_096);
        let injected = "220 hi\r\n250-x\r\n250 STARTTLS\r\n220 go\r\n250-x\r\n250 AUTH PLAIN\r\n235 ok\r\n";
        theirs.write_all(injected.as_bytes()).await.unwrap();
        let mut dialogue = Dialogue::over("the server".into(), ours);
        dialogue.greet("[127.0.0.1]").await.unwrap();
        let error = dialogue.starttls().await.err().unwrap();
        assert!(error.kind == PortErrorKind::Protocol && error.to_string().contains("before TLS began"), "{error}");
    }
}
