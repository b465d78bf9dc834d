//! The demo's person: an HTTP client that signs in and uses nothing but the public API.

use anyhow::{Context as _, bail};
use reqwest::header::{COOKIE, SET_COOKIE};
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// A signed-in client.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    cookies: Vec<(String, String)>,
}

impl Client {
    /// Signs in.
    pub(super) async fn sign_in(base: &str, user: &str, password: &str) -> anyhow::Result<Self> {
        #[allow(clippy::disallowed_methods, reason = "a browser's stand-in, which talks to this process's own server")]
        let http = reqwest::Client::builder().no_proxy().build().context("making an HTTP client")?;
        let mut client = Self { http, base: base.trim_end_matches('/').to_owned(), cookies: Vec::new() };
        // Any safe request mints the CSRF cookie.
        client.get("/api/health/live").await?;
        let credentials = serde_json::json!({ "user": user, "password": password });
        client.post("/api/login", &credentials).await.context("signing in")?;
        client.get("/api/user").await?;
        Ok(client)
    }

    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.base));
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies.join("; "));
        }
        if let Some((_, csrf)) = self.cookies.iter().find(|(name, _)| name == "rounds_csrf") {
            request = request.header("x-csrf-token", csrf);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| format!("{method} {path}"))?;
        for cookie in response.headers().get_all(SET_COOKIE) {
            let pair = cookie.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                self.cookies.retain(|(known, _)| known != name);
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        let status = response.status();
        let text = response.text().await.with_context(|| format!("{method} {path}: reading the answer"))?;
        if !status.is_success() {
            bail!("{method} {path}: {status} {text}");
        }
        if status == StatusCode::NO_CONTENT || text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("{method} {path}: not JSON: {text}"))
    }
}
