//! A configured request: its template, what it counts as, and what its answers mean.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use reqwest::header::{HeaderName, HeaderValue};
use rounds_core::redact::redact;
use rounds_core::step::{Refusal, ReviewedStep, StepError, StepOutput, StepSpec, Target, Tier};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::{DryRunHow, DryRunProof, Expect, HttpMethod, InverseTemplate, RequestTemplate};
use super::template::{Filled, Template, Values, collect, filled, header};
use crate::http;
use crate::remote::Answer;

/// The one step kind.
pub(super) const KIND: &str = "http.request";

/// What is shown of an answer.
const MAX_SHOWN: usize = 32 * 1024;

/// A step's parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) request: String,
    #[serde(default)]
    pub(super) params: Values,
}

/// A request that steps may name.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) name: String,
    pub(super) template: Template,
    pub(super) tier: Tier,
    pub(super) inverse: Option<InverseTemplate>,
    pub(super) dry_run: HowDry,
    description: String,
    idempotent: bool,
    reversible: bool,
    target_kind: String,
    name_param: Option<String>,
    namespace_param: Option<String>,
    expect: Expect,
}

/// How its receiver is asked what it would do.
#[derive(Debug)]
pub(super) enum HowDry {
    Cannot,
    Header(HeaderName, HeaderValue, DryRunProof),
    Query(String, String, DryRunProof),
}

