//! Connections that are not HTTP, to a host that somebody with `connectors:write` chose: guarded as `http` guards its own.
//!
//! A name is resolved here, each of its addresses is looked at, and what was looked at is what is connected to, so a name
//! that changes its mind between check and use wins nothing. The proxies of [`Host::child_env`](rounds_core::plugin::Host)
//! are for HTTP and are not used.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rounds_core::plugin::{BuildError, Outbound};
use rounds_core::ports::{PortError, PortErrorKind};
use tokio::net::TcpStream;

/// How long one address of several may take, so that a dead one does not use up the time of the others.
const CONNECT: Duration = Duration::from_secs(10);
/// How many addresses of a name are tried.
const ADDRESSES: usize = 8;

/// Looks at a host that is an address already, which no resolver will ever see. Names are looked at when they are used.
///
/// # Errors
/// It may not be called.
pub(crate) fn check_literal(host: &str, outbound: &Outbound) -> Result<(), BuildError> {
    let Ok(address) = host.parse::<IpAddr>() else { return Ok(()) };
    outbound.check(host, address).map_err(|refused| BuildError::config(format!("host: {refused}")))
}

/// Connects to the first address of a host that may be called and answers. `what` names the place in errors.
///
/// # Errors
/// The name cannot be resolved, none of its addresses may be called, or nobody answers.
pub(crate) async fn connect(what: &str, host: &str, port: u16, outbound: &Outbound) -> Result<TcpStream, PortError> {
    let found = tokio::net::lookup_host((host, port)).await.map_err(|error| {
        PortError::new(PortErrorKind::Unavailable, format!("{what}: the name cannot be resolved: {error}"))
    })?;
    connect_to(what, host, found.collect(), outbound).await
}

async fn connect_to(
    what: &str,
    host: &str,
    found: Vec<SocketAddr>,
    outbound: &Outbound,
) -> Result<TcpStream, PortError> {
    let mut refused = None;
    let mut failed: Option<io::Error> = None;
    for address in found.into_iter().take(ADDRESSES) {
        if let Err(why) = outbound.check(host, address.ip()) {
            refused = Some(why);
            continue;
        }
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = Some(error),
            Err(_) => failed = Some(io::ErrorKind::TimedOut.into()),
        }
    }
    Err(match (failed, refused) {
        (Some(error), _) => PortError::new(PortErrorKind::Unavailable, format!("{what}: cannot connect: {error}")),
        (None, Some(why)) => PortError::new(PortErrorKind::Invalid, format!("{what}: not called: {why}")),
        (None, None) => PortError::new(PortErrorKind::Unavailable, format!("{what}: the name has no address")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_public_name_that_resolves_to_this_machine_is_refused_before_anything_is_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let lies = || vec![address];
        let error = connect_to("the server", "mail.example", lies(), &Outbound::default()).await.unwrap_err();
        let text = error.to_string();
        assert!(error.kind == PortErrorKind::Invalid && text.contains("mail.example resolves to 127.0.0.1"), "{text}");
        assert!(text.contains("ROUNDS_OUTBOUND_ALLOW"), "{text}");
        let nobody = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(nobody.is_err(), "somebody connected");
        connect_to("the server", "mail.example", lies(), &Outbound::loopback()).await.unwrap();
    }

    #[tokio::test]
    async fn an_address_is_refused_in_every_spelling_that_the_resolver_takes() {
        for spelled in ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "localhost", "::1", "0.0.0.0", "169.254.169.254"]
        {
            let error = connect("the server", spelled, 25, &Outbound::default()).await.unwrap_err();
            assert!(error.kind != PortErrorKind::Timeout, "{spelled}: {error}");
            // A resolver that does not take a spelling is as good as one whose answer is refused.
            let text = error.to_string();
            assert!(text.contains("ROUNDS_OUTBOUND_ALLOW") || text.contains("cannot be resolved"), "{spelled}: {text}");
        }
        assert!(check_literal("10.0.0.1", &Outbound::default()).is_err());
        check_literal("mail.example", &Outbound::default()).unwrap();
    }
}
