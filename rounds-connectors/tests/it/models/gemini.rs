//! Google's Gemini API.

use rounds_core::ports::{PortErrorKind, StopReason, Usage};

use super::*;

const TEXT: &str = include_str!("recorded/gemini_text.sse");
const TOOLS: &str = include_str!("recorded/gemini_tools.sse");

fn gemini(provider: &Provider) -> Arc<dyn Model> {
    model("gemini", json!({ "model": "gemini-2.5-flash", "baseUrl": provider.url }), key())
}

#[tokio::test]
async fn a_streamed_text_is_put_together_with_its_usage() {
    let provider = Provider::streaming(TEXT).await;
    let completion = gemini(&provider).complete(&cx(), &hello()).await.expect("an answer");
    assert_eq!(completion.text, "The web pods restart: größer als 128Mi 🚨.");
    assert_eq!(completion.usage, Usage::new(2312, 85).with_cache(2000, 0), "thoughts are part of those written");
    assert_eq!(completion.stop, StopReason::Finished);
    assert!(completion.tool_calls.is_empty() && completion.opaque.is_none());
}

#[tokio::test]
async fn the_request_is_what_the_gemini_api_wants_with_the_key_in_a_header() {
    let provider = Provider::streaming(TEXT).await;
    ask(&gemini(&provider)).await.expect("an answer");
    let asked = provider.only();
    assert_eq!(asked.method, "POST");
    assert_eq!(asked.path, "/v1beta/models/gemini-2.5-flash:streamGenerateContent");
    assert_eq!(asked.query, "alt=sse");
    assert_eq!(asked.headers["x-goog-api-key"], KEY);
    let declaration = |name: &str, schema: Value| json!({ "name": name, "description": format!("Does {name}."), "parametersJsonSchema": schema });
    let argv =
        json!({ "type": "object", "properties": { "argv": { "type": "array", "items": { "type": "string" } } } });
    let expected = json!({
        "systemInstruction": { "parts": [{ "text": "You are on call." }] },
        "contents": [{ "role": "user", "parts": [{ "text": "Why does web restart?" }] }],
        "generationConfig": { "maxOutputTokens": 1000 },
        "tools": [{ "functionDeclarations": [
            declaration("run_command", argv),
            declaration("query", json!({ "type": "object" })),
            declaration("finish", json!({ "type": "object" })),
        ] }],
    });
    assert_eq!(asked.body, expected);
}

#[tokio::test]
async fn several_tool_calls_come_at_once_and_signatures_go_back_on_their_parts() {
    let provider = Provider::streaming(TOOLS).await;
    let gemini = gemini(&provider);
    let first = ask(&gemini).await.expect("an answer");
    assert_eq!(first.text, "I look at both.", "thoughts are no text");
    assert_eq!(
        calls(&first),
        [
            ("call_1_0", "run_command", json!({ "argv": ["get", "pods"] })),
            ("call_1_1", "query", json!({ "expr": "up" })),
            ("fc_9", "finish", json!({})),
        ]
    );
    assert_eq!(first.usage, Usage::new(472, 89));

    let stored = serde_json::to_value(assistant(&first)).expect("JSON");
    let messages = vec![
        user("Why?"),
        serde_json::from_value(stored).expect("a message"),
        result("call_1_0", "web-1 0/1", false),
        result("call_1_1", "unknown metric", true),
        result("fc_9", "", false),
        user("Go on."),
    ];
    gemini.complete(&cx(), &CompletionRequest::new("", messages, 10)).await.expect("an answer");
    let body = provider.asked()[1].body.clone();
    let expected = json!([
        { "role": "user", "parts": [{ "text": "Why?" }] },
        { "role": "model", "parts": [
            { "text": "I look at both." },
            { "functionCall": { "name": "run_command", "args": { "argv": ["get", "pods"] } },
              "thoughtSignature": "CiQB0e2Kb8Zx==" },
            { "functionCall": { "name": "query", "args": { "expr": "up" } } },
            { "functionCall": { "id": "fc_9", "name": "finish" } },
            { "text": "", "thoughtSignature": "Ep8CCpwC==" },
        ] },
        { "role": "user", "parts": [
            { "functionResponse": { "name": "run_command", "response": { "output": "web-1 0/1" } } },
            { "functionResponse": { "name": "query", "response": { "error": "unknown metric" } } },
            { "functionResponse": { "id": "fc_9", "name": "finish", "response": { "output": "" } } },
        ] },
        { "role": "user", "parts": [{ "text": "Go on." }] },
    ]);
    assert_eq!(body["contents"], expected);
    assert_eq!(body.get("systemInstruction"), None);
    assert_eq!(body.get("tools"), None);
}

