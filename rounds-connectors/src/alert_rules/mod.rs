//! `alert_rules`: steps that change Rounds' own alert rules, inside a plan and through the same approval.
//!
//! Step kind `alert_rule.write`, with the rule's id and its name, which must be that rule's:
//!
//! - `{"rule": "018f…", "name": "errors", "set": {"threshold": 0.2}, "from": {"threshold": 0.05}}` changes what the condition is
//!   compared with, how long it must hold (`forDurationSec`), or how long the alert keeps firing (`keepFiringForSec`). `from`
//!   is what the rule must say now: a step that was approved for another state of the rule changes nothing.
//! - `{"rule": "018f…", "name": "errors", "silence": {"minutes": 60, "comment": "being mended"}}` keeps it from telling anybody
//!   and from starting investigations for a while. It ends by itself.
//!
//! Nothing leaves the process, so there is no credential; which rules may be changed is the config's list of names. Who
//! approved the step stands in the audit row of the change. A plan that changes the rule it was made for is never said to have
//! recovered its alert.

use std::sync::Arc;

use async_trait::async_trait;
use rounds_core::AlertRuleId;
use rounds_core::alert::AlertRule;
use rounds_core::plugin::{BuildContext, BuildError};
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DryRun, ExecutionAdapter, Inverse, OwnRules, PortError,
    PortErrorKind, ReadStep, RuleSettings, RuleWrite,
};
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec, Target, Tier};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The one kind of step.
pub const ALERT_RULE_WRITE: &str = StepSpec::ALERT_RULE_WRITE;

/// The longest comment of a silence, in bytes.
const COMMENT_MAX: usize = 400;

/// Which rules steps may change.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertRulesConfig {
    /// The names of the rules that steps may change; `*` at the end of a name stands for anything, `*` alone for every rule.
    /// Empty: none.
    #[serde(default)]
    pub allowed_rules: Vec<String>,
    /// The longest silence, in minutes: at most 10080 (7 days).
    #[serde(default = "a_day")]
    #[schemars(range(min = 1, max = 10080))]
    pub max_silence_minutes: u32,
}

fn a_day() -> u32 {
    1_440
}

rounds_core::register_connector! {
    kind: "alert_rules",
    title: "Alert rules of Rounds",
    role: Execution,
    secret: None,
    config: AlertRulesConfig,
    build: AlertRules::new,
}

/// Changes alert rules of the organisation that the connector belongs to.
pub struct AlertRules {
    rules: Option<Arc<dyn OwnRules>>,
    config: AlertRulesConfig,
}

/// The parameters of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Write {
    rule: AlertRuleId,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    set: Option<RuleSettings>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<RuleSettings>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    silence: Option<Silencing>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Silencing {
    minutes: u32,
    comment: String,
}

impl Write {
    fn write(&self) -> Result<RuleWrite, Refusal> {
        match (self.set, self.from, &self.silence) {
            (Some(to), Some(from), None) => Ok(RuleWrite::Set { to, from }),
            (None, None, Some(silence)) => {
                Ok(RuleWrite::Silence { minutes: silence.minutes, comment: silence.comment.clone() })
            }
            _ => Err(Refusal::new(
                "shape",
                "either `set` with `from`, or `silence`, is accepted: `set` is what the rule is to say, `from` what it says now",
            )),
        }
    }
}

impl AlertRules {
    /// Checks the config in full.
    ///
    /// # Errors
    /// The config has a wrong value.
    pub fn new(cx: BuildContext, config: AlertRulesConfig) -> Result<Self, BuildError> {
        if !(1..=10_080).contains(&config.max_silence_minutes) {
            let found = config.max_silence_minutes;
            return Err(BuildError::config(format!("maxSilenceMinutes: found {found}; 1 to 10080 is accepted")));
        }
        if let Some(odd) = config.allowed_rules.iter().find(|name| name.trim().is_empty()) {
            return Err(BuildError::config(format!("allowedRules: found {odd:?}; names of rules are accepted")));
        }
        Ok(Self { rules: cx.rules, config })
    }

