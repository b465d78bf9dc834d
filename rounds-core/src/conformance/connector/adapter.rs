//! What an [`ExecutionAdapter`] must do.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::config::*;
use super::hostile::*;
use super::proxy::{Loss, Proxy};
use super::secrets::*;
use super::servers::{self, Behaviour};
use super::spy::{self, Approval};
use super::{AMPLE, Bench, Call, ConnectorSubject, Said, Served, Skipped, Subject, ample, assert_role, suite};
use crate::Error;
use crate::connector::Role;
use crate::plan::{RequestKind, RequestStatus, StepStatus};
use crate::plugin::Built;
use crate::ports::{ExecutionAdapter, ReadStep};
use crate::step::{Effect, Mode, OUTPUT_CAP, Refusal, ReviewedStep, StepOutput, StepSpec, Tier};

type Held = Result<(), Skipped>;

/// A step that the subject's faithful server carries out.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Sample {
    /// The step, as somebody would propose it.
    pub step: StepSpec,
    /// How many effects the server counts when it runs once.
    pub effects: u64,
}

impl Sample {
    /// A step that has one effect.
    #[must_use]
    pub fn new(step: StepSpec) -> Self {
        Self { step, effects: 1 }
    }

    /// The same with so many: a step that makes a branch, a commit and a pull request has three.
    #[must_use]
    pub fn with_effects(mut self, effects: u64) -> Self {
        self.effects = effects;
        self
    }
}

/// An [`ExecutionAdapter`] before the kit.
///
/// The steps of the samples succeed on a server that [`serve`](ConnectorSubject::serve) has just started, each alone and in any order. Reviews of
/// them need nothing [discovered](ExecutionAdapter::discover).
#[async_trait]
pub trait AdapterSubject: ConnectorSubject {
    /// Steps that only read.
    fn reads(&self) -> Vec<StepSpec>;

    /// Steps that change something.
    fn writes(&self) -> Vec<Sample>;

    /// Steps that its review refuses, each for another reason.
    fn refused(&self) -> Vec<StepSpec>;

    /// How many child processes the adapter has right now; `None`: it starts none.
    fn child_processes(&self) -> Option<usize> {
        None
    }
}

/// Every way of asking an adapter for something.
pub(super) fn calls(subject: &dyn AdapterSubject) -> Vec<Call> {
    let mut calls = vec![call("discover", false, |adapter, cx| async move {
        let refused = Refusal::new("conformance", "a refusal of the kit's");
        Said::of(adapter.discover(&cx, &refused).await)
    })];
    if let Some(step) = subject.reads().into_iter().next() {
        calls.push(call("read", true, move |adapter, cx| {
            let step = step.clone();
            async move {
                let reviewed = reviewed(&*adapter, &step);
                let read = ReadStep::new(reviewed).unwrap_or_else(|refused| panic!("{step:?} is no read: {refused}"));
                Said::of_step(adapter.read(&cx, read).await)
            }
        }));
    }
    if let Some(Sample { step, .. }) = subject.writes().into_iter().next() {
        let (previewed, inverted) = (step.clone(), step.clone());
        calls.push(call("dry_run", false, move |adapter, cx| {
            let step = previewed.clone();
            async move { Said::of_step(adapter.dry_run(&cx, &reviewed(&*adapter, &step)).await) }
        }));
        calls.push(call("inverse", false, move |adapter, cx| {
            let step = inverted.clone();
            async move { Said::of_step(adapter.inverse(&cx, &reviewed(&*adapter, &step)).await) }
        }));
        let grace = subject.patience();
        let execute = call("execute", true, move |adapter, cx| {
            let step = step.clone();
            async move { Said::of_step(spy::approved(adapter, step, cx.timeout, grace).await) }
        });
        calls.push(Call { approved: true, ..execute });
    }
    calls
}

fn call<F>(
    name: &str,
    reaches: bool,
    run: impl Fn(Arc<dyn ExecutionAdapter>, crate::ports::CallContext) -> F + Send + Sync + 'static,
) -> Call
where
    F: Future<Output = Said> + Send + 'static,
{
    Call {
        name: name.into(),
        reaches,
        reads: false,
        approved: false,
        run: Box::new(move |built, cx| match built {
            Built::Execution(adapter) => Box::pin(run(adapter, cx)),
            other => panic!("an adapter is expected, and this is {other:?}"),
        }),
    }
}

fn reviewed(adapter: &dyn ExecutionAdapter, step: &StepSpec) -> ReviewedStep {
    adapter.review(step, Mode::Write).unwrap_or_else(|refused| panic!("a sample is refused: {step:?}: {refused}"))
}

