//! What is kept of others, through the records door.

use std::ops::Range;

use proto::{AccountId, AuthorId, Checksum, NodeId, TesseraId};
use ractor::RpcReplyPort;
use tokio::sync::watch;

use super::RecordsHandle;
use crate::{
    error::ActorError,
    storage::{
        alarm::FreshDamage,
        ledger::{Ledger, Signed},
        message::StorageMsg,
        notes::{Blocked, Invite, NOTE_ROWS_MAX, Note, Noted, Receipt},
        ops::{Op, Outcome},
        parting::KeptRetraction,
        records::{AccountTotals, Block, Care, Claimed, HeldDocument, Holder, Peer, Question, RecordsMsg},
        replication::{Jobs, KeptPlacement, ReplicationJob},
        watched::{RepairAllowance, Watched, WatchedTotals, Which},
    },
};

impl RecordsHandle {
    /// Keeps these notes, in this order, all of them or none. They are in the index when this returns; until its next
    /// sync, a power cut may take them back.
    ///
    /// Errors with [`ActorError::Conflict`] when they are about more than [`NOTE_ROWS_MAX`] rows. After any other error
    /// it is unknown whether they are kept.
    pub async fn note(&self, notes: Vec<Note>) -> Result<Noted, ActorError> {
        let rows: usize = notes.iter().map(Note::rows).sum();
        if rows > NOTE_ROWS_MAX {
            let what = format!("notes about {rows} rows at once are more than {NOTE_ROWS_MAX}");
            return Err(ActorError::Conflict { what });
        }
        let takes_back = notes.iter().any(|note| matches!(note, Note::Retracted { .. }));
        if takes_back {
            self.0.untaken.begin();
        }
        let outcome = self.0.submit(Op::Note(notes.into())).await;
        // After an error, too: it may be there all the same.
        if takes_back {
            self.0.untaken.noted();
        }
        let outcome = outcome?;
        Ok(if outcome == Outcome::NoInvite { Noted::NoInvite } else { Noted::All })
    }

    /// The peers that are known, in the order of their ids.
    pub async fn peers(&self) -> Result<Vec<Peer>, ActorError> {
        self.ask(|reply| Question::Peers { only: None, reply }).await
    }

    /// A peer, if it is known.
    pub async fn peer(&self, node: NodeId) -> Result<Option<Peer>, ActorError> {
        let found = self.ask(|reply| Question::Peers { only: Some(node), reply }).await?;
        Ok(found.into_iter().next())
    }

    /// Those of these that are blocked.
    pub async fn blocked(&self, only: Vec<Blocked>) -> Result<Vec<Block>, ActorError> {
        self.ask(|reply| Question::Blocks { only: Some(only), reply }).await
    }

    /// All that is blocked, what was blocked first first.
    pub async fn blocks(&self) -> Result<Vec<Block>, ActorError> {
        self.ask(|reply| Question::Blocks { only: None, reply }).await
    }

    /// The invite for the token with this BLAKE3, expired or not.
    pub async fn invite(&self, token: Checksum) -> Result<Option<Invite>, ActorError> {
        let found = self.ask(|reply| Question::Invites { only: Some(token), reply }).await?;
        Ok(found.into_iter().next().map(|(_, invite)| invite))
    }

    /// All invites, expired or not, each with the BLAKE3 of its token; those that expire first first.
    pub async fn invites(&self) -> Result<Vec<(Checksum, Invite)>, ActorError> {
        self.ask(|reply| Question::Invites { only: None, reply }).await
    }

    /// Who claims to have something of a tessera, in the order of their ids.
    pub async fn holders(&self, tessera: TesseraId) -> Result<Vec<Holder>, ActorError> {
        self.ask(|reply| Question::Holders { tessera, reply }).await
    }

    /// What is claimed of some stripes of a tessera, and by whom, in the order of the fragments.
    ///
    /// Errors with [`ActorError::Conflict`] when that is too much for one answer: 1024 stripes of 24 never are as long as
    /// no fragment has more than two holders.
    pub async fn claims(&self, tessera: TesseraId, stripes: Range<u32>) -> Result<Vec<Claimed>, ActorError> {
        self.ask(|reply| Question::Claims { tessera, stripes, reply }).await
    }

    /// What a holder has signed to have of a tessera, from a (stripe, index) on, in order, at most `limit` receipts.
    pub async fn receipts(
        &self,
        holder: NodeId,
        tessera: TesseraId,
        from: (u32, u16),
        limit: u32,
    ) -> Result<Vec<Receipt>, ActorError> {
        self.ask(|reply| Question::Receipts { holder, tessera, from, limit, reply }).await
    }

    /// The documents of a tessera that are here, by kind and in the order in which they stand in the log. Compaction
    /// moves them, so that is the order in which they came only as long as all of them are in segments as old as they are.
    pub async fn documents(&self, tessera: TesseraId) -> Result<Vec<HeldDocument>, ActorError> {
        self.ask(|reply| Question::Documents { tessera, reply }).await
    }

    /// Who keeps a tessera, as was signed: one placement for each layout of it.
    pub async fn placements(&self, tessera: TesseraId) -> Result<Vec<KeptPlacement>, ActorError> {
        self.ask(|reply| Question::Placements { tessera, reply }).await
    }

    /// What is done about tesserae with other nodes.
    pub async fn replication_jobs(&self, which: Jobs) -> Result<Vec<ReplicationJob>, ActorError> {
        self.ask(|reply| Question::ReplicationJobs { which, reply }).await
    }

