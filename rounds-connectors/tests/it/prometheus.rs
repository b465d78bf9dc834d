//! The Prometheus datasource against a real Prometheus, and against servers that misbehave.
#![allow(clippy::disallowed_methods, reason = "tests find and start a real Prometheus")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use rounds_connectors::prometheus::{Prometheus, PrometheusConfig};
use rounds_core::plugin::{BuildContext, Host, Outbound, Registry};
use rounds_core::ports::{CallContext, DataSet, Datasource, PortError, PortErrorKind, Query, SecretHandle};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn datasource_with(config: Value, secret: SecretHandle) -> Prometheus {
    let config: PrometheusConfig = serde_json::from_value(config).expect("a config");
    Prometheus::new(
        BuildContext::new("metrics", secret, Arc::new(Host { outbound: Outbound::loopback(), ..Host::default() })),
        config,
    )
    .expect("a datasource")
}

fn datasource(url: &str) -> Prometheus {
    datasource_with(json!({ "url": url }), SecretHandle::none())
}

fn cx() -> CallContext {
    CallContext::with_timeout(Duration::from_secs(20))
}

fn instant(expr: &str) -> Query {
    Query::Instant { expr: expr.into(), at: None }
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

// ---------------------------------------------------------------------------------------------------------
// A real Prometheus
// ---------------------------------------------------------------------------------------------------------

const METRICS: &str = "\
# TYPE demo_requests_total counter
demo_requests_total{namespace=\"shop\",deployment=\"web\",code=\"200\"} 41
demo_requests_total{namespace=\"shop\",deployment=\"web\",code=\"500\"} 7
demo_requests_total{namespace=\"shop\",deployment=\"api\",code=\"200\"} 3
# TYPE demo_quote gauge
demo_quote{text=\"a \\\"quoted\\\" line\\nand a second\"} 1.5
";

/// Debian's Prometheus on a loopback port, with data in a directory of its own, ended by its own process id.
pub(crate) struct RealPrometheus {
    child: Child,
    pub(crate) url: String,
    _dir: tempfile::TempDir,
}

impl Drop for RealPrometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn prometheus_binary() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin".into(), "/usr/local/bin".into()])
        .map(|dir| dir.join("prometheus"))
        .find(|file| file.is_file())
        .expect("no `prometheus` on PATH: this test talks to a real one; `apt-get install prometheus` provides it")
}

impl RealPrometheus {
    pub(crate) async fn start() -> Self {
        let target = serve(Router::new().route("/metrics", get(|| async { METRICS }))).await;
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("prometheus.yml");
        std::fs::write(
            &config,
            format!(
                "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n\
                 - {{job_name: demo, honor_labels: true, static_configs: [{{targets: ['{target}']}}]}}\n"
            ),
        )
        .expect("write the config");
        let port = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("its address").port();
        let log = std::fs::File::create(dir.path().join("log")).expect("a log file");
        let child = Command::new(prometheus_binary())
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start prometheus");
        let mut server = Self { child, url: format!("http://127.0.0.1:{port}"), _dir: dir };
        let source = datasource(&server.url);
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = server.child.try_wait().expect("its status") {
                let log = std::fs::read_to_string(server._dir.path().join("log")).unwrap_or_default();
                panic!("prometheus ended with {status}:\n{log}");
            }
            // Two samples of each series, so that rates exist.
            let ready = source.query(&cx(), &instant("count_over_time(demo_quote[1m]) >= 2")).await;
            match ready {
                Ok(set) if !set.series.is_empty() => return server,
                last => assert!(Instant::now() < deadline, "prometheus scraped nothing within 60 s: {last:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn a_real_prometheus_answers_every_kind_of_query() {
    let server = RealPrometheus::start().await;
    let source = datasource(&server.url);

    let report = source.check(&cx()).await.expect("the check");
    assert!(report.message.contains("answers queries: version "), "{report:?}");
    assert!(report.facts["version"].starts_with(|c: char| c.is_ascii_digit()), "{report:?}");

    let set = source.query(&cx(), &instant("demo_requests_total")).await.expect("a vector");
    let found: Vec<_> = set
        .series
        .iter()
        .map(|series| (series.labels["code"].as_str(), series.labels["deployment"].as_str(), series.points[0].value))
        .collect();
    assert_eq!(found, [("200", "api", 3.0), ("200", "web", 41.0), ("500", "web", 7.0)], "in order of labels");
    assert_eq!(set.series[0].labels["__name__"], "demo_requests_total");
    assert!(!set.truncated && set.warnings.is_empty());

    let set = source.query(&cx(), &instant("demo_quote")).await.expect("a label with quotes");
    assert_eq!(set.series[0].labels["text"], "a \"quoted\" line\nand a second");

    for (expr, expected) in [("1 / 0", f64::INFINITY), ("-1 / 0", f64::NEG_INFINITY), ("0.1 + 0.2", 0.1 + 0.2)] {
        let set = source.query(&cx(), &instant(expr)).await.expect("a scalar");
        assert_eq!(set.series[0].points[0].value.to_bits(), expected.to_bits(), "{expr}");
    }
    let set = source.query(&cx(), &instant("vector(0 / 0)")).await.expect("NaN");
    assert!(set.series[0].points[0].value.is_nan());
    let set = source.query(&cx(), &instant("\"hello\"")).await.expect("a string");
    assert_eq!(set.lines[0].text, "hello");
    let set = source.query(&cx(), &instant("nothing_of_this_name")).await.expect("an empty answer is an answer");
    assert_eq!(set, DataSet::default());

    let names = source.query(&cx(), &Query::Labels { label: None, matchers: vec!["demo_quote".into()] }).await;
    assert_eq!(names.expect("names").names, ["__name__", "instance", "job", "text"]);
    let values = Query::Labels { label: Some("code".into()), matchers: Vec::new() };
    assert_eq!(source.query(&cx(), &values).await.expect("values").names, ["200", "500"]);
}

#[tokio::test]
async fn times_go_to_a_real_prometheus_and_come_back_exactly() {
    let server = RealPrometheus::start().await;
    let source = datasource(&server.url);
    let at = rounds_core::Timestamp::from_timestamp_millis(1_785_424_739_123).expect("a time");

    let set = source.query(&cx(), &Query::Instant { expr: "time()".into(), at: Some(at) }).await.expect("a scalar");
    assert_eq!(set.series[0].points[0].at, at);
    assert_eq!(set.series[0].points[0].value, 1_785_424_739.123);

    let end = at + chrono::TimeDelta::milliseconds(1_500);
    let range = |end, step| Query::Range { expr: "vector(time())".into(), start: at, end, step };
    let set = source.query(&cx(), &range(end, Duration::from_millis(500))).await.expect("a matrix");
    let times: Vec<_> = set.series[0].points.iter().map(|point| (point.at - at).num_milliseconds()).collect();
    assert_eq!(times, [0, 500, 1_000, 1_500]);

    // Our bound and the server's are the same one: the largest range we let pass is answered.
    let step = Duration::from_secs(1);
    let fits = source.query(&cx(), &range(at + chrono::TimeDelta::seconds(10_999), step)).await.expect("11000 points");
    assert_eq!(fits.series[0].points.len(), 11_000);
    let error = source.query(&cx(), &range(at + chrono::TimeDelta::seconds(11_000), step)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Invalid);
}

#[tokio::test]
async fn what_a_real_prometheus_refuses_is_said_in_its_own_words() {
    let server = RealPrometheus::start().await;
    let source = datasource(&server.url);

    let error = source.query(&cx(), &instant("sum(rate(demo_requests_total[5m])")).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Invalid);
    assert!(error.message.contains("unclosed left parenthesis"), "{error}");
    let many = "demo_requests_total * on() demo_requests_total";
    let error = source.query(&cx(), &instant(many)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Invalid, "{error}");
    assert!(!error.is_transient());

    let missing = datasource(&format!("{}/no/such/prefix", server.url));
    let error = missing.query(&cx(), &instant("1")).await.unwrap_err();
    assert!(error.message.contains("/no/such/prefix/api/v1/query"), "{error}");
    assert!(error.message.contains("path prefix"), "{error}");

    let url = server.url.clone();
    drop(server);
    let error = datasource(&url).query(&cx(), &instant("1")).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unavailable);
    assert!(error.message.contains("refused"), "{error}");
}

// ---------------------------------------------------------------------------------------------------------
// Servers that misbehave
// ---------------------------------------------------------------------------------------------------------

const ONE: &str =
    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1,"1"]}]}}"#;

