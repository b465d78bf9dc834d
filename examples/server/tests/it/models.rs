//! The language model: what is set is what investigates.

use std::sync::{Arc, Mutex};

use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use rounds_core::agent::{AgentSettings, AutoInvestigator, OrchestratorAgent};
use rounds_core::testing::ScriptedInvestigator;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{self, Client};

/// A server that speaks as OpenAI does: it adds a section, concludes, and remembers the key it was given.
struct Provider {
    url: String,
    keys: Arc<Mutex<Vec<String>>>,
}

impl Provider {
    async fn start() -> Self {
        let keys = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&keys);
        let answer = async move |headers: HeaderMap, Json(asked): Json<Value>| {
            let key = headers.get("authorization").map_or("none", |key| key.to_str().unwrap());
            told.lock().unwrap().push(format!("{key} for {}", asked["model"].as_str().unwrap()));
            let call = |index: usize, name: &str, arguments: Value| {
                let function = json!({ "name": name, "arguments": arguments.to_string() });
                json!({ "index": index, "id": format!("call-{index}"), "type": "function", "function": function })
            };
            let section = json!({ "title": "What was seen", "body": "Nothing moves.", "citations": [] });
            let end = json!({ "summary": "It is quiet.", "unknowns": ["Why it is quiet."] });
            let calls = json!([call(0, "add_section", section), call(1, "complete", end)]);
            let choice = json!({ "index": 0, "delta": { "tool_calls": calls }, "finish_reason": "tool_calls" });
            let chunk = json!({
                "id": "c", "object": "chat.completion.chunk", "model": asked["model"], "choices": [choice],
                "usage": { "prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100 },
            });
            ([("content-type", "text/event-stream")], format!("data: {chunk}\n\ndata: [DONE]\n\n"))
        };
        let router = Router::new().route("/v1/chat/completions", post(answer));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, keys }
    }
}

fn auto() -> AutoInvestigator {
    let playbook = Arc::new(ScriptedInvestigator::default());
    AutoInvestigator::new(Arc::new(OrchestratorAgent::new(AgentSettings::default())), playbook)
}

async fn investigate(admin: &Client) -> Value {
    let asked = admin.post("/api/investigations", json!({ "question": "What is it?" })).await.expect(201);
    let path = format!("/api/investigations/{}", asked["id"].as_str().unwrap());
    admin.until(&path, |found| found["status"] == "completed").await
}

