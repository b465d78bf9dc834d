//! The one place where HTTP clients are made, so that TLS, proxies, redirects and bounds are decided once.
//!
//! The TLS provider is named explicitly (ring): the library installs no process-wide one and does not care
//! whether the embedder did. Proxies come from [`Host::child_env`], which the operator fills; reading the
//! process's own environment is the binary's business. Redirects are never followed: a credential goes to the
//! address that was configured, and a POST that a redirect turns into a GET would lose its query.
//!
//! **Where a client may lead.** An address that a person with `connectors:write` chose is called from inside the server's
//! network, so it is guarded by [`Host::outbound`]: names by the resolver, which hands on only addresses that are allowed
//! (what was checked is what is connected to, so a name that changes its mind between check and use wins nothing), and
//! addresses in the URL, which never reach a resolver, when the client is made and before each request. What the operator
//! of the server chose in its environment (the Vault, the proxies) is theirs and not guarded. Behind a proxy the
//! proxy resolves: addresses in URLs are still refused here, names are its to refuse.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{DATE, HeaderMap};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rounds_core::plugin::{BuildError, Host, Outbound, OutboundRefused};
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
    /// Where the proxies are, and which addresses may be called.
    pub(crate) host: &'a Host,
    /// Who chose the address.
    pub(crate) chosen_by: ChosenBy,
}

/// Who chose an address, and so whether it is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChosenBy {
    /// Somebody who may configure connectors.
    Connector,
    /// The operator of the server, in its environment.
    Operator,
}

/// A client that calls only what is allowed. Requests made with it are sent with [`Client::send`].
#[derive(Clone)]
pub(crate) struct Client {
    inner: reqwest::Client,
    guard: Option<Arc<Guard>>,
}

/// What is allowed.
struct Guard {
    outbound: Outbound,
    /// The names of the proxies. They are resolved by the same resolver, and their addresses are the operator's choice.
    proxies: BTreeSet<String>,
}

impl Guard {
    /// Whether a name is a proxy's, in whatever spelling: a resolver is asked in all of them.
    fn is_proxy(&self, host: &str) -> bool {
        self.proxies.contains(&plain(host))
    }

    /// Looks at a URL's host, which may be an address that no resolver ever sees.
    fn check(&self, url: &Url) -> Result<(), String> {
        let checked = |address: IpAddr| {
            self.outbound.check(url.host_str().unwrap_or_default(), address).map_err(|refused| refused.to_string())
        };
        match url.host() {
            Some(url::Host::Ipv4(address)) => checked(address.into()),
            Some(url::Host::Ipv6(address)) => checked(address.into()),
            // Its address is not guarded, so nobody may take the proxy itself for a server.
            Some(url::Host::Domain(name)) if self.is_proxy(name) && !self.outbound.allows_name(name) => Err(format!(
                "{name} is the proxy of this server, and connectors do not call it as a server of its own unless the \
                     operator starts Rounds with ROUNDS_OUTBOUND_ALLOW={name}"
            )),
            Some(url::Host::Domain(_)) => Ok(()),
            None => Err("the address names no host".into()),
        }
    }