impl Request {
    /// # Errors
    /// Something is wrong with it; the message begins with the field.
    pub(super) fn new(config: &RequestTemplate) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if config.name.is_empty() || config.name.len() > 100 || !config.name.chars().all(plain) {
            return Err("name: up to 100 letters, digits, `-`, `_` and `.` are accepted".into());
        }
        let template = Template::new(config)?;
        let by_method = match config.method {
            HttpMethod::Get => Tier::Read,
            HttpMethod::Delete => Tier::Destructive,
            HttpMethod::Post | HttpMethod::Put | HttpMethod::Patch => Tier::Write,
        };
        let tier = config.tier.unwrap_or(by_method);
        if tier == Tier::Read && config.method != HttpMethod::Get {
            return Err(format!(
                "tier: found `read` for {}; `read` is accepted for GET only, as investigations send what reads without asking \
                 anybody; `write` or `destructive` is accepted here",
                template.method
            ));
        }
        for (field, param) in [("nameParam", &config.name_param), ("namespaceParam", &config.namespace_param)] {
            // A target is never nameless.
            if let Some(param) = param
                && !template.params.get(param).is_some_and(super::param::Param::names)
            {
                return Err(format!(
                    "{field}: found `{param}`; the name of a string parameter that is never empty is accepted"
                ));
            }
        }
        let target_kind = config.target_kind.clone().unwrap_or_else(|| "request".into());
        if target_kind.trim().is_empty() || target_kind.len() > 100 || target_kind.chars().any(char::is_control) {
            return Err("targetKind: a text of 1 to 100 characters in one line is accepted".into());
        }
        expectable(&config.expect)?;
        let dry_run = match &config.dry_run {
            DryRunHow::None => HowDry::Cannot,
            DryRunHow::Header { name, value, expect } => {
                let (name, value) = header(name, value).map_err(|why| format!("dryRun: {why}"))?;
                HowDry::Header(name, value, expect.clone())
            }
            DryRunHow::Query { name, value, .. } if name.is_empty() || config.query.contains_key(name) => {
                return Err(format!(
                    "dryRun.name: found {name:?}, value {value:?}; a name that `query` does not have is accepted"
                ));
            }
            DryRunHow::Query { name, value, expect } => HowDry::Query(name.clone(), value.clone(), expect.clone()),
        };
        if let HowDry::Header(_, _, proof) | HowDry::Query(_, _, proof) = &dry_run {
            provable(tier, proof, &config.expect)?;
        }
        if let HowDry::Header(name, ..) = &dry_run
            && template.headers.contains_key(name)
        {
            return Err(format!(
                "dryRun.name: `{name}` is in `headers` already; a header that only a dry-run has is accepted"
            ));
        }
        Ok(Self {
            name: config.name.clone(),
            description: config.description.clone(),
            tier,
            idempotent: config.idempotent.unwrap_or(tier == Tier::Read),
            reversible: config.reversible.unwrap_or(config.inverse.is_some()),
            inverse: config.inverse.clone(),
            dry_run,
            target_kind,
            name_param: config.name_param.clone(),
            namespace_param: config.namespace_param.clone(),
            expect: config.expect.clone(),
            template,
        })
    }

    /// What must be right about a way back that leads to another request.
    ///
    /// # Errors
    /// It names a request or parameters that are not there.
    pub(super) fn check_inverse(&self, all: &BTreeMap<String, Self>) -> Result<(), String> {
        let Some(inverse) = &self.inverse else { return Ok(()) };
        let Some(back) = all.get(&inverse.request) else {
            let known: Vec<_> = all.keys().map(String::as_str).collect();
            return Err(format!("inverse.request: found `{}`; accepted: {}", inverse.request, known.join(", ")));
        };
        let names: Vec<_> = back.template.params.keys().collect();
        if !names.iter().copied().eq(inverse.params.keys()) {
            let found: Vec<_> = inverse.params.keys().map(String::as_str).collect();
            let names: Vec<_> = names.into_iter().map(String::as_str).collect();
            return Err(format!("inverse.params: found {}; all of {} are accepted", listed(&found), listed(&names)));
        }
        for (name, value) in &inverse.params {
            let mut used = Vec::new();
            collect(value, &mut used);
            if let Some(unknown) = used.iter().find(|used| !self.template.params.contains_key(*used)) {
                return Err(format!(
                    "inverse.params.{name}: found {{{unknown}}}, which is no parameter of this request"
                ));
            }
            // A constant is known now, so what is wrong with it is said now.
            if used.is_empty() {
                back.template
                    .params
                    .get(name)
                    .map_or(Ok(()), |param| param.check(name, value))
                    .map_err(|refused| format!("inverse.{refused}"))?;
            }
        }
        Ok(())
    }

    /// The step that takes a step back.
    pub(super) fn step_back(&self, values: &Values) -> Option<Step> {
        let inverse = self.inverse.as_ref()?;
        let params = inverse.params.iter().map(|(name, value)| (name.clone(), filled(value, values))).collect();
        Some(Step { request: inverse.request.clone(), params })
    }

    /// The step as people see it: method, address and body, as they are sent.
    pub(super) fn review(&self, step: &Step) -> Result<(ReviewedStep, Filled), Refusal> {
        self.template.check(&step.params)?;
        let sent = self.template.fill(&step.params)?;
        let mut text = format!("{} {}", self.template.method, sent.url);
        if let Some(body) = &sent.body {
            text.push_str(&format!(" {body}"));
        }
        let text_of = |param: &Option<String>| {
            let value = step.params.get(param.as_ref()?)?.as_str()?;
            Some(value.to_owned())
        };
        let target = Target::new(&self.target_kind, text_of(&self.name_param).unwrap_or_else(|| self.name.clone()));
        let target = match text_of(&self.namespace_param) {
            Some(namespace) => target.in_namespace(namespace),
            None => target,
        };
        let mut reviewed = ReviewedStep::new(StepSpec::typed(KIND, step)?, &self.name, text, self.tier).on(target);
        reviewed.reversible = self.reversible;
        reviewed.idempotent = self.idempotent;
        for (name, value) in &self.template.headers {
            reviewed = reviewed.note(format!("sends the header {name}: {}", value.to_str().unwrap_or("(not text)")));
        }
        if self.tier != Tier::Read && matches!(self.dry_run, HowDry::Cannot) {
            reviewed = reviewed.note("its receiver has no dry-run");
        }
        Ok((reviewed, sent))
    }

    /// For whoever writes steps.
    pub(super) fn usage(&self) -> String {
        let params: serde_json::Map<_, _> =
            self.template.params.iter().map(|(name, param)| (name.clone(), param.usage())).collect();
        let description: String =
            self.description.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
        format!(
            "{} ({}, {}): {description} params: {}",
            self.name,
            self.template.method,
            self.tier,
            Value::Object(params)
        )
    }

    /// What is kept of an answer, without `secrets`, and how it is spoken of.
    fn kept(&self, answer: &Answer, secrets: &[&str]) -> (StepOutput, String) {
        let status = answer.status;
        // Secrets go first: one that is cut in two is not found any more.
        let whole = secrets.iter().filter(|secret| secret.len() >= 6).fold(answer.text(usize::MAX), |text, secret| {
            if text.contains(secret) { text.replace(secret, "[redacted]") } else { text }
        });
        let body = redact(&whole.chars().take(MAX_SHOWN).collect::<String>(), secrets);
        let output = StepOutput::text(format!("HTTP {status}\n{body}"));
        let mut said = format!("{}: answered HTTP {status}", self.name);
        if let Some(wait) = http::retry_after(&answer.headers).filter(|_| !status.is_success()) {
            said.push_str(&format!(", and asks to be left alone for {} s", wait.as_secs()));
        }
        (output, said)
    }

    /// What the answer to a dry-run means: unless it shows that it is one, the request may have been carried out.
    pub(super) fn judge_dry(
        &self,
        answer: &Answer,
        proof: &DryRunProof,
        secrets: &[&str],
    ) -> Result<StepOutput, StepError> {
        let (output, said) = self.kept(answer, secrets);
        if !self.expects(answer.status) {
            return Err(self.unexpected(answer.status, said, output));
        }
        let whole = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
        if whole.pointer(&proof.json_pointer) == Some(&proof.equals) {
            return Ok(output);
        }
        let why =
            format!("{said}, and does not show that it was a dry-run ({} is not {})", proof.json_pointer, proof.equals);
        Err(StepError::unknown(why, output))
    }

    /// What an answer means. `secrets` are taken out of what is kept of it.
    pub(super) fn judge(&self, answer: &Answer, secrets: &[&str]) -> Result<StepOutput, StepError> {
        let (output, said) = self.kept(answer, secrets);
        if !self.expects(answer.status) {
            return Err(self.unexpected(answer.status, said, output));
        }
        let Some(pointer) = &self.expect.json_pointer else { return Ok(output) };
        let missed = |why: String| {
            let message = format!("{said}, and {why}");
            Err(match self.tier {
                Tier::Read => nothing_done(message, output.clone()),
                Tier::Write | Tier::Destructive => StepError::failed(message, output.clone()),
            })
        };
        let Ok(whole) = serde_json::from_slice::<Value>(&answer.body) else {
            return missed(format!("its body is not JSON; JSON with {pointer} is expected"));
        };
        let found = whole.pointer(pointer).unwrap_or(&Value::Null);
        let fits = match &self.expect.equals {
            Some(wanted) => found == wanted,
            None => !found.is_null(),
        };
        if fits {
            return Ok(output);
        }
        let shown: String = redact(&found.to_string(), secrets).chars().take(200).collect();
        let wanted = self.expect.equals.as_ref().map_or("anything but null".to_owned(), Value::to_string);
        missed(format!("{pointer} is {shown}; {wanted} is expected"))
    }

    fn expects(&self, status: StatusCode) -> bool {
        match &*self.expect.status {
            [] => status.is_success(),
            list => list.contains(&status.as_u16()),
        }
    }

    /// Nobody but the operator knows what a receiver means by an error, so without their word anything may have happened.
    fn unexpected(&self, status: StatusCode, said: String, output: StepOutput) -> StepError {
        if status.is_redirection() {
            let message = format!("{said}: redirects are not followed, so set `url` to the final address");
            return match self.tier {
                Tier::Read => StepError::not_started(message),
                Tier::Write | Tier::Destructive => StepError::failed(message, output),
            };
        }
        if self.tier == Tier::Read || self.expect.not_started_status.contains(&status.as_u16()) {
            return nothing_done(said, output);
        }
        match status.as_u16() {
            // A proxy that waited in vain, or a server that was interrupted.
            408 | 502 | 503 | 504 => StepError::unknown(format!("{said}: nobody knows whether it was done"), output),
            _ => StepError::failed(said, output),
        }
    }
}

