//! What few machines had to keep twice is spread as soon as others are there: how much that is.

use std::time::Duration;

use futures::future::join_all;
use proto::{
    placement::{Candidate, spread},
    wire::RefusalKind,
};
use tokio::time::timeout;

use super::{Tools, own, placing::room_needed, standing::Known, survey::survey};
use crate::remote;

/// How many bytes of this node's own tessera are kept where more of it is kept, and go to machines that are there, have
/// room and keep nothing of it. Of others' tesserae nothing is moved from who is there: nobody would believe that.
pub(super) async fn bytes(tools: &Tools, known: &Known) -> u64 {
    if tools.author.as_ref().is_none_or(|key| key.id() != known.author) {
        return 0;
    }
    // Nobody is asked as long as there is nobody else.
    let book = tools.peers.book();
    let named = book.peers.iter().filter(|(node, _)| book.is_wanted(**node));
    let named: Vec<_> =
        named.map(|(node, peer)| Candidate { node: *node, operator: peer.author, network: None }).collect();
    if freed_bytes(known, &named) == 0 {
        return 0;
    }
    let layout = known.layout.layout();
    let there = survey(tools, layout.tessera()).await;
    let roomy = there.with_room(room_needed(layout, known.manifest_bytes, layout.code()));
    let willing = join_all(roomy.into_iter().map(|one| willing(tools, known, one))).await;
    freed_bytes(known, &willing.into_iter().flatten().collect::<Vec<_>>())
}

/// Whoever blocks it says so, and need not be tried again and again.
async fn willing(tools: &Tools, known: &Known, one: Candidate) -> Option<Candidate> {
    if known.placement.indices(one.node).next().is_some() {
        return Some(one);
    }
    let asked = tools.attestation.audit(one.node, known.placement.tessera);
    match timeout(ANSWERED_WITHIN, asked).await {
        Ok(Ok(_)) => Some(one),
        Ok(Err(error)) => (remote::refused(&error) == Some(RefusalKind::NotFound)).then_some(one),
        Err(_) => None,
    }
}

fn freed_bytes(known: &Known, candidates: &[Candidate]) -> u64 {
    let (layout, before) = (known.layout.layout(), &known.placement.holders);
    let mut after = before.clone();
    spread(candidates, &mut after);
    let freed = (0..).zip(before.iter().zip(&after)).filter(|(_, (before, after))| before != after);
    let stripes = layout.stripe_numbers();
    own::bytes(layout, freed.flat_map(|(index, _)| stripes.clone().map(move |stripe| (stripe, index))))
}

/// How long a node may take to say that it has nothing of it.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
