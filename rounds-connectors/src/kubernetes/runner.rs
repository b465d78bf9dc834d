//! Running kubectl: with credentials that passed their policy, in a private directory, within a deadline. What every
//! adapter that speaks to Kubernetes shares; what may run is theirs to say.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rounds_core::plugin::{BuildContext, BuildError, Host};
use rounds_core::ports::{CallContext, PortError, PortErrorKind, SecretHandle};
use rounds_core::redact::redact;
use rounds_core::step::{OUTPUT_CAP, StepError, StepOutput};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::credentials::{self, Credentials};
use super::kubeconfig::{self, Kubeconfig, Powers};
use super::pin::Pin;
use super::preview;
use super::process::{self, Exit, Finished, Invocation};
use super::reach::{self, Way};
use super::rundir::RunDir;
use super::version::{self, KubectlInfo};

/// How much of an answer is read when it is compared rather than shown.
pub(crate) const KEEP_OBJECTS: usize = 4 * 1024 * 1024;

/// One call: until when, and who may end it early.
pub(crate) struct Call<'a> {
    pub(crate) deadline: Instant,
    pub(crate) cancel: Option<&'a CancellationToken>,
}

impl<'a> Call<'a> {
    /// A call of a port that may take so long; reads and previews end early when nobody waits for them any more.
    pub(crate) fn new(cx: &'a CallContext, limit: Duration, cancellable: bool) -> Self {
        let deadline = Instant::now() + cx.timeout.min(limit);
        Self { deadline, cancel: cancellable.then_some(&cx.cancel) }
    }
}

/// What a kubectl left, with what must not be shown of it.
pub(crate) struct Answer {
    pub(crate) finished: Finished,
    secrets: Vec<SecretString>,
    /// Where it led, for messages.
    pub(crate) server: String,
    /// Whether every byte to the server went through a way of ours, which knows whether there were any.
    pinned: bool,
    /// Why no connection to the server was ever made, when none was.
    unreached: Option<String>,
    /// Where else the server led kubectl, which was not let.
    astray: Option<String>,
    /// That the server said more than anybody reads.
    flooded: Option<String>,
}

impl Answer {
    pub(crate) fn clean(&self, text: &str) -> String {
        let known: Vec<&str> = self.secrets.iter().map(ExposeSecret::expose_secret).collect();
        redact(text, &known)
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.finished.exit == Exit::Code(0)
    }

    pub(crate) fn stdout(&self) -> String {
        capped(self.finished.stdout.text(|text| self.clean(text)))
    }

    /// Errors are made of its lines, and a server's own words are in them: nothing for a terminal to act on stays.
    pub(crate) fn stderr(&self) -> String {
        let plain = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
        capped(self.finished.stderr.text(|text| self.clean(text).chars().filter(plain).collect()))
    }

