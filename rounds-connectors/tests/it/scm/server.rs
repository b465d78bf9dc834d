//! A server on this machine in front of a forge's stand-in: it writes down what is asked, and can lose answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use serde_json::Value;
use tokio::net::TcpListener;

/// What was asked, in parts.
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: Vec<String>,
    pub(crate) query: BTreeMap<String, Vec<String>>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Asked {
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name)?.first().map(String::as_str)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Value,
}

impl Said {
    pub(crate) fn new(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

pub(crate) trait Fake: Send + 'static {
    fn answer(&mut self, asked: &Asked) -> Said;
}

/// When the connection breaks: before the request is looked at, or after all of it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Before,
    After,
}

#[derive(Default)]
struct Control {
    log: Vec<String>,
    count: usize,
    lose: Option<(usize, Moment)>,
    forced: Vec<(String, Said)>,
}

pub(crate) struct Server<F> {
    pub(crate) url: String,
    pub(crate) fake: Arc<Mutex<F>>,
    control: Arc<Mutex<Control>>,
}

impl<F> Clone for Server<F> {
    fn clone(&self) -> Self {
        Self { url: self.url.clone(), fake: Arc::clone(&self.fake), control: Arc::clone(&self.control) }
    }
}

impl<F: Fake> Server<F> {
    pub(crate) async fn start(fake: F) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, fake: Arc::new(Mutex::new(fake)), control: Arc::default() };
        let app = axum::Router::new().fallback(serve::<F>).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        server
    }

    /// The answer to this request from now on is lost; requests are counted from 0, from now.
    pub(crate) fn lose(&self, at: usize, moment: Moment) {
        let mut control = self.control.lock().unwrap();
        (control.count, control.lose) = (0, Some((at, moment)));
    }

    /// Whether the one that was to be lost has not come.
    pub(crate) fn is_waiting_to_lose(&self) -> bool {
        self.control.lock().unwrap().lose.is_some()
    }

    /// Requests whose `METHOD path` holds this text are answered so, and not looked at.
    pub(crate) fn force(&self, what: &str, said: Said) {
        self.control.lock().unwrap().forced.push((what.into(), said));
    }

    pub(crate) fn calm(&self) {
        self.control.lock().unwrap().forced.clear();
    }

    /// What was asked since last time, as `METHOD path`.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.control.lock().unwrap().log)
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut F) -> T) -> T {
        look(&mut self.fake.lock().unwrap())
    }
}

fn decoded(part: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = part.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [a, b, tail @ ..]) => {
                let hex = [*a, *b];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
                rest = tail;
            }
            (byte, tail) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

async fn serve<F: Fake>(
    State(server): State<Server<F>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let url = url::Url::parse(&format!("http://host{uri}")).unwrap();
    let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in url.query_pairs() {
        query.entry(name.into_owned()).or_default().push(value.into_owned());
    }
    let path: Vec<String> = url.path_segments().unwrap().map(decoded).collect();
    let line = format!("{method} /{}", path.join("/"));
    let asked = Asked {
        method: method.to_string(),
        path,
        query,
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let (lost, forced) = {
        let mut control = server.control.lock().unwrap();
        control.log.push(line.clone());
        let lost = control.lose.filter(|(at, _)| *at == control.count).map(|(_, moment)| moment);
        if lost.is_some() {
            control.lose = None;
        }
        control.count += 1;
        let forced = control.forced.iter().find(|(what, _)| line.contains(what.as_str()));
        let forced = forced.map(|(_, said)| Said { headers: said.headers.clone(), body: said.body.clone(), ..*said });
        (lost, forced)
    };
    if lost == Some(Moment::Before) {
        return cut();
    }
    let said = forced.unwrap_or_else(|| server.fake.lock().unwrap().answer(&asked));
    if lost == Some(Moment::After) {
        return cut();
    }
    let mut response = Response::builder().status(StatusCode::from_u16(said.status).unwrap());
    for (name, value) in &said.headers {
        response = response.header(*name, value);
    }
    let body = match &said.body {
        Value::Null => Body::empty(),
        // What is no JSON at all.
        Value::String(text) => Body::from(text.clone()),
        body => Body::from(body.to_string()),
    };
    response.header("content-type", "application/json; charset=utf-8").body(body).unwrap()
}

/// An answer whose connection breaks before its end.
fn cut() -> Response {
    let broken = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("the connection breaks here"))]);
    Response::builder().header("content-length", "100").body(Body::from_stream(broken)).unwrap()
}
