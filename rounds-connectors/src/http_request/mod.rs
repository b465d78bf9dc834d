//! HTTP requests from templates: for anything with a webhook.
//!
//! An operator writes each request out (method, address, query, headers, body) and says what its parameters may be, how
//! much harm it does, and what an answer means. A step names a request and gives the parameters; nothing else of it is
//! sent. What a parameter can become, and what it cannot change, is said in `template.rs`.
//!
//! **What it asks of the receiver.** Nothing beyond HTTP/1.1. Requests that change something carry `Idempotency-Key`, the
//! same for the same attempt of a step, for receivers that deduplicate. Redirects are refused.
//!
//! **Rights.** Those of the credential in the secret: one that can do what the templates do and no more.
//!
//! **Outcomes.** A request that could not be sent did not start; one without a whole answer has an unknown outcome, and so
//! have 408, 502, 503 and 504, by which proxies speak for somebody else. Any other status that is not expected means that it
//! failed and may have done something, unless `expect.notStartedStatus` has it. Of a request that reads, any failure leaves
//! everything as it was.
//!
//! **Dry-runs.** A receiver's own is the request itself with a mark, sent before anybody has approved it. Its answer must show
//! that the mark was heeded (`dryRun.expect`); otherwise the preview says that the request may have been carried out.
//!
//! **Limits.** A URL of 8 KiB, a body of 64 KiB, an answer of 4 MiB, `timeoutSec`. No files, no forms, no XML.

mod config;
mod param;
mod request;
mod template;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::RequestBuilder;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use rounds_core::plugin::{BuildContext, BuildError};
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DryRun, ExecutionAdapter, Inverse, PortError, PortErrorKind,
    ReadStep, SecretHandle,
};
use rounds_core::step::{Effect, Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec, Tier};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

pub use self::config::{
    Auth, DryRunHow, DryRunProof, Expect, HttpConfig, HttpMethod, InverseTemplate, ParamSchema, RequestTemplate,
};
use self::request::{HowDry, KIND, Request, Step, example};
use self::template::Filled;
use crate::http::{self, ChosenBy, Client, ClientOptions};
use crate::remote::{Answer, Fault, exchange};

/// The most requests that one connector has.
const MAX_REQUESTS: usize = 100;

rounds_core::register_connector! {
    kind: "http",
    title: "HTTP requests",
    role: Execution,
    secret: Optional("What `auth` signs in with: a password, a token, or a header's value."),
    config: HttpConfig,
    build: |cx, config| HttpRequests::new(&cx, &config),
}

/// Requests from templates, as an [`ExecutionAdapter`].
pub struct HttpRequests {
    requests: BTreeMap<String, Request>,
    /// One for each scheme, host and port.
    clients: BTreeMap<String, Client>,
    auth: SignIn,
    secret: SecretHandle,
    check: Option<String>,
    limit: Duration,
}

impl fmt::Debug for HttpRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests: Vec<_> = self.requests.keys().collect();
        f.debug_struct("HttpRequests")
            .field("requests", &requests)
            .field("secret", &self.secret)
            .finish_non_exhaustive()
    }
}

/// How to sign in, checked.
#[derive(Debug)]
enum SignIn {
    No,
    Basic(String),
    Bearer,
    Header(HeaderName),
}

/// What signs a request in, and what must not come back in a text.
struct Credential {
    header: Option<(HeaderName, HeaderValue)>,
    secrets: Vec<SecretString>,
}

impl Credential {
    fn known(&self) -> Vec<&str> {
        self.secrets.iter().map(SecretString::expose_secret).collect()
    }
}

