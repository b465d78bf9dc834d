//! `alert_rules`, over rules that remember what was done to them. It has no other side and no secret, so what the kit does to
//! servers and secrets has nothing to look at.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use rounds_connectors::alert_rules::{AlertRules, AlertRulesConfig};
use rounds_core::AlertRuleId;
use rounds_core::access::Actor;
use rounds_core::alert::{AlertRule, Condition, Operator, Severity};
use rounds_core::conformance::connector::{AdapterSubject, ConnectorSubject, Sample, Served, Setup};
use rounds_core::plugin::{BuildContext, Registration};
use rounds_core::ports::{ApprovedStep, OwnRules, PortError, RuleWrite};
use rounds_core::step::{StepError, StepSpec};
use serde_json::{Value, json};

const RULE: &str = "0199a5c0-0000-7000-8000-000000000001";

/// How often the rules of each connector were changed, by its name in the config: each test has a connector of its own.
static WRITES: LazyLock<Mutex<HashMap<String, u64>>> = LazyLock::new(Mutex::default);

struct Rules(String);

#[rounds_core::async_trait]
impl OwnRules for Rules {
    async fn rule(&self, id: AlertRuleId) -> Result<Option<AlertRule>, PortError> {
        Ok((id.to_string() == RULE).then(|| rule(id)))
    }

    async fn write(&self, _: AlertRuleId, _: &RuleWrite, _: &ApprovedStep) -> Result<(), StepError> {
        *WRITES.lock().unwrap().entry(self.0.clone()).or_default() += 1;
        Ok(())
    }
}

fn rule(id: AlertRuleId) -> AlertRule {
    AlertRule {
        id,
        org_id: Default::default(),
        name: "errors".into(),
        description: String::new(),
        condition: Condition {
            query: "errors".into(),
            operator: Operator::Gt,
            threshold: 0.5,
            for_duration_sec: 60,
            keep_firing_for_sec: 0,
        },
        evaluation_interval_sec: 60,
        severity: Severity::High,
        labels: Default::default(),
        annotations: Default::default(),
        series: Default::default(),
        absent_is_zero: false,
        source: None,
        datasource_id: None,
        owner_team_id: None,
        enabled: true,
        created_by: Actor::system(),
        created_at: Default::default(),
        updated_at: Default::default(),
    }
}

struct Own;

#[rounds_core::async_trait]
impl ConnectorSubject for Own {
    fn registration(&self) -> Registration {
        rounds_core::registration! {
            kind: "alert_rules",
            title: "Alert rules of Rounds",
            role: Execution,
            secret: None,
            config: AlertRulesConfig,
            build: |cx: BuildContext, config: AlertRulesConfig| {
                let key = config.allowed_rules.last().cloned().unwrap_or_default();
                AlertRules::new(cx.with_rules(Arc::new(Rules(key))), config)
            },
        }
    }

    fn connector(&self, at: &str, _: &str) -> Setup {
        // The address tells the rules of one test from those of another.
        Setup::new(json!({ "allowedRules": ["errors", at] }))
    }

    fn documented(&self) -> Value {
        let page = include_str!("../../../../docs/operating.md");
        let example = "`{\"allowedRules\": [\"checkout*\"], \"maxSilenceMinutes\": 240}`";
        assert!(page.contains(example), "the page shows another config");
        serde_json::from_str(example.trim_matches('`')).unwrap()
    }

    async fn serve(&self, _: &str) -> Served {
        let address = format!("http://127.0.0.1:9/{}", AlertRuleId::new());
        let key = address.clone();
        Served::new(address, move || WRITES.lock().unwrap().get(&key).copied().unwrap_or_default())
    }

    fn waived(&self) -> Vec<(&'static str, &'static str)> {
        let no_server = "there is no other side: the rules are those of this process";
        let no_secret = "it has no secret";
        [
            ("a_silent_server_ends_every_call_at_its_deadline", no_server),
            ("a_slow_server_ends_every_call_at_its_deadline", no_server),
            ("an_endless_answer_is_not_read_to_its_end", no_server),
            ("garbage_and_broken_answers_are_errors", no_server),
            ("an_answer_that_says_nothing_is_no_answer", no_server),
            ("a_redirect_is_not_followed", no_server),
            ("errors_are_bounded_and_plain", no_server),
            ("a_refused_connection_is_an_error_that_may_pass", no_server),
            ("an_address_that_is_not_allowed_is_never_called", no_server),
            ("cancelling_ends_a_call_promptly", no_server),
            ("a_dropped_call_leaves_nothing_running", no_server),
            ("a_step_that_is_over_leaves_nothing_running", no_server),
            ("an_effect_whose_answer_never_comes_may_have_happened", no_server),
            ("an_effect_whose_answer_is_cut_off_may_have_happened", no_server),
            ("a_request_for_an_effect_without_an_answer_may_have_happened", no_server),
            ("a_refused_connection_did_not_start_anything", no_server),
            ("rule_12_a_secret_is_in_nothing_that_is_said_or_logged", no_secret),
            ("rule_12_a_secret_that_a_server_says_back_is_in_no_error_and_no_log", no_secret),
            ("rule_12_a_secret_is_in_no_error_when_nothing_works", no_secret),
            ("without_its_secret_it_sends_nothing", no_secret),
            ("the_secret_is_resolved_at_every_call", no_secret),
            ("a_required_config_field_that_is_missing_is_named", "no field is required: an empty list permits nothing"),
        ]
        .into()
    }
}

fn write(params: Value) -> StepSpec {
    let mut all = json!({ "rule": RULE, "name": "errors" });
    all.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
    StepSpec::new("alert_rule.write", all)
}

impl AdapterSubject for Own {
    fn reads(&self) -> Vec<StepSpec> {
        Vec::new()
    }

    fn writes(&self) -> Vec<Sample> {
        vec![
            Sample::new(write(json!({ "set": { "threshold": 0.75 }, "from": { "threshold": 0.5 } }))),
            Sample::new(write(json!({ "silence": { "minutes": 30, "comment": "being mended" } }))),
        ]
    }

    fn refused(&self) -> Vec<StepSpec> {
        vec![
            write(json!({})),
            write(json!({ "name": "other", "silence": { "minutes": 30, "comment": "c" } })),
            write(json!({ "silence": { "minutes": 0, "comment": "c" } })),
            write(json!({ "set": { "threshold": 0.5 }, "from": { "threshold": 0.5 } })),
        ]
    }
}

rounds_core::adapter_conformance!(strict: Own);
