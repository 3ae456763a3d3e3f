//! Finding out what an author has published: whoever has lost every machine knows no id any more, and those that keep it
//! list what they keep for an author to a node that acts for it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use proto::{AccountId, NodeId, TesseraId};
use tokio::time::{timeout, timeout_at};

use super::{Tools, copy::Copy, sources::nodes};
use crate::{archive::source::is_whole, error::ActorError};

/// What is brought back of this node's author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovering {
    /// The tesserae that others keep something of, those that most of them list first, each with the number of the job that
    /// fetches it; `None` when all of it is here.
    pub tesseras: Vec<(TesseraId, Option<u64>)>,
    /// How many more there are, which are fetched when this is asked for again.
    pub left: usize,
    /// The nodes that were asked.
    pub asked: Vec<Asked>,
}

/// What other nodes keep of this node's author.
#[derive(Debug)]
pub(super) struct Recoverable {
    pub(super) tesseras: Vec<Listed>,
    pub(super) left: usize,
    pub(super) asked: Vec<Asked>,
}

/// A tessera that others keep something of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed {
    pub(super) tessera: TesseraId,
    /// Whether all of it is here, and who else keeps it is known.
    pub(super) is_here: bool,
}

/// A node that was asked what it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The node.
    pub node: NodeId,
    /// Of how many tesserae it keeps something, or why it does not say.
    pub kept: Result<usize, String>,
}

/// Asks all nodes that are known, and those whom these know.
pub(super) async fn recoverable(tools: &Tools) -> Result<Recoverable, ActorError> {
    let author = tools.author.as_ref().map(|key| AccountId::from(key.id()));
    let account = author.ok_or_else(|| ActorError::Conflict {
        what: "this node acts for nobody: there is nothing to bring back".to_owned(),
    })?;
    let begun = Instant::now();
    let around = tools.peers.look_around(&tools.remote, nodes(tools), &[], LOOK_AROUND_MAX);
    // Whoever names nobody in time may be asked all the same.
    timeout(LOOK_AROUND_WITHIN, around).await.unwrap_or(Ok(false))?;
    let all = nodes(tools);
    let mut asked = pin!(stream::iter(all.clone()).map(|node| ask(tools, node, account)));
    let mut asked = asked.as_mut().buffer_unordered(ASKED_AT_ONCE);
    let mut silent: BTreeSet<NodeId> = all.into_iter().collect();
    let (mut kept, mut said) = (BTreeMap::<TesseraId, usize>::new(), Vec::new());
    while let Ok(Some((node, tesseras))) = timeout_at((begun + WITHIN).into(), asked.next()).await {
        silent.remove(&node);
        let count = tesseras.map(|tesseras| {
            let count = tesseras.len();
            tesseras.into_iter().for_each(|tessera| *kept.entry(tessera).or_default() += 1);
            count
        });
        said.push(Asked { node, kept: count.map_err(|error| error.to_string()) });
    }
    said.extend(
        silent.into_iter().map(|node| Asked { node, kept: Err("it did not answer in time".to_owned()) }),
    );
    said.sort_by_key(|one| one.node);
    // Whoever lists what there is not keeps nobody from what there is: several list that.
    let mut kept: Vec<_> = kept.into_iter().collect();
    kept.sort_by_key(|(_, listed_by)| Reverse(*listed_by));
    let (mut tesseras, mut absent) = (Vec::new(), 0);
    let mut kept = kept.into_iter().map(|(tessera, _)| tessera);
    while absent < FETCHED_MAX
        && let Some(tessera) = kept.next()
    {
        let is_here = is_here(tools, tessera).await?;
        absent += usize::from(!is_here);
        tesseras.push(Listed { tessera, is_here });
    }
    Ok(Recoverable { tesseras, left: kept.len(), asked: said })
}

async fn ask(
    tools: &Tools,
    node: NodeId,
    account: AccountId,
) -> (NodeId, Result<Vec<TesseraId>, ActorError>) {
    (node, tools.remote.tesseras_of(node, account).await)
}

/// Whether nothing is left to be fetched of a tessera.
async fn is_here(tools: &Tools, tessera: TesseraId) -> Result<bool, ActorError> {
    let records = tools.storage.records();
    let fragments = match records.tessera(tessera).await {
        Ok(row) => row.fragments,
        Err(ActorError::NotFound { .. }) => 0,
        Err(error) => return Err(error),
    };
    if fragments == 0 || records.placements(tessera).await?.is_empty() {
        return Ok(false);
    }
    // What is damaged is fetched.
    let Ok(copy) = Copy::open(tools.storage.clone(), tessera).await else { return Ok(false) };
    let layout = copy.layout().layout();
    Ok(fragments >= layout.data_fragments() && is_whole(&tools.storage, layout).await?)
}

/// Nodes that are asked whom they know.
const LOOK_AROUND_MAX: usize = 64;
const LOOK_AROUND_WITHIN: Duration = Duration::from_secs(12);
/// Nodes that are asked at a time what they keep.
const ASKED_AT_ONCE: usize = 32;
/// Tesserae that are fetched at a time.
const FETCHED_MAX: usize = 10_000;
/// How long all of that may take. Less than whoever has asked for it waits.
const WITHIN: Duration = Duration::from_secs(30);
