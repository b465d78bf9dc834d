//! Adapters that break one rule each.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rounds_core::async_trait;
use rounds_core::conformance::connector::{
    ADAPTER_CHECKS, AdapterSubject, ConnectorSubject, Sample, Served, Setup, hold_adapter,
};
use rounds_core::plugin::{Host, Outbound, Registration};
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DryRun, ExecutionAdapter, PortError, ReadStep,
};
use rounds_core::registration;
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec, Target, Tier, lookup};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::wire::{self, Fault, Wire};
use super::{Broken, verdicts};

/// A service of units.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    /// The service's address, such as `http://127.0.0.1:9`.
    url: String,
    /// The units that steps may name.
    #[serde(default)]
    units: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Open {
    /// The service's address, such as `http://127.0.0.1:9`.
    url: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Unexplained {
    url: String,
}

fn whole() -> Registration {
    registration! {
        kind: "units", title: "Units", role: Execution, secret: Required("The token."), config: Config,
        build: |cx, config| {
            let _ = config.units;
            Ok(Units(Wire::new(&cx, &config.url)?))
        },
    }
}

fn open() -> Registration {
    registration! {
        kind: "units", title: "Units", role: Execution, secret: Required("The token."), config: Open,
        build: |cx, config| Ok(Units(Wire::new(&cx, &config.url)?)),
    }
}

fn unexplained() -> Registration {
    registration! {
        kind: "units", title: "Units", role: Execution, secret: Required("The token."), config: Unexplained,
        build: |cx, config| Ok(Units(Wire::new(&cx, &config.url)?)),
    }
}

/// Says what it takes, and takes anything.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
struct Anything(#[schemars(with = "Config")] Value);

fn careless() -> Registration {
    registration! {
        kind: "units", title: "Units", role: Execution, secret: Required("The token."), config: Anything,
        build: |cx, config| Ok(Units(Wire::new(&cx, config.0["url"].as_str().unwrap_or("http://127.0.0.1:9"))?)),
    }
}

struct Units(Wire);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Act {
    verb: String,
    unit: String,
}

const VERBS: [(&str, Tier); 2] = [("status", Tier::Read), ("restart", Tier::Write)];

impl Units {
    async fn act(&self, cx: &CallContext, step: &ReviewedStep, dry: bool) -> Result<String, StepError> {
        let act: Act = step.parse()?;
        let method = if act.verb == "status" { "GET" } else { "POST" };
        let dry = if dry && !self.0.has("previews for good") { "?dry" } else { "" };
        let asked = self.0.ask(cx, method, &format!("/{}/{}{dry}", act.verb, act.unit), "").await;
        let asked = asked.map_err(|Fault { error, sent }| {
            let proven = match self.0.flaw.as_str() {
                "is sure that nothing happened" => true,
                _ => !sent,
            };
            match proven {
                true => StepError::not_started(error.to_string()),
                false => StepError::unknown(error.to_string(), StepOutput::default()),
            }
        })?;
        let body = asked.body.clone();
        match self.0.judged(asked) {
            Ok(said) if self.0.has("says more than anybody reads") => Ok(format!("{said}{}", "x".repeat(4 << 20))),
            Ok(said) => Ok(said),
            Err(_) if self.0.has("says all of an output") => Ok(body),
            Err(error) => Err(StepError::failed(error.to_string(), StepOutput::default())),
        }
    }
}

#[async_trait]
impl ExecutionAdapter for Units {
    fn describe(&self) -> AdapterInfo {
        let usage =
            if self.0.has("tells nobody how") { "" } else { "units.act: {\"verb\": \"restart\", \"unit\": \"web\"}" };
        AdapterInfo::new(["units.act"], usage)
    }

    fn review(&self, step: &StepSpec, _: Mode) -> Result<ReviewedStep, Refusal> {
        let mut step = step.clone();
        match self.0.flaw.as_str() {
            "takes parameters that nothing knows" => {
                if let Some(params) = step.params.as_object_mut() {
                    params.retain(|name, _| name == "verb" || name == "unit");
                }
            }
            "takes parameters of any shape" => {
                let text = |name: &str| step.params[name].as_str().unwrap_or("status").to_owned();
                step.params = json!({ "verb": text("verb"), "unit": text("unit") });
            }
            "calls its server in a review" => self.0.calls_at_once(),
            _ => {}
        }
        let mut act: Act = step.parse()?;
        let tier = match lookup("verb", &act.verb, &VERBS) {
            Err(_) if self.0.has("refuses nothing") => Tier::Write,
            tier => tier?,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if !self.0.has("shows what it was given") && (act.unit.is_empty() || !act.unit.chars().all(plain)) {
            return Err(Refusal::new("unit_not_accepted", "a unit of letters and digits is accepted"));
        }
        if self.0.has("renders what it does not read back alike") {
            act.unit.push('x');
        }
        let tier = if self.0.has("calls a write a read") { Tier::Read } else { tier };
        let mut text = format!("units {} {}", act.verb, act.unit);
        if self.0.has("counts its reviews") {
            text = format!("{text} ({})", self.0.count.fetch_add(1, Ordering::SeqCst));
        }
        let target = Target::new("unit", if act.unit.is_empty() { "none" } else { &act.unit });
        Ok(ReviewedStep::new(StepSpec::typed("units.act", &act)?, act.verb.clone(), text, tier).on(target))
    }

    async fn dry_run(&self, cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        Ok(DryRun::by_server(self.act(cx, step, true).await?))
    }

    async fn read(&self, cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        Ok(StepOutput::text(self.act(cx, step.step(), false).await?))
    }

    async fn execute(&self, cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        if self.0.has("runs everything twice") {
            self.act(cx, step.step(), false).await?;
        }
        Ok(StepOutput::text(self.act(cx, step.step(), false).await?))
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        let answered = self.0.ask(cx, "GET", "/status/x", "").await.map_err(|fault| fault.error)?;
        Ok(CheckReport::new(self.0.judged(answered)?))
    }
}

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
        match self.0 {
            "documents what it does not take" => json!({ "adress": "http://127.0.0.1:9" }),
            _ => json!({ "url": "http://127.0.0.1:9" }),
        }
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
        // What never ends is known here.
        Duration::from_secs(if self.0.is_empty() { 30 } else { 3 })
    }
}

fn act(verb: &str, unit: &str) -> StepSpec {
    StepSpec::new("units.act", json!({ "verb": verb, "unit": unit }))
}

impl AdapterSubject for Subject {
    fn reads(&self) -> Vec<StepSpec> {
        vec![act("status", "web")]
    }

    fn writes(&self) -> Vec<Sample> {
        vec![Sample::new(act("restart", "web"))]
    }

    fn refused(&self) -> Vec<StepSpec> {
        vec![act("stop", "web")]
    }
}

/// What each does wrong, how it is registered, and the checks that must notice.
const BROKEN: &[Broken<fn() -> Registration>] = &[
    (
        "takes fields that nothing knows",
        open,
        &["the_config_schema_is_an_object_that_takes_nothing_else", "an_unknown_config_field_is_refused_by_name"],
    ),
    ("explains no field", unexplained, &["every_config_field_is_explained"]),
    ("documents what it does not take", whole, &["the_documented_config_is_built"]),
    (
        "looks at no config",
        careless,
        &[
            "a_config_value_of_another_type_is_refused_with_its_field",
            "a_required_config_field_that_is_missing_is_named",
        ],
    ),
    ("connects when it is built", whole, &["building_connects_to_nothing"]),
    ("logs its secret", whole, &["rule_12_a_secret_is_in_nothing_that_is_said_or_logged"]),
    (
        "says back what it is told",
        whole,
        &["rule_12_a_secret_that_a_server_says_back_is_in_no_error_and_no_log", "errors_are_bounded_and_plain"],
    ),
    ("says all that it is told", whole, &["errors_are_bounded_and_plain"]),
    ("tells its secret when nothing works", whole, &["rule_12_a_secret_is_in_no_error_when_nothing_works"]),
    ("calls without its secret", whole, &["without_its_secret_it_sends_nothing"]),
    ("keeps its secret", whole, &["the_secret_is_resolved_at_every_call"]),
    (
        "ignores its deadline",
        whole,
        &["a_silent_server_ends_every_call_at_its_deadline", "a_slow_server_ends_every_call_at_its_deadline"],
    ),
    ("reads without a bound", whole, &["an_endless_answer_is_not_read_to_its_end"]),
    ("takes anything for an answer", whole, &["garbage_and_broken_answers_are_errors"]),
    ("follows redirects", whole, &["a_redirect_is_not_followed"]),
    ("takes nobody there for good", whole, &["a_refused_connection_is_an_error_that_may_pass"]),
    ("calls any address", whole, &["an_address_that_is_not_allowed_is_never_called"]),
    ("ignores that its caller went away", whole, &["cancelling_ends_a_call_promptly"]),
    (
        "leaves its work behind",
        whole,
        &["a_dropped_call_leaves_nothing_running", "a_step_that_is_over_leaves_nothing_running"],
    ),
    (
        "counts its reviews",
        whole,
        &[
            "review_is_pure_and_deterministic",
            "what_review_renders_is_canonical",
            "rule_1_what_runs_is_what_was_approved",
        ],
    ),
    ("calls its server in a review", whole, &["review_is_pure_and_deterministic", "a_refused_step_has_no_effect"]),
    ("renders what it does not read back alike", whole, &["what_review_renders_is_canonical"]),
    ("calls a write a read", whole, &["reads_are_reads_and_writes_are_not"]),
    ("shows what it was given", whole, &["what_is_shown_is_plain_whatever_is_written_into_a_step"]),
    ("tells nobody how", whole, &["a_step_of_an_unknown_kind_is_refused_with_what_is_accepted"]),
    ("takes parameters that nothing knows", whole, &["an_unknown_parameter_is_refused_with_what_is_accepted"]),
    ("takes parameters of any shape", whole, &["parameters_of_another_shape_are_refused"]),
    ("refuses nothing", whole, &["a_refused_step_has_no_effect"]),
    ("previews for good", whole, &["looking_changes_nothing"]),
    ("runs everything twice", whole, &["rule_4_an_approved_step_runs_once"]),
    (
        "is sure that nothing happened",
        whole,
        &[
            "an_effect_whose_answer_never_comes_may_have_happened",
            "an_effect_whose_answer_is_cut_off_may_have_happened",
            "a_request_for_an_effect_without_an_answer_may_have_happened",
        ],
    ),
    ("doubts what is proven", whole, &["a_refused_connection_did_not_start_anything"]),
    ("says all of an output", whole, &["output_is_bounded"]),
];

#[test]
fn every_broken_adapter_fails_the_checks_that_protect_what_it_breaks() {
    // An adapter's words are its server's own, so no check can say which of them are an answer.
    let unable = ["an_answer_that_says_nothing_is_no_answer"];
    let run = |check: &str, flaw: &'static str, registration: &fn() -> Registration| {
        hold_adapter(check, true, Subject(flaw, *registration));
    };
    verdicts(ADAPTER_CHECKS, BROKEN, &unable, run, |check| hold_adapter(check, true, Subject("", whole)));
}

#[test]
#[should_panic(expected = "nothing is skipped silently")]
fn in_strict_mode_nothing_is_skipped_silently() {
    struct Mute(Subject);

    #[async_trait]
    impl ConnectorSubject for Mute {
        fn registration(&self) -> Registration {
            self.0.registration()
        }

        fn connector(&self, at: &str, secret: &str) -> Setup {
            self.0.connector(at, secret)
        }

        fn documented(&self) -> Value {
            self.0.documented()
        }

        async fn serve(&self, secret: &str) -> Served {
            self.0.serve(secret).await
        }
    }

    impl AdapterSubject for Mute {
        fn reads(&self) -> Vec<StepSpec> {
            Vec::new()
        }

        fn writes(&self) -> Vec<Sample> {
            Vec::new()
        }

        fn refused(&self) -> Vec<StepSpec> {
            Vec::new()
        }
    }

    let name = "rule_4_an_approved_step_runs_once";
    hold_adapter(name, false, Mute(Subject("", whole)));
    hold_adapter(name, true, Mute(Subject("", whole)));
}
