//! Taking a tessera back: every node that keeps any of it is told, by a document that its author has signed, to drop it and
//! never to take it again. Whoever is not there is told later: that is written down before anybody is told.
//!
//! Who was away when it was taken back learns of it from the author, or from any other holder before it repairs or hands over:
//! see [`learn`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, future::join_all, stream};
use proto::{
    AccountId, AuthorKey, NodeId, TesseraId,
    manifest::SignedManifest,
    placement::SignedPlacement,
    record::DocumentKind,
    retraction::{Retraction, SignedRetraction},
    wire::RefusalKind,
};
use tokio::{sync::watch, time::timeout};

use super::{
    Tools,
    message::{Progress, Step},
    sources::{Located, Waits, find, own_manifest},
    told::{Told, Turned},
};
use crate::{
    clock,
    conn_pool::View,
    dropping::drop_for,
    error::ActorError,
    remote,
    storage::{JobKind, JobState, Jobs, Note, RecordsHandle},
};

/// Takes a tessera back. What is here of it stays.
pub(super) async fn retract(
    tools: &Tools,
    tessera: TesseraId,
    progress: &watch::Sender<Progress>,
) -> Result<Told, ActorError> {
    progress.send_replace(Progress::of(Step::Asking, 0));
    let records = tools.storage.records();
    let sources = find(tools, tessera, Waits::ForAll).await.ok();
    let kept = records.retraction(tessera).await?;
    let (Some(sources), Some(key)) = (sources, tools.author.as_ref()) else {
        // Known here from before, and nobody has anything of it that would answer.
        return match kept {
            Some(_) => pass(tools, tessera).await,
            None => Err(unknown(tessera)),
        };
    };
    if key.id() != sources.manifest.manifest().author {
        let what = format!("{tessera} is somebody else's: only its author takes it back");
        return Err(ActorError::Conflict { what });
    }
    // Whoever has its documents keeps some of it.
    let known_to = sources.layouts.iter().flat_map(|located| located.known_to.iter().copied());
    let mut due: BTreeSet<NodeId> = known_to.collect();
    if kept.is_none() {
        due.extend(holders(&records, tessera).await?);
        due.extend(sources.layouts.iter().flat_map(Located::nodes));
    }
    due.remove(&tools.peers.us());
    let signed = match kept {
        Some(kept) => SignedRetraction::parse(kept.signed, tessera, key.id())?,
        None => sign(key, tessera)?,
    };
    records.note(vec![note(&signed, due.into_iter().collect())]).await?;
    pass(tools, tessera).await
}

/// Writes down that a tessera of which the manifest is here is taken back, before any turn is waited for: whatever is about to have
/// others keep it ends by that.
pub(super) async fn write_down(tools: &Tools, tessera: TesseraId) -> Result<(), ActorError> {
    let (records, manifest) = (tools.storage.records(), own_manifest(tools, tessera).await?);
    let author = manifest.map(|manifest| manifest.manifest().author);
    let Some(key) = tools.author.as_ref().filter(|key| Some(key.id()) == author) else { return Ok(()) };
    if records.retraction(tessera).await?.is_some() {
        return Ok(());
    }
    let mut due: BTreeSet<NodeId> = holders(&records, tessera).await?.into_iter().collect();
    for kept in records.placements(tessera).await? {
        let signed = SignedPlacement::parse(kept.signed, tessera, key.id())?;
        due.extend(signed.placement().holders.iter().flatten());
    }
    due.remove(&tools.peers.us());
    records.note(vec![note(&sign(key, tessera)?, due.into_iter().collect())]).await.map(drop)
}

/// Errors with [`ActorError::Conflict`] for what was taken back: that is for ever.
pub(super) async fn refuse(tools: &Tools, tessera: TesseraId) -> Result<(), ActorError> {
    match tools.storage.records().is_taken_back(tessera).await? {
        false => Ok(()),
        true => {
            let what = format!("{tessera} was taken back by its author, for ever: `create` makes a new one");
            Err(ActorError::Conflict { what })
        }
    }
}

