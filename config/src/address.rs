//! Where other nodes are reached: `host:port`, and `node1…@host:port` for a node whose key is known.
//!
//! Checked as text only: whether a name exists is found out when it is dialled.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use figment::value::Value;
use proto::{
    NodeId, ProtoError,
    limits::{ADDRESS_BYTES_MAX, ADDRESSES_MAX},
};

use crate::value::{Kind, found, quoted};

/// The most peers that the settings may name.
pub const PEERS_MAX: usize = 1024;
/// The longest part between two dots of a name, in bytes (RFC 1035).
const LABEL_BYTES_MAX: usize = 63;

/// What is wrong with an address. The text itself is not repeated: whoever reports it knows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing that could be a node id stands before an `@`.
    #[error("it does not begin with a node id and `@`")]
    NoNode,
    /// What stands before the `@` is no node id.
    #[error(transparent)]
    Node(#[from] ProtoError),
    /// It ends with the host.
    #[error("it has no port: write `:4433` behind the host")]
    NoPort,
    /// What stands behind the last colon is no port.
    #[error("`{text}` is no port from 1 to 65535")]
    Port {
        /// What stands there.
        text: String,
    },
    /// An IPv6 address whose end cannot be told from the port.
    #[error("an IPv6 address stands in brackets: `[2001:db8::7]:4433`")]
    Brackets,
    /// What stands before the port is neither a name nor an address.
    #[error("`{text}` is no host name and no address")]
    Host {
        /// What stands there.
        text: String,
    },
    /// `0.0.0.0`, `::` or a group of machines.
    #[error("`{ip}` is not the address of one machine")]
    NoMachine {
        /// The address.
        ip: IpAddr,
    },
    /// It is longer than [`ADDRESS_BYTES_MAX`].
    #[error("it has {bytes} bytes, and at most {ADDRESS_BYTES_MAX} are allowed")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
}

/// A host, by name or by address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A name to look up, in lower case.
    Name(String),
    /// An address of one machine; an IPv4 address is never written as an IPv6 one.
    Ip(IpAddr),
}

/// A host and a port, written `host:port`; an IPv6 address stands in brackets. At most [`ADDRESS_BYTES_MAX`] bytes long.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    host: Host,
    port: u16,
}

impl HostPort {
    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, never zero.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, unless the host has a name that must be looked up first.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            Host::Name(_) => None,
        }
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(AddressError::TooLong { bytes: text.len() });
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(AddressError::Brackets);
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((_, rest)) if rest.ends_with(']') => return Err(AddressError::NoPort),
            Some((host, port)) => (host, port),
            None => return Err(AddressError::NoPort),
        };
        Ok(Self { host: parse_host(host)?, port: parse_port(port)? })
    }
}

/// Of a socket as the system tells it. An IPv4 address that came in over IPv6 is written as what it is.
impl TryFrom<SocketAddr> for HostPort {
    type Error = AddressError;

    fn try_from(address: SocketAddr) -> Result<Self, AddressError> {
        if address.port() == 0 {
            return Err(AddressError::Port { text: String::from("0") });
        }
        Ok(Self { host: Host::Ip(one_machine(address.ip())?), port: address.port() })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
        }
    }
}

/// A node, and where it is reached. Written `node1…@host:port`, once for each address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its key, which is checked whatever answers at its addresses.
    pub node: NodeId,
    /// Where to find it, the one to try first in front; at least one and at most [`ADDRESSES_MAX`], none twice.
    pub addresses: Vec<HostPort>,
}

impl PeerAddress {
    /// It as it is written: a text for each address.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        self.addresses.iter().map(|address| format!("{}@{address}", self.node))
    }
}

/// Of a text with one address.
impl FromStr for PeerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (node, address) = text.split_once('@').ok_or(AddressError::NoNode)?;
        Ok(Self { node: node.parse()?, addresses: vec![address.parse()?] })
    }
}

/// Digits only: `parse` would take a sign as well.
fn parse_port(text: &str) -> Result<u16, AddressError> {
    let port = text.parse().ok().filter(|port| *port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()));
    port.ok_or_else(|| AddressError::Port { text: text.to_owned() })
}

