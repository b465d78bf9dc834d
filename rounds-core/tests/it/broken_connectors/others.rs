//! Datasources, notifiers, models and resolvers that break one rule each.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rounds_core::Timestamp;
use rounds_core::async_trait;
use rounds_core::conformance::connector::{
    ConnectorSubject, DATASOURCE_CHECKS, DatasourceSubject, MODEL_CHECKS, ModelSubject, NOTIFIER_CHECKS,
    NotifierSubject, Planted, RESOLVER_CHECKS, ResolverSubject, Served, Setup, hold_datasource, hold_model,
    hold_notifier, hold_resolver,
};
use rounds_core::plugin::{BuildContext, Host, Outbound, Registration};
use rounds_core::ports::{
    CallContext, CheckReport, Completion, CompletionRequest, DataSet, Datasource, DatasourceInfo, Line, Model,
    ModelInfo, Notice, Notifier, PortError, PortErrorKind, Query, SecretHandle, SecretResolver, Usage,
};
use rounds_core::registration;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use super::wire::{self, Wire};
use super::{Broken, verdicts};

/// A service.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    /// The service's address, such as `http://127.0.0.1:9`.
    url: String,
}

/// The checks that are the same for all roles, shown by the broken adapters.
const COMMON: &[&str] = &[
    "the_config_schema_is_an_object_that_takes_nothing_else",
    "every_config_field_is_explained",
    "the_documented_config_is_built",
    "an_unknown_config_field_is_refused_by_name",
    "a_config_value_of_another_type_is_refused_with_its_field",
    "a_required_config_field_that_is_missing_is_named",
    "building_connects_to_nothing",
    "rule_12_a_secret_is_in_nothing_that_is_said_or_logged",
    "rule_12_a_secret_that_a_server_says_back_is_in_no_error_and_no_log",
    "rule_12_a_secret_is_in_no_error_when_nothing_works",
    "without_its_secret_it_sends_nothing",
    "the_secret_is_resolved_at_every_call",
    "a_silent_server_ends_every_call_at_its_deadline",
    "a_slow_server_ends_every_call_at_its_deadline",
    "an_endless_answer_is_not_read_to_its_end",
    "garbage_and_broken_answers_are_errors",
    "a_redirect_is_not_followed",
    "errors_are_bounded_and_plain",
    "a_refused_connection_is_an_error_that_may_pass",
    "an_address_that_is_not_allowed_is_never_called",
    "cancelling_ends_a_call_promptly",
    "a_dropped_call_leaves_nothing_running",
];

/// A connector of any role, with a flaw.
struct Flawed(Wire);

/// A subject with a flaw, registered like this.
struct Subject(&'static str, fn() -> Registration);

#[async_trait]
impl ConnectorSubject for Subject {
    fn registration(&self) -> Registration {
        self.1()
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        Setup::new(json!({ "url": at })).with_secret(secret)
    }

    fn documented(&self) -> Value {
        json!({ "url": "http://127.0.0.1:9" })
    }

    async fn serve(&self, secret: &str) -> Served {
        wire::serve(secret).await
    }

    fn host(&self) -> Host {
        let child_env = [("FLAW".to_owned(), self.0.to_owned())].into();
        Host { outbound: Outbound::loopback(), child_env, ..Host::default() }
    }

    fn deadline(&self) -> Duration {
        Duration::from_millis(500)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(if self.0.is_empty() { 30 } else { 3 })
    }
}

impl Flawed {
    async fn said(&self, cx: &CallContext, method: &str, path: &str, body: &str) -> Result<String, PortError> {
        let answered = self.0.ask(cx, method, path, body).await.map_err(|fault| fault.error)?;
        self.0.judged(answered)
    }
}

// ---------------------------------------------------------------------------------------------------------
// Datasources
// ---------------------------------------------------------------------------------------------------------

fn datasource() -> Registration {
    registration! {
        kind: "lines", title: "Lines", role: Datasource, secret: Required("The token."), config: Config,
        build: |cx: BuildContext, config: Config| Ok(Flawed(Wire::new(&cx, &config.url)?)),
    }
}

#[async_trait]
impl Datasource for Flawed {
    fn describe(&self) -> DatasourceInfo {
        DatasourceInfo::logs("words")
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        self.said(cx, "GET", "/status/x", "").await.map(CheckReport::new)
    }

    async fn query(&self, cx: &CallContext, query: &Query) -> Result<DataSet, PortError> {
        let invalid = |why: &str| Err(PortError::new(PortErrorKind::Invalid, why));
        let path = match query {
            Query::Logs { start, end, .. } if start > end => return invalid("the end is before the start"),
            Query::Logs { expr, .. } => format!("/{expr}"),
            _ if self.0.has("answers what it does not speak") => return Ok(DataSet::default()),
            _ => return invalid("a query of logs is accepted"),
        };
        if self.0.has("writes to answer") {
            let _ = self.0.ask(cx, "POST", "/restart/web", "").await;
        }
        let said = match self.said(cx, "GET", &path, "").await {
            Err(error) if self.0.has("calls a wrong question a bad moment") && error.kind == PortErrorKind::Invalid => {
                return Err(PortError::new(PortErrorKind::Unavailable, error.message));
            }
            said => said?,
        };
        if self.0.has("answers with nothing") {
            return Ok(DataSet::default());
        }
        let most = 20;
        let truncated = said.len() > most && !self.0.has("cuts in silence");
        let text: String = said.chars().take(most).collect();
        Ok(DataSet::of_lines(vec![Line::new(Timestamp::UNIX_EPOCH, Default::default(), text)])
            .with_truncated(truncated))
    }
}

fn logs(expr: &str) -> Query {
    let (start, end) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + Duration::from_secs(60));
    Query::Logs { expr: expr.into(), start, end, limit: 10 }
}

