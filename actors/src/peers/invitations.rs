//! Invitations to this node: a secret that makes a stranger a peer, once.

use std::time::Duration;

use proto::{AuthorId, Checksum, NodeId};

use super::Peers;
use crate::{
    clock,
    error::ActorError,
    keys,
    storage::{Invite, Note, Noted, Origin, Peer},
};

impl Peers {
    /// A secret that lets whoever has it become a peer, once, within so long. It is then known by this name. What is kept
    /// of it is its BLAKE3.
    pub async fn invite(
        &self,
        allow_bytes: Option<u64>,
        name: Option<String>,
        valid_for: Duration,
    ) -> Result<[u8; 32], ActorError> {
        let secret = keys::seed().map_err(|error| ActorError::Network { reason: error.to_string() })?;
        let valid_ms = i64::try_from(valid_for.as_millis()).unwrap_or(i64::MAX);
        let at_ms = clock::now_ms();
        let invite = Invite { allow_bytes, expires_at_ms: at_ms.saturating_add(valid_ms), name };
        self.change(vec![Note::Invite { token: Checksum::of(&secret), invite, at_ms }]).await?;
        Ok(secret)
    }

    /// Ends an invitation, by the BLAKE3 of its secret. Errors with [`ActorError::NotFound`].
    pub async fn revoke(&self, token: Checksum) -> Result<(), ActorError> {
        if self.0.records.invite(token).await?.is_none() {
            return Err(ActorError::NotFound { what: format!("an invitation {token}") });
        }
        self.change(vec![Note::RemoveInvite { token }]).await
    }

    /// Takes a node in that has the secret of an invitation. `false` when there is no such invitation, any more or at all.
    ///
    /// One that is a peer already gets what the invitation gives and it did not have: what was said by hand stays, and
    /// nobody gets less than before.
    pub(crate) async fn take_in(
        &self,
        node: NodeId,
        secret: &[u8; 32],
        addresses: &[String],
        author: Option<AuthorId>,
    ) -> Result<bool, ActorError> {
        let (token, at_ms) = (Checksum::of(secret), clock::now_ms());
        let Some(mut invite) = self.0.records.invite(token).await? else { return Ok(false) };
        // Whoever invited may have called two so.
        if self.called(invite.name.as_deref(), node).await?.is_some() {
            invite.name = None;
        }
        let known = self.0.records.peer(node).await?;
        let peer = invited(node, invite, known, addresses, author, at_ms);
        let noted = self.0.records.note(vec![Note::TakeInvite { token, at_ms }, peer]).await?;
        self.refresh().await?;
        if noted == Noted::All {
            tracing::info!(%node, "joined by an invitation");
        }
        Ok(noted == Noted::All)
    }
}

/// What is to be known of a node that was invited.
fn invited(
    node: NodeId,
    invite: Invite,
    known: Option<Peer>,
    addresses: &[String],
    author: Option<AuthorId>,
    at_ms: i64,
) -> Note {
    // Whom it acts for is fixed by what it has shown first.
    let author = known.as_ref().and_then(|peer| peer.author).or(author);
    let (origin, allow_bytes) = match &known {
        Some(peer) if peer.origin == Origin::Configured => {
            (Origin::Configured, peer.allow_bytes.or(invite.allow_bytes))
        }
        Some(peer) => (Origin::Invited, peer.allow_bytes.max(invite.allow_bytes)),
        None => (Origin::Invited, invite.allow_bytes),
    };
    let (before, name) = known.map_or_else(Default::default, |peer| (peer.addresses, peer.name));
    let addresses = if before.is_empty() { addresses.to_vec() } else { before };
    Note::Peer { node, addresses, author, allow_bytes, origin, name: name.or(invite.name), at_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that has come by an invitation before, and of which nothing else is known.
    fn peer(node: NodeId) -> Peer {
        Peer {
            node,
            addresses: Vec::new(),
            author: None,
            allow_bytes: None,
            origin: Origin::Invited,
            added_at_ms: 0,
            seen_at_ms: None,
            last_address: None,
            wrong_bytes: 0,
            errors: 0,
            absences: 0,
            name: None,
        }
    }

    #[test]
    fn invitation_does_not_change_whom_a_peer_acts_for() {
        let (node, first) = (NodeId::from_bytes([1; 32]), AuthorId::from_bytes([2; 32]));
        let invite = Invite { allow_bytes: None, expires_at_ms: 9, name: None };
        let peer = Peer { author: Some(first), ..peer(node) };
        let check = |known, expected| {
            let shown = Some(AuthorId::from_bytes([3; 32]));
            let note = invited(node, invite.clone(), Some(known), &[], shown, 0);
            assert!(matches!(note, Note::Peer { author, .. } if author == expected), "{note:?}");
        };
        check(peer.clone(), Some(first));
        check(Peer { author: None, ..peer }, Some(AuthorId::from_bytes([3; 32])));
    }

    #[test]
    fn invitation_does_not_change_what_was_typed_when_its_sender_was_joined() {
        let node = NodeId::from_bytes([1; 32]);
        let typed = Peer {
            addresses: vec!["example.org:1".to_owned()],
            allow_bytes: Some(7),
            name: Some("ann".to_owned()),
            ..peer(node)
        };
        let invite = Invite { allow_bytes: Some(9), expires_at_ms: 9, name: Some("other".to_owned()) };
        let Note::Peer { addresses, allow_bytes, name, .. } =
            invited(node, invite, Some(typed), &[], None, 0)
        else {
            panic!("a peer was expected");
        };
        assert_eq!((addresses, name), (vec!["example.org:1".to_owned()], Some("ann".to_owned())));
        // Nobody is promised more without getting it.
        assert_eq!(allow_bytes, Some(9));
    }
}
