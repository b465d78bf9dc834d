//! Secrets: they are looked up at each call, and nothing that the connector says or logs holds one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::future::join_all;
use secrecy::SecretString;

use super::servers::Behaviour;
use super::{Bench, Skipped, ample, secret};
use crate::plugin::SecretUse;
use crate::ports::{PortError, PortErrorKind, SecretHandle, SecretResolver};
use crate::step::Effect;

type Held = Result<(), Skipped>;

/// Asserts that nothing so far has told the secret.
fn untold(bench: &Bench, what: &str, text: &str) {
    if let Some(form) = secret::found(text, &bench.secret) {
        panic!("{what} tells the secret {form}: {}", text.replace(&bench.secret, "«the secret»"));
    }
    if let Some(form) = secret::found(&bench.logs.text(), &bench.secret) {
        let logs = bench.logs.text();
        let line = logs.lines().find(|line| secret::found(line, &bench.secret).is_some()).unwrap_or_default();
        panic!("{what}: a log tells the secret {form}: {}", line.replace(&bench.secret, "«the secret»"));
    }
}

/// Rule 12: no output, no report and no log of a connector at work holds its secret.
pub async fn rule_12_a_secret_is_in_nothing_that_is_said_or_logged(bench: Bench) -> Held {
    let served = bench.served().await;
    let built = bench.at(&served.address);
    for call in bench.calls() {
        let said = bench.run(&call, &built, &ample()).await;
        untold(&bench, &call.name, &said.text);
    }
    Ok(())
}

/// Rule 12, where it is hardest: a server that says back all that it was sent.
pub async fn rule_12_a_secret_that_a_server_says_back_is_in_no_error_and_no_log(bench: Bench) -> Held {
    for (status, json) in
        [(200, true), (400, true), (401, false), (403, true), (404, false), (422, true), (500, false), (503, true)]
    {
        let server = bench.hostile(Behaviour::Echo { status, json }).await;
        let built = bench.at(&server.address);
        let said = join_all(bench.calls().into_iter().map(|call| {
            let (bench, built, cx) = (&bench, built.clone(), ample());
            async move { (call.name.clone(), bench.run(&call, &built, &cx).await) }
        }));
        for (name, said) in said.await {
            untold(&bench, &format!("{name}, answered {status} with its own request,"), &said.text);
        }
    }
    Ok(())
}

/// Rule 12 while nothing works: nobody there, and somebody who says nothing.
pub async fn rule_12_a_secret_is_in_no_error_when_nothing_works(bench: Bench) -> Held {
    let silent = bench.hostile(Behaviour::Silent).await;
    let nobody = super::servers::nobody().await;
    for address in [&nobody, &silent.address] {
        let built = bench.at(address);
        for call in bench.calls() {
            let said = bench.run(&call, &built, &bench.tight()).await;
            untold(&bench, &call.name, &said.text);
        }
    }
    Ok(())
}

/// A secret that cannot be had ends a call with the reason, before anything is sent.
pub async fn without_its_secret_it_sends_nothing(bench: Bench) -> Held {
    const REASON: &str = "the conformance vault is sealed";
    if bench.connector().connector("http://127.0.0.1:9", &bench.secret).secret.is_none() {
        return Ok(());
    }
    let server = bench.hostile(Behaviour::Silent).await;
    let setup = bench.connector().connector(&server.address, &bench.secret);
    let mut handles = vec![SecretHandle::broken(REASON)];
    if matches!(bench.connector().registration().secret(), SecretUse::Required(_)) {
        handles.push(SecretHandle::none());
    }
    for handle in handles {
        let built = bench.build(setup.config.clone(), handle.clone(), bench.connector().host());
        let built = built.unwrap_or_else(|error| panic!("it is not built without its secret at hand: {error}"));
        for call in bench.calls() {
            let said = bench.run(&call, &built, &bench.tight()).await;
            let Some(failed) = said.failed else {
                assert!(!call.reaches, "{} succeeds without its secret: {}", call.name, said.text);
                continue;
            };
            if let Some(step) = failed.step.filter(|_| call.approved) {
                assert_eq!(step.effect, Effect::NotStarted, "{}: nothing was sent: {}", call.name, step.message);
            }
            if format!("{handle:?}").contains("broken") {
                assert!(
                    failed.message.contains(REASON),
                    "{}: the error does not say why the secret cannot be had: {}",
                    call.name,
                    failed.message
                );
            }
        }
    }
    assert_eq!(server.connections(), 0, "it called the server without a secret");
    Ok(())
}

/// A resolver that counts.
struct Counting {
    value: String,
    asked: AtomicUsize,
}

#[async_trait]
impl SecretResolver for Counting {
    fn scheme(&self) -> &'static str {
        "conformance"
    }

    async fn resolve(&self, _: &str) -> Result<SecretString, PortError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.value.is_empty() {
            return Err(PortError::new(PortErrorKind::Unauthorized, "there is no such secret"));
        }
        Ok(self.value.clone().into())
    }
}

/// The secret is looked up at every call, so that one that was rotated counts at once.
pub async fn the_secret_is_resolved_at_every_call(bench: Bench) -> Held {
    let served = bench.served().await;
    let setup = bench.connector().connector(&served.address, &bench.secret);
    let Some(value) = setup.secret else { return Ok(()) };
    let resolver = Arc::new(Counting { value, asked: AtomicUsize::new(0) });
    let handle = SecretHandle::reference(resolver.clone(), "conformance://secret".into());
    let built = bench.build(setup.config, handle, bench.connector().host());
    let built = built.unwrap_or_else(|error| panic!("it is not built with a referenced secret: {error}"));
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 0, "building looks the secret up");
    for call in bench.calls() {
        let (mut before, mut asked) = (resolver.asked.load(Ordering::SeqCst), Vec::new());
        for _ in 0..2 {
            bench.run(&call, &built, &ample()).await;
            let after = resolver.asked.load(Ordering::SeqCst);
            asked.push(after - std::mem::replace(&mut before, after));
        }
        // A call that needs no secret needs none the second time either.
        assert!(asked[0] == 0 || asked[1] > 0, "{} keeps a secret from an earlier call", call.name);
    }
    assert!(resolver.asked.load(Ordering::SeqCst) > 0, "the secret is never looked up");
    Ok(())
}
