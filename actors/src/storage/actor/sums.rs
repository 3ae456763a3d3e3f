//! Questions about digests and sums.

use ractor::ActorRef;

use super::State;
use crate::storage::{
    message::StorageMsg,
    sums::{self, Question, Side, SumsMsg},
};

impl State {
    /// Answers from the index, with all that was acknowledged before.
    pub(super) fn sums(&self, me: &ActorRef<StorageMsg>, SumsMsg { side, question, slot }: SumsMsg) {
        let (index, soundness) = (self.index.clone(), self.soundness.clone());
        match question {
            Question::All { reply } => self.answer(me, slot, reply, async move {
                let (from, to) = sums::bounds(&[]);
                index.between(from, to, async |index| sums::all(index, side).await).await
            }),
            Question::Under { first, reply } => self.answer(me, slot, reply, async move {
                let (from, to) = sums::bounds(&[first]);
                index.between(from, to, async |index| sums::under(index, side, first).await).await
            }),
            Question::Tesserae { prefix, after, limit, reply } => self.answer(me, slot, reply, async move {
                let (from, to) = sums::bounds(&prefix);
                let listed = async |index: &mut _| sums::tesserae(index, side, &prefix, after, limit).await;
                index.between(from, to, listed).await
            }),
            Question::Fragments { tessera, from, limit, reply } => self.answer(me, slot, reply, async move {
                if let Side::Held(_) = side
                    && !soundness.check(&index, tessera).await?
                {
                    return Ok(Vec::new());
                }
                let listed = async |index: &mut _| sums::fragments(index, side, tessera, from, limit).await;
                index.about(tessera, listed).await
            }),
        }
    }
}