    fn allows(&self, name: &str) -> bool {
        self.config.allowed_rules.iter().any(|allowed| match allowed.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == allowed,
        })
    }

    fn rules(&self) -> Result<&Arc<dyn OwnRules>, PortError> {
        let missing = || {
            PortError::new(PortErrorKind::Unavailable, "this connector was built outside of Rounds: there are no rules")
        };
        self.rules.as_ref().ok_or_else(missing)
    }

    /// The rule that a step is about, which must be called what was shown.
    async fn rule(&self, write: &Write) -> Result<AlertRule, StepError> {
        let failed = |error: PortError| StepError::not_started(error.to_string());
        let rule = self.rules().map_err(failed)?.rule(write.rule).await.map_err(failed)?;
        let rule = rule.ok_or_else(|| StepError::not_started(format!("there is no alert rule {}", write.rule)))?;
        if rule.name != write.name {
            return Err(StepError::not_started(format!(
                "the rule {} is called {:?}, and the step says {:?}: propose again",
                write.rule, rule.name, write.name
            )));
        }
        Ok(rule)
    }
}

fn shown(settings: &RuleSettings) -> Vec<(&'static str, String)> {
    let mut shown = Vec::new();
    shown.extend(settings.threshold.map(|value| ("threshold", value.to_string())));
    shown.extend(settings.for_duration_sec.map(|value| ("forDurationSec", value.to_string())));
    shown.extend(settings.keep_firing_for_sec.map(|value| ("keepFiringForSec", value.to_string())));
    shown
}

/// What is wrong with what a rule is to say.
fn check(to: &RuleSettings, from: &RuleSettings) -> Result<(), Refusal> {
    let names = |settings: &RuleSettings| shown(settings).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    if names(to).is_empty() || names(to) != names(from) {
        let message = format!(
            "set names [{}] and from names [{}]; the same of threshold, forDurationSec and keepFiringForSec, at least one, are \
             accepted in both",
            names(to).join(", "),
            names(from).join(", ")
        );
        return Err(Refusal::new("shape", message));
    }
    for (name, value) in [("set.threshold", to.threshold), ("from.threshold", from.threshold)] {
        if value.is_some_and(|value| !value.is_finite()) {
            return Err(Refusal::new("shape", format!("{name}: a finite number is accepted")));
        }
    }
    let seconds = [("forDurationSec", to.for_duration_sec), ("keepFiringForSec", to.keep_firing_for_sec)];
    for (name, value) in seconds {
        if let Some(found) = value.filter(|value| *value > 7 * 86_400) {
            return Err(Refusal::new("shape", format!("set.{name}: found {found}; 0 to 604800 (7 days) is accepted")));
        }
    }
    if to == from {
        return Err(Refusal::new("changes_nothing", "set and from say the same: the step would change nothing"));
    }
    Ok(())
}

#[async_trait]
impl ExecutionAdapter for AlertRules {
    fn describe(&self) -> AdapterInfo {
        let allowed = match self.config.allowed_rules.as_slice() {
            [] => "none".to_owned(),
            names => names.join(", "),
        };
        let usage = format!(
            "Changes alert rules of Rounds. kind `{ALERT_RULE_WRITE}`, params {{\"rule\": <id>, \"name\": <its name>, \"set\": {{\"threshold\"?, \
             \"forDurationSec\"?, \"keepFiringForSec\"?}}, \"from\": <the same as it is now>}} or {{\"rule\", \"name\", \"silence\": {{\"minutes\": \
             1 to {}, \"comment\": <why>}}}}. Only when the alert itself is wrong: it mends nothing. Rules that may be changed: {allowed}.",
            self.config.max_silence_minutes
        );
        AdapterInfo::new([ALERT_RULE_WRITE], usage)
    }