    /// The tesserae that others keep, as this node found them when it looked last.
    pub async fn watched(&self, which: Which) -> Result<Vec<Watched>, ActorError> {
        self.ask(|reply| Question::Care(Care::Watched { which, reply })).await
    }

    /// What they come to, where so many machines may be lost.
    pub async fn watched_totals(&self, survive: u16) -> Result<WatchedTotals, ActorError> {
        self.ask(|reply| Question::Care(Care::WatchedTotals { survive, reply })).await
    }

    /// The bytes that repair may still move, as of when that was noted; `None` when it has moved nothing yet.
    pub async fn repair_allowance(&self) -> Result<Option<RepairAllowance>, ActorError> {
        self.ask(|reply| Question::Care(Care::RepairAllowance { reply })).await
    }

    /// What was found damaged here and not looked up yet, by the tesserae that it is of; `None` when nothing was. Looks through
    /// all fragments when something was.
    pub async fn fresh_damage(&self) -> Result<Option<FreshDamage>, ActorError> {
        self.ask(|reply| Question::Care(Care::FreshDamage { reply })).await
    }

    /// Changes when something is found damaged here; what is found together is told once.
    pub fn alarms(&self) -> watch::Receiver<()> {
        self.0.alarm.listen()
    }

    /// The holders of a tessera that had not what they claimed, and have proven nothing since.
    pub async fn doubted(&self, tessera: TesseraId) -> Result<Vec<NodeId>, ActorError> {
        self.ask(|reply| Question::Care(Care::Doubted { tessera, reply })).await
    }

    /// The retraction of a tessera, if its author has taken it back and that is known here.
    pub async fn retraction(&self, tessera: TesseraId) -> Result<Option<KeptRetraction>, ActorError> {
        self.ask(|reply| Question::Care(Care::Retraction { tessera, reply })).await
    }

    /// Whether the author of a tessera has taken it back, as far as is known here. Asked again and again it costs little.
    pub async fn is_taken_back(&self, tessera: TesseraId) -> Result<bool, ActorError> {
        let Some(asked) = self.0.untaken.ask(tessera) else { return Ok(false) };
        let is_taken_back = self.retraction(tessera).await?.is_some();
        if !is_taken_back {
            self.0.untaken.found(tessera, asked);
        }
        Ok(is_taken_back)
    }

    /// The nodes that have signed to have anything of a tessera, as long as they have not said that it is gone.
    pub async fn signers(&self, tessera: TesseraId) -> Result<Vec<NodeId>, ActorError> {
        self.ask(|reply| Question::Care(Care::Signers { tessera, reply })).await
    }

    /// The nodes that are still to be told that something was taken back, by what that is.
    pub async fn retractions_due(&self) -> Result<Vec<(TesseraId, NodeId)>, ActorError> {
        self.ask(|reply| Question::Care(Care::RetractionsDue { reply })).await
    }

    /// The tesserae of others that are kept whole and looked after here, each since when, in milliseconds since 1970.
    pub async fn adopted(&self) -> Result<Vec<(TesseraId, i64)>, ActorError> {
        self.ask(|reply| Question::Care(Care::Adopted { only: None, reply })).await
    }

    /// Since when this one is, in milliseconds since 1970; `None` when it is not.
    pub async fn adopted_since(&self, tessera: TesseraId) -> Result<Option<i64>, ActorError> {
        let found = self.ask(|reply| Question::Care(Care::Adopted { only: Some(tessera), reply })).await?;
        Ok(found.first().map(|(_, at_ms)| *at_ms))
    }

    /// Since when this node hands over what it keeps for others, in milliseconds since 1970, if it does.
    pub async fn leaving_since(&self) -> Result<Option<i64>, ActorError> {
        self.ask(|reply| Question::Care(Care::Leaving { reply })).await
    }

    /// The accounts for which anything of a tessera is kept here, in the order of their ids.
    pub async fn keepers(&self, tessera: TesseraId) -> Result<Vec<AccountId>, ActorError> {
        self.ask(|reply| Question::Keepers { tessera, reply }).await
    }

    /// How much is kept here for an account.
    pub async fn account(&self, account: AccountId) -> Result<AccountTotals, ActorError> {
        self.ask(|reply| Question::Account { account, reply }).await
    }

    /// How much is kept here for all accounts but these.
    pub async fn others(&self, but: Vec<AccountId>) -> Result<AccountTotals, ActorError> {
        self.ask(|reply| Question::Others { but, reply }).await
    }

    /// The ledger of a node that acts for this author, with at most `limit` other accounts, from one on, in the order of
    /// their ids: those for which something is kept here, or elsewhere with a receipt that is here, and those that peers
    /// act for. Reads sums only.
    pub async fn ledger(
        &self,
        us: AuthorId,
        from: Option<AuthorId>,
        limit: u32,
    ) -> Result<Ledger, ActorError> {
        self.ask(|reply| Question::Ledger { us, from, limit, reply }).await
    }

    /// What these holders have signed to have of an author's, as long as they have not said that it is gone.
    pub async fn signed(&self, author: AuthorId, holders: Vec<NodeId>) -> Result<Signed, ActorError> {
        self.ask(|reply| Question::Signed { author, holders, reply }).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(RpcReplyPort<Result<T, ActorError>>) -> Question,
    ) -> Result<T, ActorError> {
        let asked = |slot, reply| StorageMsg::Records(RecordsMsg { question: question(reply), slot });
        self.0.seat.call(asked).await
    }
}
