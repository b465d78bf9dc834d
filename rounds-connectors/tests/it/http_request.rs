//! Requests from templates, through real approvals, against a receiver of webhooks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use rounds_core::Error;
use rounds_core::plan::StepStatus;
use rounds_core::plugin::{BuildContext, Built, Host, Outbound, Registry};
use rounds_core::ports::{CallContext, ExecutionAdapter, Inverse, PortErrorKind, ReadStep, SecretHandle};
use rounds_core::step::{Effect, Mode, StepSpec, Tier};
use serde_json::{Value, json};

use crate::rig::{Rig, ended};

const KEY: &str = "hunter2-hunter2-hunter2";

/// What a receiver does with a request.
#[derive(Debug, Clone)]
enum Does {
    Answers(u16, &'static str),
    Redirects(u16),
    Hangs,
    NeverEnds,
    BreaksOff,
}

struct Came {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
}

#[derive(Clone)]
struct Receiver {
    came: Arc<Mutex<Vec<Came>>>,
    does: Arc<Mutex<Does>>,
}

impl Receiver {
    async fn serve() -> (Self, String) {
        let receiver =
            Self { came: Arc::default(), does: Arc::new(Mutex::new(Does::Answers(200, r#"{"status":"done"}"#))) };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (receiver, url)
    }

    fn does(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    fn count(&self) -> usize {
        self.came.lock().unwrap().len()
    }

    fn last<T>(&self, of: impl FnOnce(&Came) -> T) -> T {
        of(self.came.lock().unwrap().last().unwrap())
    }
}

async fn take(State(receiver): State<Receiver>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let body = String::from_utf8_lossy(&body).into_owned();
    receiver.came.lock().unwrap().push(Came { method, uri, headers, body });
    let does = receiver.does.lock().unwrap().clone();
    let status = |status: u16| StatusCode::from_u16(status).unwrap();
    match does {
        Does::Answers(429, body) => (status(429), [("retry-after", "17")], body).into_response(),
        Does::Answers(code, body) => (status(code), body).into_response(),
        Does::Redirects(code) => (status(code), [("location", "/elsewhere")]).into_response(),
        Does::Hangs => std::future::pending().await,
        Does::NeverEnds => {
            let chunks = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 65_536])));
            Response::new(Body::from_stream(chunks))
        }
        Does::BreaksOff => {
            let cut = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("cut"))]);
            Response::builder().header("content-length", "9").body(Body::from_stream(cut)).unwrap()
        }
    }
}

