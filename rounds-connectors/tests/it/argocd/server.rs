//! An Argo CD as far as its REST gateway goes: applications with an operation state machine, its roles, its error bodies.
//!
//! After the server of Argo CD 2.x and 3.x: `server/application` (who may see what, what a sync and a rollback refuse,
//! `SetAppOperation`) and `controller` (the phases of an operation, when history is written).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

pub(crate) const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJyb3VuZHMifQ.hunter2-hunter2";

/// What becomes of a request instead of, or beside, what it is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Trouble {
    /// It is done, and the connection breaks before the answer.
    LosesTheAnswer,
    /// It is not done, and the connection breaks.
    LosesTheRequest,
    /// It is done, and the answer never comes.
    Hangs,
    /// It is done, and the answer never ends.
    NeverEnds,
    /// It is sent elsewhere.
    Redirects(u16),
    /// A proxy in front answers.
    Proxy(u16),
    /// Somebody who asked for the same gets in before, and the request is lost.
    AnotherComesFirst,
}

/// How a sync goes that is not told otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Fate {
    /// How often the application is read before the operation is over; `None`: never.
    pub(crate) reads: Option<u32>,
    pub(crate) phase: &'static str,
    pub(crate) message: &'static str,
}

struct Inner {
    apps: BTreeMap<String, Value>,
    managed: Value,
    manifests: BTreeMap<String, Value>,
    /// What names of revisions stand for, other than themselves.
    refs: BTreeMap<String, String>,
    version: &'static str,
    /// What the next look at the objects is a comparison with.
    compares_anew: Option<&'static str>,
    /// Whether retries look for the newest revision whatever they are told, as a server that does not know the field.
    deaf: bool,
    /// The applications of these projects may be seen and synced; `None`: of all, and no project that is asked for is
    /// compared, as before 2.7.
    projects: Option<Vec<&'static str>>,
    fate: Fate,
    reads: u32,
    started: u32,
    /// Each request: method, path with query, body.
    asked: Vec<(Method, String, Value)>,
    /// What becomes of the k-th request with an effect.
    trouble: Option<(usize, Trouble)>,
    effects: usize,
    /// What a read shows once while an operation runs: a cache is behind.
    stale: Option<Value>,
    /// The token that is accepted.
    token: String,
    /// How many changes were made.
    changes: u64,
}

#[derive(Clone)]
pub(crate) struct ArgoCd(Arc<Mutex<Inner>>);

/// A gateway's error.
fn error(status: u16, code: i64, message: impl Into<String>) -> Response {
    let message = message.into();
    let body = json!({ "error": message, "code": code, "message": message });
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}

fn denied() -> Response {
    error(403, 7, "permission denied")
}

pub(crate) fn app(name: &str, project: &str) -> Value {
    let source = json!({ "repoURL": "https://git.example/shop.git", "path": "web", "targetRevision": "main" });
    let entry = |id: i64, revision: &str, image: &str| {
        let mut source = source.clone();
        source["kustomize"] = json!({ "images": [image] });
        json!({ "id": id, "revision": revision, "deployedAt": format!("2026-01-0{}T00:00:00Z", id - 3), "source": source,
                "initiatedBy": { "username": "ada" } })
    };
    json!({
        "metadata": { "name": name, "namespace": "argocd", "uid": "1", "resourceVersion": "10" },
        "spec": { "project": project, "source": source, "destination": { "server": "https://kubernetes.default.svc", "namespace": "prod" } },
        "status": {
            "sync": { "status": "OutOfSync", "revision": "ccc3" }, "health": { "status": "Degraded" },
            "history": [entry(5, "aaa1", "web:1"), entry(6, "bbb2", "web:2")],
            "summary": { "images": ["web:2"] },
            "resources": [
                { "group": "apps", "kind": "Deployment", "namespace": "prod", "name": "web", "status": "OutOfSync",
                  "health": { "status": "Degraded", "message": "exceeded its progress deadline" } },
                { "kind": "Service", "namespace": "prod", "name": "web", "status": "Synced", "health": { "status": "Healthy" } },
            ],
            "operationState": {
                "operation": { "sync": { "revision": "bbb2" }, "initiatedBy": { "username": "ada" } },
                "phase": "Succeeded", "message": "successfully synced (all tasks run)", "startedAt": "2026-01-03T00:00:00Z",
                "finishedAt": "2026-01-03T00:00:09Z", "syncResult": { "revision": "bbb2", "resources": null },
            },
        },
    })
}

