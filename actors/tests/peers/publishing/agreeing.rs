//! What one side has signed to have and what the other has is the same.

use super::*;

/// Receipts, deposits and placements agree on both sides, and nobody has anything beside them.
pub(super) async fn both_sides_agree(author: &Node, nodes: &[Node], tessera: &Tessera) {
    let (layout, placement) = published(author, tessera).await;
    for node in nodes {
        let receipts =
            author.system.storage.records().receipts(node.id(), tessera.id(), (0, 0), 10_000).await;
        let receipts = receipts
            .unwrap()
            .into_iter()
            .map(|receipt| ((receipt.fragment.stripe, receipt.fragment.index), receipt.checksum));
        let receipts: Vec<_> = receipts.collect();
        let held = held(node, layout.layout()).await;
        let held: Vec<_> = held.into_iter().map(|(place, fragment)| (place, fragment.checksum())).collect();
        assert_eq!(receipts, held, "{}", node.id());
        let door = author.system.storage.checksums_door();
        let account = author.author.id().into();
        let difference = author.system.remote.compare(&door, node.id(), account).await.unwrap();
        assert!(difference.differences.is_empty(), "{difference:?}");
        if !held.is_empty() {
            let known = node.system.storage.records().placements(tessera.id()).await.unwrap();
            let known: Vec<_> = known.into_iter().map(|kept| kept.signed).collect();
            assert_eq!(known, [placement.bytes().clone()]);
        }
    }
    deposits_are_what_is_there(nodes, tessera).await;
}

/// What these nodes have on the author's account is what is there.
pub(super) async fn deposits_are_what_is_there(nodes: &[Node], tessera: &Tessera) {
    let account = tessera.manifest.manifest().author.into();
    for node in nodes {
        let storage = &node.system.storage;
        let rows = storage.checksums(tessera.id(), (0, 0), 10_000).await.unwrap();
        let there: u64 = rows.iter().map(|row| u64::from(row.length)).sum();
        let kept = storage.records().account(account).await.unwrap();
        assert_eq!((kept.fragments, kept.bytes), (rows.len() as u64, there), "{}", node.id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_deposits_and_placement_agree_on_both_sides() {
    let (author, nodes) = network(4).await;
    let tessera = Tessera::new(&author.author, 1, 500_000);
    tessera.keep(&author).await;
    publish(&author, tessera.id()).await;
    both_sides_agree(&author, &nodes, &tessera).await;
}
