//! The adapter: what is sent for a step, and what its answer means.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use rounds_core::plugin::{BuildContext, BuildError};
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DryRun, ExecutionAdapter, Inverse, PortError, ReadStep,
};
use rounds_core::step::{Effect, Mode, OUTPUT_CAP, Refusal, ReviewedStep, StepError, StepOutput, StepSpec, Tier};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::config::FluxConfig;
use super::kinds::Kind;
use super::status::{self, Progress};
use super::step::{self, Command, GET, Object, RECONCILE, RESUME, STEPS, SUSPEND};
use crate::kubernetes::process::Exit;
use crate::kubernetes::rights::{Right, right};
use crate::kubernetes::runner::{
    Answer, Call, KEEP_OBJECTS, Runner, broke_down, capped, connection_lost, never_sent, not_run, unreachable_server,
};

const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";
/// Between two looks at an object that is being reconciled; the first ones come sooner.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Left of a step's time for its last look, which starts a process and asks the cluster.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// What steps need, for the test of the connection.
const RIGHTS: [Right; 10] = [
    right("read Kustomizations", "get", Kind::Kustomization.group(), Kind::Kustomization.plural(), ""),
    right("list Kustomizations", "list", Kind::Kustomization.group(), Kind::Kustomization.plural(), ""),
    right(
        "reconcile, suspend and resume Kustomizations",
        "patch",
        Kind::Kustomization.group(),
        Kind::Kustomization.plural(),
        "",
    ),
    right("read HelmReleases", "get", Kind::HelmRelease.group(), Kind::HelmRelease.plural(), ""),
    right(
        "reconcile, suspend and resume HelmReleases",
        "patch",
        Kind::HelmRelease.group(),
        Kind::HelmRelease.plural(),
        "",
    ),
    right("read GitRepositories", "get", Kind::GitRepository.group(), Kind::GitRepository.plural(), ""),
    right(
        "reconcile, suspend and resume GitRepositories",
        "patch",
        Kind::GitRepository.group(),
        Kind::GitRepository.plural(),
        "",
    ),
    right(
        "reconcile, suspend and resume OCIRepositories",
        "patch",
        Kind::OciRepository.group(),
        Kind::OciRepository.plural(),
        "",
    ),
    right(
        "reconcile, suspend and resume HelmRepositories",
        "patch",
        Kind::HelmRepository.group(),
        Kind::HelmRepository.plural(),
        "",
    ),
    right("reconcile, suspend and resume Buckets", "patch", Kind::Bucket.group(), Kind::Bucket.plural(), ""),
];

/// What no step needs.
const SECRETS: Right = right("read Secrets", "get", "", "secrets", "");

/// Runs Flux's steps against one cluster through `kubectl`.
#[derive(Debug)]
pub struct FluxExecutionAdapter {
    config: FluxConfig,
    runner: Runner,
}

impl FluxExecutionAdapter {
    /// Builds the adapter: checks the config, looks for kubectl, connects to nothing.
    ///
    /// # Errors
    /// The config is wrong, or the host offers no `kubectl`.
    pub fn new(cx: BuildContext, config: FluxConfig) -> Result<Self, BuildError> {
        config.check()?;
        let runner = Runner::new(cx, config.credentials)?;
        Ok(Self { config, runner })
    }

