//! Payloads that hold whole records: nothing of them counts, wherever damage makes a scan look.

use actors::{ActorError, FragmentStore, storage::Report};
use bytes::Bytes;
use proto::{
    Checksum, Fragment,
    limits::RECORD_ALIGN_BYTES,
    record::{Claim, Header, Kind, Record, Salt, SessionId},
};

use super::support::{
    LOCAL, account, audit, fragment, id, index,
    node::{End, Node},
};

const LENGTH: u32 = 700;

/// What a peer can make without knowing the salt: records that would undo what others put, and such that would keep a
/// node from starting.
fn forged(salt: Salt) -> Fragment {
    let checksum = fragment(1, LENGTH as usize).checksum();
    let claim =
        Claim { session: SessionId::NONE, account: LOCAL, fragment: id(1, 0), checksum, length: LENGTH };
    let drop = Record::Drop(claim).payload();
    let mut newer = record(salt, Kind::Drop, 1 << 40, &drop);
    newer[4] = 2;
    let check = Checksum::of(&newer[..56]);
    newer[56..64].copy_from_slice(&check.as_bytes()[..8]);
    let bytes = [
        newer,
        record(salt, Kind::Ref, 1 << 40, b"too short for a ref"),
        record(salt, Kind::Commit, u64::MAX, &[7; 40]),
        record(salt, Kind::Drop, 1 << 40, &drop),
        record(salt, Kind::Forget, 1 << 40, id(1, 0).tessera.as_bytes()),
    ];
    Fragment::hash(Bytes::from(bytes.concat())).unwrap()
}

fn record(salt: Salt, kind: Kind, sequence: u64, payload: &[u8]) -> Vec<u8> {
    let header = Header::new(kind, salt, sequence, payload.len(), Checksum::of(payload)).unwrap();
    let mut out = [&header.encode()[..], payload].concat();
    out.resize(out.len().next_multiple_of(RECORD_ALIGN_BYTES), 0);
    out
}

/// A node that was killed, with forged records in a blob whose header is damaged.
async fn attacked() -> Node {
    let mut node = Node::started(1).await;
    let evil = forged(Salt([0; Salt::BYTES]));
    node.storage().put(LOCAL, id(1, 0), fragment(1, LENGTH as usize)).await.unwrap();
    node.storage().put(account(9), id(9, 0), evil.clone()).await.unwrap();
    let (_, log) = audit::check(&node).await;
    let placed = log.records.iter().find(|placed| placed.header.payload_hash == evil.checksum()).unwrap();
    let position = placed.position;
    node.end(End::Killed).await;
    flip(&node, position + 40);
    node
}

fn flip(node: &Node, position: u64) {
    let mut bytes = std::fs::read(node.segment(1)).unwrap();
    bytes[usize::try_from(position).unwrap()] ^= 1;
    std::fs::write(node.segment(1), bytes).unwrap();
}

async fn report(node: &Node) -> Report {
    node.storage().usage().await.unwrap().recovery
}

async fn is_served(node: &Node, stripe: u32) {
    assert_eq!(node.storage().get(id(1, stripe)).await.unwrap(), fragment(1, LENGTH as usize));
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_records_in_a_payload_do_not_count_when_its_header_is_damaged() {
    let mut node = attacked().await;
    index::remove(node.path());
    node.start().await.unwrap();
    let report = report(&node).await;
    assert_eq!((report.rebuilt, report.damage.len(), report.damage[0].segment), (true, 1, 1), "{report:?}");
    is_served(&node, 0).await;
    let lost = node.storage().get(id(9, 0)).await;
    assert!(matches!(lost, Err(ActorError::Corrupt { .. })), "{lost:?}");
    node.storage().put(LOCAL, id(1, 5), fragment(1, LENGTH as usize)).await.unwrap();
    is_served(&node, 5).await;
    node.stop().await;
}

/// A power cut in the middle of a batch: the header of a blob is not there, its payload is.
#[tokio::test(flavor = "multi_thread")]
async fn forged_records_in_a_torn_batch_do_not_count() {
    let mut node = Node::started(1).await;
    node.storage().put(LOCAL, id(1, 0), fragment(1, LENGTH as usize)).await.unwrap();
    node.end(End::Killed).await;
    let mut bytes = std::fs::read(node.segment(1)).unwrap();
    let end = bytes.len();
    bytes.extend_from_slice(&[0; 64]);
    bytes.extend_from_slice(forged(Salt([0; Salt::BYTES])).bytes());
    std::fs::write(node.segment(1), bytes).unwrap();
    node.start().await.unwrap();
    let report = report(&node).await;
    let torn: Vec<_> = report.unfinished.iter().map(|torn| (torn.segment, torn.position)).collect();
    assert_eq!((torn, report.damage.len()), (vec![(1, end as u64)], 0), "{report:?}");
    is_served(&node, 0).await;
    node.stop().await;
}

/// The segments alone say whose records are the store's, also when the first header of one is damaged; and where the
/// segments do not, the file beside them does.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_first_header_loses_no_more_than_its_record() {
    // The salt itself, and a byte of the sequence number.
    for (count, byte, without_file) in [(2, 8, false), (60, 8, false), (60, 8, true), (2, 20, true)] {
        let mut node = Node::started(1).await;
        for stripe in 0..count {
            let one = fragment(stripe.into(), LENGTH as usize);
            node.storage().put(LOCAL, id(1, stripe), one).await.unwrap();
        }
        node.stop().await;
        flip(&node, byte);
        index::remove(node.path());
        if without_file {
            std::fs::remove_file(node.path().join("segments.salt")).unwrap();
        }
        node.start().await.unwrap();
        assert_eq!(report(&node).await.damage.len(), 1, "{count} {without_file}");
        let lost = node.storage().get(id(1, 0)).await;
        assert!(matches!(lost, Err(ActorError::Corrupt { .. })), "{count} {without_file}: {lost:?}");
        for stripe in 1..count {
            let got = node.storage().get(id(1, stripe)).await.unwrap();
            assert_eq!(got, fragment(stripe.into(), LENGTH as usize), "{count} {without_file}");
        }
        node.stop().await;
    }
}
