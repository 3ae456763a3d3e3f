//! The ledger: what is kept for whom, and what others have signed to have, whatever has happened.

use std::collections::BTreeMap;

use actors::{
    FragmentStore,
    storage::{Ledger, LedgerRow, Note, Noted, Origin, Receipt, Signed},
};
use bytes::Bytes;
use proto::{AccountId, AuthorId, Checksum, FragmentId, NodeId};

use super::{
    damage::execute,
    records::peer,
    support::{
        chance::Chance,
        fragment, id,
        node::{DEADLINE, End, Node},
        tessera,
    },
};

/// Who this node acts for.
const US: u8 = 1;

fn author(number: u8) -> AuthorId {
    AuthorId::from_bytes([number; 32])
}

/// A node is known, and has shown whom it acts for.
fn known(number: u8, of: Option<u8>) -> [Note; 1] {
    [Note::Peer {
        node: peer(number),
        addresses: vec!["example.org:4433".to_owned()],
        author: of.map(author),
        allow_bytes: None,
        origin: Origin::Configured,
        name: None,
        at_ms: 0,
    }]
}

fn receipt(holder: u8, of: FragmentId, author: AuthorId, length: u32) -> Note {
    Note::Receipt(Receipt {
        holder: peer(holder),
        fragment: of,
        checksum: Checksum::of(&length.to_le_bytes()),
        length,
        author,
        held_at_ms: 0,
        signed: Bytes::from_static(&[7; 20]),
    })
}

async fn note(node: &Node, notes: impl IntoIterator<Item = Note>) {
    let noted = node.storage().records().note(notes.into_iter().collect()).await;
    assert_eq!(noted.unwrap(), Noted::All);
}

async fn put(node: &Node, account: AccountId, of: FragmentId, length: usize) {
    node.storage().put(account, of, fragment(u64::from(of.stripe), length)).await.unwrap();
}

async fn ledger(node: &Node) -> Ledger {
    node.storage().records().ledger(author(US), None, 100).await.unwrap()
}

fn signed(fragments: u64, bytes: u64) -> Signed {
    Signed { fragments, bytes }
}

/// Of whom, bytes here, ours with their machines, theirs elsewhere.
fn told(row: &LedgerRow) -> (AuthorId, u64, Signed, Signed) {
    (row.author, row.here.bytes, row.ours, row.elsewhere)
}

