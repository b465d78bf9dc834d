//! The language models against servers on loopback that speak each provider's API, from exchanges as its documentation
//! shows them.

mod anthropic;
mod faults;
mod gemini;
mod openai;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use rounds_core::plugin::{BuildContext, Built, Host, Outbound, Registry};
use rounds_core::ports::{
    CallContext, Completion, CompletionRequest, Message, Model, PortError, SecretHandle, ToolCall, ToolSpec,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The key that every test uses; no error, no address and no log may hold it.
const KEY: &str = "hunter2-of-the-models";

/// What a server was asked.
#[derive(Debug, Clone)]
struct Asked {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Value,
}

/// A server that answers everything in one way, and what it was asked.
struct Provider {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Provider {
    async fn new(answer: impl Fn(&Asked) -> Response + Clone + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let app = Router::new().fallback(any({
            let asked = Arc::clone(&asked);
            move |request: Request| {
                let (asked, answer) = (Arc::clone(&asked), answer.clone());
                async move {
                    let (parts, body) = request.into_parts();
                    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
                    let one = Asked {
                        method: parts.method.to_string(),
                        path: parts.uri.path().into(),
                        query: parts.uri.query().unwrap_or_default().into(),
                        headers: parts.headers,
                        body: serde_json::from_slice(&body).unwrap_or_default(),
                    };
                    asked.lock().expect("no panic").push(one.clone());
                    answer(&one)
                }
            }
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, asked }
    }

    /// A server that streams this.
    async fn streaming(recording: &'static str) -> Self {
        Self::new(move |_| stream(recording)).await
    }

    /// A server that answers JSON with this status.
    async fn json(status: u16, body: impl ToString) -> Self {
        let body = body.to_string();
        Self::new(move |_| json_answer(status, body.clone())).await
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }

    /// The only request that there was.
    fn only(&self) -> Asked {
        let asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked[0].clone()
    }
}

fn stream(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")], body.into()).into_response()
}

/// A stream that arrives in these pieces.
fn pieces(pieces: Vec<Bytes>) -> Response {
    stream(Body::from_stream(futures::stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>))))
}

fn json_answer(status: u16, body: impl Into<Body>) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    (status, [(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

/// A connector of this kind, built as a server builds it.
fn model(kind: &str, config: Value, secret: SecretHandle) -> Arc<dyn Model> {
    let registry = Registry::linked().expect("no duplicates");
    let cx = BuildContext::new("model", secret, Arc::new(Host { outbound: Outbound::loopback(), ..Host::default() }));
    match registry.get(kind).expect("it is linked").build(cx, config).expect("a config") {
        Built::Model(model) => model,
        other => panic!("{other:?}"),
    }
}

fn key() -> SecretHandle {
    SecretHandle::inline(format!("{KEY}\n").into())
}

fn cx() -> CallContext {
    CallContext::with_timeout(Duration::from_secs(20))
}

fn user(text: &str) -> Message {
    Message::User { text: text.into() }
}

fn result(call_id: &str, content: &str, is_error: bool) -> Message {
    Message::ToolResult { call_id: call_id.into(), content: content.into(), is_error }
}

fn assistant(completion: &Completion) -> Message {
    let Completion { text, tool_calls, opaque, .. } = completion.clone();
    Message::Assistant { text, tool_calls, opaque }
}

fn hello() -> CompletionRequest {
    CompletionRequest::new("You are on call.", vec![user("Why does web restart?")], 1_000)
}

fn tools() -> Vec<ToolSpec> {
    let tool = |name: &str, schema| ToolSpec { name: name.into(), description: format!("Does {name}."), schema };
    let argv =
        json!({ "type": "object", "properties": { "argv": { "type": "array", "items": { "type": "string" } } } });
    vec![
        tool("run_command", argv),
        tool("query", json!({ "type": "object" })),
        tool("finish", json!({ "type": "object" })),
    ]
}

async fn ask(model: &Arc<dyn Model>) -> Result<Completion, PortError> {
    model.complete(&cx(), &hello().with_tools(tools())).await
}

fn calls(completion: &Completion) -> Vec<(&str, &str, Value)> {
    let call = |call: &'_ ToolCall| call.arguments.clone();
    completion.tool_calls.iter().map(|one| (one.id.as_str(), one.name.as_str(), call(one))).collect()
}