/// Asks these nodes whether the author has taken a tessera back. If so that is noted, what is kept here for the author is
/// dropped, and it is told.
pub(super) async fn learn(
    tools: &Tools,
    manifest: &SignedManifest,
    nodes: impl IntoIterator<Item = NodeId>,
) -> Result<Option<Told>, ActorError> {
    let (tessera, author) = (manifest.id(), manifest.manifest().author);
    let us = tools.peers.us();
    let ask = |node: NodeId| async move {
        let asked = tools.remote.document(node, tessera, DocumentKind::Retraction, None);
        let bytes = timeout(ANSWERED_WITHIN, asked).await.ok()?.ok()?;
        SignedRetraction::parse(bytes, tessera, author).ok()
    };
    let nodes: BTreeSet<NodeId> = nodes.into_iter().filter(|node| *node != us).collect();
    let shown = join_all(nodes.into_iter().map(ask)).await;
    let Some(signed) = shown.into_iter().flatten().next() else { return Ok(None) };
    tools.storage.records().note(vec![note(&signed, Vec::new())]).await?;
    drop_for(&tools.storage, &tools.cache, AccountId::from(author), tessera).await?;
    tracing::info!(%tessera, %author, "its author has taken it back");
    Ok(Some(Told::plain(format!(
        "Its author has taken {tessera} back: what was kept here for them is dropped."
    ))))
}

/// Tells those that were not there when something was taken back: after a start, when one of them is connected again, when something
/// has changed of what is known of other nodes, and from time to time.
pub(super) async fn ask_again(tools: Arc<Tools>) {
    let mut book = tools.peers.watch();
    loop {
        book.borrow_and_update();
        let mut links = tools.pool.watch();
        let before = links.nodes();
        if let Err(error) = tell_those_due(&tools).await {
            tracing::warn!(%error, "whoever is still to be told that something was taken back is told later");
        }
        tokio::select! {
            changed = book.changed() => if changed.is_err() { return },
            () = one_is_back(&tools, &mut links, before) => {}
            () = tokio::time::sleep(ASKED_AGAIN) => {}
        }
    }
}

/// Waits until one is connected that is still to be told, and was not before.
async fn one_is_back(tools: &Tools, links: &mut View, mut before: BTreeSet<NodeId>) {
    loop {
        links.changed().await;
        // Others come and go meanwhile: those that are still to be told are looked up for all of them.
        tokio::time::sleep(TOGETHER).await;
        let now = links.nodes();
        let new: Vec<_> = now.difference(&before).copied().collect();
        before = now;
        if new.is_empty() {
            continue;
        }
        let due = tools.storage.records().retractions_due().await.unwrap_or_default();
        if due.iter().any(|(_, node)| new.contains(node)) {
            return;
        }
    }
}

async fn tell_those_due(tools: &Tools) -> Result<(), ActorError> {
    let records = tools.storage.records();
    let due = records.retractions_due().await?;
    for tessera in due.into_iter().map(|(tessera, _)| tessera).collect::<BTreeSet<_>>() {
        let told = pass(tools, tessera).await?;
        if !told.is_partial {
            tracing::info!(%tessera, told = told.sentence, "the last node has dropped what was taken back");
            has_ended(&records, tessera, &told).await?;
        }
    }
    Ok(())
}

/// The job that was not quite done is, now.
async fn has_ended(records: &RecordsHandle, tessera: TesseraId, told: &Told) -> Result<(), ActorError> {
    let jobs = records.replication_jobs(Jobs::Last(JOBS_LOOKED_AT)).await?;
    let is_it = |kind, of, state| (kind, of, state) == (JobKind::Retract, tessera, JobState::Degraded);
    let Some(mut job) = jobs.into_iter().find(|job| is_it(job.kind, job.tessera, job.state)) else {
        return Ok(());
    };
    (job.state, job.changed_at_ms) = (JobState::Done, clock::now_ms());
    job.told = serde_json::to_string(told).ok();
    records.note(vec![Note::Job(job)]).await.map(drop)
}

