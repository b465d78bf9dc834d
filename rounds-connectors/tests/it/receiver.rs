//! A server that keeps what it is asked and answers as told, and what the tests of channels build on it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::IntoResponse as _;
use rounds_core::plugin::{BuildContext, Built, Host, Outbound, Registry};
use rounds_core::ports::{Asked, CallContext, Notice, NoticeKind, Notifier, Place, SecretHandle};
use rounds_core::step::Tier;
use rounds_core::{ConnectorId, RequestId, Timestamp};
use serde_json::Value;

/// What was asked: path, headers, body.
pub type Asks = Vec<(String, HeaderMap, String)>;

/// What is answered: status, headers, body.
pub type Says = (u16, Vec<(&'static str, &'static str)>, String);

#[derive(Clone)]
pub struct Receiver {
    pub asked: Arc<Mutex<Asks>>,
    methods: Arc<Mutex<Vec<Method>>>,
    says: Arc<Mutex<Says>>,
    hangs: Arc<AtomicBool>,
}

impl Receiver {
    pub async fn serve(says: Says) -> (Self, String) {
        let receiver = Self {
            asked: Arc::default(),
            methods: Arc::default(),
            says: Arc::new(Mutex::new(says)),
            hangs: Arc::default(),
        };
        let answer = async |State(receiver): State<Self>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let body = String::from_utf8_lossy(&body).into_owned();
            receiver.asked.lock().unwrap().push((uri.to_string(), headers, body));
            receiver.methods.lock().unwrap().push(method);
            if receiver.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let (status, headers, body) = receiver.says.lock().unwrap().clone();
            let status = StatusCode::from_u16(status).unwrap();
            let headers: HeaderMap =
                headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            (status, headers, body).into_response()
        };
        let router = Router::new().fallback(answer).with_state(receiver.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (receiver, url)
    }

    pub fn says(&self, status: u16, headers: &[(&'static str, &'static str)], body: impl Into<String>) {
        *self.says.lock().unwrap() = (status, headers.to_vec(), body.into());
    }

    /// Whether it takes requests and answers none.
    pub fn hangs(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::SeqCst);
    }

    pub fn method(&self) -> Method {
        self.methods.lock().unwrap().last().cloned().unwrap()
    }

    pub fn last(&self) -> (String, HeaderMap, Value) {
        let (path, headers, body) = self.asked.lock().unwrap().last().cloned().unwrap();
        (path, headers, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    pub fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

pub fn notifier_on(host: Host, kind: &str, config: Value, secret: &str) -> Arc<dyn Notifier> {
    let cx = BuildContext::new("channel", SecretHandle::inline(secret.into()), Arc::new(host));
    match Registry::linked().unwrap().build(kind, cx, config).unwrap() {
        Built::Notifier(notifier) => notifier,
        other => panic!("{other:?}"),
    }
}

pub fn notifier(kind: &str, config: Value, secret: &str) -> Arc<dyn Notifier> {
    let public_url = Some("https://rounds.example".to_owned());
    notifier_on(Host { outbound: Outbound::loopback(), public_url, ..Host::default() }, kind, config, secret)
}

pub fn asking() -> Notice {
    let at = Timestamp::UNIX_EPOCH;
    let mut notice = Notice::new(NoticeKind::PlanProposed, "plan/1/proposed", at, "Plan waits for approval: <b>");
    let mut asked = Asked::new(RequestId::new(), "v1:sha256:00", Tier::Write, at);
    asked.commands = vec!["kubectl rollout restart deployment/web -n app".into()];
    asked.places = vec![Place {
        connector_id: ConnectorId::new(),
        connector: Some("prod-eu".into()),
        namespace: Some("app".into()),
    }];
    notice.link = "/plans/1".into();
    notice.about = Some("plan/1".into());
    notice.asked = Some(asked);
    notice
}

pub fn cx() -> CallContext {
    CallContext::with_timeout(Duration::from_secs(10))
}
