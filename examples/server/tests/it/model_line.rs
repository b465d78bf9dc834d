//! The whole line with a model in it: an alert fires, a model behind a provider's own wire format investigates with the real
//! kubectl, proposes; a person approves; the cluster is mended and the alert recovers.

#![allow(clippy::disallowed_methods, reason = "tests run in real time")]

use std::ffi::OsString;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use rounds_server::demo::client::Client;
use rounds_server::demo::story::{self, Story, text};
use rounds_server::demo::{cluster, setup};
use rounds_server::settings::{Overrides, SeedAdmin, ServerSettings};
use rounds_server::{App, Boot};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const KEY: &str = "sk-ant-test-0123456789abcdefghij";
const PASSWORD: &str = "correct-horse";

/// What the provider was asked: headers and bodies.
#[derive(Clone, Default)]
struct Provider {
    asked: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
}

/// The script, turn by turn: what was said before decides nothing but how far it is.
fn turn(number: usize) -> Vec<(&'static str, Value)> {
    let (namespace, deployment) = (cluster::NAMESPACE, format!("deployment/{}", cluster::DEPLOYMENT));
    match number {
        0 => vec![
            ("known_failures", json!({})),
            ("run_command", json!({ "argv": ["get", "pods", "-n", namespace] })),
            ("run_command", json!({ "argv": ["get", "events", "-n", namespace] })),
            ("metrics_range_query", json!({ "query": cluster::query(), "minutes": 5 })),
            // What it may not do is refused, and the run goes on.
            ("run_command", json!({ "argv": ["delete", "namespace", namespace] })),
        ],
        1 => vec![
            (
                "add_section",
                json!({
                    "title": "The new image is not there", "body": "The registry has no 1.8.3-rc1.", "citations": ["R1"],
                }),
            ),
            (
                "propose_plan",
                json!({
                    "summary": "Take the deployment back to the image that ran",
                    "cause": "A rollout to an image that does not exist",
                    "citations": ["R1"],
                    "steps": [
                        { "argv": ["rollout", "undo", deployment, "-n", namespace], "riskNote": "Both pods restart." },
                        { "argv": ["rollout", "status", deployment, "-n", namespace, "--timeout=50s"] },
                    ],
                }),
            ),
        ],
        _ => vec![(
            "complete",
            json!({
                "summary": "A rollout to an image that does not exist took the checkout down.",
                "rootCause": { "summary": "A rollout to an image that does not exist", "citations": ["R1"], "confidence": "high" },
                "unknowns": ["Who rolled it out."],
            }),
        )],
    }
}

/// Anthropic's Messages API, streamed; overloaded at the first try.
async fn messages(State(provider): State<Provider>, headers: HeaderMap, body: axum::Json<Value>) -> Response {
    let first = {
        let mut asked = provider.asked.lock().unwrap();
        asked.push((headers, body.0.clone()));
        asked.len() == 1
    };
    if first {
        let error = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "Overloaded" } });
        let status = StatusCode::from_u16(529).unwrap();
        return (status, [("retry-after", "1")], axum::Json(error)).into_response();
    }
    let turns = body["messages"].as_array().unwrap().iter().filter(|message| message["role"] == "assistant").count();
    let mut events = vec![json!({ "type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "claude-test", "stop_reason": null,
        "usage": { "input_tokens": 2000, "output_tokens": 1, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 0 },
    } })];
    for (index, (name, input)) in turn(turns).into_iter().enumerate() {
        let id = format!("toolu_{turns}_{index}");
        let block = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
        let delta = json!({ "type": "input_json_delta", "partial_json": input.to_string() });
        events.push(json!({ "type": "content_block_start", "index": index, "content_block": block }));
        events.push(json!({ "type": "content_block_delta", "index": index, "delta": delta }));
        events.push(json!({ "type": "content_block_stop", "index": index }));
    }
    events.push(
        json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use" }, "usage": { "output_tokens": 200 } }),
    );
    events.push(json!({ "type": "message_stop" }));
    let stream: String =
        events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", text(event, "type"))).collect();
    ([(header::CONTENT_TYPE, "text/event-stream")], stream).into_response()
}