impl ArgoCd {
    pub(crate) async fn serve() -> (Self, String) {
        Self::accepting(TOKEN).await
    }

    /// A server that takes this token and no other.
    pub(crate) async fn accepting(token: &str) -> (Self, String) {
        let argo = Self(Arc::new(Mutex::new(Inner {
            apps: BTreeMap::from([("argocd/shop-web".to_owned(), app("shop-web", "shop"))]),
            managed: json!({ "items": null }),
            manifests: BTreeMap::new(),
            refs: BTreeMap::from([("main".to_owned(), "ccc3".to_owned()), ("HEAD".to_owned(), "ccc3".to_owned())]),
            version: "v3.0.0+1234567",
            compares_anew: None,
            deaf: false,
            projects: Some(vec!["shop"]),
            fate: Fate { reads: Some(2), phase: "Succeeded", message: "successfully synced (all tasks run)" },
            reads: 0,
            started: 0,
            asked: Vec::new(),
            trouble: None,
            effects: 0,
            stale: None,
            token: token.to_owned(),
            changes: 0,
        })));
        let router = Router::new()
            .route("/api/version", get(version))
            .route("/api/v1/session/userinfo", get(user))
            .route("/api/v1/account/can-i/applications/{action}/{*object}", get(can))
            .route("/api/v1/applications/{name}", get(read).patch(patch))
            .route("/api/v1/applications/{name}/managed-resources", get(managed))
            .route("/api/v1/applications/{name}/manifests", get(manifests))
            .route("/api/v1/applications/{name}/sync", post(sync))
            .route("/api/v1/applications/{name}/rollback", post(rollback))
            .fallback(async || error(404, 5, "Not Found"))
            .layer(axum::middleware::from_fn_with_state(argo.clone(), before))
            .with_state(argo.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (argo, url)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Value)) {
        change(self.lock().apps.get_mut("argocd/shop-web").unwrap());
    }

    pub(crate) fn put(&self, key: &str, app: Value) {
        self.lock().apps.insert(key.to_owned(), app);
    }

    pub(crate) fn app(&self) -> Value {
        self.lock().apps["argocd/shop-web"].clone()
    }

    pub(crate) fn fate(&self, fate: Fate) {
        self.lock().fate = fate;
    }

    pub(crate) fn manages(&self, items: Value) {
        self.lock().managed = json!({ "items": items });
    }

    /// Servers of several sources (2.8 and later) leave out which commit it is.
    pub(crate) fn renders(&self, revision: &str, manifests: &[Value]) {
        let texts: Vec<_> = manifests.iter().map(Value::to_string).collect();
        self.lock().manifests.insert(revision.to_owned(), json!({ "manifests": texts }));
    }

    /// What a name of a revision stands for from now on.
    pub(crate) fn moves(&self, name: &str, to: &str) {
        self.lock().refs.insert(name.to_owned(), to.to_owned());
    }

    pub(crate) fn is_version(&self, version: &'static str) {
        self.lock().version = version;
    }

    pub(crate) fn compares_anew(&self, revision: &'static str) {
        self.lock().compares_anew = Some(revision);
    }

    pub(crate) fn refreshes_at_every_retry(&self) {
        self.lock().deaf = true;
    }

    pub(crate) fn ignores_projects(&self) {
        self.lock().projects = None;
    }

    /// The application as it is now is shown once more, after an operation was seen to run.
    pub(crate) fn lags(&self) {
        let mut inner = self.lock();
        inner.stale = Some(inner.apps["argocd/shop-web"].clone());
    }

    pub(crate) fn has_lagged(&self) -> bool {
        self.lock().stale.is_none()
    }

