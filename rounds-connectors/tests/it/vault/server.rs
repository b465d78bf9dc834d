//! A server that answers as Vault's HTTP API does: tokens that end, logins, wrapped answers, key-value engines of both
//! versions, and the error bodies that go with them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A token that the server knows.
#[derive(Debug, Clone)]
pub struct Token {
    /// Seconds; 0: for ever.
    pub ttl: u64,
    /// How long it may live, renewals included.
    pub max: Duration,
    pub renewable: bool,
    /// What it may read.
    pub may: Vec<&'static str>,
    pub made: Instant,
    pub ends: Option<Instant>,
}

impl Token {
    pub fn new(ttl: u64) -> Self {
        let now = Instant::now();
        let ends = (ttl > 0).then(|| now + Duration::from_secs(ttl));
        let may = vec!["secret/", "kv/", "team/a/kv/", "ns/"];
        Self { ttl, max: Duration::from_secs(3600), renewable: true, may, made: now, ends }
    }
}

/// What the server is and has seen.
#[derive(Default)]
pub struct Inside {
    pub tokens: HashMap<String, Token>,
    /// What a login gives.
    pub grants: Option<Token>,
    /// Role id and secret id of AppRole.
    pub approle: Option<(String, String)>,
    /// Role and service account token of the Kubernetes method.
    pub kubernetes: Option<(String, String)>,
    /// Wrapping tokens: where their content was made, and the secret id inside.
    pub wrapped: HashMap<String, (String, String)>,
    pub namespace: Option<&'static str>,
    /// An answer to everything.
    pub always: Option<(u16, Value)>,
    /// Nothing is answered.
    pub hangs: bool,
    /// How long a login takes.
    pub login_takes: Duration,
    /// Renewals fail.
    pub no_renewals: bool,
    /// The mounts are told to nobody.
    pub no_mounts: bool,
    /// What is at `secret/planted`.
    pub planted: Option<Value>,
    /// Calls by method and path.
    pub calls: BTreeMap<String, usize>,
    made: usize,
}

#[derive(Clone, Default)]
pub struct Vault {
    pub inside: Arc<Mutex<Inside>>,
    pub address: String,
}

impl Vault {
    pub async fn start() -> Self {
        let (mut vault, listener) = Self::bound("http").await;
        let app = vault.router();
        vault.address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        vault
    }

    /// With TLS, under the name `localhost`; and the certificate to trust.
    pub async fn start_with_tls() -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let (mut vault, listener) = Self::bound("https").await;
        let app = vault.router();
        vault.address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let listener = Tls { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
        tokio::spawn(async move { axum::serve(listener, app).await });
        (vault, made.cert.pem())
    }

    async fn bound(_scheme: &str) -> (Self, TcpListener) {
        let vault = Self::default();
        vault.with(|inside| inside.tokens.insert("s.root".into(), Token::new(0)));
        (vault, TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut Inside) -> T) -> T {
        change(&mut self.inside.lock().unwrap())
    }

    /// How often something was asked for, such as `POST auth/approle/login`.
    pub fn calls(&self, of: &str) -> usize {
        self.with(|inside| inside.calls.get(of).copied().unwrap_or_default())
    }

    fn router(&self) -> Router {
        let inside = Arc::clone(&self.inside);
        Router::new().fallback(move |request: Request| answer(Arc::clone(&inside), request))
    }
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, from)) = self.listener.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

fn errors(status: u16, errors: &[&str]) -> (u16, Value) {
    (status, json!({ "errors": errors }))
}