    /// Looks at a kubeconfig before it is stored.
    pub(super) fn check_secret(cx: &BuildContext, secret: &SecretString) -> Result<(), BuildError> {
        Runner::check_secret(cx, secret)
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.config.timeout_sec.into())
    }

    fn request_timeout(&self) -> String {
        format!("--request-timeout={}s", self.config.request_timeout())
    }

    /// Today's review over an earlier one: another rendering, and nothing runs.
    fn again(&self, step: &ReviewedStep, mode: Mode) -> Result<Command, StepError> {
        let spec = step.spec();
        let reviewed = self.review(&spec, mode)?;
        if reviewed != *step {
            return Err(StepError::not_started(format!(
                "this would now be `{}`, which is not what was reviewed; propose the step again",
                reviewed.command_text
            )));
        }
        Ok(step::parse(&spec, &self.config)?)
    }

    /// The objects of a kind, or the one of a name. An error has changed nothing.
    async fn get(
        &self,
        call: &Call<'_>,
        kind: Kind,
        namespace: &str,
        name: Option<&str>,
    ) -> Result<Vec<Value>, StepError> {
        let what = match name {
            Some(name) => format!("{}/{name}", kind.resource()),
            None => kind.resource(),
        };
        let argv =
            ["get".into(), what, "--output=json".into(), format!("--namespace={namespace}"), self.request_timeout()];
        let answer = self.runner.run(call, &argv, None, KEEP_OBJECTS).await?;
        if !answer.succeeded() {
            let mut error = StepError::not_started(told("reading", kind, &answer));
            error.output = shown(&answer);
            return Err(error);
        }
        answer.objects().ok_or_else(|| {
            StepError::not_started(format!(
                "the {}s of the namespace {namespace} are more than can be read at once; name one",
                kind.word()
            ))
        })
    }

    async fn one(&self, call: &Call<'_>, object: &Object) -> Result<Value, StepError> {
        let found = self.get(call, object.kind, &object.namespace, Some(&object.name)).await?;
        found.into_iter().next().ok_or_else(|| StepError::not_started(format!("{object} was not found")))
    }

    /// Sends a merge patch, or asks the server what it would make of it.
    async fn patch(&self, call: &Call<'_>, object: &Object, body: &Value, dry: bool) -> Result<Value, StepError> {
        let mut argv = vec![
            "patch".into(),
            format!("{}/{}", object.kind.resource(), object.name),
            "--type=merge".into(),
            format!("--patch={body}"),
            "--field-manager=rounds".into(),
            "--output=json".into(),
            format!("--namespace={}", object.namespace),
            self.request_timeout(),
        ];
        if dry {
            argv.push("--dry-run=server".into());
        }
        let answer = self.runner.run(call, &argv, None, KEEP_OBJECTS).await?;
        if answer.succeeded() {
            return Ok(answer.objects().and_then(|found| found.into_iter().next()).unwrap_or_default());
        }
        let output = shown(&answer);
        let mut error = match answer.finished.exit {
            Exit::Code(_) => match (never_sent(&answer), connection_lost(&answer)) {
                (Some(proof), _) => {
                    let message =
                        format!("the API server {} could not be reached, so nothing was sent: {proof}", answer.server);
                    let mut error = StepError::failed(message, output);
                    error.effect = Effect::NotStarted;
                    error
                }
                (None, Some(sign)) => StepError::unknown(
                    format!(
                        "the connection to the API server {} was lost while {object} was patched; whether it took effect is unknown, look before you try again: {sign}",
                        answer.server
                    ),
                    output,
                ),
                (None, None) if broke_down(&answer).is_some() => StepError::unknown(
                    format!(
                        "kubectl did not come to its end while {object} was patched; whether it took effect is unknown, look before you try again: {}",
                        answer.complaint()
                    ),
                    output,
                ),
                (None, None) => StepError::failed(told("patching", object.kind, &answer), output),
            },
            Exit::TimedOut | Exit::Cancelled | Exit::Signal | Exit::Lost => StepError::unknown(
                format!(
                    "kubectl did not end by itself while {object} was patched; whether it took effect is unknown, look before you try again"
                ),
                output,
            ),
        };
        if dry {
            error.effect = Effect::NotStarted;
            error.outcome_unknown = false;
        }
        Err(error)
    }

    /// Looks at what is to be reconciled: what would have no effect is refused before anything is sent.
    async fn before(
        &self,
        call: &Call<'_>,
        object: &Object,
        source: Option<&Object>,
        prune: bool,
    ) -> Result<Before, StepError> {
        let live = self.one(call, object).await?;
        may_prune(&live, object, prune)?;
        can_reconcile(&live, object)?;
        let source = match source {
            None => None,
            Some(source) => {
                if !status::is_made_from(&live, source) {
                    let found = match status::source(&live) {
                        Some((kind, namespace, name)) => format!("{kind} {namespace}/{name}"),
                        None => "no source that it names".into(),
                    };
                    return Err(StepError::not_started(format!(
                        "{object} is made from {found}, not from {source}; nothing was sent. Propose the step again with that source"
                    )));
                }
                let live = self.one(call, source).await?;
                can_reconcile(&live, source)?;
                Some(live)
            }
        };
        Ok(Before { live, source })
    }

    /// Asks for one reconciliation and waits for its end.
    async fn reconcile(&self, call: &Call<'_>, object: &Object, token: &str) -> Result<String, StepError> {
        self.patch(call, object, &request(token), false).await?;
        let mut pause = Duration::from_millis(250);
        let mut last = String::from("it was not looked at yet");
        loop {
            let left = call.deadline.saturating_duration_since(Instant::now());
            if left <= LAST_LOOK {
                return Err(StepError::unknown(
                    format!(
                        "{object} was asked to reconcile, and was not done in time: {last}. Flux goes on with it; look with flux.get before you try again"
                    ),
                    StepOutput::default(),
                ));
            }
            tokio::time::sleep(pause.min(left - LAST_LOOK)).await;
            pause = (pause * 2).min(LOOK_EVERY);
            match self.one(call, object).await {
                Ok(live) => match status::progress(&live, token) {
                    Progress::Ready(said) => return Ok(format!("{object} is reconciled. {}{said}", revision(&live))),
                    Progress::NotReady(said) => {
                        return Err(StepError::failed(
                            format!("{object} was reconciled and is not ready: {said}"),
                            StepOutput::text(revision(&live)),
                        ));
                    }
                    Progress::Waiting(said) => last = said,
                },
                // The request is made; a look that fails says nothing about it.
                Err(error) => last = error.message,
            }
        }
    }

    async fn run(&self, call: &Call<'_>, command: &Command, token: &str) -> Result<StepOutput, StepError> {
        match command {
            Command::Get { kind, namespace, name } => self.look(call, *kind, namespace, name.as_deref()).await,
            Command::Suspend(object) => self.set_suspended(call, object, true).await,
            Command::Resume { object, prune } => {
                if object.kind == Kind::Kustomization {
                    may_prune(&self.one(call, object).await?, object, *prune)?;
                }
                self.set_suspended(call, object, false).await
            }
            Command::Reconcile { object, source, prune } => {
                self.before(call, object, source.as_ref(), *prune).await?;
                let mut said = String::new();
                if let Some(source) = source {
                    said = self.reconcile(call, source, token).await? + "\n";
                }
                match self.reconcile(call, object, token).await {
                    Ok(more) => Ok(StepOutput::text(capped(said + &more))),
                    Err(mut error) => {
                        // The source was reconciled, and that is an effect.
                        if source.is_some() && error.effect == Effect::NotStarted {
                            error.effect = Effect::MayHaveHappened;
                        }
                        error.output.output = capped(said + &error.output.output);
                        Err(error)
                    }
                }
            }
        }
    }

    async fn set_suspended(&self, call: &Call<'_>, object: &Object, to: bool) -> Result<StepOutput, StepError> {
        let after = self.patch(call, object, &suspension(to), false).await?;
        if status::is_suspended(&after) != to {
            return Err(StepError::failed(
                format!("{object} was patched, and its spec.suspend is not {to} in the answer"),
                StepOutput::default(),
            ));
        }
        let word = if to { "is suspended" } else { "is resumed" };
        Ok(StepOutput::text(format!("{object} {word}. {}", status::ready(&after))))
    }

    async fn look(
        &self,
        call: &Call<'_>,
        kind: Kind,
        namespace: &str,
        name: Option<&str>,
    ) -> Result<StepOutput, StepError> {
        let found = self.get(call, kind, namespace, name).await?;
        let found: Vec<Value> = found.iter().map(status::summary).collect();
        let text = match found.as_slice() {
            [] => format!("There is no {} in the namespace {namespace}.", kind.word()),
            [one] if name.is_some() => format!("{one:#}"),
            many => format!("{:#}", Value::from(many)),
        };
        Ok(StepOutput::text(capped(text)))
    }

    async fn preview(&self, call: &Call<'_>, command: &Command) -> Result<DryRun, StepError> {
        let (object, wanted, prune) = match command {
            Command::Get { .. } => return Ok(DryRun::not_by_server("Only reads: there is nothing to try.")),
            Command::Suspend(object) => (object, true, true),
            Command::Resume { object, prune } => (object, false, *prune),
            Command::Reconcile { object, source, prune } => {
                return self.preview_reconcile(call, object, source.as_ref(), *prune).await;
            }
        };
        let live = self.one(call, object).await?;
        may_prune(&live, object, prune)?;
        self.patch(call, object, &suspension(wanted), true).await?;
        let now = status::is_suspended(&live);
        let change = if now == wanted {
            format!("{object}: spec.suspend is {now} already; nothing would change")
        } else {
            format!("{object}: spec.suspend {now} → {wanted}")
        };
        Ok(DryRun::by_server(capped(format!("{change}\n{}{}\n", revision(&live), status::ready(&live)))))
    }

    async fn preview_reconcile(
        &self,
        call: &Call<'_>,
        object: &Object,
        source: Option<&Object>,
        prune: bool,
    ) -> Result<DryRun, StepError> {
        let before = self.before(call, object, source, prune).await?;
        let mut text = String::new();
        for (object, live) in source.zip(before.source.as_ref()).into_iter().chain([(object, &before.live)]) {
            self.patch(call, object, &request("dry-run"), true).await?;
            text.push_str(&format!("{object}: asked to reconcile now\n{}{}\n", revision(live), status::ready(live)));
            if status::prunes(live) {
                text.push_str("spec.prune is on: objects that are no longer in its source are deleted\n");
            }
        }
        if source.is_none() && !object.kind.sources().is_empty() {
            text.push_str(&self.next_revision(call, &before.live).await);
        }
        text.push_str("Which objects change is known to Flux's controllers only.\n");
        Ok(DryRun::by_server(capped(text)))
    }

    /// The revision that a reconciliation without its source would apply.
    async fn next_revision(&self, call: &Call<'_>, live: &Value) -> String {
        let Some((kind, namespace, name)) = status::source(live) else { return String::new() };
        let known = Kind::ALL.into_iter().find(|known| known.word() == kind);
        let (Some(kind), true) = (known, self.config.allowed_namespaces.contains(namespace)) else {
            return format!(
                "what its source has fetched is not known here: it is outside of {}\n",
                self.config.shown()
            );
        };
        match self.get(call, kind, namespace, Some(name)).await.map(|found| found.first().and_then(status::fetched)) {
            Ok(Some(revision)) => format!("its source, {} {namespace}/{name}, holds {revision}\n", kind.word()),
            Ok(None) => format!("its source, {} {namespace}/{name}, names no revision\n", kind.word()),
            Err(error) => format!("what its source holds could not be read: {}\n", error.message),
        }
    }
}

