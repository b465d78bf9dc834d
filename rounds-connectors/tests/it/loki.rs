//! The Loki datasource against a server that answers as Loki does, and an investigation that reads logs through it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query as Parameters, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rounds_connectors::loki::{Loki, LokiConfig};
use rounds_core::access::{OrgRole, Principal};
use rounds_core::agent::{AgentSettings, OrchestratorAgent};
use rounds_core::plugin::{BuildContext, Host, Outbound, Registration, Registry};
use rounds_core::ports::{CallContext, DataSet, Datasource, Message, PortError, PortErrorKind, Query, SecretHandle};
use rounds_core::service::ConnectorDraft;
use rounds_core::testing::{MemoryStore, ScriptedModel, StaticIdentity};
use rounds_core::{OrgId, Rounds, Timestamp};
use serde_json::{Value, json};
use tokio::net::TcpListener;

// ---------------------------------------------------------------------------------------------------------
// A server that answers as Loki 3 does, as far as queries for lines and labels go
// ---------------------------------------------------------------------------------------------------------

pub(crate) type Labels = BTreeMap<String, String>;

#[derive(Clone)]
pub(crate) struct Fake {
    /// Tenant, labels, nanoseconds, line.
    pub(crate) entries: Arc<Vec<(&'static str, Labels, i64, String)>>,
    /// Whether it runs with `auth_enabled`.
    pub(crate) tenants: bool,
    pub(crate) password: Option<String>,
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn plain(status: u16, text: impl Into<String>) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    // As Go's http.Error does it.
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{}\n", text.into())).into_response()
}

fn answered(data: Value) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json; charset=UTF-8")],
        json!({ "status": "success", "data": data }).to_string(),
    )
        .into_response()
}

impl Fake {
    fn admits(&self, headers: &HeaderMap) -> Result<Option<Vec<String>>, Box<Response>> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if self.password.as_ref().is_some_and(|password| text("authorization") != Some(format!("Bearer {password}"))) {
            return Err(plain(401, "Unauthorized").into());
        }
        match (self.tenants, text("x-scope-orgid")) {
            (true, None) => Err(plain(401, "no org id").into()),
            (true, Some(tenant)) => Ok(Some(tenant.split('|').map(str::to_owned).collect())),
            (false, _) => Ok(None),
        }
    }

    pub(crate) async fn serve(self) -> String {
        let app = Router::new()
            .route("/loki/api/v1/query_range", get(query_range))
            .route("/loki/api/v1/labels", get(label_names))
            .route("/loki/api/v1/label/{name}/values", get(label_values))
            .route(
                "/loki/api/v1/status/buildinfo",
                get(|| async {
                    // Not in the envelope of the others.
                    let info =
                        json!({ "version": "3.1.0", "revision": "abc", "branch": "main", "goVersion": "go1.22" });
                    ([(header::CONTENT_TYPE, "application/json")], info.to_string())
                }),
            )
            .fallback(|| async {
                let body = json!({ "code": 404, "status": "error", "message": "not found" }).to_string();
                (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "application/json")], body)
            })
            .with_state(self);
        format!("http://{}", serve(app).await)
    }
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// `{a="b", c="d"}` and any number of `|= "text"`.
fn parsed(query: &str) -> Result<(Labels, Vec<String>), String> {
    let error = |at: usize| format!("parse error at line 1, col {at}: syntax error: unexpected IDENTIFIER");
    let rest = query.trim().strip_prefix('{').ok_or_else(|| error(1))?;
    let (selector, mut rest) = rest.split_once('}').ok_or_else(|| error(2))?;
    let mut wanted = Labels::new();
    for matcher in selector.split(',') {
        let (name, value) = matcher.split_once('=').ok_or_else(|| error(3))?;
        wanted.insert(name.trim().to_owned(), value.trim().trim_matches('"').to_owned());
    }
    let mut filters = Vec::new();
    while let Some(filter) = rest.trim_start().strip_prefix("|=") {
        let filter = filter.trim_start().strip_prefix('"').ok_or_else(|| error(4))?;
        let (text, after) = filter.split_once('"').ok_or_else(|| error(5))?;
        filters.push(text.to_owned());
        rest = after;
    }
    if rest.trim().is_empty() { Ok((wanted, filters)) } else { Err(error(6)) }
}

