//! Requests that are answered from what is here: documents, fragments, claims, proofs, peers; and dropping what an author
//! no longer wants.

use std::{collections::HashMap, ops::Range};

use bytes::Bytes;
use proto::{
    AccountId, AuthorId, Checksum, FragmentId, NodeId, TesseraId,
    limits::{PEER_SAMPLE_ADDRESSES_MAX, PEER_SAMPLE_MAX},
    order::SignedDropOrder,
    placement::Network,
    record::DocumentKind,
    wire::{Answer, PeerSample, RefusalKind},
};

use super::{Reply, Server, refusal};
use crate::{
    attestation::Question,
    conn_pool::{Known, Lease},
    error::ActorError,
    store::FragmentStore,
};

impl Server {
    /// `GetDocument`.
    pub(super) async fn document(
        &self,
        tessera: TesseraId,
        document: DocumentKind,
        hash: Option<Checksum>,
    ) -> Reply {
        self.refuse_blocked(tessera)?;
        let bytes = match (document, hash) {
            (DocumentKind::Retraction, _) => self.retraction(tessera).await,
            (DocumentKind::Placement, hash) => self.placement(tessera, hash).await,
            (DocumentKind::Layout, None) => self.newest_layout(tessera).await,
            (document, hash) => self.storage.document(tessera, document, hash).await,
        };
        let bytes = bytes.map_err(|error| refusal(&error))?;
        Ok((Answer::Document { length: length(&bytes) }, bytes))
    }

    /// `GetFragment`. Whoever knows the id of a tessera may read it: what is private is encrypted.
    pub(super) async fn fragment(&self, id: FragmentId, checksum: Option<Checksum>) -> Reply {
        self.refuse_blocked(id.tessera)?;
        let fragment = self.cache.get(id).await.map_err(|error| refusal(&error))?;
        if checksum.is_some_and(|checksum| checksum != fragment.checksum()) {
            return Err(RefusalKind::NotFound.because(format!("{id} is here with other bytes")));
        }
        let checksum = fragment.checksum();
        let bytes = fragment.into_bytes();
        Ok((Answer::Fragment { checksum, length: length(&bytes) }, bytes))
    }

    /// `DropFragments`.
    pub(super) async fn drop_fragments(&self, lease: &Lease, order: &[u8]) -> Reply {
        let order = SignedDropOrder::verify(order, self.key.id(), &lease.binding()).map_err(|error| {
            lease.strike(&error);
            RefusalKind::Forbidden.because(error.to_string())
        })?;
        let account = AccountId::from(order.author);
        let mut count = 0;
        for some in order.fragments.chunks(DROPS) {
            let drops = some.iter().map(|(stripe, index)| {
                let id = FragmentId { tessera: order.tessera, stripe: *stripe, index: *index };
                self.cache.drop_fragment(account, id)
            });
            for outcome in futures::future::join_all(drops).await {
                match outcome {
                    Ok(()) => count += 1,
                    Err(ActorError::NotFound { .. }) => {}
                    Err(error) => return Err(refusal(&error)),
                }
            }
        }
        // With the last fragment went the documents.
        if self.storage.records().keepers(order.tessera).await.is_ok_and(|keepers| keepers.is_empty()) {
            for papers in [&self.state.papers, &self.state.guest_papers] {
                papers.dropped(order.tessera);
            }
        }
        Ok((Answer::Dropped { count }, Bytes::new()))
    }

    /// `Attest`.
    pub(super) async fn attest(
        &self,
        lease: &Lease,
        tessera: TesseraId,
        stripes: Range<u32>,
        nonce: [u8; 32],
    ) -> Reply {
        self.refuse_blocked(tessera)?;
        let (verifier, binding) = (lease.node(), lease.binding());
        let question = Question { tessera, stripes, verifier, nonce, binding };
        let claim = self.attestation.attest(question).await.map_err(|error| refusal(&error))?.claim;
        let bytes = claim.bytes().clone();
        Ok((Answer::Claim { length: length(&bytes) }, bytes))
    }

    /// `Prove`.
    pub(super) async fn prove(&self, checksum: Checksum, group: u32, nonce: [u8; 32]) -> Reply {
        let proof = self.scrub.prove(checksum, group).await.map_err(|error| refusal(&error))?;
        let (fragment_len, length) = (proof.fragment_len, length(&proof.slice));
        Ok((Answer::Proof { nonce, fragment_len, length }, proof.slice))
    }

    /// `Peers`: some of those whose address is known, and that are wanted here or have shown who they act for, but not the one that
    /// asks.
    pub(super) fn sample(&self, asker: NodeId) -> Answer {
        let book = self.peers.book();
        let told = book.peers.iter().filter(|(node, peer)| {
            (peer.is_configured || peer.author.is_some())
                && !peer.addresses.is_empty()
                && **node != asker
                && !book.blocked.contains_key(*node)
        });
        let mut told: Vec<_> = told.collect();
        fastrand::shuffle(&mut told);
        let places: Vec<_> = told.iter().map(|(_, peer)| (network(peer), peer.author)).collect();
        // Of those whom others have told of, who have shown themselves, no more than there is room for; and one of each network and
        // operator before the second of any.
        let mut told: Vec<_> = in_turn(&places).into_iter().zip(told).collect();
        told.sort_by_key(|(turn, (_, peer))| (!peer.is_configured, *turn));
        told.truncate(PEER_SAMPLE_MAX);
        let sample = told.into_iter().map(|(_, (node, peer))| {
            let addresses = peer.addresses.iter().take(PEER_SAMPLE_ADDRESSES_MAX);
            PeerSample { node: *node, addresses: addresses.map(ToString::to_string).collect() }
        });
        Answer::Peers(sample.collect())
    }
}

/// Where a peer is, if its first address says so.
fn network(peer: &Known) -> Option<Network> {
    Some(Network::of(peer.addresses.first()?.socket_addr()?.ip()))
}

/// For each how many of its network or of its operator come before it, whichever are more.
fn in_turn(places: &[(Option<Network>, Option<AuthorId>)]) -> Vec<usize> {
    let (mut networks, mut operators) = (HashMap::<_, usize>::new(), HashMap::<_, usize>::new());
    let turns = places.iter().map(|(network, operator)| {
        let before = |count: &mut usize| std::mem::replace(count, *count + 1);
        let of_network = before(networks.entry(network).or_default());
        let of_operator = operator.map_or(0, |operator| before(operators.entry(operator).or_default()));
        of_network.max(of_operator)
    });
    turns.collect()
}

/// Fragments that one order drops at a time: anybody may send one for what is not here.
const DROPS: usize = 16;

/// What follows an answer: no longer than 16 MiB.
fn length(bytes: &Bytes) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_and_operator_has_its_turn_before_the_second_of_any() {
        let network = |number| Some(Network::V4([number; 3]));
        let author = |number| Some(AuthorId::from_bytes([number; 32]));
        let places = [
            (network(1), author(1)),
            (network(1), author(2)),
            (network(1), None),
            (network(2), author(1)),
            (network(3), None),
        ];
        assert_eq!(in_turn(&places), [0, 1, 2, 1, 0]);
    }
}