    /// From now on, the k-th request with an effect, counted from 1, meets this.
    pub(crate) fn trouble(&self, kth: usize, trouble: Trouble) {
        let mut inner = self.lock();
        (inner.trouble, inner.effects) = (Some((kth, trouble)), 0);
    }

    /// What was asked that has an effect: path and body.
    pub(crate) fn effects(&self) -> Vec<(String, Value)> {
        let inner = self.lock();
        let effects = inner.asked.iter().filter(|(method, path, _)| method != Method::GET || path.contains("refresh="));
        effects.map(|(_, path, body)| (path.clone(), body.clone())).collect()
    }

    pub(crate) fn changes(&self) -> u64 {
        self.lock().changes
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.lock().asked.iter().map(|(method, path, _)| format!("{method} {path}")).collect()
    }
}

/// Every request: who asks, what is noted, and what goes wrong.
async fn before(State(argo): State<ArgoCd>, request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.to_string();
    let bearer =
        parts.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let effect = parts.method != Method::GET || path.contains("refresh=");
    let (trouble, token) = {
        let mut inner = argo.lock();
        inner.asked.push((parts.method.clone(), path.clone(), serde_json::from_slice(&body).unwrap_or_default()));
        inner.effects += usize::from(effect);
        let now = inner.effects;
        let trouble = inner.trouble.filter(|(kth, _)| effect && *kth == now).map(|(_, trouble)| trouble);
        (trouble, inner.token.clone())
    };
    if bearer != format!("Bearer {token}") && !path.ends_with("/version") {
        return error(401, 16, format!("invalid session: failed to verify the token {bearer}"));
    }
    let broken = || Response::builder().header("content-length", "100").body(Body::from_stream(Cut)).unwrap();
    match trouble {
        Some(Trouble::LosesTheRequest) => return broken(),
        Some(Trouble::Redirects(status)) => {
            return (StatusCode::from_u16(status).unwrap(), [("location", "https://elsewhere.example/")])
                .into_response();
        }
        Some(Trouble::Proxy(status)) => {
            return (StatusCode::from_u16(status).unwrap(), "<html>proxy</html>").into_response();
        }
        Some(Trouble::AnotherComesFirst) => {
            let mut inner = argo.lock();
            let app = inner.apps.get_mut("argocd/shop-web").unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let entry =
                app["status"]["history"].as_array().unwrap().iter().find(|entry| entry["id"] == body["id"]).cloned();
            let entry = entry.unwrap_or_default();
            app["operation"] = json!({
                "sync": { "revision": entry["revision"], "source": entry["source"] }, "initiatedBy": { "username": "mallory" }
            });
            app["status"]["operationState"] = Value::Null;
            return broken();
        }
        _ => {}
    }
    let answer = next.run(axum::extract::Request::from_parts(parts, Body::from(body))).await;
    match trouble {
        Some(Trouble::LosesTheAnswer) => broken(),
        Some(Trouble::Hangs) => std::future::pending().await,
        Some(Trouble::NeverEnds) => Response::new(Body::from_stream(Endless)),
        _ => answer,
    }
}

/// A body that breaks.
struct Cut;

impl futures::Stream for Cut {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(Some(Err(std::io::Error::other("cut"))))
    }
}

/// A body that goes on for ever.
pub(crate) struct Endless;

impl futures::Stream for Endless {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(Some(Ok(Bytes::from_static(&[b' '; 65_536]))))
    }
}

type Asked = Query<BTreeMap<String, String>>;

/// Which application, if the token may see it: `getAppEnforceRBAC`.
#[allow(clippy::result_large_err, reason = "an answer is what a server is for")]
fn enforce(inner: &Inner, name: &str, project: &str, namespace: &str) -> Result<String, Response> {
    let namespace = if namespace.is_empty() { "argocd" } else { namespace };
    let key = format!("{namespace}/{name}");
    let Some(projects) = &inner.projects else {
        return if inner.apps.contains_key(&key) { Ok(key) } else { Err(denied()) };
    };
    let missing = || error(404, 5, format!("applications.argoproj.io \"{name}\" not found"));
    if !project.is_empty() && !projects.contains(&project) {
        return Err(denied());
    }
    let Some(app) = inner.apps.get(&key) else { return Err(if project.is_empty() { denied() } else { missing() }) };
    let real = app["spec"]["project"].as_str().filter(|project| !project.is_empty()).unwrap_or("default");
    if !projects.contains(&real) {
        return Err(if project.is_empty() { denied() } else { missing() });
    }
    if !project.is_empty() && real != project {
        return Err(missing());
    }
    Ok(key)
}

fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body[field].as_str().unwrap_or_default()
}

async fn version(State(argo): State<ArgoCd>) -> Response {
    axum::Json(json!({ "Version": argo.lock().version })).into_response()
}

/// `resolveRevision`: a commit is itself.
fn resolved(inner: &Inner, name: &str) -> String {
    let name = if name.is_empty() { "HEAD" } else { name };
    inner.refs.get(name).cloned().unwrap_or_else(|| name.to_owned())
}

async fn user(State(_): State<ArgoCd>) -> Response {
    axum::Json(json!({ "loggedIn": true, "username": "rounds", "iss": "argocd" })).into_response()
}

async fn can(State(argo): State<ArgoCd>, Path((action, object)): Path<(String, String)>) -> Response {
    let inner = argo.lock();
    let project = object.split('/').next().unwrap_or_default();
    let may = inner.projects.as_ref().is_none_or(|all| all.contains(&project)) && action != "update";
    axum::Json(json!({ "value": if may { "yes" } else { "no" } })).into_response()
}

async fn read(State(argo): State<ArgoCd>, Path(name): Path<String>, Query(query): Asked) -> Response {
    let mut inner = argo.lock();
    let field = |field: &str| query.get(field).map(String::as_str).unwrap_or_default();
    match enforce(&inner, &name, field("project"), field("appNamespace")) {
        Err(refused) => refused,
        Ok(key) => {
            controller(&mut inner, &key);
            let mut app = inner.apps[&key].clone();
            if app["status"]["operationState"]["phase"] == "Running"
                && inner.reads > 1
                && let Some(stale) = inner.stale.take()
            {
                return axum::Json(stale).into_response();
            }
            if !field("refresh").is_empty() {
                app["status"]["sync"]["status"] = "Synced".into();
                inner.changes += 1;
                inner.apps.insert(key, app.clone());
            }
            axum::Json(app).into_response()
        }
    }
}

/// One look of the controller at an application: an operation begins, goes on, ends.
fn controller(inner: &mut Inner, key: &str) {
    let (fate, deaf) = (inner.fate.clone(), inner.deaf);
    let newest = resolved(inner, text(&inner.apps[key]["spec"]["source"], "targetRevision"));
    let app = inner.apps.get_mut(key).unwrap();
    if app["operation"].is_null() {
        return;
    }
    inner.reads += 1;
    if app["status"]["operationState"].is_null() {
        inner.started += 1;
        let state = json!({
            "operation": app["operation"], "phase": "Running", "message": "one or more tasks are running",
            "startedAt": format!("2026-02-01T00:00:{:02}Z", inner.started), "syncResult": { "resources": null },
        });
        app["status"]["operationState"] = state;
        return;
    }
    if fate.reads.is_none_or(|reads| inner.reads <= reads) {
        return;
    }
    inner.reads = 0;
    let operation = app["operation"].take();
    app.as_object_mut().unwrap().remove("operation");
    let sync = &operation["sync"];
    // A retry that refreshes goes to the newest.
    let again = operation["retry"]["refresh"] == true || deaf;
    let revision = match text(sync, "revision") {
        "" => newest.clone(),
        _ if again => newest.clone(),
        revision => revision.to_owned(),
    };
    let state = &mut app["status"]["operationState"];
    state["phase"] = fate.phase.into();
    state["message"] = fate.message.into();
    state["finishedAt"] = "2026-02-01T00:01:00Z".into();
    let (status, said) = if fate.phase == "Succeeded" {
        ("Synced", "deployment.apps/web configured")
    } else {
        ("SyncFailed", "error validating data")
    };
    state["syncResult"] = json!({ "revision": revision, "resources": [
        { "group": "apps", "version": "v1", "kind": "Deployment", "namespace": "prod", "name": "web", "status": status, "message": said, "syncPhase": "Sync" },
    ] });
    if sync["revisions"].is_array() {
        state["syncResult"]["revision"] = "".into();
        state["syncResult"]["revisions"] = sync["revisions"].clone();
    }
    let partial = sync["resources"].as_array().is_some_and(|list| !list.is_empty());
    if fate.phase == "Succeeded" && sync["dryRun"] != true && !partial {
        let id = app["status"]["history"]
            .as_array()
            .and_then(|list| list.last())
            .map_or(0, |entry| entry["id"].as_i64().unwrap() + 1);
        let source = if sync["source"].is_object() { sync["source"].clone() } else { app["spec"]["source"].clone() };
        let entry = json!({ "id": id, "revision": revision, "deployedAt": "2026-02-01T00:01:00Z", "source": source });
        app["status"]["history"].as_array_mut().unwrap().push(entry);
    }
}

