//! Which addresses connectors may call.
//!
//! Whoever may configure a connector chooses an address that this server then calls, from inside its own network. So an
//! address that only means something in there (loopback, private, link-local with the cloud's metadata service) is refused
//! unless the operator of the server says otherwise. Everything here is pure: who connects resolves a name and asks about
//! each address that came back, right before it is used, so that a name cannot mean one thing when it is checked and
//! another when it is called.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

/// The setting of the server that fills this in, as errors name it.
const SETTING: &str = "ROUNDS_OUTBOUND_ALLOW";

/// What kind of address it is, when it is not one of the public internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressRange {
    /// "This host on this network": `0.0.0.0/8`, `::`.
    Unspecified,
    /// This machine: `127.0.0.0/8`, `::1`.
    Loopback,
    /// RFC 1918 and IPv6 unique local addresses.
    Private,
    /// Shared between a provider and its customers (RFC 6598): `100.64.0.0/10`.
    Shared,
    /// Only on this link: `169.254.0.0/16`, `fe80::/10`.
    LinkLocal,
    /// Where clouds tell their machines credentials, on addresses of any range.
    Metadata,
    /// To many at once: `224.0.0.0/4`, `ff00::/8`.
    Multicast,
    /// To all at once: `255.255.255.255`.
    Broadcast,
    /// For examples in documents.
    Documentation,
    /// For measuring networks: `198.18.0.0/15`, `2001:2::/48`.
    Benchmark,
    /// Set aside for protocols or for later.
    Reserved,
}

impl AddressRange {
    /// The range of an address; `None`: it is a public one. An IPv6 address that only wraps an IPv4 one (mapped,
    /// compatible, translated, NAT64, 6to4) is of the range of that one.
    #[must_use]
    pub fn of(address: IpAddr) -> Option<Self> {
        match unwrapped(address) {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }

    /// Its words, with an article.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::Shared => "a shared address (RFC 6598)",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "the address of a cloud's metadata service",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "the broadcast address",
            Self::Documentation => "an address for documentation",
            Self::Benchmark => "an address for benchmarks",
            Self::Reserved => "a reserved address",
        }
    }

    /// The word of the setting that allows the whole range, for the ranges that have one.
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Loopback => Some("loopback"),
            Self::Private | Self::Shared => Some("private"),
            _ => None,
        }
    }
}

fn of_v4(address: Ipv4Addr) -> Option<AddressRange> {
    let [a, b, c, d] = address.octets();
    Some(match (a, b, c, d) {
        // Beside 169.254.169.254: what other clouds chose for the same thing.
        (169, 254, 169 | 170, _) | (100, 100, 100, 200) | (168, 63, 129, 16) => AddressRange::Metadata,
        (192, 0, 0, 192) => AddressRange::Metadata,
        (0, ..) => AddressRange::Unspecified,
        (127, ..) => AddressRange::Loopback,
        (10, ..) | (172, 16..=31, ..) | (192, 168, ..) => AddressRange::Private,
        (100, 64..=127, ..) => AddressRange::Shared,
        (169, 254, ..) => AddressRange::LinkLocal,
        (192, 0, 2, _) | (198, 51, 100, _) | (203, 0, 113, _) => AddressRange::Documentation,
        (198, 18..=19, ..) => AddressRange::Benchmark,
        (192, 0, 0, _) | (192, 88, 99, _) => AddressRange::Reserved,
        (224..=239, ..) => AddressRange::Multicast,
        (255, 255, 255, 255) => AddressRange::Broadcast,
        (240.., ..) => AddressRange::Reserved,
        _ => return None,
    })
}

