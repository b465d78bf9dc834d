//! The credential of one call: the token, or one that the App's key is exchanged for.
//!
//! An App's token is asked for at each call and lives for an hour at most (GitHub's rule). It is for the one repository
//! of the step and for what the step needs, so that a token that got away could do little.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::StatusCode;
use rounds_core::plugin::BuildError;
use rounds_core::ports::{Clock as _, PortError, PortErrorKind, SecretHandle, SystemClock};
use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::config::GithubApp;
use crate::scm::forge::Failure;
use crate::scm::session::{Ask, Remote, Scheme, Session, Span};

/// What a step needs a token for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Looking at files, commits and pull requests.
    Read,
    /// Making a branch and opening a pull request; `workflows`: with files of workflows in it.
    Propose { workflows: bool },
    /// Looking at a workflow.
    ReadWorkflow,
    /// Dispatching a workflow.
    Dispatch,
}

impl Need {
    /// As GitHub names permissions of installations.
    fn permissions(self) -> BTreeMap<&'static str, &'static str> {
        match self {
            Self::Read => [("contents", "read"), ("pull_requests", "read")].into(),
            Self::Propose { workflows: false } => [("contents", "write"), ("pull_requests", "write")].into(),
            Self::Propose { workflows: true } => {
                [("contents", "write"), ("pull_requests", "write"), ("workflows", "write")].into()
            }
            Self::ReadWorkflow => [("actions", "read"), ("contents", "read")].into(),
            Self::Dispatch => [("actions", "write"), ("contents", "read")].into(),
        }
    }
}

/// Requests with the credential of this moment. `repository`: the one that an App's token is for; `None`: a test of the
/// connection, which asks for nothing in particular.
///
/// # Errors
/// There is no usable secret, or GitHub gives no token for it.
pub(super) async fn session<'a>(
    remote: &'a Remote,
    span: &Span,
    secret: &SecretHandle,
    app: Option<&GithubApp>,
    repository: Option<&str>,
    need: Need,
) -> Result<Session<'a>, Failure> {
    let unsent = |error| Failure::Lost { error, sent: false };
    let secret = secret.required().await.map_err(unsent)?;
    let Some(app) = app else {
        return remote.session(span, Scheme::Bearer, &secret);
    };
    let as_app = remote.session(span, Scheme::Bearer, &assertion(app, &secret).map_err(unsent)?)?;
    let installation = app.installation_id.to_string();
    let body = match repository {
        Some(repository) => {
            let name = repository.rsplit('/').next().unwrap_or(repository);
            json!({ "repositories": [name], "permissions": need.permissions() })
        }
        None => json!({}),
    };
    #[derive(Deserialize)]
    struct Minted {
        token: String,
    }
    let what = format!("asking for a token of installation {installation}");
    let minted: Minted =
        match as_app.json(Ask::post(what, ["app", "installations", &installation, "access_tokens"], body)).await {
            Ok(minted) => minted,
            Err(Failure::Refused { status: StatusCode::UNPROCESSABLE_ENTITY, error }) => {
                let wanted: Vec<String> =
                    need.permissions().iter().map(|(name, level)| format!("{name}: {level}")).collect();
                let message =
                    format!("{error}. The App must be installed on the repository, with {}", wanted.join(", "));
                let error = PortError::new(PortErrorKind::Unauthorized, message);
                return Err(Failure::Refused { status: StatusCode::UNPROCESSABLE_ENTITY, error });
            }
            Err(failure) => return Err(failure),
        };
    remote.session(span, Scheme::Bearer, &SecretString::from(minted.token))
}

/// What proves to GitHub that we are the App: a JSON Web Token (RFC 7519), signed with RS256. It is composed here, of
/// three parts with a dot between them; the signature is made by the library that this tree has for TLS, so no second one
/// comes in for it.
fn assertion(app: &GithubApp, key: &SecretString) -> Result<SecretString, PortError> {
    let unusable = |why: &str| {
        PortError::new(
            PortErrorKind::Unauthorized,
            format!(
                "GitHub: the secret is not the App's private key ({why}); a PEM file as GitHub gives it out is accepted"
            ),
        )
    };
    let der = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes()).map_err(|_| unusable("no PEM of a key"))?;
    let key = rustls::crypto::ring::sign::any_supported_type(&der).map_err(|_| unusable("no key that is known"))?;
    let signer = key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or_else(|| unusable("no RSA key"))?;
    // A minute ago, for clocks that are not quite the same; ten minutes is the most that GitHub takes.
    let now = SystemClock.now().timestamp();
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({ "alg": "RS256", "typ": "JWT" }));
    let claims = part(json!({ "iat": now - 60, "exp": now + 8 * 60, "iss": app.app_id }));
    let signed = format!("{header}.{claims}");
    let signature = signer.sign(signed.as_bytes()).map_err(|_| unusable("it cannot sign"))?;
    Ok(SecretString::from(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
}

/// Looks at a secret before it is kept: a token is one word, a key is a PEM file.
///
/// # Errors
/// It is neither; the message does not repeat it.
pub(super) fn check_secret(secret: &SecretString) -> Result<(), BuildError> {
    let text = secret.expose_secret().trim();
    let fits = if text.starts_with("-----BEGIN") {
        PrivateKeyDer::from_pem_slice(text.as_bytes()).is_ok()
    } else {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if fits {
        return Ok(());
    }
    Err(BuildError::config(
        "the secret is neither a token, which is one word, nor the PEM file of an App's private key",
    ))
}