/// The objects of a reconciliation as they are before it.
struct Before {
    live: Value,
    source: Option<Value>,
}

/// What deletes objects is approved as what deletes objects.
fn may_prune(live: &Value, object: &Object, prune: bool) -> Result<(), StepError> {
    if status::prunes(live) && !prune {
        return Err(StepError::not_started(format!(
            "{object} has spec.prune on, so objects that are no longer in its source would be deleted; nothing was sent. Propose the step again with \"prune\": true"
        )));
    }
    Ok(())
}

fn can_reconcile(live: &Value, object: &Object) -> Result<(), StepError> {
    if status::is_suspended(live) {
        return Err(StepError::not_started(format!(
            "{object} is suspended, so a request to reconcile it would wait until it is resumed; nothing was sent. flux.resume resumes it, and it is reconciled then"
        )));
    }
    if status::is_static(live) {
        return Err(StepError::not_started(format!(
            "{object} is of type oci: Flux reads it and never reconciles it, so nothing was sent; reconcile the HelmRelease"
        )));
    }
    Ok(())
}

fn request(token: &str) -> Value {
    json!({ "metadata": { "annotations": { REQUESTED_AT: token } } })
}

fn suspension(suspend: bool) -> Value {
    json!({ "spec": { "suspend": suspend } })
}

