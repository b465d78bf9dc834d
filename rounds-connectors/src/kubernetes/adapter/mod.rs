//! The adapter: reviews with the gate, runs kubectl, tells what happened.

mod discovery;
mod dry_run;
mod inverse;
mod managed;
mod rollouts;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use rounds_core::Timestamp;
use rounds_core::plugin::{BuildContext, BuildError};
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DataSet, DryRun, ExecutionAdapter, Inverse, PortError,
    ReadStep,
};
use rounds_core::step::{Effect, Mode, OUTPUT_CAP, Refusal, ReviewedStep, StepError, StepOutput, StepSpec, Tier};
use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::config::KubernetesConfig;
use super::gate::{Action, Command, Form, Gate, ObjectRef, Rule, render_argv, render_stdin};
use super::process::Exit;
use super::rights::{RIGHTS, SECRETS};
use super::runner::{Answer, Call, Runner, broke_down, connection_lost, never_sent, not_run, unreachable_server};
use super::version;

/// Runs steps against one Kubernetes cluster through `kubectl`.
pub struct KubectlExecutionAdapter {
    config: KubernetesConfig,
    /// Replaced when the cluster turns out to serve other kinds than were known.
    gate: RwLock<Arc<Gate>>,
    /// When the cluster was last asked which kinds it serves.
    discovered: Mutex<Option<Instant>>,
    runner: Runner,
}

impl std::fmt::Debug for KubectlExecutionAdapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubectlExecutionAdapter").field("runner", &self.runner).finish_non_exhaustive()
    }
}

impl KubectlExecutionAdapter {
    /// Builds the adapter: checks the config, looks for kubectl, connects to nothing.
    ///
    /// # Errors
    /// The config is wrong, or the host offers no `kubectl`.
    pub fn new(cx: BuildContext, config: KubernetesConfig) -> Result<Self, BuildError> {
        let gate = config.gate()?;
        let runner = Runner::new(cx, config.credentials)?;
        Ok(Self { config, gate: RwLock::new(Arc::new(gate)), discovered: Mutex::new(None), runner })
    }

    /// Looks at a kubeconfig before it is stored.
    pub(super) fn check_secret(cx: &BuildContext, secret: &SecretString) -> Result<(), BuildError> {
        Runner::check_secret(cx, secret)
    }

    fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_gate(&self, gate: Gate) {
        *self.gate.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(gate);
    }

    /// What the connector's config allows one command.
    fn timeout(&self) -> Duration {
        Duration::from_secs(self.config.timeout_sec.into())
    }