fn parse_host(text: &str) -> Result<Host, AddressError> {
    let wrong = || AddressError::Host { text: text.to_owned() };
    if let Some(inner) = text.strip_prefix('[') {
        let ip: Ipv6Addr = inner.strip_suffix(']').and_then(|ip| ip.parse().ok()).ok_or_else(wrong)?;
        return Ok(Host::Ip(one_machine(ip.into())?));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(AddressError::Brackets);
    }
    match text.parse::<IpAddr>() {
        Ok(ip) => Ok(Host::Ip(one_machine(ip)?)),
        Err(_) if is_name(text) => Ok(Host::Name(text.to_ascii_lowercase())),
        Err(_) => Err(wrong()),
    }
}

/// One machine's address, in its own family.
fn one_machine(ip: IpAddr) -> Result<IpAddr, AddressError> {
    let ip = ip.to_canonical();
    let is_none = ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::from([255; 4]);
    if is_none { Err(AddressError::NoMachine { ip }) } else { Ok(ip) }
}

/// Letters, digits, `-` and `_` between dots (RFC 1123). The last part is not all digits: that is an address mistyped.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        letters
            && (1..=LABEL_BYTES_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A dot at the end says that no search domain is to be tried.
    let name = text.strip_suffix('.').unwrap_or(text);
    let ends_in_digits =
        name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    name.split('.').all(is_label) && !ends_in_digits
}

/// The entries of a list, written as one or as a text with commas between them. Fails with what stands there instead, for
/// people: the first entry that is wrong, and what is wrong with it.
fn entries<T: FromStr<Err = AddressError>>(written: &Value) -> Result<Vec<T>, String> {
    let entry = |text: &str| {
        let text = text.trim();
        text.parse().map_err(|error| format!("{}: {error}", quoted(text)))
    };
    match written {
        Value::Array(_, values) => values
            .iter()
            .map(|value| entry(value.as_str().ok_or_else(|| format!("{}: it is no text", found(value)))?))
            .collect(),
        Value::String(_, text) if text.trim().is_empty() => Ok(Vec::new()),
        Value::String(_, text) => text.split(',').map(entry).collect(),
        _ => Err(found(written)),
    }
}

/// Peers, each once: a node with several entries has several addresses.
fn peers(written: &Value) -> Result<Vec<PeerAddress>, String> {
    let mut merged: Vec<PeerAddress> = Vec::new();
    let mut at = BTreeMap::new();
    for entry in entries::<PeerAddress>(written)? {
        let index = *at.entry(entry.node).or_insert(merged.len());
        match merged.get_mut(index) {
            None => merged.push(entry),
            Some(known) => add(&mut known.addresses, entry.addresses),
        }
    }
    if merged.len() > PEERS_MAX {
        return Err(format!("{} of them (at most {PEERS_MAX})", merged.len()));
    }
    match merged.iter().find(|peer| peer.addresses.len() > ADDRESSES_MAX) {
        Some(peer) => {
            Err(format!("{} addresses of {} (at most {ADDRESSES_MAX})", peer.addresses.len(), peer.node))
        }
        None => Ok(merged),
    }
}

fn addresses(written: &Value) -> Result<Vec<HostPort>, String> {
    let mut addresses = Vec::new();
    add(&mut addresses, entries(written)?);
    if addresses.len() > ADDRESSES_MAX {
        return Err(format!("{} of them (at most {ADDRESSES_MAX})", addresses.len()));
    }
    Ok(addresses)
}

fn add(known: &mut Vec<HostPort>, more: Vec<HostPort>) {
    for address in more {
        if !known.contains(&address) {
            known.push(address);
        }
    }
}