    fn review(&self, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal> {
        Refusal::unless_one_of("step kind", &step.kind, [ALERT_RULE_WRITE])?;
        let write: Write = step.parse()?;
        if mode == Mode::Read {
            return Err(Refusal::new("not_a_read", "this connector has no reads: propose it as a step of a plan"));
        }
        if !self.allows(&write.name) {
            return Refusal::unless_one_of("alert rule", &write.name, &self.config.allowed_rules).and_then(|()| {
                Err(Refusal::new("alert_rule_not_accepted", format!("the alert rule {:?} is not accepted", write.name)))
            });
        }
        let name = format!("{:?}", write.name);
        let (verb, text) = match write.write()? {
            RuleWrite::Set { to, from } => {
                check(&to, &from)?;
                let parts: Vec<String> = shown(&to)
                    .into_iter()
                    .zip(shown(&from))
                    .map(|((name, to), (_, from))| format!("{name} {from} -> {to}"))
                    .collect();
                ("set", format!("alert rule {name} ({}): set {}", write.rule, parts.join(", ")))
            }
            RuleWrite::Silence { minutes, comment } => {
                let most = self.config.max_silence_minutes;
                if !(1..=most).contains(&minutes) {
                    return Err(Refusal::new(
                        "shape",
                        format!("silence.minutes: found {minutes}; 1 to {most} is accepted"),
                    ));
                }
                if comment.trim().is_empty() || comment.len() > COMMENT_MAX || comment.chars().any(char::is_control) {
                    let message =
                        format!("silence.comment: a reason in one line of 1 to {COMMENT_MAX} bytes is accepted");
                    return Err(Refusal::new("shape", message));
                }
                (
                    "silence",
                    format!("alert rule {name} ({}): silence for {minutes} min, because {comment:?}", write.rule),
                )
            }
            _ => return Err(Refusal::new("shape", "this change is not known here")),
        };
        let reviewed = ReviewedStep::new(StepSpec::typed(ALERT_RULE_WRITE, &write)?, verb, text, Tier::Write)
            .on(Target::new("alert_rule", write.name.clone()))
            .reversible()
            .idempotent();
        Ok(match verb {
            "set" => reviewed.note("It changes when the alert fires, not what is wrong: the rule's state starts over."),
            _ => reviewed
                .note("While it lasts nobody is told of this alert and nothing is investigated; it ends by itself."),
        })
    }

    async fn dry_run(&self, _: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        let write: Write = step.parse()?;
        let rule = self.rule(&write).await?;
        let condition = &rule.condition;
        let now = format!(
            "now: {} {} {} for {} s, keeps firing for {} s",
            condition.query,
            condition.operator,
            condition.threshold,
            condition.for_duration_sec,
            condition.keep_firing_for_sec
        );
        if let RuleWrite::Set { to, from } = write.write()? {
            let found = to.now(&rule);
            if found != from {
                let text = shown(&found).into_iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>();
                return Err(StepError::not_started(format!(
                    "the rule says {} now, and the step was made for something else: propose again",
                    text.join(", ")
                )));
            }
            if let Some(source) = &rule.source {
                return Err(StepError::not_started(format!(
                    "{source} evaluates this rule: its condition is changed there"
                )));
            }
        }
        Ok(DryRun::by_server(now))
    }

    async fn inverse(&self, _: &CallContext, step: &ReviewedStep) -> Result<Inverse, StepError> {
        let write: Write = step.parse()?;
        match (write.set, write.from) {
            (Some(to), Some(from)) => {
                let back = Write { set: Some(from), from: Some(to), ..write };
                Ok(Inverse::Steps(vec![StepSpec::typed(ALERT_RULE_WRITE, &back)?]))
            }
            // A silence ends by itself.
            _ => Ok(Inverse::NotNeeded),
        }
    }

    async fn read(&self, _: &CallContext, _: ReadStep) -> Result<StepOutput, StepError> {
        Err(StepError::not_started("this connector has no reads"))
    }

    async fn execute(&self, _: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        let write: Write = step.step().parse()?;
        self.rule(&write).await?;
        let rules = self.rules().map_err(|error| StepError::not_started(error.to_string()))?;
        rules.write(write.rule, &write.write()?, &step).await?;
        Ok(StepOutput::text(format!("done: {}", step.step().command_text)))
    }

    async fn check(&self, _: &CallContext) -> Result<CheckReport, PortError> {
        self.rules()?;
        let allowed = self.config.allowed_rules.join(", ");
        Ok(CheckReport::new(match allowed.as_str() {
            "" => "nothing to reach; no rule may be changed: list some in allowedRules".to_owned(),
            allowed => format!("nothing to reach; steps may change: {allowed}"),
        }))
    }
}
