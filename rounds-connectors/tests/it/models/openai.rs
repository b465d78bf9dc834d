//! Chat completions as OpenAI, Azure, DeepSeek and Ollama speak them.

use rounds_core::ports::{PortErrorKind, StopReason, Usage};

use super::*;

const TEXT: &str = include_str!("recorded/openai_text.sse");
const TOOLS: &str = include_str!("recorded/openai_tools.sse");

fn gpt(provider: &Provider) -> Arc<dyn Model> {
    model("openai", json!({ "model": "gpt-5", "baseUrl": format!("{}/v1", provider.url) }), key())
}

#[tokio::test]
async fn a_streamed_text_is_put_together_with_its_usage() {
    let provider = Provider::streaming(TEXT).await;
    let completion = gpt(&provider).complete(&cx(), &hello()).await.expect("an answer");
    assert_eq!(completion.text, "The web pods restart: größer als 128Mi 🚨.");
    assert_eq!(completion.usage, Usage::new(2312, 85).with_cache(2000, 0), "thoughts are part of those written");
    assert_eq!(completion.stop, StopReason::Finished);
    assert!(completion.tool_calls.is_empty() && completion.opaque.is_none());
}

#[tokio::test]
async fn the_request_is_what_chat_completions_want() {
    let provider = Provider::streaming(TEXT).await;
    ask(&gpt(&provider)).await.expect("an answer");
    let asked = provider.only();
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str(), asked.query.as_str()),
        ("POST", "/v1/chat/completions", "")
    );
    assert_eq!(asked.headers["authorization"], format!("Bearer {KEY}"));
    let function = |name: &str, parameters: Value| {
        let function = json!({ "name": name, "description": format!("Does {name}."), "parameters": parameters });
        json!({ "type": "function", "function": function })
    };
    let argv =
        json!({ "type": "object", "properties": { "argv": { "type": "array", "items": { "type": "string" } } } });
    let expected = json!({
        "model": "gpt-5",
        "max_tokens": 1000,
        "stream": true,
        "stream_options": { "include_usage": true },
        "messages": [
            { "role": "system", "content": "You are on call." },
            { "role": "user", "content": "Why does web restart?" },
        ],
        "tools": [
            function("run_command", argv),
            function("query", json!({ "type": "object" })),
            function("finish", json!({ "type": "object" })),
        ],
    });
    assert_eq!(asked.body, expected);
}

