//! Where this machine is reached from its own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use config::HostPort;

/// The addresses that it uses towards other networks, with the port that it listens on, if it listens on all of them;
/// else the one that it listens on. Nothing is sent for that.
pub(crate) fn addresses(listens_at: SocketAddr) -> Vec<HostPort> {
    let here = |ip| HostPort::try_from(SocketAddr::new(ip, listens_at.port())).ok();
    if !listens_at.ip().is_unspecified() {
        return here(listens_at.ip()).into_iter().collect();
    }
    let takes_v6 = listens_at.is_ipv6();
    let elsewhere = ELSEWHERE.into_iter().filter(|ip| takes_v6 || ip.is_ipv4());
    elsewhere.filter_map(towards).filter_map(here).collect()
}

/// Whether an address means something in its own network only, or nowhere: who is elsewhere cannot come to it. A name may
/// stand for any.
pub(crate) fn is_local(address: &HostPort) -> bool {
    match address.socket_addr().map(|address| address.ip()) {
        None => false,
        Some(IpAddr::V4(ip)) => {
            let [first, second, ..] = ip.octets();
            let is_behind_a_provider = first == 100 && second & 0b1100_0000 == 64;
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_documentation()
                || is_behind_a_provider
        }
        Some(IpAddr::V6(ip)) => {
            let is_documentation = ip.segments().starts_with(&[0x2001, 0xdb8]);
            ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local() || is_documentation
        }
    }
}

/// The address from which something would be sent there: the system decides that when a socket is connected.
fn towards(there: IpAddr) -> Option<IpAddr> {
    let any =
        if there.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((there, PORT)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
}

/// Addresses of the documentation (RFC 5737, RFC 3849): the way there is the way to everywhere else.
const ELSEWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
/// Any but zero; nothing is sent to it.
const PORT: u16 = 4433;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_that_is_listened_on_is_the_only_one() {
        let only =
            |text: &str| addresses(text.parse().unwrap()).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(only("192.0.2.7:4433"), ["192.0.2.7:4433"]);
        assert_eq!(only("[::1]:4433"), ["[::1]:4433"]);
    }

    #[test]
    fn address_of_a_network_of_its_own_is_local() {
        let local = |text: &str| is_local(&text.parse().unwrap());
        for inside in [
            "10.0.0.7:1",
            "172.31.0.7:1",
            "192.168.1.7:1",
            "127.0.0.1:1",
            "169.254.1.7:1",
            "100.64.0.7:1",
            "192.0.2.2:1",
            "[fd00::2]:1",
            "[::1]:1",
            "[fe80::7]:1",
            "[2001:db8::7]:1",
        ] {
            assert!(local(inside), "{inside}");
        }
        for outside in ["example.org:1", "8.8.8.8:1", "100.128.0.7:1", "172.32.0.7:1", "[2606:4700::7]:1"] {
            assert!(!local(outside), "{outside}");
        }
    }

    #[test]
    fn addresses_of_all_networks_are_those_of_the_way_out() {
        for address in addresses("[::]:4433".parse().unwrap()) {
            let socket = address.socket_addr().unwrap();
            assert!(!socket.ip().is_unspecified() && !socket.ip().is_loopback(), "{address}");
            assert_eq!(socket.port(), 4433);
        }
        assert!(
            addresses("0.0.0.0:4433".parse().unwrap()).iter().all(|one| one.socket_addr().unwrap().is_ipv4())
        );
    }
}
