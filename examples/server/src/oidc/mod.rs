//! Sign-in with an OpenID Connect provider: authorization code with PKCE, state and nonce.
//!
//! The protocol is the `openidconnect` crate's; here is what this server remembers meanwhile (`flow`), and how it
//! reads what the provider says. Whom that signs in is decided by the accounts.

mod flow;
mod http;

use std::collections::HashMap;
use std::time::Duration;

use axum_extra::extract::cookie::Cookie;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreRevocableToken,
    CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AccessTokenHash, AdditionalClaims, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken,
    EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet, HttpRequest, IdTokenClaims, IdTokenFields,
    IssuerUrl, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
    StandardErrorResponse, StandardTokenResponse, TokenResponse as _,
};
use rounds_core::Timestamp;
use rounds_core::time::elapsed;
use secrecy::{ExposeSecret as _, SecretBox};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use subtle::ConstantTimeEq as _;
use tokio::sync::Mutex;

use self::flow::Flow;
use crate::accounts::{SignedIn, Trust, Vouched};
use crate::auth::Peer;
use crate::error::ApiError;
use crate::settings::{OidcSettings, ServerSettings};
use crate::state::AppState;

pub(crate) use flow::FLOW_COOKIE;

/// For what the key of the flow's cookie is.
pub(crate) const KEY_PURPOSE: &str = "oidc-flow";
/// How long the provider's keys and addresses are kept: everybody can ask for a sign-in, the provider is not asked each time.
const KEEP: Duration = Duration::from_secs(60);
/// How long it is left alone after it did not answer: whoever comes meanwhile is told at once.
const PAUSE: Duration = Duration::from_secs(5);

/// The claims that the protocol does not name.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Further(HashMap<String, Value>);

impl AdditionalClaims for Further {}

type Claims = IdTokenClaims<Further, CoreGenderClaim>;
type Fields = IdTokenFields<
    Further,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
type Party = Client<
    Further,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    StandardTokenResponse<Fields, CoreTokenType>,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// A provider that people sign in with.
pub struct Oidc {
    settings: OidcSettings,
    http: reqwest::Client,
    key: SecretBox<[u8; 32]>,
    /// What it last said of itself, and when; nothing: it did not answer.
    known: Mutex<Option<(Timestamp, Option<CoreProviderMetadata>)>>,
}

/// What the provider sent the browser back with.
#[derive(Debug, Default)]
pub(crate) struct Brought<'a> {
    pub(crate) code: Option<&'a str>,
    pub(crate) state: Option<&'a str>,
    pub(crate) error: Option<&'a str>,
    pub(crate) cookie: Option<&'a str>,
}

impl Oidc {
    /// The provider of the settings. It is asked when somebody signs in: that it is away stops no server.
    pub(crate) fn new(oidc: OidcSettings, settings: &ServerSettings, key: SecretBox<[u8; 32]>) -> anyhow::Result<Self> {
        Ok(Self { settings: oidc, http: http::client(settings)?, key, known: Mutex::default() })
    }

    /// What the sign-in page calls it.
    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    /// Begins a sign-in: where the browser goes, and what it takes along.
    pub(crate) async fn begin(
        &self,
        next: &str,
        secure: bool,
        now: Timestamp,
    ) -> Result<(String, Cookie<'static>), ApiError> {
        let party = self.party(now).await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let mut request = party.authorize_url(flow, CsrfToken::new_random, Nonce::new_random);
        for scope in &self.settings.scopes {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        let (to, state, nonce) = request.set_pkce_challenge(challenge).url();
        let flow = Flow {
            state: state.secret().clone(),
            nonce: nonce.secret().clone(),
            verifier: verifier.secret().clone(),
            next: next.to_owned(),
            at: now.timestamp(),
        };
        let sealed =
            flow.seal(&self.key).ok_or_else(|| ApiError::internal("the flow of a sign-in cannot be sealed"))?;
        Ok((to.into(), flow::cookie(sealed, secure)))
    }

    /// What takes the flow's cookie away.
    pub(crate) fn over(secure: bool) -> Cookie<'static> {
        flow::over(secure)
    }

    /// Ends a sign-in: who signed in, and where to go.
    pub(crate) async fn finish(
        &self,
        state: &AppState,
        brought: &Brought<'_>,
        from: &Peer,
    ) -> Result<(SignedIn, String), ApiError> {
        let now = state.rounds.now();
        // Before anything else: is this the browser that began?
        let flow = brought.cookie.and_then(|text| Flow::open(text, &self.key, now));
        let ours =
            |flow: &Flow| brought.state.is_some_and(|state| bool::from(state.as_bytes().ct_eq(flow.state.as_bytes())));
        let Some(flow) = flow.filter(ours) else {
            return Err(ApiError::bad_request(format!(
                "this sign-in was not begun in this browser, or more than {} minutes ago: begin again",
                flow::SECONDS / 60
            )));
        };
        if let Some(error) = brought.error {
            tracing::warn!(error = %error.chars().take(80).collect::<String>(), "the identity provider refused a sign-in");
            return Err(ApiError::bad_request("the provider did not sign you in: begin again"));
        }
        let code = brought.code.ok_or_else(|| ApiError::bad_request("the provider sent no code: begin again"))?;
        let claims = self.claims(code, &flow, now).await?;
        let vouched = self.vouched(&claims);
        let trust = Trust { allow_sign_up: self.settings.allow_sign_up, link_admins: self.settings.link_admins };
        match state.accounts.sign_in_vouched(&vouched, trust, from).await {
            Ok(signed_in) => Ok((signed_in, flow.next)),
            Err(error) => {
                let (address, subject) = (from.address, &vouched.subject);
                tracing::warn!(%address, subject, reason = error.body.message, "a sign-in by OIDC was refused");
                Err(error)
            }
        }
    }