/// `SetAppOperation`.
fn start(inner: &mut Inner, key: &str, operation: Value) -> Response {
    let app = inner.apps.get_mut(key).unwrap();
    if !app["operation"].is_null() {
        return error(400, 9, "error setting app operation: another operation is already in progress");
    }
    let dry = operation["sync"]["dryRun"] == true;
    app["operation"] = operation;
    app["status"]["operationState"] = Value::Null;
    inner.changes += u64::from(!dry);
    inner.reads = 0;
    axum::Json(inner.apps[key].clone()).into_response()
}

fn auto_sync(app: &Value) -> bool {
    let automated = &app["spec"]["syncPolicy"]["automated"];
    automated.is_object() && automated["enabled"] != false
}

async fn sync(State(argo): State<ArgoCd>, Path(name): Path<String>, axum::Json(body): axum::Json<Value>) -> Response {
    let mut inner = argo.lock();
    let key = match enforce(&inner, &name, text(&body, "project"), text(&body, "appNamespace")) {
        Ok(key) => key,
        Err(refused) => return refused,
    };
    let app = &inner.apps[&key];
    if !app["metadata"]["deletionTimestamp"].is_null() {
        return error(400, 9, "application is deleting");
    }
    let dry = body["dryRun"] == true;
    let sources = app["spec"]["sources"].as_array().cloned().unwrap_or_default();
    let or_head = |name: &str| if name.is_empty() { "HEAD".to_owned() } else { name.to_owned() };
    let retry = [&body["retryStrategy"], &app["spec"]["syncPolicy"]["retry"]];
    let retry = retry.into_iter().find(|retry| retry.is_object()).cloned().unwrap_or_else(|| json!({}));
    let mut op = json!({ "prune": body["prune"], "dryRun": body["dryRun"], "resources": body["resources"] });
    if sources.is_empty() {
        let (revision, tracked) = (text(&body, "revision").to_owned(), text(&app["spec"]["source"], "targetRevision"));
        if auto_sync(app) && !dry && !revision.is_empty() && revision != or_head(tracked) {
            return error(400, 9, format!("Cannot sync to {revision}: auto-sync currently set to {tracked}"));
        }
        if revision == "unknown" {
            return error(400, 9, "unable to resolve 'unknown' to a commit SHA");
        }
        op["revision"] = resolved(&inner, if revision.is_empty() { tracked } else { &revision }).into();
        op["source"] = app["spec"]["source"].clone();
    } else {
        // Before 2.11 nobody reads these fields, and what is not known is ignored.
        let known = !inner.version.starts_with("v2.10.");
        let mut wanted = vec![String::new(); sources.len()];
        for (at, position) in body["sourcePositions"].as_array().into_iter().flatten().enumerate().filter(|_| known) {
            let place = position.as_u64().and_then(|position| usize::try_from(position).ok());
            let Some(place) = place.filter(|place| (1..=sources.len()).contains(place)) else {
                return error(500, 2, "source position is out of range");
            };
            wanted[place - 1] = body["revisions"][at].as_str().unwrap().to_owned();
        }
        let mut revisions = Vec::new();
        for (source, wanted) in sources.iter().zip(&wanted) {
            let tracked = text(source, "targetRevision");
            if auto_sync(app) && !dry && !wanted.is_empty() && *wanted != or_head(tracked) {
                let address = text(source, "repoURL");
                let said = format!("Cannot sync source {address} to {wanted}: auto-sync currently set to {tracked}");
                return error(400, 9, said);
            }
            revisions.push(resolved(&inner, if wanted.is_empty() { tracked } else { wanted }));
        }
        op["revisions"] = json!(revisions);
        op["sources"] = json!(sources);
    }
    let operation =
        json!({ "sync": op, "initiatedBy": { "username": "rounds" }, "info": body["infos"], "retry": retry });
    start(&mut inner, &key, operation)
}

