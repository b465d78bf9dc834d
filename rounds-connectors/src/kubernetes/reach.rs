//! Where a kubeconfig may lead.
//!
//! The `server` of a kubeconfig is an address that somebody with `connectors:write` chose and this server calls, so it is
//! held against [`Host::outbound`], with one difference: private addresses pass. Nearly every cluster's API is at one,
//! and kubectl speaks nothing but the Kubernetes API there, over TLS that is verified unless the operator said otherwise
//! for this connector. Loopback, link-local (the cloud's metadata service) and the rest are refused as everywhere.
//!
//! kubectl resolves names by itself and follows redirects. So it is given a [way](super::pin) to the addresses that were
//! looked up and checked, and to nothing else; except where kubectl goes through a [proxy](super::proxy) of the operator, which
//! then decides. It decides about all of it: that proxy is written into the kubeconfig, since the environment would let kubectl past
//! it to whatever `NO_PROXY` takes in, to loopback, and over plain HTTP where only `HTTPS_PROXY` is set, should a server redirect it
//! there.

use std::net::IpAddr;

use rounds_core::plugin::{AddressRange, Host, OutboundRefused};
use url::Url;

use super::pin::Destination;
use super::proxy;

fn check(host: &Host, name: &str, address: IpAddr) -> Result<(), OutboundRefused> {
    match host.outbound.check(name, address) {
        Err(refused) if matches!(refused.range(), AddressRange::Private | AddressRange::Shared) => Ok(()),
        checked => checked,
    }
}

/// Looks at an address that is written out; a name passes.
pub(super) fn check_literal(host: &Host, server: &str) -> Result<(), String> {
    let Ok(url) = Url::parse(server) else { return Ok(()) };
    let checked = |address: IpAddr| {
        let checked = check(host, url.host_str().unwrap_or_default(), address);
        checked.map_err(|refused| format!("its cluster's `server` may not be called: {refused}"))
    };
    match url.host() {
        Some(url::Host::Ipv4(address)) => {
            checked(address.into())?;
            // kubectl may read another address out of 0x7f.1 than we do.
            if !server.contains(&address.to_string()) {
                return Err(format!("its cluster's `server` spells the address {address} in an odd way: write it so"));
            }
            Ok(())
        }
        Some(url::Host::Ipv6(address)) => checked(address.into()),
        Some(url::Host::Domain(_)) | None => Ok(()),
    }
}

/// The way that kubectl is given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To these addresses and nowhere else.
    Pinned(Destination),
    /// All of it through the operator's proxy, which may have a password in its address.
    Proxy(String),
    /// As the kubeconfig says: it has a proxy of its own, which the operator allowed, or no address that can be read.
    Own,
}

impl Way {
    fn new(found: Option<Destination>, proxy: Option<String>) -> Self {
        match (proxy, found) {
            (Some(proxy), _) => Self::Proxy(proxy),
            (None, Some(found)) => Self::Pinned(found),
            (None, None) => Self::Own,
        }
    }
}

/// Looks up the name of a server and at every address that it has, and says where kubectl may be let to.
pub(super) async fn destination(host: &Host, server: &str) -> Result<Way, String> {
    let proxy = proxy_to(host, server);
    let found = resolved(server, proxy.is_some()).await?;
    for address in found.iter().flat_map(|found| &found.addresses) {
        check(host, url_host(server).as_deref().unwrap_or_default(), *address)
            .map_err(|refused| format!("the API server {server} may not be called, so nothing was sent: {refused}"))?;
    }
    Ok(Way::new(found, proxy))
}

/// The same of a server that nobody but the operator chose: its addresses are taken as they are.
pub(super) async fn chosen(host: &Host, server: &str) -> Result<Way, String> {
    let proxy = proxy_to(host, server);
    Ok(Way::new(resolved(server, proxy.is_some()).await?, proxy))
}

fn url_host(server: &str) -> Option<String> {
    Url::parse(server).ok()?.host_str().map(str::to_owned)
}

