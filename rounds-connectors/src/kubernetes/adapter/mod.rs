//! The adapter: reviews with the gate, runs kubectl, tells what happened.

mod abilities;
mod discovery;
mod dry_run;
mod inverse;
mod rollouts;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use rounds_core::Timestamp;
use rounds_core::plugin::{BuildContext, BuildError, Host};
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DataSet, DryRun, ExecutionAdapter, Inverse, PortError,
    PortErrorKind, ReadStep, SecretHandle,
};
use rounds_core::step::{Effect, Mode, OUTPUT_CAP, Refusal, ReviewedStep, StepError, StepOutput, StepSpec, Tier};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::KubernetesConfig;
use super::gate::{Action, Command, Form, Gate, ObjectRef, Rule, render_argv, render_stdin};
use super::kubeconfig::{self, Kubeconfig, Powers};
use super::preview;
use super::process::{self, Exit, Finished, Invocation};
use super::reach;
use super::rundir::RunDir;
use super::version::{self, KubectlInfo};
use rounds_core::redact::redact;

/// How much of an answer is read when it is compared rather than shown.
const KEEP_OBJECTS: usize = 4 * 1024 * 1024;

/// Runs steps against one Kubernetes cluster through `kubectl`.
pub struct KubectlExecutionAdapter {
    name: String,
    config: KubernetesConfig,
    /// Replaced when the cluster turns out to serve other kinds than were known.
    gate: RwLock<Arc<Gate>>,
    /// When the cluster was last asked which kinds it serves.
    discovered: Mutex<Option<Instant>>,
    secret: SecretHandle,
    host: Arc<Host>,
    kubectl: PathBuf,
    client: OnceCell<KubectlInfo>,
    run_dir: OnceCell<RunDir>,
}

impl std::fmt::Debug for KubectlExecutionAdapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubectlExecutionAdapter")
            .field("name", &self.name)
            .field("kubectl", &self.kubectl)
            .finish_non_exhaustive()
    }
}

/// One call: until when, and who may end it early.
struct Call<'a> {
    deadline: Instant,
    cancel: Option<&'a CancellationToken>,
}

/// What a kubectl left, with what must not be shown of it.
struct Answer {
    finished: Finished,
    secrets: Vec<secrecy::SecretString>,
    server: String,
}

impl Answer {
    fn clean(&self, text: &str) -> String {
        let known: Vec<&str> = self.secrets.iter().map(ExposeSecret::expose_secret).collect();
        redact(text, &known)
    }

    fn succeeded(&self) -> bool {
        self.finished.exit == Exit::Code(0)
    }

    fn stdout(&self) -> String {
        capped(self.finished.stdout.text(|text| self.clean(text)))
    }

    /// Errors are made of its lines, and a server's own words are in them: nothing for a terminal to act on stays.
    fn stderr(&self) -> String {
        let plain = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
        capped(self.finished.stderr.text(|text| self.clean(text).chars().filter(plain).collect()))
    }

    fn output(&self) -> StepOutput {
        let exit_code = match self.finished.exit {
            Exit::Code(code) => Some(code),
            Exit::Signal | Exit::TimedOut | Exit::Cancelled | Exit::Lost => None,
        };
        let mut output = StepOutput::text(self.stdout()).with_error_output(self.stderr());
        output.exit_code = exit_code;
        output
    }

    /// The objects of a JSON answer, when it is whole and is JSON: kubectl writes one value, a list, or several values
    /// one after another, by verb and version.
    fn objects(&self) -> Option<Vec<Value>> {
        let text = self.finished.stdout.whole()?;
        let values =
            serde_json::Deserializer::from_str(&text).into_iter::<Value>().collect::<Result<Vec<_>, _>>().ok()?;
        Some(values.into_iter().flat_map(preview::objects).collect())
    }

