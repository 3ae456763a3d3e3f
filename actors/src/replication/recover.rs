//! Finding out what an author has published: whoever has lost every machine knows no id any more, and those that keep it
//! list what they keep for an author to a node that acts for it.

use std::{
    collections::BTreeSet,
    pin::pin,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use proto::{AccountId, NodeId, TesseraId};
use tokio::time::{timeout, timeout_at};

use super::{Tools, copy::Copy, sources::nodes};
use crate::error::ActorError;

/// What is brought back of this node's author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovering {
    /// The tesserae that others keep something of, in the order of their ids, each with the number of the job that fetches it;
    /// `None` when all of it is here.
    pub tesseras: Vec<(TesseraId, Option<u64>)>,
    /// The nodes that were asked.
    pub asked: Vec<Asked>,
}

/// What other nodes keep of this node's author.
#[derive(Debug)]
pub(super) struct Recoverable {
    /// In the order of their ids.
    pub(super) tesseras: Vec<Listed>,
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
    let (mut kept, mut said) = (BTreeSet::new(), Vec::new());
    while let Ok(Some((node, tesseras))) = timeout_at((begun + WITHIN).into(), asked.next()).await {
        silent.remove(&node);
        let count = tesseras.map(|tesseras| {
            let count = tesseras.len();
            kept.extend(tesseras);
            count
        });
        said.push(Asked { node, kept: count.map_err(|error| error.to_string()) });
    }
    said.extend(
        silent.into_iter().map(|node| Asked { node, kept: Err("it did not answer in time".to_owned()) }),
    );
    said.sort_by_key(|one| one.node);
    let mut tesseras = Vec::with_capacity(kept.len());
    for tessera in kept {
        tesseras.push(Listed { tessera, is_here: is_here(tools, tessera).await? });
    }
    Ok(Recoverable { tesseras, asked: said })
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
    let copy = Copy::open(tools.storage.clone(), tessera).await;
    // What is damaged is fetched.
    Ok(copy.is_ok_and(|copy| fragments >= copy.layout().layout().data_fragments()))
}

/// Nodes that are asked whom they know.
const LOOK_AROUND_MAX: usize = 64;
const LOOK_AROUND_WITHIN: Duration = Duration::from_secs(12);
/// Nodes that are asked at a time what they keep.
const ASKED_AT_ONCE: usize = 32;
/// How long all of that may take. Less than whoever has asked for it waits.
const WITHIN: Duration = Duration::from_secs(30);
