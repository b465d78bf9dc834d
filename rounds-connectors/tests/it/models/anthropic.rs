//! Anthropic's Messages API.

use rounds_core::ports::{PortErrorKind, StopReason, ToolCall, Usage};

use super::*;

const TEXT: &str = include_str!("recorded/anthropic_text.sse");
const TOOLS: &str = include_str!("recorded/anthropic_tools.sse");

fn claude(provider: &Provider) -> Arc<dyn Model> {
    model("anthropic", json!({ "model": "claude-sonnet-4-5", "baseUrl": provider.url }), key())
}

#[tokio::test]
async fn a_streamed_text_is_put_together_with_its_usage() {
    let provider = Provider::streaming(TEXT).await;
    let completion = claude(&provider).complete(&cx(), &hello()).await.expect("an answer");
    assert_eq!(completion.text, "The web pods restart: größer als 128Mi 🚨.");
    assert_eq!(completion.usage, Usage::new(2312, 21).with_cache(2000, 300), "cached tokens are part of those read");
    assert_eq!(completion.stop, StopReason::Finished);
    assert!(completion.tool_calls.is_empty() && completion.opaque.is_none());
}

#[tokio::test]
async fn the_request_is_what_the_messages_api_wants() {
    let provider = Provider::streaming(TEXT).await;
    ask(&claude(&provider)).await.expect("an answer");
    let asked = provider.only();
    assert_eq!((asked.method.as_str(), asked.path.as_str(), asked.query.as_str()), ("POST", "/v1/messages", ""));
    assert_eq!(asked.headers["x-api-key"], KEY);
    assert_eq!(asked.headers["anthropic-version"], "2023-06-01");
    assert_eq!(asked.headers["content-type"], "application/json");
    let cache = json!({ "type": "ephemeral" });
    let expected = json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 1000,
        "stream": true,
        "system": [{ "type": "text", "text": "You are on call.", "cache_control": cache }],
        "messages": [{ "role": "user", "content": [
            { "type": "text", "text": "Why does web restart?", "cache_control": cache },
        ] }],
        "tools": [
            { "name": "run_command", "description": "Does run_command.", "input_schema":
                { "type": "object", "properties": { "argv": { "type": "array", "items": { "type": "string" } } } } },
            { "name": "query", "description": "Does query.", "input_schema": { "type": "object" } },
            { "name": "finish", "description": "Does finish.", "input_schema": { "type": "object" }, "cache_control": cache },
        ],
    });
    assert_eq!(asked.body, expected);
}

#[tokio::test]
async fn several_tool_calls_come_at_once_and_thoughts_go_back_unchanged_and_in_their_place() {
    let provider = Provider::streaming(TOOLS).await;
    let claude = claude(&provider);
    let first = ask(&claude).await.expect("an answer");
    assert_eq!(first.text, "I look at both.");
    assert_eq!(
        calls(&first),
        [
            ("toolu_01T1x1fJ34qAmk2tNTrN7Up6", "run_command", json!({ "argv": ["get", "pods"] })),
            ("toolu_02B9y2gK45rBnl3uOUsO8Vq7", "query", json!({ "expr": "up" })),
            ("toolu_03C0z3hL56sCom4vPVtP9Wr8", "finish", json!({})),
        ]
    );
    assert_eq!(first.usage, Usage::new(472, 89));

    let ids: Vec<_> = first.tool_calls.iter().map(|call| call.id.as_str()).collect();
    // The conversation was stored and read again.
    let stored = serde_json::to_value(assistant(&first)).expect("JSON");
    let messages = vec![
        user("Why?"),
        serde_json::from_value(stored).expect("a message"),
        result(ids[0], "web-1 0/1", false),
        result(ids[1], "unknown metric", true),
        result(ids[2], "", false),
        user("Go on."),
    ];
    claude.complete(&cx(), &CompletionRequest::new("", messages, 10)).await.expect("an answer");
    let body = provider.asked()[1].body.clone();
    assert_eq!(body.get("system"), None, "an empty text is refused by the API");
    assert_eq!(body.get("tools"), None);
    let expected = json!([
        { "role": "user", "content": [{ "type": "text", "text": "Why?" }] },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "First the pods, then the memory.",
              "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds" },
            { "type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix" },
            { "type": "text", "text": "I look at both." },
            { "type": "tool_use", "id": ids[0], "name": "run_command", "input": { "argv": ["get", "pods"] } },
            { "type": "tool_use", "id": ids[1], "name": "query", "input": { "expr": "up" } },
            { "type": "tool_use", "id": ids[2], "name": "finish", "input": {} },
        ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": ids[0], "content": "web-1 0/1" },
            { "type": "tool_result", "tool_use_id": ids[1], "content": "unknown metric", "is_error": true },
            { "type": "tool_result", "tool_use_id": ids[2], "content": "" },
            { "type": "text", "text": "Go on.", "cache_control": { "type": "ephemeral" } },
        ] },
    ]);
    assert_eq!(body["messages"], expected);
}