async fn resolved(server: &str, proxied: bool) -> Result<Option<Destination>, String> {
    let Some(url) = Url::parse(server).ok() else { return Ok(None) };
    let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else { return Ok(None) };
    let (host, addresses) = match host {
        url::Host::Ipv4(address) => (address.to_string(), vec![IpAddr::V4(address)]),
        url::Host::Ipv6(address) => (address.to_string(), vec![IpAddr::V6(address)]),
        url::Host::Domain(name) => match tokio::net::lookup_host((name, 0)).await {
            Ok(found) => (name.to_owned(), found.map(|found| found.ip()).collect()),
            // Behind a proxy, names are the proxy's to resolve.
            Err(_) if proxied => return Ok(None),
            Err(error) => {
                return Err(format!(
                    "the API server {server} could not be reached, so nothing was sent: {name}: {error}"
                ));
            }
        },
    };
    Ok(Some(Destination { host, port, addresses }))
}

fn proxy_to(host: &Host, server: &str) -> Option<String> {
    proxy::of(&host.child_env, &Url::parse(server).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_may_be_at_a_private_address_and_not_at_this_host_or_the_metadata_service() {
        let none = Host::default();
        for server in ["https://10.0.0.1:6443", "https://100.64.0.1", "https://[fd00::1]:6443", "https://1.1.1.1"] {
            check_literal(&none, server).unwrap();
        }
        for server in [
            "https://127.0.0.1:6443",
            "https://0x7f.1",
            "https://[::1]:6443",
            "https://169.254.169.254",
            "https://[::ffff:169.254.169.254]",
            "https://[fe80::1]",
            "https://[fd00:ec2::254]",
            "https://0.0.0.0:6443",
            "https://100.100.100.200",
        ] {
            let error = check_literal(&none, server).unwrap_err();
            assert!(error.contains("ROUNDS_OUTBOUND_ALLOW"), "{server}: {error}");
        }
        let loopback = Host { outbound: "loopback".parse().unwrap(), ..Host::default() };
        check_literal(&loopback, "https://127.0.0.1:6443").unwrap();
        assert!(check_literal(&loopback, "https://0x7f.1").unwrap_err().contains("odd way"));
        assert!(check_literal(&loopback, "https://169.254.169.254").is_err());
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_host_is_refused_before_kubectl_is_started() {
        let error = destination(&Host::default(), "https://localhost:6443").await.unwrap_err();
        assert!(error.contains("localhost resolves to") && error.contains("nothing was sent"), "{error}");
        let loopback = Host { outbound: "loopback".parse().unwrap(), ..Host::default() };
        let found = destination(&loopback, "https://localhost:6443").await.unwrap();
        let Way::Pinned(found) = found else { panic!("{found:?}") };
        assert_eq!((found.host.as_str(), found.port), ("localhost", 6443));
        assert!(found.addresses.iter().all(IpAddr::is_loopback) && !found.addresses.is_empty());
        let mut proxied = Host::default();
        let unknown = "https://no-such-host.invalid:6443";
        assert!(destination(&proxied, unknown).await.unwrap_err().contains("nothing was sent"));
        proxied.child_env.insert("HTTPS_PROXY".into(), "http://proxy:3128".into());
        let through = Way::Proxy("http://proxy:3128".into());
        assert_eq!(destination(&proxied, unknown).await.unwrap(), through, "the operator's proxy says where it leads");
        // A proxy that kubectl does not use says nothing about where it leads.
        proxied.outbound = "loopback".parse().unwrap();
        let is_pinned = |way: Way| matches!(way, Way::Pinned(_));
        assert!(is_pinned(destination(&proxied, "https://localhost:6443").await.unwrap()), "never through a proxy");
        proxied.child_env.insert("NO_PROXY".into(), ".invalid,10.0.0.0/8".into());
        assert!(destination(&proxied, unknown).await.unwrap_err().contains("nothing was sent"));
        assert!(is_pinned(destination(&proxied, "https://10.0.0.1:6443").await.unwrap()));
        assert!(is_pinned(chosen(&proxied, "https://10.0.0.1:6443").await.unwrap()));
        assert_eq!(chosen(&proxied, "https://192.168.0.1:6443").await.unwrap(), through);
    }
}