async fn answer(inside: Arc<Mutex<Inside>>, request: Request<Body>) -> Response {
    let (method, headers) = (request.method().clone(), request.headers().clone());
    let path = request.uri().path().strip_prefix("/v1/").unwrap_or_default().to_owned();
    let body = to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (hangs, takes) = {
        let mut inside = inside.lock().unwrap();
        *inside.calls.entry(format!("{method} {path}")).or_default() += 1;
        (inside.hangs, if path.ends_with("/login") { inside.login_takes } else { Duration::ZERO })
    };
    if hangs {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(takes).await;
    let (status, body) = inside.lock().unwrap().answer(&method, &path, &headers, &body);
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}

impl Inside {
    fn answer(&mut self, method: &Method, path: &str, headers: &HeaderMap, body: &Value) -> (u16, Value) {
        if let Some(always) = &self.always {
            return always.clone();
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if header("x-vault-request") != Some("true") {
            return errors(412, &["missing 'X-Vault-Request' header"]);
        }
        if self.namespace.is_some() && header("x-vault-namespace") != self.namespace {
            return errors(403, &["permission denied"]);
        }
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        match (method.as_str(), path) {
            ("POST", "auth/approle/login") => {
                let known = self.approle.clone();
                return match known {
                    Some((role, secret)) if role == text("role_id") && secret == text("secret_id") => self.login(),
                    Some((role, _)) if role == text("role_id") => errors(400, &["invalid role or secret ID"]),
                    _ => errors(400, &["invalid role or secret ID"]),
                };
            }
            ("POST", "auth/k8s/cluster-a/login") => {
                return match self.kubernetes.clone() {
                    Some((role, _)) if role != text("role") => {
                        errors(400, &[&format!("invalid role name {:?}", text("role"))])
                    }
                    Some((_, jwt)) if jwt == text("jwt") => self.login(),
                    _ => errors(403, &["permission denied"]),
                };
            }
            ("POST", "sys/wrapping/lookup") => {
                return match self.wrapped.get(&text("token")) {
                    Some((origin, _)) => (
                        200,
                        json!({ "request_id": "r", "data": {
                            "creation_path": origin, "creation_time": "2026-01-01T00:00:00Z", "creation_ttl": 300
                        }}),
                    ),
                    None => errors(400, &["wrapping token is not valid or does not exist"]),
                };
            }
            ("POST" | "PUT", "sys/wrapping/unwrap") => {
                let opened = header("x-vault-token").and_then(|token| self.wrapped.remove(token));
                return match opened {
                    Some((_, secret)) => (
                        200,
                        json!({ "request_id": "r", "wrap_info": null, "auth": null, "data": {
                            "secret_id": secret, "secret_id_accessor": "a", "secret_id_num_uses": 0, "secret_id_ttl": 0
                        }}),
                    ),
                    None => errors(400, &["wrapping token is not valid or does not exist"]),
                };
            }
            _ => {}
        }
        let shown = header("x-vault-token").unwrap_or_default().to_owned();
        let now = Instant::now();
        let Some(token) = self.tokens.get_mut(&shown).filter(|token| token.ends.is_none_or(|ends| now < ends)) else {
            return errors(403, &["permission denied"]);
        };
        match (method.as_str(), path) {
            ("GET", "auth/token/lookup-self") => {
                let ttl = token.ends.map_or(0, |ends| (ends - now).as_secs());
                (200, json!({ "data": { "id": shown, "ttl": ttl, "renewable": token.renewable, "num_uses": 0 } }))
            }
            ("POST" | "PUT", "auth/token/renew-self") if self.no_renewals => errors(500, &["internal error"]),
            ("POST" | "PUT", "auth/token/renew-self") => {
                if !token.renewable {
                    return errors(400, &["lease is not renewable"]);
                }
                let most = (token.made + token.max).saturating_duration_since(now).as_secs();
                let ttl = token.ttl.min(most);
                token.ends = Some(now + Duration::from_secs(ttl));
                (200, auth(&shown, ttl, token.renewable))
            }
            ("POST" | "PUT", "auth/token/revoke-self") => {
                self.tokens.remove(&shown);
                (204, Value::Null)
            }
            ("GET", path) => match path.strip_prefix("sys/internal/ui/mounts/") {
                Some(path) => mount(path, token, self.no_mounts),
                None if path == "secret/data/planted" => match &self.planted {
                    Some(planted) => two(planted.clone()),
                    None => errors(404, &[]),
                },
                None => secret(path, token),
            },
            _ => errors(405, &["1 error occurred:\n\t* unsupported operation\n\n"]),
        }
    }

    fn login(&mut self) -> (u16, Value) {
        self.made += 1;
        let name = format!("hvs.made-{}", self.made);
        let token = self.grants.clone().unwrap_or_else(|| Token::new(3600));
        let now = Instant::now();
        let ends = (token.ttl > 0).then(|| now + Duration::from_secs(token.ttl));
        let answer = auth(&name, token.ttl, token.renewable);
        self.tokens.insert(name, Token { made: now, ends, ..token });
        (200, answer)
    }
}

fn auth(token: &str, ttl: u64, renewable: bool) -> Value {
    json!({ "request_id": "r", "lease_id": "", "renewable": false, "lease_duration": 0, "data": null, "wrap_info": null,
        "auth": { "client_token": token, "accessor": "a", "policies": ["default", "rounds"], "lease_duration": ttl,
            "renewable": renewable, "token_type": "service", "num_uses": 0 } })
}

fn mount(path: &str, token: &Token, told: bool) -> (u16, Value) {
    let refused = || {
        let why = format!(
            "preflight capability check returned 403, please ensure client's policies grant access to path \"{path}/\""
        );
        errors(403, &[&why])
    };
    let mounts = [
        ("secret/", "kv", json!({ "version": "2" })),
        ("kv/", "kv", Value::Null),
        ("team/a/kv/", "kv", json!({ "version": "2" })),
        ("database/", "database", json!({})),
    ];
    // A namespace before the path is no part of what a mount is called.
    let path = path.strip_prefix("ns/").unwrap_or(path);
    let found = mounts.into_iter().find(|(mount, ..)| path.starts_with(mount));
    match found {
        Some((mount, kind, options)) if !told && (token.may.contains(&mount) || kind == "database") => {
            (200, json!({ "data": { "path": mount, "type": kind, "options": options, "accessor": "kv_1" } }))
        }
        _ => refused(),
    }
}

/// A secret in version 2 of the engine.
fn two(data: Value) -> (u16, Value) {
    let metadata =
        json!({ "created_time": "2026-01-01T00:00:00Z", "deletion_time": "", "destroyed": false, "version": 1 });
    (200, json!({ "request_id": "r", "data": { "data": data, "metadata": metadata } }))
}

fn secret(path: &str, token: &Token) -> (u16, Value) {
    if !token.may.iter().any(|mount| path.starts_with(mount)) {
        return errors(403, &["1 error occurred:\n\t* permission denied\n\n"]);
    }
    match path {
        "secret/data/prod" | "team/a/kv/data/prod" | "ns/secret/data/prod" => {
            two(json!({ "kubeconfig": "two", "empty": "" }))
        }
        "secret/data/app/data/prod" => two(json!({ "kubeconfig": "deep" })),
        "kv/prod" => (
            200,
            json!({ "lease_duration": 2764800, "data": { "kubeconfig": "one", "number": 7, "object": { "a": "hunter2" } } }),
        ),
        path if path.ends_with("/admin") => {
            (200, json!({ "lease_id": format!("{path}/1"), "lease_duration": 3600, "data": { "password": "hunter2" } }))
        }
        "kv/data/prod" => (200, json!({ "data": { "kubeconfig": "one in data" } })),
        "secret/data/gone" => (
            404,
            json!({ "data": { "data": null, "metadata": {
            "deletion_time": "2026-01-01T00:00:00Z", "destroyed": false, "version": 3 } } }),
        ),
        "secret/prod" => (404, json!({ "warnings": ["Invalid path for a versioned K/V secrets engine."] })),
        _ => errors(404, &[]),
    }
}
