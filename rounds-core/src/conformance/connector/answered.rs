//! What statuses of HTTP mean to whoever may ask again, and that only they do.

use super::servers::{Answer, Behaviour};
use super::{Bench, Failed, Skipped, ample};
use crate::ports::PortErrorKind;

type Held = Result<(), Skipped>;

/// Calls that need an answer, each on a server of its own that gives this one: what became of them, and what was asked.
async fn all_answered(bench: &Bench, answer: Answer) -> Vec<(String, Failed, Vec<String>)> {
    let mut all = Vec::new();
    for call in bench.calls().into_iter().filter(|call| call.reaches) {
        let server = bench.hostile(Behaviour::Answer(answer.clone())).await;
        let said = bench.run(&call, &bench.at(&server.address), &ample()).await;
        let failed = said.failed.unwrap_or_else(|| panic!("{} takes {} for success", call.name, answer.status));
        all.push((call.name, failed, server.requests()));
    }
    all
}

/// A status decides whether anybody asks again: credentials, a wrong request and a busy server are three things.
pub async fn statuses_have_their_kinds(bench: Bench) -> Held {
    for status in [400, 401, 403, 404, 405, 408, 429, 500, 502, 503, 504] {
        let answer = Answer::new(status, bench.connector().content_type(), "{}");
        for (name, failed, _) in all_answered(&bench, answer).await {
            let kind = failed.kind;
            let fits = match status {
                401 | 403 => kind == Some(PortErrorKind::Unauthorized),
                429 => kind == Some(PortErrorKind::RateLimited),
                408 | 500.. => matches!(
                    kind,
                    Some(PortErrorKind::Unavailable | PortErrorKind::RateLimited | PortErrorKind::Timeout)
                ),
                _ => {
                    matches!(kind, Some(PortErrorKind::Invalid | PortErrorKind::Protocol | PortErrorKind::Unauthorized))
                }
            };
            assert!(fits, "{name}: status {status} is called {kind:?}: {}", failed.message);
        }
    }
    Ok(())
}

/// How long the other side asks to be left alone is passed on.
pub async fn what_the_other_side_asks_for_is_passed_on(bench: Bench) -> Held {
    let mut answer = Answer::new(429, bench.connector().content_type(), "{}");
    answer.headers = "retry-after: 17\r\n";
    for (name, failed, _) in all_answered(&bench, answer).await {
        let asked = failed.retry_after.map(|delay| delay.as_secs());
        assert_eq!(asked, Some(17), "{name}: the server asked to be left alone for 17 s ({})", failed.message);
    }
    Ok(())
}

/// Trying again is its caller's to decide: no request is sent twice.
pub async fn nothing_is_tried_twice(bench: Bench) -> Held {
    for status in [429, 500, 503] {
        let answer = Answer::new(status, bench.connector().content_type(), "{}");
        for (name, _, requests) in all_answered(&bench, answer).await {
            assert_eq!(requests.len(), 1, "{name}: it was answered {status}, and asks again: {requests:#?}");
        }
    }
    for call in bench.calls().into_iter().filter(|call| call.reaches) {
        let server = bench.hostile(Behaviour::CutOff).await;
        bench.run(&call, &bench.at(&server.address), &ample()).await;
        let asked = server.requests().len();
        assert!(asked <= 1, "{}: its answer was cut off, and it asks again: {asked} times", call.name);
    }
    Ok(())
}
