//! The deployment history of Argo CD against a server that answers as its API does.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::TimeDelta;
use rounds_connectors::argocd_history::{ArgoCdHistory, ArgoCdHistoryConfig};
use rounds_core::Timestamp;
use rounds_core::plugin::{BuildContext, Host, Outbound, Registry};
use rounds_core::ports::{CallContext, DataSet, Datasource, PortError, PortErrorKind, Query, SecretHandle};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const TOKEN: &str = "argo-token-4711";

pub(crate) fn at(minutes: i64) -> Timestamp {
    Timestamp::from_timestamp(1_785_424_739, 0).expect("a time") + TimeDelta::minutes(minutes)
}

fn app(name: &str, project: &str, namespace: &str, status: Value) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "argocd", "uid": "u", "resourceVersion": "1" },
        "spec": { "project": project, "source": { "repoURL": "https://git.example.com/shop.git", "path": "apps" },
            "destination": { "server": "https://kubernetes.default.svc", "namespace": namespace } },
        "status": status,
    })
}

fn deployed(id: i64, minutes: i64) -> Value {
    json!({ "id": id, "revision": format!("9f2c1ab{id}"), "deployedAt": at(minutes), "deployStartedAt": at(minutes - 1),
        "source": { "repoURL": "https://ci:hunter2hunter2@git.example.com/shop.git", "path": "apps/web", "targetRevision": "main" },
        "initiatedBy": { "username": "ada" } })
}

pub(crate) fn applications() -> Vec<Value> {
    let multi = json!({ "id": 3, "revision": "", "revisions": ["aaa", "1.2.3"], "deployedAt": at(-20),
        "source": { "repoURL": "" }, "initiatedBy": { "automated": true },
        "sources": [{ "repoURL": "https://git.example.com/values.git", "path": "env" },
            { "repoURL": "https://charts.example.com", "chart": "redis" }] });
    let failed = json!({ "phase": "Failed", "message": "one or more objects failed to apply:\ndenied", "startedAt": at(-2),
        "operation": { "initiatedBy": { "username": "bob\u{1b}[31m" }, "sync": { "revision": "x" } } });
    vec![
        app(
            "shop-web",
            "shop",
            "shop",
            json!({ "history": [deployed(11, -300), deployed(12, -10)], "operationState": failed }),
        ),
        app(
            "shop-redis",
            "shop",
            "",
            json!({ "history": [multi], "resources": [{ "kind": "Service", "namespace": "shop" }] }),
        ),
        app("atm", "bank", "bank", json!({ "history": [deployed(4, -5)] })),
        app("shop-new", "shop", "shop", json!({})),
    ]
}

