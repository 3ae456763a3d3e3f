//! What is kept of others.

use actors::storage::{Blocked, Invite, Note, Noted, Origin, Receipt, RecordsHandle, Score};
use bytes::Bytes;
use proto::{AuthorId, Checksum, FragmentId, NodeId};

use super::support::{
    account, fragment, id,
    index::{self, Wal},
    node::{End, Node},
    tessera,
};
use actors::FragmentStore;

pub(crate) fn peer(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

fn author(number: u8) -> AuthorId {
    AuthorId::from_bytes([number; 32])
}

fn sum(number: u8) -> Checksum {
    Checksum::of(&[number])
}

fn known(number: u8, origin: Origin) -> Note {
    Note::Peer {
        node: peer(number),
        addresses: vec![format!("host{number}:4433"), "\"'[::1]:1".to_owned()],
        author: None,
        allow_bytes: Some(u64::from(number)),
        origin,
        name: (number == 1).then(|| "bob".to_owned()),
        at_ms: 5,
    }
}

pub(crate) fn receipt(holder: u8, of: FragmentId, checksum: Checksum) -> Note {
    Note::Receipt(Receipt {
        holder: peer(holder),
        fragment: of,
        checksum,
        length: 500,
        author: author(9),
        held_at_ms: 77,
        signed: Bytes::from_iter([0, 1, 0xab, 0xff]),
    })
}

fn claim(holder: u8, stripes: std::ops::Range<u32>, held: &[(u32, u8)], at_ms: i64) -> Note {
    let held = held.iter().map(|(stripe, number)| (*stripe, 0, sum(*number))).collect();
    Note::Claim { holder: peer(holder), tessera: tessera(1), stripes, held, asked_at_ms: at_ms, at_ms }
}

fn proof(holder: u8, stripe: u32, number: u8, at_ms: i64) -> Note {
    Note::Proof { holder: peer(holder), fragment: id(1, stripe), checksum: sum(number), at_ms }
}

async fn note(records: &RecordsHandle, notes: Vec<Note>) {
    assert_eq!(records.note(notes).await.unwrap(), Noted::All);
}

/// Stripe, holder, when it was claimed, when proven.
async fn claims(records: &RecordsHandle) -> Vec<(u32, NodeId, i64, Option<i64>)> {
    let claims = records.claims(tessera(1), 0..u32::MAX).await.unwrap();
    claims.iter().map(|it| (it.stripe, it.holder, it.claimed_at_ms, it.proven_at_ms)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_keeps_its_scores_and_what_a_stronger_origin_said_of_it() {
    let mut node = Node::started(1).await;
    let records = node.storage().records();
    let seen = |at_ms, address: Option<&str>, author| Note::Seen {
        node: peer(1),
        address: address.map(str::to_owned),
        author,
        at_ms,
    };
    let score = |score| Note::Score { node: peer(1), score };
    // In one transaction, and in this order.
    note(
        &records,
        vec![
            seen(1, None, None),
            known(1, Origin::Introduced),
            seen(9, Some("there:1"), Some(author(3))),
            seen(8, None, None),
            score(Score::Absence),
            score(Score::Absence),
            score(Score::WrongBytes),
            Note::Score { node: peer(2), score: Score::Error },
            Note::Seen { node: peer(2), address: None, author: None, at_ms: 3 },
        ],
    )
    .await;
    let found = records.peer(peer(1)).await.unwrap().unwrap();
    assert_eq!((found.seen_at_ms, found.last_address.as_deref()), (Some(9), Some("there:1")));
    assert_eq!((found.wrong_bytes, found.errors, found.absences), (1, 0, 2));
    assert_eq!((found.author, found.added_at_ms), (Some(author(3)), 5));
    assert_eq!(records.peers().await.unwrap().len(), 1, "nothing is kept of who is not known");

    let mut unnamed = known(1, Origin::Configured);
    if let Note::Peer { name, .. } = &mut unnamed {
        *name = None;
    }
    note(&records, vec![unnamed]).await;
    let Note::Peer { addresses, .. } = known(1, Origin::Introduced) else { unreachable!() };
    let other = Note::Peer {
        node: peer(1),
        addresses: vec!["elsewhere:1".to_owned()],
        author: Some(author(4)),
        allow_bytes: None,
        origin: Origin::Introduced,
        name: Some("other".to_owned()),
        at_ms: 10,
    };
    note(&records, vec![other]).await;
    let kept = records.peer(peer(1)).await.unwrap().unwrap();
    assert_eq!(kept, actors::storage::Peer { origin: Origin::Configured, addresses, ..found });
    note(&records, vec![Note::RemovePeer { node: peer(1) }]).await;
    assert_eq!(records.peer(peer(1)).await.unwrap(), None);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invite_is_taken_once_whoever_asks_at_the_same_time() {
    let mut node = Node::started(2).await;
    let records = node.storage().records();
    let (token, late) = (sum(1), sum(2));
    let invite = Invite { allow_bytes: Some(7), expires_at_ms: 100, name: Some("ann".to_owned()) };
    note(
        &records,
        vec![
            Note::Invite { token, invite: invite.clone(), at_ms: 0 },
            Note::Invite { token: late, invite: invite.clone(), at_ms: 0 },
        ],
    )
    .await;
    assert_eq!(records.invite(token).await.unwrap(), Some(invite));
    let take = |number: u8| {
        let (records, taken) = (records.clone(), Note::TakeInvite { token, at_ms: 99 });
        tokio::spawn(async move { records.note(vec![taken, known(number, Origin::Invited)]).await.unwrap() })
    };
    let mut outcomes = Vec::new();
    for taking in [1, 2, 3, 4, 5, 6, 7, 8].map(take) {
        outcomes.push(taking.await.unwrap());
    }
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Noted::All).count(), 1, "{outcomes:?}");
    assert_eq!(records.peers().await.unwrap().len(), 1, "who was refused is no peer");
    // One that has expired, and both at once.
    let expired = vec![Note::TakeInvite { token: late, at_ms: 100 }];
    assert_eq!(records.note(expired).await.unwrap(), Noted::NoInvite);
    let twice =
        vec![Note::TakeInvite { token: late, at_ms: 99 }, Note::TakeInvite { token: late, at_ms: 99 }];
    assert_eq!(records.note(twice).await.unwrap(), Noted::NoInvite);
    note(&records, vec![Note::RemoveInvite { token: late }]).await;
    assert!(records.invites().await.unwrap().is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invites_that_have_expired_are_gone_when_another_is_made() {
    let mut node = Node::started(8).await;
    let records = node.storage().records();
    let invite = |number, expires_at_ms, at_ms| {
        let invite = Invite { allow_bytes: None, expires_at_ms, name: None };
        Note::Invite { token: sum(number), invite, at_ms }
    };
    note(&records, vec![invite(1, 100, 0), invite(2, 101, 0)]).await;
    let tokens =
        async || -> Vec<_> { records.invites().await.unwrap().into_iter().map(|(token, _)| token).collect() };
    assert_eq!(tokens().await, [sum(1), sum(2)]);
    note(&records, vec![invite(3, 200, 100)]).await;
    assert_eq!(tokens().await, [sum(2), sum(3)]);
    // The index and what is known beside it agree.
    let take = |number| vec![Note::TakeInvite { token: sum(number), at_ms: 100 }];
    assert_eq!(records.note(take(1)).await.unwrap(), Noted::NoInvite);
    assert_eq!(records.note(take(2)).await.unwrap(), Noted::All);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_that_is_claimed_replaces_what_its_holder_claimed_of_these_stripes() {
    let mut node = Node::started(3).await;
    let records = node.storage().records();
    let all = [(0, 1), (1, 2), (2, 3), (3, 4)];
    note(&records, vec![claim(1, 0..4, &all, 10), claim(2, 0..4, &all, 10)]).await;
    note(&records, vec![proof(1, 1, 2, 11), proof(1, 2, 3, 11), proof(2, 3, 99, 11), proof(1, 0, 1, 11)])
        .await;
    // Stripe 0 is not claimed any more, stripe 1 with other bytes; stripe 3 is of another page.
    note(&records, vec![claim(1, 0..3, &[(1, 9), (2, 3), (3, 9)], 20)]).await;
    let (one, two) = (peer(1), peer(2));
    assert_eq!(
        claims(&records).await,
        [
            (0, two, 10, None),
            (1, one, 20, None),
            (1, two, 10, None),
            (2, one, 20, Some(11)),
            (2, two, 10, None),
            (3, one, 10, None),
            (3, two, 10, None),
        ]
    );
    let holders = records.holders(tessera(1)).await.unwrap();
    let first = holders.first().unwrap();
    assert_eq!((first.node, first.claimed, first.claimed_at_ms), (one, 3, 10));
    assert_eq!((first.proven, first.proven_at_ms), (1, Some(11)));
    note(&records, vec![claim(1, 0..9, &[], 30), claim(2, 1..9, &[], 30)]).await;
    assert_eq!(claims(&records).await, [(0, two, 10, None)]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_holder_has_taken_since_it_was_asked_is_claimed_whatever_it_answered() {
    let mut node = Node::started(3).await;
    let records = node.storage().records();
    let taken =
        |stripe, at_ms| Note::Claimed { holder: peer(1), fragment: id(1, stripe), checksum: sum(1), at_ms };
    // Before it was asked, just then, before the answer came; and by a clock that was wrong.
    note(&records, vec![taken(0, 9), taken(1, 10), taken(2, 12), taken(3, 13)]).await;
    let (held, stripes) = (Vec::new(), 0..9);
    let said =
        Note::Claim { holder: peer(1), tessera: tessera(1), stripes, held, asked_at_ms: 10, at_ms: 12 };
    note(&records, vec![said]).await;
    assert_eq!(claims(&records).await, [(1, peer(1), 10, None), (2, peer(1), 12, None)]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_are_listed_in_order_until_they_are_dropped() {
    let mut node = Node::started(4).await;
    let records = node.storage().records();
    let notes = (0..5).rev().map(|stripe| receipt(1, id(1, stripe), sum(1)));
    note(&records, notes.chain([receipt(1, id(2, 0), sum(1)), receipt(2, id(1, 0), sum(1))]).collect()).await;
    let listed = async |from, limit| {
        let receipts = records.receipts(peer(1), tessera(1), from, limit).await.unwrap();
        receipts.iter().map(|receipt| receipt.fragment.stripe).collect::<Vec<_>>()
    };
    assert_eq!(listed((0, 1), 3).await, [1, 2, 3]);
    let first = records.receipts(peer(1), tessera(1), (0, 0), 1).await.unwrap().remove(0);
    assert_eq!(Note::Receipt(first), receipt(1, id(1, 0), sum(1)));
    let fragments = vec![(1, 0), (4, 0)];
    note(&records, vec![Note::Dropped { holder: peer(1), tessera: tessera(1), fragments }]).await;
    assert_eq!(listed((0, 0), 9).await, [0, 2, 3]);
    note(&records, vec![Note::Forget { tessera: tessera(1) }]).await;
    assert!(listed((0, 0), 9).await.is_empty());
    assert_eq!(records.receipts(peer(1), tessera(2), (0, 0), 9).await.unwrap().len(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_about_too_much_are_refused() {
    let mut node = Node::started(5).await;
    let records = node.storage().records();
    let held = vec![(0, 0, sum(1)); actors::storage::NOTE_ROWS_MAX];
    let note =
        Note::Claim { holder: peer(1), tessera: tessera(1), stripes: 0..1, held, asked_at_ms: 0, at_ms: 0 };
    let refused = records.note(vec![note]).await;
    assert!(matches!(refused, Err(actors::ActorError::Conflict { .. })), "{refused:?}");
    node.stop().await;
}

/// All there is.
async fn everything(records: &RecordsHandle) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        records.peers().await.unwrap(),
        records.blocks().await.unwrap(),
        records.invites().await.unwrap(),
        records.receipts(peer(1), tessera(1), (0, 0), 100).await.unwrap(),
        records.claims(tessera(1), 0..100).await.unwrap(),
    )
}

async fn fill(records: &RecordsHandle) {
    let blocks = [Blocked::Node(peer(1)), Blocked::Tessera(tessera(1))];
    let blocks = blocks.map(|what| Note::Block { what, reason: "a \"reason\"".to_owned(), at_ms: 4 });
    let invite = Invite { allow_bytes: None, expires_at_ms: 100, name: Some("ann".to_owned()) };
    let mut notes = vec![
        known(1, Origin::Configured),
        known(2, Origin::Introduced),
        Note::Invite { token: sum(1), invite, at_ms: 0 },
        receipt(1, id(1, 3), sum(3)),
        claim(1, 0..9, &[(3, 3)], 20),
        proof(1, 3, 3, 21),
    ];
    notes.extend(blocks);
    note(records, notes).await;
    assert_eq!(records.blocked(vec![Blocked::Node(peer(1)), Blocked::Node(peer(2))]).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_known_after_a_kill_and_when_the_index_is_lost() {
    let mut node = Node::started(6).await;
    fill(&node.storage().records()).await;
    let before = everything(&node.storage().records()).await;
    node.end_and_start(End::Killed).await;
    assert_eq!(everything(&node.storage().records()).await, before);
    // A change in nothing else is one that a snapshot is taken for.
    let first = node.storage().snapshot().await.unwrap();
    note(&node.storage().records(), vec![Note::Unblock { what: Blocked::Node(peer(1)) }]).await;
    assert_ne!(node.storage().snapshot().await.unwrap(), first);
    let before = everything(&node.storage().records()).await;
    node.rebuild().await;
    assert_eq!(everything(&node.storage().records()).await, before);
    node.storage().put(account(3), id(1, 0), fragment(1, 500)).await.unwrap();
    let totals = node.storage().records().account(account(3)).await.unwrap();
    assert_eq!((totals.fragments, totals.bytes), (1, 500));
    node.stop().await;
}

/// With full synchronisation a power cut takes back nothing that was answered.
#[tokio::test(flavor = "multi_thread")]
async fn notes_outlive_a_power_cut_when_the_index_is_synced() {
    let mut node = Node::new(7);
    node.config.sqlite_synchronous_full = true;
    node.start().await.unwrap();
    fill(&node.storage().records()).await;
    let before = everything(&node.storage().records()).await;
    node.end_and_start(End::PowerCut(Wal::Least)).await;
    assert_eq!(everything(&node.storage().records()).await, before);
    node.stop().await;
    assert!(index::path(node.path(), "").exists());
}