fn subject(bench: &Bench) -> &dyn AdapterSubject {
    assert_role(bench, Role::Execution);
    match &bench.subject {
        Subject::Adapter(subject) => &**subject,
        _ => panic!("the subject is no adapter"),
    }
}

fn adapter(bench: &Bench, address: &str) -> Arc<dyn ExecutionAdapter> {
    match bench.at(address) {
        Built::Execution(adapter) => adapter,
        other => panic!("an adapter is expected, and this is {other:?}"),
    }
}

fn samples(bench: &Bench) -> Result<Vec<StepSpec>, Skipped> {
    let subject = subject(bench);
    let all: Vec<_> = subject.reads().into_iter().chain(subject.writes().into_iter().map(|one| one.step)).collect();
    if all.is_empty() { Err(Skipped::for_want_of("step")) } else { Ok(all) }
}

fn writes(bench: &Bench) -> Result<Vec<Sample>, Skipped> {
    let writes = subject(bench).writes();
    if writes.is_empty() { Err(Skipped::for_want_of("step that writes")) } else { Ok(writes) }
}

suite! {
    ($)
    /// The behaviour suite of an [`ExecutionAdapter`](crate::ports::ExecutionAdapter), as tests of the crate that implements
    /// one. It takes an [`AdapterSubject`](crate::conformance::connector::AdapterSubject), which each test makes anew; `strict:` before it lets nothing be
    /// skipped without a written reason.
    ///
    /// ```ignore
    /// rounds_core::adapter_conformance!(strict: Units);
    /// ```
    adapter_conformance, hold_adapter, AdapterSubject, Adapter;
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
    review_is_pure_and_deterministic,
    what_review_renders_is_canonical,
    reads_are_reads_and_writes_are_not,
    what_is_shown_is_plain_whatever_is_written_into_a_step,
    a_step_of_an_unknown_kind_is_refused_with_what_is_accepted,
    an_unknown_parameter_is_refused_with_what_is_accepted,
    parameters_of_another_shape_are_refused,
    a_refused_step_has_no_effect,
    looking_changes_nothing,
    rule_1_what_runs_is_what_was_approved,
    rule_4_an_approved_step_runs_once,
    an_effect_whose_answer_never_comes_may_have_happened,
    an_effect_whose_answer_is_cut_off_may_have_happened,
    a_request_for_an_effect_without_an_answer_may_have_happened,
    a_refused_connection_did_not_start_anything,
    a_step_that_is_over_leaves_nothing_running,
    output_is_bounded,
}

/// Review is pure: the same answer every time, on every thread, from every instance; and nobody is called.
pub async fn review_is_pure_and_deterministic(bench: Bench) -> Held {
    let server = bench.hostile(Behaviour::Silent).await;
    let steps: Vec<_> = samples(&bench)?.into_iter().chain(subject(&bench).refused()).collect();
    let (one, other) = (adapter(&bench, &server.address), adapter(&bench, &server.address));
    for mode in [Mode::Write, Mode::Read] {
        let first: Vec<_> = steps.iter().map(|step| one.review(step, mode)).collect();
        // Backwards, so that an answer that rests on an earlier question shows.
        let again: Vec<_> = steps.iter().rev().map(|step| one.review(step, mode)).collect();
        let again: Vec<_> = again.into_iter().rev().collect();
        assert_eq!(first, again, "the same step, reviewed twice");
        let built_anew: Vec<_> = steps.iter().map(|step| other.review(step, mode)).collect();
        assert_eq!(first, built_anew, "the same step, reviewed by another instance");
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (one, steps) = (Arc::clone(&one), steps.clone());
                std::thread::spawn(move || steps.iter().map(|step| one.review(step, mode)).collect::<Vec<_>>())
            })
            .collect();
        for thread in threads {
            assert_eq!(first, thread.join().expect("a review"), "the same step, reviewed on another thread");
        }
    }
    assert_eq!(server.connections(), 0, "a review called the server");
    Ok(())
}

/// What a review renders, reviewed again, is itself.
pub async fn what_review_renders_is_canonical(bench: Bench) -> Held {
    let adapter = adapter(&bench, "http://127.0.0.1:9");
    for step in samples(&bench)? {
        let first = reviewed(&*adapter, &step);
        let again = adapter.review(&first.spec(), Mode::Write);
        assert_eq!(again.as_ref(), Ok(&first), "what the review renders is not what it renders of that");
        let text = serde_json::to_string(&first).expect("JSON");
        let stored: ReviewedStep = serde_json::from_str(&text).expect("a step");
        assert_eq!(stored, first, "it does not come back from a store as it was");
        assert_eq!(adapter.review(&stored.spec(), Mode::Write), Ok(first), "nor is it reviewed alike from there");
    }
    Ok(())
}