#[tokio::test]
async fn several_tool_calls_come_at_once_and_go_back_with_their_results() {
    let provider = Provider::streaming(TOOLS).await;
    let gpt = gpt(&provider);
    let first = ask(&gpt).await.expect("an answer");
    assert_eq!(
        calls(&first),
        [
            ("call_DdmO9pD3xa9XTPNJ32zg2hcA", "run_command", json!({ "argv": ["get", "pods"] })),
            ("call_ABC", "query", json!({ "expr": "up" })),
            ("call_DEF", "finish", json!({})),
        ]
    );
    assert_eq!(first.usage, Usage::new(472, 89));
    let results = [
        user("Why?"),
        assistant(&first),
        result("call_DdmO9pD3xa9XTPNJ32zg2hcA", "web-1 0/1", false),
        result("call_ABC", "unknown metric", true),
        result("call_DEF", "", false),
    ];
    gpt.complete(&cx(), &CompletionRequest::new("", results.to_vec(), 10)).await.expect("an answer");
    let body = provider.asked()[1].body.clone();
    let call = |id: &str, name: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
    let expected = json!([
        { "role": "user", "content": "Why?" },
        { "role": "assistant", "content": "", "tool_calls": [
            call("call_DdmO9pD3xa9XTPNJ32zg2hcA", "run_command", r#"{"argv":["get","pods"]}"#),
            call("call_ABC", "query", r#"{"expr":"up"}"#),
            call("call_DEF", "finish", "{}"),
        ] },
        { "role": "tool", "tool_call_id": "call_DdmO9pD3xa9XTPNJ32zg2hcA", "content": "web-1 0/1" },
        { "role": "tool", "tool_call_id": "call_ABC", "content": "The tool failed: unknown metric" },
        { "role": "tool", "tool_call_id": "call_DEF", "content": "" },
    ]);
    assert_eq!(body["messages"], expected);
    assert_eq!(body.get("tools"), None, "an empty list is refused by some");
}

#[tokio::test]
async fn deepseeks_thoughts_go_back_with_tool_calls_and_with_nothing_else() {
    let provider = Provider::streaming(include_str!("recorded/openai_deepseek.sse")).await;
    let deepseek = gpt(&provider);
    let first = ask(&deepseek).await.expect("an answer");
    assert_eq!(calls(&first), [("call_00_ds", "query", json!({ "expr": "up" }))]);
    assert_eq!(first.text, "", "thoughts are no text");
    assert_eq!(first.usage, Usage::new(240, 48).with_cache(192, 0));
    let opaque = first.opaque.clone();
    let plain = Message::Assistant { text: "Done.".into(), tool_calls: Vec::new(), opaque };
    let messages = vec![user("a"), assistant(&first), result("call_00_ds", "1", false), plain, user("b")];
    deepseek.complete(&cx(), &CompletionRequest::new("", messages, 10)).await.expect("an answer");
    let body = provider.asked()[1].body.clone();
    assert_eq!(body["messages"][1]["reasoning_content"], "First the pods.");
    assert_eq!(body["messages"][3], json!({ "role": "assistant", "content": "Done." }));
}

#[tokio::test]
async fn ollama_needs_no_key_no_ids_and_no_usage() {
    let provider = Provider::streaming(include_str!("recorded/openai_ollama.sse")).await;
    let config = json!({ "model": "qwen3:8b", "baseUrl": format!("{}/v1", provider.url) });
    let ollama = model("openai", config, SecretHandle::none());
    let completion = ask(&ollama).await.expect("an answer");
    assert_eq!(
        calls(&completion),
        [
            ("call_1_0", "query", json!({ "expr": "up" })),
            ("call_1_1", "query", json!({ "expr": "down" })),
            ("call_1_2", "run_command", json!({ "argv": ["get", "pods"] })),
            ("call_1_3", "finish", json!({})),
        ]
    );
    let asked = provider.only();
    assert!(!asked.headers.contains_key("authorization"));
    // A token for four bytes of what was sent and written.
    let sent = asked.body.to_string().len();
    assert_eq!(completion.usage.input_tokens, u64::try_from(sent.div_ceil(4)).expect("small"));
    assert!(completion.usage.output_tokens > 15, "{:?}", completion.usage);

    // The next turn's calls have other ids.
    let mut messages = vec![user("a"), assistant(&completion)];
    messages.extend(completion.tool_calls.iter().map(|call| result(&call.id, "x", false)));
    let next = ollama.complete(&cx(), &CompletionRequest::new("", messages, 10)).await.expect("an answer");
    assert_eq!(next.tool_calls[0].id, "call_6_0");
}

#[tokio::test]
async fn azure_has_its_own_address_header_and_limit() {
    let provider = Provider::streaming(TEXT).await;
    let config = json!({ "model": "my-gpt", "baseUrl": provider.url, "azure": { "apiVersion": "2024-10-21" } });
    let azure = model("openai", config.clone(), key());
    ask(&azure).await.expect("an answer");
    let asked = provider.only();
    assert_eq!(asked.path, "/openai/deployments/my-gpt/chat/completions");
    assert_eq!(asked.query, "api-version=2024-10-21");
    assert_eq!(asked.headers["api-key"], KEY);
    assert!(!asked.headers.contains_key("authorization"));
    assert_eq!(asked.body["max_completion_tokens"], 1000);
    assert_eq!(asked.body.get("max_tokens"), None);
    azure.check(&cx()).await.expect("the check");
    assert_eq!(provider.asked()[1].body["max_completion_tokens"], 16, "deployments are not listed");
    let error = ask(&model("openai", config, SecretHandle::none())).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unauthorized);
}

#[tokio::test]
async fn the_config_names_the_limit_bounds_it_and_changes_members() {
    let provider = Provider::streaming(TEXT).await;
    let config = json!({
        "model": "m", "baseUrl": provider.url, "maxOutputTokens": 500, "tokenLimitField": "maxCompletionTokens",
        "extraBody": { "reasoning_effort": "low", "stream_options": null },
    });
    ask(&model("openai", config, key())).await.expect("an answer");
    let asked = provider.only();
    assert_eq!(asked.path, "/chat/completions");
    assert_eq!(asked.body["max_completion_tokens"], 500);
    assert_eq!(asked.body["reasoning_effort"], "low");
    assert_eq!(asked.body.get("stream_options"), None);
}

#[tokio::test]
async fn refusals_filters_and_limits_are_told_apart() {
    let provider = Provider::streaming(include_str!("recorded/openai_refusal.sse")).await;
    let completion = ask(&gpt(&provider)).await.expect("an answer");
    assert_eq!((completion.text.as_str(), completion.stop), ("I cannot help with that.", StopReason::Refused));
    for (reason, stop) in [("length", StopReason::Length), ("content_filter", StopReason::Refused)] {
        let provider = Provider::new(move |_| stream(TEXT.replace("\"stop\"", &format!("\"{reason}\"")))).await;
        assert_eq!(ask(&gpt(&provider)).await.expect("an answer").stop, stop, "{reason}");
    }
    let body = json!({ "error": { "message": "The prompt was filtered.", "type": null, "param": "prompt",
        "code": "content_filter", "status": 400, "innererror": { "code": "ResponsibleAIPolicyViolation" } } });
    let provider = Provider::json(400, body).await;
    let completion = ask(&gpt(&provider)).await.expect("a filter is an answer");
    assert_eq!((completion.text.as_str(), completion.stop), ("The prompt was filtered.", StopReason::Refused));
    assert!(completion.usage.input_tokens > 0);
}

#[tokio::test]
async fn an_answer_in_one_piece_is_accepted_and_ids_given_twice_are_made_unique() {
    let provider = Provider::json(200, include_str!("recorded/openai_whole.json")).await;
    let completion = ask(&gpt(&provider)).await.expect("an answer");
    assert_eq!(completion.text, "The web pods restart.");
    assert_eq!(completion.usage, Usage::new(19, 10));
    let first = ("call_1", "query", json!({ "expr": "up" }));
    assert_eq!(calls(&completion), [first, ("call_1_0", "query", json!("get pods"))]);
}

#[tokio::test]
async fn a_server_that_never_says_done_is_understood() {
    let provider = Provider::new(|_| stream(TEXT.replace("data: [DONE]\n\n", ""))).await;
    let completion = ask(&gpt(&provider)).await.expect("an answer");
    assert_eq!(completion.text, "The web pods restart: größer als 128Mi 🚨.");
}

#[tokio::test]
async fn a_server_that_gives_up_in_the_middle_has_not_answered() {
    for reason in ["insufficient_system_resource", "error"] {
        let provider = Provider::new(move |_| stream(TEXT.replace("\"stop\"", &format!("\"{reason}\"")))).await;
        let error = ask(&gpt(&provider)).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Unavailable, "{error}");
    }
    let broken = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"The\"}}]}\n\n\
                  data: {\"error\":{\"message\":\"Rate limit reached\",\"code\":\"rate_limit_exceeded\"}}\n\n";
    let error = ask(&gpt(&Provider::streaming(broken).await)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::RateLimited, "{error}");
}