async fn listen(router: Router) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

fn tools_only(name: &str) -> Option<OsString> {
    ["PATH", "KUBECTL", "HOME"].contains(&name).then(|| std::env::var_os(name)).flatten()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_takes_an_alert_to_a_fix_that_a_person_approved() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let provider = Provider::default();
    let (provider_url, serving) =
        listen(Router::new().route("/v1/messages", post(messages)).with_state(provider.clone())).await;
    let sandbox = cluster::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let overrides = Overrides { data_dir: Some(folder.path().to_owned()), ..Overrides::default() };
    let mut settings = ServerSettings::read(&tools_only, overrides).unwrap();
    settings.outbound = rounds_core::plugin::Outbound::loopback();
    settings.seed_admin =
        Some(SeedAdmin { email: None, login: "admin".into(), name: None, password: PASSWORD.to_owned().into() });
    settings.core.verification_stable = Duration::from_secs(2);
    settings.core.poll_interval = Duration::from_millis(300);
    settings.core.progress_interval = Duration::from_millis(50);
    let app = App::start(Boot::new(settings).unwrap()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let until = stop.clone();
    let server = tokio::spawn(async move { app.serve(listener, async move { until.cancelled().await }).await });

    let mut client = Client::sign_in(&url, "admin", PASSWORD).await.unwrap();
    let model = json!({
        "type": "anthropic", "name": "llm", "secret": KEY,
        "config": { "model": "claude-test", "baseUrl": provider_url, "prices": { "input": 3, "output": 15, "cacheRead": 0.3 } },
    });
    client.post("/api/connectors", &model).await.unwrap();
    let rule = setup::configure(&mut client, &sandbox).await.unwrap();
    cluster::break_it(&sandbox).await.unwrap();
    let mut story = Story::begin();
    let plan = story::to_the_plan(&mut client, &mut story, &rule).await.unwrap();
    let done = story::approve(&mut client, &mut story, &plan).await.unwrap();
    let (verdict, rows) = story::to_recovery(&mut client, &mut story, &rule, text(&plan, "id")).await.unwrap();
    assert_eq!(verdict, "recovered");
    assert_eq!(rows.len(), 2);
    let commands: Vec<&str> = done["steps"].as_array().unwrap().iter().map(|step| text(step, "commandText")).collect();
    assert!(
        commands[0].starts_with("kubectl rollout undo") && commands[1].starts_with("kubectl rollout status"),
        "{commands:?}"
    );

    let report = client.get(&format!("/api/investigations/{}/report", text(&plan, "investigationId"))).await.unwrap();
    assert_eq!(text(&report, "writtenBy"), "orchestrator");
    assert_eq!(text(&report, "promptVersion"), "1");
    let refused = report["calls"].as_array().unwrap().iter().filter(|call| call["error"].is_string());
    let refused: Vec<&str> = refused.map(|call| text(call, "error")).collect();
    assert!(refused.len() == 1 && refused[0].contains("the gate refuses this"), "{refused:?}");
    // Three answers, each 3,000 tokens read, a third of them cached, and 200 written.
    let used = &report["model"];
    assert_eq!((used["calls"].as_u64(), text(used, "model")), (Some(4), "claude-test"));
    assert_eq!(used["usage"]["inputTokens"], 9_000);
    assert_eq!(used["costMicros"], 3 * (2_000 * 3 + 300 + 200 * 15));

    let asked = provider.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 4, "an overload and three turns");
    assert!(asked.iter().all(|(headers, _)| headers["x-api-key"] == KEY));
    let told = asked.iter().map(|(_, body)| body.to_string()).collect::<String>();
    assert!(
        told.contains("What known signatures say") && !told.contains(KEY),
        "facts go out, the key only in its header"
    );
    stop.cancel();
    server.await.unwrap().unwrap();
    serving.abort();
    sandbox.shutdown().await;
}
