//! `Hello`: who a node is beside its key, whether it was invited, and whether it can be dialled.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use config::{Hold, HostPort};
use proto::{
    AccountId, AuthorId,
    credential::SignedCredential,
    wire::{Answer, Bound, RefusalKind},
};

use super::{Reply, Server, refusal};
use crate::{
    conn_pool::{Lease, PeerTrouble},
    error::ActorError,
    peers::software,
};

/// What a node says of itself.
pub(super) struct Greeted {
    pub(super) addresses: Vec<String>,
    pub(super) credential: Option<Bytes>,
    pub(super) invite: Option<[u8; 32]>,
    pub(super) dial_back: bool,
}

impl Server {
    /// `Hello`.
    pub(super) async fn hello(&self, lease: &Lease, greeted: Greeted) -> Reply {
        let node = lease.node();
        let author = greeted.credential.map(|signed| SignedCredential::verify(&signed, node));
        let author = author.transpose().map_err(|error| {
            lease.strike(&error);
            RefusalKind::Corrupt.because(error.to_string())
        })?;
        let author = author.map(|credential| credential.author);
        if let Some(secret) = greeted.invite {
            let taken = self.peers.take_in(node, &secret, &greeted.addresses, author).await;
            let is_new = taken.map_err(|error| refusal(&error))?;
            // Perhaps it was used, and whoever used it was not told.
            if !is_new && !self.peers.book().peers.contains_key(&node) {
                self.peers.refresh().await.map_err(|error| refusal(&error))?;
            }
            if !is_new && !self.peers.book().peers.contains_key(&node) {
                lease.strike(&"an invitation that is none");
                return Err(
                    RefusalKind::NotKnown.because("that invitation is used up, has expired, or never was")
                );
            }
        }
        author.into_iter().for_each(|author| lease.acts_for(author));
        let met = self.peers.meet(lease, author, &greeted.addresses).await;
        met.map_err(|error| refusal(&error))?;
        let dial_back = match greeted.addresses.first().filter(|_| greeted.dial_back) {
            Some(address) => self.dial_back(lease, address).await,
            None => None,
        };
        let (allowance_bytes, bound) = match author {
            Some(author) => self.allowance_left(author).await.map_err(|error| refusal(&error))?,
            None => (0, None),
        };
        let answer = Answer::Hello {
            software: software(),
            addresses: self.peers.announced(),
            observed: lease.address().to_string(),
            dial_back,
            credential: self.peers.credential(),
            allowance_bytes,
            bound,
        };
        Ok((answer, Bytes::new()))
    }

    /// How much more is kept for an author, in bytes, and why it is no more. Strangers are told only what this node keeps for them.
    async fn allowance_left(&self, author: AuthorId) -> Result<(u64, Option<Bound>), ActorError> {
        let (allowance, is_strange) = self.allowance(author).await?;
        let told = |bound| (!is_strange).then_some(bound);
        if self.config.hold == Hold::None {
            return Ok((0, told(Bound::KeepsNothing)));
        }
        if self.peers.book().leaving_since_ms.is_some() {
            return Ok((0, told(Bound::Leaving)));
        }
        let Some(allowance) = allowance else { return Ok((0, told(Bound::Allowance))) };
        let used = self.storage.records().account(AccountId::from(author)).await?.charged();
        // No more than there is room for, whatever was promised. That is not looked up for strangers, who can ask for ever.
        let room = match is_strange {
            false => self.storage.room().await.ok().flatten(),
            true => None,
        };
        let allowed = allowance.saturating_sub(used);
        Ok(match room.filter(|room| *room < allowed) {
            Some(room) => (room, told(Bound::Room)),
            None => (allowed, told(Bound::Allowance)),
        })
    }

    /// Where the node is dialled. A name is looked up only for a node that the operator wants: to others it would be a way to have
    /// this machine ask for any name.
    async fn target(&self, lease: &Lease, address: &HostPort) -> Option<SocketAddr> {
        let comes_from = lease.address().ip();
        if let Some(target) = address.socket_addr() {
            return of_host(comes_from, [target]);
        }
        if !self.peers.book().is_configured(&lease.node()) {
            return None;
        }
        let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host(address.to_string())).await;
        of_host(comes_from, found.ok()?.ok()?)
    }

    /// Whether the node can be dialled where it says. Only at the address that it comes from: nobody has this node dial a
    /// third.
    async fn dial_back(&self, lease: &Lease, address: &str) -> Option<bool> {
        let target = self.target(lease, &address.parse().ok()?).await?;
        let probed = self.pool.probe(lease.node(), target.try_into().ok()?);
        match tokio::time::timeout(DIAL_BACK, probed).await {
            Ok(Ok(())) => Some(true),
            Err(_) => Some(false),
            Ok(Err(ActorError::Peer { trouble, .. })) => match trouble {
                PeerTrouble::Unreachable { .. } | PeerTrouble::WrongKey { .. } => Some(false),
                // It was not tried.
                _ => None,
            },
            Ok(Err(_)) => None,
        }
    }
}

/// The one of some addresses that is of this host.
fn of_host(host: IpAddr, addresses: impl IntoIterator<Item = SocketAddr>) -> Option<SocketAddr> {
    addresses.into_iter().find(|address| address.ip().to_canonical() == host.to_canonical())
}

/// How long the one who asks is kept waiting for it.
const DIAL_BACK: Duration = Duration::from_secs(6);
/// How long a name may take to be found before that.
const LOOKUP: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_address_that_a_node_comes_from_is_dialled() {
        let check = |host: &str, addresses: &[&str], expected: Option<&str>| {
            let found = of_host(host.parse().unwrap(), addresses.iter().map(|text| text.parse().unwrap()));
            assert_eq!(found, expected.map(|text| text.parse().unwrap()), "{host} {addresses:?}");
        };
        check("192.0.2.1", &[], None);
        check("192.0.2.1", &["192.0.2.2:7"], None);
        check("192.0.2.1", &["[2001:db8::1]:7", "192.0.2.1:7"], Some("192.0.2.1:7"));
        check("192.0.2.1", &["[::ffff:192.0.2.1]:7"], Some("[::ffff:192.0.2.1]:7"));
        check("2001:db8::1", &["[2001:db8::2]:7", "[2001:db8::1]:7"], Some("[2001:db8::1]:7"));
    }
}
