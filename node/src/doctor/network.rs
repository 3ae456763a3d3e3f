//! Whether this node and the others find each other, as the daemon knows it.

use super::Check;
use crate::api::{Network, Reached};

/// Whether the nodes that are known are there, and whether they can come by themselves.
pub(super) fn network(network: &Network) -> Check {
    let known = network.known();
    match network {
        // That is no fault: it keeps what its person gives it.
        Network { peers: 0, .. } => Check::ok(NETWORK, "no other node is known"),
        Network { connected: None, .. } => {
            Check::unknown(NETWORK, known, "try again in a moment; see `actors`")
        }
        Network { connected: Some(0), .. } => Check::warning(
            NETWORK,
            known,
            "`pool` says why; when all of them are away at once, it may be this machine's own network, or a firewall that lets \
             no UDP through",
        ),
        Network { listens_at: Some(at), reached: Some(Reached { by, worked: false, .. }), .. } => {
            Check::warning(
                NETWORK,
                format!("{known}; {by} could not connect to this node: a router or a firewall is in the way"),
                format!(
                    "have the router forward a UDP port to {}, and set network.announce to its address and that port; until \
                 then others reach this node only over connections that it keeps to them",
                    port(at)
                ),
            )
        }
        Network { listens_at: None, .. } => Check::ok(NETWORK, format!("{known}; this one only dials")),
        Network { reached: Some(_), .. } => {
            Check::ok(NETWORK, format!("{known}; they can connect by themselves"))
        }
        Network { reached: None, .. } => {
            Check::ok(NETWORK, format!("{known}; none has tried lately whether it can connect by itself"))
        }
    }
}

/// The port of this machine.
fn port(address: &str) -> String {
    let port = address.rsplit_once(':').map(|(_, port)| port);
    port.map_or_else(|| "this machine".to_owned(), |port| format!("port {port} of this machine"))
}

const NETWORK: &str = "network";

#[cfg(test)]
mod tests {
    use proto::NodeId;

    use super::*;
    use crate::doctor::{Outcome, tests::check};

    #[test]
    fn nodes_that_do_not_find_each_other_are_a_warning() {
        let reached = |worked| Some(Reached { by: NodeId::from_bytes([1; 32]), at_ms: 7, worked });
        let well = Network {
            listens_at: Some("[::]:4433".to_owned()),
            addresses: Vec::new(),
            peers: 3,
            connected: Some(2),
            strangers: 0,
            reached: reached(true),
        };
        check(&network(&well), Outcome::Ok, "3 nodes known, 2 connected; they can connect by themselves");
        check(&network(&Network { reached: None, ..well.clone() }), Outcome::Ok, "none has tried lately");
        check(&network(&Network { listens_at: None, ..well.clone() }), Outcome::Ok, "only dials");
        check(
            &network(&Network { peers: 0, connected: Some(0), ..well.clone() }),
            Outcome::Ok,
            "no other node",
        );
        let shut = Network { reached: reached(false), ..well.clone() };
        check(&network(&shut), Outcome::Warning, "could not connect to this node");
        check(&network(&shut), Outcome::Warning, "forward a UDP port to port 4433 of this machine");
        check(
            &network(&Network { connected: Some(0), ..well.clone() }),
            Outcome::Warning,
            "lets no UDP through",
        );
        // Strangers are no help.
        let strangers = Network { connected: Some(0), strangers: 2, ..well.clone() };
        check(&network(&strangers), Outcome::Warning, "3 nodes known, 0 connected, and 2 strangers");
        check(&network(&Network { connected: None, ..well }), Outcome::Unknown, "cannot be said");
    }
}
