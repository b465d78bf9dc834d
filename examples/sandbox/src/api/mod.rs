//! The Kubernetes API over HTTP.

pub(crate) mod discovery;
pub(crate) mod logs;
pub(crate) mod openapi;
pub(crate) mod patch;
pub(crate) mod path;
pub(crate) mod selectors;
pub(crate) mod status;
pub(crate) mod table;
pub(crate) mod usage;
pub(crate) mod verbs;
pub(crate) mod watch;

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use serde_json::Value;

use crate::{
    faults::{FaultAction, FaultMoment},
    hub::Hub,
    requests::RecordedRequest,
};
use path::Query;
use status::ApiError;

const BODY_LIMIT: usize = 8 << 20;
const JSON: &str = "application/json";

pub(crate) fn router(hub: Arc<Hub>) -> Router {
    Router::new().fallback(handle).with_state(hub)
}

/// One request, taken apart.
pub(crate) struct Incoming {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Incoming {
    pub(crate) fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn wants_table(&self) -> bool {
        self.header(header::ACCEPT).split(',').next().is_some_and(|first| first.contains("as=Table"))
    }
}

async fn handle(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let raw_query = parts.uri.query().unwrap_or_default().to_owned();
    let path = parts.uri.path().to_owned();
    let body = match to_bytes(body, BODY_LIMIT).await {
        Ok(bytes) => bytes,
        Err(e) => return failure(&ApiError::new(413, format!("request body: {e}"))),
    };
    let incoming = Incoming {
        method: parts.method.as_str().to_owned(),
        query: Query::parse(&raw_query),
        path,
        headers: parts.headers,
        body,
    };
    if hub.stop.is_cancelled() {
        // Connections outlive the listener; a stopped server answers on none of them.
        return dropped();
    }
    let id = hub.requests.record(RecordedRequest {
        at: crate::clock::now(),
        method: incoming.method.clone(),
        path: incoming.path.clone(),
        query: raw_query.clone(),
        body: String::from_utf8_lossy(&incoming.body).into_owned(),
        user_agent: incoming.header(header::USER_AGENT).to_owned(),
        status: 0,
    });
    let fault = hub.faults.strike(&incoming.method, &format!("{}?{raw_query}", incoming.path));
    if let Some((action, FaultMoment::BeforeEffect)) = &fault
        && let Some(answer) = suffer(action, &hub).await
    {
        hub.requests.answered(id, answer.status().as_u16());
        return answer;
    }
    let answer = answer(&hub, &incoming);
    hub.requests.answered(id, answer.status().as_u16());
    if let Some((action, FaultMoment::AfterEffect)) = &fault
        && let Some(instead) = suffer(action, &hub).await
    {
        return instead;
    }
    answer
}

async fn suffer(action: &FaultAction, hub: &Hub) -> Option<Response> {
    match action {
        FaultAction::Delay(d) => {
            tokio::time::sleep(*d).await;
            None
        }
        FaultAction::Status(code, message) => Some(failure(&ApiError::new(*code, message.clone()))),
        FaultAction::Hang => {
            hub.stop.cancelled().await;
            Some(dropped())
        }
        FaultAction::Drop => Some(dropped()),
    }
}

/// A body that fails before its first byte makes the server close the connection.
fn dropped() -> Response {
    let broken =
        futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("connection dropped on purpose")) });
    Response::new(Body::from_stream(broken))
}

fn answer(hub: &Arc<Hub>, incoming: &Incoming) -> Response {
    if let Some(token) = &hub.token
        && incoming.header(header::AUTHORIZATION) != format!("Bearer {token}")
    {
        return failure(&ApiError::new(401, "Unauthorized"));
    }
    match route(hub, incoming) {
        Ok(response) => response,
        Err(e) => failure(&e),
    }
}

fn route(hub: &Arc<Hub>, incoming: &Incoming) -> Result<Response, ApiError> {
    let segments: Vec<&str> = incoming.path.split('/').filter(|s| !s.is_empty()).collect();
    match segments.as_slice() {
        ["version"] => Ok(json(200, &discovery::version())),
        ["healthz" | "livez" | "readyz", ..] => Ok(plain("ok")),
        ["api"] => Ok(json(200, &discovery::core_versions(&hub.api_address))),
        ["apis"] => Ok(json(200, &discovery::groups())),
        ["apis", "authorization.k8s.io", version, review] if incoming.method == "POST" => {
            access(hub, version, review, &incoming.body)
        }
        ["apis", group] => found(discovery::one_group(group)),
        ["api", version] => found(discovery::resources("", version)),
        ["apis", group, version] => found(discovery::resources(group, version)),
        ["openapi", "v2"] if incoming.header(header::ACCEPT).contains("openapi.spec.v2@v1.0+protobuf") => {
            let mut response = Response::new(Body::from(openapi::v2_protobuf()));
            // The type that is asked for has an @, which no media type may have; servers answer with a dot.
            content_type(&mut response, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
            Ok(response)
        }
        ["openapi", "v2"] => Ok(json(200, &openapi::v2_json())),
        ["openapi", "v3"] => Ok(json(200, &openapi::v3_index())),
        ["openapi", "v3", rest @ ..] => found(openapi::v3(&rest.join("/"))),
        ["api" | "apis", ..] => {
            let target = path::Target::parse(&segments)?;
            hub.access.check(incoming, &target)?;
            verbs::dispatch(hub, incoming, &target)
        }
        _ => Err(ApiError::no_such_path()),
    }
}

/// Reviews of one action answer as the requests would be. Those of all rules know no denials: the sandbox's are no rules.
fn access(hub: &Hub, version: &str, review: &str, body: &[u8]) -> Result<Response, ApiError> {
    let answer = match review {
        "selfsubjectaccessreviews" => hub.access.review(version, body)?,
        "selfsubjectrulesreviews" => {
            let everything = serde_json::json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
            serde_json::json!({
                "kind": "SelfSubjectRulesReview", "apiVersion": format!("authorization.k8s.io/{version}"), "metadata": {}, "spec": {},
                "status": {"incomplete": true, "nonResourceRules": [], "resourceRules": everything},
            })
        }
        _ => return Err(ApiError::no_such_path()),
    };
    Ok(json(201, &answer))
}

fn found(v: Option<Value>) -> Result<Response, ApiError> {
    v.map(|v| json(200, &v)).ok_or_else(ApiError::no_such_path)
}

pub(crate) fn json(status: u16, v: &Value) -> Response {
    let mut response = Response::new(Body::from(v.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    content_type(&mut response, JSON);
    response
}

pub(crate) fn plain(text: impl Into<String>) -> Response {
    let mut response = Response::new(Body::from(text.into()));
    content_type(&mut response, "text/plain");
    response
}

pub(crate) fn content_type(response: &mut Response, value: &'static str) {
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(value));
}

fn failure(e: &ApiError) -> Response {
    json(e.code, &e.body())
}
