//! A server on a free port with a database of its own, and clients for it.

#![allow(clippy::disallowed_methods, reason = "tests are clients of their own, in real time")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex, Once};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, StatusCode, header::HeaderMap};
use rounds_core::plugin::{BuildContext, BuildError, Registration, Registry};
use rounds_core::ports::{
    CallContext, CheckReport, DataSet, Datasource, DatasourceInfo, Investigator, Notice, Notifier, Point, PortError,
    Query, Series,
};
use rounds_core::testing::FakeAdapter;
use rounds_server::settings::{Overrides, ServerSettings};
use rounds_server::{App, Boot};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub const PASSWORD: &str = "correct-horse";

/// The adapters of all servers of this process, by the key in their connectors' config.
static ADAPTERS: LazyLock<Mutex<HashMap<String, FakeAdapter>>> = LazyLock::new(Mutex::default);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FakeConfig {
    /// Which adapter.
    key: String,
    /// What every query answers.
    #[serde(default)]
    value: f64,
}

fn adapter(key: &str) -> FakeAdapter {
    ADAPTERS.lock().unwrap().entry(key.to_owned()).or_default().clone()
}

struct FixedValue(f64);

#[async_trait]
impl Datasource for FixedValue {
    fn describe(&self) -> DatasourceInfo {
        DatasourceInfo::metrics("PromQL")
    }

    async fn check(&self, _: &CallContext) -> Result<CheckReport, PortError> {
        Err(PortError::new(rounds_core::ports::PortErrorKind::Unavailable, "nobody answers at the other side"))
    }

    async fn query(&self, _: &CallContext, _: &Query) -> Result<DataSet, PortError> {
        let point = Point { at: chrono::Utc::now(), value: self.0 };
        Ok(DataSet::of_series(vec![Series::new(Default::default(), vec![point])]))
    }
}

/// The pagers of all servers of this process, by the key in their connectors' config: whether they are down, and the keys
/// of what they were told.
static PAGERS: LazyLock<Mutex<Pagers>> = LazyLock::new(Mutex::default);

type Pagers = HashMap<String, (bool, Vec<String>)>;

/// Breaks the pager of a server for good, or mends it.
pub fn break_pager(key: &str, is_down: bool) {
    PAGERS.lock().unwrap().entry(key.to_owned()).or_default().0 = is_down;
}

/// The idempotency keys of what the pager of a server was told.
pub fn paged(key: &str) -> Vec<String> {
    PAGERS.lock().unwrap().get(key).map(|(_, told)| told.clone()).unwrap_or_default()
}

struct Pager(String);

#[async_trait]
impl Notifier for Pager {
    async fn check(&self, _: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport::new("nobody to disturb"))
    }

    async fn send(&self, _: &CallContext, notice: &Notice) -> Result<(), PortError> {
        let mut pagers = PAGERS.lock().unwrap();
        let (is_down, told) = pagers.entry(self.0.clone()).or_default();
        if *is_down {
            return Err(PortError::new(rounds_core::ports::PortErrorKind::Invalid, "the pager is down"));
        }
        told.push(notice.idempotency_key.clone());
        Ok(())
    }
}

fn registrations() -> [Registration; 3] {
    [
        rounds_core::registration! {
            kind: "pager",
            title: "A pager",
            role: Notifier,
            secret: None,
            config: FakeConfig,
            build: |_: BuildContext, config: FakeConfig| Ok::<_, BuildError>(Pager(config.key)),
        },
        rounds_core::registration! {
            kind: "fake",
            title: "Fake",
            role: Execution,
            secret: Optional("a key"),
            config: FakeConfig,
            build: |_: BuildContext, config: FakeConfig| Ok::<_, BuildError>(adapter(&config.key)),
        },
        rounds_core::registration! {
            kind: "fixed",
            title: "A fixed value",
            role: Datasource,
            secret: None,
            config: FakeConfig,
            build: |_: BuildContext, config: FakeConfig| Ok::<_, BuildError>(FixedValue(config.value)),
        },
    ]
}

/// A running server.
pub struct Server {
    pub url: String,
    pub adapter: FakeAdapter,
    pub state: rounds_server::AppState,
    key: String,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    _dir: TempDir,
}

/// A server with nobody in it.
pub async fn empty() -> Server {
    with(|_| {}).await
}

/// A server whose settings a test changes.
pub async fn with(change: impl FnOnce(&mut ServerSettings)) -> Server {
    Box::pin(start(change, None)).await
}

/// A server that investigates, and writes down at once what was found.
pub async fn investigating(investigator: impl Investigator + 'static) -> Server {
    let quick = |settings: &mut ServerSettings| settings.core.progress_interval = Duration::from_millis(10);
    Box::pin(start(quick, Some(Arc::new(investigator)))).await
}

async fn start(change: impl FnOnce(&mut ServerSettings), investigator: Option<Arc<dyn Investigator>>) -> Server {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let dir = tempfile::tempdir().unwrap();
    let overrides = Overrides { data_dir: Some(dir.path().join("data")), listen: None };
    let mut settings = ServerSettings::read(&|_| None, overrides).unwrap();
    settings.core.poll_interval = Duration::from_millis(100);
    settings.core.plan_expiry_sweep = Duration::from_millis(100);
    change(&mut settings);
    let linked = Registry::linked().unwrap();
    let registry = Registry::new(linked.iter().cloned().chain(registrations())).unwrap();
    let boot = Boot { settings, registry, investigator, without: Vec::new() };
    let app = App::start(boot).await.unwrap();
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let (until, state) = (stop.clone(), app.state.clone());
    let task = tokio::spawn(async move { app.serve(listener, async move { until.cancelled().await }).await.unwrap() });
    let key = rounds_core::PlanId::new().to_string();
    Server { url, adapter: adapter(&key), state, key, stop, task, _dir: dir }
}