/// Tells each node that is to be told, and those of which these know that they keep some as well.
async fn pass(tools: &Tools, tessera: TesseraId) -> Result<Told, ActorError> {
    let records = tools.storage.records();
    let Some(kept) = records.retraction(tessera).await? else { return Err(unknown(tessera)) };
    let signed = SignedRetraction::parse(kept.signed, tessera, kept.author)?;
    let (mut seen, mut left, mut dropped) = (BTreeSet::from([tools.peers.us()]), BTreeMap::new(), 0_usize);
    loop {
        let due = records.retractions_due().await?.into_iter();
        let due = due.filter(|(of, node)| *of == tessera && !seen.contains(node)).map(|(_, node)| node);
        let due: Vec<NodeId> = due.collect();
        if due.is_empty() {
            // Whoever was just being given it when it was taken back.
            let late = holders(&records, tessera).await?.into_iter().filter(|node| !seen.contains(node));
            let late: Vec<NodeId> = late.collect();
            if late.is_empty() {
                break;
            }
            records.note(vec![note(&signed, late)]).await?;
            continue;
        }
        seen.extend(&due);
        let told = stream::iter(due).map(|node| tell(tools, &signed, node)).buffer_unordered(TOLD_AT_ONCE);
        for (node, others) in told.collect::<Vec<_>>().await {
            match others {
                Ok(others) => {
                    dropped += 1;
                    let due = others.into_iter().filter(|other| !seen.contains(other)).collect();
                    has_taken(&records, &signed, node, due).await?;
                }
                Err(reason) => drop(left.insert(node, reason)),
            }
        }
    }
    if left.is_empty() {
        for placement in records.placements(tessera).await? {
            records.note(vec![Note::Unplaced { tessera, layout: placement.layout }]).await?;
        }
    }
    Ok(told(dropped, left))
}

/// A node has dropped it: what it signed and claimed to have of it goes, and whom it named is to be told as well.
async fn has_taken(
    records: &RecordsHandle,
    signed: &SignedRetraction,
    node: NodeId,
    due: Vec<NodeId>,
) -> Result<(), ActorError> {
    let tessera = signed.retraction().tessera;
    let mut from = (0, 0);
    loop {
        let page = records.receipts(node, tessera, from, RECEIPTS).await?;
        let Some(last) = page.last().map(|receipt| receipt.fragment) else { break };
        from = (last.stripe, last.index.saturating_add(1));
        let fragments =
            page.iter().map(|receipt| (receipt.fragment.stripe, receipt.fragment.index)).collect();
        records.note(vec![Note::Dropped { holder: node, tessera, fragments }]).await?;
    }
    let at_ms = clock::now_ms();
    // Nothing was asked, and nothing stays, however lately it was noted.
    let asked_at_ms = at_ms.saturating_add(1);
    let (stripes, held) = (0..u32::MAX, Vec::new());
    let claims_nothing = Note::Claim { holder: node, tessera, stripes, held, asked_at_ms, at_ms };
    let others = note(signed, due);
    // In one: whoever is named by this node is not forgotten when this one is.
    records.note(vec![claims_nothing, others, Note::RetractionTaken { tessera, node }]).await.map(drop)
}

/// Tells one node, and returns whom it names as other holders; or why it was not told.
async fn tell(
    tools: &Tools,
    signed: &SignedRetraction,
    node: NodeId,
) -> (NodeId, Result<Vec<NodeId>, String>) {
    let told = timeout(TOLD_WITHIN, try_to_tell(tools, signed, node)).await;
    let outcome = match told {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it did not answer within {} s", TOLD_WITHIN.as_secs())),
    };
    (node, outcome)
}