    /// The last line of its complaint, for messages.
    fn complaint(&self) -> String {
        let stderr = self.stderr();
        let line = stderr.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing");
        line.chars().take(400).collect()
    }
}

/// A last bound: what was kept for comparing is larger than what may be shown.
fn capped(text: String) -> String {
    if text.len() <= OUTPUT_CAP {
        return text;
    }
    let mut captured = String::new();
    let half = OUTPUT_CAP / 2 - 32;
    let (mut end, mut start) = (half, text.len() - half);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    while !text.is_char_boundary(start) {
        start += 1;
    }
    captured.push_str(&text[..end]);
    captured.push_str(&format!("\n[… {} bytes cut …]\n", start - end));
    captured.push_str(&text[start..]);
    captured
}

/// What the operator of the server lets a kubeconfig of this connector do.
fn powers(host: &Host, connector: &str) -> Powers {
    let allows = |power: &str| host.allows(connector, power);
    Powers {
        exec: allows("kubeconfig-exec"),
        files: allows("kubeconfig-files"),
        proxy: allows("kubeconfig-proxy"),
        insecure_tls: allows("kubeconfig-insecure-tls"),
    }
}

impl KubectlExecutionAdapter {
    /// Builds the adapter: checks the config, looks for kubectl, connects to nothing.
    ///
    /// # Errors
    /// The config is wrong, or the host offers no `kubectl`.
    pub fn new(cx: BuildContext, config: KubernetesConfig) -> Result<Self, BuildError> {
        let gate = config.gate()?;
        let kubectl = cx.host.programs.get("kubectl").cloned().ok_or_else(|| {
            BuildError::host(
                "a Kubernetes connector needs kubectl (1.20 or later) on the server of Rounds: install it on the PATH, or set KUBECTL to its path",
            )
        })?;
        if !kubectl.is_absolute() {
            return Err(BuildError::host(format!("the path of kubectl, {}, is not absolute", kubectl.display())));
        }
        Ok(Self {
            name: cx.name,
            config,
            gate: RwLock::new(Arc::new(gate)),
            discovered: Mutex::new(None),
            secret: cx.secret,
            host: cx.host,
            kubectl,
            client: OnceCell::new(),
            run_dir: OnceCell::new(),
        })
    }

    /// Looks at a kubeconfig before it is stored.
    pub(super) fn check_secret(cx: &BuildContext, secret: &SecretString) -> Result<(), BuildError> {
        let checked = kubeconfig::sanitize(secret, powers(&cx.host, &cx.name));
        let kubeconfig = checked.map_err(|error| BuildError::config(error.to_string()))?;
        reach::check_literal(&cx.host, &kubeconfig.server)
            .map_err(|why| BuildError::config(format!("the kubeconfig is refused: {why}")))
    }

    /// The kubectl that runs, asked for once.
    async fn client(&self) -> Result<&KubectlInfo, StepError> {
        let info = self.client.get_or_try_init(|| version::inspect(&self.kubectl)).await;
        info.map_err(|error| StepError::not_started(error.to_string()))
    }

    async fn run_dir(&self) -> Result<&RunDir, StepError> {
        let parent = self.host.run_dir.clone().unwrap_or_else(std::env::temp_dir);
        let made = self.run_dir.get_or_try_init(|| async {
            let shown = parent.display().to_string();
            let made = tokio::task::spawn_blocking(move || RunDir::create(&parent)).await;
            made.map_err(std::io::Error::other).and_then(|made| made).map_err(|error| {
                StepError::not_started(format!(
                    "no private directory for credentials could be made in {shown}: {error}; nothing was run"
                ))
            })
        });
        made.await
    }

