//! What a [`Model`] must do.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use super::answered::*;
use super::config::*;
use super::hostile::*;
use super::proxy::{Loss, Proxy};
use super::secrets::*;
use super::{Bench, Call, ConnectorSubject, Said, Skipped, Subject, ample, assert_role, suite};
use crate::connector::Role;
use crate::plugin::Built;
use crate::ports::{CompletionRequest, Message, Model, ToolSpec};

type Held = Result<(), Skipped>;

/// A [`Model`] before the kit. The effects of its server are the completions that were begun, each counted before the first
/// byte of its answer.
#[async_trait]
pub trait ModelSubject: ConnectorSubject {}

fn request() -> CompletionRequest {
    let question = Message::User { text: "Say something.".into() };
    let schema = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    let tool = ToolSpec { name: "look".into(), description: "Looks.".into(), schema };
    CompletionRequest::new("You are looked at.", vec![question], 64).with_tools(vec![tool])
}

/// Every way of asking a model for something.
pub(super) fn calls(_: &dyn ModelSubject) -> Vec<Call> {
    vec![Call {
        name: "complete".into(),
        reaches: true,
        reads: true,
        approved: false,
        run: Box::new(|built, cx| Box::pin(async move { Said::of(port(&built).complete(&cx, &request()).await) })),
    }]
}

fn port(built: &Built) -> Arc<dyn Model> {
    match built {
        Built::Model(port) => Arc::clone(port),
        other => panic!("a model is expected, and this is {other:?}"),
    }
}

fn subject(bench: &Bench) -> &dyn ModelSubject {
    assert_role(bench, Role::Model);
    match &bench.subject {
        Subject::Model(subject) => &**subject,
        _ => panic!("the subject is no model"),
    }
}

suite! {
    ($)
    /// The behaviour suite of a [`Model`](crate::ports::Model), as tests of the crate that implements one. It takes a
    /// [`ModelSubject`](crate::conformance::connector::ModelSubject), which each test makes anew; `strict:` before it lets nothing be skipped
    /// without a written reason.
    ///
    /// ```ignore
    /// rounds_core::model_conformance!(strict: Local);
    /// ```
    model_conformance, hold_model, ModelSubject, Model;
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
    a_conversation_is_completed_in_one_request,
    testing_the_connection_works,
    an_answer_that_was_cut_off_is_no_shorter_answer,
}

/// A faithful server completes a conversation, in one request.
pub async fn a_conversation_is_completed_in_one_request(bench: Bench) -> Held {
    subject(&bench);
    let served = bench.served().await;
    let before = served.effects();
    let port = port(&bench.at(&served.address));
    assert!(!port.describe().name.trim().is_empty(), "it does not say which model it is");
    let completion = port.complete(&ample(), &request()).await;
    let completion = completion.unwrap_or_else(|error| panic!("it fails on a faithful server: {error}"));
    assert!(!completion.text.is_empty() || !completion.tool_calls.is_empty(), "it says nothing");
    let mut ids: Vec<_> = completion.tool_calls.iter().map(|call| call.id.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), completion.tool_calls.len(), "two tool calls of one answer have two ids");
    assert_eq!(served.effects() - before, 1, "how many completions one is");
    Ok(())
}

/// The test of a connection works on a faithful server, and says what was reached.
pub async fn testing_the_connection_works(bench: Bench) -> Held {
    subject(&bench);
    let served = bench.served().await;
    let report = port(&bench.at(&served.address)).check(&ample()).await;
    let report = report.unwrap_or_else(|error| panic!("`check` fails on a faithful server: {error}"));
    assert!(!report.message.trim().is_empty(), "`check` does not say what was reached");
    Ok(())
}

/// An answer is whole or none: a connection that ends within one is an error that may pass.
pub async fn an_answer_that_was_cut_off_is_no_shorter_answer(bench: Bench) -> Held {
    subject(&bench);
    for loss in [Loss::CutInHead, Loss::CutInBody] {
        let served = bench.served().await;
        let proxy = Proxy::before(&served, loss).await;
        let completion = port(&bench.at(&proxy.address)).complete(&ample(), &request()).await;
        assert!(proxy.struck(), "the server counts no completion");
        match completion {
            Ok(completion) => panic!("{loss:?}: half an answer passes for a whole one: {completion:?}"),
            Err(error) => assert!(error.is_transient(), "{loss:?} may pass, and is called {:?}: {error}", error.kind),
        }
    }
    Ok(())
}