/// Four accounts, each known for another reason.
async fn filled(seed: u64) -> Node {
    let node = Node::started(seed).await;
    put(&node, AccountId::LOCAL, id(1, 0), 500).await;
    put(&node, author(US).into(), id(2, 0), 400).await;
    put(&node, author(3).into(), id(3, 0), 300).await;
    put(&node, author(3).into(), id(3, 1), 200).await;
    put(&node, author(9).into(), id(4, 0), 100).await;
    // Two machines of author 3, one of author 4 for which nothing is kept, one of ours, and one that has shown nobody.
    let machines = [(10, Some(3)), (11, Some(3)), (12, Some(4)), (13, Some(US)), (14, None)];
    note(&node, machines.into_iter().flat_map(|(number, of)| known(number, of))).await;
    let ours = [(10, 1000), (11, 2000), (12, 4000), (13, 8000), (14, 16_000), (99, 32_000)];
    note(&node, ours.into_iter().map(|(holder, length)| receipt(holder, id(1, 0), author(US), length))).await;
    // What this node has brought elsewhere for others.
    note(&node, [receipt(11, id(5, 0), author(9), 70), receipt(12, id(6, 0), author(8), 80)]).await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_says_what_is_kept_for_whom_and_what_their_machines_have_of_ours() {
    let mut node = filled(1).await;
    let found = ledger(&node).await;
    assert_eq!((found.own.bytes, found.brought.bytes), (500, 400));
    assert_eq!((found.others.fragments, found.others.bytes), (3, 600));
    assert_eq!(found.elsewhere, signed(6, 63_000));
    assert_eq!((found.own_machines, found.unknown), (signed(1, 8000), signed(2, 48_000)));
    let nothing = Signed::default();
    let rows: Vec<_> = found.accounts.iter().map(told).collect();
    assert_eq!(
        rows,
        [
            (author(3), 500, signed(2, 3000), nothing),
            (author(4), 0, signed(1, 4000), nothing),
            (author(8), 0, nothing, signed(1, 80)),
            (author(9), 100, nothing, signed(1, 70)),
        ]
    );
    let kept = node.storage().records().account(author(3).into()).await.unwrap();
    assert_eq!(found.accounts[0].here, kept, "with all that counts");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_comes_in_pages_that_leave_nobody_out() {
    let mut node = filled(2).await;
    let records = node.storage().records();
    let all = ledger(&node).await;
    for limit in 1..6 {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            // One more than is taken tells where the next page begins.
            let mut page = records.ledger(author(US), from, limit + 1).await.unwrap();
            let totals = Ledger { accounts: all.accounts.clone(), ..page.clone() };
            assert_eq!(totals, all, "what all comes to is on every page");
            let next = page.accounts.get(limit as usize).map(|row| row.author);
            page.accounts.truncate(limit as usize);
            found.extend(page.accounts);
            if next.is_none() {
                break;
            }
            from = next;
        }
        assert_eq!(found, all.accounts, "{limit} a page");
    }
    let from_third = records.ledger(author(US), Some(author(8)), 100).await.unwrap();
    assert_eq!(from_third.accounts, all.accounts[2..]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_goes_down_with_what_is_dropped_and_outlives_a_kill_and_the_index() {
    let mut node = filled(3).await;
    node.storage().drop_fragment(author(3).into(), id(3, 0)).await.unwrap();
    node.storage().drop_fragment(author(9).into(), id(4, 0)).await.unwrap();
    let fragments = vec![(0, 0)];
    note(&node, [Note::Dropped { holder: peer(10), tessera: tessera(1), fragments }]).await;
    note(&node, [Note::Forget { tessera: tessera(5) }, Note::RemovePeer { node: peer(12) }]).await;
    let found = ledger(&node).await;
    let nothing = Signed::default();
    let rows: Vec<_> = found.accounts.iter().map(told).collect();
    assert_eq!(
        rows,
        [(author(3), 200, signed(1, 2000), nothing), (author(8), 0, nothing, signed(1, 80))],
        "nobody is there for whom nothing is kept anywhere"
    );
    // What a node keeps that is known no longer stays with it.
    assert_eq!((found.elsewhere, found.unknown), (signed(5, 62_000), signed(3, 52_000)));
    assert_eq!(found.others.bytes, 200);
    node.end_and_start(End::Killed).await;
    assert_eq!(ledger(&node).await, found);
    node.storage().snapshot().await.unwrap();
    node.rebuild().await;
    assert_eq!(ledger(&node).await, found);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipt_that_replaces_another_counts_once() {
    let mut node = Node::started(4).await;
    let with = async |of: u8, holders: &[u8]| {
        let holders = holders.iter().map(|holder| peer(*holder)).collect();
        node.storage().records().signed(author(of), holders).await.unwrap()
    };
    note(&node, [receipt(10, id(1, 0), author(US), 500)]).await;
    note(&node, [receipt(10, id(1, 0), author(US), 500), receipt(10, id(1, 1), author(US), 1)]).await;
    assert_eq!(with(US, &[10]).await, signed(2, 501));
    note(&node, [receipt(10, id(1, 0), author(US), 200), receipt(11, id(1, 0), author(US), 40)]).await;
    assert_eq!(with(US, &[10]).await, signed(2, 201));
    assert_eq!(with(US, &[10, 11, 12]).await, signed(3, 241));
    note(&node, [receipt(10, id(1, 0), author(2), 200)]).await;
    assert_eq!((with(US, &[10]).await, with(2, &[10]).await), (signed(1, 1), signed(1, 200)));
    assert_eq!((with(US, &[]).await, with(3, &[10]).await), (signed(0, 0), signed(0, 0)));
    assert_eq!(signed(2, 201).charged(), 201 + 2 * 512);
    node.stop().await;
}

/// Holder, fragment, and whom it is charged to, with its length.
type Receipts = BTreeMap<(u8, FragmentId), (u8, u32)>;

fn comes_to(receipts: &Receipts, of: u8, holder: u8) -> Signed {
    let of_it = receipts.iter().filter(|((by, _), (author, _))| (*by, *author) == (holder, of));
    of_it.fold(Signed::default(), |sum, (_, (_, length))| {
        signed(sum.fragments + 1, sum.bytes + u64::from(*length))
    })
}

async fn check(node: &Node, receipts: &Receipts) {
    for (of, holder) in [(1, 10), (1, 11), (2, 10), (2, 11)] {
        let found = node.storage().records().signed(author(of), vec![peer(holder)]).await.unwrap();
        assert_eq!(found, comes_to(receipts, of, holder), "{of} {holder}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_receipts_are_what_all_of_them_come_to_whatever_has_happened() {
    let (mut node, mut chance, mut receipts) = (Node::started(5).await, Chance::new(5), Receipts::new());
    for round in 0..6 {
        let mut notes = Vec::new();
        for _ in 0..60 {
            let mut pick = |of: u64| u8::try_from(chance.below(of)).unwrap();
            let (holder, of, length) = (10 + pick(2), 1 + pick(2), 1 + u32::from(pick(200)));
            let (number, at) = (1 + pick(3), id(0, pick(4).into()));
            let at = FragmentId { tessera: tessera(number), ..at };
            match pick(10) {
                0 => {
                    notes.push(Note::Forget { tessera: at.tessera });
                    receipts.retain(|(_, id), _| id.tessera != at.tessera);
                }
                1..=3 => {
                    let fragments = vec![(at.stripe, at.index)];
                    notes.push(Note::Dropped { holder: peer(holder), tessera: at.tessera, fragments });
                    receipts.remove(&(holder, at));
                }
                _ => {
                    notes.push(receipt(holder, at, author(of), length));
                    receipts.insert((holder, at), (of, length));
                }
            }
        }
        note(&node, notes).await;
        check(&node, &receipts).await;
        if round % 2 == 1 {
            node.storage().snapshot().await.unwrap();
            node.rebuild().await;
            check(&node, &receipts).await;
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_receipts_that_are_wrong_have_the_index_made_anew() {
    for change in [
        "UPDATE receipt_sums SET bytes = bytes + 1",
        "UPDATE receipt_sums SET fragments = fragments - 1",
        "DELETE FROM receipt_sums",
        "INSERT INTO receipt_sums VALUES (zeroblob(32), zeroblob(32), 1, 1)",
    ] {
        let mut node = filled(6).await;
        let before = ledger(&node).await;
        node.storage().snapshot().await.unwrap();
        node.stop().await;
        execute(&node, change).await;
        node.start().await.unwrap();
        node.system().scrub.start().await.unwrap();
        tokio::time::timeout(DEADLINE, async {
            while !node.storage().usage().await.is_ok_and(|usage| usage.recovery.rebuilt) {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        })
        .await
        .expect(change);
        assert_eq!(ledger(&node).await, before, "{change}");
        node.stop().await;
    }
}

/// As an index has them that knows nothing of these sums yet.
#[tokio::test(flavor = "multi_thread")]
async fn receipts_of_before_there_was_a_ledger_are_in_it() {
    let mut node = filled(7).await;
    let before = ledger(&node).await;
    node.stop().await;
    for change in [
        "DROP TRIGGER receipts_come",
        "DROP TRIGGER receipts_change",
        "DROP TRIGGER receipts_go",
        "DROP TABLE receipt_sums",
        "DELETE FROM _sqlx_migrations WHERE version = 7",
    ] {
        execute(&node, change).await;
    }
    node.start().await.unwrap();
    assert_eq!(ledger(&node).await, before);
    assert!(!node.storage().usage().await.unwrap().recovery.rebuilt);
    node.stop().await;
}

/// One that is not known has no author, and neither is it forgotten what it has.
#[tokio::test(flavor = "multi_thread")]
async fn holder_that_shows_whom_it_acts_for_moves_to_its_account() {
    let mut node = Node::started(8).await;
    note(&node, known(10, None)).await;
    note(&node, [receipt(10, id(1, 0), author(US), 500)]).await;
    let unknown = ledger(&node).await;
    assert_eq!((unknown.unknown, unknown.accounts.len()), (signed(1, 500), 0));
    let seen =
        Note::Seen { node: NodeId::from_bytes([10; 32]), address: None, author: Some(author(3)), at_ms: 1 };
    note(&node, [seen]).await;
    let found = ledger(&node).await;
    assert_eq!((found.unknown, told(&found.accounts[0]).2), (signed(0, 0), signed(1, 500)));
    node.stop().await;
}
