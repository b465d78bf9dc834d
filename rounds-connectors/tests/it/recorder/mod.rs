//! An API server that writes down what it is asked. Every kind is there, every object exists, every change succeeds:
//! what a kubectl sends to it is what it would have sent to a cluster where nothing stands in its way.
//!
//! Objects whose name starts with `new-` are not there before they are made; an object that was deleted is gone.

mod discovery;
mod objects;
mod proof;
mod run;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum About {
    /// What the server serves; no object.
    Discovery,
    Objects {
        group: String,
        version: String,
        namespace: Option<String>,
        plural: String,
        /// None: all of them, or those that a selector picks.
        name: Option<String>,
        subresource: Option<String>,
    },
    /// A path that is neither.
    Unknown,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) about: About,
    pub(crate) body: Value,
}

impl Recorded {
    pub(crate) fn is_write(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS")
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        // A deletion says so in its body.
        self.query.get("dryRun").is_some_and(|value| value == "All") || self.body["dryRun"] == json!(["All"])
    }

    /// The name of the one object that it is about: in the path, in the body of what is made, or in a field selector.
    pub(crate) fn object_name(&self) -> Option<&str> {
        let About::Objects { name, .. } = &self.about else { return None };
        let selected = self.query.get("fieldSelector").and_then(|selector| selector.strip_prefix("metadata.name="));
        name.as_deref().or_else(|| self.body["metadata"]["name"].as_str()).or(selected)
    }
}