    /// Exchanges the code, and checks what came: signature, issuer, audience, times, nonce.
    async fn claims(&self, code: &str, flow: &Flow, now: Timestamp) -> Result<Claims, ApiError> {
        let party = self.party(now).await?;
        let exchange = party.exchange_code(AuthorizationCode::new(code.to_owned()));
        let exchange = exchange.map_err(|error| unusable("it names no token endpoint", error))?;
        let answer = exchange
            .set_pkce_verifier(PkceCodeVerifier::new(flow.verifier.clone()))
            .request_async(&|request: HttpRequest| http::ask(self.http.clone(), request))
            .await
            .map_err(|error| unusable("it did not take the code", error))?;
        let token = answer.id_token().ok_or_else(|| unusable("it sent no ID token", "there is none"))?;
        let verifier = party.id_token_verifier().set_time_fn(move || now);
        let claims = token
            .claims(&verifier, &Nonce::new(flow.nonce.clone()))
            .map_err(|error| unusable("its ID token does not hold", error))?;
        if let Some(expected) = claims.access_token_hash() {
            let hash = || {
                let (alg, key) = (token.signing_alg().ok()?, token.signing_key(&verifier).ok()?);
                AccessTokenHash::from_token(answer.access_token(), alg, key).ok()
            };
            if hash().as_ref() != Some(expected) {
                return Err(unusable("its access token is another's", "at_hash differs"));
            }
        }
        Ok(claims.clone())
    }

    fn vouched(&self, claims: &Claims) -> Vouched {
        let further = |name: &str| claims.additional_claims().0.get(name);
        let text = |name: &str| match name {
            "sub" => Some(claims.subject().to_string()),
            "email" => claims.email().map(|email| email.to_string()),
            "preferred_username" => claims.preferred_username().map(|login| login.to_string()),
            other => further(other).and_then(Value::as_str).map(str::to_owned),
        };
        let groups = self.settings.roles.claim.as_deref().and_then(further).map(texts).unwrap_or_default();
        Vouched {
            issuer: claims.issuer().to_string(),
            subject: claims.subject().to_string(),
            // What is not said is not so.
            verified_email: claims
                .email()
                .filter(|_| claims.email_verified() == Some(true))
                .map(|email| email.to_string()),
            login: text(&self.settings.login_claim),
            name: claims.name().and_then(|name| name.get(None)).map(|name| name.to_string()),
            role: self.settings.roles.role(&groups),
        }
    }

    /// The protocol, with the provider's keys and addresses of now.
    async fn party(&self, now: Timestamp) -> Result<Party, ApiError> {
        // Whoever comes while it is asked waits for the same answer.
        let mut known = self.known.lock().await;
        let metadata = match &*known {
            Some((at, Some(metadata))) if elapsed(*at, now) < KEEP => metadata.clone(),
            Some((at, None)) if elapsed(*at, now) < PAUSE => {
                return Err(unusable("it does not describe itself", "it did not a moment ago"));
            }
            _ => {
                let issuer = IssuerUrl::new(self.settings.issuer.clone())
                    .map_err(|error| unusable("its address is none", error))?;
                let ask = |request: HttpRequest| http::ask(self.http.clone(), request);
                let found = CoreProviderMetadata::discover_async(issuer, &ask).await;
                *known = Some((now, found.as_ref().ok().cloned()));
                found.map_err(|error| unusable("it does not describe itself", error))?
            }
        };
        let secret = self.settings.client_secret.as_ref();
        let secret = secret.map(|secret| ClientSecret::new(secret.expose_secret().to_owned()));
        let client = ClientId::new(self.settings.client_id.clone());
        Ok(Client::from_provider_metadata(metadata, client, secret)
            .set_redirect_uri(RedirectUrl::from_url(self.settings.redirect_url.clone())))
    }
}

/// A text, or the texts of a list.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// The provider failed: why is for the log, down to the last cause.
fn unusable<'a>(what: &str, error: impl Into<Box<dyn std::error::Error + 'a>>) -> ApiError {
    let error = error.into();
    let mut why = error.to_string();
    let mut cause = error.source();
    while let Some(found) = cause {
        why = format!("{why}: {found}");
        cause = found.source();
    }
    tracing::warn!(why, what, "a sign-in by OIDC failed at the provider");
    let message = format!("the identity provider could not be used: {what}; begin again, or tell an admin");
    ApiError::new(axum::http::StatusCode::BAD_GATEWAY, "identity_provider", message)
}