/// A step's tier is computed: what the subject calls a read is one, and what it calls a write is none.
pub async fn reads_are_reads_and_writes_are_not(bench: Bench) -> Held {
    let adapter = adapter(&bench, "http://127.0.0.1:9");
    for step in subject(&bench).reads() {
        assert_eq!(reviewed(&*adapter, &step).tier, Tier::Read, "{step:?}");
    }
    for Sample { step, .. } in subject(&bench).writes() {
        let reviewed = reviewed(&*adapter, &step);
        assert_ne!(reviewed.tier, Tier::Read, "{step:?} changes something");
        assert!(!reviewed.targets.is_empty(), "{step:?} touches something, and its review does not say what");
        if let Ok(read) = adapter.review(&step, Mode::Read) {
            assert_ne!(read.tier, Tier::Read, "an investigation may not write: {step:?}");
        }
    }
    Ok(())
}

/// Every text within a value, replaced in turn.
fn mutations(value: &Value, odd: &str) -> Vec<Value> {
    match value {
        Value::String(text) => vec![json!(format!("{text}{odd}")), json!(format!("{odd}{text}")), json!("")],
        Value::Array(items) => (0..items.len())
            .flat_map(|at| {
                mutations(&items[at], odd).into_iter().map(move |changed| {
                    let mut items = items.clone();
                    items[at] = changed;
                    Value::Array(items)
                })
            })
            .collect(),
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, field)| {
                mutations(field, odd).into_iter().map(move |changed| {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), changed);
                    Value::Object(fields)
                })
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Rule 2: what people decide by is plain text in one line, whatever somebody wrote into the parameters; and what passes is canonical.
pub async fn what_is_shown_is_plain_whatever_is_written_into_a_step(bench: Bench) -> Held {
    let adapter = adapter(&bench, "http://127.0.0.1:9");
    for step in samples(&bench)? {
        for odd in
            ["\n", "\r", "\u{1b}[2K", "\u{0}", "\u{202e}", "\u{2028}", "\u{2066}", " ", "\t", "'", "\"", "`", "\\"]
        {
            for params in mutations(&step.params, odd) {
                let changed = StepSpec::new(step.kind.clone(), params);
                let Ok(reviewed) = adapter.review(&changed, Mode::Write) else { continue };
                for (what, text) in [("command", &reviewed.command_text), ("verb", &reviewed.verb)] {
                    let found = text.chars().find(|c| {
                        c.is_control()
                            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
                    });
                    assert_eq!(found, None, "the {what} is not plain: {text:?}, of {changed:?}");
                }
                let again = adapter.review(&reviewed.spec(), Mode::Write);
                assert_eq!(again.as_ref(), Ok(&reviewed), "not canonical: {changed:?}");
            }
        }
    }
    Ok(())
}

/// The message of a refusal through the whole of Rounds.
async fn refusal(approval: &Approval, step: &StepSpec) -> String {
    match approval.propose(step.clone()).await {
        Err(Error::Refused(refusals)) => refusals.iter().map(|one| one.message.clone()).collect::<Vec<_>>().join("; "),
        Err(error) => panic!("{step:?} is not refused, but: {error}"),
        Ok(_) => panic!("{step:?} is to be refused, and becomes a plan"),
    }
}

/// A kind that the adapter does not name is refused, with those that it does.
pub async fn a_step_of_an_unknown_kind_is_refused_with_what_is_accepted(bench: Bench) -> Held {
    let adapter = adapter(&bench, &servers::nobody().await);
    let info = adapter.describe();
    assert!(!info.step_kinds.is_empty(), "it reviews no kind of step");
    assert!(info.usage.len() >= 8, "`usage` tells nobody how its steps are written: {:?}", info.usage);
    for step in samples(&bench)? {
        assert!(info.step_kinds.contains(&step.kind), "it reviews `{}`, and does not name it", step.kind);
    }
    let approval = Approval::of(adapter, bench.tight().timeout, bench.patience()).await;
    let said = refusal(&approval, &StepSpec::new("conformance.unknown", json!({}))).await;
    for kind in info.step_kinds {
        assert!(said.contains(&kind), "the refusal does not say that `{kind}` is accepted: {said}");
    }
    approval.end().await;
    Ok(())
}