fn config(url: &str, change: Value) -> Value {
    let app = json!({ "type": "string", "pattern": "[a-z][a-z0-9-]*", "maxLength": 40 });
    let namespace = json!({ "type": "string", "enum": ["dev", "prod"] });
    let mut config = json!({
        "auth": { "type": "bearer" },
        "timeoutSec": 2,
        "checkRequest": "health",
        "requests": [
            {
                "name": "scale", "description": "Sets the number of workers.", "method": "POST",
                "url": format!("{url}/v1/{{namespace}}/apps/{{app}}/scale"), "query": { "reason": "plan {note}" },
                "headers": { "X-Team": "ops" },
                "body": { "workers": "{workers}", "note": "{note}", "force": false },
                "params": { "app": app, "namespace": namespace, "workers": { "type": "integer", "minimum": 1, "maximum": 20 },
                            "note": { "type": "string", "maxLength": 80 } },
                "targetKind": "worker pool", "nameParam": "app", "namespaceParam": "namespace", "idempotent": true,
                "dryRun": { "how": "query", "name": "dryRun", "value": "true", "expect": { "jsonPointer": "/dryRun", "equals": true } },
                "expect": { "status": [200, 202], "notStartedStatus": [409], "jsonPointer": "/status", "equals": "done" },
            },
            {
                "name": "pause", "description": "Stops taking jobs.", "method": "PUT", "url": format!("{url}/v1/apps/{{app}}/paused"),
                "params": { "app": app }, "inverse": { "request": "resume", "params": { "app": "{app}", "fast": true } },
                "dryRun": { "how": "header", "name": "X-Dry-Run", "value": "1", "expect": { "jsonPointer": "/dryRun", "equals": true } },
            },
            {
                "name": "resume", "description": "Takes jobs again.", "method": "DELETE", "url": format!("{url}/v1/apps/{{app}}/paused"),
                "query": { "fast": "{fast}" },
                "params": { "app": app, "fast": { "type": "boolean" } },
            },
            { "name": "jobs", "description": "What waits.", "method": "GET", "url": format!("{url}/v1/apps/{{app}}/jobs"), "params": { "app": app } },
            { "name": "health", "description": "Is it there?", "method": "GET", "url": format!("{url}/health") },
        ],
    });
    for (key, value) in change.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn build(config: Value, secret: Option<&str>) -> Result<Arc<dyn ExecutionAdapter>, String> {
    let host = Host { outbound: Outbound::loopback(), ..Host::default() };
    let secret = secret.map_or(SecretHandle::none(), |secret| SecretHandle::inline(secret.into()));
    match Registry::linked().unwrap().build("http", BuildContext::new("hook", secret, Arc::new(host)), config) {
        Ok(Built::Execution(adapter)) => Ok(adapter),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

fn step(request: &str, params: Value) -> StepSpec {
    StepSpec::new("http.request", json!({ "request": request, "params": params }))
}

fn scale() -> StepSpec {
    step("scale", json!({ "app": "web", "namespace": "prod", "workers": 7, "note": "é \"; {app} & more" }))
}

fn cx() -> CallContext {
    CallContext::with_timeout(Duration::from_secs(20))
}

#[tokio::test]
async fn what_is_shown_is_what_is_sent_and_carries_a_key_of_its_attempt() {
    let (receiver, url) = Receiver::serve().await;
    let rig = Rig::start("http", config(&url, json!({})), Some(KEY)).await;
    let plan = rig.propose([scale()]).await;
    let shown = plan.steps[0].review.command_text.clone();
    let sent = "/v1/prod/apps/web/scale?reason=plan+%C3%A9+%22%3B+%7Bapp%7D+%26+more";
    let body = r#"{"force":false,"note":"é \"; {app} & more","workers":7}"#;
    assert_eq!(shown, format!("POST {url}{sent} {body}"));
    // The dry-run is the same request, marked, and without a key: it is no attempt.
    let (uri, keyless) = receiver.last(|came| (came.uri.to_string(), came.headers.get("idempotency-key").is_none()));
    assert_eq!((uri, keyless), (format!("{sent}&dryRun=true"), true));
    let (status, text) = ended(&rig.approve(&plan).await);
    assert_eq!(status, StepStatus::Done, "{text}");
    assert!(text.contains("HTTP 200 OK\n{\"status\":\"done\"}"), "{text}");
    receiver.last(|came| {
        assert_eq!((&came.method, &*came.uri.to_string(), &*came.body), (&Method::POST, sent, body));
        assert_eq!(came.headers["authorization"], format!("Bearer {KEY}"));
        assert_eq!(came.headers["idempotency-key"], format!("{}:{}:1", plan.id, plan.steps[0].id));
        assert_eq!(
            (&came.headers["content-type"], &came.headers["x-team"]),
            (&"application/json".parse().unwrap(), &"ops".parse().unwrap())
        );
    });
    assert_eq!(receiver.count(), 2);
    let review = &plan.steps[0].review;
    assert_eq!(review.targets[0].to_string(), "prod/worker pool/web");
    assert_eq!((review.tier, review.idempotent, review.reversible), (Tier::Write, true, false));
    rig.end().await;
}

#[tokio::test]
async fn a_dry_run_that_does_not_show_that_it_was_one_may_have_been_carried_out_and_the_preview_says_so() {
    let (receiver, url) = Receiver::serve().await;
    let rig = Rig::start("http", config(&url, json!({})), Some(KEY)).await;
    for step in [scale(), step("pause", json!({ "app": "web" }))] {
        for (does, loud) in [
            (Does::Answers(200, r#"{"dryRun":true,"would":"scale"}"#), false),
            (Does::Answers(200, r#"{"status":"done"}"#), true),
            (Does::Answers(200, r#"{"status":"done","dryRun":"true"}"#), true),
            (Does::Answers(200, "<html>"), true),
            (Does::Answers(500, r#"{"dryRun":true}"#), true),
            (Does::Hangs, true),
        ] {
            receiver.does(does.clone());
            let plan = rig.propose([step.clone()]).await;
            let shown = plan.steps[0].dry_run_text.clone().unwrap();
            assert_eq!(shown.contains("MAY HAVE CARRIED THIS OUT"), loud, "{does:?}: {shown}");
            assert!(loud || shown.contains("would"), "{shown}");
        }
    }
    rig.end().await;
}

#[tokio::test]
async fn an_answer_means_what_the_template_says_and_what_it_does_not_say_may_have_happened() {
    let (receiver, url) = Receiver::serve().await;
    let rig = Rig::start("http", config(&url, json!({})), Some(KEY)).await;
    for (does, expected, says) in [
        (Does::Answers(202, r#"{"status":"done"}"#), StepStatus::Done, "202"),
        (Does::Answers(201, r#"{"status":"done"}"#), StepStatus::Failed, "answered HTTP 201"),
        (
            Does::Answers(200, r#"{"status":"refused"}"#),
            StepStatus::Failed,
            "/status is \"refused\"; \"done\" is expected",
        ),
        (Does::Answers(200, "<html>"), StepStatus::Failed, "its body is not JSON"),
        (Does::Answers(200, "{}"), StepStatus::Failed, "/status is null"),
        (Does::Answers(400, "no: hunter2-hunter2-hunter2"), StepStatus::Failed, "400 Bad Request\nno: [redacted]"),
        (Does::Answers(500, "oh"), StepStatus::Failed, "answered HTTP 500"),
        (Does::Answers(429, "oh"), StepStatus::Failed, "asks to be left alone for 17 s"),
        (Does::Answers(502, "oh"), StepStatus::Interrupted, "nobody knows whether it was done"),
        (Does::Answers(504, "oh"), StepStatus::Interrupted, "nobody knows"),
        (Does::Redirects(302), StepStatus::Failed, "redirects are not followed"),
        (Does::Redirects(308), StepStatus::Failed, "redirects are not followed"),
        (Does::Hangs, StepStatus::Interrupted, "no complete answer within 2 s"),
        (Does::NeverEnds, StepStatus::Interrupted, "larger than"),
        (Does::BreaksOff, StepStatus::Interrupted, "scale: POST to"),
    ] {
        receiver.does(Does::Answers(200, r#"{"status":"done"}"#));
        let plan = rig.propose([scale()]).await;
        receiver.does(does.clone());
        let before = receiver.count();
        let (status, text) = ended(&rig.approve(&plan).await);
        assert_eq!(status, expected, "{does:?}: {text}");
        assert!(text.contains(says), "{does:?}: {text}");
        assert_eq!(receiver.count(), before + 1, "{does:?}: sent once");
    }
    rig.end().await;
}

#[tokio::test]
async fn only_a_status_that_the_template_names_proves_that_nothing_was_done() {
    let (receiver, url) = Receiver::serve().await;
    let adapter = build(config(&url, json!({})), Some(KEY)).unwrap();
    let reviewed = adapter.review(&scale(), Mode::Write).unwrap();
    for (status, effect) in [(409, Effect::NotStarted), (401, Effect::MayHaveHappened), (404, Effect::MayHaveHappened)]
    {
        receiver.does(Does::Answers(status, ""));
        // A dry-run is judged as the request itself is.
        assert_eq!(adapter.dry_run(&cx(), &reviewed).await.unwrap_err().effect, effect, "{status}");
    }
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let adapter = build(config(&format!("http://{gone}"), json!({})), Some(KEY)).unwrap();
    let reviewed = adapter.review(&scale(), Mode::Write).unwrap();
    let error = adapter.dry_run(&cx(), &reviewed).await.unwrap_err();
    assert!(error.effect == Effect::NotStarted && error.message.contains("cannot connect"), "{error}");
    let secretless = build(config(&url, json!({})), None).unwrap();
    let before = receiver.count();
    let error = secretless.dry_run(&cx(), &secretless.review(&scale(), Mode::Write).unwrap()).await.unwrap_err();
    assert!(error.effect == Effect::NotStarted && error.message.contains("there is none"), "{error}");
    assert_eq!(receiver.count(), before);
}

#[tokio::test]
async fn a_step_that_the_templates_do_not_describe_is_refused_with_what_they_do() {
    let (receiver, url) = Receiver::serve().await;
    let rig = Rig::start("http", config(&url, json!({})), Some(KEY)).await;
    let scaled = |change: Value| {
        let mut spec = scale();
        for (key, value) in change.as_object().unwrap() {
            spec.params["params"][key] = value.clone();
        }
        spec
    };
    for (spec, says) in [
        (
            step("reboot", json!({})),
            "the request `reboot` is not accepted; accepted: health, jobs, pause, resume, scale",
        ),
        (step("jobs", json!({})), "params.app: found none"),
        (step("health", json!({ "x": 1 })), "the param `x` is not accepted; accepted: none"),
        (scaled(json!({ "url": "http://evil" })), "the param `url` is not accepted"),
        (scaled(json!({ "app": "../admin" })), "params.app: found \"../admin\"; a text that matches"),
        (scaled(json!({ "namespace": "kube-system" })), "dev, prod is accepted"),
        (scaled(json!({ "workers": 21 })), "a whole number from 1 to 20"),
        (scaled(json!({ "workers": "7" })), "a whole number from 1 to 20"),
        (scaled(json!({ "note": "a\nb" })), "a text in one line"),
        (scaled(json!({ "note": "a\u{202e}b" })), "a text in one line"),
        (scaled(json!({ "note": { "a": 1 } })), "a text of at most 80 characters"),
        (StepSpec::new("http.request", json!({ "request": "health", "method": "DELETE" })), "unknown field `method`"),
        (StepSpec::new("http.send", json!({ "request": "health" })), "http.request"),
    ] {
        let Err(Error::Refused(refusals)) = rig.try_propose([spec.clone()]).await else { panic!("{spec:?} passes") };
        assert!(refusals[0].message.contains(says), "{says}: {}", refusals[0].message);
    }
    assert_eq!(receiver.count(), 0);
    rig.end().await;
}

#[tokio::test]
async fn the_way_back_is_the_request_that_the_template_names() {
    let (receiver, url) = Receiver::serve().await;
    let rig = Rig::start("http", config(&url, json!({})), Some(KEY)).await;
    let adapter = build(config(&url, json!({})), Some(KEY)).unwrap();
    let back =
        async |spec: StepSpec| adapter.inverse(&cx(), &adapter.review(&spec, Mode::Write).unwrap()).await.unwrap();
    let pause = step("pause", json!({ "app": "web" }));
    let Inverse::Steps(steps) = back(pause.clone()).await else { panic!("there is a way back") };
    assert_eq!(steps, [step("resume", json!({ "app": "web", "fast": true }))]);
    assert_eq!(back(scale()).await, Inverse::Unknown);
    assert_eq!(back(step("health", json!({}))).await, Inverse::NotNeeded);
    assert_eq!(receiver.count(), 0);
    let review = adapter.review(&pause, Mode::Write).unwrap();
    assert!(review.reversible && review.tier == Tier::Write);
    let plan = rig.propose([pause]).await;
    assert_eq!(receiver.last(|came| came.headers["x-dry-run"].clone()), "1");
    assert_eq!(ended(&rig.approve(&plan).await).0, StepStatus::Done);
    assert!(receiver.last(|came| came.headers.get("x-dry-run").is_none()));
    let plan = rig.run(steps).await;
    assert_eq!((ended(&plan).0, plan.steps[0].review.tier), (StepStatus::Done, Tier::Destructive));
    assert_eq!(receiver.last(|came| came.uri.to_string()), "/v1/apps/web/paused?fast=true");
    rig.end().await;
}

#[tokio::test]
async fn a_request_without_a_dry_run_is_shown_and_not_sent_before_its_approval() {
    let (receiver, url) = Receiver::serve().await;
    let rig = Rig::start("http", config(&url, json!({})), Some(KEY)).await;
    let plan = rig
        .propose([step("resume", json!({ "app": "web", "fast": false })), step("jobs", json!({ "app": "web" }))])
        .await;
    let previews: Vec<_> = plan.steps.iter().map(|step| step.dry_run_text.clone().unwrap()).collect();
    assert!(
        previews[0].contains("has no dry-run")
            && previews[0].contains(&format!("DELETE {url}/v1/apps/web/paused?fast=false"))
    );
    assert!(previews[1].contains("only reads"), "{previews:?}");
    assert_eq!(receiver.count(), 0);
    rig.end().await;
}

#[tokio::test]
async fn an_investigation_reads_and_does_nothing_else() {
    let (receiver, url) = Receiver::serve().await;
    let adapter = build(config(&url, json!({})), Some(KEY)).unwrap();
    let read = ReadStep::new(adapter.review(&step("jobs", json!({ "app": "web" })), Mode::Read).unwrap()).unwrap();
    receiver.does(Does::Answers(200, "three, hunter2-hunter2-hunter2"));
    assert_eq!(adapter.read(&cx(), read.clone()).await.unwrap().output, "HTTP 200 OK\nthree, [redacted]");
    assert!(
        receiver
            .last(|came| came.headers.get("idempotency-key").is_none() && came.headers.get("content-type").is_none())
    );
    assert!(ReadStep::new(adapter.review(&scale(), Mode::Write).unwrap()).is_err());
    // One that what is kept of an answer would cut in two.
    let cut: &str = format!("{}{KEY}", "x".repeat(32 * 1024 - 9)).leak();
    receiver.does(Does::Answers(200, cut));
    let said = adapter.read(&cx(), read.clone()).await.unwrap().output;
    assert!(said.len() < 33 * 1024 && !said.contains("hunter2"), "{}", &said[said.len() - 60..]);
    for does in [Does::Answers(500, "no"), Does::Redirects(301), Does::Hangs, Does::NeverEnds, Does::BreaksOff] {
        receiver.does(does.clone());
        let error = adapter.read(&cx(), read.clone()).await.unwrap_err();
        assert_eq!((error.effect, error.outcome_unknown), (Effect::NotStarted, false), "{does:?}: {error}");
    }
    let cancelled = cx();
    cancelled.cancel.cancel();
    receiver.does(Does::Hangs);
    assert!(adapter.read(&cancelled, read).await.unwrap_err().message.contains("cancelled"));
}

#[tokio::test]
async fn each_way_to_sign_in_sends_its_header_and_repeats_it_nowhere() {
    let (receiver, url) = Receiver::serve().await;
    // RFC 7617, section 2.
    for (auth, secret, header, value) in [
        (
            json!({ "type": "basic", "username": "Aladdin" }),
            "open sesame\n",
            "authorization",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        ),
        (json!({ "type": "bearer" }), "open-sesame", "authorization", "Bearer open-sesame"),
        (json!({ "type": "header", "name": "X-Api-Key" }), "open-sesame", "x-api-key", "open-sesame"),
        (
            json!({ "type": "header", "name": "Authorization" }),
            "Token open-sesame",
            "authorization",
            "Token open-sesame",
        ),
    ] {
        receiver.does(Does::Answers(200, "open-sesame QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        let adapter = build(config(&url, json!({ "auth": auth })), Some(secret)).unwrap();
        let report = adapter.check(&cx()).await.unwrap();
        assert!(report.message.contains("health was answered as expected: HTTP 200 OK"), "{report:?}");
        assert!(report.facts["warning"].contains("unencrypted"));
        assert_eq!(receiver.last(|came| came.headers[header].clone()), value, "{auth}");
        let read = adapter.review(&step("health", json!({})), Mode::Read).unwrap();
        let said = adapter.read(&cx(), ReadStep::new(read).unwrap()).await.unwrap();
        assert!(
            !said.output.contains("QWxhZGRpbjpvcGVuIHNlc2FtZQ") || !auth.to_string().contains("basic"),
            "{auth}: {said:?}"
        );
    }
    for secret in ["", "a\r\nb", "\u{7f}x"] {
        let error = build(config(&url, json!({})), Some(secret)).unwrap().check(&cx()).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Unauthorized, "{secret:?}: {error}");
    }
    let nothing = build(config(&url, json!({ "auth": { "type": "none" }, "checkRequest": null })), None).unwrap();
    let before = receiver.count();
    assert!(nothing.check(&cx()).await.unwrap().message.contains("nothing was sent"));
    assert_eq!(receiver.count(), before);
    let empty = build(json!({ "requests": [] }), None).unwrap().check(&cx()).await.unwrap();
    assert!(empty.lack.is_some());
}

#[tokio::test]
async fn a_config_that_cannot_be_meant_is_refused_by_its_field() {
    let marked = |how: &str, name: &str| json!({ "how": how, "name": name, "value": "1", "expect": { "jsonPointer": "/dryRun", "equals": true } });
    let good = config("http://127.0.0.1:9", json!({}));
    build(good.clone(), Some(KEY)).unwrap();
    let changed = |pointer: &str, value: Value| {
        let mut config = good.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[key] = value;
        config
    };
    for (pointer, value, says) in [
        ("/requests/0/url", json!("http://{app}.example/"), "requests[0].url: found a placeholder in the host"),
        (
            "/requests/0/url",
            json!("http://127.0.0.2:9/{app}/{namespace}"),
            "requests[1].url: found http://127.0.0.1:9/ beside another",
        ),
        ("/requests/0/url", json!("http://169.254.169.254/{app}/{namespace}"), "requests[0].url: "),
        ("/requests/0/name", json!("a b"), "requests[0].name: "),
        ("/requests/1/name", json!("scale"), "requests[1].name: found `scale` twice"),
        ("/requests/0/nameParam", json!("workers"), "requests[0].nameParam: "),
        ("/requests/0/namespaceParam", json!("nobody"), "requests[0].namespaceParam: "),
        ("/requests/0/targetKind", json!(" "), "requests[0].targetKind: "),
        ("/requests/0/tier", json!("harmless"), "tier: unknown variant `harmless`"),
        ("/requests/0/method", json!("TRACE"), "method: unknown variant `TRACE`"),
        ("/requests/0/extra", json!(1), "unknown field `extra`"),
        ("/requests/0/headers", json!({ "Cookie": "a" }), "requests[0].headers: "),
        ("/requests/0/tier", json!("read"), "requests[0].tier: found `read` for POST; `read` is accepted for GET only"),
        ("/requests/1/tier", json!("read"), "requests[1].tier: found `read` for PUT"),
        ("/requests/2/tier", json!("read"), "requests[2].tier: found `read` for DELETE"),
        ("/requests/0/dryRun", marked("query", "reason"), "requests[0].dryRun.name: "),
        ("/requests/0/dryRun", marked("header", "X-Team"), "requests[0].dryRun.name: "),
        ("/requests/0/dryRun", marked("header", "Authorization"), "requests[0].dryRun: "),
        ("/requests/0/dryRun", json!({ "how": "query", "name": "dry", "value": "1" }), "missing field `expect`"),
        ("/requests/0/dryRun/expect", json!({ "jsonPointer": "/dryRun" }), "missing field `equals`"),
        ("/requests/0/dryRun/expect/equals", json!(null), "requests[0].dryRun.expect.equals: "),
        ("/requests/0/dryRun/expect/jsonPointer", json!(""), "requests[0].dryRun.expect.jsonPointer: "),
        (
            "/requests/0/dryRun/expect",
            json!({ "jsonPointer": "/status", "equals": "done" }),
            "requests[0].dryRun.expect: found the same as `expect`",
        ),
        ("/requests/0/tier", json!("destructive"), "requests[0].dryRun: found for a request of the tier `destructive`"),
        ("/requests/2/dryRun", marked("query", "dry"), "requests[2].dryRun: found for a request of the tier `destr"),
        ("/requests/0/expect", json!({ "status": [99] }), "requests[0].expect.status: "),
        ("/requests/0/expect", json!({ "notStartedStatus": [204] }), "requests[0].expect.notStartedStatus: "),
        ("/requests/0/expect", json!({ "equals": 1 }), "requests[0].expect.equals: "),
        ("/requests/0/expect", json!({ "jsonPointer": "status" }), "requests[0].expect.jsonPointer: "),
        ("/requests/1/inverse", json!({ "request": "none" }), "requests[1].inverse.request: found `none`; accepted: "),
        (
            "/requests/1/inverse",
            json!({ "request": "resume", "params": { "app": "{app}" } }),
            "requests[1].inverse.params: found app; all of app, fast",
        ),
        (
            "/requests/1/inverse",
            json!({ "request": "resume", "params": { "app": "{x}", "fast": true } }),
            "requests[1].inverse.params.app: ",
        ),
        (
            "/requests/1/inverse",
            json!({ "request": "resume", "params": { "app": "{app}", "fast": 1 } }),
            "requests[1].inverse.params.fast: ",
        ),
        ("/checkRequest", json!("scale"), "checkRequest: "),
        ("/checkRequest", json!("jobs"), "checkRequest: "),
        ("/timeoutSec", json!(0), "timeoutSec: "),
        ("/auth", json!({ "type": "basic", "username": "a:b" }), "auth.username: "),
        ("/auth", json!({ "type": "header", "name": "Host" }), "auth.name: "),
        ("/auth", json!({ "type": "header", "name": "X-Team" }), "requests[0].headers: "),
    ] {
        let error = build(changed(pointer, value.clone()), Some(KEY))
            .err()
            .unwrap_or_else(|| panic!("{pointer} {value} passes"));
        assert!(error.contains(says), "{pointer} {value}: {error}");
    }
}
