//! The HTTP client that asks the provider: the server's own, so that no second stack is linked.

use std::time::Duration;

use openidconnect::{HttpRequest, HttpResponse};
use reqwest::{Client, Proxy};

use crate::settings::ServerSettings;

/// Documents of providers are a few kilobytes.
const LARGEST: usize = 1024 * 1024;

/// Why the provider did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// It could not be asked.
    #[error("the provider could not be asked: {0}")]
    Request(#[from] reqwest::Error),
    /// It said too much.
    #[error("the provider's answer is larger than {LARGEST} bytes")]
    TooLarge,
    /// It said something that is no HTTP.
    #[error("the provider's answer could not be read: {0}")]
    Malformed(#[from] openidconnect::http::Error),
}

/// Makes the client. Redirects are not followed: what the provider is told goes to the address that was meant.
#[allow(
    clippy::disallowed_methods,
    reason = "sign-in asks one address that the operator names; connectors are elsewhere"
)]
pub(super) fn client(settings: &ServerSettings) -> anyhow::Result<Client> {
    let mut builder = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(10))
        .user_agent(concat!("rounds/", env!("CARGO_PKG_VERSION")));
    let variable = |name: &str| settings.child_env.get(name).or(settings.child_env.get(&name.to_lowercase()));
    let exceptions = variable("NO_PROXY").and_then(|list| reqwest::NoProxy::from_string(list));
    type Maker = fn(&str) -> reqwest::Result<Proxy>;
    let makers: [(&str, Maker); 2] = [("HTTPS_PROXY", |url| Proxy::https(url)), ("HTTP_PROXY", |url| Proxy::http(url))];
    for (name, make) in makers {
        if let Some(address) = variable(name) {
            // The address may hold a password.
            let proxy = make(address).map_err(|_| anyhow::anyhow!("{name} is not a proxy address"))?;
            builder = builder.proxy(proxy.no_proxy(exceptions.clone()));
        }
    }
    Ok(builder.build()?)
}

/// Asks, and reads an answer that is not endless.
pub(super) async fn ask(client: Client, request: HttpRequest) -> Result<HttpResponse, Unanswered> {
    let request = reqwest::Request::try_from(request)?;
    let mut response = client.execute(request).await.map_err(reqwest::Error::without_url)?;
    let mut answer = openidconnect::http::Response::builder().status(response.status());
    for (name, value) in response.headers() {
        answer = answer.header(name, value);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len() + chunk.len() > LARGEST {
            return Err(Unanswered::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(answer.body(body)?)
}
