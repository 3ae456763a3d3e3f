//! Nodes that are known because others named them. Nothing is believed of them but where they may be: who answers there has to
//! have their key.

use proto::NodeId;

use super::Peers;
use crate::{
    clock,
    error::ActorError,
    remote::Remote,
    storage::{Note, Origin},
};

impl Peers {
    /// Asks some nodes where some others are, and knows these from then on.
    pub(crate) async fn look_for(
        &self,
        remote: &Remote,
        wanted: &[NodeId],
        among: &[NodeId],
    ) -> Result<(), ActorError> {
        let mut notes: Vec<Note> = Vec::new();
        for asked in among.iter().take(ASKED_MAX) {
            // Whoever does not answer names nobody.
            let named = remote.peers_of(*asked).await.unwrap_or_default();
            let book = self.book();
            let new = named.into_iter().filter(|one| {
                wanted.contains(&one.node) && !book.peers.contains_key(&one.node) && !one.addresses.is_empty()
            });
            notes.extend(new.map(|one| Note::Peer {
                node: one.node,
                addresses: one.addresses,
                author: None,
                allow_bytes: None,
                origin: Origin::Introduced,
                name: None,
                at_ms: clock::now_ms(),
            }));
        }
        if notes.is_empty() { Ok(()) } else { self.change(notes).await }
    }
}

/// Nodes that are asked.
const ASKED_MAX: usize = 8;