fn json_answer(status: u16, body: impl Into<Body>) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    (status, [(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

/// A server that answers everything in one way; the URL to configure, and what it is asked.
async fn always(answer: impl Fn(&Request) -> Response + Clone + Send + Sync + 'static) -> String {
    let app = Router::new().fallback(any(move |request: Request| {
        let answer = answer.clone();
        async move { answer(&request) }
    }));
    format!("http://{}", serve(app).await)
}

async fn ask(url: &str) -> Result<DataSet, PortError> {
    datasource(url).query(&cx(), &instant("up")).await
}

#[tokio::test]
async fn a_failing_server_is_transient_and_a_refused_query_is_not() {
    let cases = [
        (500, r#"{"status":"error","errorType":"internal","error":"boom"}"#, PortErrorKind::Unavailable, "boom"),
        (503, r#"{"status":"error","errorType":"timeout","error":"too slow"}"#, PortErrorKind::Timeout, "too slow"),
        (503, r#"{"status":"error","errorType":"unavailable","error":"starting"}"#, PortErrorKind::Unavailable, "star"),
        (422, r#"{"status":"error","errorType":"execution","error":"many-to-many"}"#, PortErrorKind::Invalid, "many"),
        (400, r#"{"status":"error","errorType":"bad_data","error":"parse"}"#, PortErrorKind::Invalid, "parse"),
        (401, r#"{"status":"error","errorType":"unauthorized","error":"who?"}"#, PortErrorKind::Unauthorized, "who?"),
        (403, "", PortErrorKind::Unauthorized, "credentials were refused"),
        (502, "", PortErrorKind::Unavailable, "502"),
        (429, "", PortErrorKind::RateLimited, "429"),
        (200, r#"{"status":"error","errorType":"bad_data","error":"odd"}"#, PortErrorKind::Invalid, "odd"),
    ];
    for (status, body, kind, word) in cases {
        let url = always(move |_| json_answer(status, body)).await;
        let error = ask(&url).await.unwrap_err();
        assert_eq!(error.kind, kind, "{status} {body}: {error}");
        assert!(error.message.contains(word), "{status} {body}: {error}");
    }
}

#[tokio::test]
async fn a_page_instead_of_json_names_the_type_and_the_path() {
    let page = "<html><body>Sign in, please</body></html>";
    let url = always(move |_| ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()).await;
    let error = ask(&format!("{url}/metrics")).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Protocol);
    assert!(error.message.contains("text/html"), "{error}");
    assert!(error.message.contains("/metrics/api/v1/query"), "{error}");
    assert!(!error.message.contains("Sign in"), "a page is not quoted: {error}");
}

#[tokio::test]
async fn malformed_json_is_a_protocol_error_that_says_where() {
    for body in [
        r#"{"status":"success","data":{"resultType":"vec"#,
        r#"{"status":"success"}"#,
        "[]",
        "",
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"x"]}]}}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1e300,"1"]}]}}"#,
    ] {
        let url = always(move |_| json_answer(200, body)).await;
        let error = ask(&url).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Protocol, "{body}: {error}");
        assert!(error.message.contains("/api/v1/query"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_over_the_bound_is_refused_while_it_streams() {
    // Without a length, endless: only reading in bounds ends this test.
    let endless = || Body::from_stream(futures::stream::repeat_with(|| Ok::<_, std::io::Error>("x".repeat(65_536))));
    let url = always(move |_| json_answer(200, endless())).await;
    let error = ask(&url).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Protocol);
    assert!(error.message.contains("maxBodyBytes"), "{error}");
    assert!(error.message.contains("sum by"), "{error}");
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"status\":";
            let _ = socket.write_all(head.as_bytes()).await;
        }
    });
    let error = ask(&url).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unavailable);
    assert!(error.message.contains("cut off after 10 bytes"), "{error}");
}