/// A parameter that is not known is refused, with what would be accepted.
pub async fn an_unknown_parameter_is_refused_with_what_is_accepted(bench: Bench) -> Held {
    let adapter = adapter(&bench, "http://127.0.0.1:9");
    for mut step in samples(&bench)? {
        let Some(params) = step.params.as_object_mut() else { continue };
        params.insert("conformanceUnknown".into(), json!(true));
        match adapter.review(&step, Mode::Write) {
            Ok(reviewed) => panic!("a parameter that nothing knows is accepted: {reviewed:?}"),
            Err(Refusal { message, rule }) => {
                assert!(!rule.is_empty(), "a refusal has a rule");
                let helps = ["accept", "expected", "known", "allowed"].iter().any(|word| message.contains(word));
                assert!(helps, "the refusal does not say what would be accepted: {message}");
            }
        }
    }
    Ok(())
}

/// Parameters of another shape than the kind's are refused; nothing panics.
pub async fn parameters_of_another_shape_are_refused(bench: Bench) -> Held {
    let adapter = adapter(&bench, "http://127.0.0.1:9");
    for step in samples(&bench)? {
        for params in
            [json!(null), json!([]), json!([[1]]), json!("x"), json!(7), json!(true), json!({ "a": { "b": [] } })]
        {
            let odd = StepSpec::new(step.kind.clone(), params);
            assert!(adapter.review(&odd, Mode::Write).is_err(), "{odd:?} passes");
        }
        for (name, value) in step.params.as_object().into_iter().flatten() {
            let mut params = step.params.clone();
            params[name.as_str()] = if value.is_object() { json!([value]) } else { json!({ "odd": value }) };
            let odd = StepSpec::new(step.kind.clone(), params);
            assert!(adapter.review(&odd, Mode::Write).is_err(), "{odd:?} passes");
        }
    }
    Ok(())
}

/// Refusals come before effects: the review refuses without a word to the server, and a proposal of it changes nothing.
pub async fn a_refused_step_has_no_effect(bench: Bench) -> Held {
    let refused = subject(&bench).refused();
    if refused.is_empty() {
        return Err(Skipped::for_want_of("step that is refused"));
    }
    let silent = bench.hostile(Behaviour::Silent).await;
    let alone = adapter(&bench, &silent.address);
    for step in &refused {
        let Err(Refusal { rule, message }) = alone.review(step, Mode::Write) else { panic!("{step:?} passes") };
        assert!(!rule.is_empty() && message.len() >= 8, "a refusal says by which rule and why: {rule:?} {message:?}");
    }
    assert_eq!(silent.connections(), 0, "a review called the server");
    let served = bench.served().await;
    let before = served.effects();
    let approval = Approval::of(adapter(&bench, &served.address), AMPLE, bench.patience()).await;
    for step in &refused {
        refusal(&approval, step).await;
    }
    assert!(approval.ran().is_empty(), "a refused step was run");
    assert_eq!(served.effects(), before, "a refused step has changed something");
    approval.end().await;
    Ok(())
}

/// Reviewing, previewing, reading, testing and looking for the way back change nothing.
pub async fn looking_changes_nothing(bench: Bench) -> Held {
    let served = bench.served().await;
    let adapter = adapter(&bench, &served.address);
    let unchanged = |before: u64, what: &str| {
        assert_eq!(served.effects(), before, "{what} has changed something");
    };
    let before = served.effects();
    let report = adapter.check(&ample()).await;
    let report = report.unwrap_or_else(|error| panic!("`check` fails on a faithful server: {error}"));
    assert!(!report.message.trim().is_empty(), "`check` does not say what was reached");
    unchanged(before, "`check`");
    let _ = adapter.discover(&ample(), &Refusal::new("conformance", "a refusal of the kit's")).await;
    unchanged(before, "`discover`");
    for step in subject(&bench).reads() {
        let reviewed = reviewed(&*adapter, &step);
        let read = ReadStep::new(reviewed).unwrap_or_else(|refused| panic!("{step:?} is no read: {refused}"));
        let said = adapter.read(&ample(), read).await;
        said.unwrap_or_else(|error| panic!("{step:?} fails on a faithful server: {error}"));
        unchanged(before, "`read`");
    }
    for step in samples(&bench)? {
        let reviewed = reviewed(&*adapter, &step);
        let preview = adapter.dry_run(&ample(), &reviewed).await;
        let preview =
            preview.unwrap_or_else(|error| panic!("`dry_run` of {step:?} fails on a faithful server: {error}"));
        assert!(!preview.text.trim().is_empty(), "a preview of nothing: {step:?}");
        unchanged(before, "`dry_run`");
        let inverse = adapter.inverse(&ample(), &reviewed).await;
        inverse.unwrap_or_else(|error| panic!("`inverse` of {step:?} fails on a faithful server: {error}"));
        unchanged(before, "`inverse`");
    }
    Ok(())
}

