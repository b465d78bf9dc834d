//! Whether kubectl goes through the operator's proxy to a server, and through which: what Go's `net/http.ProxyFromEnvironment` makes of the
//! environment (package `golang.org/x/net/http/httpproxy`) and client-go of `NO_PROXY` before it.
//!
//! `HTTPS_PROXY` is for https and `HTTP_PROXY` for http, in capitals first; there is no `ALL_PROXY`. `localhost` and loopback
//! are never asked of a proxy. `NO_PROXY` lists `*`, addresses, CIDRs, and names that take in what ends in `.name`; names and
//! addresses with a port count for that port. Where versions of Go differ, the answer here is no: then kubectl is pinned,
//! and a pinned kubectl leads nowhere that was not checked.

use std::collections::BTreeMap;
use std::net::IpAddr;

use url::Url;

/// The proxy through which kubectl with this environment would send requests for this address, as `proxy-url` of a kubeconfig
/// takes it (http, https, socks5).
pub(super) fn of(environment: &BTreeMap<String, String>, server: &Url) -> Option<String> {
    let first = |names: [&str; 2]| {
        names.into_iter().find_map(|name| environment.get(name).map(String::as_str).filter(|value| !value.is_empty()))
    };
    let proxy = match server.scheme() {
        "https" => first(["HTTPS_PROXY", "https_proxy"]),
        "http" => first(["HTTP_PROXY", "http_proxy"]),
        _ => None,
    };
    let (host, port) = (server.host()?, server.port_or_known_default()?);
    let proxy = proxy.and_then(address)?;
    let address = match host {
        url::Host::Ipv4(address) => Some(IpAddr::V4(address)),
        url::Host::Ipv6(address) => Some(IpAddr::V6(address).to_canonical()),
        url::Host::Domain(_) => None,
    };
    let name = address.map_or_else(|| host.to_string().to_ascii_lowercase(), |address| address.to_string());
    if name == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return None;
    }
    let exempt = first(["NO_PROXY", "no_proxy"]).unwrap_or_default();
    let exempt = exempt.split(',').any(|rule| exempts(&rule.trim().to_lowercase(), &name, address, &port.to_string()));
    (!exempt).then_some(proxy)
}

/// The address of a proxy. Go ignores what it cannot read, and then asks no proxy.
fn address(value: &str) -> Option<String> {
    if value.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return None;
    }
    let address = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    Url::parse(&address).ok().filter(|url| url.host_str().is_some_and(|host| !host.is_empty()))?;
    // To Go both let the proxy look names up, and kubeconfigs know one of them.
    Some(address.strip_prefix("socks5h://").map(|rest| format!("socks5://{rest}")).unwrap_or(address))
}

/// Whether one entry of `NO_PROXY` takes in a host.
fn exempts(rule: &str, name: &str, address: Option<IpAddr>, port: &str) -> bool {
    if rule.is_empty() || rule == "*" {
        return rule == "*";
    }
    if let Some((network, bits)) = cidr(rule) {
        return address.is_some_and(|address| is_within(address, network, bits));
    }
    let (host, only) = match host_and_port(rule) {
        Some((host, port)) => (host, Some(port)),
        None => (rule, None),
    };
    if host.is_empty() || only.is_some_and(|only| !only.is_empty() && only != port) {
        return false;
    }
    if let Ok(exempt) = host.parse::<IpAddr>() {
        return address == Some(exempt.to_canonical());
    }
    let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
    match host.strip_prefix('.') {
        Some(_) => name.ends_with(host),
        None => {
            // Names are compared as they are looked up.
            let host = url::Host::parse(host).map_or_else(|_| host.to_owned(), |host| host.to_string());
            name == host || name.strip_suffix(&host).is_some_and(|before| before.ends_with('.'))
        }
    }
}

fn host_and_port(rule: &str) -> Option<(&str, &str)> {
    match rule.strip_prefix('[') {
        Some(rest) => rest.split_once("]:"),
        None => rule.split_once(':').filter(|(_, port)| !port.contains(':')),
    }
}

/// A network and its bits. client-go takes leading zeros of a number as nothing.
fn cidr(rule: &str) -> Option<(IpAddr, u32)> {
    let (network, bits) = rule.split_once('/')?;
    let plain = |part: &str| part.parse::<u8>().map(|number| number.to_string());
    let network = match network.split('.').map(plain).collect::<Result<Vec<_>, _>>() {
        Ok(parts) => parts.join(".").parse::<IpAddr>().ok()?,
        Err(_) => network.parse().ok()?,
    };
    let (bits, most) = (bits.parse::<u32>().ok()?, if network.is_ipv4() { 32 } else { 128 });
    (bits <= most).then_some((network, bits))
}

fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or_default();
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or_default();
            address.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(environment: &[(&str, &str)], server: &str) -> bool {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        of(&environment, &Url::parse(server).unwrap()).is_some()
    }

    #[test]
    fn the_proxy_is_written_as_a_kubeconfig_takes_it() {
        for (value, written) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("proxy:3128", "http://proxy:3128"),
            ("https://me:hunter2@proxy", "https://me:hunter2@proxy"),
            ("socks5://proxy:1080", "socks5://proxy:1080"),
            ("socks5h://proxy:1080", "socks5://proxy:1080"),
        ] {
            let environment = [("HTTPS_PROXY".to_owned(), value.to_owned())].into();
            let found = of(&environment, &Url::parse("https://k.example").unwrap());
            assert_eq!(found.as_deref(), Some(written), "{value}");
        }
    }

    #[test]
    fn the_proxy_is_the_one_of_the_scheme_and_nothing_else_counts() {
        const P: &str = "http://proxy:3128";
        for (environment, server, expected) in [
            (vec![("HTTPS_PROXY", P)], "https://k.example", true),
            (vec![("https_proxy", P)], "https://k.example:6443", true),
            (vec![("HTTPS_PROXY", ""), ("https_proxy", "proxy:3128")], "https://k.example", true),
            (vec![("HTTPS_PROXY", "proxy")], "https://10.0.0.1:6443", true),
            (vec![("HTTPS_PROXY", "socks5://proxy:1080")], "https://[fd00::1]:6443", true),
            (vec![("HTTP_PROXY", P)], "http://k.example", true),
            (vec![("HTTP_PROXY", P), ("http_proxy", P)], "https://k.example", false),
            (vec![("HTTPS_PROXY", P)], "http://k.example", false),
            (vec![("ALL_PROXY", P), ("all_proxy", P)], "https://k.example", false),
            (vec![("Https_Proxy", P)], "https://k.example", false),
            (vec![("HTTPS_PROXY", "  ")], "https://k.example", false),
            (vec![("HTTPS_PROXY", "http:proxy")], "https://k.example", false),
            (vec![], "https://k.example", false),
        ] {
            assert_eq!(used(&environment, server), expected, "{environment:?} {server}");
        }
    }

    #[test]
    fn what_no_proxy_takes_in_is_not_asked_of_the_proxy() {
        for (no_proxy, server, expected) in [
            ("", "https://k.example", true),
            ("", "https://localhost:6443", false),
            ("", "https://127.0.0.1:6443", false),
            ("", "https://127.9.9.9", false),
            ("", "https://[::1]:6443", false),
            ("", "https://[::ffff:127.0.0.1]", false),
            ("*", "https://k.example", false),
            ("a, *", "https://10.0.0.1", false),
            ("k.example", "https://k.example", false),
            ("K.Example", "https://k.example", false),
            ("k.example", "https://api.k.example", false),
            ("k.example", "https://ak.example", true),
            (".k.example", "https://k.example", true),
            (".k.example", "https://api.k.example", false),
            ("*.k.example", "https://api.k.example", false),
            ("*.k.example", "https://k.example", true),
            ("k.*", "https://k.example", true),
            ("k.example:6443", "https://k.example:6443", false),
            ("k.example:6443", "https://k.example", true),
            ("k.example:443", "https://k.example", false),
            (":443", "https://k.example", true),
            ("10.0.0.1", "https://10.0.0.1:6443", false),
            ("10.0.0.1:6443", "https://10.0.0.1:6443", false),
            ("10.0.0.1:443", "https://10.0.0.1:6443", true),
            ("10.0.0.2", "https://10.0.0.1", true),
            ("10.0.0.1", "https://[::ffff:10.0.0.1]", false),
            ("fd00::1", "https://[fd00::1]", false),
            ("[fd00::1]:6443", "https://[fd00::1]:6443", false),
            ("[fd00::1]:443", "https://[fd00::1]:6443", true),
            ("10.0.0.0/8", "https://10.1.2.3", false),
            ("010.0.0.0/8", "https://10.1.2.3", false),
            ("10.0.0.0/8", "https://11.1.2.3", true),
            ("10.0.0.0/8", "https://k.example", true),
            ("0.0.0.0/0", "https://11.1.2.3", false),
            ("0.0.0.0/0", "https://[fd00::1]", true),
            ("10.0.0.0/33", "https://10.1.2.3", true),
            ("fd00::/8", "https://[fd12::1]", false),
            ("fd00::/8", "https://[fe00::1]", true),
            ("cluster.local,.svc,10.96.0.0/12", "https://10.96.0.1", false),
            ("cluster.local,.svc,10.96.0.0/12", "https://kubernetes.default.svc", false),
        ] {
            let environment = [("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", no_proxy)];
            assert_eq!(used(&environment, server), expected, "NO_PROXY={no_proxy} {server}");
        }
        let lower = [("HTTPS_PROXY", "http://proxy"), ("no_proxy", "k.example"), ("NO_PROXY", "")];
        assert!(!used(&lower, "https://k.example"));
    }
}