    pub(crate) fn output(&self) -> StepOutput {
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
    pub(crate) fn objects(&self) -> Option<Vec<Value>> {
        let text = self.finished.stdout.whole()?;
        let values =
            serde_json::Deserializer::from_str(&text).into_iter::<Value>().collect::<Result<Vec<_>, _>>().ok()?;
        Some(values.into_iter().flat_map(preview::objects).collect())
    }

    /// The last line of its complaint, for messages.
    pub(crate) fn complaint(&self) -> String {
        if let Some(why) = &self.unreached {
            return format!("the connection was not made: {why}");
        }
        if let Some(elsewhere) = &self.astray {
            return format!(
                "it led kubectl to {elsewhere}, which is not the server of the kubeconfig, so it was not followed"
            );
        }
        if let Some(flooded) = &self.flooded {
            return format!("{flooded}: ask for less, by a name or a selector");
        }
        if let Some(broke) = broke_down(self) {
            let most = process::MEMORY >> 30;
            return format!(
                "it broke down ({broke}); it may use {most} GiB of memory: ask for less, by a name or a selector"
            );
        }
        let stderr = self.stderr();
        let line = stderr.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing");
        line.chars().take(400).collect()
    }
}

/// A last bound: what was kept for comparing is larger than what may be shown.
pub(crate) fn capped(text: String) -> String {
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

/// kubectl with the credentials of one connector.
pub(crate) struct Runner {
    name: String,
    credentials: Credentials,
    secret: SecretHandle,
    host: Arc<Host>,
    kubectl: PathBuf,
    client: OnceCell<KubectlInfo>,
    run_dir: OnceCell<RunDir>,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner")
            .field("name", &self.name)
            .field("credentials", &self.credentials)
            .field("kubectl", &self.kubectl)
            .finish_non_exhaustive()
    }
}

impl Runner {
    /// Looks for kubectl and whether the credentials can be had; connects to nothing.
    pub(crate) fn new(cx: BuildContext, credentials: Credentials) -> Result<Self, BuildError> {
        credentials::check(credentials, &cx)?;
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
            credentials,
            secret: cx.secret,
            host: cx.host,
            kubectl,
            client: OnceCell::new(),
            run_dir: OnceCell::new(),
        })
    }

    /// The connector's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Looks at a kubeconfig before it is stored.
    pub(crate) fn check_secret(cx: &BuildContext, secret: &SecretString) -> Result<(), BuildError> {
        let checked = kubeconfig::sanitize(secret, powers(&cx.host, &cx.name));
        let kubeconfig = checked.map_err(|error| BuildError::config(error.to_string()))?;
        reach::check_literal(&cx.host, &kubeconfig.server)
            .map_err(|why| BuildError::config(format!("the kubeconfig is refused: {why}")))
    }

    /// The kubectl that runs, asked for once.
    pub(crate) async fn client(&self) -> Result<&KubectlInfo, StepError> {
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

    async fn kubeconfig(&self) -> Result<(Kubeconfig, Way), StepError> {
        if self.credentials == Credentials::InCluster {
            // Where it leads is not asked of `Outbound`: nobody but the operator chose it.
            let lent = credentials::lent(&self.host, &self.name).map_err(StepError::not_started)?;
            let kubeconfig = credentials::read(lent).await.map_err(StepError::not_started)?;
            let way = reach::chosen(&self.host, &kubeconfig.server).await.map_err(StepError::not_started)?;
            return Ok((kubeconfig, way));
        }
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
        let way = reach::destination(&self.host, &kubeconfig.server).await.map_err(StepError::not_started)?;
        let way = if kubeconfig.proxied { Way::Own } else { way };
        Ok((kubeconfig, way))
    }

    /// Runs one kubectl. An error means that none was started.
    pub(crate) async fn run(
        &self,
        call: &Call<'_>,
        argv: &[String],
        stdin: Option<&str>,
        keep: usize,
    ) -> Result<Answer, StepError> {
        let prepared =
            async { Ok::<_, StepError>((self.client().await?, self.run_dir().await?, self.kubeconfig().await?)) };
        let (client, dir, (mut kubeconfig, way)) =
            tokio::time::timeout_at(call.deadline, prepared).await.map_err(|_| {
                StepError::not_started(
                    "the time was over before kubectl was started: its kubeconfig was not there in time",
                )
            })??;
        let (pin, text) = match way {
            Way::Pinned(to) => {
                let pin = Pin::open(to).await.map_err(|error| {
                    StepError::not_started(format!(
                        "the way to the API server could not be opened on loopback: {error}"
                    ))
                })?;
                let text = kubeconfig.through(pin.url());
                (Some(pin), text)
            }
            Way::Proxy(proxy) => {
                let text = kubeconfig.through(&proxy);
                let password = url::Url::parse(&proxy).ok().and_then(|url| url.password().map(SecretString::from));
                kubeconfig.secrets.extend(password);
                (None, text)
            }
            Way::Own => (None, kubeconfig.text.clone()),
        };
        let file = dir.file(text.expose_secret()).map_err(|error| {
            StepError::not_started(format!("the kubeconfig could not be written to a private file: {error}"))
        })?;
        let mut environment: BTreeMap<OsString, OsString> =
            self.host.child_env.iter().map(|(name, value)| (name.into(), value.into())).collect();
        environment.entry("PATH".into()).or_insert_with(|| "/usr/local/bin:/usr/bin:/bin".into());
        // Ours win: nothing that the operator lists may point kubectl at another configuration.
        environment.retain(|name, _| !name.to_string_lossy().starts_with("KUBE"));
        // Go tidies up harder before it asks for more than it may have.
        environment.insert("GOMEMLIMIT".into(), (process::MEMORY / 4 * 3).to_string().into());
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
            memory: process::MEMORY,
        })
        .await
        .map_err(|error| StepError::not_started(format!("{} could not be started: {error}", client.path.display())))?;
        let unreached = pin.as_ref().and_then(Pin::never_reached);
        let astray = pin.as_ref().and_then(Pin::led_astray);
        let flooded = pin.as_ref().and_then(Pin::flooded);
        Ok(Answer {
            finished,
            secrets: kubeconfig.secrets,
            server: kubeconfig.server,
            pinned: pin.is_some(),
            unreached,
            astray,
            flooded,
        })
    }
}

/// What proves that no change was sent, if anything does: the connection was refused, and it had said nothing yet. To be
/// asked only about a command that sends one changing request, as its last. A connection that was lost proves nothing.
pub(crate) fn never_sent(answer: &Answer) -> Option<String> {
    // Our own way to the server knows it, and nobody's words count beside it.
    if answer.pinned {
        return answer.unreached.clone();
    }
    if answer.finished.stdout.is_empty() { refused_to_kubectl(&answer.stderr()) } else { None }
}

