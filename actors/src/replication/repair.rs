//! Repairing: all holders are asked what they have; what is missing is rebuilt, from the copy that is here or from others, and
//! given to those that have lost it, this node among them, or to the next in the place of those that are gone. Nothing else
//! moves.

use std::sync::Arc;

use futures::future::{join_all, join3};
use proto::{
    NodeId, TesseraId,
    placement::{Placement, SignedPlacement},
};
use tokio::{
    sync::watch,
    time::{Duration, timeout},
};

use super::{
    Tools, adopt,
    copy::Copy,
    gathering::Manners,
    message::{Progress, Step},
    origin::{Origin, Others},
    own::{claim_ours, is_sound},
    pages::Pages,
    placing::{Placing, Signer, room_needed},
    retract,
    sending::Evidence,
    sources::{Located, Sources, Waits, find},
    standing::Operators,
    survey::survey,
    told::{Told, Turned},
};
use crate::{clock, error::ActorError, remote};

/// Mends a tessera of which something is here.
pub(super) async fn repair(
    tools: &Tools,
    tessera: TesseraId,
    progress: &watch::Sender<Progress>,
) -> Result<Told, ActorError> {
    match mend(tools, tessera, progress).await {
        // The copy here has just been found damaged: from now on what is missing comes from others.
        Err(ActorError::Corrupt { .. }) => mend(tools, tessera, progress).await,
        mended => mended,
    }
}

async fn mend(
    tools: &Tools,
    tessera: TesseraId,
    progress: &watch::Sender<Progress>,
) -> Result<Told, ActorError> {
    progress.send_replace(Progress::of(Step::Asking, 0));
    let sources = find(tools, tessera, Waits::ForAll).await.map_err(|nobody| nobody.error)?;
    let (located, before) = placed(&sources, tessera)?;
    let placement = before.placement();
    let (us, author) = (tools.peers.us(), sources.manifest.manifest().author);
    let signer = match tools.author.as_ref().filter(|key| key.id() == author) {
        Some(key) => Signer::Author(key),
        None if placement.indices(us).next().is_some() => Signer::Holder(&tools.key),
        None if tools.storage.records().adopted_since(tessera).await?.is_some() => {
            return adopt::look_after(tools, tessera, adopt::MENDED_WITHIN, progress).await;
        }
        None => {
            let what = format!(
                "{tessera} is repaired by its author or by a node that keeps some of it: `adopt` it first"
            );
            return Err(ActorError::Conflict { what });
        }
    };
    let since_ms = clock::now_ms();
    let taken_back = retract::learn(tools, &sources.manifest, placement.holders.iter().flatten().copied());
    let (lost, survey, taken_back) =
        join3(gone(tools, tessera, placement), survey(tools, tessera), taken_back).await;
    if let Some(told) = taken_back? {
        return Ok(told);
    }
    let survey = match signer {
        Signer::Author(_) => survey,
        Signer::Holder(_) => survey.without_machines_of(author),
    };
    let is_lost = |node: NodeId| lost.iter().any(|one| one.node == node);
    if placement.indices(us).next().is_some() {
        claim_ours(tools, located.layout.layout(), placement, since_ms).await?;
    }
    let stay: Vec<_> = placement.holders.iter().map(|holder| holder.filter(|node| !is_lost(*node))).collect();
    let layout = located.layout.layout();
    let room = room_needed(layout, sources.manifest.bytes().len(), layout.code());
    let candidates = survey.with_room(room).into_iter().filter(|one| !is_lost(one.node)).collect();
    let pages = Pages::new(tools, located.layout.clone(), located.known_to.clone());
    let layout = located.layout.clone();
    let origin = origin(tools, sources, located).await?;
    let evidence = Evidence::ClaimsSince(since_ms);
    let placing = Placing {
        tools,
        origin: &origin,
        layout: &layout,
        pages,
        signer,
        evidence,
        progress,
        began_ms: since_ms,
    };
    let holders = placing.place(Some(placement), &stay, candidates).await?;
    placing.introduce(&before, &holders).await?;
    let mut operators = Operators::new(us, &tools.peers.book());
    operators.only(holders.by_index());
    if matches!(placing.signer, Signer::Holder(_)) && holders.indices(us).next().is_some() {
        operators.count_us();
    }
    let turned: Vec<_> = lost.into_iter().chain(holders.turned()).collect();
    turned.iter().for_each(|one| operators.leave_out(one.node));
    placing.told(&operators, turned, survey.known).await
}

/// The layout that others keep, and who does: of several the newest.
pub(super) fn placed(
    sources: &Sources,
    tessera: TesseraId,
) -> Result<(Located, SignedPlacement), ActorError> {
    let placed = sources.layouts.iter().filter_map(|it| Some((it, it.credible()?)));
    let newest = placed.max_by_key(|(located, _)| located.layout.layout().stripe_numbers().start);
    let unknown = || ActorError::Conflict {
        what: format!("nobody says who keeps {tessera}: its author publishes it first"),
    };
    newest.map(|(located, signed)| (located.clone(), signed.clone())).ok_or_else(unknown)
}

/// The holders that do not answer. What the others have is noted.
pub(super) async fn gone(tools: &Tools, tessera: TesseraId, placement: &Placement) -> Vec<Turned> {
    let us = tools.peers.us();
    let mut nodes: Vec<NodeId> =
        placement.holders.iter().flatten().copied().filter(|node| *node != us).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let ask = |node: NodeId| async move {
        let silent = format!("it did not answer within {} s", ANSWERED_WITHIN.as_secs());
        match timeout(ANSWERED_WITHIN, tools.attestation.audit(node, tessera)).await {
            Ok(Ok(_)) => None,
            // It is there, and may be given it again.
            Ok(Err(error)) if remote::is_not_there(&error) => None,
            Ok(Err(error)) => Some(Turned { node, reason: error.to_string() }),
            Err(_) => Some(Turned { node, reason: silent }),
        }
    };
    join_all(nodes.into_iter().map(ask)).await.into_iter().flatten().collect()
}

/// The whole copy, if it is here and in order; else whoever has the rest.
async fn origin(tools: &Tools, sources: Sources, located: Located) -> Result<Origin, ActorError> {
    let tessera = located.layout.layout().tessera();
    let own = match tools.storage.records().tessera(tessera).await {
        Ok(row) => row.fragments,
        Err(ActorError::NotFound { .. }) => 0,
        Err(error) => return Err(error),
    };
    if own > 0 {
        let copy = Copy::open(tools.storage.clone(), tessera).await?;
        let layout = copy.layout().layout();
        if own >= layout.data_fragments() && is_sound(tools, layout).await? {
            return Ok(Origin::Copy(Arc::new(copy)));
        }
    }
    let manners = Manners::default();
    Ok(Origin::Others(Box::new(Others { manifest: sources.manifest, located, manners })))
}

/// How long a holder may take to say what it has.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