async fn rollback(
    State(argo): State<ArgoCd>,
    Path(name): Path<String>,
    axum::Json(body): axum::Json<Value>,
) -> Response {
    let mut inner = argo.lock();
    let key = match enforce(&inner, &name, text(&body, "project"), text(&body, "appNamespace")) {
        Ok(key) => key,
        Err(refused) => return refused,
    };
    let app = &inner.apps[&key];
    if auto_sync(app) {
        return error(400, 9, "rollback cannot be initiated when auto-sync is enabled");
    }
    let Some(entry) =
        app["status"]["history"].as_array().unwrap().iter().find(|entry| entry["id"] == body["id"]).cloned()
    else {
        return error(400, 3, format!("application argocd/{name} does not have deployment with id {}", body["id"]));
    };
    let mut sync = json!({ "revision": entry["revision"], "source": entry["source"], "syncStrategy": { "apply": {} } });
    // Go leaves out what is false.
    for field in ["prune", "dryRun"] {
        if body[field] == true {
            sync[field] = true.into();
        }
    }
    start(&mut inner, &key, json!({ "sync": sync, "initiatedBy": { "username": "rounds" }, "retry": {} }))
}

async fn patch(State(argo): State<ArgoCd>, Path(name): Path<String>, axum::Json(body): axum::Json<Value>) -> Response {
    let mut inner = argo.lock();
    let key = match enforce(&inner, &name, text(&body, "project"), text(&body, "appNamespace")) {
        Ok(key) => key,
        Err(refused) => return refused,
    };
    if text(&body, "patchType") != "merge" {
        return error(400, 3, format!("Patch type '{}' is not supported", text(&body, "patchType")));
    }
    let Ok(patch) = serde_json::from_str::<Value>(text(&body, "patch")) else { return error(400, 3, "invalid patch") };
    inner.changes += 1;
    let app = inner.apps.get_mut(&key).unwrap();
    merge(app, &patch);
    axum::Json(app.clone()).into_response()
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        let fields = target.as_object_mut().unwrap();
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

async fn managed(State(argo): State<ArgoCd>, Path(name): Path<String>, Query(query): Asked) -> Response {
    let mut inner = argo.lock();
    if let Some(revision) = inner.compares_anew.take() {
        inner.apps.get_mut("argocd/shop-web").unwrap()["status"]["sync"]["revision"] = revision.into();
    }
    let field = |field: &str| query.get(field).map(String::as_str).unwrap_or_default();
    match enforce(&inner, &name, field("project"), field("appNamespace")) {
        Ok(_) => axum::Json(inner.managed.clone()).into_response(),
        Err(refused) => refused,
    }
}

async fn manifests(
    State(argo): State<ArgoCd>,
    Path(name): Path<String>,
    Query(query): Asked,
    _: Uri,
    _: HeaderMap,
) -> Response {
    let inner = argo.lock();
    let field = |field: &str| query.get(field).map(String::as_str).unwrap_or_default();
    if let Err(refused) = enforce(&inner, &name, field("project"), field("appNamespace")) {
        return refused;
    }
    match inner.manifests.get(field("revision")) {
        Some(rendered) => axum::Json(rendered.clone()).into_response(),
        None => error(500, 2, format!("Unable to resolve '{}' to a commit SHA", field("revision"))),
    }
}

/// A while in which a test could see that nothing more comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
