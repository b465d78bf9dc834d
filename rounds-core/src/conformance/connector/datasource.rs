//! What a [`Datasource`] must do.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::answered::*;
use super::config::*;
use super::hostile::*;
use super::secrets::*;
use super::servers::Behaviour;
use super::{Bench, Call, ConnectorSubject, Said, Skipped, Subject, ample, assert_role, suite};
use crate::connector::Role;
use crate::plugin::Built;
use crate::ports::{DataSet, Datasource, PortErrorKind, Query};
use crate::time::Timestamp;

type Held = Result<(), Skipped>;

/// A [`Datasource`] before the kit. Its server's effects are whatever a query must not cause: writes.
#[async_trait]
pub trait DatasourceSubject: ConnectorSubject {
    /// Queries that the faithful server answers with something, one of each kind at least that the datasource speaks.
    fn queries(&self) -> Vec<Query>;

    /// Queries that nobody can answer: malformed expressions, a step of nothing, an end before its start.
    fn malformed(&self) -> Vec<Query>;

    /// A query to which the faithful server has more to say than the datasource reads.
    fn too_much(&self) -> Option<Query>;
}

/// Every way of asking a datasource for something.
pub(super) fn calls(subject: &dyn DatasourceSubject) -> Vec<Call> {
    let queries = subject.queries().into_iter().enumerate();
    let calls = queries.map(|(at, query)| Call {
        name: format!("query {at}"),
        reaches: true,
        reads: true,
        approved: false,
        run: Box::new(move |built, cx| {
            let query = query.clone();
            Box::pin(async move { Said::of(port(&built).query(&cx, &query).await) })
        }),
    });
    calls.collect()
}

fn port(built: &Built) -> Arc<dyn Datasource> {
    match built {
        Built::Datasource(port) => Arc::clone(port),
        other => panic!("a datasource is expected, and this is {other:?}"),
    }
}

fn subject(bench: &Bench) -> &dyn DatasourceSubject {
    assert_role(bench, Role::Datasource);
    match &bench.subject {
        Subject::Datasource(subject) => &**subject,
        _ => panic!("the subject is no datasource"),
    }
}

suite! {
    ($)
    /// The behaviour suite of a [`Datasource`](crate::ports::Datasource), as tests of the crate that implements one. It takes
    /// a [`DatasourceSubject`](crate::conformance::connector::DatasourceSubject), which each test makes anew; `strict:` before it lets
    /// nothing be skipped without a written reason.
    ///
    /// ```ignore
    /// rounds_core::datasource_conformance!(strict: Graphite);
    /// ```
    datasource_conformance, hold_datasource, DatasourceSubject, Datasource;
    the_config_schema_is_an_object_that_takes_nothing_else,
    every_config_field_is_explained,
    the_documented_config_is_built,
    an_unknown_config_field_is_refused_by_name,
    a_config_value_of_another_type_is_refused_with_its_field,
    a_required_config_field_that_is_missing_is_named,
    building_connects_to_nothing,
    rule_12_a_secret_is_in_nothing_that_is_said_or_logged,
    rule_12_a_secret_that_a_server_says_back_is_in_no_error_and_no_log,
    rule_12_a_secret_is_in_no_error_when_nothing_works,
    without_its_secret_it_sends_nothing,
    the_secret_is_resolved_at_every_call,
    a_silent_server_ends_every_call_at_its_deadline,
    a_slow_server_ends_every_call_at_its_deadline,
    an_endless_answer_is_not_read_to_its_end,
    garbage_and_broken_answers_are_errors,
    an_answer_that_says_nothing_is_no_answer,
    a_redirect_is_not_followed,
    errors_are_bounded_and_plain,
    a_refused_connection_is_an_error_that_may_pass,
    an_address_that_is_not_allowed_is_never_called,
    cancelling_ends_a_call_promptly,
    a_dropped_call_leaves_nothing_running,
    statuses_have_their_kinds,
    what_the_other_side_asks_for_is_passed_on,
    nothing_is_tried_twice,
    queries_are_answered_and_change_nothing,
    it_answers_the_kinds_that_it_describes_and_refuses_the_others,
    a_malformed_query_is_refused_as_invalid,
    what_is_left_out_is_said,
}

/// Whether an answer holds anything.
fn says_something(answer: &DataSet) -> bool {
    !answer.series.is_empty() || !answer.lines.is_empty() || !answer.names.is_empty()
}

