//! Where a request comes from.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use secrecy::SecretString;

use super::who::session_token;
use crate::state::AppState;

/// The address a request comes from, whether it came over TLS, and what browser sent it. What a proxy says counts only when the operator
/// said that there is one.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The address.
    pub address: IpAddr,
    /// Whether cookies may be marked `Secure`.
    pub secure: bool,
    /// The program at the other side, as it calls itself.
    pub user_agent: Option<String>,
    /// The session cookie it carries, live or not: signing in ends that session.
    pub session: Option<SecretString>,
}

impl Peer {
    /// A caller at an address, of whom nothing else is known.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        Self { address, secure: false, user_agent: None, session: None }
    }

    pub(crate) fn of(parts: &Parts, state: &AppState) -> Self {
        let direct = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let (mut address, mut secure) = (direct.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), false);
        if state.http.trust_proxy {
            // The proxy appends: only the last entry is its own word.
            let last = last_of(&parts.headers, "x-forwarded-for").and_then(|text| text.parse().ok());
            address = last.unwrap_or(address);
            secure =
                last_of(&parts.headers, "x-forwarded-proto").is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        }
        let user_agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Self { address, secure, user_agent, session: session_token(&parts.headers) }
    }
}

fn last_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    value.rsplit(',').next().map(str::trim)
}

impl FromRequestParts<AppState> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        Ok(Self::of(parts, state))
    }
}
