//! Having nodes drop what is not theirs to keep any more: what they have under an old layout, or what others keep by now.

use std::{collections::BTreeSet, ops::Range, time::Duration};

use futures::future::join_all;
use proto::{AuthorKey, NodeId, TesseraId, limits::DROP_FRAGMENTS_MAX};
use tokio::time::timeout;

use super::Tools;
use crate::error::ActorError;

/// Has a node drop what it has signed to keep of these stripes.
pub(super) async fn drop_there(
    tools: &Tools,
    author: &AuthorKey,
    tessera: TesseraId,
    node: NodeId,
    stripes: &Range<u32>,
) -> Result<(), ActorError> {
    let records = tools.storage.records();
    loop {
        let receipts = records.receipts(node, tessera, (stripes.start, 0), DROPPED_AT_ONCE).await?;
        let places = receipts.iter().map(|receipt| (receipt.fragment.stripe, receipt.fragment.index));
        let places: Vec<_> = places.filter(|(stripe, _)| stripes.contains(stripe)).collect();
        if places.is_empty() {
            return Ok(());
        }
        tools.remote.drop_fragments(node, author, tessera, &places).await?;
    }
}

/// Has those drop what they have signed to keep of these stripes who are no holders: they were away, or turned down when they
/// had taken some. Whoever is not there is told another time.
pub(super) async fn tidy(
    tools: &Tools,
    author: &AuthorKey,
    tessera: TesseraId,
    stripes: &Range<u32>,
    holders: &BTreeSet<NodeId>,
) -> Result<(), ActorError> {
    let signers = tools.storage.records().signers(tessera).await?;
    let former = signers.into_iter().filter(|node| !holders.contains(node));
    let told = former.map(|node| async move {
        let dropped = timeout(TOLD_WITHIN, drop_there(tools, author, tessera, node, stripes)).await;
        if let Ok(Err(error)) = dropped {
            tracing::debug!(%node, %tessera, %error, "it still keeps what others keep now");
        }
    });
    join_all(told).await;
    Ok(())
}

/// Fragments that are dropped with one order.
const DROPPED_AT_ONCE: u32 = 1024;
const _: () = assert!(DROPPED_AT_ONCE as usize <= DROP_FRAGMENTS_MAX);
/// How long a node may take.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