/// On a faithful server everything works, and nothing is changed by it.
pub async fn queries_are_answered_and_change_nothing(bench: Bench) -> Held {
    let queries = subject(&bench).queries();
    if queries.is_empty() {
        return Err(Skipped::for_want_of("query"));
    }
    let served = bench.served().await;
    let before = served.effects();
    let port = port(&bench.at(&served.address));
    let report = port.check(&ample()).await;
    let report = report.unwrap_or_else(|error| panic!("`check` fails on a faithful server: {error}"));
    assert!(!report.message.trim().is_empty(), "`check` does not say what was reached");
    for query in queries {
        let answer = port.query(&ample(), &query).await;
        let answer = answer.unwrap_or_else(|error| panic!("{query:?} fails on a faithful server: {error}"));
        assert!(says_something(&answer), "{query:?} is answered with nothing");
        for series in &answer.series {
            let ordered = series.points.windows(2).all(|pair| pair[0].at <= pair[1].at);
            assert!(ordered, "{query:?}: the points of a series are in order of time");
        }
    }
    assert_eq!(served.effects(), before, "a query has changed something");
    Ok(())
}

/// A query of each kind that there is.
fn one_of_each() -> [(&'static str, Query); 5] {
    let (start, end) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + Duration::from_secs(3600));
    let expr = String::from("up");
    [
        ("metrics", Query::Instant { expr: expr.clone(), at: None }),
        ("metrics", Query::Range { expr: expr.clone(), start, end, step: Duration::from_secs(60) }),
        ("labels", Query::Labels { label: None, matchers: Vec::new() }),
        ("logs", Query::Logs { expr, start, end, limit: 10 }),
        ("changes", Query::Changes { start, end, namespace: None }),
    ]
}

fn kind(query: &Query) -> &'static str {
    match query {
        Query::Instant { .. } | Query::Range { .. } => "metrics",
        Query::Labels { .. } => "labels",
        Query::Logs { .. } => "logs",
        Query::Changes { .. } => "changes",
    }
}

/// A kind of query that it does not describe is refused as invalid, and nobody is asked; each that it does is in the samples.
pub async fn it_answers_the_kinds_that_it_describes_and_refuses_the_others(bench: Bench) -> Held {
    let server = bench.hostile(Behaviour::Silent).await;
    let port = port(&bench.at(&server.address));
    let info = port.describe();
    assert!(!info.language.trim().is_empty(), "it does not say its query language");
    let described = [("metrics", info.metrics), ("logs", info.logs), ("changes", info.changes)];
    assert!(described.iter().any(|(_, answers)| *answers), "it describes no kind of query");
    for (kind_of, answers) in described {
        let sampled = subject(&bench).queries().iter().any(|query| kind(query) == kind_of);
        assert_eq!(sampled, answers, "whether it answers {kind_of} by its description, and by the samples");
        if answers {
            continue;
        }
        for (_, query) in one_of_each().into_iter().filter(|(of, _)| *of == kind_of) {
            match port.query(&bench.tight(), &query).await {
                Ok(answer) => panic!("it does not speak {query:?}, and answers {answer:?}"),
                Err(error) => {
                    assert_eq!(error.kind, PortErrorKind::Invalid, "{query:?}: {error}");
                    assert!(error.message.len() >= 8, "{query:?}: the error does not say what is accepted: {error}");
                }
            }
        }
    }
    assert_eq!(server.connections(), 0, "it asked the server what it does not speak");
    Ok(())
}

/// What nobody can answer is invalid: asking again changes nothing.
pub async fn a_malformed_query_is_refused_as_invalid(bench: Bench) -> Held {
    let malformed = subject(&bench).malformed();
    if malformed.is_empty() {
        return Err(Skipped::for_want_of("malformed query"));
    }
    let served = bench.served().await;
    let port = port(&bench.at(&served.address));
    for query in malformed {
        match port.query(&ample(), &query).await {
            Ok(answer) => panic!("{query:?} is answered: {answer:?}"),
            Err(error) => assert_eq!(error.kind, PortErrorKind::Invalid, "{query:?}: {error}"),
        }
    }
    Ok(())
}

/// More than is read is either cut and said to be, or refused.
pub async fn what_is_left_out_is_said(bench: Bench) -> Held {
    let Some(query) = subject(&bench).too_much() else {
        return Err(Skipped::for_want_of("query whose answer is too much"));
    };
    let served = bench.served().await;
    match port(&bench.at(&served.address)).query(&ample(), &query).await {
        Ok(answer) => {
            assert!(answer.truncated, "{query:?} has more to its answer than is read, and `truncated` is not set");
            assert!(says_something(&answer), "{query:?}: nothing at all is left");
        }
        Err(error) => {
            let says = matches!(error.kind, PortErrorKind::Invalid | PortErrorKind::Protocol);
            assert!(says, "too much of an answer is no {:?}: asking again changes nothing: {error}", error.kind);
        }
    }
    Ok(())
}