    async fn kubeconfig(&self) -> Result<Kubeconfig, StepError> {
        let secret = self
            .secret
            .reveal()
            .await
            .map_err(|error| StepError::not_started(format!("the kubeconfig could not be had: {error}")))?;
        let secret = secret.ok_or_else(|| {
            StepError::not_started("this connector has no kubeconfig: paste one, or give a reference to it")
        })?;
        let kubeconfig = kubeconfig::sanitize(&secret, powers(&self.host, &self.name))
            .map_err(|error| StepError::not_started(error.to_string()))?;
        reach::check_literal(&self.host, &kubeconfig.server)
            .map_err(|why| StepError::not_started(format!("the kubeconfig is refused: {why}")))?;
        reach::check_resolved(&self.host, &kubeconfig.server).await.map_err(StepError::not_started)?;
        Ok(kubeconfig)
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
        let limit = cx.timeout.min(self.timeout());
        Call { deadline: Instant::now() + limit, cancel: cancellable.then_some(&cx.cancel) }
    }

    /// Runs one kubectl. An error means that none was started.
    async fn run(
        &self,
        call: &Call<'_>,
        argv: &[String],
        stdin: Option<&str>,
        keep: usize,
    ) -> Result<Answer, StepError> {
        let prepared =
            async { Ok::<_, StepError>((self.client().await?, self.run_dir().await?, self.kubeconfig().await?)) };
        let (client, dir, kubeconfig) = tokio::time::timeout_at(call.deadline, prepared).await.map_err(|_| {
            StepError::not_started("the time was over before kubectl was started: its kubeconfig was not there in time")
        })??;
        let file = dir.file(kubeconfig.text.expose_secret()).map_err(|error| {
            StepError::not_started(format!("the kubeconfig could not be written to a private file: {error}"))
        })?;
        let mut environment: BTreeMap<OsString, OsString> =
            self.host.child_env.iter().map(|(name, value)| (name.into(), value.into())).collect();
        environment.entry("PATH".into()).or_insert_with(|| "/usr/local/bin:/usr/bin:/bin".into());
        // Ours win: nothing that the operator lists may point kubectl at another configuration.
        environment.retain(|name, _| !name.to_string_lossy().starts_with("KUBE"));
        environment.insert("HOME".into(), dir.home().into());
        environment.insert("KUBECONFIG".into(), file.path().into());
        environment.insert("KUBERC".into(), "off".into());
        environment.insert("KUBECTL_KUBERC".into(), "false".into());
        let mut arguments: Vec<OsString> = argv.iter().map(Into::into).collect();
        let mut cache = OsString::from("--cache-dir=");
        cache.push(dir.cache());
        arguments.push(cache);
        let finished = process::run(Invocation {
            program: &client.path,
            arguments,
            environment: environment.into_iter().collect(),
            directory: &dir.home(),
            stdin,
            deadline: call.deadline,
            cancel: call.cancel,
            keep,
        })
        .await
        .map_err(|error| StepError::not_started(format!("{} could not be started: {error}", client.path.display())))?;
        Ok(Answer { finished, secrets: kubeconfig.secrets, server: kubeconfig.server })
    }