fn revision(live: &Value) -> String {
    match (status::applied(live), status::fetched(live)) {
        (Some(revision), _) => format!("Applied revision: {revision}. "),
        (None, Some(revision)) => format!("Fetched revision: {revision}. "),
        (None, None) => String::new(),
    }
}

/// What kubectl says, without the object in its answer.
fn shown(answer: &Answer) -> StepOutput {
    let mut output = answer.output();
    output.output.clear();
    output
}

fn told(doing: &str, kind: Kind, answer: &Answer) -> String {
    let complaint = answer.complaint();
    let ended = match answer.finished.exit {
        Exit::Code(code) => format!("ended with code {code}"),
        Exit::TimedOut => "did not end in time".to_owned(),
        Exit::Cancelled => "was ended early because nobody waits for it any more".to_owned(),
        Exit::Signal | Exit::Lost => "did not end by itself".to_owned(),
    };
    if complaint.contains("the server doesn't have a resource type") {
        let (word, group) = (kind.word(), kind.group());
        return format!(
            "the cluster does not serve the kind {word} ({group}): Flux is not installed there, or without that controller"
        );
    }
    format!("{doing} the {}: kubectl {ended}: {complaint}", kind.word())
}

#[async_trait]
impl ExecutionAdapter for FluxExecutionAdapter {
    fn describe(&self) -> AdapterInfo {
        let usage = format!(
            "Flux objects of the kinds {}. Namespaces: {}. {GET} reads: {{\"kind\": \"Kustomization\", \"namespace\": \"flux-system\", \"name\": \"apps\"}}; \
             without `name` it lists. {RECONCILE} makes Flux apply what its source holds now and waits for it: the same, and to fetch the source first \
             \"withSource\": {{\"kind\": \"GitRepository\", \"namespace\": \"flux-system\", \"name\": \"apps\"}}, as {GET} names it in spec.source. \
             A Kustomization with spec.prune on needs \"prune\": true for {RECONCILE} and {RESUME}: objects that are no longer in its source are deleted. \
             {SUSPEND} and {RESUME} (kind, namespace, name) stop and start reconciliation. A suspended object cannot be reconciled: resume it. \
             What is wrong in git is mended by a pull request, not here.",
            Kind::ALL.map(Kind::word).join(", "),
            self.config.shown(),
        );
        AdapterInfo::new(STEPS, usage)
            .with_namespaces(self.config.allowed_namespaces.iter().cloned())
            .with_step_timeout(self.timeout())
    }

