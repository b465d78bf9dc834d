//! The Alertmanager datasource against a real Alertmanager, and against servers that misbehave.
#![allow(clippy::disallowed_methods, reason = "tests find and start a real Alertmanager, and post alerts of today")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use chrono::{SubsecRound, TimeDelta, Utc};
use rounds_connectors::alertmanager::{Alertmanager, AlertmanagerConfig};
use rounds_core::Timestamp;
use rounds_core::plugin::{BuildContext, Host, Outbound, Registry};
use rounds_core::ports::{CallContext, DataSet, Datasource, PortError, PortErrorKind, Query, SecretHandle};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

fn datasource(config: Value) -> Alertmanager {
    let config: AlertmanagerConfig = serde_json::from_value(config).expect("a config");
    let host = Host { outbound: Outbound::loopback(), ..Host::default() };
    Alertmanager::new(BuildContext::new("alerts", SecretHandle::none(), Arc::new(host)), config).expect("a datasource")
}

fn cx() -> CallContext {
    CallContext::with_timeout(Duration::from_secs(20))
}

async fn ask(url: &str, expr: &str) -> Result<DataSet, PortError> {
    let query = Query::Instant { expr: expr.into(), at: None };
    datasource(json!({ "url": url })).query(&cx(), &query).await
}

/// Debian's Alertmanager on a loopback port, alone, ended by its own process id.
pub(crate) struct RealAlertmanager {
    child: Child,
    pub(crate) url: String,
    _dir: tempfile::TempDir,
}

impl Drop for RealAlertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin".into(), "/usr/local/bin".into()])
        .flat_map(|dir| ["prometheus-alertmanager", "alertmanager"].map(|name| dir.join(name)))
        .find(|file| file.is_file())
        .expect("no `prometheus-alertmanager` on PATH: `apt-get install prometheus-alertmanager` provides it")
}