impl HttpRequests {
    /// Checks every template and connects to nothing.
    ///
    /// # Errors
    /// Something is wrong with a template, or its address may not be called from here.
    pub fn new(cx: &BuildContext, config: &HttpConfig) -> Result<Self, BuildError> {
        if !(1..=600).contains(&config.timeout_sec) {
            return Err(BuildError::config(format!("timeoutSec: found {}; 1 to 600 is accepted", config.timeout_sec)));
        }
        if config.requests.len() > MAX_REQUESTS {
            let found = config.requests.len();
            return Err(BuildError::config(format!("requests: found {found}; at most {MAX_REQUESTS} are accepted")));
        }
        let auth = sign_in(&config.auth)?;
        let (mut requests, mut clients) = (BTreeMap::new(), BTreeMap::new());
        for (at, written) in config.requests.iter().enumerate() {
            let wrong = |why: String| BuildError::config(format!("requests[{at}].{why}"));
            let request = Request::new(written).map_err(wrong)?;
            let origin = request.template.origin();
            if !clients.contains_key(origin.as_str()) {
                let client = http::client(&ClientOptions {
                    url: origin,
                    ca_certificate: config.ca_certificate.as_deref(),
                    host: &cx.host,
                    chosen_by: ChosenBy::Connector,
                })
                .map_err(|error| match error {
                    BuildError::Config { message } if !message.starts_with("caCertificate") => {
                        wrong(format!("url: {message}"))
                    }
                    other => other,
                })?;
                clients.insert(origin.as_str().to_owned(), client);
            }
            if clients.len() > 1 && !matches!(auth, SignIn::No) {
                return Err(wrong(format!(
                    "url: found {origin} beside another address; with `auth`, all requests go to the same scheme, host and port"
                )));
            }
            if let SignIn::Header(name) = &auth
                && request.template.headers.contains_key(name)
            {
                return Err(wrong(format!("headers: found `{name}`, which `auth` sets from the secret")));
            }
            if requests.insert(request.name.clone(), request).is_some() {
                return Err(wrong(format!("name: found `{}` twice; a name of its own is accepted", written.name)));
            }
        }
        for (at, written) in config.requests.iter().enumerate() {
            if let Some(request) = requests.get(&written.name) {
                let checked = request.check_inverse(&requests);
                checked.map_err(|why| BuildError::config(format!("requests[{at}].{why}")))?;
            }
        }
        if let Some(name) = &config.check_request
            && !requests
                .get(name)
                .is_some_and(|request| request.tier == Tier::Read && request.template.params.is_empty())
        {
            return Err(BuildError::config(format!(
                "checkRequest: found `{name}`; the name of a request that reads and has no parameters is accepted"
            )));
        }
        Ok(Self {
            requests,
            clients,
            auth,
            secret: cx.secret.clone(),
            check: config.check_request.clone(),
            limit: Duration::from_secs(config.timeout_sec),
        })
    }

    fn find(&self, name: &str) -> Result<&Request, Refusal> {
        match self.requests.get(name) {
            Some(request) => Ok(request),
            None => Refusal::unless_one_of("request", name, self.requests.keys())
                .and_then(|()| Err(Refusal::new("request", ""))),
        }
    }

    fn reviewed(&self, spec: &StepSpec) -> Result<(&Request, Step, ReviewedStep, Filled), Refusal> {
        Refusal::unless_one_of("step kind", &spec.kind, [KIND])?;
        let step: Step = spec.parse()?;
        let request = self.find(&step.request)?;
        let (reviewed, sent) = request.review(&step)?;
        Ok((request, step, reviewed, sent))
    }

    /// What a reviewed step sends. What was shown is what is sent, or nothing is.
    fn again(&self, step: &ReviewedStep) -> Result<(&Request, Step, Filled), StepError> {
        let (request, parsed, today, sent) = self.reviewed(&step.spec())?;
        if today.command_text != step.command_text || today.tier != step.tier {
            return Err(StepError::not_started("the step is not what was reviewed; nothing was sent"));
        }
        Ok((request, parsed, sent))
    }

    async fn credential(&self, client: &Client, origin: &Url) -> Result<Credential, PortError> {
        let unusable = |why: &str| PortError::new(PortErrorKind::Unauthorized, why);
        if matches!(self.auth, SignIn::No) {
            return Ok(Credential { header: None, secrets: Vec::new() });
        }
        let secret = self
            .secret
            .reveal()
            .await?
            .ok_or_else(|| unusable("`auth` signs in with a secret and there is none: set it"))?;
        // Files and pasted values often end with a line break, which no credential does.
        let exposed = secret.expose_secret().trim_end_matches(['\r', '\n']);
        if exposed.is_empty() {
            return Err(unusable("the secret is empty: set it"));
        }
        let mut secrets = vec![SecretString::from(exposed)];
        let (name, value) = match &self.auth {
            SignIn::No => return Ok(Credential { header: None, secrets }),
            SignIn::Basic(username) => {
                let built = client.get(origin.clone()).basic_auth(username, Some(exposed)).build();
                let built = built.map_err(|_| unusable("the password cannot be sent in a header"))?;
                let value =
                    built.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
                // Base64 hides nothing.
                secrets.push(value.trim_start_matches("Basic ").into());
                (AUTHORIZATION, value.to_owned())
            }
            SignIn::Bearer => (AUTHORIZATION, format!("Bearer {exposed}")),
            SignIn::Header(name) => (name.clone(), exposed.to_owned()),
        };
        let mut value =
            HeaderValue::from_str(&value).map_err(|_| unusable("the secret holds characters that a header cannot"))?;
        value.set_sensitive(true);
        Ok(Credential { header: Some((name, value)), secrets })
    }