async fn models(admin: &Client) -> Vec<Value> {
    let found = admin.get("/api/connectors").await.expect(200);
    found["connectors"].as_array().unwrap().iter().filter(|found| found["role"] == "model").cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_that_is_set_investigates_and_its_key_never_comes_out() {
    let server = support::investigating(auto()).await;
    let (admin, provider) = (server.admin().await, Provider::start().await);
    server.agent(&admin).await;
    assert_eq!(admin.get("/api/setup/status").await.expect(200)["hasLLM"], false);
    assert_eq!(admin.get("/api/system/llm").await.expect(200), Value::Null);
    let without = investigate(&admin).await;
    assert_eq!((&without["writtenBy"], &without["modelUse"]), (&json!("scripted"), &Value::Null));

    let draft = json!({ "provider": "our-own", "apiKey": "sk-hunter2", "model": "m-1", "baseUrl": provider.url });
    let set = admin.put("/api/system/llm", draft.clone()).await.expect(200);
    let expected = json!({ "provider": "our-own", "model": "m-1", "baseUrl": provider.url, "hasKey": true });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&set[name], value, "{name}");
    }
    assert_eq!(admin.get("/api/system/llm").await.expect(200), set);
    assert_eq!(admin.get("/api/setup/status").await.expect(200)["hasLLM"], true);
    let [model] = &models(&admin).await[..] else { panic!("one model is expected") };
    assert_eq!((&model["name"], &model["type"], &model["isDefault"]), (&json!("llm"), &json!("openai"), &json!(true)));
    // The same once more changes nothing, so a revision is not spent on it.
    admin.put("/api/system/llm", draft).await.expect(200);
    assert_eq!(models(&admin).await[0]["revision"], model["revision"]);

    let found = investigate(&admin).await;
    assert_eq!(*provider.keys.lock().unwrap(), ["Bearer sk-hunter2 for m-1"]);
    assert_eq!((&found["investigator"], &found["writtenBy"]), (&json!("auto"), &json!("orchestrator")));
    assert_eq!((&found["summary"], &found["unknowns"][0]), (&json!("It is quiet."), &json!("Why it is quiet.")));
    assert_eq!(found["sections"][0]["title"], "What was seen");
    assert_eq!((&found["modelUse"]["model"], &found["modelUse"]["calls"]), (&json!("m-1"), &json!(1)));
    assert_eq!(found["modelUse"]["usage"]["inputTokens"], 1_000);
    assert_eq!(found["modelUse"]["costMicros"], Value::Null, "no price is configured");
    assert!(found["promptVersion"].is_string(), "{found}");
    let tools: Vec<_> = found["calls"].as_array().unwrap().iter().map(|call| call["tool"].as_str().unwrap()).collect();
    assert_eq!(tools, ["add_section", "complete"]);
    let page = admin.get(&format!("/investigations/{}", found["id"].as_str().unwrap())).await.expect(200).to_string();
    assert!(page.contains("1 call, 1,100 tokens, no price is configured"), "{page}");

    let config = json!({ "model": "m-1", "baseUrl": provider.url, "prices": { "input": 3.0, "output": 15.0 } });
    let path = format!("/api/connectors/{}", set["connectorId"].as_str().unwrap());
    admin.put(&path, json!({ "config": config })).await.expect(200);
    let priced = investigate(&admin).await;
    assert_eq!(priced["modelUse"]["costMicros"], 4_500);
    for path in [format!("/investigations/{}", priced["id"].as_str().unwrap()), "/investigations".into()] {
        let page = admin.get(&path).await.expect(200).to_string();
        assert!(page.contains("$0.0045"), "{page}");
    }

    let log = admin.get("/api/admin/audit-log").await.expect(200);
    assert!(log.to_string().contains("settings.llm"), "{log}");
    let settings = admin.get("/settings/models").await.expect(200);
    assert!(!format!("{set}{model}{found}{log}{settings}").contains("hunter2"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_keeps_the_key_and_another_provider_does_not() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let draft = json!({ "provider": "openai", "apiKey": "sk-hunter2", "model": "m-1" });
    let set = admin.put("/api/system/llm", draft).await.expect(200);
    assert_eq!(set["hasKey"], true);
    let path = format!("/api/connectors/{}", set["connectorId"].as_str().unwrap());
    let priced = json!({ "model": "m-1", "timeoutSec": 60, "prices": { "input": 3.0, "output": 15.0 } });
    admin.put(&path, json!({ "config": priced })).await.expect(200);

    // What was set on its page stays with the model; the price of one is not the price of another.
    admin.put("/api/system/llm", json!({ "provider": "openai", "model": "m-1" })).await.expect(200);
    assert_eq!(models(&admin).await[0]["config"], priced);
    let other = admin.put("/api/system/llm", json!({ "provider": "openai", "model": "m-2" })).await.expect(200);
    assert_eq!((&other["hasKey"], &other["connectorId"]), (&json!(true), &set["connectorId"]));
    assert_eq!(models(&admin).await[0]["config"], json!({ "model": "m-2", "timeoutSec": 60 }));

    for (provider, kind, base_url) in [
        ("ollama", "openai", json!("http://127.0.0.1:11434/v1")),
        ("deepseek", "openai", json!("https://api.deepseek.com")),
        ("google", "gemini", Value::Null),
        ("Anthropic", "anthropic", Value::Null),
    ] {
        let set = admin.put("/api/system/llm", json!({ "provider": provider, "model": "m" })).await.expect(200);
        assert_eq!((&set["provider"], &set["baseUrl"]), (&json!(provider), &base_url));
        assert_eq!(set["hasKey"], false, "the key of another provider went to {provider}");
        let [model] = &models(&admin).await[..] else { panic!("one model is expected") };
        assert_eq!((&model["type"], &model["isDefault"]), (&json!(kind), &json!(true)));
    }
    // What is refused leaves what there is.
    let wrong = json!({ "provider": "gemini", "model": "two words" });
    admin.put("/api/system/llm", wrong).await.refused(400, "bad_request");
    let unknown = admin.put("/api/system/llm", json!({ "provider": "x", "model": "m" })).await;
    let said = unknown.refused(400, "bad_request");
    assert!(said.contains("`x`") && said.contains("anthropic") && said.contains("baseUrl"), "{said}");
    assert_eq!(admin.get("/api/system/llm").await.expect(200)["provider"], "Anthropic");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_of_that_name_that_is_no_model_is_left_alone() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let other = json!({ "type": "fake", "name": "llm", "config": { "key": server.key() } });
    admin.post("/api/connectors", other).await.expect(201);
    let said = admin.put("/api/system/llm", json!({ "provider": "ollama", "model": "m" })).await;
    assert!(said.refused(409, "name_taken").contains("`fake`"));
    assert_eq!(admin.get("/api/connectors").await.expect(200)["connectors"][0]["type"], "fake");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_set_on_its_page_as_other_connectors_are() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let page = admin.get("/settings/models").await.expect(200).to_string();
    assert!(page.contains("the playbook investigates") && page.contains("Language model"), "{page}");
    let form = admin.get("/settings/models?kind=openai").await.expect(200).to_string();
    for field in ["config.model", "config.baseUrl", "config.prices", "config.contextTokens", "name=\\\"secret\\\""] {
        assert!(form.contains(field), "{field}");
    }
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let base_url = format!("http://{dead}/v1");
    let fields = [
        ("name", "local"),
        ("config.model", "m"),
        ("config.baseUrl", base_url.as_str()),
        ("config.prices", "{\"input\": 1, \"output\": 2}"),
        ("config.extraBody", "{}"),
        ("config.timeoutSec", "5"),
        ("secret", "sk-hunter2"),
    ];
    // The redirect leads to the list, which tells of it.
    let list = admin.form("/settings/models?kind=openai", &fields).await.expect(200).to_string();
    assert!(list.contains("local") && !list.contains("hunter2"), "{list}");
    // The only one is in use without being marked.
    let used = admin.get("/api/system/llm").await.expect(200);
    assert_eq!((&used["provider"], &used["model"]), (&json!("openai-compatible"), &json!("m")));
    assert_eq!(admin.get("/api/setup/status").await.expect(200)["hasLLM"], true);
    let id = used["connectorId"].as_str().unwrap();
    let tested = admin.form(&format!("/settings/models/{id}/test"), &[]).await;
    assert!(tested.body.to_string().contains("The test failed: "), "{}", tested.body);
    server.stop().await;
}