#[tokio::test]
async fn a_message_that_no_longer_fits_its_thoughts_or_is_another_providers_is_written_anew() {
    let provider = Provider::streaming(TOOLS).await;
    let claude = claude(&provider);
    let first = ask(&claude).await.expect("an answer");
    let Message::Assistant { text, mut tool_calls, opaque } = assistant(&first) else { panic!() };
    tool_calls.truncate(1);
    let fewer = Message::Assistant { text, tool_calls: tool_calls.clone(), opaque };
    let foreign = Message::Assistant {
        text: String::new(),
        tool_calls: vec![ToolCall::new("x", "query", json!("{\"expr\":"))],
        opaque: Some(json!({ "openai": { "reasoning_content": "hm" } })),
    };
    let messages = vec![user("a"), fewer, result(&tool_calls[0].id, "b", false), foreign, result("x", "c", false)];
    claude.complete(&cx(), &CompletionRequest::new("", messages, 10)).await.expect("an answer");
    let body = provider.asked()[1].body.clone();
    let id = &tool_calls[0].id;
    assert_eq!(
        body["messages"][1]["content"],
        json!([
            { "type": "text", "text": "I look at both." },
            { "type": "tool_use", "id": id, "name": "run_command", "input": { "argv": ["get", "pods"] } },
        ])
    );
    // What the model wrote was no JSON; the API takes objects only.
    let written = json!([{ "type": "tool_use", "id": "x", "name": "query", "input": {} }]);
    assert_eq!(body["messages"][3]["content"], written);
}

#[tokio::test]
async fn an_answer_that_the_limit_cut_says_so_and_keeps_the_raw_arguments() {
    let provider = Provider::streaming(include_str!("recorded/anthropic_length.sse")).await;
    let completion = ask(&claude(&provider)).await.expect("an answer");
    assert_eq!(completion.stop, StopReason::Length);
    assert_eq!(calls(&completion), [("toolu_01", "run_command", json!("{\"argv\": [\"get\", \"po"))]);
}

#[tokio::test]
async fn every_stop_reason_has_its_meaning() {
    let reasons = [
        ("end_turn", StopReason::Finished),
        ("stop_sequence", StopReason::Finished),
        ("tool_use", StopReason::Finished),
        ("max_tokens", StopReason::Length),
        ("model_context_window_exceeded", StopReason::Length),
        ("pause_turn", StopReason::Length),
        ("refusal", StopReason::Refused),
    ];
    for (reason, stop) in reasons {
        let provider = Provider::new(move |_| stream(TEXT.replace("end_turn", reason))).await;
        let completion = ask(&claude(&provider)).await.expect("an answer");
        assert_eq!(completion.stop, stop, "{reason}");
    }
}

#[tokio::test]
async fn an_overload_in_the_middle_of_a_stream_is_a_rate_limit_and_no_answer() {
    let provider = Provider::streaming(include_str!("recorded/anthropic_overloaded.sse")).await;
    let error = ask(&claude(&provider)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::RateLimited);
    assert!(error.message.contains("overloaded_error") && error.is_transient(), "{error}");
}

#[tokio::test]
async fn an_answer_in_one_piece_is_accepted() {
    let provider = Provider::json(200, include_str!("recorded/anthropic_whole.json")).await;
    let completion = ask(&claude(&provider)).await.expect("an answer");
    assert_eq!(completion.text, "The web pods restart: größer als 128Mi 🚨.");
    assert_eq!(calls(&completion), [("toolu_01", "query", json!({ "expr": "up" }))]);
    assert_eq!(completion.usage, Usage::new(2312, 21).with_cache(2000, 300));
}

