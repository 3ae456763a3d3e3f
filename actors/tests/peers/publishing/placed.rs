//! Who may say who keeps a tessera.

use actors::storage::JobState;
use proto::{AuthorKey, NodeId, NodeKey, placement::Placement, record::DocumentKind, wire::RefusalKind};

use super::*;
use crate::support::refusal;

#[tokio::test(flavor = "multi_thread")]
async fn placement_is_believed_of_the_author_and_of_holders_only() {
    let (author, nodes) = network(3).await;
    let tessera = Tessera::new(&author.author, 1, 20_000);
    tessera.keep(&author).await;
    assert_eq!(publish(&author, tessera.id()).await.0, JobState::Done);
    let (_, placed) = published(&author, &tessera).await;
    let (holder, stranger) = (NodeKey::from_seed([10; 32]), NodeKey::from_seed([99; 32]));
    assert_eq!(nodes[0].id(), holder.id());
    let newer = |repairer| Placement { version: 9, repairer, ..placed.placement().clone() };
    let tell = async |signed: SignedPlacement| {
        let (node, kind) = (nodes[1].id(), DocumentKind::Placement);
        author.system.remote.put_document(node, tessera.id(), kind, None, signed.bytes().clone()).await
    };
    let kept = async || {
        let kept = nodes[1].system.storage.records().placements(tessera.id()).await.unwrap();
        kept.into_iter().map(|kept| kept.signed).collect::<Vec<_>>()
    };
    let forged = newer(Some(stranger.id())).sign_as_repairer(&stranger).unwrap();
    assert_eq!(refusal(tell(forged).await), RefusalKind::Forbidden);
    let stolen = newer(None).sign(&AuthorKey::from_seed([77; 32])).unwrap();
    assert_eq!(refusal(tell(stolen).await), RefusalKind::Corrupt);
    let elsewhere = Placement { layout: Checksum::of(b"another"), ..newer(None) };
    assert_eq!(refusal(tell(elsewhere.sign(&author.author).unwrap()).await), RefusalKind::NotFound);
    let ahead = Placement { version: u64::MAX >> 1, ..newer(Some(holder.id())) };
    assert_eq!(refusal(tell(ahead.sign_as_repairer(&holder).unwrap()).await), RefusalKind::Forbidden);
    // Somebody else's, and that of the node itself which is told, are there.
    introduce(&nodes[1], &nodes[2]).await;
    for other in [&nodes[2], &nodes[1]] {
        let is_its = |kept: &Option<NodeId>| *kept == Some(other.id());
        let holders = placed.placement().holders.iter();
        let holders = holders.map(|kept| if is_its(kept) { Some(holder.id()) } else { *kept }).collect();
        let usurped = Placement { holders, ..newer(Some(holder.id())) };
        assert_eq!(refusal(tell(usurped.sign_as_repairer(&holder).unwrap()).await), RefusalKind::Forbidden);
    }
    assert_eq!(kept().await, [placed.bytes().clone()]);

    let repaired = newer(Some(holder.id())).sign_as_repairer(&holder).unwrap();
    tell(repaired.clone()).await.unwrap();
    assert_eq!(kept().await, [repaired.bytes().clone()]);
    // An older one is no news, and of two the author's counts.
    tell(placed.clone()).await.unwrap();
    assert_eq!(kept().await, [repaired.bytes().clone()]);
    let own = newer(None).sign(&author.author).unwrap();
    tell(own.clone()).await.unwrap();
    assert_eq!(kept().await, [own.bytes().clone()]);
}
