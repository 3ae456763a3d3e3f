//! Repairing: all holders are asked what they have; what is missing is rebuilt, from the copy that is here or from others, and
//! given to those that have lost it, this node among them, or to the next in the place of those that are gone. Nothing else
//! moves.

use std::{collections::BTreeSet, sync::Arc};

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
    holders::Lost,
    meeting::look_for,
    message::{Progress, Step},
    origin::{Origin, Others},
    own::claim_ours,
    pages::Pages,
    placing::{Placing, Signer, room_needed},
    retract,
    sending::Evidence,
    sources::{Located, Sources, Waits, find},
    standing::Operators,
    survey::survey,
    told::{Told, Turned},
};
use crate::{archive::source::is_whole, clock, error::ActorError, remote};

/// Mends a tessera of which something is here. Where it has been missed since then what is mended, in milliseconds since 1970, who
/// has answered later is only away, and is not replaced yet.
pub(super) async fn repair(
    tools: &Tools,
    tessera: TesseraId,
    missed_since_ms: Option<i64>,
    progress: &watch::Sender<Progress>,
) -> Result<Told, ActorError> {
    match mend(tools, tessera, missed_since_ms, progress).await {
        // The copy here has just been found damaged: from now on what is missing comes from others.
        Err(ActorError::Corrupt { .. }) => mend(tools, tessera, missed_since_ms, progress).await,
        mended => mended,
    }
}

async fn mend(
    tools: &Tools,
    tessera: TesseraId,
    missed_since_ms: Option<i64>,
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
    look_for(tools, placement).await?;
    let since_ms = clock::now_ms();
    let taken_back = retract::learn(tools, &sources.manifest, placement.holders.iter().flatten().copied());
    let (gone, survey, taken_back) =
        join3(gone(tools, tessera, placement), survey(tools, tessera), taken_back).await;
    if let Some(told) = taken_back? {
        return Ok(told);
    }
    let lost = lost(tools, tessera, gone?, missed_since_ms).await?;
    if survey.present.is_empty() {
        refuse_alone(placement, us, &lost.turned)?;
    }
    let survey = match signer {
        Signer::Author(_) => survey,
        Signer::Holder(_) => survey.without_machines_of(author),
    };
    if placement.indices(us).next().is_some() {
        claim_ours(tools, located.layout.layout(), placement).await?;
    }
    let layout = located.layout.layout();
    let room = match signer {
        Signer::Author(_) => room_needed(layout, sources.manifest.bytes().len(), layout.code()),
        // What others would keep for this node's author says nothing of what they keep for that one.
        Signer::Holder(_) => 0,
    };
    let candidates = survey.with_room(room);
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
        mends: true,
    };
    let holders = placing.place(Some(placement), &lost, candidates).await?;
    placing.introduce(&before, &holders).await?;
    let mut operators = Operators::new(us, &tools.peers.book());
    operators.only(holders.by_index());
    if matches!(placing.signer, Signer::Holder(_)) && holders.indices(us).next().is_some() {
        operators.count_us();
    }
    let turned = holders.turned();
    turned.iter().for_each(|one| operators.leave_out(one.node));
    placing.told(&operators, turned, survey.known).await
}

/// Those that are not to be counted on, and which of them are only away.
async fn lost(
    tools: &Tools,
    tessera: TesseraId,
    gone: Gone,
    missed_since_ms: Option<i64>,
) -> Result<Lost, ActorError> {
    let mut awaited = BTreeSet::new();
    if let Some(since_ms) = missed_since_ms {
        let lately = tools.storage.records().holders(tessera).await?.into_iter();
        let lately = lately.filter(|one| one.claimed_at_ms >= since_ms && is_one(&gone.silent, one.node));
        awaited.extend(lately.map(|one| one.node));
    }
    Ok(Lost { turned: gone.all(), awaited })
}

fn is_one(of: &[Turned], node: NodeId) -> bool {
    of.iter().any(|one| one.node == node)
}