/// Rule 1: what reaches the adapter is, to the byte, what the approved digest covers.
pub async fn rule_1_what_runs_is_what_was_approved(bench: Bench) -> Held {
    for step in samples(&bench)? {
        let served = bench.served().await;
        let adapter = adapter(&bench, &served.address);
        let expected = reviewed(&*adapter, &step);
        let approval = Approval::of(adapter, AMPLE, bench.patience()).await;
        let plan = approval.run(step.clone()).await;
        let ran = approval.ran();
        assert_eq!(ran.len(), 1, "{step:?} was approved once");
        assert_eq!(ran[0].step, expected, "another step than the reviewed one was run");
        let shown = &plan.steps[0].review;
        assert_eq!(&ran[0].step, shown, "another step than the one that was shown was run");
        assert_eq!(crate::plan::digest::digest(&plan.canonical), plan.digest, "the digest is of other bytes");
        assert!(
            plan.canonical.contains(&crate::canonical::to_string(&ran[0].step.params)),
            "the digest does not cover the parameters that ran"
        );
        let approved: Vec<_> = plan
            .requests
            .iter()
            .filter(|request| request.kind == RequestKind::Plan && request.status == RequestStatus::Approved)
            .map(|request| request.digest.as_str())
            .collect();
        assert_eq!(approved, [plan.digest.as_str()], "the approval is of another digest");
        approval.end().await;
    }
    Ok(())
}

/// Rule 4: one approval, one run, one effect.
pub async fn rule_4_an_approved_step_runs_once(bench: Bench) -> Held {
    for Sample { step, effects } in writes(&bench)? {
        let served = bench.served().await;
        let before = served.effects();
        let approval = Approval::of(adapter(&bench, &served.address), AMPLE, bench.patience()).await;
        let plan = approval.run(step.clone()).await;
        let ended = &plan.steps[0];
        assert_eq!(
            ended.status,
            StepStatus::Done,
            "{step:?} on a faithful server: {:?} {:?}",
            ended.failure,
            ended.error_text
        );
        assert_eq!(served.effects() - before, effects, "how many effects one approval of {step:?} has");
        approval.end().await;
    }
    Ok(())
}

/// Runs each write while the answer to its first effect gets lost.
async fn lost(
    bench: &Bench,
    loss: Loss,
    judge: impl Fn(&StepSpec, Result<StepOutput, crate::step::StepError>, bool),
) -> Held {
    for Sample { step, effects } in writes(bench)? {
        // Enough for the effect, and not more than the check can wait for: a machine may be busy.
        let mut timeout = bench.connector().deadline();
        loop {
            let served: Served = bench.served().await;
            let before = served.effects();
            let proxy = Proxy::before(&served, loss).await;
            let result = spy::approved(adapter(bench, &proxy.address), step.clone(), timeout, bench.patience()).await;
            if !proxy.struck() && timeout < bench.patience() {
                timeout *= 3;
                continue;
            }
            assert!(proxy.struck(), "{step:?} has no effect that the server counts: {result:?}");
            let now = served.effects() - before;
            assert!(now <= effects, "{step:?} was tried again by itself: {now} effects instead of {effects}");
            judge(&step, result, now == effects);
            break;
        }
    }
    Ok(())
}

/// A timeout after an effect: it may have happened, and nobody knows how it ended.
pub async fn an_effect_whose_answer_never_comes_may_have_happened(bench: Bench) -> Held {
    lost(&bench, Loss::Withheld, |step, result, whole| match result {
        // It looked again, and all of it is there.
        Ok(_) => assert!(whole, "{step:?} succeeds, and only a part of it happened"),
        Err(error) => {
            assert_eq!(error.effect, Effect::MayHaveHappened, "{step:?} happened, and is said not to have: {error}");
            assert!(error.outcome_unknown, "{step:?}: nobody knows how it ended, and the error knows: {error}");
        }
    })
    .await
}