fn of_v6(address: Ipv6Addr) -> Option<AddressRange> {
    let segments = address.segments();
    Some(match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressRange::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressRange::Loopback,
        // Two clouds' metadata services live among the unique local addresses.
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254] | [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254] => AddressRange::Metadata,
        [0xfc00..=0xfdff, ..] => AddressRange::Private,
        [0xfe80..=0xfebf, ..] => AddressRange::LinkLocal,
        [0xff00..=0xffff, ..] => AddressRange::Multicast,
        [0x2001, 0x0db8, ..] | [0x3fff, 0x0000..=0x0fff, ..] => AddressRange::Documentation,
        [0x2001, 0x0002, 0, ..] => AddressRange::Benchmark,
        // Teredo and others: what they lead to is for their protocols to say.
        [0x2001, 0x0000..=0x01ff, ..] => AddressRange::Reserved,
        [0x2000..=0x3fff, ..] => return None,
        // Only 2000::/3 is routed on the internet; what is elsewhere is site-local, discarded or not given out.
        _ => AddressRange::Reserved,
    })
}

/// The IPv4 address that an IPv6 one stands for, where it stands for one.
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let s = v6.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        // Compatible, mapped, translated (RFC 2765), NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // 6to4.
        [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

/// A host name that may be called, whatever it resolves to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Exactly(String),
    /// Every name that ends so, dot included.
    Below(String),
}

/// Which addresses connectors may call beyond those of the public internet. The default allows none.
///
/// ```
/// use rounds_core::plugin::Outbound;
/// use std::net::IpAddr;
///
/// let outbound: Outbound = "10.0.0.0/8, prometheus.monitoring.svc".parse()?;
/// let inside: IpAddr = "10.1.2.3".parse()?;
/// outbound.check("10.1.2.3", inside)?;
///
/// let metadata: IpAddr = "169.254.169.254".parse()?;
/// let refused = outbound.check("metadata.example", metadata).unwrap_err();
/// assert!(refused.to_string().contains("ROUNDS_OUTBOUND_ALLOW"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outbound {
    anything: bool,
    private: bool,
    loopback: bool,
    networks: Vec<IpNet>,
    names: Vec<Name>,
}

/// An entry of the list that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "found `{found}`{why}; accepted are, with commas between them: networks (10.0.0.0/8, fd00::/8), addresses \
     (127.0.0.1), host names (prometheus.monitoring.svc, *.internal.example), `private`, `loopback`, and `*` for anything"
)]
pub struct InvalidOutbound {
    found: String,
    why: &'static str,
}

/// An address that connectors may not call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct OutboundRefused {
    host: String,
    address: IpAddr,
    range: AddressRange,
}

impl OutboundRefused {
    /// What kind of address it is.
    #[must_use]
    pub fn range(&self) -> AddressRange {
        self.range
    }
}

impl fmt::Display for OutboundRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address, range } = self;
        let is_name = literal(host).is_none();
        if is_name {
            write!(f, "{host} resolves to {address}, {}", range.title())?;
        } else {
            write!(f, "{address} is {}", range.title())?;
        }
        let inner = unwrapped(*address);
        if inner != *address {
            write!(f, " (it stands for {inner})")?;
        }
        write!(
            f,
            ", and connectors call only public addresses unless the operator of this server allows more: start it with \
             {SETTING}={inner}"
        )?;
        if is_name {
            write!(f, " or {SETTING}={host}")?;
        }
        if let Some(word) = range.word() {
            write!(f, ", or {SETTING}={word} for all {word} addresses")?;
        }
        f.write_str(" (a list with commas)")
    }
}

