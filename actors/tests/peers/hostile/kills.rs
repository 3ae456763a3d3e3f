//! A peer that is killed at every step of what it does: nothing of it is kept that is not whole.

use std::{net::SocketAddr, time::Duration};

use actors::{FragmentStore, conn_pool::raw::Raw};
use proto::{AccountId, AuthorKey, NodeKey, record::DocumentKind, wire::Request};
use quinn::Connection;

use super::tell;
use crate::support::{Node, Tessera, pair, until};

/// What one put sends, piece by piece: after each of them it may be over.
fn steps(tessera: &Tessera, stripe: usize) -> Vec<Vec<u8>> {
    let fragment = &tessera.fragments[stripe];
    let length = u32::try_from(fragment.bytes().len()).unwrap();
    let request = Request::PutFragment {
        fragment: tessera.fragment(stripe),
        checksum: fragment.checksum(),
        length,
        layout: tessera.layout.checksum(),
    };
    let frame = request.frame();
    let (head, body) = frame.split_at(8);
    let (half, rest) = body.split_at(body.len() / 2);
    let chunks = fragment.bytes().chunks(fragment.bytes().len() / 8);
    [head, half, rest].into_iter().chain(chunks).map(<[u8]>::to_vec).collect()
}

/// A peer that `b` knows and keeps something for.
async fn caller(b: &Node) -> (Raw, AuthorKey) {
    let (key, author) = (NodeKey::from_seed([50; 32]), AuthorKey::from_seed([50; 32]));
    let raw = Raw::bind(&key, SocketAddr::from(([127, 0, 0, 1], 0)), Default::default()).unwrap();
    b.knows_at(key.id(), raw.address().unwrap(), None).await;
    let credential = proto::credential::Credential { author: author.id(), node: key.id(), made_at_ms: 0 };
    let hello = Request::Hello {
        software: "short-lived/1".to_owned(),
        addresses: Vec::new(),
        credential: Some(credential.sign(&author).unwrap().bytes().clone()),
        invite: None,
        dial_back: false,
    };
    let connection = dial(&raw, b).await;
    say(&connection, &[hello.frame()]).await;
    until("b knows its author", async || {
        b.system.peers.book().peers.get(&key.id()).is_some_and(|peer| peer.author.is_some())
    })
    .await;
    (raw, author)
}

/// Connects. Whatever is asked of the caller is turned down at once: a greeting that waits for its answer would be something
/// that is under way.
async fn dial(raw: &Raw, b: &Node) -> Connection {
    let connection = raw.dial(b.id(), b.address()).await.unwrap();
    let asked = connection.clone();
    tokio::spawn(async move {
        while let Ok((mut send, _receive)) = asked.accept_bi().await {
            drop(send.reset(0_u32.into()));
        }
    });
    connection
}

/// Says all of it and hears what is answered.
async fn say(connection: &Connection, said: &[Vec<u8>]) -> Vec<u8> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    for piece in said {
        send.write_all(piece).await.unwrap();
    }
    send.finish().unwrap();
    receive.read_to_end(2 << 20).await.unwrap()
}

async fn introduce(connection: &Connection, tessera: &Tessera) {
    let root = Some(tessera.layout.checksum());
    let papers = [
        (DocumentKind::Manifest, None, tessera.manifest.bytes()),
        (DocumentKind::Layout, None, tessera.layout.bytes()),
        (DocumentKind::LayoutPage, root, &tessera.pages[0]),
    ];
    for (document, layout, bytes) in papers {
        let length = u32::try_from(bytes.len()).unwrap();
        let request = Request::PutDocument { tessera: tessera.id(), document, layout, length };
        say(connection, &[request.frame(), bytes.to_vec()]).await;
    }
}

/// Waits until nothing is under way, and nobody is connected who is not.
async fn rest(b: &Node) {
    until("rest", async || {
        let parked = b.system.parked();
        (parked.owed_bytes, parked.room_bytes) == (0, 0)
    })
    .await;
    until("no leases", async || {
        b.system.pool.status().await.unwrap().connections.iter().all(|connection| connection.streams == 0)
    })
    .await;
}

/// Ways in which a caller may end.
#[derive(Debug, Clone, Copy)]
enum End {
    /// Its process is gone, and the system says so.
    Closed,
    /// It gives the stream up and goes on.
    Reset,
    /// It drops the stream, which ends it as if all had been said.
    Dropped,
}