impl RealAlertmanager {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("alertmanager.yml");
        std::fs::write(&config, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n").expect("write the config");
        let port = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("its address").port();
        let log = std::fs::File::create(dir.path().join("log")).expect("a log file");
        let child = Command::new(binary())
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--web.route-prefix=/alertmanager")
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start alertmanager");
        let mut server = Self { child, url: format!("http://127.0.0.1:{port}/alertmanager"), _dir: dir };
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = server.child.try_wait().expect("its status") {
                let log = std::fs::read_to_string(server._dir.path().join("log")).unwrap_or_default();
                panic!("alertmanager ended with {status}:\n{log}");
            }
            match ask(&server.url, "ALERTS").await {
                Ok(_) => return server,
                last => assert!(Instant::now() < deadline, "no answer within 60 s: {last:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Posts through its API.
    async fn post(&self, path: &str, body: Value) -> Value {
        let address = self.url.trim_start_matches("http://").split('/').next().expect("an address");
        let body = body.to_string();
        let head = format!(
            "POST /alertmanager/api/v2/{path} HTTP/1.0\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        let mut socket = TcpStream::connect(address).await.expect("it listens");
        socket.write_all(format!("{head}{body}").as_bytes()).await.expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("an answer");
        let (head, text) = answer.split_once("\r\n\r\n").expect("a whole answer");
        assert!(head.lines().next().is_some_and(|line| line.contains(" 200 ")), "{answer}");
        serde_json::from_str(text).unwrap_or_default()
    }

    pub(crate) async fn alert(&self, labels: Value, starts_at: Timestamp) {
        let annotations = json!({ "summary": "a \"quoted\" line\nand a second" });
        self.post("alerts", json!([{ "labels": labels, "annotations": annotations, "startsAt": starts_at }])).await;
    }
}

/// What is selected, once it is as many as that: Alertmanager takes a moment to say what is suppressed.
pub(crate) async fn once(url: &str, expr: &str, count: usize) -> DataSet {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let set = ask(url, expr).await.expect("an answer");
        if set.series.len() == count {
            return set;
        }
        assert!(Instant::now() < deadline, "{expr}: {count} were expected, found {set:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn names(set: &DataSet) -> Vec<&str> {
    set.series.iter().map(|series| series.labels["alertname"].as_str()).collect()
}

#[tokio::test]
async fn a_real_alertmanager_tells_what_fires_what_is_silenced_and_since_when() {
    let server = RealAlertmanager::start().await;
    let now = Utc::now().trunc_subsecs(3);
    let ago = |minutes| now - TimeDelta::minutes(minutes);
    let slow = json!({ "alertname": "Slow", "namespace": "shop", "severity": "warning", "path": "C:\\a \"b\"" });
    server.alert(slow, ago(10)).await;
    server.alert(json!({ "alertname": "Errors", "namespace": "shop", "severity": "critical" }), ago(90)).await;
    server.alert(json!({ "alertname": "NoMoney", "namespace": "bank" }), ago(5)).await;
    server.alert(json!({ "alertname": "NodeDown", "node": "n1" }), ago(5)).await;

    let report = datasource(json!({ "url": server.url })).check(&cx()).await.expect("the check");
    assert!(report.facts["version"].starts_with(|c: char| c.is_ascii_digit()), "{report:?}");
    assert_eq!(report.facts["alerts"], "4", "{report:?}");

    let all = once(&server.url, "ALERTS", 4).await;
    assert_eq!(names(&all), ["Errors", "NoMoney", "NodeDown", "Slow"]);
    let errors = &all.series[0];
    assert_eq!((errors.labels["__name__"].as_str(), errors.labels["alertstate"].as_str()), ("ALERTS", "firing"));
    assert_eq!(errors.points[0].value, 1.0);
    for (expr, expected) in [
        (r#"ALERTS{namespace="shop"}"#, vec!["Errors", "Slow"]),
        (r#"{__name__="ALERTS", namespace="shop", severity!="warning"}"#, vec!["Errors"]),
        (r#"ALERTS{namespace=~"shop|bank", alertname!~"S.*"}"#, vec!["Errors", "NoMoney"]),
        (r#"ALERTS{namespace=""}"#, vec!["NodeDown"]),
        (r#"ALERTS{path="C:\\a \"b\""}"#, vec!["Slow"]),
        (r#"ALERTS{alertstate="suppressed"}"#, vec![]),
        (r#"ALERTS{namespace="none"}"#, vec![]),
    ] {
        assert_eq!(names(&ask(&server.url, expr).await.expect(expr)), expected, "{expr}");
    }

    let silence = json!({ "matchers": [{ "name": "namespace", "value": "sh.p", "isRegex": true, "isEqual": true }],
        "startsAt": now, "endsAt": now + TimeDelta::hours(1), "createdBy": "ada", "comment": "deploying\nweb" });
    let silence = server.post("silences", silence).await["silenceID"].as_str().expect("an id").to_owned();
    let suppressed = once(&server.url, r#"ALERTS{alertstate="suppressed"}"#, 2).await;
    assert_eq!(names(&suppressed), ["Errors", "Slow"]);
    let firing = ask(&server.url, r#"ALERTS{alertstate="firing"}"#).await.expect("an answer");
    assert_eq!(names(&firing), ["NoMoney", "NodeDown"]);

    // What a real one refuses, it says in its own words; ours are refused before.
    let end = Utc::now() + TimeDelta::minutes(1);
    let changes =
        |namespace: Option<&str>| Query::Changes { start: ago(60), end, namespace: namespace.map(str::to_owned) };
    let lines = async |config: Value, query: Query| {
        let set = datasource(config).query(&cx(), &query).await.expect("changes");
        assert!(set.warnings[0].contains("forgets"), "{set:?}");
        set.lines
    };
    let shop = lines(json!({ "url": server.url }), changes(Some("shop"))).await;
    let texts: Vec<&str> = shop.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts.len(), 2, "what began before is not among them: {texts:?}");
    assert_eq!(
        texts[0], "alert Slow began (severity warning), silenced now: a \"quoted\" line and a second",
        "one line, whatever it says"
    );
    assert_eq!(shop[0].at, ago(10));
    assert!(texts[1].starts_with(r#"silence of {namespace=~"sh.p"} began, until "#), "{texts:?}");
    assert!(texts[1].ends_with(r#"by "ada": "deploying web""#), "{texts:?}");
    assert_eq!(shop[1].labels["silence"], silence);
    let bank = lines(json!({ "url": server.url }), changes(Some("bank"))).await;
    assert_eq!(bank.len(), 1, "{bank:?}");
    let narrowed = json!({ "url": server.url, "matchers": [r#"namespace=~"sh.*""#, r#"severity!="critical""#] });
    assert_eq!(lines(narrowed, changes(None)).await.iter().filter(|line| line.text.starts_with("alert")).count(), 1);

    let few = datasource(json!({ "url": server.url, "maxAlerts": 1 }));
    let set = few.query(&cx(), &Query::Instant { expr: "ALERTS".into(), at: None }).await.expect("an answer");
    assert!(set.truncated && set.series.len() == 1 && set.warnings[0].contains("4 were found"), "{set:?}");
}

#[tokio::test]
async fn what_alertmanager_cannot_know_is_refused_before_it_is_asked() {
    let (start, end) = (Utc::now() - TimeDelta::hours(1), Utc::now());
    let instant = |expr: &str, at| Query::Instant { expr: expr.into(), at };
    for (query, word) in [
        (instant("count(ALERTS)", None), "selector of alerts"),
        (instant("up", None), "another name"),
        (instant("ALERTS", Some(start)), "only what fires now"),
        (Query::Range { expr: "ALERTS".into(), start, end, step: Duration::from_secs(60) }, "no history"),
        (Query::Logs { expr: "{}".into(), start, end, limit: 1 }, "logs"),
        (Query::Changes { start: end, end: start, namespace: None }, "ends before it starts"),
    ] {
        // Nobody listens there.
        let error = datasource(json!({ "url": "http://127.0.0.1:1" })).query(&cx(), &query).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Invalid, "{query:?}: {error}");
        assert!(error.message.contains(word), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_filter_or_answers_something_else_is_not_believed() {
    type Answer = fn() -> axum::response::Response;
    async fn serve(answer: Answer) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("its address");
        let app = Router::new().fallback(move || async move { answer() });
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}")
    }
    let everything: Answer = || {
        let body = r#"[{"labels":{"alertname":"A","namespace":"bank"},"annotations":{},"startsAt":"2026-01-01T00:00:00Z",
            "status":{"state":"active","silencedBy":[],"inhibitedBy":[]}},
            {"labels":{"alertname":"B","namespace":"shop"},"startsAt":"2026-01-01T00:00:00Z","status":{"state":"unprocessed"}}]"#;
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    };
    let url = serve(everything).await;
    assert_eq!(names(&ask(&url, r#"ALERTS{namespace="shop"}"#).await.expect("an answer")), ["B"]);

    let refusing: Answer = || {
        (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/json")], r#""bad matcher format: x""#)
            .into_response()
    };
    let broken: Answer = || ([(header::CONTENT_TYPE, "application/json")], r#"{"alerts":1}"#).into_response();
    let page: Answer = || axum::response::Html("Sign in").into_response();
    let gone: Answer = || StatusCode::BAD_GATEWAY.into_response();
    let secret: Answer = || StatusCode::FORBIDDEN.into_response();
    for (answer, kind, word) in [
        (refusing, PortErrorKind::Invalid, "bad matcher format"),
        (broken, PortErrorKind::Protocol, "/api/v2/alerts"),
        (page, PortErrorKind::Protocol, "text/html"),
        (gone, PortErrorKind::Unavailable, "502"),
        (secret, PortErrorKind::Unauthorized, "credentials were refused"),
    ] {
        let error = ask(&serve(answer).await, "ALERTS").await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(word), "{error}");
    }
}

#[tokio::test]
async fn rule_11_configs_that_are_not_understood_are_refused() {
    let registry = Registry::linked().expect("no duplicates");
    for (config, word) in [
        (json!({}), "url"),
        (json!({ "url": "http://a/api/v2" }), "leave it out"),
        (json!({ "url": "http://a", "matcher": [] }), "unknown field `matcher`"),
        (json!({ "url": "http://a", "matchers": ["severity"] }), "matchers: "),
        (json!({ "url": "http://a", "matchers": ["alertstate=\"firing\""] }), "matchers: "),
        (json!({ "url": "http://a", "maxAlerts": 0 }), "maxAlerts"),
    ] {
        let error = registry.check("alertmanager", &config).unwrap_err().to_string();
        assert!(error.contains(word), "{config}: {error}");
    }
}

#[tokio::test]
async fn of_many_silences_the_latest_are_looked_at_and_it_is_said() {
    let at = |second: usize| format!("2026-01-01T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60);
    let silences = |count: usize| -> Value {
        let silence = |number: usize| {
            json!({ "id": format!("s{number}"), "startsAt": at(number), "endsAt": "2026-02-01T00:00:00Z",
                "createdBy": "ada", "comment": "", "status": { "state": "active" },
                "matchers": [{ "name": "namespace", "value": format!("shop|x{number}"), "isRegex": true, "isEqual": true }] })
        };
        (0..count).map(silence).collect()
    };
    for (count, first, cut) in [(2_000, "s0", false), (2_500, "s500", true)] {
        let silences = silences(count);
        let app = Router::new()
            .route("/api/v2/alerts", axum::routing::get(async || axum::Json(json!([]))))
            .route("/api/v2/silences", axum::routing::get(move || async move { axum::Json(silences) }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let query = Query::Changes {
            start: "2026-01-01T00:00:00Z".parse().expect("a time"),
            end: "2026-01-02T00:00:00Z".parse().expect("a time"),
            namespace: Some("shop".into()),
        };
        let datasource = datasource(json!({ "url": url, "maxAlerts": 5_000 }));
        let set = datasource.query(&cx(), &query).await.expect("an answer");
        assert_eq!((set.lines.len(), set.lines[0].labels["silence"].as_str()), (2_000, first));
        assert_eq!(
            set.warnings.iter().any(|said| said.contains("only the 2000 that began last")),
            cut,
            "{:?}",
            set.warnings
        );
        assert_eq!(set.truncated, cut);
    }
}