    fn call<'a>(&self, cx: &'a CallContext, cancellable: bool) -> Call<'a> {
        Call::new(cx, self.timeout(), cancellable)
    }

    /// Runs a reviewed command as it is.
    async fn run_command(&self, call: &Call<'_>, command: &Command) -> Result<Answer, StepError> {
        if let Some(lack) = version::lacks(self.runner.client().await?, command) {
            return Err(StepError::not_started(lack));
        }
        self.runner.run(call, &render_argv(command, Form::Reviewed), render_stdin(command).as_deref(), OUTPUT_CAP).await
    }

    /// Today's gate over an earlier review: another verdict or another rendering, and nothing runs.
    async fn again(&self, call: &Call<'_>, step: &ReviewedStep, mode: Mode) -> Result<Command, StepError> {
        let spec = step.spec();
        // Whether a custom kind lives in namespaces is the cluster's word, and it may have changed.
        let needs_to_know = match self.gate().command(&spec, mode) {
            Ok(command) => !command.is_built_in(),
            // Whatever else refuses it, refuses it whatever the cluster serves.
            Err(refusal) => refusal.rule == Rule::UnknownKind.word(),
        };
        if needs_to_know {
            self.discover_kinds(call).await?;
        }
        let gate = self.gate();
        let refused = |refusal: Refusal| {
            StepError::not_started(format!("the gate refuses this step now ({}): {}", refusal.rule, refusal.message))
        };
        let reviewed = gate.review(&spec, mode).map_err(refused)?;
        if reviewed != *step {
            return Err(StepError::not_started(format!(
                "the gate would now run `{}`, which is not what was reviewed; propose the step again",
                reviewed.command_text
            )));
        }
        gate.command(&spec, mode).map_err(refused)
    }

    fn failed(&self, command: &Command, answer: &Answer) -> StepError {
        let read = super::gate::tier_of(command) == Tier::Read;
        let output = answer.output();
        let verb = command.action.verb();
        let mut error = match answer.finished.exit {
            Exit::Code(code) => {
                if let Some(proof) = never_sent(answer).filter(|_| Self::changes_once(command)) {
                    let message =
                        format!("the API server {} could not be reached, so nothing was sent: {proof}", answer.server);
                    let mut error = StepError::failed(message, output);
                    error.effect = Effect::NotStarted;
                    error
                } else if let Some(sign) = connection_lost(answer).filter(|_| !read) {
                    let message = format!(
                        "the connection to the API server {} was lost while kubectl {verb} ran; whether it took effect is unknown, look before you try again: {sign}",
                        answer.server
                    );
                    StepError::unknown(message, output)
                } else if broke_down(answer).is_some() && !read {
                    let why = answer.complaint();
                    let message = format!(
                        "kubectl {verb} did not come to its end; whether it took effect is unknown, look before you try again: {why}"
                    );
                    StepError::unknown(message, output)
                } else {
                    let message = format!("kubectl {verb} ended with code {code}: {}", answer.complaint());
                    StepError::failed(message, output)
                }
            }
            Exit::TimedOut => StepError::unknown(
                format!(
                    "kubectl {verb} did not end in time and was killed; whether it took effect is unknown, look before you try again"
                ),
                output,
            ),
            Exit::Cancelled => StepError::unknown(
                format!("kubectl {verb} was ended early because nobody waits for it any more"),
                output,
            ),
            Exit::Signal => StepError::unknown(
                format!("kubectl {verb} was killed by somebody else; whether it took effect is unknown"),
                output,
            ),
            Exit::Lost => StepError::unknown(
                format!(
                    "kubectl {verb} was started, and the system did not say how it ended; whether it took effect is unknown, look before you try again"
                ),
                output,
            ),
        };
        if read {
            error.effect = Effect::NotStarted;
            error.outcome_unknown = false;
        }
        error
    }

    /// Whether a command sends one changing request, as its last.
    fn changes_once(command: &Command) -> bool {
        Self::objects(command).len() == 1 && !matches!(command.action, Action::Delete(_))
    }

    /// The objects that a change names.
    fn objects(command: &Command) -> Vec<&ObjectRef> {
        match &command.action {
            Action::Scale(scale) => scale.objects.iter().collect(),
            Action::RolloutUndo(undo) => undo.objects.iter().collect(),
            Action::RolloutChange(change) => change.objects.iter().collect(),
            Action::Patch(patch) => vec![&patch.object],
            Action::Apply(apply) => apply.objects.iter().map(|object| &object.object).collect(),
            Action::Label(metadata) | Action::Annotate(metadata) => metadata.objects.iter().collect(),
            Action::Delete(delete) => delete.objects.iter().collect(),
            Action::Get(_)
            | Action::Describe(_)
            | Action::Logs(_)
            | Action::Top(_)
            | Action::Events(_)
            | Action::Version(_)
            | Action::ApiResources(_)
            | Action::RolloutStatus(_)
            | Action::RolloutHistory(_) => Vec::new(),
        }
    }
}

#[async_trait]
impl ExecutionAdapter for KubectlExecutionAdapter {
    fn describe(&self) -> AdapterInfo {
        let gate = self.gate();
        let policy = gate.policy();
        let mut usage = format!(
            "kubectl commands as argv, without the leading `kubectl`; the verb first, no shell, no files, no `--`. Namespaces: {}. \
             Reads: get, describe, logs, top, events, version, api-resources (never Secrets, never -w or -f). \
             Changes, in plans only: scale, rollout undo|restart|pause|resume, patch -p, apply -f - with the manifest in `stdin`, \
             annotate, label, delete TYPE/NAME; each names its objects and its namespace with -n. `rollout status` and `rollout history` {}.",
            policy.shown(),
            if policy.rollout_reads { "are reads" } else { "are steps of plans" },
        );
        if !self.config.capabilities.is_empty() {
            usage.push_str(&format!(" Meant for: {}.", self.config.capabilities.join(", ")));
        }
        AdapterInfo::commands(usage)
            .with_namespaces(self.config.allowed_namespaces.iter().cloned())
            .with_step_timeout(self.timeout())
    }