    fn review(&self, step: &StepSpec, _: Mode) -> Result<ReviewedStep, Refusal> {
        step::reviewed(&step::parse(step, &self.config)?)
    }

    async fn dry_run(&self, cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        let command = self.again(step, Mode::Write)?;
        self.preview(&Call::new(cx, self.timeout(), true), &command).await
    }

    async fn inverse(&self, cx: &CallContext, step: &ReviewedStep) -> Result<Inverse, StepError> {
        let (object, suspends) = match self.again(step, Mode::Write)? {
            Command::Get { .. } => return Ok(Inverse::NotNeeded),
            // What Flux makes of a reconciliation is in git, and so is the way back.
            Command::Reconcile { .. } => return Ok(Inverse::Unknown),
            Command::Suspend(object) => (object, true),
            Command::Resume { object, .. } => (object, false),
        };
        let live = self.one(&Call::new(cx, self.timeout(), true), &object).await?;
        if status::is_suspended(&live) == suspends {
            return Ok(Inverse::NotNeeded);
        }
        let back = if suspends {
            step::resume(&object, status::prunes(&live) && object.kind == Kind::Kustomization)
        } else {
            step::spec(SUSPEND, &object)
        };
        Ok(Inverse::Steps(vec![back?]))
    }

    async fn read(&self, cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        let command = self.again(step.step(), Mode::Read)?;
        let Command::Get { kind, namespace, name } = command else {
            return Err(StepError::not_started("this step changes something; it is not for reading"));
        };
        self.look(&Call::new(cx, self.timeout(), true), kind, &namespace, name.as_deref()).await
    }