/// An answer that breaks off after an effect: it may have happened.
pub async fn an_effect_whose_answer_is_cut_off_may_have_happened(bench: Bench) -> Held {
    for loss in [Loss::CutInHead, Loss::CutInBody] {
        lost(&bench, loss, |step, result, whole| match result {
            Ok(_) => assert!(whole, "{step:?} succeeds, and only a part of it happened"),
            Err(error) => {
                assert_eq!(
                    error.effect,
                    Effect::MayHaveHappened,
                    "{step:?} happened, and is said not to have: {error}"
                );
            }
        })
        .await?;
    }
    Ok(())
}

/// A server that takes a request for an effect and says nothing may have done it.
pub async fn a_request_for_an_effect_without_an_answer_may_have_happened(bench: Bench) -> Held {
    for Sample { step, .. } in writes(&bench)? {
        let server = bench.hostile(Behaviour::Silent).await;
        let result = spy::approved(
            adapter(&bench, &server.address),
            step.clone(),
            bench.connector().deadline(),
            bench.patience(),
        )
        .await;
        let error = result.err().unwrap_or_else(|| panic!("{step:?} succeeds where nobody answers"));
        let asked = server.requests().iter().any(|request| bench.connector().asks_for_an_effect(request));
        if asked {
            assert_eq!(
                error.effect,
                Effect::MayHaveHappened,
                "{step:?} was sent and is said not to have happened: {error}"
            );
            assert!(error.outcome_unknown, "{step:?}: nobody knows how it ended, and the error knows: {error}");
        }
    }
    Ok(())
}

/// Nobody took the request: that is proof, so the step can be retried as it is.
pub async fn a_refused_connection_did_not_start_anything(bench: Bench) -> Held {
    for Sample { step, .. } in writes(&bench)? {
        let result =
            spy::approved(adapter(&bench, &servers::nobody().await), step.clone(), AMPLE, bench.patience()).await;
        let error = result.err().unwrap_or_else(|| panic!("{step:?} succeeds where nobody is"));
        assert_eq!(error.effect, Effect::NotStarted, "nobody took {step:?}, and it may have happened: {error}");
    }
    Ok(())
}

/// A step that is over, by its deadline or because it was dropped, leaves no connection and no child process.
pub async fn a_step_that_is_over_leaves_nothing_running(bench: Bench) -> Held {
    for Sample { step, .. } in writes(&bench)? {
        for dropped in [false, true] {
            let server = bench.hostile(Behaviour::Silent).await;
            let timeout = if dropped { AMPLE * 10 } else { bench.connector().deadline() };
            let approval = Approval::of(adapter(&bench, &server.address), timeout, bench.patience()).await;
            let drop = approval.drop.clone();
            let when_met = async {
                if dropped {
                    let met = tokio::time::timeout(AMPLE, server.met()).await;
                    met.unwrap_or_else(|_| panic!("{step:?} never calls its server"));
                    drop.cancel();
                }
            };
            let (plan, ()) = tokio::join!(approval.run(step.clone()), when_met);
            assert_ne!(plan.steps[0].status, StepStatus::Done, "{step:?} succeeds where nobody answers");
            if !dropped {
                assert!(approval.ran()[0].result.is_some(), "{step:?} does not end at its deadline by itself");
            }
            approval.end().await;
            let left = tokio::time::timeout(bench.patience(), server.alone()).await;
            assert!(left.is_ok(), "{step:?} is over (dropped: {dropped}), and its connection is still there");
            no_children(&bench, &step).await;
        }
    }
    Ok(())
}

/// Waits until the adapter has no child process.
async fn no_children(bench: &Bench, step: &StepSpec) {
    let gone = async {
        while subject(bench).child_processes().is_some_and(|children| children > 0) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let gone = tokio::time::timeout(bench.patience(), gone).await;
    assert!(gone.is_ok(), "{step:?} is over, and {:?} of its processes run", subject(bench).child_processes());
}

/// What a server says without end does not fill the memory: output has a bound.
pub async fn output_is_bounded(bench: Bench) -> Held {
    let long = "long ".repeat(8 * 1024 * 1024 / 5);
    let answer = servers::Answer::new(200, bench.connector().content_type(), long);
    let server = bench.hostile(Behaviour::Answer(answer)).await;
    let built = bench.at(&server.address);
    for call in bench.calls() {
        let said = bench.run(&call, &built, &ample()).await;
        // As Debug writes it, twice over: room for both.
        let most = 16 * OUTPUT_CAP;
        assert!(said.text.len() <= most, "{} says {} bytes", call.name, said.text.len());
    }
    Ok(())
}
