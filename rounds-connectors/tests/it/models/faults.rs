//! What no provider should do, and what each must not make of it. Every test runs for all kinds.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use rounds_core::ports::PortErrorKind;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// A kind and a recording of each shape that it streams.
struct Kind {
    kind: &'static str,
    recordings: [&'static str; 2],
}

const KINDS: [Kind; 3] = [
    Kind {
        kind: "anthropic",
        recordings: [include_str!("recorded/anthropic_text.sse"), include_str!("recorded/anthropic_tools.sse")],
    },
    Kind {
        kind: "openai",
        recordings: [include_str!("recorded/openai_text.sse"), include_str!("recorded/openai_tools.sse")],
    },
    Kind {
        kind: "gemini",
        recordings: [include_str!("recorded/gemini_text.sse"), include_str!("recorded/gemini_tools.sse")],
    },
];

impl Kind {
    fn model(&self, provider: &Provider) -> Arc<dyn Model> {
        self.with(json!({ "model": "m", "baseUrl": provider.url }))
    }

    fn with(&self, config: Value) -> Arc<dyn Model> {
        model(self.kind, config, key())
    }

    /// What it makes of an answer.
    async fn ask(
        &self,
        answer: impl Fn(&Asked) -> Response + Clone + Send + Sync + 'static,
    ) -> Result<Completion, PortError> {
        ask(&self.model(&Provider::new(answer).await)).await
    }
}

/// Text, calls and the reason to stop: what a shorter answer would have less of.
fn said(completion: Completion) -> (String, Vec<ToolCall>, rounds_core::ports::StopReason) {
    (completion.text, completion.tool_calls, completion.stop)
}

/// A server whose every answer is the next beginning of the recording: `ends` says where each one ends.
async fn cut_at_each(kind: &Kind, recording: &'static str, ends: Vec<usize>) -> usize {
    let whole = said(kind.ask(move |_| stream(recording)).await.expect("an answer"));
    let (next, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(ends));
    let provider = {
        let (next, all) = (Arc::clone(&next), Arc::clone(&all));
        Provider::new(move |_| stream(&recording.as_bytes()[..all[next.fetch_add(1, Ordering::SeqCst)]])).await
    };
    let model = kind.model(&provider);
    let mut refused = 0;
    for end in all.iter() {
        match ask(&model).await {
            Ok(completion) => assert_eq!(said(completion), whole, "{} cut at {end}: never a shorter answer", kind.kind),
            Err(error) => {
                assert_eq!(error.kind, PortErrorKind::Unavailable, "{} cut at {end}: {error}", kind.kind);
                assert!(error.message.contains("cut off"), "{error}");
                refused += 1;
            }
        }
    }
    refused
}

#[tokio::test]
async fn a_stream_that_is_cut_between_events_is_never_a_shorter_answer() {
    for kind in KINDS {
        for recording in kind.recordings {
            let ends: Vec<_> = recording.match_indices("\n\n").map(|(at, _)| at + 2).collect();
            let events = ends.len();
            let refused = cut_at_each(&kind, recording, ends).await;
            // OpenAI's answer is whole with its reason to end; what it cost and `[DONE]` come after that.
            let may_lack = if kind.kind == "openai" { 3 } else { 1 };
            assert_eq!(refused, events - may_lack, "{}", kind.kind);
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_anywhere_is_never_a_shorter_answer() {
    for kind in KINDS {
        for recording in kind.recordings {
            // Every byte of the end, where the answer is nearly whole, and steps before that.
            let late = recording.len().saturating_sub(300);
            let ends: Vec<_> = (0..late).step_by(37).chain(late..recording.len()).collect();
            assert!(cut_at_each(&kind, recording, ends).await > 20);
        }
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_cut_off_answer() {
    for kind in KINDS {
        // The whole recording, of which the server promised more: it is the connection that breaks.
        for length in [kind.recordings[0].len() / 2, kind.recordings[0].len()] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let url = format!("http://{}", listener.local_addr().expect("its address"));
            tokio::spawn(async move {
                let (mut socket, _) = listener.accept().await.expect("a connection");
                let _ = socket.read(&mut [0; 65_536]).await;
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 99999\r\n\r\n";
                let _ = socket.write_all(head.as_bytes()).await;
                let _ = socket.write_all(&kind.recordings[0].as_bytes()[..length]).await;
            });
            let answer = ask(&kind.with(json!({ "model": "m", "baseUrl": url }))).await;
            // Only Gemini's stream has no last event, behind which nothing matters.
            if length < kind.recordings[0].len() || kind.kind == "gemini" {
                let error = answer.unwrap_err();
                assert_eq!(error.kind, PortErrorKind::Unavailable);
                assert!(error.message.contains("cut off"), "{error}");
            } else {
                answer.expect("an answer");
            }
        }
    }
}

#[tokio::test]
async fn where_the_chunks_of_a_stream_end_makes_no_difference() {
    for kind in KINDS {
        for recording in kind.recordings {
            let whole = kind.ask(move |_| stream(recording)).await.expect("an answer");
            let bytes = kind.ask(move |_| pieces(recording.as_bytes().chunks(1).map(Bytes::from_static).collect()));
            assert_eq!(bytes.await.expect("byte by byte"), whole, "{}", kind.kind);
            let crlf = kind.ask(move |_| stream(recording.replace('\n', "\r\n"))).await.expect("other line ends");
            assert_eq!(crlf, whole, "{}", kind.kind);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_garbage_in_a_stream_makes_it_panic_or_longer(at in 0.0..1.0_f64, garbage in "\\PC{0,12}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        for kind in KINDS {
            let recording = kind.recordings[1];
            let mut at = (recording.len() as f64 * at) as usize;
            while !recording.is_char_boundary(at) {
                at -= 1;
            }
            let broken = format!("{}{garbage}{}", &recording[..at], &recording[at..]);
            let answer = runtime.block_on(kind.ask(move |_| stream(broken.clone())));
            if let Ok(completion) = answer {
                // A line of another name is another field by the rules of SSE, and is passed over.
                prop_assert!(completion.tool_calls.len() <= 3);
            }
        }
    }
}

#[tokio::test]
async fn malformed_answers_are_protocol_errors() {
    let bodies = ["data: {\"a\": \n\n", "data: nonsense\n\n", "data: []\n\n", "data: \"x\"\n\n", "data: \u{0}\n\n"];
    for kind in KINDS {
        for body in bodies {
            let error = kind.ask(move |_| stream(body)).await.unwrap_err();
            assert_eq!(error.kind, PortErrorKind::Protocol, "{} {body:?}: {error}", kind.kind);
        }
        let error = kind.ask(|_| stream(&b"data: \xff\n\n"[..])).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Protocol, "{error}");
        let error = kind.ask(|_| json_answer(200, "{")).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Protocol, "{error}");
        let page = kind.ask(|_| ([(header::CONTENT_TYPE, "text/html")], "<h1>Sign in</h1>").into_response());
        let error = page.await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Protocol);
        assert!(error.message.contains("text/html") && !error.message.contains("Sign in"), "{error}");
        let error = kind.ask(|_| (StatusCode::FOUND, [("location", "https://elsewhere")]).into_response()).await;
        assert!(error.unwrap_err().message.contains("redirects are not followed"));
    }
}

#[tokio::test]
async fn an_empty_body_is_no_empty_answer() {
    for kind in KINDS {
        for body in ["", ": ping\n\n", "data: [DONE]\n\n"] {
            assert!(kind.ask(move |_| stream(body)).await.is_err(), "{} {body:?}", kind.kind);
        }
    }
}

/// An error as each kind writes it.
fn error_body(kind: &str, word: &str, message: &str) -> Value {
    match kind {
        "anthropic" => json!({ "type": "error", "error": { "type": word, "message": message }, "request_id": "req_1" }),
        "gemini" => json!({ "error": { "code": 0, "message": message, "status": word } }),
        _ => json!({ "error": { "message": message, "type": word, "param": null, "code": word } }),
    }
}

#[tokio::test]
async fn statuses_have_their_kinds_and_say_what_would_help() {
    let cases = [
        (401, "authentication_error", PortErrorKind::Unauthorized, "the connector's secret"),
        (403, "permission_error", PortErrorKind::Unauthorized, "the connector's secret"),
        (404, "not_found_error", PortErrorKind::Invalid, "check `model`"),
        (400, "invalid_request_error", PortErrorKind::Invalid, "the words of the server"),
        (400, "context_length_exceeded", PortErrorKind::Invalid, "the words of the server"),
        (413, "request_too_large", PortErrorKind::Invalid, "the words of the server"),
        (402, "billing_error", PortErrorKind::Invalid, "add credit"),
        (429, "insufficient_quota", PortErrorKind::Invalid, "add credit"),
        (429, "rate_limit_error", PortErrorKind::RateLimited, "the words of the server"),
        (529, "overloaded_error", PortErrorKind::RateLimited, "the words of the server"),
        (529, "", PortErrorKind::RateLimited, "529"),
        (503, "overloaded", PortErrorKind::RateLimited, "503"),
        (503, "", PortErrorKind::Unavailable, "503"),
        (500, "api_error", PortErrorKind::Unavailable, "500"),
        (504, "timeout_error", PortErrorKind::Timeout, "504"),
        (408, "", PortErrorKind::Timeout, "408"),
    ];
    for kind in KINDS {
        for (status, word, expected, text) in cases {
            let body = error_body(kind.kind, word, "the words of the server").to_string();
            let error = kind.ask(move |_| json_answer(status, body.clone())).await.unwrap_err();
            assert_eq!(error.kind, expected, "{} {status} {word}: {error}", kind.kind);
            assert!(error.message.contains(text), "{} {status} {word}: {error}", kind.kind);
            assert_eq!(error.retry_after, None);
            assert!(error.message.starts_with("http://127.0.0.1:"), "{error}");
        }
        let error = kind.ask(|_| (StatusCode::NOT_FOUND, "no such page").into_response()).await.unwrap_err();
        assert!(error.message.contains("no such page") && error.message.contains("check `baseUrl`"), "{error}");
        let error = kind.ask(|_| StatusCode::BAD_GATEWAY.into_response()).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Unavailable, "{error}");
    }
}

#[tokio::test]
async fn a_lack_of_credit_is_not_waited_for_even_where_it_looks_like_a_wrong_request() {
    let body = error_body("anthropic", "invalid_request_error", "Your credit balance is too low to access the API.");
    let body = body.to_string();
    let error = KINDS[0].ask(move |_| json_answer(400, body.clone())).await.unwrap_err();
    assert!(!error.is_transient() && error.message.contains("configure another model"), "{error}");
}

#[tokio::test]
async fn a_refused_request_that_quotes_an_incident_is_no_overload() {
    for kind in KINDS {
        let body = error_body(kind.kind, "invalid_request_error", "cannot read \"the node is overloaded\"").to_string();
        let error = kind.ask(move |_| json_answer(400, body.clone())).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Invalid, "{error}");
    }
}

#[tokio::test]
async fn what_the_server_asks_for_is_waited() {
    let date = "date: Wed, 21 Oct 2015 07:28:00 GMT\nretry-after: Wed, 21 Oct 2015 07:29:00 GMT";
    let cases = [
        ("", None),
        ("retry-after: 17", Some(Duration::from_secs(17))),
        ("retry-after: 17\nretry-after-ms: 1200", Some(Duration::from_millis(1200))),
        (date, Some(Duration::from_secs(60))),
    ];
    for kind in KINDS {
        for (headers, expected) in cases {
            for status in [429, 529, 503] {
                let body = error_body(kind.kind, "rate_limit_error", "slowly").to_string();
                let answer = move |_: &Asked| {
                    let mut response = json_answer(status, body.clone());
                    for (name, value) in headers.lines().filter_map(|line| line.split_once(": ")) {
                        response.headers_mut().insert(name, value.parse().expect("a value"));
                    }
                    response
                };
                let error = kind.ask(answer).await.unwrap_err();
                assert_eq!((error.kind, error.retry_after), (PortErrorKind::RateLimited, expected), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn rule_12_the_key_is_in_no_error_no_debug_and_no_address() {
    for kind in KINDS {
        let echo = |asked: &Asked| {
            let headers = format!("{:?}", asked.headers);
            assert!(headers.contains(KEY) && !asked.query.contains(KEY) && !asked.path.contains(KEY));
            json_answer(
                400,
                json!({ "error": { "message": format!("\u{1b}[31m{headers}\r\n{}", "x".repeat(9_000)) } }).to_string(),
            )
        };
        let provider = Provider::new(echo).await;
        let model = kind.model(&provider);
        for error in [ask(&model).await.unwrap_err(), model.check(&cx()).await.unwrap_err()] {
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("[redacted]") && !shown.contains(KEY), "{shown}");
            assert!(error.message.chars().count() < 1_200 && !error.message.contains(char::is_control), "{shown}");
        }
        // The same in the middle of a stream, and as the name of a model.
        let in_stream = |asked: &Asked| {
            let message = format!("you sent {:?}", asked.headers);
            stream(format!(
                "event: error\ndata: {}\n\n",
                json!({ "error": { "type": "api_error", "message": message } })
            ))
        };
        let error = kind.ask(in_stream).await.unwrap_err();
        assert!(error.message.contains("you sent") && !error.message.contains(KEY), "{error}");
        let list = |asked: &Asked| match asked.path.as_str() {
            path if path.ends_with("/models") => {
                let names = json!([{ "id": KEY, "name": KEY }]);
                json_answer(200, json!({ "data": names, "models": names }).to_string())
            }
            _ => json_answer(404, r#"{"error":{"message":"gone"}}"#),
        };
        let error = kind.model(&Provider::new(list).await).check(&cx()).await.unwrap_err();
        assert!(error.message.contains("[redacted]") && !error.message.contains(KEY), "{error}");
    }
    use rounds_connectors::models::{Anthropic, AnthropicConfig, Gemini, GeminiConfig, OpenAi, OpenAiConfig};
    let config = || json!({ "model": "m" });
    let cx = || BuildContext::new("m", key(), Arc::new(Host { outbound: Outbound::loopback(), ..Host::default() }));
    let plain = |mut config: Value| {
        config["baseUrl"] = "http://127.0.0.1:9".into();
        config
    };
    let anthropic: AnthropicConfig = serde_json::from_value(plain(config())).expect("a config");
    let openai: OpenAiConfig = serde_json::from_value(plain(config())).expect("a config");
    let gemini: GeminiConfig = serde_json::from_value(plain(config())).expect("a config");
    let shown = format!(
        "{:?} {:?} {:?}",
        Anthropic::new(cx(), anthropic).expect("a model"),
        OpenAi::new(cx(), openai).expect("a model"),
        Gemini::new(cx(), gemini).expect("a model")
    );
    assert!(shown.contains("127.0.0.1") && !shown.contains(KEY), "{shown}");
}

#[tokio::test]
async fn a_missing_or_unusable_key_is_said_before_anything_is_sent() {
    for kind in KINDS.iter().filter(|kind| kind.kind != "openai") {
        let provider = Provider::streaming(kind.recordings[0]).await;
        for secret in [SecretHandle::none(), SecretHandle::inline(" \n".into()), SecretHandle::inline("a\nb".into())] {
            let config = json!({ "model": "m", "baseUrl": provider.url });
            let error = ask(&model(kind.kind, config, secret)).await.unwrap_err();
            assert_eq!(error.kind, PortErrorKind::Unauthorized, "{error}");
            assert!(error.message.contains("set it"), "{error}");
        }
        assert!(provider.asked().is_empty());
    }
}

#[tokio::test]
async fn a_key_that_was_rotated_is_used_at_the_next_call() {
    struct Rotating(AtomicUsize);
    #[rounds_core::async_trait]
    impl rounds_core::ports::SecretResolver for Rotating {
        fn scheme(&self) -> &'static str {
            "test"
        }

        async fn resolve(&self, _: &str) -> Result<SecretString, PortError> {
            Ok(format!("key-{}", self.0.fetch_add(1, Ordering::SeqCst)).into())
        }
    }
    for kind in KINDS {
        let provider = Provider::streaming(kind.recordings[0]).await;
        let secret = SecretHandle::reference(Arc::new(Rotating(AtomicUsize::new(1))), "test://key".into());
        let model = model(kind.kind, json!({ "model": "m", "baseUrl": provider.url }), secret);
        ask(&model).await.expect("an answer");
        ask(&model).await.expect("an answer");
        let sent: Vec<_> = provider.asked().iter().map(|asked| format!("{:?}", asked.headers)).collect();
        assert!(sent[0].contains("key-1") && sent[1].contains("key-2"), "{sent:?}");
    }
}

#[tokio::test]
async fn nothing_is_tried_twice() {
    for kind in KINDS {
        let provider = Provider::json(503, "{}").await;
        ask(&kind.model(&provider)).await.unwrap_err();
        provider.only();
    }
}

#[tokio::test]
async fn a_server_that_hangs_ends_at_the_deadline_and_a_cancelled_caller_at_once() {
    for kind in KINDS {
        let silent = |_: &Asked| stream(Body::from_stream(futures::stream::pending::<std::io::Result<Bytes>>()));
        let model = kind.model(&Provider::new(silent).await);
        let short = CallContext::with_timeout(Duration::from_millis(100));
        let error = model.complete(&short, &hello()).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Timeout, "{error}");
        let hangs = Provider::new(|asked| match asked.path.contains("/models") && !asked.path.contains(':') {
            true => json_answer(404, "{}"),
            false => stream(Body::from_stream(futures::stream::pending::<std::io::Result<Bytes>>())),
        });
        let error = kind.model(&hangs.await).check(&short).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Timeout, "a test of several requests has one deadline: {error}");
        let cx = cx();
        cx.cancel.cancel();
        let error = model.complete(&cx, &hello()).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Unavailable);
        assert!(error.message.contains("cancelled"), "{error}");
    }
}

#[tokio::test]
async fn a_stream_that_falls_silent_ends_before_the_deadline() {
    let answers = KINDS.map(|kind| async move {
        let recording = kind.recordings[0];
        let stalls = move |_: &Asked| {
            let half = Bytes::from_static(&recording.as_bytes()[..recording.len() / 2]);
            let half = futures::stream::iter([Ok::<_, std::io::Error>(half)]);
            stream(Body::from_stream(futures::StreamExt::chain(half, futures::stream::pending())))
        };
        let provider = Provider::new(stalls).await;
        let model = kind.with(json!({ "model": "m", "baseUrl": provider.url, "idleTimeoutSec": 1 }));
        ask(&model).await.unwrap_err()
    });
    for error in futures::future::join_all(answers).await {
        assert_eq!(error.kind, PortErrorKind::Timeout);
        assert!(error.message.contains("idleTimeoutSec"), "{error}");
    }
}

#[tokio::test]
async fn endless_answers_events_and_bodies_are_refused_while_they_come() {
    let endless = |part: &'static str| {
        move |_: &Asked| {
            stream(Body::from_stream(futures::stream::repeat_with(move || Ok::<_, std::io::Error>(Bytes::from(part)))))
        }
    };
    for kind in KINDS {
        // Events without an end, one line without an end, and JSON without an end.
        let small =
            |provider: &Provider| kind.with(json!({ "model": "m", "baseUrl": provider.url, "maxBodyBytes": 100_000 }));
        let error = ask(&small(&Provider::new(endless(": ping\n\n")).await)).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Protocol);
        assert!(error.message.contains("maxBodyBytes"), "{error}");
        let line = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
        let error = ask(&kind.model(&Provider::new(endless(line)).await)).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Protocol);
        assert!(error.message.contains("one event is larger"), "{error}");
        let json = move |asked: &Asked| {
            let mut response = endless(line)(asked);
            response.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().expect("a type"));
            response
        };
        let error = ask(&small(&Provider::new(json).await)).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Protocol);
        assert!(error.message.contains("maxBodyBytes"), "{error}");
    }
}