    /// Sends a request and judges its answer.
    async fn send(
        &self,
        cx: &CallContext,
        request: &Request,
        sent: Filled,
        also: impl FnOnce(RequestBuilder) -> RequestBuilder + Send,
    ) -> Result<StepOutput, StepError> {
        let (answer, credential) = self.deliver(cx, request, sent, also).await?;
        request.judge(&answer, &credential.known())
    }

    /// Sends a request that is marked as a dry-run, and says loudly where that may not have been heeded.
    async fn send_dry(
        &self,
        cx: &CallContext,
        request: &Request,
        sent: Filled,
        proof: &DryRunProof,
        mark: impl FnOnce(RequestBuilder) -> RequestBuilder + Send,
    ) -> Result<DryRun, StepError> {
        let judged = match self.deliver(cx, request, sent, mark).await {
            Ok((answer, credential)) => request.judge_dry(&answer, proof, &credential.known()),
            Err(error) => Err(error),
        };
        match judged {
            Ok(asked) => Ok(DryRun::by_server(asked.output)),
            Err(mut error) => {
                if error.effect != Effect::NotStarted {
                    error.message = format!(
                        "ATTENTION: THE RECEIVER MAY HAVE CARRIED THIS OUT, as a dry-run sends the request itself; look there \
                         before you approve it. {}",
                        error.message
                    );
                }
                Err(error)
            }
        }
    }

    /// Sends a request.
    async fn deliver(
        &self,
        cx: &CallContext,
        request: &Request,
        sent: Filled,
        also: impl FnOnce(RequestBuilder) -> RequestBuilder + Send,
    ) -> Result<(Answer, Credential), StepError> {
        let origin = request.template.origin();
        let what =
            format!("{}: {} to {}", request.name, request.template.method, origin.as_str().trim_end_matches('/'));
        let client = self
            .clients
            .get(origin.as_str())
            .ok_or_else(|| StepError::not_started(format!("{what}: there is no client for it")))?;
        let credential =
            self.credential(client, origin).await.map_err(|error| StepError::not_started(error.to_string()))?;
        let mut builder =
            client.request(request.template.method.clone(), sent.url).headers(request.template.headers.clone());
        if let Some(body) = sent.body {
            builder = builder.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        builder = also(builder);
        if let Some((name, value)) = credential.header.clone() {
            builder = builder.header(name, value);
        }
        match exchange(client, cx, self.limit, &what, builder).await {
            Ok(answer) => Ok((answer, credential)),
            Err(fault) => Err(lost(request, fault)),
        }
    }
}

/// Without a whole answer, nobody knows; unless it only reads.
fn lost(request: &Request, fault: Fault) -> StepError {
    match request.tier {
        Tier::Read => StepError::not_started(fault.error.to_string()),
        Tier::Write | Tier::Destructive => fault.into(),
    }
}

fn sign_in(auth: &Auth) -> Result<SignIn, BuildError> {
    Ok(match auth {
        Auth::None => SignIn::No,
        Auth::Bearer {} => SignIn::Bearer,
        Auth::Basic { username }
            if username.is_empty() || username.contains(':') || username.chars().any(char::is_control) =>
        {
            return Err(BuildError::config("auth.username: a name without `:` is accepted"));
        }
        Auth::Basic { username } => SignIn::Basic(username.clone()),
        Auth::Header { name } => {
            // Whole credentials such as `Token …` go into it as well.
            if name.eq_ignore_ascii_case(AUTHORIZATION.as_str()) {
                return Ok(SignIn::Header(AUTHORIZATION));
            }
            SignIn::Header(template::header_name(name).map_err(|why| BuildError::config(format!("auth.name: {why}")))?)
        }
    })
}

#[async_trait]
impl ExecutionAdapter for HttpRequests {
    fn describe(&self) -> AdapterInfo {
        let mut usage =
            "HTTP requests that were configured. A step names one and gives all of its params, and nothing else."
                .to_owned();
        if let Some(first) = self.requests.values().next() {
            usage.push_str(&format!(" Example: {}", example(first)));
        }
        for request in self.requests.values() {
            usage.push('\n');
            usage.push_str(&request.usage());
        }
        // Room for what is said after the request's own limit.
        AdapterInfo::new([KIND], usage).with_step_timeout(self.limit + Duration::from_secs(5))
    }

