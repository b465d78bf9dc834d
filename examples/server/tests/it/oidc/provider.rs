//! An identity provider that speaks the protocol: discovery, keys, authorization with PKCE, tokens signed with RS256.
//! What it says of people is up to the test.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Redirect;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use openidconnect::core::{CoreJwsSigningAlgorithm, CoreRsaPrivateSigningKey};
use openidconnect::{JsonWebKeyId, PrivateSigningKey as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

/// Of this file only.
const KEY: &str = include_str!("test-key.pem");
const OTHER_KEY: &str = include_str!("other-key.pem");

pub const CLIENT_ID: &str = "rounds";
pub const CLIENT_SECRET: &str = "between-the-two";

type Asked = HashMap<String, String>;

#[derive(Default)]
struct Inner {
    /// Claims that are said instead of the usual ones, or beside them; `null` leaves one out.
    claims: Value,
    /// Whether tokens are signed with a key that is not published.
    forges: bool,
    /// Whether tokens are not signed at all.
    unsigned: bool,
    /// What each code was asked for with.
    codes: HashMap<String, Asked>,
}

#[derive(Clone)]
pub struct Provider {
    pub url: String,
    inner: Arc<Mutex<Inner>>,
}

impl Provider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let provider = Self { url, inner: Arc::default() };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(describe))
            .route("/keys", get(keys))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        provider
    }

    /// What it says of whoever comes next.
    pub fn says(&self, claims: Value) {
        *self.inner.lock().unwrap() = Inner { claims, ..Inner::default() };
    }

    pub fn forges(&self) {
        self.inner.lock().unwrap().forges = true;
    }

    pub fn signs_nothing(&self) {
        self.inner.lock().unwrap().unsigned = true;
    }

    fn id_token(&self, inner: &Inner, asked: &Asked) -> String {
        #[allow(clippy::disallowed_methods, reason = "the provider has a clock of its own")]
        let now = chrono::Utc::now().timestamp();
        let mut claims = json!({
            "iss": self.url, "aud": CLIENT_ID, "sub": "subject-1", "iat": now, "exp": now + 300, "nonce": asked["nonce"],
        });
        for (name, value) in inner.claims.as_object().into_iter().flatten() {
            match value {
                Value::Null => claims.as_object_mut().unwrap().remove(name),
                value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        if inner.unsigned {
            return format!("{}.{}.", part(&json!({ "alg": "none" })), part(&claims));
        }
        let message = format!("{}.{}", part(&json!({ "alg": "RS256", "kid": "k1" })), part(&claims));
        let algorithm = CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256;
        let signature = key(if inner.forges { OTHER_KEY } else { KEY }).sign(&algorithm, message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn key(pem: &str) -> CoreRsaPrivateSigningKey {
    CoreRsaPrivateSigningKey::from_pem(pem, Some(JsonWebKeyId::new("k1".into()))).unwrap()
}

async fn describe(State(provider): State<Provider>) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", provider.url);
    Json(json!({
        "issuer": provider.url,
        "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"),
        "jwks_uri": at("/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
}

async fn keys() -> Json<Value> {
    Json(json!({ "keys": [serde_json::to_value(key(KEY).as_verification_key()).unwrap()] }))
}

async fn authorize(State(provider): State<Provider>, Query(asked): Query<Asked>) -> Result<Redirect, StatusCode> {
    let is = |name: &str, value: &str| asked.get(name).is_some_and(|found| found == value);
    let has = |name: &str| asked.get(name).is_some_and(|found| found.len() >= 16);
    let scopes = asked.get("scope").map(|scope| scope.split(' ').collect::<Vec<_>>()).unwrap_or_default();
    let holds = is("response_type", "code")
        && is("client_id", CLIENT_ID)
        && is("code_challenge_method", "S256")
        && ["state", "nonce", "code_challenge"].into_iter().all(has)
        && scopes.contains(&"openid")
        && scopes.contains(&"email");
    if !holds {
        return Err(StatusCode::BAD_REQUEST);
    }
    let code = format!("code-{}", rounds_core::PlanId::new());
    let back = format!("{}?code={code}&state={}", asked["redirect_uri"], asked["state"]);
    provider.inner.lock().unwrap().codes.insert(code, asked);
    Ok(Redirect::to(&back))
}

async fn token(
    State(provider): State<Provider>,
    headers: HeaderMap,
    Form(sent): Form<Asked>,
) -> Result<Json<Value>, (StatusCode, Json<Value>)> {
    let mut inner = provider.inner.lock().unwrap();
    let basic = format!("Basic {}", STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}")));
    // A code is good once.
    let asked = sent.get("code").and_then(|code| inner.codes.remove(code));
    let holds = |asked: &Asked| {
        let challenge = sent.get("code_verifier").map(|text| URL_SAFE_NO_PAD.encode(Sha256::digest(text)));
        headers.get("authorization").is_some_and(|found| *found == basic)
            && sent.get("grant_type").is_some_and(|grant| grant == "authorization_code")
            && sent.get("redirect_uri") == asked.get("redirect_uri")
            && challenge.as_ref() == asked.get("code_challenge")
    };
    match asked.filter(holds) {
        Some(asked) => {
            let id_token = provider.id_token(&inner, &asked);
            Ok(Json(json!({ "access_token": "at", "token_type": "Bearer", "expires_in": 60, "id_token": id_token })))
        }
        None => Err((StatusCode::BAD_REQUEST, Json(json!({ "error": "invalid_grant" })))),
    }
}
