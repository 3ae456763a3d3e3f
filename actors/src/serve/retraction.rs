//! Retractions: what an author has taken back is dropped, and nobody brings it again. A repairer that asks is shown why.

use bytes::Bytes;
use proto::{
    AccountId, AuthorId, TesseraId,
    record::DocumentKind,
    retraction::SignedRetraction,
    wire::{Answer, Refusal, RefusalKind},
};

use super::{Reply, Server, refusal};
use crate::{clock, conn_pool::Inbound, dropping::drop_for, error::ActorError, storage::Note};

impl Server {
    /// `PutDocument` of a retraction. Answered when what it speaks of is gone.
    pub(super) async fn take_back(&self, stream: &mut Inbound, tessera: TesseraId, length: u32) -> Reply {
        let (bytes, _memory) = self.receive(stream, length).await?;
        let known = self.storage.records().retraction(tessera).await.map_err(|error| refusal(&error))?;
        let author = match &known {
            Some(known) => known.author,
            None => self.author_of(stream, tessera).await?,
        };
        let signed = SignedRetraction::parse(bytes, tessera, author).map_err(|error| {
            stream.lease.strike(&error);
            RefusalKind::Corrupt.because(error.to_string())
        })?;
        if known.is_none() {
            self.keep_retraction(author, &signed).await?;
        }
        let account = AccountId::from(author);
        let dropped = drop_for(&self.storage, &self.cache, account, tessera).await;
        let dropped = dropped.map_err(|error| refusal(&error))?;
        tracing::info!(%tessera, %author, dropped, "its author has taken it back");
        for papers in [&self.state.papers, &self.state.guest_papers] {
            papers.dropped(tessera);
        }
        Ok((Answer::Done, Bytes::new()))
    }

    async fn author_of(&self, stream: &Inbound, tessera: TesseraId) -> Result<AuthorId, Refusal> {
        let papers = self.papers(stream.lease.node());
        Ok(self.manifest(papers, tessera).await?.manifest().author)
    }

    /// Keeps one of a tessera of which something is here for its author, or of an author for whom something might be. Those of
    /// strangers are counted together: keys cost nothing.
    async fn keep_retraction(&self, author: AuthorId, signed: &SignedRetraction) -> Result<(), Refusal> {
        let (records, tessera) = (self.storage.records(), signed.retraction().tessera);
        let keepers = records.keepers(tessera).await.map_err(|error| refusal(&error))?;
        let is_known =
            self.peers.author() == Some(author) || self.peers.book().allowance(author, 0).is_some();
        if !is_known && !keepers.contains(&author.into()) {
            return Err(RefusalKind::NotFound.because("nothing of it is kept here"));
        }
        let purse = if is_known { AccountId::from(author) } else { STRANGERS };
        let note = Note::Retracted {
            tessera,
            author,
            purse,
            signed: signed.bytes().clone(),
            due: Vec::new(),
            at_ms: clock::now_ms(),
        };
        records.note(vec![note]).await.map(drop).map_err(|error| refusal(&error))
    }

    /// `GetDocument` of a retraction.
    pub(super) async fn retraction(&self, tessera: TesseraId) -> Result<Bytes, ActorError> {
        let known = self.storage.records().retraction(tessera).await?;
        let absent = || ActorError::not_found(format!("a {} of {tessera}", DocumentKind::Retraction.name()));
        known.map(|known| known.signed).ok_or_else(absent)
    }

    /// Refuses what its author has taken back, whoever brings it.
    pub(super) async fn refuse_retracted(&self, tessera: TesseraId) -> Result<(), Refusal> {
        match self.storage.records().is_taken_back(tessera).await.map_err(|error| refusal(&error))? {
            false => Ok(()),
            true => Err(RefusalKind::Blocked.because("its author has taken it back")),
        }
    }
}

/// The account by which those of all strangers are counted.
const STRANGERS: AccountId = AccountId::from_bytes([0; 32]);