    async fn execute(&self, cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        let command = self.again(step.step(), Mode::Write)?;
        // The same for the same attempt, so that a request is never made twice; another one for the next.
        let token = step.idempotency_key();
        let outcome = self.run(&Call::new(cx, self.timeout(), false), &command, &token).await;
        outcome.map_err(|mut error| {
            if step.step().tier == Tier::Read {
                error.effect = Effect::NotStarted;
                error.outcome_unknown = false;
            }
            error
        })
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        let call = Call::new(cx, self.timeout(), true);
        let argv = ["version".into(), "--output=json".into(), self.request_timeout()];
        let answer = self.runner.run(&call, &argv, None, OUTPUT_CAP).await.map_err(not_run)?;
        let client = self.runner.client().await.map_err(not_run)?;
        let mut facts = BTreeMap::new();
        facts.insert("kubectl".into(), client.to_string());
        facts.insert("server".into(), answer.server.clone());
        let version = answer
            .objects()
            .and_then(|answer| answer.first()?.pointer("/serverVersion/gitVersion")?.as_str().map(str::to_owned));
        let Some(version) = version.filter(|_| answer.succeeded()) else {
            return Err(unreachable_server(&answer));
        };
        let version: String = version.chars().take(60).collect();
        facts.insert("serverVersion".into(), version.clone());
        let mut unreadable = Vec::new();
        for namespace in &self.config.allowed_namespaces {
            match self.get(&call, Kind::Kustomization, namespace, None).await {
                Ok(found) => {
                    let suspended = found.iter().filter(|object| status::is_suspended(object)).count();
                    let said = format!("{} Kustomizations, {suspended} suspended", found.len());
                    facts.insert(format!("namespace {namespace}"), said);
                }
                Err(error) => unreadable.push(format!("in the namespace `{namespace}`: {}", error.message)),
            }
        }
        let timeout = self.request_timeout();
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
        let refused = abilities.found.iter().filter(|ability| !ability.ok).count();
        let message = if namespaces.is_empty() {
            format!("Kubernetes {version} answers. allowedNamespaces is empty, so nothing may be read or changed.")
        } else if !unreadable.is_empty() {
            format!("Kubernetes {version} answers; Flux's objects cannot be read everywhere.")
        } else if refused == 0 {
            format!("Kubernetes {version} answers; Flux's objects can be read and changed in {}.", self.config.shown())
        } else {
            format!("Kubernetes {version} answers; {refused} rights are missing: steps that need those will fail.")
        };
        let report = CheckReport::new(message).with_facts(facts).with_abilities(abilities.found);
        Ok(match unreadable.as_slice() {
            [] => report,
            unreadable => report
                .lacking(format!("the cluster answers, but Flux's objects cannot be read {}", unreadable.join("; "))),
        })
    }
}