#[tokio::test]
async fn the_check_reads_the_list_and_asks_for_a_word_where_the_list_proves_nothing() {
    let answer = |asked: &Asked| match asked.path.as_str() {
        "/v1/models" => json_answer(200, r#"{"object":"list","data":[{"id":"qwen3:8b"},{"id":"llama3.2:latest"}]}"#),
        _ if asked.body["model"] == "gone" => {
            json_answer(404, r#"{"error":{"message":"model \"gone\" not found","type":"api_error"}}"#)
        }
        _ => stream(TEXT),
    };
    let provider = Provider::new(answer).await;
    let base = format!("{}/v1", provider.url);
    let named = |name: &str, secret| model("openai", json!({ "model": name, "baseUrl": base }), secret);

    named("qwen3:8b", SecretHandle::none()).check(&cx()).await.expect("the check");
    assert_eq!(provider.asked().len(), 1, "no key to be proven and the model is listed: nothing is spent");
    named("llama3.2", SecretHandle::none()).check(&cx()).await.expect("a name without its tag");
    assert_eq!(provider.asked().len(), 3);
    named("qwen3:8b", key()).check(&cx()).await.expect("the check");
    assert_eq!(provider.asked().len(), 5, "a list that anybody may read proves no key");
    let error = named("gone", key()).check(&cx()).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Invalid);
    assert!(error.message.contains("no model `gone`; there are llama3.2:latest, qwen3:8b"), "{error}");

    let without_list = Provider::new(|asked| match asked.path.as_str() {
        "/chat/completions" => stream(TEXT),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    let other = model("openai", json!({ "model": "m", "baseUrl": without_list.url }), SecretHandle::none());
    other.check(&cx()).await.expect("the check");
}