impl Server {
    /// What tells its connectors from those of other servers.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Somebody nobody knows.
    pub fn anonymous(&self) -> Client {
        Client { http: reqwest::Client::new(), url: self.url.clone(), session: None, csrf: None, bearer: None }
    }

    /// The first admin, signed in.
    pub async fn admin(&self) -> Client {
        let draft = json!({ "email": "root@example.org", "login": "root", "name": "Root", "password": PASSWORD });
        self.anonymous().post("/api/setup/admin", draft).await.expect(201);
        self.sign_in("root").await
    }

    /// A user with a role, signed in.
    pub async fn user(&self, admin: &Client, login: &str, role: &str) -> Client {
        let draft = json!({ "login": login, "password": PASSWORD, "orgRole": role });
        admin.post("/api/admin/users", draft).await.expect(201);
        self.sign_in(login).await
    }

    pub async fn sign_in(&self, login: &str) -> Client {
        let mut client = self.anonymous();
        let first = client.get("/api/health/live").await;
        client.csrf = first.cookie("rounds_csrf");
        let answer = client.post("/api/login", json!({ "user": login, "password": PASSWORD })).await;
        client.session = answer.cookie("rounds_session");
        answer.expect(200);
        client
    }

    /// A token of the seeded agent.
    pub async fn agent(&self, admin: &Client) -> Client {
        let found = admin.get("/api/serviceaccounts/search").await.expect(200);
        let id = found["serviceAccounts"][0]["id"].as_str().unwrap().to_owned();
        let minted = admin.post(&format!("/api/serviceaccounts/{id}/tokens"), json!({ "name": "t" })).await.expect(201);
        self.anonymous().with_bearer(minted["key"].as_str().unwrap())
    }

    /// An ops connector.
    pub async fn connector(&self, admin: &Client) -> String {
        let draft = json!({ "type": "fake", "name": "cluster", "config": { "key": self.key } });
        let made = admin.post("/api/connectors", draft).await.expect(201);
        made["connector"]["id"].as_str().unwrap().to_owned()
    }

    /// A datasource that always answers the same.
    pub async fn datasource(&self, admin: &Client, value: f64) -> String {
        let draft = json!({ "type": "fixed", "name": "metrics", "config": { "key": self.key, "value": value } });
        let made = admin.post("/api/connectors", draft).await.expect(201);
        made["connector"]["id"].as_str().unwrap().to_owned()
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Steps as a client writes them.
pub fn steps(connector: &str, commands: &[[&str; 2]]) -> Value {
    commands
        .iter()
        .map(|argv| json!({ "kind": "ops.run_command", "paramsJson": { "argv": argv, "connectorId": connector } }))
        .collect()
}

pub fn proposal(connector: &str, commands: &[[&str; 2]]) -> Value {
    json!({ "summary": "Bring it back", "steps": steps(connector, commands) })
}

/// Somebody who calls the API.
#[derive(Clone)]
pub struct Client {
    pub http: reqwest::Client,
    pub url: String,
    pub session: Option<String>,
    pub csrf: Option<String>,
    pub bearer: Option<String>,
}

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
    pub what: String,
}

impl Client {
    /// The same somebody, who follows no redirect.
    pub fn staying(mut self) -> Self {
        let stays = reqwest::redirect::Policy::none();
        self.http = reqwest::Client::builder().redirect(stays).build().unwrap();
        self
    }

    pub fn with_bearer(mut self, token: &str) -> Self {
        self.bearer = Some(token.to_owned());
        self
    }

    /// The same session, forgetting to echo the CSRF token.
    pub fn without_csrf_header(mut self) -> Self {
        self.csrf = None;
        self
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(token) = &self.bearer {
            request = request.bearer_auth(token);
        }
        let mut cookies = Vec::new();
        if let Some(session) = &self.session {
            cookies.push(format!("rounds_session={session}"));
        }
        if let Some(csrf) = &self.csrf {
            cookies.push(format!("rounds_csrf={csrf}"));
            request = request.header("x-csrf-token", csrf);
        }
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        request
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let what = format!("{method} {path}");
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::read(request, what).await
    }

    /// Sends a form of a page.
    pub async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.append_pair("csrf", self.csrf.as_deref().unwrap_or_default()).extend_pairs(fields);
        let request = self.request(Method::POST, path).body(body.finish());
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        Answer::read(request, format!("POST {path}")).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    /// A plan that waits.
    pub async fn propose(&self, connector: &str, commands: &[[&str; 2]]) -> Value {
        self.post("/api/plans", proposal(connector, commands)).await.expect(201)
    }

    /// Reads until the value is so, or gives up.
    pub async fn until(&self, path: &str, so: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..300 {
            let found = self.get(path).await.expect(200);
            if so(&found) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{path} did not become so: {}", self.get(path).await.body)
    }
}

impl Answer {
    pub async fn read(request: reqwest::RequestBuilder, what: String) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self { status, headers, body, what }
    }

    /// The body, when the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}: {}", self.what, self.body);
        self.body
    }

    /// The error's message, when status and code are these.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> String {
        let what = self.what.clone();
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{what}: {body}");
        body["message"].as_str().unwrap_or_else(|| panic!("{what}: no message in {body}")).to_owned()
    }

    pub fn cookie(&self, name: &str) -> Option<String> {
        let cookies = self.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
        let pairs = cookies.filter_map(|cookie| cookie.split(';').next()?.split_once('='));
        pairs.filter(|(found, _)| *found == name).map(|(_, value)| value.to_owned()).next_back()
    }
}
