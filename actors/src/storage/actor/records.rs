//! Questions about others.

use ractor::ActorRef;

use super::State;
use crate::{
    storage::{
        alarm, ledger,
        message::StorageMsg,
        parting,
        records::{self, Care, Question, RecordsMsg},
        replication, watched,
    },
    supervision::gate::Slot,
};

impl State {
    /// Answers from the index, with all that was noted before.
    pub(super) fn records(&self, me: &ActorRef<StorageMsg>, RecordsMsg { question, slot }: RecordsMsg) {
        let index = self.index.clone();
        match question {
            Question::Peers { only, reply } => self.answer(me, slot, reply, async move {
                index.noted(async |index| records::peers(index, only).await).await
            }),
            Question::Blocks { only, reply } => self.answer(me, slot, reply, async move {
                index.noted(async |index| records::blocks(index, only.as_deref()).await).await
            }),
            Question::Invites { only, reply } => self.answer(me, slot, reply, async move {
                index.noted(async |index| records::invites(index, only).await).await
            }),
            Question::Holders { tessera, reply } => self.answer(me, slot, reply, async move {
                index.noted(async |index| records::holders(index, tessera).await).await
            }),
            Question::Claims { tessera, stripes, reply } => self.answer(me, slot, reply, async move {
                index.noted(async |index| records::claims(index, tessera, stripes).await).await
            }),
            Question::Receipts { holder, tessera, from, limit, reply } => {
                self.answer(me, slot, reply, async move {
                    let listed =
                        async |index: &mut _| records::receipts(index, holder, tessera, from, limit).await;
                    index.noted(listed).await
                });
            }
            Question::Documents { tessera, reply } => {
                let soundness = self.soundness.clone();
                self.answer(me, slot, reply, async move {
                    soundness.check(&index, tessera).await?;
                    index.about(tessera, async |index| records::documents(index, tessera).await).await
                });
            }
            Question::Placements { tessera, reply } => self.answer(me, slot, reply, async move {
                index.about(tessera, async |index| replication::placements(index, tessera).await).await
            }),
            Question::ReplicationJobs { which, reply } => self.answer(me, slot, reply, async move {
                index.noted(async |index| replication::jobs(index, which).await).await
            }),
            Question::Care(question) => self.care(me, slot, question),
            Question::Keepers { tessera, reply } => self.answer(me, slot, reply, async move {
                index.about(tessera, async |index| records::keepers(index, tessera).await).await
            }),
            Question::Others { but, reply } => self.answer(me, slot, reply, async move {
                index.as_it_is(async |index| records::others(index, &but).await).await
            }),
            Question::Ledger { us, from, limit, reply } => self.answer(me, slot, reply, async move {
                index.as_it_is(async |index| ledger::page(index, us, from, limit).await).await
            }),
            Question::Signed { author, holders, reply } => self.answer(me, slot, reply, async move {
                index.noted(async |index| ledger::signed(index, author, &holders).await).await
            }),
            Question::Account { account, reply } => self.answer(me, slot, reply, async move {
                index.as_it_is(async |index| records::account(index, account).await).await
            }),
        }
    }

    /// Answers what is asked of how this node looks after what others keep.
    fn care(&self, me: &ActorRef<StorageMsg>, slot: Slot, question: Care) {
        let index = self.index.clone();
        match question {
            Care::Watched { which, reply } => self.answer(me, slot, reply, async move {
                index.as_it_is(async |index| watched::watched(index, which).await).await
            }),
            Care::WatchedTotals { survive, reply } => self.answer(me, slot, reply, async move {
                index.as_it_is(async |index| watched::totals(index, survive).await).await
            }),
            Care::RepairAllowance { reply } => self.answer(me, slot, reply, async move {
                index.noted(async |index| watched::allowance(index).await).await
            }),
            Care::FreshDamage { reply } => {
                self.answer(me, slot, reply, async move { alarm::fresh(&index).await })
            }
            Care::Doubted { tessera, reply } => self.answer(me, slot, reply, async move {
                index.noted(async |index| watched::doubted(index, tessera).await).await
            }),
            Care::Retraction { tessera, reply } => self.answer(me, slot, reply, async move {
                index.noted(async |index| parting::retraction(index, tessera).await).await
            }),
            Care::Signers { tessera, reply } => self.answer(me, slot, reply, async move {
                index.noted(async |index| parting::signers(index, tessera).await).await
            }),
            Care::RetractionsDue { reply } => self.answer(me, slot, reply, async move {
                index.noted(async |index| parting::retractions_due(index).await).await
            }),
            Care::Adopted { only, reply } => self.answer(me, slot, reply, async move {
                index.noted(async |index| parting::adopted(index, only).await).await
            }),
            Care::Leaving { reply } => self.answer(me, slot, reply, async move {
                index.noted(async |index| parting::leaving(index).await).await
            }),
        }
    }
}