async fn try_to_tell(
    tools: &Tools,
    signed: &SignedRetraction,
    node: NodeId,
) -> Result<Vec<NodeId>, ActorError> {
    let Retraction { tessera, author, .. } = *signed.retraction();
    // It may have mended the tessera, and know of others that have some of it now.
    let placement = tools.remote.document(node, tessera, DocumentKind::Placement, None).await.ok();
    let put = |kind, bytes| tools.remote.put_document(node, tessera, kind, None, bytes);
    let mut outcome = put(DocumentKind::Retraction, signed.bytes().clone()).await;
    if outcome.as_ref().is_err_and(|error| remote::refused(error) == Some(RefusalKind::NeedManifest)) {
        outcome = match own_manifest(tools, tessera).await? {
            Some(manifest) => match put(DocumentKind::Manifest, manifest.bytes().clone()).await {
                Ok(()) => put(DocumentKind::Retraction, signed.bytes().clone()).await,
                // Nothing of this author is kept there, and nothing will be.
                Err(error) if is_not_kept(&error) => Ok(()),
                Err(error) => Err(error),
            },
            // It would have the manifest if it had anything.
            None => Ok(()),
        };
    }
    match outcome {
        Err(error) if remote::refused(&error) != Some(RefusalKind::NotFound) => Err(error),
        _ => {
            let placement = placement.and_then(|bytes| SignedPlacement::parse(bytes, tessera, author).ok());
            let named = placement.map(|signed| signed.placement().holders.clone()).unwrap_or_default();
            Ok(named.into_iter().flatten().collect())
        }
    }
}

fn is_not_kept(error: &ActorError) -> bool {
    use RefusalKind::{Blocked, Forbidden, QuotaExceeded};
    matches!(remote::refused(error), Some(QuotaExceeded | Forbidden | Blocked))
}

/// All nodes that may have anything of it, as far as is known here: by what they have signed or claim, and by every placement.
async fn holders(records: &RecordsHandle, tessera: TesseraId) -> Result<Vec<NodeId>, ActorError> {
    let mut all = records.signers(tessera).await?;
    all.extend(records.holders(tessera).await?.into_iter().map(|holder| holder.node));
    Ok(all)
}

fn note(signed: &SignedRetraction, due: Vec<NodeId>) -> Note {
    let Retraction { tessera, author, .. } = *signed.retraction();
    let (purse, signed) = (author.into(), signed.bytes().clone());
    Note::Retracted { tessera, author, purse, signed, due, at_ms: clock::now_ms() }
}

fn sign(key: &AuthorKey, tessera: TesseraId) -> Result<SignedRetraction, ActorError> {
    let retracted_at_ms = u64::try_from(clock::now_ms()).unwrap_or_default();
    Ok(Retraction { tessera, author: key.id(), retracted_at_ms }.sign(key)?)
}

fn told(dropped: usize, left: BTreeMap<NodeId, String>) -> Told {
    let nodes = |count: usize| if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") };
    let here = "What is here of it stays until you `forget` it";
    if left.is_empty() {
        let sentence = match dropped {
            0 => format!(
                "Taken back for ever: no other node keeps any of it, as far as is known here. {here}."
            ),
            _ => format!(
                "Taken back for ever: {} dropped it, and nobody will keep it again. {here}.",
                nodes(dropped)
            ),
        };
        return Told::plain(sentence);
    }
    let sentence = format!(
        "Taken back for ever, but {} of {} could not be told yet: that is tried again by itself until it is done. {here}.",
        left.len(),
        nodes(dropped + left.len())
    );
    let turned = left.into_iter().map(|(node, reason)| Turned { node, reason }).collect();
    Told { turned, is_partial: true, ..Told::plain(sentence) }
}

fn unknown(tessera: TesseraId) -> ActorError {
    let what = format!(
        "nothing is known here of {tessera}, and no other node has its manifest: whose it is cannot be told"
    );
    ActorError::Conflict { what }
}

/// How long a node may take to drop it.
const TOLD_WITHIN: Duration = Duration::from_secs(60);
/// How long a node may take to say whether it was taken back.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// How often whoever was not there is told again.
const ASKED_AGAIN: Duration = Duration::from_secs(600);
/// How long those are waited for that come together.
const TOGETHER: Duration = Duration::from_secs(1);
const TOLD_AT_ONCE: usize = 16;
/// Receipts that are looked up together.
const RECEIPTS: u32 = 1024;
/// Jobs among which the one is looked for that has ended now.
const JOBS_LOOKED_AT: u32 = 1000;