    /// Runs a reviewed command as it is.
    async fn run_command(&self, call: &Call<'_>, command: &Command) -> Result<Answer, StepError> {
        if let Some(lack) = version::lacks(self.client().await?, command) {
            return Err(StepError::not_started(lack));
        }
        self.run(call, &render_argv(command, Form::Reviewed), render_stdin(command).as_deref(), OUTPUT_CAP).await
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
                if let Some(proof) = never_sent(command, answer) {
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

/// The line that proves that no change was sent, if there is one: the connection was refused, for a command that
/// sends one changing request as its last and had said nothing yet. A connection that was lost proves nothing.
fn never_sent(command: &Command, answer: &Answer) -> Option<String> {
    let one_change =
        KubectlExecutionAdapter::objects(command).len() == 1 && !matches!(command.action, Action::Delete(_));
    if !one_change || !answer.finished.stdout.is_empty() {
        return None;
    }
    let stderr = answer.stderr();
    let lost = |line: &str| {
        ["EOF", "reset by peer", "broken pipe", "timeout", "timed out"].iter().any(|sign| line.contains(sign))
    };
    // The timeout that the request asked for stands in its address and is no sign.
    if stderr.lines().any(|line| lost(&line.replace("?timeout=", "?").replace("&timeout=", "&"))) {
        return None;
    }
    let refused = |line: &&str| {
        (line.contains("The connection to the server") && line.contains("was refused"))
            || (line.contains("dial tcp") && (line.contains("connection refused") || line.contains("no such host")))
    };
    stderr.lines().find(refused).map(|line| line.trim().chars().take(400).collect())
}

/// The line that says that an answer never came, if there is one. kubectl gives up on a request before it is killed
/// and then ends with code 1, as it does for a refusal; but the server may have carried the request out.
fn connection_lost(answer: &Answer) -> Option<String> {
    // In lower case; from Go's net/http and http2, from client-go, and from servers that gave up on their own storage.
    const SIGNS: [&str; 24] = [
        "client.timeout exceeded",
        "context deadline exceeded",
        "context canceled",
        "request canceled",
        "goaway",
        "http2: ",
        "connection lost",
        "lost connection",
        "connection reset",
        "reset by peer",
        "broken pipe",
        "connection timed out",
        "closed network connection",
        "server closed",
        "connection broken",
        "i/o timeout",
        "handshake timeout",
        "timeout awaiting",
        "request timed out",
        "(timeout)",
        "(servertimeout)",
        "request did not complete within",
        "in the time allotted",
        "has prevented the request from succeeding",
    ];
    let lost = |line: &&str| {
        // As a word, so that a name that holds the letters is no sign.
        let ends = line.split(|sign: char| !sign.is_ascii_alphanumeric()).any(|word| word == "EOF");
        let line = line.to_ascii_lowercase();
        ends || SIGNS.iter().any(|sign| line.contains(sign))
    };
    answer.stderr().lines().find(lost).map(|line| line.trim().chars().take(400).collect())
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
        self.preview(&call, &command).await
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
            .run(&call, &["version".into(), "--output=json".into(), timeout.clone()], None, OUTPUT_CAP)
            .await
            .map_err(not_run)?;
        let client = self.client().await.map_err(not_run)?;
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
            let answer = self.run(&call, &argv, None, OUTPUT_CAP).await.map_err(not_run)?;
            if answer.succeeded() {
                readable.push(namespace.as_str());
            } else {
                unreadable.push(format!("in the namespace `{namespace}`: {}", answer.complaint()));
            }
        }
        facts.insert("namespaces".into(), readable.join(", "));
        let abilities = self.abilities(&call, &timeout).await;
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
        let message = if self.config.allowed_namespaces.is_empty() {
            format!("Kubernetes {version} answers. allowedNamespaces is empty, so nothing may be read or changed.")
        } else if readable.is_empty() {
            format!("Kubernetes {version} answers; pods can be read in none of the allowed namespaces.")
        } else if refused == 0 {
            format!("Kubernetes {version} answers; pods can be read in {}.", readable.join(", "))
        } else {
            format!(
                "Kubernetes {version} answers; pods can be read in {}. Of {} rights that were asked for, {refused} are \
                 missing: plans that need those will fail.",
                readable.join(", "),
                abilities.found.len()
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

fn not_run(error: StepError) -> PortError {
    PortError::new(PortErrorKind::Invalid, error.message)
}

fn unreachable_server(answer: &Answer) -> PortError {
    let complaint = answer.complaint();
    let kind = match answer.finished.exit {
        Exit::TimedOut => PortErrorKind::Timeout,
        _ if complaint.contains("Unauthorized")
            || complaint.contains("logged in")
            || complaint.contains("Forbidden") =>
        {
            PortErrorKind::Unauthorized
        }
        _ => PortErrorKind::Unavailable,
    };
    PortError::new(kind, format!("{} did not answer as a Kubernetes API server: {complaint}", answer.server))
}
