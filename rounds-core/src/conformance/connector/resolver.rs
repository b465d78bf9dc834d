//! What a [`SecretResolver`] must do.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use secrecy::ExposeSecret as _;

use super::servers::{self, Answer, Behaviour, Server};
use super::{Bench, Skipped, Subject, secret, suite};
use crate::ports::{PortError, PortErrorKind, SecretResolver};

type Held = Result<(), Skipped>;

/// A resolver and where its secrets are, for as long as this lives.
pub struct Planted {
    resolver: Arc<dyn SecretResolver>,
    plant: Box<dyn Fn(String) -> BoxFuture<'static, String> + Send + Sync>,
    _keep: Box<dyn std::any::Any + Send + Sync>,
}

impl Planted {
    /// `plant` puts a value where the resolver finds it, in place of the one before, and says its reference.
    pub fn new<F>(
        resolver: impl SecretResolver + 'static,
        plant: impl Fn(String) -> F + Send + Sync + 'static,
        keep: impl Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = String> + Send + 'static,
    {
        Self {
            resolver: Arc::new(resolver),
            plant: Box::new(move |value| Box::pin(plant(value))),
            _keep: Box::new(keep),
        }
    }
}

/// A [`SecretResolver`] before the kit.
#[async_trait]
pub trait ResolverSubject: Send + Sync + 'static {
    /// A resolver, and a way of putting secrets where it finds them.
    async fn planted(&self) -> Planted;

    /// References of its scheme to secrets that are not there.
    fn missing(&self) -> Vec<String>;

    /// References of its scheme that are malformed, each in another way.
    fn malformed(&self) -> Vec<String>;

    /// A resolver that asks a server at that address, with this credential of its own, and a reference to ask for; `None`: it
    /// asks no server.
    fn remote(&self, at: &str, credential: &str) -> Option<(Arc<dyn SecretResolver>, String)>;

    /// After how long a resolver is taken for one that never ends. The port gives it no deadline, so it has one of its own.
    fn patience(&self) -> Duration {
        Duration::from_secs(120)
    }