impl DatasourceSubject for Subject {
    fn queries(&self) -> Vec<Query> {
        vec![logs("status/web")]
    }

    fn malformed(&self) -> Vec<Query> {
        vec![logs("bad")]
    }

    fn too_much(&self) -> Option<Query> {
        Some(logs("many"))
    }
}

#[test]
fn every_broken_datasource_fails_the_checks_that_protect_what_it_breaks() {
    let broken: &[Broken<()>] = &[
        (
            "takes anything for an answer",
            (),
            &["an_answer_that_says_nothing_is_no_answer", "garbage_and_broken_answers_are_errors"],
        ),
        ("makes half an answer a whole one", (), &["garbage_and_broken_answers_are_errors"]),
        ("calls every failure a protocol error", (), &["statuses_have_their_kinds"]),
        ("forgets how long to wait", (), &["what_the_other_side_asks_for_is_passed_on"]),
        ("tries again", (), &["nothing_is_tried_twice"]),
        ("writes to answer", (), &["queries_are_answered_and_change_nothing"]),
        ("answers with nothing", (), &["queries_are_answered_and_change_nothing"]),
        ("answers what it does not speak", (), &["it_answers_the_kinds_that_it_describes_and_refuses_the_others"]),
        ("calls a wrong question a bad moment", (), &["a_malformed_query_is_refused_as_invalid"]),
        ("cuts in silence", (), &["what_is_left_out_is_said"]),
    ];
    let run = |check: &str, flaw: &'static str, (): &()| hold_datasource(check, true, Subject(flaw, datasource));
    verdicts(DATASOURCE_CHECKS, broken, COMMON, run, |check| hold_datasource(check, true, Subject("", datasource)));
}

// ---------------------------------------------------------------------------------------------------------
// Notifiers
// ---------------------------------------------------------------------------------------------------------

fn notifier() -> Registration {
    registration! {
        kind: "bell", title: "Bell", role: Notifier, secret: Required("The token."), config: Config,
        build: |cx: BuildContext, config: Config| Ok(Flawed(Wire::new(&cx, &config.url)?)),
    }
}

#[async_trait]
impl Notifier for Flawed {
    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        let method = if self.0.has("tests with a message") { "POST" } else { "GET" };
        self.said(cx, method, "/status/x", "").await.map(CheckReport::new)
    }

    async fn send(&self, cx: &CallContext, notice: &Notice) -> Result<(), PortError> {
        if self.0.has("refuses odd texts for now") && notice.title.contains('\u{1b}') {
            return Err(PortError::new(PortErrorKind::Unavailable, "such a text cannot be sent"));
        }
        let has = |name: &&str| notice.delivered.contains(*name) && !self.0.has("tells everybody again");
        let to: Vec<&str> = ["ada", "bob"].into_iter().filter(|name| !has(name)).collect();
        if to.is_empty() || (self.0.has("forgets the rest") && to.len() == 1) {
            return Ok(());
        }
        let key = if self.0.has("keeps the key to itself") { "" } else { &notice.idempotency_key };
        // A body has its end, so a line break in a text is no other request.
        let body = json!({ "key": key, "to": to, "title": notice.title, "body": notice.body }).to_string();
        if self.0.has("sends a message for each line") {
            self.said(cx, "POST", "/restart/web", &body).await?;
        }
        match self.0.ask(cx, "POST", "/restart/web", &body).await {
            Ok(answered) => self.0.judged(answered).map(drop),
            Err(fault) if self.0.has("gives up on what got lost") => {
                Err(PortError::new(PortErrorKind::Protocol, fault.error.message))
            }
            Err(fault) => Err(fault.error),
        }
    }
}