#[tokio::test]
async fn the_config_bounds_the_output_and_adds_members_and_turns_the_cache_off() {
    let provider = Provider::streaming(TEXT).await;
    let config = json!({
        "model": "m", "baseUrl": format!("{}/gateway/", provider.url), "maxOutputTokens": 500, "promptCaching": false,
        "extraBody": { "thinking": { "type": "enabled", "budget_tokens": 400 } },
    });
    ask(&model("anthropic", config, key())).await.expect("an answer");
    let asked = provider.only();
    assert_eq!(asked.path, "/gateway/v1/messages");
    assert_eq!(asked.body["max_tokens"], 500);
    assert_eq!(asked.body["thinking"], json!({ "type": "enabled", "budget_tokens": 400 }));
    assert!(!asked.body.to_string().contains("cache_control"));
}

#[tokio::test]
async fn an_empty_result_carries_no_mark_of_the_cache() {
    let provider = Provider::streaming(TEXT).await;
    let calls = ["a", "b"].map(|id| ToolCall::new(id, "query", json!({})));
    let before = Message::Assistant { text: String::new(), tool_calls: calls.to_vec(), opaque: None };
    let messages = vec![user("Why?"), before, result("a", "1", false), result("b", "", false)];
    claude(&provider).complete(&cx(), &CompletionRequest::new("", messages, 10)).await.expect("an answer");
    let expected = json!([
        { "type": "tool_result", "tool_use_id": "a", "content": "1", "cache_control": { "type": "ephemeral" } },
        { "type": "tool_result", "tool_use_id": "b", "content": "" },
    ]);
    assert_eq!(provider.only().body["messages"][2]["content"], expected);
}

#[tokio::test]
async fn a_gateway_that_counts_nothing_is_counted_by_its_bytes() {
    let text = TEXT.lines().map(|line| match line.find(",\"usage\":") {
        Some(at) if line.contains("message_start") => format!("{}}}}}\n", &line[..at]),
        Some(at) => format!("{}}}\n", &line[..at]),
        None => format!("{line}\n"),
    });
    let text: String = text.collect();
    let provider = Provider::new(move |_| stream(text.clone())).await;
    let completion = claude(&provider).complete(&cx(), &hello()).await.expect("an answer");
    let sent = provider.only().body.to_string().len().div_ceil(4);
    let written = completion.text.len().div_ceil(4);
    assert_eq!(completion.usage, Usage::new(sent as u64, written as u64));
}

#[tokio::test]
async fn the_check_asks_for_the_model_and_spends_nothing() {
    let provider = Provider::new(|asked| match asked.path.as_str() {
        "/v1/models/claude-sonnet-4-5" => {
            json_answer(200, r#"{"type":"model","id":"claude-sonnet-4-5","display_name":"Claude Sonnet 4.5"}"#)
        }
        "/v1/models" => json_answer(200, r#"{"data":[{"id":"claude-b"},{"id":"claude-a"}],"has_more":false}"#),
        _ => json_answer(404, r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}"#),
    })
    .await;
    let report = claude(&provider).check(&cx()).await.expect("the check");
    assert!(report.message.contains("Claude Sonnet 4.5"), "{report:?}");
    assert_eq!(report.facts["warning"], "the key travels unencrypted: use https");
    let other = model("anthropic", json!({ "model": "claude-x", "baseUrl": provider.url }), key());
    let error = other.check(&cx()).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Invalid);
    assert!(error.message.contains("no model `claude-x`; there are claude-a, claude-b"), "{error}");
    assert!(provider.asked().iter().all(|asked| asked.method == "GET"));
}

#[tokio::test]
async fn the_check_of_a_gateway_without_a_list_of_models_asks_for_a_word() {
    let provider = Provider::new(|asked| match asked.path.as_str() {
        "/v1/messages" => stream(TEXT),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    claude(&provider).check(&cx()).await.expect("the check");
    assert_eq!(provider.asked().last().expect("asked").body["max_tokens"], 16);
}
