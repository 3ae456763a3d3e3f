//! Where a tessera may be had: its documents, and which nodes keep what of it, as far as others say. Nobody is believed: the
//! manifest has the tessera's id for a hash, the layout is signed, and every fragment is checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use proto::{
    Checksum, NodeId, TesseraId, layout::SignedLayout, manifest::SignedManifest, placement::SignedPlacement,
    record::DocumentKind,
};
use tokio::time::{Instant, timeout, timeout_at};

use super::Tools;
use crate::{conn_pool::PeerTrouble, error::ActorError, remote};

/// A tessera that others have something of.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) manifest: SignedManifest,
    /// The layouts that there are, those that most nodes know first.
    pub(super) layouts: Vec<Located>,
    /// Whether somebody was there who may answer in a moment.
    pub(super) may_be_more: bool,
    /// The nodes that have not answered.
    pub(super) silent: Vec<NodeId>,
}

/// Whose answers are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// Everybody's.
    ForAll,
    /// Those of as many nodes as bring a stripe back, and of whoever takes no more than twice as long: of the others some may
    /// be dead.
    ForEnough,
}

/// A layout, and who may have its fragments.
#[derive(Debug, Clone)]
pub(super) struct Located {
    pub(super) layout: SignedLayout,
    /// The nodes that know it.
    pub(super) known_to: Vec<NodeId>,
    /// What placements say of it, the newest first.
    pub(super) placements: Vec<Placed>,
    /// The one that is kept here.
    kept: Option<SignedPlacement>,
}

/// What a placement says, and which nodes have sent it.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) signed: SignedPlacement,
    sent_by: BTreeSet<NodeId>,
}

/// What nodes have said.
#[derive(Default)]
struct Heard {
    manifest: Option<SignedManifest>,
    said: Vec<Said>,
    /// Those that have said nothing of it.
    silent: BTreeSet<NodeId>,
    /// How many of these have nothing, or could not be asked: from the others nothing has come yet.
    absent: usize,
    /// Whether any of these may have something in a moment.
    may_be_more: bool,
}

/// What one node says.
struct Said {
    node: NodeId,
    layouts: Vec<SignedLayout>,
    placement: Option<Bytes>,
}

impl Located {
    /// Those that may have the fragment with this index, the likeliest first.
    pub(super) fn holders(&self, index: u16) -> Vec<NodeId> {
        let placed = self
            .placements
            .iter()
            .filter_map(|it| it.signed.placement().holders.get(usize::from(index)).copied().flatten());
        let mut holders: Vec<NodeId> = Vec::new();
        for node in placed.chain(self.known_to.iter().copied()) {
            if !holders.contains(&node) {
                holders.push(node);
            }
        }
        holders
    }

    /// The placement to go on from.
    pub(super) fn credible(&self) -> Option<&SignedPlacement> {
        credible(self.kept.as_ref(), &self.placements)
    }