#[tokio::test]
async fn a_slow_server_ends_at_the_deadline_and_a_cancelled_caller_at_once() {
    let app = Router::new().fallback(any(std::future::pending::<&'static str>));
    let url = format!("http://{}", serve(app).await);
    let source = datasource(&url);

    let started = Instant::now();
    let short = CallContext::with_timeout(Duration::from_millis(200));
    let error = source.query(&short, &instant("up")).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Timeout);
    assert!(started.elapsed() < Duration::from_secs(5));

    let cx = cx();
    cx.cancel.cancel();
    let error = source.query(&cx, &instant("up")).await.unwrap_err();
    assert!(error.message.contains("cancelled"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn rule_12_credentials_do_not_follow_a_redirect() {
    let (asked, mut elsewhere) = tokio::sync::mpsc::unbounded_channel();
    let thief = always(move |_| {
        let _ = asked.send(());
        json_answer(200, ONE)
    })
    .await;
    for status in [301_u16, 302, 307, 308] {
        let to = format!("{thief}/api/v1/query?token=x");
        let url = always(move |_| {
            let status = StatusCode::from_u16(status).expect("a status");
            (status, [(header::LOCATION, to.clone())]).into_response()
        })
        .await;
        let config = json!({ "url": url, "auth": { "type": "bearer" } });
        let source = datasource_with(config, SecretHandle::inline("hunter2".into()));
        let error = source.query(&cx(), &instant("up")).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Protocol);
        assert!(error.message.contains(&thief) && !error.message.contains("token=x"), "{error}");
    }
    assert!(elsewhere.try_recv().is_err(), "the other host was asked");
}

async fn headers_seen(config: Value, secret: SecretHandle) -> HeaderMap {
    let (seen, mut headers) = tokio::sync::mpsc::unbounded_channel();
    let url = always(move |request| {
        let _ = seen.send(request.headers().clone());
        json_answer(200, ONE)
    })
    .await;
    let mut config = config;
    config["url"] = json!(url);
    datasource_with(config, secret).query(&cx(), &instant("up")).await.expect("an answer");
    headers.recv().await.expect("a request")
}

#[tokio::test]
async fn each_way_to_sign_in_sends_what_it_should_and_nothing_else() {
    let secret = |text: &str| SecretHandle::inline(text.into());
    let seen = headers_seen(json!({ "headers": { "X-Scope-OrgID": "tenant" } }), secret("unused")).await;
    assert_eq!(seen["x-scope-orgid"], "tenant");
    assert!(seen.get(header::AUTHORIZATION).is_none());

    let seen = headers_seen(json!({ "auth": { "type": "basic", "username": "me" } }), secret("a:b\n")).await;
    assert_eq!(seen[header::AUTHORIZATION], "Basic bWU6YTpi");
    let seen = headers_seen(json!({ "auth": { "type": "bearer" } }), secret("token\n")).await;
    assert_eq!(seen[header::AUTHORIZATION], "Bearer token");
    let seen = headers_seen(json!({ "auth": { "type": "headers" } }), secret(r#"{"X-Api-Key":"k"}"#)).await;
    assert_eq!(seen["x-api-key"], "k");

    for auth in [json!({ "type": "bearer" }), json!({ "type": "basic", "username": "u" }), json!({ "type": "headers" })]
    {
        let source = datasource_with(json!({ "url": "http://127.0.0.1:1", "auth": auth }), SecretHandle::none());
        let error = source.query(&cx(), &instant("up")).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Unauthorized, "{auth}: {error}");
    }
}

#[tokio::test]
async fn rule_12_no_error_and_no_debug_repeats_the_secret() {
    let reflect = |request: &Request| {
        let sent = request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
        let error = format!("refused {} (hunter2)", sent.unwrap_or_default());
        json_answer(400, json!({ "status": "error", "errorType": "bad_data", "error": error }).to_string())
    };
    let url = always(reflect).await;
    for auth in [json!({ "type": "bearer" }), json!({ "type": "basic", "username": "u" })] {
        let source = datasource_with(json!({ "url": url, "auth": auth }), SecretHandle::inline("hunter2".into()));
        assert!(!format!("{source:?}").contains("hunter2"));
        let error = source.query(&cx(), &instant("up")).await.unwrap_err();
        assert!(error.message.contains("refused") && !error.message.contains("hunter2"), "{error}");
        assert!(!error.message.contains("dTpodW50ZXIy"), "base64 hides nothing: {error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    let registry = Registry::linked().expect("no duplicates");
    let leaky = [
        json!({ "url": "http://me:hunter2@prometheus" }),
        json!({ "url": "http://prometheus", "headers": { "Authorization": "Bearer hunter2" } }),
        json!({ "url": "http://prometheus", "headers": { "X-Key": "hunter2\n" } }),
        json!({ "url": "http://[hunter2" }),
    ];
    for config in leaky {
        let error = registry.check("prometheus", &config).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_post_is_asked_with_get() {
    let url = always(|request| {
        if request.method() == Method::POST {
            return StatusCode::METHOD_NOT_ALLOWED.into_response();
        }
        assert_eq!(request.uri().query(), Some("query=up"));
        json_answer(200, ONE)
    })
    .await;
    assert_eq!(ask(&url).await.expect("an answer").series.len(), 1);
}

#[tokio::test]
async fn warnings_and_infos_are_passed_on() {
    let body = r#"{"status":"success","warnings":["slow store"],"infos":["not a counter"],
                   "data":{"resultType":"vector","result":[]}}"#;
    let url = always(move |_| json_answer(200, body)).await;
    assert_eq!(ask(&url).await.expect("an answer").warnings, ["slow store", "not a counter"]);
}

#[tokio::test]
async fn a_server_without_build_information_passes_the_check() {
    let url = always(|request| match request.uri().path() {
        "/prefix/api/v1/query" => {
            json_answer(200, r#"{"status":"success","data":{"resultType":"scalar","result":[1785424739,"1"]}}"#)
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    let report = datasource(&format!("{url}/prefix/")).check(&cx()).await.expect("the check");
    assert!(report.message.contains("does not tell its version"), "{report:?}");
}

#[tokio::test]
async fn rule_11_configs_that_are_not_understood_are_refused() {
    let registry = Registry::linked().expect("no duplicates");
    let cases = [
        (json!({ "url": "http://p", "adress": "x" }), "unknown field `adress`"),
        (json!({ "url": "http://p", "auth": { "type": "kerberos" } }), "`none`"),
        (json!({ "url": "http://p", "auth": { "type": "bearer", "token": "x" } }), "unknown field `token`"),
        (json!({ "url": "ftp://p" }), "http://"),
        (json!({ "url": "http://p/api/v1" }), "leave it out"),
        (json!({ "url": "http://p?x=1" }), "found `?`"),
        (json!({ "url": "http://p", "timeoutSec": 0 }), "timeoutSec"),
        (json!({ "url": "http://p", "maxBodyBytes": 10 }), "maxBodyBytes"),
    ];
    for (config, word) in cases {
        let error = registry.check("prometheus", &config).unwrap_err().to_string();
        assert!(error.contains(word), "{config}: {error}");
    }
    let full = json!({ "url": "https://p/x/", "auth": { "type": "basic", "username": "u" }, "timeoutSec": 5,
        "headers": BTreeMap::from([("X-Scope-OrgID", "1")]), "maxSeries": 1, "maxSamples": 1, "maxBodyBytes": 4096 });
    registry.check("prometheus", &full).expect("a full config");
}

#[tokio::test]
async fn https_is_trusted_by_the_configured_authority_and_by_no_other() {
    let server = rounds_sandbox::Sandbox::builder().start().await.expect("a TLS server");
    let certificate = server.certificate().expect("its certificate");
    let config = json!({ "url": server.api_url(), "caCertificate": certificate });
    let error = datasource_with(config, SecretHandle::none()).query(&cx(), &instant("up")).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unauthorized, "it was reached, and wants a token: {error}");

    let error = datasource(server.api_url()).query(&cx(), &instant("up")).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unavailable);
    assert!(error.message.contains("certificate"), "{error}");
    server.shutdown().await;
}
