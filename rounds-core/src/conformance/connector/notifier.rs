//! What a [`Notifier`] must do.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use super::answered::*;
use super::config::*;
use super::hostile::*;
use super::proxy::{Loss, Proxy};
use super::secrets::*;
use super::servers::{Answer, Behaviour};
use super::{Bench, Call, ConnectorSubject, Said, Skipped, Subject, Told, ample, assert_role, suite};
use crate::connector::Role;
use crate::id::RequestId;
use crate::plugin::Built;
use crate::ports::{Asked, Link, Notice, NoticeKind, Notifier};
use crate::step::Tier;
use crate::time::Timestamp;

type Held = Result<(), Skipped>;

/// A [`Notifier`] before the kit. The effects of its server are the messages that were delivered.
#[async_trait]
pub trait NotifierSubject: ConnectorSubject {
    /// Where the channel has no place for an idempotency key: the reason. The default is a channel that has.
    fn has_no_idempotency_key(&self) -> Option<&'static str> {
        None
    }
}

/// The notices of the kit: one of each kind.
fn notices() -> Vec<Notice> {
    let kinds = [
        NoticeKind::AlertFiring,
        NoticeKind::AlertResolved,
        NoticeKind::PlanProposed,
        NoticeKind::StepAwaitingApproval,
        NoticeKind::PlanEnded,
    ];
    let notices = kinds.into_iter().enumerate().map(|(at, kind)| {
        let mut notice =
            Notice::new(kind, format!("conformance-key-{at}"), Timestamp::UNIX_EPOCH, format!("Notice {at}"));
        notice.body = "What happened, in a line.\nAnd in another.".into();
        notice.severity = "critical".into();
        notice.link = "/plans/1".into();
        notice.labels.insert("namespace".into(), "shop".into());
        if matches!(kind, NoticeKind::PlanProposed | NoticeKind::StepAwaitingApproval) {
            let mut asked = Asked::new(RequestId::new(), "v1:sha256:00", Tier::Write, Timestamp::UNIX_EPOCH);
            asked.commands = vec!["units restart nginx.service".into()];
            notice.asked = Some(asked);
        }
        notice
    });
    notices.collect()
}

/// Every way of asking a notifier for something.
pub(super) fn calls(_: &dyn NotifierSubject) -> Vec<Call> {
    let send = Call {
        name: "send".into(),
        reaches: true,
        reads: false,
        approved: false,
        run: Box::new(|built, cx| {
            Box::pin(async move {
                let notice = notices().swap_remove(0);
                Said::of(port(&built).send(&cx, &notice).await)
            })
        }),
    };
    vec![send]
}

fn port(built: &Built) -> Arc<dyn Notifier> {
    match built {
        Built::Notifier(port) => Arc::clone(port),
        other => panic!("a notifier is expected, and this is {other:?}"),
    }
}

fn subject(bench: &Bench) -> &dyn NotifierSubject {
    assert_role(bench, Role::Notifier);
    match &bench.subject {
        Subject::Notifier(subject) => &**subject,
        _ => panic!("the subject is no notifier"),
    }
}

suite! {
    ($)
    /// The behaviour suite of a [`Notifier`](crate::ports::Notifier), as tests of the crate that implements one. It takes a
    /// [`NotifierSubject`](crate::conformance::connector::NotifierSubject), which each test makes anew; `strict:` before it lets nothing be
    /// skipped without a written reason.
    ///
    /// ```ignore
    /// rounds_core::notifier_conformance!(strict: Pager);
    /// ```
    notifier_conformance, hold_notifier, NotifierSubject, Notifier;
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
    every_kind_of_notice_is_delivered_once,
    the_idempotency_key_is_passed_on,
    who_has_a_notice_already_is_not_told_again,
    testing_the_channel_disturbs_nobody,
    a_delivery_whose_answer_is_lost_is_an_error_that_may_pass,
    a_notice_of_any_size_and_text_is_one_message_or_refused,
}

/// A notice of every kind is delivered, in one message.
pub async fn every_kind_of_notice_is_delivered_once(bench: Bench) -> Held {
    subject(&bench);
    let served = bench.served().await;
    let port = port(&bench.at(&served.address));
    for notice in notices() {
        let before = served.effects();
        let sent = port.send(&ample(), &notice).await;
        sent.unwrap_or_else(|error| panic!("{:?} is not delivered to a faithful server: {error}", notice.kind));
        assert_eq!(served.effects() - before, 1, "how many messages one notice is ({:?})", notice.kind);
    }
    Ok(())
}

/// The key by which a receiver knows a repeat is in what is sent, and is the same for the same notice.
pub async fn the_idempotency_key_is_passed_on(bench: Bench) -> Held {
    if let Some(reason) = subject(&bench).has_no_idempotency_key() {
        assert!(reason.len() >= 12, "the reason is no reason: {reason:?}");
        return Ok(());
    }
    let answer = Answer::new(503, bench.connector().content_type(), "{}");
    for notice in notices() {
        let server = bench.hostile(Behaviour::Answer(answer.clone())).await;
        let port = port(&bench.at(&server.address));
        for _ in 0..2 {
            let _ = port.send(&ample(), &notice).await;
        }
        let requests = server.requests();
        assert_eq!(requests.len(), 2, "two deliveries are two requests");
        for request in requests {
            assert!(request.contains(&notice.idempotency_key), "the key of the notice is not in: {request}");
        }
    }
    Ok(())
}