    /// All nodes that may have anything of it.
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        let width = self.layout.layout().code();
        let all = (0..width.k() + width.m()).flat_map(|index| self.holders(index));
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// Of several placements, the newest first, and the one that is kept here, the one that is believed: the newest of that, of those
/// that the author has signed, and of what most of those say who sent any, and several. What one node alone says may lead
/// anywhere, and leave no higher version to the author. Of those that are holders by what is kept here the word counts, if
/// there are several: others come in any number.
fn credible<'a>(kept: Option<&'a SignedPlacement>, said: &'a [Placed]) -> Option<&'a SignedPlacement> {
    let senders = said.iter().flat_map(|it| &it.sent_by).copied();
    let is_holder = |node: &NodeId| kept.is_some_and(|kept| kept.placement().holders.contains(&Some(*node)));
    let holders: BTreeSet<_> = senders.clone().filter(is_holder).collect();
    let asked = if holders.len() > 1 { holders } else { senders.collect() };
    let is_credible = |it: &&Placed| {
        let same = said.iter().filter(|other| other.signed.placement().agrees_with(it.signed.placement()));
        let votes: usize = same.map(|other| other.sent_by.intersection(&asked).count()).sum();
        it.signed.placement().repairer.is_none() || (votes > 1 && 2 * votes > asked.len())
    };
    let believed = said.iter().find(is_credible).map(|it| &it.signed);
    kept.into_iter().chain(believed).max_by_key(|signed| signed.placement().rank())
}

/// Nobody has it.
#[derive(Debug)]
pub(super) struct Nobody {
    pub(super) error: ActorError,
    /// Whether somebody was there who may answer in a moment.
    pub(super) may_be_more: bool,
    /// Whether not even its manifest is to be had.
    is_nowhere: bool,
}

impl From<ActorError> for Nobody {
    fn from(error: ActorError) -> Self {
        Self { error, may_be_more: false, is_nowhere: false }
    }
}

impl Nobody {
    /// There is something of it, and too little.
    pub(super) fn too_few(error: ActorError, may_be_more: bool) -> Self {
        Self { error, may_be_more, is_nowhere: false }
    }
}

/// Asks this node's own store and all peers; and if nobody knows of it, those whom these know.
pub(super) async fn find(tools: &Tools, tessera: TesseraId, waits: Waits) -> Result<Sources, Nobody> {
    let nodes = nodes(tools);
    match find_among(tools, &nodes, tessera, waits).await {
        Err(nobody) if nobody.is_nowhere => {
            let has_new = tools.peers.look_around(&tools.remote, nodes, &[], LOOK_AROUND_MAX).await?;
            if has_new { find_among(tools, &self::nodes(tools), tessera, waits).await } else { Err(nobody) }
        }
        found => found,
    }
}

/// Those that may be asked: first those that the operator wants, so that nobody crowds them out who names many others.
pub(super) fn nodes(tools: &Tools) -> Vec<NodeId> {
    let book = tools.peers.book();
    let nodes = book.peers.keys().filter(|node| !book.blocked.contains_key(node)).copied();
    let mut nodes: Vec<_> = nodes.collect();
    nodes.sort_by_key(|node| !book.is_configured(node));
    nodes.truncate(NODES_MAX);
    nodes
}

/// Asks this node's own store and these.
pub(super) async fn find_among(
    tools: &Tools,
    nodes: &[NodeId],
    tessera: TesseraId,
    waits: Waits,
) -> Result<Sources, Nobody> {
    let own = own_manifest(tools, tessera).await?;
    let Heard { manifest, said, silent, absent, may_be_more } = hear(tools, nodes, tessera, waits).await;
    let nobody = || Nobody { error: nobody(tessera, absent), may_be_more, is_nowhere: true };
    let manifest = own.or(manifest).ok_or_else(nobody)?;
    let mut layouts = BTreeMap::<Checksum, Located>::new();
    let mut add = |layout: SignedLayout, node: Option<NodeId>| {
        let located = layouts.entry(layout.checksum()).or_insert_with(|| Located {
            layout,
            known_to: Vec::new(),
            placements: Vec::new(),
            kept: None,
        });
        located.known_to.extend(node);
    };
    for layout in tools.storage.layouts(tessera).await.unwrap_or_default().into_iter().flatten() {
        add(layout, None);
    }
    for one in &said {
        one.layouts.iter().for_each(|layout| add(layout.clone(), Some(one.node)));
    }
    let author = manifest.manifest().author;
    let own = tools.storage.records().placements(tessera).await?.into_iter().map(|kept| kept.signed);
    let own = own.map(|signed| (tools.peers.us(), signed));
    let said = said.into_iter().filter_map(|one| Some((one.node, one.placement?)));
    for (node, signed) in said.chain(own) {
        let Ok(signed) = SignedPlacement::parse(signed, tessera, author) else { continue };
        let Some(located) = layouts.get_mut(&signed.placement().layout) else { continue };
        if node == tools.peers.us() {
            located.kept = Some(signed.clone());
        }
        match located.placements.iter_mut().find(|known| known.signed == signed) {
            Some(known) => known.sent_by.extend([node]),
            None => located.placements.push(Placed { signed, sent_by: [node].into() }),
        }
    }
    let mut layouts: Vec<_> = layouts.into_values().collect();
    for located in &mut layouts {
        located.placements.sort_by_key(|it| std::cmp::Reverse(it.signed.placement().rank()));
    }
    layouts
        .sort_by_key(|located| std::cmp::Reverse((located.placements.len().min(1), located.known_to.len())));
    Ok(Sources { manifest, layouts, may_be_more, silent: silent.into_iter().collect() })
}

/// Asks all nodes, and listens as long as that is worth it.
async fn hear(tools: &Tools, nodes: &[NodeId], tessera: TesseraId, waits: Waits) -> Heard {
    let mut heard = Heard { silent: nodes.iter().copied().collect(), ..Heard::default() };
    let asked =
        stream::iter(nodes.to_vec()).map(|node| async move { (node, ask(tools, node, tessera).await) });
    let mut asked = asked.buffer_unordered(ASKED_AT_ONCE);
    let (begun, mut late) = (Instant::now(), None);
    loop {
        if waits == Waits::ForEnough && late.is_none() && are_enough(&heard.said) {
            let took = begun.elapsed();
            late = Some(begun + took + took.clamp(LATE_MIN, LATE_MAX));
        }
        let next = match late {
            Some(late) => timeout_at(late, asked.next()).await.ok().flatten(),
            None => asked.next().await,
        };
        match next {
            None => return heard,
            Some((node, Ok((manifest, one)))) => {
                heard.silent.remove(&node);
                heard.manifest.get_or_insert(manifest);
                heard.said.push(one);
            }
            Some((_, Err(error))) => {
                tracing::debug!(%tessera, %error, "a node has nothing of it to give");
                heard.absent += 1;
                heard.may_be_more |= remote::is_passing(&error);
            }
        }
    }
}

/// Whether these have named the holders, and are as many as it takes of them.
fn are_enough(said: &[Said]) -> bool {
    let data = said.iter().flat_map(|one| &one.layouts).map(|layout| layout.layout().code().k()).max();
    data.is_some_and(|data| said.len() >= data.into()) && said.iter().any(|one| one.placement.is_some())
}

pub(super) async fn own_manifest(
    tools: &Tools,
    tessera: TesseraId,
) -> Result<Option<SignedManifest>, ActorError> {
    let hash = Checksum::from_bytes(*tessera.as_bytes());
    match tools.storage.document(tessera, DocumentKind::Manifest, Some(hash)).await {
        Ok(bytes) => Ok(Some(SignedManifest::parse(bytes)?)),
        Err(ActorError::NotFound { .. } | ActorError::CorruptDocument { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn ask(tools: &Tools, node: NodeId, tessera: TesseraId) -> Result<(SignedManifest, Said), ActorError> {
    let remote = &tools.remote;
    let asked = async {
        let manifest = remote.document(node, tessera, DocumentKind::Manifest, None).await?;
        let manifest = SignedManifest::parse(manifest)?;
        let layout = remote.document(node, tessera, DocumentKind::Layout, None).await?;
        let layouts = vec![SignedLayout::parse(layout, &manifest)?];
        // It may not have been told yet.
        let placement = remote.document(node, tessera, DocumentKind::Placement, None).await.ok();
        Ok((manifest, Said { node, layouts, placement }))
    };
    let seconds = ANSWERED_WITHIN.as_secs();
    let silent = ActorError::Peer { node, trouble: PeerTrouble::Silent { what: "answer", seconds } };
    timeout(ANSWERED_WITHIN, asked).await.unwrap_or(Err(silent))
}

fn nobody(tessera: TesseraId, asked: usize) -> ActorError {
    let again = "`peers add` makes one known that keeps it; else ask again later";
    let asked = match asked {
        0 => "no other node is known (`join` or `peers add` make one known)".to_owned(),
        1 => format!("the one node that is known has nothing of it, or did not answer ({again})"),
        nodes => {
            format!("none of the {nodes} nodes that are known has anything of it, or answered ({again})")
        }
    };
    ActorError::Conflict { what: format!("{tessera} is not to be had: {asked}") }
}

/// Nodes that are asked.
const NODES_MAX: usize = 256;
const ASKED_AT_ONCE: usize = 16;
/// Nodes that are asked whom they know.
const LOOK_AROUND_MAX: usize = 16;
/// When enough have answered, the others are waited for as long again, within these bounds.
const LATE_MIN: Duration = Duration::from_millis(10);
const LATE_MAX: Duration = Duration::from_secs(1);
/// How long a node may take to send the documents.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use proto::{AuthorKey, NodeKey, placement::Placement};

    use super::*;

    fn node(number: u8) -> NodeKey {
        NodeKey::from_seed([number; 32])
    }

    /// Kept by these, as one of them says, or their author.
    fn signed(version: u64, holders: &[u8], by: Option<u8>) -> SignedPlacement {
        let placement = Placement {
            tessera: TesseraId::from_bytes([1; 32]),
            layout: Checksum::of(b"layout"),
            version,
            holders: holders.iter().map(|number| Some(node(*number).id())).collect(),
            repairer: by.map(|number| node(number).id()),
        };
        let signed = match by {
            Some(number) => placement.sign_as_repairer(&node(number)),
            None => placement.sign(&AuthorKey::from_seed([9; 32])),
        };
        signed.unwrap()
    }

    fn check(
        kept: Option<&SignedPlacement>,
        said: &[(&SignedPlacement, &[u8])],
        expected: Option<&SignedPlacement>,
    ) {
        let placed = said.iter().map(|(signed, by)| Placed {
            signed: (*signed).clone(),
            sent_by: by.iter().map(|number| node(*number).id()).collect(),
        });
        let mut placed: Vec<_> = placed.collect();
        placed.sort_by_key(|it| std::cmp::Reverse(it.signed.placement().rank()));
        assert_eq!(credible(kept, &placed), expected);
    }

    #[test]
    fn placement_is_believed_of_its_author_or_of_most_who_send_one_and_of_none_alone() {
        let (first, mended) = (signed(1, &[1, 2, 3], None), signed(2, &[1, 2, 4], Some(1)));
        let forged = signed(99, &[3, 3, 3], Some(3));
        check(None, &[(&forged, &[3]), (&first, &[1])], Some(&first));
        check(None, &[(&forged, &[3])], None);
        check(None, &[(&mended, &[1, 2]), (&first, &[4])], Some(&mended));
        check(None, &[(&mended, &[1, 2]), (&first, &[3, 4])], Some(&first));
        check(None, &[(&mended, &[1, 2]), (&forged, &[3, 4])], None);
    }

    #[test]
    fn holders_that_are_known_outvote_any_number_of_others() {
        let (first, mended) = (signed(1, &[1, 2, 3], None), signed(2, &[1, 2, 4], Some(1)));
        let forged = signed(99, &[3, 3, 3], Some(3));
        check(Some(&first), &[(&forged, &[3, 5, 6, 7, 8]), (&mended, &[1, 2])], Some(&mended));
        check(Some(&first), &[(&forged, &[3, 5, 6, 7, 8]), (&mended, &[1])], Some(&first));
        // What is kept here was looked at when it came.
        check(Some(&mended), &[(&first, &[1, 2]), (&forged, &[3])], Some(&mended));
    }

    #[test]
    fn those_who_mended_it_at_once_in_the_same_way_agree() {
        let (one, other) = (signed(2, &[1, 2, 4], Some(1)), signed(2, &[1, 2, 4], Some(2)));
        check(None, &[(&one, &[1, 4]), (&other, &[2, 3])], Some(&one));
        // Nobody raises the version by repeating what the others say.
        let ahead = signed(99, &[1, 2, 4], Some(4));
        check(None, &[(&one, &[1, 3]), (&other, &[2]), (&ahead, &[4])], Some(&one));
        let different = signed(2, &[1, 2, 5], Some(2));
        check(None, &[(&one, &[1, 4]), (&different, &[2, 3])], None);
    }
}