/// Nothing was changed, and this is what it said.
fn nothing_done(message: String, output: StepOutput) -> StepError {
    let mut error = StepError::not_started(message);
    error.output = output;
    error
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// Whether a dry-run can be told from the request that it is made of.
fn provable(tier: Tier, proof: &DryRunProof, expect: &Expect) -> Result<(), String> {
    let pointer = &proof.json_pointer;
    if tier == Tier::Destructive {
        return Err("dryRun: found for a request of the tier `destructive`; `none` is accepted there, since the request itself \
                    is sent before anybody has approved it"
            .into());
    }
    if !pointer.starts_with('/') {
        return Err(format!(
            "dryRun.expect.jsonPointer: found {pointer:?}; a pointer such as /dryRun (RFC 6901) is accepted"
        ));
    }
    if proof.equals.is_null() {
        return Err("dryRun.expect.equals: found null, which is also what is not there; a value is accepted".into());
    }
    if expect.json_pointer.as_ref() == Some(pointer) && expect.equals.as_ref() == Some(&proof.equals) {
        return Err(
            "dryRun.expect: found the same as `expect`; what only the answer to a dry-run has is accepted".into()
        );
    }
    Ok(())
}

fn expectable(expect: &Expect) -> Result<(), String> {
    for (field, list) in [("status", &expect.status), ("notStartedStatus", &expect.not_started_status)] {
        if let Some(odd) = list.iter().find(|status| !(200..=599).contains(*status)) {
            return Err(format!("expect.{field}: found {odd}; 200 to 599 are accepted"));
        }
    }
    let ok = |status: &&u16| {
        if expect.status.is_empty() { (200..300).contains(*status) } else { expect.status.contains(status) }
    };
    if let Some(both) = expect.not_started_status.iter().find(ok) {
        return Err(format!(
            "expect.notStartedStatus: found {both}, which means success; a status that does not is accepted"
        ));
    }
    match (&expect.json_pointer, &expect.equals) {
        (Some(pointer), _) if !pointer.is_empty() && !pointer.starts_with('/') => {
            Err(format!("expect.jsonPointer: found {pointer:?}; a pointer such as /status (RFC 6901) is accepted"))
        }
        (None, Some(_)) => Err("expect.equals: found without jsonPointer, which says where to look".into()),
        _ => Ok(()),
    }
}

/// A step of this kind that names a request, as an example.
pub(super) fn example(request: &Request) -> Value {
    let params: serde_json::Map<_, _> = request.template.params.keys().map(|name| (name.clone(), json!("…"))).collect();
    json!({ "request": request.name, "params": params })
}