/// The line in which kubectl itself says that it could not connect, when that is all it says. A server's own words stand in
/// kubectl's errors, too (what a webhook could not reach, on as many lines as it likes), and prove nothing.
fn refused_to_kubectl(stderr: &str) -> Option<String> {
    let mut lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    let line = lines.next()?;
    let refused = match line.strip_prefix("Unable to connect to the server: ") {
        Some(why) => why.contains("dial tcp") && (why.contains("connection refused") || why.contains("no such host")),
        None => line.starts_with("The connection to the server ") && line.contains(" was refused"),
    };
    // What is logged about the discovery before it: `E0102 15:04:05.000000   123 memcache.go:265] …`.
    let logged = |line: &str| {
        let mut begins = line.chars();
        begins.next().is_some_and(|level| "EWI".contains(level))
            && begins.take(4).filter(char::is_ascii_digit).count() == 4
    };
    let lost = |line: &str| {
        // The timeout that the request asked for stands in its address and is no sign.
        let line = line.replace("?timeout=", "?").replace("&timeout=", "&");
        ["EOF", "reset by peer", "broken pipe", "timeout", "timed out"].iter().any(|sign| line.contains(sign))
    };
    let proved = refused && !lost(line) && lines.all(|line| logged(line) && !lost(line));
    proved.then(|| line.chars().take(400).collect())
}

/// The line that says that an answer never came, if there is one. kubectl gives up on a request before it is killed
/// and then ends with code 1, as it does for a refusal; but the server may have carried the request out.
pub(crate) fn connection_lost(answer: &Answer) -> Option<String> {
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
    let found = || answer.stderr().lines().find(lost).map(|line| line.trim().chars().take(400).collect());
    answer.flooded.clone().or_else(found)
}

/// The line in which a Go program says that it ends in the middle of whatever it was doing, if there is one: out of memory, or a
/// mistake in it. What it had sent may have been carried out.
pub(crate) fn broke_down(answer: &Answer) -> Option<String> {
    let broke = |line: &&str| ["fatal error: ", "panic: ", "runtime: "].iter().any(|sign| line.starts_with(sign));
    answer.stderr().lines().find(broke).map(|line| line.trim().chars().take(400).collect())
}

pub(crate) fn not_run(error: StepError) -> PortError {
    PortError::new(PortErrorKind::Invalid, error.message)
}

pub(crate) fn unreachable_server(answer: &Answer) -> PortError {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_4_only_kubectls_own_words_prove_that_nothing_was_sent() {
        const REFUSED: &str =
            "The connection to the server 10.0.0.1:6443 was refused - did you specify the right host or port?";
        const LOGGED: &str = "E0102 15:04:05.000000     123 memcache.go:265] \"Unhandled Error\" err=\"couldn't get current server API group list: Get \\\"https://10.0.0.1:6443/api?timeout=30s\\\": dial tcp 10.0.0.1:6443: connect: connection refused\"";
        const LOOKUP: &str = "Unable to connect to the server: dial tcp: lookup k.example: no such host";
        for proof in [REFUSED, LOOKUP, &format!("{LOGGED}\n{LOGGED}\n{REFUSED}\n")] {
            assert_eq!(refused_to_kubectl(proof).as_deref(), proof.lines().last(), "{proof}");
        }
        let webhook = "Error from server (InternalError): Internal error occurred: failed calling webhook \"w\": failed to call webhook: Post \"https://w.svc:443/\": dial tcp 10.96.0.9:443: connect: connection refused";
        for nothing in [
            "",
            webhook,
            &format!("Error from server (Forbidden): {REFUSED}"),
            // A message may have lines of its own.
            &format!("Error from server (Forbidden): no\n{REFUSED}"),
            &format!("The Deployment \"web\" is invalid: no\n{LOOKUP}"),
            &format!("{LOGGED}\n{webhook}"),
            "Unable to connect to the server: EOF",
            "Unable to connect to the server: net/http: TLS handshake timeout",
            "Unable to connect to the server: dial tcp 10.0.0.1:6443: i/o timeout",
            &format!("E0102 15:04:05.000000     123 x.go:1] read: connection reset by peer\n{REFUSED}"),
        ] {
            assert_eq!(refused_to_kubectl(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn rule_4_where_kubectl_is_pinned_only_the_way_itself_proves_it() {
        let words = "The connection to the server 10.0.0.1:6443 was refused - did you specify the right host or port?";
        let answer = |pinned, unreached: Option<&str>| Answer {
            finished: Finished::said(words),
            secrets: Vec::new(),
            server: "https://10.0.0.1:6443".into(),
            pinned,
            unreached: unreached.map(Into::into),
            astray: None,
            flooded: None,
        };
        assert_eq!(never_sent(&answer(true, None)), None);
        assert_eq!(never_sent(&answer(true, Some("refused"))).as_deref(), Some("refused"));
        assert_eq!(never_sent(&answer(false, None)).as_deref(), Some(words));
    }
}
