//! This node as a holder: it says what it has, as others do when they are asked, and what it has lost it keeps again.

use proto::{
    Fragment, FragmentId, NodeId, TesseraId,
    layout::Layout,
    placement::Placement,
    wire::{Refusal, RefusalKind},
};

use super::{Tools, pages::documents, retract, sending::Shipment};
use crate::{
    clock,
    conn_pool::PeerTrouble,
    error::ActorError,
    storage::{BlobState, Note},
    store::{Deposited, FragmentStore},
};

/// What this node keeps for the author counts as what others keep. What it has lost since it last said so no longer does. How
/// many bytes it lacks of what it is to keep.
pub(super) async fn claim_ours(
    tools: &Tools,
    layout: &Layout,
    placement: &Placement,
) -> Result<u64, ActorError> {
    let (holder, tessera, all) = (tools.peers.us(), layout.tessera(), layout.stripe_numbers());
    let ours: Vec<u16> = placement.indices(holder).collect();
    let (mut from, mut lacking) = (all.start, 0);
    while from < all.end {
        let asked_at_ms = clock::now_ms();
        let rows = tools.storage.checksums(tessera, (from, 0), ROWS).await?;
        // The last stripe of a full page may go on in the next one.
        let to = match rows.last() {
            Some(last) if rows.len() == ROWS as usize => last.stripe.min(all.end),
            _ => all.end,
        };
        let held = rows.iter().filter(|row| row.stripe < to && row.state == BlobState::Ok);
        let held: Vec<_> = held.map(|row| (row.stripe, row.index, row.checksum)).collect();
        lacking +=
            bytes(layout, (from..to).flat_map(|stripe| ours.iter().map(move |index| (stripe, *index))));
        let kept = held.iter().map(|(stripe, index, _)| (*stripe, *index));
        lacking -= bytes(layout, kept.filter(|(_, index)| ours.contains(index)));
        let (stripes, at_ms) = (from..to, clock::now_ms());
        let claim = Note::Claim { holder, tessera, stripes, held, asked_at_ms, at_ms };
        tools.storage.records().note(vec![claim]).await?;
        from = to;
    }
    Ok(lacking)
}

/// The bytes of these fragments of a layout.
pub(super) fn bytes(layout: &Layout, fragments: impl Iterator<Item = (u32, u16)>) -> u64 {
    fragments.map(|(stripe, index)| u64::from(layout.fragment_len_at(stripe, index))).sum()
}

impl Shipment<'_> {
    /// Keeps a fragment again that this node has lost as a holder. What others would be refused is refused, but for its
    /// author's allowance: that it is kept here was agreed.
    pub(super) async fn put_back(&self, id: FragmentId, fragment: &Fragment) -> Result<(), ActorError> {
        let (tools, author) = (self.tools, self.origin.manifest().manifest().author);
        refuse(tools, id.tessera)?;
        let documents = self.documents(id, fragment).await?;
        let kept = tools.cache.deposit(author.into(), id, fragment.clone(), documents).await;
        match kept {
            Err(ActorError::InsufficientStorage { reason }) => {
                return Err(refused(tools.peers.us(), RefusalKind::InsufficientStorage.because(reason)));
            }
            kept => kept?,
        };
        // Blocked or taken back meanwhile: whoever drops what is here may have looked before.
        let still_wanted = match refuse(tools, id.tessera) {
            Ok(()) => retract::refuse(tools, id.tessera).await,
            blocked => blocked,
        };
        if let Err(unwanted) = still_wanted {
            let _ = tools.cache.drop_fragment(author.into(), id).await;
            return Err(unwanted);
        }
        let (holder, checksum, at_ms) = (tools.peers.us(), fragment.checksum(), clock::now_ms());
        let claimed = Note::Claimed { holder, fragment: id, checksum, at_ms };
        tools.storage.records().note(vec![claimed]).await.map(drop)
    }

    /// Those that say which fragment it is, if they do.
    async fn documents(&self, id: FragmentId, fragment: &Fragment) -> Result<Vec<Deposited>, ActorError> {
        let layout = self.layout.layout();
        let (number, at) = layout.page_of(layout.number(id.stripe, id.index).unwrap_or(u64::MAX));
        let page = self.pages.page(number).await?;
        if page.checksum(at) != Some(fragment.checksum()) {
            return Err(ActorError::Conflict { what: format!("the layout has another fragment at {id}") });
        }
        Ok(documents(self.origin.manifest(), self.layout, &page))
    }
}

/// What is blocked here is not kept, and whoever leaves keeps nothing more.
fn refuse(tools: &Tools, tessera: TesseraId) -> Result<(), ActorError> {
    let (us, book) = (tools.peers.us(), tools.peers.book());
    if let Some(reason) = book.blocked_tesseras.get(&tessera) {
        return Err(refused(us, RefusalKind::Blocked.because(reason)));
    }
    match book.leaving_since_ms {
        None => Ok(()),
        Some(_) => Err(refused(us, RefusalKind::Forbidden.because("this node is leaving"))),
    }
}

/// As another node would say it.
fn refused(node: NodeId, refusal: Refusal) -> ActorError {
    ActorError::Peer { node, trouble: PeerTrouble::Refused(refusal) }
}

/// Rows of the index that are read together: more than one stripe has.
const ROWS: u32 = 1024;
const _: () = assert!(ROWS > proto::limits::STRIPE_TOTAL_MAX as u32);