/// Errors with [`ActorError::Conflict`] when no holder is there: whoever is cut off from all knows of none that is lost.
fn refuse_alone(placement: &Placement, us: NodeId, lost: &[Turned]) -> Result<(), ActorError> {
    let is_lost = |node: NodeId| node == us || is_one(lost, node);
    if !placement.holders.iter().flatten().all(|node| is_lost(*node)) {
        return Ok(());
    }
    let what = format!(
        "none of the nodes that keep {} answers, and no other node either: is this machine connected? Nothing was changed; \
         `repair` it when they are there",
        placement.tessera
    );
    Err(ActorError::Conflict { what })
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

/// The holders of a tessera that are not to be counted on.
pub(super) struct Gone {
    /// Those that do not answer: they may have it all the same.
    pub(super) silent: Vec<Turned>,
    /// Those that could not show what they claimed, and cannot now.
    pub(super) liars: Vec<Turned>,
}

impl Gone {
    /// Of either kind.
    pub(super) fn all(self) -> Vec<Turned> {
        self.silent.into_iter().chain(self.liars).collect()
    }
}

/// Asks the holders what they have, which is noted, and those that are doubted to show a piece. Who is not to be counted on.
pub(super) async fn gone(
    tools: &Tools,
    tessera: TesseraId,
    placement: &Placement,
) -> Result<Gone, ActorError> {
    let us = tools.peers.us();
    let doubted = tools.storage.records().doubted(tessera).await?;
    let nodes: BTreeSet<NodeId> =
        placement.holders.iter().flatten().copied().filter(|node| *node != us).collect();
    let asked = join_all(nodes.into_iter().map(|node| async move {
        (node, timeout(ANSWERED_WITHIN, tools.attestation.audit(node, tessera)).await)
    }));
    let mut gone = Gone { silent: Vec::new(), liars: Vec::new() };
    let mut suspects = Vec::new();
    for (node, answered) in asked.await {
        let reason = match answered {
            Ok(Ok(_)) => {
                suspects.extend(doubted.contains(&node).then_some(node));
                continue;
            }
            // It is there, and may be given it again.
            Ok(Err(error)) if remote::is_not_there(&error) => continue,
            Ok(Err(error @ ActorError::Peer { .. })) => error.to_string(),
            // What is wrong here says nothing of it.
            Ok(Err(error)) => return Err(error),
            Err(_) => format!("it did not answer within {} s", ANSWERED_WITHIN.as_secs()),
        };
        gone.silent.push(Turned { node, reason });
    }
    let shown = join_all(suspects.into_iter().map(|node| show(tools, tessera, node))).await;
    gone.liars.extend(shown.into_iter().flatten());
    Ok(gone)
}

/// Has one that is doubted show a piece of what it claims. Why it is not believed, if it does not.
async fn show(tools: &Tools, tessera: TesseraId, node: NodeId) -> Option<Turned> {
    let (records, checksums) = (tools.storage.records(), tools.storage.checksums_door());
    let why = match timeout(SHOWN_WITHIN, tools.remote.prove_one(&records, &checksums, node, tessera)).await {
        Ok(Ok(_)) => return None,
        Ok(Err(unproven)) => unproven.error.to_string(),
        Err(_) => format!("it did not answer within {} s", SHOWN_WITHIN.as_secs()),
    };
    Some(Turned { node, reason: format!("it cannot show what it claims to have ({why})") })
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
        match Copy::open(tools.storage.clone(), tessera).await {
            Ok(copy) => {
                let layout = copy.layout().layout();
                if own >= layout.data_fragments() && is_whole(&tools.storage, layout).await? {
                    return Ok(Origin::Copy(Arc::new(copy)));
                }
            }
            // What says how it is put together is damaged here, and comes from others as well.
            Err(ActorError::NotFound { .. } | ActorError::CorruptDocument { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let manners = Manners::default();
    Ok(Origin::Others(Box::new(Others { manifest: sources.manifest, located, manners })))
}

/// How long a holder may take to say what it has.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// How long one that is doubted may take to show a piece.
const SHOWN_WITHIN: Duration = Duration::from_secs(15);