/// An address as it is written in the host part of a URL.
fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn normal(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

impl Outbound {
    /// Allows everything: for who configures the connectors in the program itself.
    #[must_use]
    pub fn anything() -> Self {
        Self { anything: true, ..Self::default() }
    }

    /// Allows this machine itself: for tests and demonstrations.
    #[must_use]
    pub fn loopback() -> Self {
        Self { loopback: true, ..Self::default() }
    }

    /// Whether a host name is allowed whatever it resolves to.
    #[must_use]
    pub fn allows_name(&self, host: &str) -> bool {
        let host = normal(host);
        self.anything
            || self.names.iter().any(|name| match name {
                Name::Exactly(name) => *name == host,
                Name::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            })
    }

    /// Whether an address may be called that `host`, a name or the address itself, stands for.
    ///
    /// # Errors
    /// It may not; the message names the address, its range and the setting that would allow it.
    pub fn check(&self, host: &str, address: IpAddr) -> Result<(), OutboundRefused> {
        let Some(range) = AddressRange::of(address) else { return Ok(()) };
        let inner = unwrapped(address);
        let allowed = self.anything
            || (self.loopback && range == AddressRange::Loopback)
            || (self.private && matches!(range, AddressRange::Private | AddressRange::Shared))
            || self.networks.iter().any(|network| network.contains(&inner) || network.contains(&address))
            || self.allows_name(host);
        if allowed { Ok(()) } else { Err(OutboundRefused { host: shown(host), address, range }) }
    }
}

/// A host as messages show it: it may be of any length and hold anything.
fn shown(host: &str) -> String {
    host.chars().filter(|c| !c.is_control()).take(253).collect()
}

impl FromStr for Outbound {
    type Err = InvalidOutbound;

    fn from_str(list: &str) -> Result<Self, InvalidOutbound> {
        let mut outbound = Self::default();
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let invalid = |why: &'static str| InvalidOutbound { found: entry.chars().take(80).collect(), why };
            match entry.to_ascii_lowercase().as_str() {
                "*" => outbound.anything = true,
                "private" => outbound.private = true,
                "loopback" => outbound.loopback = true,
                entry if entry.contains('/') => {
                    let network: IpNet = entry.parse().map_err(|_| invalid(", which is no network"))?;
                    // Whoever writes 10.1.2.3/8 may mean the one address or all of them.
                    if network.trunc() != network {
                        return Err(invalid(", a network whose address has bits beyond its length"));
                    }
                    outbound.networks.push(network);
                }
                entry => match literal(entry) {
                    Some(address) => outbound.networks.push(address.into()),
                    None => outbound.names.push(name(entry).ok_or_else(|| invalid(""))?),
                },
            }
        }
        Ok(outbound)
    }
}

