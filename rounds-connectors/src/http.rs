//! The one place where HTTP clients are made, so that TLS, proxies, redirects and bounds are decided once.
//!
//! The TLS provider is named explicitly (ring): the library installs no process-wide one and does not care
//! whether the embedder did. Proxies come from [`Host::child_env`], which the operator fills; reading the
//! process's own environment is the binary's business. Redirects are never followed: a credential goes to the
//! address that was configured, and a POST that a redirect turns into a GET would lose its query.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use rounds_core::plugin::{BuildError, Host};
use rounds_core::ports::{CallContext, PortError, PortErrorKind};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;
use url::Url;

/// What a client needs to know.
pub(crate) struct ClientOptions<'a> {
    /// Where it will talk to; only `https` needs trusted certificates on this host.
    pub(crate) url: &'a Url,
    /// PEM certificates to trust instead of the system's.
    pub(crate) ca_certificate: Option<&'a str>,
    /// Where the proxies are.
    pub(crate) host: &'a Host,
}

/// Makes a client. Nothing is connected to.
///
/// # Errors
/// The CA certificate or a proxy cannot be read, or `https` is wanted and this host trusts no certificate at all.
#[allow(clippy::disallowed_methods, reason = "this is the one file where HTTP clients are made")]
pub(crate) fn client(options: &ClientOptions<'_>) -> Result<Client, BuildError> {
    let mut builder = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(Duration::from_secs(10))
        .user_agent(concat!("rounds/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls_config(options)?);
    for proxy in proxies(options.host)? {
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|error| BuildError::host(format!("cannot make an HTTP client: {}", root_cause(&error))))
}

fn tls_config(options: &ClientOptions<'_>) -> Result<rustls::ClientConfig, BuildError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| BuildError::host(format!("the TLS library offers no usable protocol version: {error}")))?;
    let builder = if let Some(pem) = options.ca_certificate {
        builder.with_root_certificates(roots_from(pem)?)
    } else {
        match Verifier::new(provider) {
            Ok(verifier) => builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)),
            // Plain HTTP must work in an image without CA certificates; nothing is trusted then.
            Err(_) if options.url.scheme() != "https" => builder.with_root_certificates(rustls::RootCertStore::empty()),
            Err(error) => {
                return Err(BuildError::host(format!(
                    "this host has no trusted CA certificates ({error}): install them (Debian: `ca-certificates`) or \
                     put the server's CA into `caCertificate`"
                )));
            }
        }
    };
    Ok(builder.with_no_client_auth())
}

fn roots_from(pem: &str) -> Result<rustls::RootCertStore, BuildError> {
    let unreadable = |what: String| BuildError::config(format!("caCertificate: {what}; PEM certificates are expected"));
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| unreadable(format!("cannot be read ({error})")))?;
        roots.add(certificate).map_err(|error| unreadable(format!("holds an unusable certificate ({error})")))?;
    }
    if roots.is_empty() { Err(unreadable("holds no certificate".into())) } else { Ok(roots) }
}

fn proxies(host: &Host) -> Result<Vec<reqwest::Proxy>, BuildError> {
    let variable = |name: &str| {
        [name.to_owned(), name.to_lowercase()]
            .iter()
            .find_map(|name| host.child_env.get(name))
            .filter(|value| !value.trim().is_empty())
    };
    let exceptions = variable("NO_PROXY").and_then(|list| reqwest::NoProxy::from_string(list));
    let mut proxies = Vec::new();
    type Maker = fn(&str) -> reqwest::Result<reqwest::Proxy>;
    let makers: [(&str, Maker); 3] = [
        ("HTTPS_PROXY", |url| reqwest::Proxy::https(url)),
        ("HTTP_PROXY", |url| reqwest::Proxy::http(url)),
        ("ALL_PROXY", |url| reqwest::Proxy::all(url)),
    ];
    for (name, make) in makers {
        let Some(address) = variable(name) else { continue };
        // The address may hold a password, so the error names the variable only.
        let proxy = make(address)
            .map_err(|_| BuildError::host(format!("{name} is not a proxy address such as http://proxy:3128")))?;
        proxies.push(proxy.no_proxy(exceptions.clone()));
    }
    Ok(proxies)
}