    fn review(&self, step: &StepSpec, _: Mode) -> Result<ReviewedStep, Refusal> {
        Ok(self.reviewed(step)?.2)
    }

    async fn dry_run(&self, cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        let (request, _, mut sent) = self.again(step)?;
        match &request.dry_run {
            HowDry::Cannot if request.tier == Tier::Read => Ok(DryRun::not_by_server(format!(
                "This only reads, and is sent when the plan runs: {}",
                step.command_text
            ))),
            HowDry::Cannot => {
                let text =
                    format!("Its receiver has no dry-run. What is sent when the plan runs: {}", step.command_text);
                Ok(DryRun::not_by_server(text))
            }
            HowDry::Header(name, value, proof) => {
                let (name, value) = (name.clone(), value.clone());
                self.send_dry(cx, request, sent, proof, |builder| builder.header(name, value)).await
            }
            HowDry::Query(name, value, proof) => {
                sent.url.query_pairs_mut().append_pair(name, value);
                self.send_dry(cx, request, sent, proof, |builder| builder).await
            }
        }
    }

    async fn inverse(&self, _: &CallContext, step: &ReviewedStep) -> Result<Inverse, StepError> {
        let (request, parsed, _) = self.again(step)?;
        if request.tier == Tier::Read {
            return Ok(Inverse::NotNeeded);
        }
        let Some(back) = request.step_back(&parsed.params) else { return Ok(Inverse::Unknown) };
        let spec = StepSpec::typed(KIND, &back)?;
        // A value that this request takes need not be one that the other takes.
        Ok(if self.reviewed(&spec).is_ok() { Inverse::Steps(vec![spec]) } else { Inverse::Unknown })
    }

    async fn read(&self, cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        let (request, _, sent) = self.again(step.step())?;
        if request.tier != Tier::Read {
            return Err(StepError::not_started("this request changes something, and an investigation only reads"));
        }
        self.send(cx, request, sent, |builder| builder).await
    }

    async fn execute(&self, cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        let (request, _, sent) = self.again(step.step())?;
        let key = step.idempotency_key();
        // Nobody cancels what a person approved.
        let cx = CallContext::with_timeout(cx.timeout);
        let reads = request.tier == Tier::Read;
        self.send(&cx, request, sent, |builder| if reads { builder } else { builder.header("Idempotency-Key", key) })
            .await
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        // A secret that cannot be resolved is found here and not in an incident.
        let mut unencrypted = false;
        for request in self.requests.values() {
            let origin = request.template.origin();
            if let Some(client) = self.clients.get(origin.as_str()) {
                let signs_in = self.credential(client, origin).await?.header.is_some();
                unencrypted |= signs_in && origin.scheme() == "http";
            }
        }
        let warned = |report: CheckReport| match unencrypted {
            true => {
                report.with_facts([("warning".to_owned(), "the credential travels unencrypted: use https".to_owned())])
            }
            false => report,
        };
        if self.requests.is_empty() {
            return Ok(CheckReport::new("nothing was sent").lacking("`requests` is empty, so that no step is accepted"));
        }
        let Some(request) = self.check.as_ref().and_then(|name| self.requests.get(name)) else {
            let count = self.requests.len();
            return Ok(warned(CheckReport::new(format!(
                "{count} requests are configured; nothing was sent, because no `checkRequest` says what may be sent as a test"
            ))));
        };
        let sent = request
            .template
            .fill(&BTreeMap::new())
            .map_err(|refused| PortError::new(PortErrorKind::Invalid, refused.message))?;
        match self.send(cx, request, sent, |builder| builder).await {
            Ok(output) => {
                let status = output.output.lines().next().unwrap_or_default().to_owned();
                Ok(warned(CheckReport::new(format!("{} was answered as expected: {status}", request.name))))
            }
            Err(error) => Err(PortError::new(PortErrorKind::Unavailable, error.message)),
        }
    }
}