/// A channel that tells several tells, when it is tried again, those who do not have the notice and nobody else. One whose
/// server does not say whom it told tells one place, and there is nothing to look at.
pub async fn who_has_a_notice_already_is_not_told_again(bench: Bench) -> Held {
    subject(&bench);
    let served = bench.served().await;
    let Some(told) = served.told.clone() else { return Ok(()) };
    let port = port(&bench.at(&served.address));
    let mut notice = notices().swap_remove(0);
    let all: BTreeSet<String> = told_of(&*port, &notice, &told).await.into_iter().collect();
    assert!(all.len() > 1, "its server says whom it tells, so it tells several: {all:?}");
    for has in &all {
        notice.delivered = [has.clone()].into();
        let others: Vec<String> = all.iter().filter(|name| *name != has).cloned().collect();
        let found = told_of(&*port, &notice, &told).await;
        assert_eq!(found, others, "who is told of a notice that {has} has already");
    }
    notice.delivered = all;
    let before = served.effects();
    let found = told_of(&*port, &notice, &told).await;
    assert!(found.is_empty() && served.effects() == before, "all have it, and these are told again: {found:?}");
    Ok(())
}

/// Whom a delivery reaches, in order.
async fn told_of(port: &dyn Notifier, notice: &Notice, told: &Told) -> Vec<String> {
    let before = told().len();
    let sent = port.send(&ample(), notice).await;
    sent.unwrap_or_else(|error| panic!("not delivered, where {:?} have it already: {error}", notice.delivered));
    let mut now = told().split_off(before);
    now.sort();
    now
}

/// Testing the channel delivers no message.
pub async fn testing_the_channel_disturbs_nobody(bench: Bench) -> Held {
    subject(&bench);
    let served = bench.served().await;
    let before = served.effects();
    let report = port(&bench.at(&served.address)).check(&ample()).await;
    let report = report.unwrap_or_else(|error| panic!("`check` fails on a faithful server: {error}"));
    assert!(!report.message.trim().is_empty(), "`check` does not say what was reached");
    assert_eq!(served.effects(), before, "`check` disturbs people with a message");
    Ok(())
}

/// Nobody knows whether it was delivered: the outbox tries again, and receivers know a repeat by its key.
pub async fn a_delivery_whose_answer_is_lost_is_an_error_that_may_pass(bench: Bench) -> Held {
    let notice = notices().swap_remove(0);
    for loss in [Loss::Withheld, Loss::CutInHead] {
        let mut cx = bench.tight();
        loop {
            let served = bench.served().await;
            let before = served.effects();
            let proxy = Proxy::before(&served, loss).await;
            let sent = port(&bench.at(&proxy.address)).send(&cx, &notice).await;
            if !proxy.struck() && cx.timeout < bench.patience() {
                cx.timeout *= 3;
                continue;
            }
            assert!(proxy.struck(), "no message that the server counts was delivered: {sent:?}");
            assert_eq!(served.effects() - before, 1, "it was tried again by itself");
            let error = sent.expect_err("nobody said that it was delivered");
            assert!(error.is_transient(), "{loss:?} may pass, and is called {:?}: {error}", error.kind);
            break;
        }
    }
    Ok(())
}

/// Texts are data, and limits are the channel's: whatever a notice holds, it is one message, or an error that says why not.
pub async fn a_notice_of_any_size_and_text_is_one_message_or_refused(bench: Bench) -> Held {
    subject(&bench);
    let odd =
        "\u{1b}[2J\u{0}\r\nBcc: all@example.com\r\n\r\n<b>&\"'<!channel> @everyone {{x}} \u{202e}\u{1f525}".to_owned();
    for text in [odd, "long ".repeat(200_000), String::new()] {
        let served = bench.served().await;
        let port = port(&bench.at(&served.address));
        for mut notice in notices() {
            notice.title.clone_from(&text);
            notice.body.clone_from(&text);
            notice.severity = text.chars().take(100).collect();
            notice.labels.insert("odd".into(), text.clone());
            notice.links.extend(Link::new(&text, "https://wiki.example.com/a_(b)?c=|d|&e=*"));
            let before = served.effects();
            let sent = port.send(&ample(), &notice).await;
            let delivered = served.effects() - before;
            match sent {
                Ok(()) => assert_eq!(delivered, 1, "{:?}: how many messages one notice is", notice.kind),
                Err(error) => {
                    assert_eq!(delivered, 0, "{:?} was delivered, and is said not to be: {error}", notice.kind);
                    assert!(!error.is_transient(), "{:?}: trying again changes nothing: {error}", notice.kind);
                }
            }
        }
    }
    Ok(())
}
