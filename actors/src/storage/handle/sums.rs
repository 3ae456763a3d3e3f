//! Digests and sums, through the checksum door.

use proto::{
    Checksum, TesseraId,
    compare::{Digest, Sum},
};
use ractor::RpcReplyPort;

use super::ChecksumHandle;
use crate::{
    error::ActorError,
    storage::{
        message::StorageMsg,
        sums::{Question, Side, SumsMsg},
    },
};

impl ChecksumHandle {
    /// The sums of what is held or placed by the first byte of the tessera id. Reads no more than these.
    pub async fn sums(&self, side: Side) -> Result<Box<[Sum; 256]>, ActorError> {
        self.ask(side, |reply| Question::All { reply }).await
    }

    /// The sums by the second byte of the tessera id, under a first one.
    pub async fn sums_under(&self, side: Side, first: u8) -> Result<Box<[Sum; 256]>, ActorError> {
        self.ask(side, |reply| Question::Under { first, reply }).await
    }

    /// The tesserae whose ids begin with these bytes, behind one of them, in order, each with the digest of what is held
    /// or placed of it; at most `limit` of them.
    pub async fn tesseras_under(
        &self,
        side: Side,
        prefix: &[u8],
        after: Option<TesseraId>,
        limit: u32,
    ) -> Result<Vec<(TesseraId, Digest)>, ActorError> {
        let prefix = prefix.to_vec();
        self.ask(side, |reply| Question::Tesserae { prefix, after, limit, reply }).await
    }

    /// Stripe, index and checksum of the fragments of a tessera that are held or placed, from a (stripe, index) on, in
    /// order, at most `limit` of them: what the digest is of, whether their bytes are damaged or not.
    pub async fn fragments_of(
        &self,
        side: Side,
        tessera: TesseraId,
        from: (u32, u16),
        limit: u32,
    ) -> Result<Vec<(u32, u16, Checksum)>, ActorError> {
        self.ask(side, |reply| Question::Fragments { tessera, from, limit, reply }).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        side: Side,
        question: impl FnOnce(RpcReplyPort<Result<T, ActorError>>) -> Question,
    ) -> Result<T, ActorError> {
        let asked = |slot, reply| StorageMsg::Sums(SumsMsg { side, question: question(reply), slot });
        self.0.seat.call(asked).await
    }
}