impl std::fmt::Display for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        for (i, (key, value)) in self.query.iter().enumerate() {
            write!(f, "{}{key}={value}", if i == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

/// The requests of each caller: the first word of a kubectl's user agent is the name it was started under.
type Log = Arc<Mutex<BTreeMap<String, Vec<Recorded>>>>;

/// The server; it ends with the value.
pub(crate) struct Recorder {
    pub(crate) address: std::net::SocketAddr,
    log: Log,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let log = Log::default();
        let app = Router::new().fallback(answer).with_state(log.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, log, server }
    }

    pub(crate) fn requests(&self, token: &str) -> Vec<Recorded> {
        self.log.lock().unwrap().get(token).cloned().unwrap_or_default()
    }
}

/// Reads a path as the API server does.
pub(crate) fn about(path: &str) -> About {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    if matches!(segments.as_slice(), ["version"] | ["api" | "apis"] | ["api", _] | ["apis", _] | ["apis", _, _])
        || segments[0] == "openapi"
    {
        return About::Discovery;
    }
    let (group, rest) = match segments.as_slice() {
        ["api", rest @ ..] => ("", rest),
        ["apis", group, rest @ ..] => (*group, rest),
        _ => return About::Unknown,
    };
    let [version, rest @ ..] = rest else { return About::Unknown };
    let (namespace, rest) = match rest {
        // `namespaces/x/status` and `namespaces/x/finalize` are of the namespace itself.
        ["namespaces", namespace, plural, rest @ ..] if discovery::row(group, plural).is_some() => {
            (Some((*namespace).to_owned()), [&[*plural], rest].concat())
        }
        rest => (None, rest.to_vec()),
    };
    let (plural, name, subresource) = match rest.as_slice() {
        [plural] => (plural, None, None),
        [plural, name] => (plural, Some(name), None),
        [plural, name, subresource @ ..] => (plural, Some(name), Some(subresource.join("/"))),
        [] => return About::Unknown,
    };
    About::Objects {
        group: group.to_owned(),
        version: (*version).to_owned(),
        namespace,
        plural: (*plural).to_owned(),
        name: name.map(|&name| name.to_owned()),
        subresource,
    }
}

fn missing(path: &str) -> Response {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": format!("{path} not found") });
    (StatusCode::NOT_FOUND, axum::Json(status)).into_response()
}

async fn answer(State(log): State<Log>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = agent.split('/').next().unwrap_or_default().to_owned();
    let url = url::Url::parse(&format!("http://recorder{uri}")).unwrap();
    let request = Recorded {
        method: method.to_string(),
        path: uri.path().to_owned(),
        query: url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect(),
        about: about(uri.path()),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    let earlier = {
        let mut log = log.lock().unwrap();
        let requests = log.entry(token.clone()).or_default();
        requests.push(request.clone());
        requests[..requests.len() - 1].to_vec()
    };
    match &request.about {
        About::Discovery if request.path == "/openapi/v2" => {
            let kind = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
            ([(header::CONTENT_TYPE, kind)], discovery::openapi()).into_response()
        }
        About::Discovery => {
            let segments: Vec<&str> = request.path.trim_matches('/').split('/').collect();
            discovery::answer(&segments)
                .map_or_else(|| missing(&request.path), |value| axum::Json(value).into_response())
        }
        About::Unknown => missing(&request.path),
        About::Objects { .. } => about_objects(&request, &earlier, token.ends_with("paused")),
    }
}

/// The replicas that this caller asked for last.
fn replicas(earlier: &[Recorded]) -> i64 {
    earlier
        .iter()
        .rev()
        .filter(|request| request.is_write())
        .find_map(|request| request.body["spec"]["replicas"].as_i64())
        .unwrap_or(3)
}

fn about_objects(request: &Recorded, earlier: &[Recorded], paused: bool) -> Response {
    let About::Objects { group, version, namespace, plural, name, subresource } = &request.about else {
        return missing(&request.path);
    };
    let Some(row) = discovery::row(group, plural) else { return missing(&request.path) };
    let deleted = |name: &str| {
        earlier.iter().any(|known| known.method == "DELETE" && known.path.ends_with(&format!("/{plural}/{name}")))
    };
    let namespace = namespace.as_deref();
    match (request.method.as_str(), name, subresource.as_deref()) {
        ("GET", Some(_), Some("log")) => "2024-05-01T10:00:00Z hello\n".into_response(),
        (_, Some(name), Some("scale")) => {
            let asked = request.body["spec"]["replicas"].as_i64().unwrap_or_else(|| replicas(earlier));
            axum::Json(json!({
                "kind": "Scale", "apiVersion": "autoscaling/v1",
                "metadata": { "name": name, "namespace": namespace, "resourceVersion": "12345", "generation": 1, "creationTimestamp": "2024-05-01T10:00:00Z" },
                "spec": { "replicas": asked }, "status": { "replicas": asked, "selector": format!("app={name}") },
            }))
            .into_response()
        }
        ("GET", Some(name), _) if deleted(name) || name.starts_with("new-") => missing(&request.path),
        ("DELETE", Some(name), _) => axum::Json(json!({
            "kind": "Status", "apiVersion": "v1", "status": "Success", "details": { "name": name, "kind": plural, "uid": format!("uid-{name}") },
        }))
        .into_response(),
        (_, Some(name), _) => axum::Json(objects::object(row, version, namespace, name, paused)).into_response(),
        ("POST", None, _) => (StatusCode::CREATED, axum::Json(request.body.clone())).into_response(),
        // A watch that has nothing to tell.
        ("GET", None, _) if request.query.get("watch").is_some_and(|on| on == "true" || on == "1") => {
            ([(header::CONTENT_TYPE, "application/json")], "").into_response()
        }
        (_, None, _) => {
            let items = match request.object_name() {
                Some(name) if deleted(name) => Vec::new(),
                Some(name) => vec![objects::object(row, version, namespace, name, paused)],
                None => {
                    let selector = request.query.get("labelSelector").map(String::as_str).unwrap_or_default();
                    let workload = selector.split(',').find_map(|part| part.strip_prefix("app=")).unwrap_or("web");
                    objects::items(row, version, namespace, workload)
                }
            };
            let list = json!({
                "apiVersion": discovery::api_version(group, version), "kind": format!("{}List", row.1), "metadata": { "resourceVersion": "12345" }, "items": items,
            });
            axum::Json(list).into_response()
        }
    }
}
