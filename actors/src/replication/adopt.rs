//! Adopting: somebody else's tessera is kept here whole, for this node's own account, and looked after.
//!
//! Whoever adopts is no holder: nobody believes what it would sign of who keeps the tessera. So it has a holder mend it, which may
//! get from here what it needs for that: see [`look_after`].

use std::time::Duration;

use proto::{NodeId, TesseraId, repair::repairers};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    Tools,
    fetch::fetch,
    meeting::look_for,
    message::{Progress, Step},
    own::claim_ours,
    repair::{gone, placed},
    retract,
    sources::{Located, Waits, find, find_among, own_manifest},
    standing::{Operators, Since, found},
    told::{Means, Told, Turned},
};
use crate::{
    clock,
    error::ActorError,
    storage::{KeptPlacement, Note},
};

/// Brings a tessera here and looks after it from then on.
pub(super) async fn adopt(
    tools: &Tools,
    tessera: TesseraId,
    progress: &watch::Sender<Progress>,
) -> Result<Told, ActorError> {
    refuse_own(tools, tessera).await?;
    fetch(tools, tessera, progress).await?;
    refuse_own(tools, tessera).await?;
    let note = Note::Adopted { tessera, at_ms: clock::now_ms() };
    tools.storage.records().note(vec![note]).await?;
    let adopted = "Adopted: all of it is here and looked after until you `forget` it.";
    Ok(match look_after(tools, tessera, MENDED_WITHIN, progress).await {
        Ok(told) => Told { sentence: format!("{adopted} {}", told.sentence), ..told },
        Err(error) => Told::plain(format!("{adopted} How safe it is with others is not known: {error}.")),
    })
}

async fn refuse_own(tools: &Tools, tessera: TesseraId) -> Result<(), ActorError> {
    let author = own_manifest(tools, tessera).await?.map(|manifest| manifest.manifest().author);
    if author.is_some() && author == tools.author.as_ref().map(|key| key.id()) {
        let what = format!("{tessera} is this node's own: `publish` has others keep it");
        return Err(ActorError::Conflict { what });
    }
    Ok(())
}

/// Looks how an adopted tessera fares with its holders, and has one of them mend it if it is not as safe as asked. For so long it is
/// watched how that goes.
pub(super) async fn look_after(
    tools: &Tools,
    tessera: TesseraId,
    watched_for: Duration,
    progress: &watch::Sender<Progress>,
) -> Result<Told, ActorError> {
    progress.send_replace(Progress::of(Step::Asking, 0));
    let sources = find(tools, tessera, Waits::ForAll).await.map_err(|nobody| nobody.error)?;
    let (located, placement) = placed(&sources, tessera)?;
    let nodes = placement.placement().holders.iter().flatten().copied();
    if retract::learn(tools, &sources.manifest, nodes).await?.is_some() {
        let what = format!(
            "{tessera} was taken back by its author: nobody else keeps it any more, and this copy stays"
        );
        return Ok(Told::plain(what));
    }
    let mut ward = Ward { tools, tessera, located };
    let mut seen = ward.look().await?;
    if seen.told.is_as_asked() {
        return Ok(seen.told);
    }
    let (asked, refused) = ward.ask(&seen).await;
    let Some(asked) = asked else {
        seen.told.turned.extend(refused);
        let remedy = "no holder that is there can be asked to mend it now: `repair` it again later";
        seen.told.remedies.push(String::from(remedy));
        return Ok(seen.told);
    };
    tracing::info!(node = %asked, %tessera, "a holder mends what is adopted here");
    let deadline = Instant::now() + watched_for;
    while !seen.told.is_as_asked() && Instant::now() < deadline {
        sleep(LOOK_AGAIN).await;
        ward.hear(&seen.living).await;
        seen = ward.look().await?;
    }
    Ok(seen.told)
}

/// A tessera that is looked after.
struct Ward<'a> {
    tools: &'a Tools,
    tessera: TesseraId,
    located: Located,
}

/// How it fares.
struct Seen {
    told: Told,
    /// The holders that answer.
    living: Vec<NodeId>,
}

impl Ward<'_> {
    /// Asks all holders what they have.
    async fn look(&self) -> Result<Seen, ActorError> {
        let (tools, layout, began_ms) = (self.tools, self.located.layout.layout(), clock::now_ms());
        let records = tools.storage.records();
        let absent = || ActorError::not_found(format!("a placement of {}", layout.tessera()));
        let newest = self.located.credible().ok_or_else(absent)?;
        let placement = newest.placement();
        records.note(vec![Note::Placement(KeptPlacement::from(newest))]).await?;
        let (us, book) = (tools.peers.us(), tools.peers.book());
        let holders: Vec<NodeId> = placement.holders.iter().flatten().copied().collect();
        look_for(tools, placement).await?;
        let lost = gone(tools, layout.tessera(), placement).await?.all();
        let mut operators = Operators::new(us, &tools.peers.book());
        operators.only(&placement.holders);
        if placement.indices(us).next().is_some() {
            claim_ours(tools, layout, placement).await?;
            operators.count_us();
        }
        lost.iter().for_each(|one| operators.leave_out(one.node));
        let found = found(&records, layout, &operators, Since::now(tools).or_since(began_ms)).await?;
        let known = book.peers.keys().filter(|node| book.is_wanted(**node)).count();
        let is_lost = |node: &NodeId| lost.iter().any(|one| one.node == *node);
        let living = holders.into_iter().filter(|node| *node != us && !is_lost(node)).collect();
        let means = Means { known, is_ours: false, fits: tools.fits(layout, &found.guarantee) };
        let told = Told::published(found.guarantee, tools.config.wanted.survive, lost, means);
        Ok(Seen { told, living })
    }

    /// Has a holder mend it: the first that does, in the order in which they would by themselves.
    async fn ask(&self, seen: &Seen) -> (Option<NodeId>, Vec<Turned>) {
        let mut refused = Vec::new();
        for node in repairers(self.tessera, &[], &seen.living) {
            let asked = timeout(ANSWERED_WITHIN, self.tools.remote.look_after(node, self.tessera)).await;
            let reason = match asked {
                Ok(Ok(())) => return (Some(node), refused),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("it did not answer within {} s", ANSWERED_WITHIN.as_secs()),
            };
            refused.push(Turned { node, reason });
        }
        (None, refused)
    }

    /// Learns from these who keeps it now.
    async fn hear(&mut self, nodes: &[NodeId]) {
        let layout = self.located.layout.checksum();
        let sources = find_among(self.tools, nodes, self.tessera, Waits::ForAll).await;
        let located = sources.ok().and_then(|sources| {
            sources.layouts.into_iter().find(|located| located.layout.checksum() == layout)
        });
        self.located = located.unwrap_or_else(|| self.located.clone());
    }
}

/// How long a holder may take to answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// How long it is watched how a holder mends it: what takes longer goes on without that.
pub(super) const MENDED_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_secs(1);
