//! Other sides that no connector should have to meet: each call ends, by itself, within its deadline and its bounds.

use futures::future::join_all;

use super::servers::{self, Answer, Behaviour};
use super::{AMPLE, Bench, Call, Said, Skipped, ample};
use crate::plugin::Outbound;
use crate::ports::{CallContext, PortErrorKind, SecretHandle};

type Held = Result<(), Skipped>;

/// The most that an error may say.
const LONGEST: usize = 16 * 1024;

/// Every call of the connector, all at once, on a server that behaves like this.
async fn all_on(bench: &Bench, behaviour: Behaviour, cx: &CallContext) -> Vec<(Call, Said)> {
    let server = bench.hostile(behaviour).await;
    all_at(bench, &server.address, cx).await
}

async fn all_at(bench: &Bench, address: &str, cx: &CallContext) -> Vec<(Call, Said)> {
    let built = bench.at(address);
    let calls = bench.calls().into_iter().map(|call| {
        let (built, cx) = (built.clone(), cx.clone());
        async move {
            let said = bench.run(&call, &built, &cx).await;
            (call, said)
        }
    });
    join_all(calls).await
}

/// Those that cannot have succeeded have not.
fn failed(all: &[(Call, Said)], met: &str) {
    for (call, said) in all {
        assert!(said.failed.is_some() || !call.reaches, "{} succeeds with {met}: {}", call.name, said.text);
    }
}

/// What fails for a reason that may pass is said to be such.
fn transient(all: &[(Call, Said)], met: &str) {
    for (call, said) in all {
        let kind = said.failed.as_ref().and_then(|failed| failed.kind);
        let passes = matches!(
            kind,
            None | Some(PortErrorKind::Timeout | PortErrorKind::Unavailable | PortErrorKind::RateLimited)
        );
        assert!(passes || !call.reaches, "{}: {met} may pass, and is called {kind:?}: {}", call.name, said.text);
    }
}

/// A server that takes a request and says nothing: every call ends at its deadline.
pub async fn a_silent_server_ends_every_call_at_its_deadline(bench: Bench) -> Held {
    let all = all_on(&bench, Behaviour::Silent, &bench.tight()).await;
    failed(&all, "a server that says nothing");
    transient(&all, "a server that says nothing");
    Ok(())
}

/// A server that goes on for ever, a byte at a time: a deadline is for the whole of a call, not for each read.
pub async fn a_slow_server_ends_every_call_at_its_deadline(bench: Bench) -> Held {
    failed(&all_on(&bench, Behaviour::DripHead, &bench.tight()).await, "a head that never ends");
    for (call, said) in all_on(&bench, Behaviour::Drip, &bench.tight()).await {
        assert!(said.failed.is_some() || !call.reads, "{} makes a whole answer of the beginning of one", call.name);
    }
    Ok(())
}

/// A body or a head without end is not read to its end: memory has a bound, whatever the deadline.
pub async fn an_endless_answer_is_not_read_to_its_end(bench: Bench) -> Held {
    for behaviour in [Behaviour::EndlessBody, Behaviour::EndlessHeader] {
        for call in bench.calls() {
            let server = bench.hostile(behaviour.clone()).await;
            let said = bench.run(&call, &bench.at(&server.address), &ample()).await;
            assert!(
                !server.was_read_without_end(),
                "{} read {} MiB of an answer without end ({behaviour:?})",
                call.name,
                server.sent() >> 20
            );
            assert!(said.failed.is_some() || !call.reads, "{} makes a success of {behaviour:?}", call.name);
        }
    }
    Ok(())
}

/// Bytes of no protocol, a connection that ends without a word, an answer that ends before its end: errors.
pub async fn garbage_and_broken_answers_are_errors(bench: Bench) -> Held {
    for behaviour in [Behaviour::Garbage, Behaviour::HangsUp] {
        failed(&all_on(&bench, behaviour.clone(), &ample()).await, &format!("a server that does this: {behaviour:?}"));
    }
    for (call, said) in all_on(&bench, Behaviour::CutOff, &ample()).await {
        assert!(said.failed.is_some() || !call.reads, "{} makes half an answer a whole one: {}", call.name, said.text);
    }
    Ok(())
}

/// An answer that is none, though it comes with status 200: another type, broken JSON, nothing at all.
pub async fn an_answer_that_says_nothing_is_no_answer(bench: Bench) -> Held {
    let own = bench.connector().content_type();
    let deep = ["[", "{\"data\":"].map(|open| open.repeat(100_000));
    let bodies = [
        ("text/html", "<html><body><h1>Sign in</h1></body></html>".into()),
        (own, "<html><body><h1>Sign in</h1></body></html>".into()),
        (own, "{\"data\": [".into()),
        (own, "{}".into()),
        (own, "[]".into()),
        (own, "null".into()),
        (own, "\"\"".into()),
        (own, String::new()),
        (own, "\u{0}\u{0}\u{fffd}".into()),
        (own, deep[0].clone()),
        (own, deep[1].clone()),
        ("application/json", format!("{}{}", deep[0], "]".repeat(100_000))),
    ];
    for (content_type, body) in bodies {
        let shown: String = body.chars().take(40).collect();
        let answer = Answer::new(200, content_type, body);
        for (call, said) in all_on(&bench, Behaviour::Answer(answer), &ample()).await {
            assert!(
                said.failed.is_some() || !call.reads,
                "{} makes an answer of {content_type} {shown:?}: {}",
                call.name,
                said.text
            );
        }
    }
    Ok(())
}