    /// As [`ConnectorSubject::waived`](super::ConnectorSubject::waived).
    fn waived(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
}

fn subject(bench: &Bench) -> &dyn ResolverSubject {
    match &bench.subject {
        Subject::Resolver(subject) => &**subject,
        _ => panic!("the subject is no resolver"),
    }
}

suite! {
    ($)
    /// The behaviour suite of a [`SecretResolver`](crate::ports::SecretResolver), as tests of the crate that implements one. It
    /// takes a [`ResolverSubject`](crate::conformance::connector::ResolverSubject), which each test makes anew; `strict:` before it lets nothing
    /// be skipped without a written reason.
    ///
    /// ```ignore
    /// rounds_core::secret_resolver_conformance!(strict: Keyring);
    /// ```
    secret_resolver_conformance, hold_resolver, ResolverSubject, Resolver;
    a_planted_secret_is_resolved_and_a_new_one_at_once,
    rule_12_a_resolved_secret_is_in_no_debug_and_no_log,
    a_missing_secret_is_an_error_that_names_the_reference,
    a_malformed_reference_is_refused,
    a_reference_of_another_scheme_is_refused,
    a_resolver_ends_by_itself_whatever_its_server_does,
    a_resolver_reads_no_answer_without_end,
    a_resolver_follows_no_redirect,
    a_resolver_makes_no_secret_of_an_error,
    rule_12_what_a_resolver_sent_is_in_no_error_and_no_log,
}

/// What is there is found, as it is; and what took its place is found at the next call.
pub async fn a_planted_secret_is_resolved_and_a_new_one_at_once(bench: Bench) -> Held {
    let planted = subject(&bench).planted().await;
    let scheme = planted.resolver.scheme();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    assert!(!scheme.is_empty() && scheme.chars().all(plain), "`{scheme}` is no scheme");
    for _ in 0..3 {
        let value = secret::planted();
        let reference = (planted.plant)(value.clone()).await;
        assert!(reference.starts_with(&format!("{scheme}://")), "`{reference}` is of another scheme than `{scheme}`");
        let found = planted.resolver.resolve(&reference).await;
        let found = found.unwrap_or_else(|error| panic!("{reference} is there, and is not resolved: {error}"));
        assert_eq!(found.expose_secret(), value, "{reference}: another value than the one that is there now");
    }
    Ok(())
}

/// Rule 12: what was resolved is told by no Debug and no log.
pub async fn rule_12_a_resolved_secret_is_in_no_debug_and_no_log(bench: Bench) -> Held {
    let planted = subject(&bench).planted().await;
    let reference = (planted.plant)(bench.secret.clone()).await;
    let found = planted.resolver.resolve(&reference).await;
    let shown = format!("{found:?}");
    assert_eq!(secret::found(&shown, &bench.secret), None, "what is resolved shows the secret in Debug");
    assert_eq!(secret::found(&bench.logs.text(), &bench.secret), None, "a log tells what was resolved");
    Ok(())
}

/// What an error says, as Display and as Debug.
fn shown(error: &PortError) -> String {
    format!("{error} {error:?}")
}

/// A secret that is not there: the error names the reference.
pub async fn a_missing_secret_is_an_error_that_names_the_reference(bench: Bench) -> Held {
    let planted = subject(&bench).planted().await;
    (planted.plant)(bench.secret.clone()).await;
    let missing = subject(&bench).missing();
    if missing.is_empty() {
        return Err(Skipped::for_want_of("reference to a secret that is not there"));
    }
    for reference in missing {
        let error = planted.resolver.resolve(&reference).await.map(|_| ()).expect_err(&reference);
        assert!(error.message.contains(&reference), "the error does not name `{reference}`: {error}");
        assert!(!error.is_transient(), "`{reference}` is not there, and that does not pass: {error}");
        assert_eq!(secret::found(&shown(&error), &bench.secret), None, "the error tells another secret");
    }
    Ok(())
}

/// A reference that is none is refused, whatever lies near it.
pub async fn a_malformed_reference_is_refused(bench: Bench) -> Held {
    let planted = subject(&bench).planted().await;
    let real = (planted.plant)(bench.secret.clone()).await;
    let mut malformed = subject(&bench).malformed();
    if malformed.is_empty() {
        return Err(Skipped::for_want_of("malformed reference"));
    }
    malformed.extend([format!("{}://", planted.resolver.scheme()), format!("{real}\n"), format!("{real}\0")]);
    for reference in malformed {
        match planted.resolver.resolve(&reference).await {
            Ok(_) => panic!("{reference:?} is malformed, and is resolved"),
            Err(error) => {
                let kind = error.kind;
                let lasting = matches!(kind, PortErrorKind::Invalid | PortErrorKind::Unauthorized);
                assert!(lasting, "{reference:?} is malformed, which is no {kind:?}: {error}");
                assert!(error.message.len() >= 8, "{reference:?}: the error does not say what is accepted: {error}");
                assert_eq!(secret::found(&shown(&error), &bench.secret), None, "the error tells a secret");
            }
        }
    }
    Ok(())
}

/// A resolver reads what is of its own scheme, and nothing else.
pub async fn a_reference_of_another_scheme_is_refused(bench: Bench) -> Held {
    let planted = subject(&bench).planted().await;
    let real = (planted.plant)(bench.secret.clone()).await;
    let (_, rest) = real.split_once("://").expect("a reference");
    let others = [
        format!("conformance://{rest}"),
        format!("http://{rest}"),
        format!("://{rest}"),
        rest.to_owned(),
        String::new(),
    ];
    for reference in others {
        let resolved = planted.resolver.resolve(&reference).await;
        assert!(resolved.is_err(), "{reference:?} is of another scheme, and is resolved");
    }
    Ok(())
}

/// Asks a resolver on a server that behaves like this; `None`: it asks no server.
async fn asked(bench: &Bench, address: &str) -> Option<Result<String, PortError>> {
    let (resolver, reference) = subject(bench).remote(address, &bench.secret)?;
    // The port gives no deadline, so the resolver has one of its own.
    let within = tokio::time::timeout(bench.patience(), resolver.resolve(&reference)).await;
    let resolved = within.unwrap_or_else(|_| {
        panic!("it was not back after {:?}: a resolver has a deadline of its own", bench.patience())
    });
    Some(resolved.map(|found| found.expose_secret().to_owned()))
}

async fn server(behaviour: Behaviour) -> Server {
    Server::new(behaviour, b"", "application/json").await
}

/// Silent, slow, garbled, gone: the resolver is back with an error, and one that may pass if nobody answered.
pub async fn a_resolver_ends_by_itself_whatever_its_server_does(bench: Bench) -> Held {
    let nobody = servers::nobody().await;
    let Some(gone) = asked(&bench, &nobody).await else { return Ok(()) };
    let error = gone.expect_err("nobody is there");
    assert!(error.is_transient(), "nobody there may pass, and is called {:?}: {error}", error.kind);
    let hostile = [
        Behaviour::Silent,
        Behaviour::Drip,
        Behaviour::DripHead,
        Behaviour::Garbage,
        Behaviour::HangsUp,
        Behaviour::CutOff,
    ];
    let all = hostile.into_iter().map(|behaviour| async {
        let shown = format!("{behaviour:?}");
        let server = server(behaviour).await;
        (shown, asked(&bench, &server.address).await)
    });
    for (behaviour, resolved) in futures::future::join_all(all).await {
        assert!(resolved.is_some_and(|resolved| resolved.is_err()), "{behaviour} gives a secret");
    }
    Ok(())
}

/// An answer without end is not read to its end.
pub async fn a_resolver_reads_no_answer_without_end(bench: Bench) -> Held {
    for behaviour in [Behaviour::EndlessBody, Behaviour::EndlessHeader] {
        let server = server(behaviour).await;
        let Some(resolved) = asked(&bench, &server.address).await else { return Ok(()) };
        assert!(resolved.is_err(), "an answer without end gives a secret");
        assert!(!server.was_read_without_end(), "it read {} MiB of an answer without end", server.sent() >> 20);
    }
    Ok(())
}

/// A redirect would carry a credential elsewhere, or fetch a secret from there.
pub async fn a_resolver_follows_no_redirect(bench: Bench) -> Held {
    let elsewhere = server(Behaviour::Answer(Answer::new(200, "application/json", "{}"))).await;
    for status in [301, 302, 303, 307, 308] {
        let server = server(Behaviour::Redirect { status, to: elsewhere.address.clone() }).await;
        let Some(resolved) = asked(&bench, &server.address).await else { return Ok(()) };
        assert!(resolved.is_err(), "a redirect ({status}) gives a secret");
        assert_eq!(elsewhere.connections(), 0, "a redirect ({status}) is followed");
    }
    Ok(())
}

/// What is no secret is not made one: error statuses, pages, broken JSON, nothing.
pub async fn a_resolver_makes_no_secret_of_an_error(bench: Bench) -> Held {
    let page = "<html><h1>Sign in</h1></html>";
    for (status, content_type, body) in [
        (200, "text/html", page),
        (200, "application/json", page),
        (200, "application/json", "{}"),
        (200, "application/json", "[]"),
        (200, "application/json", "null"),
        (200, "application/json", ""),
        (400, "application/json", "{\"errors\":[]}"),
        (403, "application/json", "{\"errors\":[\"permission denied\"]}"),
        (404, "application/json", "{\"errors\":[]}"),
        (500, "text/plain", "it broke"),
        (503, "application/json", "{\"errors\":[\"sealed\"]}"),
    ] {
        let server = server(Behaviour::Answer(Answer::new(status, content_type, body))).await;
        let Some(resolved) = asked(&bench, &server.address).await else { return Ok(()) };
        assert!(resolved.is_err(), "{status} {content_type} {body:?} gives the secret {resolved:?}");
    }
    Ok(())
}

/// Rule 12: a server that says back what it was sent does not make the resolver's own credential public.
pub async fn rule_12_what_a_resolver_sent_is_in_no_error_and_no_log(bench: Bench) -> Held {
    for (status, json) in [(400, true), (401, false), (403, true), (404, true), (500, false)] {
        let server = server(Behaviour::Echo { status, json }).await;
        let Some(resolved) = asked(&bench, &server.address).await else { return Ok(()) };
        let error = resolved.map(|_| ()).expect_err("an error is no secret");
        assert_eq!(secret::found(&shown(&error), &bench.secret), None, "the error ({status}) tells its credential");
        assert_eq!(secret::found(&bench.logs.text(), &bench.secret), None, "a log ({status}) tells its credential");
    }
    Ok(())
}