#[tokio::test(flavor = "multi_thread")]
async fn caller_killed_after_each_piece_of_a_put_leaves_nothing_half_done() {
    let b = Node::start(2).await;
    let (raw, author) = caller(&b).await;
    let tessera = Tessera::new(&author, 1, 1 << 20);
    let mut connection = dial(&raw, &b).await;
    introduce(&connection, &tessera).await;
    let account = AccountId::from(author.id());
    let steps = steps(&tessera, 0);
    for end in [End::Closed, End::Reset, End::Dropped] {
        // The last step is the whole of it.
        for count in 0..steps.len() {
            let (mut send, receive) = connection.open_bi().await.unwrap();
            for piece in &steps[..count] {
                send.write_all(piece).await.unwrap();
            }
            arrived(&b, count).await;
            match end {
                End::Closed => {
                    connection.close(0_u32.into(), b"killed");
                    connection = dial(&raw, &b).await;
                }
                End::Reset => drop(send.reset(0_u32.into())),
                End::Dropped => drop(send),
            }
            drop(receive);
            rest(&b).await;
            let kept = b.system.storage.records().account(account).await.unwrap();
            assert_eq!((kept.fragments, kept.bytes), (0, 0), "{end:?} after {count}");
        }
    }
    // Nothing stands in the way of the whole.
    say(&connection, &steps).await;
    let kept = b.system.storage.records().account(account).await.unwrap();
    assert_eq!((kept.fragments, kept.bytes), (1, tessera.fragments[0].bytes().len() as u64));
    assert_eq!(b.system.storage.get(tessera.fragment(0)).await.unwrap(), tessera.fragments[0]);
}

/// Waits a moment, so that what was said is there before it is over.
async fn arrived(b: &Node, count: usize) {
    // The frame is whole after the third piece: then the fragment counts as on its way.
    if count >= 3 {
        until("its being on its way", async || b.system.parked().owed_bytes > 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn caller_killed_while_it_takes_an_answer_leaves_nothing_parked() {
    let b = Node::start(2).await;
    let (raw, author) = caller(&b).await;
    let tessera = Tessera::new(&author, 1, 16 << 20);
    let connection = dial(&raw, &b).await;
    introduce(&connection, &tessera).await;
    say(&connection, &steps(&tessera, 0)).await;
    let fragment = &tessera.fragments[0];
    let request = Request::GetFragment { fragment: tessera.fragment(0), checksum: Some(fragment.checksum()) };
    let whole = fragment.bytes().len();
    for part in 0..8 {
        let connection = dial(&raw, &b).await;
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&request.frame()).await.unwrap();
        let mut taken = 0;
        while taken < whole * part / 8 {
            taken += receive.read_chunk(64 << 10, true).await.unwrap().unwrap().bytes.len();
        }
        if part % 2 == 0 {
            connection.close(0_u32.into(), b"killed");
        } else {
            drop((send, receive));
        }
        rest(&b).await;
    }
    let again = dial(&raw, &b).await;
    let answer = say(&again, &[request.frame()]).await;
    assert!(answer.ends_with(fragment.bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_killed_at_any_moment_keeps_what_it_has_signed_for_and_no_half() {
    let (a, mut b) = pair().await;
    let account = AccountId::from(a.author.id());
    let mut promised = 0;
    let tessera = Tessera::new(&a.author, 1, 3 << 20);
    for delay_ms in [0_u64, 2, 5, 10, 20, 40] {
        // It has forgotten what was in its memory only.
        until("its documents", async || tessera.introduce(&a, b.id()).await.is_ok()).await;
        let holder = b.id();
        let gives = (0..tessera.fragments.len()).map(|stripe| tessera.give(&a, holder, stripe));
        let (given, ()) = tokio::join!(futures::future::join_all(gives), async {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            b.kill_and_start().await;
        });
        let mut signed = 0;
        for (stripe, _) in given.iter().enumerate().filter(|(_, given)| given.is_ok()) {
            signed += 1;
            let kept = b.system.storage.get(tessera.fragment(stripe)).await.unwrap();
            assert_eq!(kept, tessera.fragments[stripe]);
        }
        promised = promised.max(signed);
        let kept = b.system.storage.records().account(account).await.unwrap();
        let rows = b.system.storage.checksums(tessera.id(), (0, 0), 1000).await.unwrap();
        let there: u64 = rows.iter().map(|row| u64::from(row.length)).sum();
        assert_eq!((kept.fragments, kept.bytes), (rows.len() as u64, there));
        assert!(kept.fragments >= signed);
        rest(&b).await;
    }
    tell(&format!("{promised} of {} were signed for in the longest", tessera.fragments.len()));
    assert_eq!(a.system.waiting().iter().map(|(_, waiting)| waiting).sum::<usize>(), 0);
    until("its documents", async || tessera.introduce(&a, b.id()).await.is_ok()).await;
    for stripe in 0..tessera.fragments.len() {
        tessera.give(&a, b.id(), stripe).await.unwrap();
    }
}