impl NotifierSubject for Subject {}

#[test]
fn every_broken_notifier_fails_the_checks_that_protect_what_it_breaks() {
    let broken: &[Broken<()>] = &[
        ("calls every failure a protocol error", (), &["statuses_have_their_kinds"]),
        ("forgets how long to wait", (), &["what_the_other_side_asks_for_is_passed_on"]),
        ("tries again", (), &["nothing_is_tried_twice"]),
        ("sends a message for each line", (), &["every_kind_of_notice_is_delivered_once"]),
        ("keeps the key to itself", (), &["the_idempotency_key_is_passed_on"]),
        ("tells everybody again", (), &["who_has_a_notice_already_is_not_told_again"]),
        ("forgets the rest", (), &["who_has_a_notice_already_is_not_told_again"]),
        ("tests with a message", (), &["testing_the_channel_disturbs_nobody"]),
        ("gives up on what got lost", (), &["a_delivery_whose_answer_is_lost_is_an_error_that_may_pass"]),
        ("refuses odd texts for now", (), &["a_notice_of_any_size_and_text_is_one_message_or_refused"]),
    ];
    // Any 2xx may be a delivery, whatever is written in it.
    let unable = [COMMON, &["an_answer_that_says_nothing_is_no_answer"]].concat();
    let run = |check: &str, flaw: &'static str, (): &()| hold_notifier(check, true, Subject(flaw, notifier));
    verdicts(NOTIFIER_CHECKS, broken, &unable, run, |check| hold_notifier(check, true, Subject("", notifier)));
}

// ---------------------------------------------------------------------------------------------------------
// Models
// ---------------------------------------------------------------------------------------------------------

fn model() -> Registration {
    registration! {
        kind: "parrot", title: "Parrot", role: Model, secret: Required("The token."), config: Config,
        build: |cx: BuildContext, config: Config| Ok(Flawed(Wire::new(&cx, &config.url)?)),
    }
}

#[async_trait]
impl Model for Flawed {
    fn describe(&self) -> ModelInfo {
        ModelInfo::new("parrot")
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        let path = if self.0.has("cannot be tested") { "/bad" } else { "/status/x" };
        self.said(cx, "GET", path, "").await.map(CheckReport::new)
    }

    async fn complete(&self, cx: &CallContext, _: &CompletionRequest) -> Result<Completion, PortError> {
        let said = self.said(cx, "POST", "/restart/web", "").await?;
        let said = if self.0.has("asks twice for one answer") {
            self.said(cx, "POST", "/restart/web", "").await?
        } else {
            said
        };
        Ok(Completion::new(said, Vec::new(), Usage::default()))
    }
}

impl ModelSubject for Subject {}

#[test]
fn every_broken_model_fails_the_checks_that_protect_what_it_breaks() {
    let broken: &[Broken<()>] = &[
        ("takes anything for an answer", (), &["an_answer_that_says_nothing_is_no_answer"]),
        ("makes half an answer a whole one", (), &["an_answer_that_was_cut_off_is_no_shorter_answer"]),
        ("calls every failure a protocol error", (), &["statuses_have_their_kinds"]),
        ("forgets how long to wait", (), &["what_the_other_side_asks_for_is_passed_on"]),
        ("tries again", (), &["nothing_is_tried_twice"]),
        ("asks twice for one answer", (), &["a_conversation_is_completed_in_one_request"]),
        ("cannot be tested", (), &["testing_the_connection_works"]),
    ];
    let run = |check: &str, flaw: &'static str, (): &()| hold_model(check, true, Subject(flaw, model));
    verdicts(MODEL_CHECKS, broken, COMMON, run, |check| hold_model(check, true, Subject("", model)));
}

// ---------------------------------------------------------------------------------------------------------
// Resolvers
// ---------------------------------------------------------------------------------------------------------

/// `units://NAME`: a secret that the service tells, or one that a test planted.
struct Resolver {
    wire: Option<Wire>,
    planted: Arc<Mutex<Option<String>>>,
    kept: Mutex<Option<String>>,
    flaw: &'static str,
}