async fn list(State(state): State<Arc<(Value, String)>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let (items, token) = &*state;
    let json = |status: StatusCode, body: Value| {
        (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
    };
    if headers.get(header::AUTHORIZATION).is_none_or(|sent| sent != &format!("Bearer {token}")) {
        let said = "invalid session: token is malformed";
        return json(StatusCode::UNAUTHORIZED, json!({ "error": said, "code": 16, "message": said }));
    }
    let query = query.unwrap_or_default();
    let asked = url::form_urlencoded::parse(query.as_bytes()).into_owned();
    let projects: Vec<String> = asked.filter(|(name, _)| name == "projects").map(|(_, value)| value).collect();
    let items = items.as_array().map(|items| {
        let of =
            |item: &&Value| projects.is_empty() || projects.iter().any(|wanted| item["spec"]["project"] == **wanted);
        items.iter().filter(of).cloned().collect::<Vec<_>>()
    });
    json(StatusCode::OK, json!({ "metadata": { "resourceVersion": "1" }, "items": items }))
}

pub(crate) async fn serve(items: Value, token: &str) -> String {
    let app =
        Router::new().route("/root/api/v1/applications", get(list)).with_state(Arc::new((items, token.to_owned())));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/root")
}

fn history(url: &str, projects: &[&str], apps: &[&str], token: &str) -> ArgoCdHistory {
    let config = json!({ "url": url, "allowedProjects": projects, "allowedApps": apps });
    let config: ArgoCdHistoryConfig = serde_json::from_value(config).expect("a config");
    let host = Host { outbound: Outbound::loopback(), ..Host::default() };
    let cx = BuildContext::new("rollouts", SecretHandle::inline(token.into()), Arc::new(host));
    ArgoCdHistory::new(cx, config).expect("a datasource")
}

fn cx() -> CallContext {
    CallContext::with_timeout(Duration::from_secs(20))
}

async fn changes(source: &ArgoCdHistory, namespace: Option<&str>) -> Result<DataSet, PortError> {
    let query = Query::Changes { start: at(-60), end: at(0), namespace: namespace.map(str::to_owned) };
    source.query(&cx(), &query).await
}

fn texts(set: &DataSet) -> Vec<&str> {
    set.lines.iter().map(|line| line.text.as_str()).collect()
}

#[tokio::test]
async fn deployments_and_failed_syncs_of_that_time_are_told_in_order_and_in_one_line_each() {
    let url = serve(json!(applications()), TOKEN).await;
    let set = changes(&history(&url, &["shop"], &["*"], TOKEN), Some("shop")).await.expect("changes");
    let expected = [
        "Argo CD deployed shop-redis (project shop): revision aaa, 1.2.3 of https://git.example.com/values.git env and \
         https://charts.example.com redis, by automated sync",
        "Argo CD deployed shop-web (project shop): revision 9f2c1ab12 of https://[redacted]@git.example.com/shop.git \
         apps/web, by \"ada\"",
        "Argo CD began a sync of shop-web (project shop), which is Failed now, by \"bob [31m\": one or more objects failed \
         to apply: denied",
    ];
    assert_eq!(texts(&set), expected);
    let labels = &set.lines[1].labels;
    assert_eq!((labels["application"].as_str(), labels["historyId"].as_str()), ("shop-web", "12"));
    assert_eq!((labels["namespace"].as_str(), labels["project"].as_str()), ("shop", "shop"));
    assert_eq!(set.lines[1].at, at(-10));
    assert!(!set.truncated && set.warnings.is_empty(), "{set:?}");
}

#[tokio::test]
async fn only_allowed_applications_are_told_and_empty_lists_allow_none() {
    let url = serve(json!(applications()), TOKEN).await;
    let count = async |projects: &[&str], apps: &[&str]| {
        changes(&history(&url, projects, apps, TOKEN), None).await.expect("changes").lines.len()
    };
    assert_eq!(count(&["*"], &["*"]).await, 4);
    assert_eq!(count(&["shop"], &["shop-web"]).await, 2);
    assert_eq!(count(&["sh*", "none"], &["shop-redis*"]).await, 1, "names that begin alike");
    assert_eq!(count(&["bank"], &["shop-*"]).await, 0);
    for (projects, apps, field) in [(&[][..], &["*"][..], "allowedProjects"), (&["*"], &[], "allowedApps")] {
        let set = changes(&history(&url, projects, apps, TOKEN), None).await.expect("an empty answer");
        assert!(set.lines.is_empty() && set.warnings[0].contains(field), "{set:?}");
    }
}

#[tokio::test]
async fn no_application_at_all_is_an_answer_and_a_refused_token_says_what_it_needs() {
    let url = serve(Value::Null, TOKEN).await;
    let source = history(&url, &["*"], &["*"], TOKEN);
    assert_eq!(changes(&source, None).await.expect("an answer"), DataSet::default());
    let report = source.check(&cx()).await.expect("the check");
    assert!(report.facts["warning"].contains("no application fits") || report.facts["warning"].contains("unencrypted"));
    let wrong = history(&url, &["*"], &["*"], "another-token");
    let error = changes(&wrong, None).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unauthorized);
    assert!(error.message.contains("applications, get") && !error.message.contains("another-token"), "{error}");
    assert!(!format!("{wrong:?}").contains("another-token"));
    let elsewhere = history(&format!("{url}/no"), &["*"], &["*"], TOKEN);
    let error = changes(&elsewhere, None).await.unwrap_err();
    assert!(error.message.contains("there is no Argo CD here"), "{error}");
}

#[tokio::test]
async fn rule_11_configs_that_are_not_understood_are_refused() {
    let registry = Registry::linked().expect("no duplicates");
    let with = |more: Value| {
        let mut config = json!({ "url": "https://argocd.example.com", "allowedProjects": ["a"], "allowedApps": ["*"] });
        config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        config
    };
    registry.check("argocd-history", &with(json!({}))).expect("a config");
    for (config, word) in [
        (json!({ "url": "https://a", "allowedProjects": ["a"] }), "allowedApps"),
        (with(json!({ "allowedApps": ["a b"] })), "allowedApps: found `a b`"),
        (with(json!({ "allowedProjects": [""] })), "allowedProjects: found"),
        (with(json!({ "auth": {} })), "unknown field `auth`"),
        (with(json!({ "url": "https://a/api/v1" })), "leave it out"),
    ] {
        let error = registry.check("argocd-history", &config).unwrap_err().to_string();
        assert!(error.contains(word), "{config}: {error}");
    }
}