impl Kind for Vec<PeerAddress> {
    fn expected() -> String {
        String::from(r#"a list of nodes with their addresses, such as ["node1…@example.org:4433"]"#)
    }
    fn read(written: &Value) -> Option<Self> {
        peers(written).ok()
    }
    fn instead(written: &Value) -> String {
        peers(written).err().unwrap_or_default()
    }
    fn to_toml(&self) -> String {
        list(self.iter().flat_map(PeerAddress::texts))
    }
}

impl Kind for Vec<HostPort> {
    fn expected() -> String {
        String::from(r#"a list of hosts with their ports, such as ["example.org:4433"]"#)
    }
    fn read(written: &Value) -> Option<Self> {
        addresses(written).ok()
    }
    fn instead(written: &Value) -> String {
        addresses(written).err().unwrap_or_default()
    }
    fn to_toml(&self) -> String {
        list(self.iter().map(ToString::to_string))
    }
}

/// Where this machine listens for other nodes, or `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listen(pub(crate) Option<SocketAddr>);

impl Kind for Listen {
    fn expected() -> String {
        String::from(r#"an address of this machine and a port, such as "[::]:4433", or "off""#)
    }
    fn read(written: &Value) -> Option<Self> {
        Option::read(written).map(Self)
    }
    fn instead(written: &Value) -> String {
        let address = written.as_str().and_then(|text| text.parse::<HostPort>().ok());
        match address.map(|address| address.host) {
            Some(Host::Name(_)) => {
                format!("{}: a name that others come to stands in `network.announce`", found(written))
            }
            _ => found(written),
        }
    }
    fn to_toml(&self) -> String {
        self.0.to_toml()
    }
}

fn list(texts: impl Iterator<Item = String>) -> String {
    format!("[{}]", texts.map(|text| quoted(&text)).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::tests::check;

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 32])
    }

    #[track_caller]
    fn right(text: &str, expected: &str) {
        let address: HostPort = text.parse().unwrap();
        assert_eq!(address.to_string(), expected);
        assert_eq!(expected.parse(), Ok(address), "{expected} does not read back");
    }

    #[track_caller]
    fn wrong(text: &str, expected: &str) {
        assert_eq!(text.parse::<HostPort>().unwrap_err().to_string(), expected, "{text:?}");
    }

    #[test]
    fn address_of_a_name_or_a_machine_is_read() {
        right("example.org:4433", "example.org:4433");
        right("Example.ORG.:1", "example.org.:1");
        right("raspberry_pi-4:65535", "raspberry_pi-4:65535");
        right("192.0.2.7:4433", "192.0.2.7:4433");
        right("[2001:DB8:0::7]:4433", "[2001:db8::7]:4433");
        right("[::ffff:192.0.2.7]:4433", "192.0.2.7:4433");
        right("4.example:1", "4.example:1");
    }

    #[test]
    fn address_that_nobody_could_dial_is_refused_with_the_reason() {
        let no_port = "it has no port: write `:4433` behind the host";
        let brackets = "an IPv6 address stands in brackets: `[2001:db8::7]:4433`";
        wrong("", no_port);
        wrong("example.org", no_port);
        wrong("[::1]", no_port);
        wrong("::1", brackets);
        wrong("2001:db8::7:4433", brackets);
        wrong("2001:db8:0:0:0:0:0:7:4433", brackets);
        wrong("example.org:", "`` is no port from 1 to 65535");
        wrong("example.org:0", "`0` is no port from 1 to 65535");
        wrong("example.org:65536", "`65536` is no port from 1 to 65535");
        wrong("example.org:+1", "`+1` is no port from 1 to 65535");
        wrong("example.org:https", "`https` is no port from 1 to 65535");
        wrong("0.0.0.0:1", "`0.0.0.0` is not the address of one machine");
        wrong("[::]:1", "`::` is not the address of one machine");
        wrong("[::ffff:0.0.0.0]:1", "`0.0.0.0` is not the address of one machine");
        wrong("224.0.0.1:1", "`224.0.0.1` is not the address of one machine");
        wrong("255.255.255.255:1", "`255.255.255.255` is not the address of one machine");
        let long = format!("{}:1", "a.".repeat(127));
        wrong(&long, "it has 256 bytes, and at most 255 are allowed");
        for host in
            ["", ".", "a..b", "-a", "a-", "a b", "bücher.example", "300.1.1.1", "1.2.3", "[fe80::1%eth0]"]
        {
            wrong(&format!("{host}:1"), &format!("`{host}` is no host name and no address"));
        }
        let label = "a".repeat(64);
        wrong(&format!("{label}:1"), &format!("`{label}` is no host name and no address"));
    }

    #[test]
    fn address_of_a_socket_is_that_of_its_machine() {
        let check = |socket: &str, expected: Option<&str>| {
            let address = HostPort::try_from(socket.parse::<SocketAddr>().unwrap()).ok();
            assert_eq!(address.as_ref().map(ToString::to_string).as_deref(), expected);
            assert!(address.is_none_or(|address| address.socket_addr().is_some()));
        };
        check("[::ffff:192.0.2.7]:4433", Some("192.0.2.7:4433"));
        check("[::1]:4433", Some("[::1]:4433"));
        check("[::]:4433", None);
        check("192.0.2.7:0", None);
        assert_eq!("example.org:1".parse::<HostPort>().unwrap().socket_addr(), None);
    }