    /// Of what a name resolved to, the addresses that may be called.
    fn allowed(&self, host: &str, found: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, OutboundRefused> {
        if self.is_proxy(host) {
            return Ok(found.collect());
        }
        let mut allowed = Vec::new();
        let mut refused = None;
        for address in found {
            match self.outbound.check(host, address.ip()) {
                Ok(()) => allowed.push(address),
                Err(why) => refused = Some(why),
            }
        }
        match refused {
            Some(why) if allowed.is_empty() => Err(why),
            _ => Ok(allowed),
        }
    }
}

/// The system's resolver.
struct SystemDns;

impl Resolve for SystemDns {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// A resolver that hands on only what may be called.
struct GuardedDns {
    guard: Arc<Guard>,
    lookup: Arc<dyn Resolve>,
}

impl Resolve for GuardedDns {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, host) = (Arc::clone(&self.guard), name.as_str().to_owned());
        let found = self.lookup.resolve(name);
        Box::pin(async move {
            let allowed = guard.allowed(&host, found.await?)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

impl Client {
    /// A read.
    pub(crate) fn get(&self, url: Url) -> RequestBuilder {
        self.inner.get(url)
    }

    /// A request with a body.
    pub(crate) fn post(&self, url: Url) -> RequestBuilder {
        self.inner.post(url)
    }

    /// Any request.
    pub(crate) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.inner.request(method, url)
    }

    /// Sends a request, if where it goes may be called. `what` names the address in errors, which never hold the URL.
    ///
    /// # Errors
    /// It may not be called, nobody answered, or it took too long.
    pub(crate) async fn send(&self, what: &str, request: RequestBuilder) -> Result<Response, PortError> {
        self.deliver(what, request).await.map_err(|undelivered| undelivered.error)
    }

    /// As [`send`](Self::send), for requests with an effect: says whether anything of it can have left this host.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub(crate) async fn deliver(&self, what: &str, request: RequestBuilder) -> Result<Response, Undelivered> {
        let unsent = |error: PortError| Undelivered { error, sent: false };
        let request = request.build().map_err(|error| unsent(send_error(what, &error.without_url())))?;
        if let Some(guard) = &self.guard {
            guard.check(request.url()).map_err(|why| unsent(refused(what, &why)))?;
        }
        self.inner.execute(request).await.map_err(|error| {
            // Name, TCP and TLS come before the first byte of the request.
            let sent = !error.is_connect();
            Undelivered { error: send_error(what, &error.without_url()), sent }
        })
    }
}

/// Why there was no answer.
#[derive(Debug)]
pub(crate) struct Undelivered {
    /// For people.
    pub(crate) error: PortError,
    /// Whether the request, or a part of it, may have reached the other side.
    pub(crate) sent: bool,
}

fn refused(what: &str, why: &str) -> PortError {
    PortError::new(PortErrorKind::Invalid, format!("{what}: not called: {why}"))
}

/// Makes a client. Nothing is connected to.
///
/// # Errors
/// The address may not be called, the CA certificate or a proxy cannot be read, or `https` is wanted and this host trusts
/// no certificate at all.
pub(crate) fn client(options: &ClientOptions<'_>) -> Result<Client, BuildError> {
    client_with(options, Arc::new(SystemDns))
}

#[allow(clippy::disallowed_methods, reason = "this is the one file where HTTP clients are made")]
fn client_with(options: &ClientOptions<'_>, lookup: Arc<dyn Resolve>) -> Result<Client, BuildError> {
    let guard = match options.chosen_by {
        ChosenBy::Operator => None,
        ChosenBy::Connector => {
            let guard = Guard { outbound: options.host.outbound.clone(), proxies: proxy_names(options.host) };
            guard.check(options.url).map_err(BuildError::config)?;
            Some(Arc::new(guard))
        }
    };
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(Duration::from_secs(10))
        .user_agent(concat!("rounds/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls_config(options)?);
    for proxy in proxies(options.host)? {
        builder = builder.proxy(proxy);
    }
    if let Some(guard) = &guard {
        builder = builder.dns_resolver(GuardedDns { guard: Arc::clone(guard), lookup });
    }
    let inner = builder
        .build()
        .map_err(|error| BuildError::host(format!("cannot make an HTTP client: {}", root_cause(&error))))?;
    Ok(Client { inner, guard })
}

fn tls_config(options: &ClientOptions<'_>) -> Result<rustls::ClientConfig, BuildError> {
    // Plain HTTP must work in an image without CA certificates; nothing is trusted then.
    trusting(options.ca_certificate, options.url.scheme() == "https")
}

/// What TLS trusts, for whatever is spoken over it: these PEM certificates, or what the system trusts. Where `needed` is
/// false and the system trusts nothing, nothing is trusted.
///
/// # Errors
/// The certificates cannot be read, or there are none and they are needed.
pub(crate) fn trusting(ca_certificate: Option<&str>, needed: bool) -> Result<rustls::ClientConfig, BuildError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| BuildError::host(format!("the TLS library offers no usable protocol version: {error}")))?;
    let builder = if let Some(pem) = ca_certificate {
        builder.with_root_certificates(roots_from(pem)?)
    } else {
        match Verifier::new(provider) {
            Ok(verifier) => builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)),
            Err(_) if !needed => builder.with_root_certificates(rustls::RootCertStore::empty()),
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

/// A variable of the operator's, in either spelling.
fn variable<'a>(host: &'a Host, name: &str) -> Option<&'a String> {
    let spellings = [name.to_owned(), name.to_lowercase()];
    spellings.iter().find_map(|name| host.child_env.get(name)).filter(|value| !value.trim().is_empty())
}

/// The host names of the proxies, as a resolver is asked for them.
fn proxy_names(host: &Host) -> BTreeSet<String> {
    let addresses = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"].into_iter().filter_map(|name| variable(host, name));
    // `proxy:3128` is accepted as well; its scheme is http then.
    let parsed = addresses.filter_map(|text| {
        let text = text.trim();
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        Url::parse(&whole).ok()
    });
    parsed.filter_map(|url| url.host_str().map(plain)).collect()
}

/// A host name in its one spelling.
fn plain(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

fn proxies(host: &Host) -> Result<Vec<reqwest::Proxy>, BuildError> {
    let variable = |name: &str| variable(host, name);
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
    if let Some(why) = outbound_refused(error) {
        return refused(what, &why.to_string());
    }
    if error.is_timeout() {
        PortError::new(PortErrorKind::Timeout, format!("{what}: no answer in time ({cause})"))
    } else if error.is_connect() {
        PortError::new(PortErrorKind::Unavailable, format!("{what}: cannot connect: {cause}"))
    } else {
        PortError::new(PortErrorKind::Unavailable, format!("{what}: the request failed: {cause}"))
    }
}

/// What the guarded resolver said, beneath the library's words around it.
fn outbound_refused(error: &reqwest::Error) -> Option<&OutboundRefused> {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(refused) = inner.downcast_ref() {
            return Some(refused);
        }
        cause = inner.source();
    }
    None
}

/// Nobody waits longer than this because a server says so.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the server asks to be left alone. A date is counted from the server's own `date`, so that nobody's clock has
/// to be right.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(millis) = text("retry-after-ms").and_then(|value| value.parse::<f64>().ok()) {
        return wait(millis / 1_000.0);
    }
    let asked = text("retry-after")?;
    if let Ok(seconds) = asked.parse() {
        return wait(seconds);
    }
    let until = DateTime::parse_from_rfc2822(asked).ok()?;
    let now = DateTime::parse_from_rfc2822(text(DATE.as_str())?).ok()?;
    Some((until - now).to_std().unwrap_or_default().min(LONGEST_WAIT))
}