async fn query_range(
    State(fake): State<Fake>,
    headers: HeaderMap,
    Parameters(asked): Parameters<BTreeMap<String, String>>,
) -> Response {
    let tenants = match fake.admits(&headers) {
        Ok(tenants) => tenants,
        Err(refused) => return *refused,
    };
    let (wanted, filters) = match parsed(&asked["query"]) {
        Ok(parsed) => parsed,
        Err(error) => return plain(400, error),
    };
    let number = |name: &str| asked[name].parse::<i64>().expect("nanoseconds");
    let (start, end, limit) = (number("start"), number("end"), asked["limit"].parse::<usize>().expect("a limit"));
    if limit > 5_000 {
        return plain(
            400,
            format!("max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > 5000)"),
        );
    }
    assert_eq!(asked["direction"], "backward");
    let mut found: Vec<&(&str, Labels, i64, String)> = fake
        .entries
        .iter()
        .filter(|(tenant, labels, at, line)| {
            tenants.as_ref().is_none_or(|tenants| tenants.iter().any(|wanted| wanted == tenant))
                && wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
                && filters.iter().all(|filter| line.contains(filter.as_str()))
                // The end does not belong to it.
                && (start..end).contains(at)
        })
        .collect();
    found.sort_by_key(|(_, _, at, _)| std::cmp::Reverse(*at));
    found.truncate(limit);
    let mut streams: BTreeMap<&Labels, Vec<Value>> = BTreeMap::new();
    for (_, labels, at, line) in found {
        streams.entry(labels).or_default().push(json!([at.to_string(), line]));
    }
    let streams: Vec<Value> =
        streams.into_iter().rev().map(|(labels, values)| json!({ "stream": labels, "values": values })).collect();
    answered(
        json!({ "resultType": "streams", "result": streams, "stats": { "summary": { "totalLinesProcessed": 1 } } }),
    )
}

async fn label_names(State(fake): State<Fake>, headers: HeaderMap) -> Response {
    match fake.admits(&headers) {
        Err(refused) => *refused,
        Ok(_) => {
            let names: BTreeSet<&String> = fake.entries.iter().flat_map(|(_, labels, ..)| labels.keys()).collect();
            answered(json!(names))
        }
    }
}

async fn label_values(State(fake): State<Fake>, headers: HeaderMap, Path(name): Path<String>) -> Response {
    match fake.admits(&headers) {
        Err(refused) => *refused,
        Ok(_) => {
            let values: BTreeSet<&String> =
                fake.entries.iter().filter_map(|(_, labels, ..)| labels.get(&name)).collect();
            answered(json!(values))
        }
    }
}

const START: i64 = 1_785_424_739;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(START + seconds, 0).expect("a time")
}

fn nanos(at: Timestamp, more: i64) -> i64 {
    at.timestamp_nanos_opt().expect("in range") + more
}

pub(crate) fn fake() -> Fake {
    let web = || labels(&[("namespace", "shop"), ("app", "web"), ("pod", "web-1")]);
    let other = || labels(&[("namespace", "shop"), ("app", "web"), ("pod", "web-2")]);
    let bank = || labels(&[("namespace", "bank"), ("app", "atm")]);
    let entries = vec![
        ("blue", web(), nanos(at(0), 0), "start".to_owned()),
        ("blue", web(), nanos(at(1), 700), "error: cannot reach db".to_owned()),
        ("blue", other(), nanos(at(1), 300), "error: cannot reach db either".to_owned()),
        ("blue", web(), nanos(at(2), 0), "error: at the last moment".to_owned()),
        ("green", bank(), nanos(at(1), 0), "error: no money".to_owned()),
    ];
    Fake { entries: Arc::new(entries), tenants: false, password: None }
}