    #[test]
    fn peer_without_a_whole_id_or_address_is_refused_by_name() {
        let wrong = |text: String, expected: &str| {
            let error = text.parse::<PeerAddress>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        };
        wrong(String::from("example.org:4433"), "does not begin with a node id and `@`");
        wrong(format!("{}", node(1)), "does not begin with a node id and `@`");
        wrong(String::from("@example.org:4433"), "node id");
        let typed = node(1).to_string().replace("node1", "tess1");
        wrong(format!("{typed}@example.org:4433"), "was it typed or copied whole?");
        wrong(format!("{}@example.org", node(1)), "it has no port");
        wrong(format!("{}@{}@h:1", node(1), node(2)), "is no host name");
    }

    #[test]
    fn peers_with_several_addresses_are_merged_in_their_order() {
        let entry = |byte, address: &str| format!("{}@{address}", node(byte));
        let peer = |byte, addresses: &[&str]| PeerAddress {
            node: node(byte),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let written = vec![entry(2, "b:1"), entry(1, "a:1"), entry(2, "[::1]:2"), entry(2, "B:1")];
        let expected = vec![peer(2, &["b:1", "[::1]:2"]), peer(1, &["a:1"])];
        check(written.join(" , "), Some(expected.clone()));
        check(written, Some(expected));
        check("", Some(Vec::<PeerAddress>::new()));
        check(
            vec!["a:1", "A:1", "b:1"],
            Some(vec!["a:1".parse::<HostPort>().unwrap(), "b:1".parse().unwrap()]),
        );
    }

    #[test]
    fn place_to_listen_is_an_address_of_this_machine_and_no_name() {
        check("off", Some(Listen(None)));
        check("[::]:4433", Some(Listen(Some(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 4433))))));
        let instead = |text: &str| {
            assert!(Listen::read(&text.into()).is_none());
            Listen::instead(&text.into())
        };
        let name = "\"example.org:4433\": a name that others come to stands in `network.announce`";
        assert_eq!(instead("example.org:4433"), name);
        assert_eq!(instead("[::]"), "\"[::]\"");
        assert!(Listen::expected().contains(":4433"), "{}", Listen::expected());
    }

    #[test]
    fn lists_that_are_wrong_are_refused_by_the_entry() {
        fn check<T: Kind + fmt::Debug>(written: impl Into<Value>, expected: &str) {
            let written = written.into();
            assert!(T::read(&written).is_none());
            assert_eq!(T::instead(&written), expected);
        }
        check::<Vec<HostPort>>(vec!["a:1", "b"], "\"b\": it has no port: write `:4433` behind the host");
        check::<Vec<HostPort>>("a:1,", "\"\": it has no port: write `:4433` behind the host");
        check::<Vec<HostPort>>(vec![Value::from("a:1"), Value::from(7_i64)], "7: it is no text");
        check::<Vec<PeerAddress>>(true, "true");
        let many = |count: usize| (0..count).map(|n| format!("h{n}:1")).collect::<Vec<_>>();
        check::<Vec<HostPort>>(many(9), "9 of them (at most 8)");
        let of_one: Vec<_> = many(9).iter().map(|address| format!("{}@{address}", node(1))).collect();
        check::<Vec<PeerAddress>>(of_one, &format!("9 addresses of {} (at most 8)", node(1)));
        let of_all = |n: usize| {
            let [low, high, ..] = n.to_le_bytes();
            let mut bytes = [0; 32];
            bytes[..2].copy_from_slice(&[low, high]);
            format!("{}@h:1", NodeId::from_bytes(bytes))
        };
        let of_all: Vec<_> = (0..=PEERS_MAX).map(of_all).collect();
        check::<Vec<PeerAddress>>(of_all, "1025 of them (at most 1024)");
    }

    proptest! {
        #[test]
        fn address_of_any_text_is_read_without_a_panic(text in "\\PC*", port in "[0-9]{0,6}") {
            let _ = text.parse::<PeerAddress>();
            if let Ok(address) = format!("{text}:{port}").parse::<HostPort>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }
}