/// A wait as a server says it, within reason.
pub(crate) fn wait(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().map(|delay| delay.min(LONGEST_WAIT))
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

    fn options<'a>(url: &'a Url, host: &'a Host) -> ClientOptions<'a> {
        ClientOptions { url, ca_certificate: None, host, chosen_by: ChosenBy::Connector }
    }

    #[test]
    fn a_client_for_https_installs_no_process_wide_tls_provider() {
        let url = Url::parse("https://prometheus.example").expect("an address");
        client(&options(&url, &Host::default())).expect("a client");
        assert!(rustls::crypto::CryptoProvider::get_default().is_none());
    }

    #[test]
    fn a_ca_certificate_that_holds_none_is_refused() {
        let url = Url::parse("https://prometheus.example").expect("an address");
        let host = Host::default();
        for pem in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let options = ClientOptions { ca_certificate: Some(pem), ..options(&url, &host) };
            assert!(client(&options).err().unwrap().to_string().contains("caCertificate"), "{pem}");
        }
    }

    #[test]
    fn rule_12_a_broken_proxy_address_is_not_repeated() {
        let url = Url::parse("http://prometheus.example").expect("an address");
        let mut host = Host::default();
        host.child_env.insert("HTTP_PROXY".into(), "http://me:hunter2@:::".into());
        let error = client(&options(&url, &host)).err().unwrap().to_string();
        assert!(error.contains("HTTP_PROXY") && !error.contains("hunter2"), "{error}");
    }

    /// A resolver whose owner answers as he pleases.
    struct Lying(Vec<IpAddr>);

    impl Resolve for Lying {
        fn resolve(&self, _: Name) -> Resolving {
            let found: Vec<SocketAddr> = self.0.iter().map(|address| SocketAddr::new(*address, 0)).collect();
            Box::pin(async move { Ok(Box::new(found.into_iter()) as Addrs) })
        }
    }

    /// A server that answers 200 to whatever comes and counts it; on 127.0.0.1.
    async fn server(answer: &'static str) -> (u16, Arc<std::sync::atomic::AtomicUsize>) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (port, count)
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

    fn allowing(list: &str) -> Host {
        Host { outbound: list.parse().unwrap(), ..Host::default() }
    }

    fn count(count: &std::sync::atomic::AtomicUsize) -> usize {
        count.load(std::sync::atomic::Ordering::SeqCst)
    }

    #[tokio::test]
    async fn a_public_name_that_resolves_to_this_machine_is_refused_when_it_is_connected_to() {
        let (port, calls) = server(OK).await;
        let url = Url::parse(&format!("http://rebound.example:{port}/")).unwrap();
        let lookup = || Arc::new(Lying(vec!["127.0.0.1".parse().unwrap()]));
        let guarded = client_with(&options(&url, &Host::default()), lookup()).ok().unwrap();
        let error = guarded.send("the server", guarded.get(url.clone())).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind, PortErrorKind::Invalid, "{text}");
        for part in ["rebound.example resolves to 127.0.0.1", "loopback", "ROUNDS_OUTBOUND_ALLOW=127.0.0.1"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(count(&calls), 0);
        for list in ["loopback", "127.0.0.0/8", "rebound.example", "*.example", "*"] {
            let allowed = client_with(&options(&url, &allowing(list)), lookup()).ok().unwrap();
            let answer = allowed.send("the server", allowed.get(url.clone())).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{list}");
        }
        assert_eq!(count(&calls), 5);
    }

    #[tokio::test]
    async fn of_several_addresses_only_the_allowed_ones_are_connected_to() {
        let (port, calls) = server(OK).await;
        let url = Url::parse(&format!("http://mixed.example:{port}/")).unwrap();
        // Nobody is at the documentation address; with 127.0.0.1 beside it the call would succeed at once.
        let found = ["127.0.0.1", "127.0.0.2"].map(|address| address.parse().unwrap());
        let host = allowing("127.0.0.2");
        let guarded = client_with(&options(&url, &host), Arc::new(Lying(found.to_vec()))).ok().unwrap();
        let error = guarded.send("the server", guarded.get(url)).await.unwrap_err();
        assert!(error.kind == PortErrorKind::Unavailable && count(&calls) == 0, "{error}");
    }

    #[tokio::test]
    async fn an_address_in_a_url_is_refused_in_every_spelling_at_build_and_before_each_request() {
        let (port, calls) = server(OK).await;
        let public = Url::parse("http://prometheus.example/").unwrap();
        let guarded = client(&options(&public, &Host::default())).ok().unwrap();
        for spelled in [
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "017700000001",
            "0177.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[0:0:0:0:0:ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[2002:7f00:1::]",
            "0",
            "0.0.0.0",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "127。0。0。1",
            "169.254.169.254",
            "[fe80::1]",
            "10.0.0.1",
            "100.64.0.1",
            "255.255.255.255",
        ] {
            let url = Url::parse(&format!("http://{spelled}:{port}/")).unwrap_or_else(|e| panic!("{spelled}: {e}"));
            let built = client(&options(&url, &Host::default())).err().map(|error| error.to_string());
            assert!(built.is_some_and(|error| error.contains("ROUNDS_OUTBOUND_ALLOW")), "{spelled} was built");
            let sent = guarded.send("the server", guarded.get(url)).await.unwrap_err();
            assert!(sent.to_string().contains("ROUNDS_OUTBOUND_ALLOW"), "{spelled}: {sent}");
        }
        assert_eq!(count(&calls), 0);
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_wherever_it_leads() {
        let (inside, calls) = server(OK).await;
        let location = format!(
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{inside}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        let (port, _) = server(Box::leak(location.into_boxed_str())).await;
        let url = Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap();
        let allowed = client(&options(&url, &allowing("loopback"))).ok().unwrap();
        let answer = allowed.send("the server", allowed.get(url)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::FOUND);
        assert_eq!(count(&calls), 0);
    }

    #[tokio::test]
    async fn a_proxy_of_the_operators_may_be_anywhere_and_is_no_server_to_configure() {
        let (port, calls) = server(OK).await;
        let mut host = Host::default();
        host.child_env.insert("HTTP_PROXY".into(), format!("http://proxy.internal:{port}"));
        let url = Url::parse("http://prometheus.example/").unwrap();
        let lookup = Arc::new(Lying(vec!["127.0.0.1".parse().unwrap()]));
        let guarded = client_with(&options(&url, &host), lookup).ok().unwrap();
        guarded.send("the server", guarded.get(url)).await.unwrap();
        assert_eq!(count(&calls), 1);
        for inside in ["http://127.0.0.1/", "http://[::ffff:10.0.0.1]/"] {
            let error = guarded.send("the server", guarded.get(Url::parse(inside).unwrap())).await.unwrap_err();
            assert!(error.to_string().contains("ROUNDS_OUTBOUND_ALLOW"), "{inside}: {error}");
        }
        for proxy in ["proxy.internal", "PROXY.internal", "proxy.internal."] {
            let proxy = Url::parse(&format!("http://{proxy}:{port}/admin")).unwrap();
            let error = guarded.send("the server", guarded.get(proxy)).await.unwrap_err();
            assert!(error.to_string().contains("is the proxy"), "{error}");
        }
        assert_eq!(count(&calls), 1);
    }

    #[tokio::test]
    async fn what_the_operator_chose_in_the_environment_is_not_guarded() {
        let (port, _) = server(OK).await;
        let url = Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap();
        let host = Host::default();
        let theirs = ClientOptions { chosen_by: ChosenBy::Operator, ..options(&url, &host) };
        let client = client(&theirs).ok().unwrap();
        client.send("the Vault", client.get(url.clone())).await.unwrap();
    }
}
