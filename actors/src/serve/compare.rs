//! `Compare`: what is held here for an account, as sums and digests, for the one whose account it is.

use bytes::Bytes;
use proto::{
    AccountId, TesseraId,
    compare::Question,
    limits::{COMPARE_FRAGMENTS_MAX, COMPARE_TESSERAS_MAX},
    wire::{Answer, RefusalKind},
};

use super::{Reply, Server, refusal};
use crate::{conn_pool::Lease, error::ActorError, storage::Side};

impl Server {
    /// `Compare`.
    pub(super) async fn compare(&self, lease: &Lease, account: AccountId, question: Question) -> Reply {
        let known = self.peers.book().peers.get(&lease.node()).and_then(|peer| peer.author);
        // Whoever has lost everything comes with a new node, which nobody knows.
        let author = known.or_else(|| lease.author());
        if author.map(AccountId::from) != Some(account) {
            let reason = "only a node that acts for the account's author is told what is held for it";
            return Err(RefusalKind::Forbidden.because(reason));
        }
        let answer = self.compared(Side::Held(account), question).await.map_err(|error| refusal(&error))?;
        Ok((answer, Bytes::new()))
    }

    async fn compared(&self, side: Side, question: Question) -> Result<Answer, ActorError> {
        let checksums = self.storage.checksums_door();
        Ok(match question {
            Question::All => Answer::Sums(checksums.sums(side).await?),
            Question::Under(first) => Answer::Sums(checksums.sums_under(side, first).await?),
            Question::Pair { prefix, after } => self.tesserae(side, &prefix, after).await?,
            Question::Tesserae { after } => self.tesserae(side, &[], after).await?,
            Question::Tessera { tessera, from } => self.fragments(side, tessera, from).await?,
        })
    }

    async fn tesserae(
        &self,
        side: Side,
        prefix: &[u8],
        after: Option<TesseraId>,
    ) -> Result<Answer, ActorError> {
        let mut list =
            self.storage.checksums_door().tesseras_under(side, prefix, after, TESSERAS + 1).await?;
        let more = list.len() > COMPARE_TESSERAS_MAX;
        list.truncate(COMPARE_TESSERAS_MAX);
        Ok(Answer::Tesseras { list, more })
    }

    async fn fragments(
        &self,
        side: Side,
        tessera: TesseraId,
        from: (u32, u16),
    ) -> Result<Answer, ActorError> {
        let mut list = self.storage.checksums_door().fragments_of(side, tessera, from, FRAGMENTS + 1).await?;
        let more = list.len() > COMPARE_FRAGMENTS_MAX;
        list.truncate(COMPARE_FRAGMENTS_MAX);
        Ok(Answer::Fragments { list, more })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a few hundred")]
const TESSERAS: u32 = COMPARE_TESSERAS_MAX as u32;
#[expect(clippy::cast_possible_truncation, reason = "a thousand")]
const FRAGMENTS: u32 = COMPARE_FRAGMENTS_MAX as u32;