#[tokio::test]
async fn rule_11_configs_that_are_not_understood_are_refused() {
    let registry = Registry::linked().expect("no duplicates");
    let base = |url: &str| json!({ "model": "m", "baseUrl": url });
    let with = |name: &str, value: Value| {
        let mut config = base("http://models");
        config[name] = value;
        config
    };
    let cases = [
        (json!({}), "model"),
        (json!({ "model": "" }), "model"),
        (json!({ "model": "a b", "baseUrl": "http://models" }), "without spaces"),
        (with("modle", json!("x")), "unknown field `modle`"),
        (base("ftp://models"), "http://"),
        (base("http://me:hunter2@models"), "the key belongs into the secret"),
        (base("http://[hunter2"), "not an address"),
        (base("http://models?key=hunter2"), "found `?`"),
        (with("timeoutSec", json!(0)), "timeoutSec"),
        (with("idleTimeoutSec", json!(0)), "idleTimeoutSec"),
        (with("maxBodyBytes", json!(10)), "maxBodyBytes"),
        (with("maxOutputTokens", json!(0)), "maxOutputTokens"),
        (with("contextTokens", json!(0)), "contextTokens"),
        (with("prices", json!({ "input": -1, "output": 1 })), "prices"),
        (with("prices", json!({ "input": 1 })), "output"),
        (with("extraBody", json!({ "tools": [] })), "written by Rounds"),
        (with("caCertificate", json!("x")), "caCertificate"),
    ];
    for kind in KINDS {
        for (config, word) in &cases {
            let error = registry.check(kind.kind, config).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("hunter2"), "{} {config}: {error}", kind.kind);
        }
        let full = json!({
            "model": "m", "baseUrl": "http://models/prefix/", "timeoutSec": 5, "idleTimeoutSec": 5, "maxBodyBytes": 4096,
            "contextTokens": 1000, "maxOutputTokens": 10, "extraBody": { "x": 1 },
            "prices": { "input": 3, "output": 15, "cacheRead": 0.3, "cacheWrite": 3.75 },
        });
        registry.check(kind.kind, &full).expect("a full config");
        let info = kind.with(full).describe();
        assert_eq!((info.name.as_str(), info.context_tokens), ("m", Some(1000)));
        assert_eq!(info.prices.and_then(|prices| prices.cache_write), Some(3.75));
    }
    let azure = |url: &str, version: &str| json!({ "model": "m", "baseUrl": url, "azure": { "apiVersion": version } });
    let own = [
        ("anthropic", base("http://models/v1"), "leave it out"),
        ("gemini", base("http://models/v1beta"), "leave it out"),
        ("gemini", json!({ "model": "models/x", "baseUrl": "http://models" }), "without `models/`"),
        ("gemini", with("extraBody", json!({ "generationConfig": { "maxOutputTokens": 1 } })), "maxOutputTokens"),
        ("openai", base("http://models/v1/chat/completions"), "leave it out"),
        ("openai", azure("http://models/openai/v1", "2024-10-21"), "leave it out"),
        ("openai", azure("http://models", "a&b"), "azure.apiVersion"),
        ("openai", json!({ "model": "m", "azure": { "apiVersion": "2024-10-21" } }), "NAME.openai.azure.com"),
        ("openai", with("tokenLimitField", json!("tokens")), "maxCompletionTokens"),
    ];
    for (kind, config, word) in own {
        let error = registry.check(kind, &config).unwrap_err().to_string();
        assert!(error.contains(word), "{kind} {config}: {error}");
    }
}

#[test]
fn the_models_are_linked_with_their_secrets() {
    use rounds_core::plugin::SecretUse;
    let registry = Registry::linked().expect("no duplicates");
    for kind in KINDS {
        let found = registry.get(kind.kind).expect("it is linked");
        assert_eq!(found.role(), rounds_core::connector::Role::Model);
        assert_eq!(matches!(found.secret(), SecretUse::Optional(_)), kind.kind == "openai");
        let schema = found.schema();
        assert_eq!(schema["additionalProperties"], false, "{schema}");
        let fields = schema["properties"].as_object().expect("fields");
        for (name, field) in fields {
            assert!(
                field["description"].as_str().is_some_and(|help| !help.is_empty()),
                "{} {name}: no help",
                kind.kind
            );
        }
    }
}