#[tokio::test]
async fn a_signature_alone_is_reason_enough_to_send_the_parts_back_and_is_joined_with_nothing() {
    let provider = Provider::new(|_| stream(TOOLS.replace("\"id\": \"fc_9\",", ""))).await;
    let parts = ask(&gemini(&provider)).await.expect("an answer").opaque.expect("signed parts")["gemini"].clone();
    assert_eq!(parts[1]["thoughtSignature"], "CiQB0e2Kb8Zx==");
    assert_eq!(parts[3], json!({ "functionCall": { "name": "finish" } }));

    let signed =
        TEXT.replace("{\"text\": \"größer als \"}", "{\"text\": \"größer als \",\"thoughtSignature\": \"Ab==\"}");
    let provider = Provider::new(move |_| stream(signed.clone())).await;
    let completion = ask(&gemini(&provider)).await.expect("an answer");
    assert_eq!(completion.text, "The web pods restart: größer als 128Mi 🚨.");
    let expected = json!([
        { "text": "The web pods restart: " },
        { "text": "größer als ", "thoughtSignature": "Ab==" },
        { "text": "128Mi 🚨." },
    ]);
    assert_eq!(completion.opaque, Some(json!({ "gemini": expected })));
}

#[tokio::test]
async fn a_message_of_another_provider_is_written_anew() {
    let provider = Provider::streaming(TEXT).await;
    let foreign = Message::Assistant {
        text: "Hm.".into(),
        tool_calls: vec![ToolCall::new("toolu_1", "query", json!("{\"expr\":"))],
        opaque: Some(json!({ "anthropic": [] })),
    };
    let messages = vec![user("a"), foreign, result("toolu_1", "b", false)];
    gemini(&provider).complete(&cx(), &CompletionRequest::new("", messages, 10)).await.expect("an answer");
    let contents = provider.only().body["contents"].clone();
    let parts = json!([{ "text": "Hm." }, { "functionCall": { "name": "query", "args": {} } }]);
    assert_eq!(contents[1]["parts"], parts);
    let response = json!([{ "functionResponse": { "name": "query", "response": { "output": "b" } } }]);
    assert_eq!(contents[2]["parts"], response, "its id means nothing to Gemini");
}

#[tokio::test]
async fn every_finish_reason_has_its_meaning() {
    let cases = [
        ("STOP", Ok(StopReason::Finished)),
        ("MAX_TOKENS", Ok(StopReason::Length)),
        ("SAFETY", Ok(StopReason::Refused)),
        ("RECITATION", Ok(StopReason::Refused)),
        ("PROHIBITED_CONTENT", Ok(StopReason::Refused)),
        ("SPII", Ok(StopReason::Refused)),
        ("BLOCKLIST", Ok(StopReason::Refused)),
        ("A_NEW_ONE", Ok(StopReason::Refused)),
        ("UNEXPECTED_TOOL_CALL", Err(PortErrorKind::Unavailable)),
        ("OTHER", Err(PortErrorKind::Unavailable)),
    ];
    for (reason, expected) in cases {
        let provider = Provider::new(move |_| stream(TEXT.replace("STOP", reason))).await;
        let found = ask(&gemini(&provider)).await.map(|completion| completion.stop).map_err(|error| error.kind);
        assert_eq!(found, expected, "{reason}");
    }
    let provider = Provider::streaming(include_str!("recorded/gemini_malformed_call.sse")).await;
    let error = ask(&gemini(&provider)).await.unwrap_err();
    assert!(error.is_transient() && error.message.contains("default_api.query"), "{error}");
}