/// A redirect leads nowhere: the address that was allowed is the one that is called.
pub async fn a_redirect_is_not_followed(bench: Bench) -> Held {
    let elsewhere = bench.hostile(Behaviour::Answer(Answer::new(200, "application/json", "{}"))).await;
    for status in [301, 302, 303, 307, 308] {
        let behaviour = Behaviour::Redirect { status, to: elsewhere.address.clone() };
        let all = all_on(&bench, behaviour, &ample()).await;
        assert_eq!(elsewhere.connections(), 0, "a redirect ({status}) is followed");
        failed(&all, &format!("a redirect ({status})"));
    }
    Ok(())
}

/// What a server says of an error is cut, and cannot paint on the terminal of whoever reads it.
pub async fn errors_are_bounded_and_plain(bench: Bench) -> Held {
    let text = format!("\u{1b}[31mit broke\u{1b}]0;title\u{7}\r\n\u{8}{}", "x".repeat(1 << 20));
    let json =
        serde_json::json!({ "error": { "message": text }, "message": text, "status": "error", "errors": [text] });
    for status in [400, 401, 404, 422, 500] {
        for (content_type, body) in [("application/json", json.to_string()), ("text/plain", text.clone())] {
            let answer = Answer::new(status, content_type, body);
            let all = all_on(&bench, Behaviour::Answer(answer), &ample()).await;
            failed(&all, &format!("status {status}"));
            for (call, said) in all {
                let message = said.failed.map(|failed| failed.message).unwrap_or_default();
                let length = message.len();
                assert!(length <= LONGEST, "{}: an error ({status}) of {length} bytes is for nobody", call.name);
                let odd = message.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
                assert_eq!(odd, None, "{}: an error ({status}) holds what a server wrote for a terminal", call.name);
            }
        }
    }
    Ok(())
}

/// Nobody listens: an error that may pass, and says so.
pub async fn a_refused_connection_is_an_error_that_may_pass(bench: Bench) -> Held {
    let all = all_at(&bench, &servers::nobody().await, &ample()).await;
    failed(&all, "nobody there");
    transient(&all, "nobody there");
    Ok(())
}

/// An address that the operator of the server does not allow is never called.
pub async fn an_address_that_is_not_allowed_is_never_called(bench: Bench) -> Held {
    let server = bench.hostile(Behaviour::Silent).await;
    let setup = bench.connector().connector(&server.address, &bench.secret);
    let secret = setup.secret.map_or_else(SecretHandle::none, |secret| SecretHandle::inline(secret.into()));
    let mut host = bench.connector().host();
    host.outbound = Outbound::default();
    if let Ok(built) = bench.build(setup.config, secret, host) {
        for call in bench.calls() {
            let said = bench.run(&call, &built, &bench.tight()).await;
            assert!(said.failed.is_some() || !call.reaches, "{} succeeds: {}", call.name, said.text);
        }
    }
    assert_eq!(server.connections(), 0, "it called an address of this machine, which is not allowed");
    Ok(())
}

/// Every call but an approved step, each on its silent server, ended by `end` once the server has met it.
async fn ended(bench: &Bench, dropped: bool) {
    for call in bench.calls().into_iter().filter(|call| !call.approved) {
        let server = bench.hostile(Behaviour::Silent).await;
        let built = bench.at(&server.address);
        let cx = CallContext::with_timeout(AMPLE * 10);
        let asked = tokio::spawn((call.run)(built, cx.clone()));
        let abort = asked.abort_handle();
        let mut asked = asked;
        let met = async {
            tokio::select! {
                // It may need nobody.
                _ = &mut asked => false,
                () = server.met() => true,
            }
        };
        let met = tokio::time::timeout(AMPLE, met).await;
        if !met.unwrap_or_else(|_| panic!("{} neither calls the server nor ends", call.name)) {
            continue;
        }
        if dropped {
            abort.abort();
        } else {
            cx.cancel.cancel();
            let said = tokio::time::timeout(bench.patience(), asked).await;
            let said = said.unwrap_or_else(|_| panic!("{} goes on after its caller went away", call.name));
            let said = said.unwrap_or_else(|error| panic!("{}: {error}", call.name));
            assert!(said.failed.is_some() || !call.reaches, "{} was cancelled and succeeds: {}", call.name, said.text);
        }
        let left = tokio::time::timeout(bench.patience(), server.alone()).await;
        assert!(left.is_ok(), "{}: its caller went away, and its connection is still there", call.name);
    }
}

/// A caller that goes away ends what it asked for at once, and leaves no connection behind.
pub async fn cancelling_ends_a_call_promptly(bench: Bench) -> Held {
    ended(&bench, false).await;
    Ok(())
}

/// A call that is dropped leaves no connection, and with it no child process, behind.
pub async fn a_dropped_call_leaves_nothing_running(bench: Bench) -> Held {
    ended(&bench, true).await;
    Ok(())
}