    fn review(&self, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal> {
        self.gate().review(step, mode)
    }

    async fn discover(&self, cx: &CallContext, refused: &Refusal) -> Result<bool, PortError> {
        if refused.rule != Rule::UnknownKind.word() {
            return Ok(false);
        }
        self.discover_kinds(&self.call(cx, true)).await.map_err(not_run)?;
        Ok(true)
    }

    async fn inverse(&self, cx: &CallContext, step: &ReviewedStep) -> Result<Inverse, StepError> {
        let call = self.call(cx, true);
        let command = self.again(&call, step, Mode::Write).await?;
        self.take_back(&call, &command).await
    }

    async fn changes(
        &self,
        cx: &CallContext,
        between: (Timestamp, Timestamp),
        namespace: Option<&str>,
    ) -> Result<Option<DataSet>, PortError> {
        self.rollouts(cx, between, namespace).await
    }

    async fn dry_run(&self, cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        let call = self.call(cx, true);
        let command = self.again(&call, step, Mode::Write).await?;
        self.preview_managed(&call, &command).await
    }

    async fn read(&self, cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        let call = self.call(cx, true);
        let command = self.again(&call, step.step(), Mode::Read).await?;
        let answer = self.run_command(&call, &command).await?;
        if answer.succeeded() { Ok(answer.output()) } else { Err(self.failed(&command, &answer)) }
    }

    async fn execute(&self, cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        let call = self.call(cx, false);
        let command = self.again(&call, step.step(), Mode::Write).await?;
        let answer = self.run_command(&call, &command).await?;
        if answer.succeeded() { Ok(answer.output()) } else { Err(self.failed(&command, &answer)) }
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        let call = self.call(cx, true);
        let mut facts = BTreeMap::new();
        let timeout = format!("--request-timeout={}s", self.gate().policy().request_timeout());
        let answer = self
            .runner
            .run(&call, &["version".into(), "--output=json".into(), timeout.clone()], None, OUTPUT_CAP)
            .await
            .map_err(not_run)?;
        let client = self.runner.client().await.map_err(not_run)?;
        facts.insert("kubectl".into(), client.to_string());
        facts.insert("server".into(), answer.server.clone());
        // Without a server kubectl still prints its own version, and an error.
        let version = answer
            .objects()
            .and_then(|answer| answer.first()?.pointer("/serverVersion/gitVersion")?.as_str().map(str::to_owned));
        let Some(version) = version.filter(|_| answer.succeeded()) else {
            return Err(unreachable_server(&answer));
        };
        facts.insert("serverVersion".into(), version.chars().take(60).collect());
        let (mut readable, mut unreadable) = (Vec::new(), Vec::new());
        for namespace in &self.config.allowed_namespaces {
            let argv = [
                "get".into(),
                "pods".into(),
                "--output=name".into(),
                "--chunk-size=50".into(),
                format!("--namespace={namespace}"),
                timeout.clone(),
            ];
            let answer = self.runner.run(&call, &argv, None, OUTPUT_CAP).await.map_err(not_run)?;
            if answer.succeeded() {
                readable.push(namespace.as_str());
            } else {
                unreadable.push(format!("in the namespace `{namespace}`: {}", answer.complaint()));
            }
        }
        facts.insert("namespaces".into(), readable.join(", "));
        let namespaces = &self.config.allowed_namespaces;
        let abilities = self.runner.abilities(&call, namespaces, &RIGHTS, Some(&SECRETS), &timeout).await;
        if !abilities.too_much.is_empty() {
            let said = format!(
                "the credentials can read Secrets in {}; Rounds never does, so take that right away",
                abilities.too_much.join(", ")
            );
            facts.insert("moreThanNeeded".into(), said);
        }
        if let Some(unknown) = abilities.unknown {
            facts.insert("notKnown".into(), format!("what the credentials can do: {unknown}"));
        }
        let (refused, optional) = abilities.missing;
        let message = if self.config.allowed_namespaces.is_empty() {
            format!("Kubernetes {version} answers. allowedNamespaces is empty, so nothing may be read or changed.")
        } else if readable.is_empty() {
            format!("Kubernetes {version} answers; pods can be read in none of the allowed namespaces.")
        } else if refused == 0 {
            format!("Kubernetes {version} answers; pods can be read in {}.", readable.join(", "))
        } else {
            format!(
                "Kubernetes {version} answers; pods can be read in {}. Of {} rights that were asked for, {refused} are \
                 missing{}.",
                readable.join(", "),
                abilities.found.len(),
                match optional {
                    0 => ": plans that need those will fail".to_owned(),
                    _ if optional == refused => ", and no plan fails for that".to_owned(),
                    _ => format!(": plans that need those will fail, but for {optional} that no plan needs"),
                },
            )
        };
        let report = CheckReport::new(message).with_facts(facts).with_abilities(abilities.found);
        Ok(match unreadable.as_slice() {
            [] => report,
            unreadable => {
                report.lacking(format!("the cluster answers, but pods cannot be read {}", unreadable.join("; ")))
            }
        })
    }
}