#[tokio::test]
async fn a_blocked_prompt_is_refused_and_still_costs() {
    let provider = Provider::streaming(include_str!("recorded/gemini_blocked.sse")).await;
    let completion = ask(&gemini(&provider)).await.expect("an answer");
    assert_eq!((completion.text.as_str(), completion.stop), ("PROHIBITED_CONTENT", StopReason::Refused));
    assert_eq!(completion.usage, Usage::new(8, 0));
}

#[tokio::test]
async fn a_rate_limit_says_how_long_in_its_body_and_a_daily_quota_is_not_waited_for() {
    let limit = include_str!("recorded/gemini_quota.json");
    let error = ask(&gemini(&Provider::json(429, limit).await)).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (PortErrorKind::RateLimited, Some(Duration::from_millis(34_500))));
    let daily = limit.replace("PerMinute", "PerDay");
    let error = ask(&gemini(&Provider::json(429, daily).await)).await.unwrap_err();
    assert!(!error.is_transient() && error.message.contains("add credit"), "{error}");
}

#[tokio::test]
async fn an_answer_in_one_piece_or_as_a_list_is_accepted() {
    let chunks: Vec<_> = TEXT.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    for body in [format!("[{}]", chunks.join(",\n")), chunks[2].to_owned()] {
        let completion = ask(&gemini(&Provider::json(200, body).await)).await.expect("an answer");
        assert!(completion.text.ends_with("128Mi 🚨."), "{completion:?}");
        assert_eq!(completion.usage.total(), 2397);
    }
}

#[tokio::test]
async fn the_check_asks_for_the_model_and_spends_nothing() {
    let provider = Provider::new(|asked| match asked.path.as_str() {
        "/v1beta/models/gemini-2.5-flash" => json_answer(
            200,
            r#"{"name":"models/gemini-2.5-flash","displayName":"Gemini 2.5 Flash","inputTokenLimit":1048576,
                "outputTokenLimit":65536,"supportedGenerationMethods":["generateContent","countTokens"]}"#,
        ),
        "/v1beta/models/embedding" => json_answer(200, r#"{"supportedGenerationMethods":["embedContent"]}"#),
        "/v1beta/models" => json_answer(200, r#"{"models":[{"name":"models/gemini-b"},{"name":"models/gemini-a"}]}"#),
        _ => json_answer(404, r#"{"error":{"code":404,"message":"models/x is not found","status":"NOT_FOUND"}}"#),
    })
    .await;
    let report = gemini(&provider).check(&cx()).await.expect("the check");
    assert!(report.message.contains("Gemini 2.5 Flash"), "{report:?}");
    assert_eq!(report.facts["input tokens"], "1048576");
    for (name, word) in [("x", "no model `x`; there are gemini-a, gemini-b"), ("embedding", "writes no text")] {
        let other = model("gemini", json!({ "model": name, "baseUrl": provider.url }), key());
        let error = other.check(&cx()).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Invalid);
        assert!(error.message.contains(word), "{error}");
    }
    assert!(provider.asked().iter().all(|asked| asked.method == "GET"));
}

#[tokio::test]
async fn a_bad_key_is_said_with_status_400_and_understood() {
    let body = json!({ "error": { "code": 400, "message": "API key not valid. Please pass a valid API key.",
        "status": "INVALID_ARGUMENT", "details": [{ "reason": "API_KEY_INVALID", "domain": "googleapis.com" }] } });
    let error = ask(&gemini(&Provider::json(400, body).await)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unauthorized);
    assert!(error.message.contains("the connector's secret"), "{error}");
}