fn name(entry: &str) -> Option<Name> {
    let entry = entry.trim_end_matches('.');
    let (below, host) = match entry.strip_prefix("*.") {
        Some(host) => (true, host),
        None => (false, entry),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    // What ends in a number is an address that was mistyped.
    let is_number = host.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if host.len() > 253 || is_number || !host.split('.').all(label) {
        return None;
    }
    Some(if below { Name::Below(format!(".{host}")) } else { Name::Exactly(host.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn every_address_that_is_not_public_is_known_with_its_range() {
        use AddressRange as R;
        for (range, addresses) in [
            (R::Unspecified, &["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"][..]),
            (R::Loopback, &["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::127.0.0.1"]),
            (R::Loopback, &["64:ff9b::7f00:1", "2002:7f00:1::", "2002:7f00:1:2:3:4:5:6", "::ffff:0:127.0.0.1"]),
            (R::Private, &["10.0.0.0", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1"]),
            (R::Private, &["fc00::1", "fdff:ffff::1", "::ffff:10.1.2.3", "64:ff9b::a01:203", "2002:a01:203::1"]),
            (R::Shared, &["100.64.0.0", "100.127.255.255", "::ffff:100.64.0.1"]),
            (R::LinkLocal, &["169.254.0.1", "fe80::1", "febf::1", "::ffff:169.254.1.1"]),
            (R::Metadata, &["169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"]),
            (R::Metadata, &["::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "fd20:ce::254"]),
            (R::Multicast, &["224.0.0.1", "239.255.255.255", "ff02::1"]),
            (R::Broadcast, &["255.255.255.255", "::ffff:255.255.255.255"]),
            (R::Documentation, &["192.0.2.1", "198.51.100.1", "203.0.113.9", "2001:db8::1", "3fff::1"]),
            (R::Benchmark, &["198.18.0.1", "198.19.255.255", "2001:2::1"]),
            (R::Reserved, &["240.0.0.1", "192.0.0.1", "192.88.99.1", "2001::1", "100::1", "fec0::1", "64:ff9b:1::1"]),
            (R::Reserved, &["5f00::1", "4000::1", "1::"]),
        ] {
            for address in addresses {
                assert_eq!(AddressRange::of(ip(address)), Some(range), "{address}");
                assert!(Outbound::default().check(address, ip(address)).is_err(), "{address}");
            }
        }
        let public = ["1.1.1.1", "9.255.255.255", "11.0.0.0", "172.15.255.255", "172.32.0.0", "100.63.255.255"];
        let more = ["100.128.0.0", "126.255.255.255", "128.0.0.1", "169.253.0.1", "223.255.255.255", "198.17.0.1"];
        let v6 = ["2606:4700::1111", "2001:4860:4860::8888", "64:ff9b::101:101", "2002:101:101::", "::ffff:1.1.1.1"];
        for address in public.iter().chain(&more).chain(&v6) {
            assert_eq!(AddressRange::of(ip(address)), None, "{address}");
            Outbound::default().check(address, ip(address)).unwrap();
        }
    }

    #[test]
    fn what_the_list_names_is_allowed_and_nothing_beside_it() {
        let allows =
            |list: &str, host: &str, address: &str| list.parse::<Outbound>().unwrap().check(host, ip(address)).is_ok();
        for (list, host, address, allowed) in [
            ("", "10.0.0.1", "10.0.0.1", false),
            ("10.0.0.0/8", "x.example", "10.0.0.1", true),
            ("10.0.0.0/8", "x.example", "::ffff:10.0.0.1", true),
            ("10.0.0.0/8", "x.example", "11.0.0.1", true),
            ("10.0.0.0/8", "x.example", "192.168.0.1", false),
            ("127.0.0.1", "localhost", "127.0.0.1", true),
            ("127.0.0.1", "localhost", "127.0.0.2", false),
            ("[::1]", "localhost", "::1", true),
            ("loopback", "localhost", "::1", true),
            ("loopback", "x", "10.0.0.1", false),
            ("private", "x", "192.168.1.1", true),
            ("private", "x", "fd12::1", true),
            ("private", "x", "100.64.0.1", true),
            ("private", "x", "127.0.0.1", false),
            ("private", "x", "169.254.169.254", false),
            ("private", "x", "100.100.100.200", false),
            ("private", "x", "fd00:ec2::254", false),
            ("169.254.169.254", "x", "169.254.169.254", true),
            ("*", "x", "169.254.169.254", true),
            ("prometheus.svc", "Prometheus.svc.", "10.0.0.1", true),
            ("prometheus.svc", "evil.prometheus.svc", "10.0.0.1", false),
            ("*.svc", "prometheus.svc", "10.0.0.1", true),
            ("*.svc", "svc", "10.0.0.1", false),
            ("*.svc", "notsvc", "10.0.0.1", false),
            (" 10.0.0.0/8 , PRIVATE,, ", "x", "172.16.0.1", true),
        ] {
            assert_eq!(allows(list, host, address), allowed, "{list} {host} {address}");
        }
    }

    #[test]
    fn a_wrong_entry_says_what_was_found_and_what_is_accepted() {
        for wrong in ["10.0.0.0/33", "10.1.2.3/8", "10.0.0.256", "http://x", "a b", "-_.!", "*.", "a..b", "127.1"] {
            let error = format!("private,{wrong}").parse::<Outbound>().unwrap_err().to_string();
            assert!(error.contains(wrong.trim_end_matches('.')) && error.contains("10.0.0.0/8"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_refusal_names_the_address_its_range_and_each_setting_that_would_allow_it() {
        let refused = |host: &str, address: &str| Outbound::default().check(host, ip(address)).unwrap_err().to_string();
        let named = refused("prometheus.monitoring", "10.2.3.4");
        for part in [
            "prometheus.monitoring resolves to 10.2.3.4",
            "a private address",
            "ROUNDS_OUTBOUND_ALLOW=10.2.3.4",
            "ROUNDS_OUTBOUND_ALLOW=prometheus.monitoring",
            "ROUNDS_OUTBOUND_ALLOW=private",
        ] {
            assert!(named.contains(part), "{part}: {named}");
        }
        let literal = refused("[::ffff:169.254.169.254]", "::ffff:169.254.169.254");
        assert!(literal.contains("::ffff:169.254.169.254 is the address of a cloud's metadata service"), "{literal}");
        assert!(literal.contains("stands for 169.254.169.254") && !literal.contains("=private"), "{literal}");
    }
}