#[async_trait]
impl SecretResolver for Resolver {
    fn scheme(&self) -> &'static str {
        "units"
    }

    async fn resolve(&self, reference: &str) -> Result<SecretString, PortError> {
        let invalid = |why: &str| PortError::new(PortErrorKind::Invalid, format!("{reference}: {why}"));
        let name = match self.flaw {
            "reads every scheme" => reference.rsplit('/').next(),
            _ => reference.strip_prefix("units://"),
        };
        let name = name.ok_or_else(|| invalid("units://NAME is accepted"))?;
        let name = if self.flaw == "trims what it is given" { name.trim_end() } else { name };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase()) {
            return Err(invalid("units://NAME is accepted, in small letters"));
        }
        if let Some(wire) = &self.wire {
            wire.count.fetch_add(1, Ordering::SeqCst);
            let cx = CallContext::with_timeout(Duration::from_secs(1));
            let answered = wire.ask(&cx, "GET", &format!("/status/{name}"), "").await.map_err(|fault| fault.error)?;
            if self.flaw == "makes a secret of an error" {
                return Ok(answered.body.into());
            }
            return wire.judged(answered).map(SecretString::from);
        }
        if self.flaw == "keeps what it found" {
            let now = self.planted.lock().unwrap().clone().unwrap_or_default();
            return Ok(self.kept.lock().unwrap().get_or_insert(now).clone().into());
        }
        let found = self.planted.lock().unwrap().clone().filter(|_| name == "prod");
        if self.flaw == "logs what it finds" {
            tracing::info!(?found, "resolved");
        }
        let shown = if self.flaw == "does not say what is missing" { "" } else { reference };
        let missing = || PortError::new(PortErrorKind::Unauthorized, format!("{shown}: there is no such secret"));
        found.map(SecretString::from).ok_or_else(missing)
    }
}

struct Units(&'static str);

#[async_trait]
impl ResolverSubject for Units {
    async fn planted(&self) -> Planted {
        let planted = Arc::<Mutex<Option<String>>>::default();
        let resolver = Resolver { wire: None, planted: Arc::clone(&planted), kept: Mutex::default(), flaw: self.0 };
        let plant = move |value| {
            *planted.lock().unwrap() = Some(value);
            std::future::ready("units://prod".to_owned())
        };
        Planted::new(resolver, plant, ())
    }

    fn missing(&self) -> Vec<String> {
        vec!["units://absent".into()]
    }

    fn malformed(&self) -> Vec<String> {
        vec!["units://PROD".into(), "units://pr/od".into()]
    }

    fn remote(&self, at: &str, credential: &str) -> Option<(Arc<dyn SecretResolver>, String)> {
        let child_env = [("FLAW".to_owned(), self.0.to_owned())].into();
        let host = Host { outbound: Outbound::loopback(), child_env, ..Host::default() };
        let cx = BuildContext::new("units", SecretHandle::inline(credential.into()), Arc::new(host));
        let wire = Wire::new(&cx, at).unwrap();
        let resolver = Resolver { wire: Some(wire), planted: Arc::default(), kept: Mutex::default(), flaw: self.0 };
        Some((Arc::new(resolver), "units://prod".into()))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(if self.0.is_empty() { 120 } else { 5 })
    }
}

#[test]
fn every_broken_resolver_fails_the_checks_that_protect_what_it_breaks() {
    let broken: &[Broken<()>] = &[
        ("keeps what it found", (), &["a_planted_secret_is_resolved_and_a_new_one_at_once"]),
        ("logs what it finds", (), &["rule_12_a_resolved_secret_is_in_no_debug_and_no_log"]),
        ("does not say what is missing", (), &["a_missing_secret_is_an_error_that_names_the_reference"]),
        ("trims what it is given", (), &["a_malformed_reference_is_refused"]),
        ("reads every scheme", (), &["a_reference_of_another_scheme_is_refused"]),
        ("ignores its deadline", (), &["a_resolver_ends_by_itself_whatever_its_server_does"]),
        ("reads without a bound", (), &["a_resolver_reads_no_answer_without_end"]),
        ("follows redirects", (), &["a_resolver_follows_no_redirect"]),
        ("makes a secret of an error", (), &["a_resolver_makes_no_secret_of_an_error"]),
        ("says back what it is told", (), &["rule_12_what_a_resolver_sent_is_in_no_error_and_no_log"]),
    ];
    let run = |check: &str, flaw: &'static str, (): &()| hold_resolver(check, true, Units(flaw));
    verdicts(RESOLVER_CHECKS, broken, &[], run, |check| hold_resolver(check, true, Units("")));
}