fn datasource_with(config: Value, secret: SecretHandle) -> Loki {
    let config: LokiConfig = serde_json::from_value(config).expect("a config");
    Loki::new(BuildContext::new("logs", secret, Arc::new(host())), config).expect("a datasource")
}

fn host() -> Host {
    Host { outbound: Outbound::loopback(), ..Host::default() }
}

fn cx() -> CallContext {
    CallContext::with_timeout(Duration::from_secs(20))
}

fn logs(expr: &str, limit: u32) -> Query {
    Query::Logs { expr: expr.into(), start: at(0), end: at(2), limit }
}

async fn ask(url: &str, query: &Query) -> Result<DataSet, PortError> {
    datasource_with(json!({ "url": url }), SecretHandle::none()).query(&cx(), query).await
}

fn texts(set: &DataSet) -> Vec<&str> {
    set.lines.iter().map(|line| line.text.as_str()).collect()
}

#[tokio::test]
async fn lines_of_all_streams_come_in_order_of_time_with_both_ends_and_their_labels() {
    let url = fake().serve().await;
    let set = ask(&url, &logs(r#"{namespace="shop"}"#, 100)).await.expect("lines");
    let expected = ["start", "error: cannot reach db either", "error: cannot reach db", "error: at the last moment"];
    assert_eq!(texts(&set), expected);
    assert_eq!(set.lines[1].labels["pod"], "web-2");
    assert_eq!(set.lines[3].at, at(2));
    assert!(!set.truncated && set.warnings.is_empty(), "{set:?}");

    let set = ask(&url, &logs(r#"{namespace="shop"} |= "error""#, 2)).await.expect("lines");
    assert_eq!(texts(&set), ["error: cannot reach db", "error: at the last moment"], "the newest");
    assert!(set.truncated && set.warnings[0].contains("older ones"), "{set:?}");

    let set = ask(&url, &logs(r#"{namespace="none"}"#, 2)).await.expect("an empty answer is an answer");
    assert_eq!(set, DataSet::default());
    let huge = ask(&url, &logs(r#"{namespace="shop"}"#, u32::MAX)).await.expect("no more than Loki gives");
    assert_eq!(huge.lines.len(), 4);
}

#[tokio::test]
async fn label_names_and_values_are_read() {
    let url = fake().serve().await;
    let names = ask(&url, &Query::Labels { label: None, matchers: Vec::new() }).await.expect("names");
    assert_eq!(names.names, ["app", "namespace", "pod"]);
    let values = Query::Labels { label: Some("namespace".into()), matchers: vec![r#"{app="web"}"#.into()] };
    assert_eq!(ask(&url, &values).await.expect("values").names, ["bank", "shop"]);
    for (label, matchers) in [("../query", 0), ("", 0), ("app", 2)] {
        let query = Query::Labels { label: Some(label.into()), matchers: vec![r#"{app="web"}"#.into(); matchers] };
        assert_eq!(ask(&url, &query).await.unwrap_err().kind, PortErrorKind::Invalid, "{label}");
    }
}

#[tokio::test]
async fn a_tenant_sees_its_own_lines_and_without_one_the_error_says_what_to_set() {
    let url = Fake { tenants: true, ..fake() }.serve().await;
    let error = ask(&url, &logs(r#"{app="web"}"#, 9)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unauthorized);
    assert!(error.message.contains("no org id") && error.message.contains("set `tenant`"), "{error}");
    for (tenant, query, count) in
        [("blue", r#"{app="atm"}"#, 0), ("green", r#"{app="atm"}"#, 1), ("blue|green", r#"{app="atm"}"#, 1)]
    {
        let source = datasource_with(json!({ "url": url, "tenant": tenant }), SecretHandle::none());
        let set = source.query(&cx(), &logs(query, 9)).await.expect("lines");
        assert_eq!(set.lines.len(), count, "{tenant}");
    }
}

#[tokio::test]
async fn the_check_reads_labels_with_the_credential_and_tells_the_version() {
    let url = Fake { password: Some("hunter2".into()), ..fake() }.serve().await;
    let config = json!({ "url": url, "auth": { "type": "bearer" } });
    let source = datasource_with(config.clone(), SecretHandle::inline("hunter2\n".into()));
    let report = source.check(&cx()).await.expect("the check");
    assert!(report.message.contains("version 3.1.0, 3 labels"), "{report:?}");
    assert!(!format!("{source:?}{report:?}").contains("hunter2"));
    let wrong = datasource_with(config, SecretHandle::inline("hunter3".into()));
    let error = wrong.check(&cx()).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unauthorized, "{error}");
    assert!(!format!("{error:?}").contains("hunter3"));

    let error = ask(&format!("{url}/no/prefix"), &logs(r#"{app="web"}"#, 9)).await.unwrap_err();
    assert!(error.message.contains("/no/prefix/loki/api/v1/query_range"), "{error}");
    assert!(error.message.contains("path prefix"), "{error}");
}

#[tokio::test]
async fn what_loki_refuses_is_said_in_its_own_words_and_what_it_could_never_answer_before_it_is_asked() {
    let url = fake().serve().await;
    let error = ask(&url, &logs(r#"{app="web"} || "x""#, 9)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Invalid);
    assert!(error.message.contains("parse error at line 1, col 6"), "{error}");
    // Nobody listens there: it is refused before.
    for query in [
        logs(r#"rate({app="web"}[5m])"#, 9),
        logs("error", 9),
        logs(r#"{app="web"}"#, 0),
        Query::Logs { expr: r#"{app="web"}"#.into(), start: at(2), end: at(0), limit: 9 },
        Query::Instant { expr: "up".into(), at: None },
        Query::Changes { start: at(0), end: at(2), namespace: None },
    ] {
        let error = ask("http://127.0.0.1:1", &query).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Invalid, "{query:?}: {error}");
    }
}

#[tokio::test]
async fn a_hostile_server_fills_no_memory_and_is_quoted_in_one_line_without_the_secret() {
    type Answer = fn() -> Response;
    let endless: Answer = || {
        let body = futures::stream::repeat_with(|| Ok::<_, std::io::Error>("x".repeat(65_536)));
        ([(header::CONTENT_TYPE, "application/json")], axum::body::Body::from_stream(body)).into_response()
    };
    let cases: [(Answer, PortErrorKind, &str); 6] = [
        (endless, PortErrorKind::Protocol, "maxBodyBytes"),
        (|| plain(429, "too many outstanding requests"), PortErrorKind::RateLimited, "too many outstanding"),
        (|| plain(500, "hunter2\u{1b}[31m red\nsecond"), PortErrorKind::Unavailable, "[redacted]"),
        (|| plain(504, "context deadline exceeded"), PortErrorKind::Timeout, "deadline"),
        (|| axum::response::Html("<b>Sign in</b>").into_response(), PortErrorKind::Protocol, "text/html"),
        (
            || answered(json!({ "resultType": "matrix", "result": [{ "metric": {}, "values": [[1, "2"]] }] })),
            PortErrorKind::Invalid,
            "numbers",
        ),
    ];
    for (answer, kind, word) in cases {
        let url = format!("http://{}", serve(Router::new().fallback(move || async move { answer() })).await);
        let config = json!({ "url": url, "auth": { "type": "bearer" }, "maxBodyBytes": 100_000 });
        let source = datasource_with(config, SecretHandle::inline("hunter2".into()));
        let error = source.query(&cx(), &logs(r#"{app="web"}"#, 9)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(word), "{error}");
        assert!(!error.message.contains("hunter2") && !error.message.contains(['\n', '\u{1b}']), "{error:?}");
    }
}

#[tokio::test]
async fn rule_11_configs_that_are_not_understood_are_refused() {
    let registry = Registry::linked().expect("no duplicates");
    for (config, word) in [
        (json!({}), "url"),
        (json!({ "url": "http://l", "tenants": "x" }), "unknown field `tenants`"),
        (json!({ "url": "http://l/loki/api/v1/push" }), "leave it out"),
        (json!({ "url": "http://l", "tenant": "a b" }), "tenant: found"),
        (json!({ "url": "http://l", "headers": { "Cookie": "x" } }), "headers: `Cookie`"),
        (json!({ "url": "http://l", "maxLines": 0 }), "maxLines: found 0"),
    ] {
        let error = registry.check("loki", &config).unwrap_err().to_string();
        assert!(error.contains(word), "{config}: {error}");
    }
}

// ---------------------------------------------------------------------------------------------------------
// End to end
// ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_investigation_reads_logs_through_loki_and_its_report_keeps_them_as_evidence() {
    let url = fake().serve().await;
    let until = at(2).to_rfc3339();
    let model = ScriptedModel::default()
        .calls([("logs_query", json!({ "query": r#"{namespace="shop"} |= "db""#, "until": until, "minutes": 5 }))])
        .calls([("logs_query", json!({ "query": r#"sum(rate({namespace="shop"}[5m]))"#, "until": until }))])
        .calls([(
            "complete",
            json!({
                "summary": "The database is out of reach.",
                "rootCause": { "summary": "web cannot reach db", "citations": ["R1"], "confidence": "high" },
            }),
        )]);
    let org = OrgId::default();
    let (admin, agent) = (Principal::user(org.clone(), "admin", OrgRole::Admin), Principal::agent(org, "agent"));
    let identity = Arc::new(StaticIdentity::new([admin.clone(), agent.clone()]));
    identity.add_token(agent.id, "a token", None);
    let linked = Registry::linked().expect("no duplicates");
    let scripted = Registration::model("scripted", "A model", Arc::new(model.clone()));
    let registry = Registry::new(linked.iter().cloned().chain([scripted])).expect("no duplicates");
    let rounds = Rounds::builder(Arc::new(MemoryStore::new()), identity)
        .registry(registry)
        .host(host())
        .investigator(Arc::new(OrchestratorAgent::new(AgentSettings::default())))
        .build()
        .expect("Rounds");
    let draft = ConnectorDraft::new("loki", "logs").with_config(json!({ "url": url }));
    rounds.connectors().create(&admin, draft).await.expect("a connector");
    rounds.connectors().create(&admin, ConnectorDraft::new("scripted", "llm")).await.expect("a model");
    let running = rounds.start();
    let asked = rounds.investigations().ask(&admin, "Why does the shop fail?").await.expect("a question").id;
    let mut events = rounds.subscribe();
    let ended = loop {
        let found = rounds.investigations().get(&admin, asked).await.expect("the investigation");
        if found.status.is_terminal() {
            break found;
        }
        let heard = tokio::time::timeout(Duration::from_secs(60), events.recv()).await;
        heard.expect("something happens").expect("an event");
    };
    running.shutdown(Duration::from_secs(5)).await;

    let report = ended.report.expect("a report");
    assert_eq!(report.summary, "The database is out of reach.", "{report:?}");
    let excerpt = &report.evidence[0].excerpt;
    assert!(excerpt.contains("error: cannot reach db either") && excerpt.contains("web-2"), "{excerpt}");
    let told: Vec<String> = model
        .asked()
        .last()
        .expect("the model was called")
        .messages
        .iter()
        .filter_map(|message| match message {
            Message::ToolResult { content, .. } => Some(content.clone()),
            _ => None,
        })
        .collect();
    assert!(told[0].contains("error: cannot reach db"), "{told:?}");
    assert!(told[1].contains("metric query"), "{told:?}");
}
