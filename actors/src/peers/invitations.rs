//! Invitations: a secret that makes a stranger a peer, once.

use std::time::Duration;

use proto::{AuthorId, Checksum, NodeId};

use super::Peers;
use crate::{
    clock,
    error::ActorError,
    keys,
    storage::{Invite, Note, Noted, Origin},
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
    pub(crate) async fn take_in(
        &self,
        node: NodeId,
        secret: &[u8; 32],
        addresses: &[String],
        author: Option<AuthorId>,
    ) -> Result<bool, ActorError> {
        let (token, at_ms) = (Checksum::of(secret), clock::now_ms());
        let Some(invite) = self.0.records.invite(token).await? else { return Ok(false) };
        let peer = Note::Peer {
            node,
            addresses: addresses.to_vec(),
            author,
            allow_bytes: invite.allow_bytes,
            origin: Origin::Invited,
            name: invite.name,
            at_ms,
        };
        let noted = self.0.records.note(vec![Note::TakeInvite { token, at_ms }, peer]).await?;
        self.refresh().await?;
        if noted == Noted::All {
            tracing::info!(%node, "joined by an invitation");
        }
        Ok(noted == Noted::All)
    }
}