/// Reads a body up to a bound, so that no server decides how much memory is used.
///
/// # Errors
/// [`BodyError::TooLarge`] when there is more, [`BodyError::Cut`] when the connection broke.
pub(crate) async fn read_body(mut response: Response, cap: usize) -> Result<Vec<u8>, BodyError> {
    let announced = response.content_length().and_then(|length| usize::try_from(length).ok());
    if announced.is_some_and(|length| length > cap) {
        return Err(BodyError::TooLarge);
    }
    let mut body = Vec::with_capacity(announced.unwrap_or_default());
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > cap => return Err(BodyError::TooLarge),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(BodyError::Cut { after: body.len(), cause: root_cause(&error) }),
        }
    }
}

/// Why a body could not be read.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// It is larger than the bound.
    TooLarge,
    /// The connection ended early.
    Cut {
        /// Bytes that had arrived.
        after: usize,
        /// What the connection said.
        cause: String,
    },
}

/// What went wrong before there was an answer, without the URL's query and without credentials.
pub(crate) fn send_error(what: &str, error: &reqwest::Error) -> PortError {
    let cause = root_cause(error);
    if error.is_timeout() {
        PortError::new(PortErrorKind::Timeout, format!("{what}: no answer in time ({cause})"))
    } else if error.is_connect() {
        PortError::new(PortErrorKind::Unavailable, format!("{what}: cannot connect: {cause}"))
    } else {
        PortError::new(PortErrorKind::Unavailable, format!("{what}: the request failed: {cause}"))
    }
}

/// Keeps a call within its deadline and ends it when the caller no longer wants the answer.
///
/// # Errors
/// As the call, or it took too long.
pub(crate) async fn within<T>(
    cx: &CallContext,
    limit: Duration,
    what: &str,
    call: impl Future<Output = Result<T, PortError>>,
) -> Result<T, PortError> {
    let limit = limit.min(cx.timeout);
    tokio::select! {
        () = cx.cancel.cancelled() => {
            Err(PortError::new(PortErrorKind::Unavailable, format!("{what}: cancelled by the caller")))
        }
        answer = tokio::time::timeout(limit, call) => answer.unwrap_or_else(|_| {
            let limit = limit.as_secs_f64();
            Err(PortError::new(PortErrorKind::Timeout, format!("{what}: no complete answer within {limit} s")))
        }),
    }
}

/// What a status means for the caller, whoever the server is.
pub(crate) fn status_kind(status: StatusCode) -> PortErrorKind {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            PortErrorKind::Unauthorized
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => PortErrorKind::Timeout,
        StatusCode::TOO_MANY_REQUESTS => PortErrorKind::RateLimited,
        status if status.is_server_error() => PortErrorKind::Unavailable,
        status if status.is_client_error() => PortErrorKind::Invalid,
        _ => PortErrorKind::Protocol,
    }
}

/// The innermost cause: "Connection refused", not "error sending request".
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.source().is_none() {
        // The outermost error's own text may hold the URL.
        return "the HTTP library gave no reason".into();
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_for_https_installs_no_process_wide_tls_provider() {
        let url = Url::parse("https://prometheus.example").expect("an address");
        client(&ClientOptions { url: &url, ca_certificate: None, host: &Host::default() }).expect("a client");
        assert!(rustls::crypto::CryptoProvider::get_default().is_none());
    }

    #[test]
    fn a_ca_certificate_that_holds_none_is_refused() {
        let url = Url::parse("https://prometheus.example").expect("an address");
        for pem in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = client(&ClientOptions { url: &url, ca_certificate: Some(pem), host: &Host::default() });
            assert!(error.unwrap_err().to_string().contains("caCertificate"), "{pem}");
        }
    }

    #[test]
    fn rule_12_a_broken_proxy_address_is_not_repeated() {
        let url = Url::parse("http://prometheus.example").expect("an address");
        let mut host = Host::default();
        host.child_env.insert("HTTP_PROXY".into(), "http://me:hunter2@:::".into());
        let error = client(&ClientOptions { url: &url, ca_certificate: None, host: &host }).unwrap_err().to_string();
        assert!(error.contains("HTTP_PROXY") && !error.contains("hunter2"), "{error}");
    }
}
