//! Fragments that are given to another node: kept, counted, served, dropped; and what is refused.

use std::sync::Arc;

use actors::{FragmentStore, conn_pool::PeerTrouble, storage::Blocked};
use bytes::Bytes;
use config::{Accept, Hold, NetworkConfig};
use futures::future::join_all;
use proto::{AccountId, Checksum, Fragment, manifest::Visibility, record::DocumentKind, wire::RefusalKind};
use quinn::TransportConfig;
use tokio::{
    runtime::Runtime,
    sync::mpsc,
    time::{Duration, sleep, timeout},
};

use crate::{
    liar::{Asked, Pace, bind, serve, stand_in},
    support::{Node, SlowDisk, Tessera, pair, refusal, trouble, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn fragment_given_is_kept_for_its_author_and_comes_back() {
    let (a, b) = pair().await;
    let tessera = Tessera::new(&a.author, 1, 200_000);
    tessera.give_all(&a, b.id()).await;
    for (stripe, fragment) in tessera.fragments.iter().enumerate() {
        let back = a.system.remote.fragment(b.id(), tessera.fragment(stripe), fragment.checksum()).await;
        assert_eq!(&back.unwrap(), fragment);
    }
    let kept = b.system.storage.records().account(AccountId::from(a.author.id())).await.unwrap();
    assert_eq!((kept.fragments, kept.bytes), (tessera.fragments.len() as u64, 200_000));
    // With all that says what it is.
    let manifest =
        a.system.remote.document(b.id(), tessera.id(), DocumentKind::Manifest, None).await.unwrap();
    assert_eq!(&manifest, tessera.manifest.bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn fragment_given_survives_a_kill_of_its_holder() {
    let (a, mut b) = pair().await;
    let tessera = Tessera::new(&a.author, 1, 100_000);
    tessera.give_all(&a, b.id()).await;
    b.kill_and_start().await;
    for (stripe, fragment) in tessera.fragments.iter().enumerate() {
        let back = a.system.remote.fragment(b.id(), tessera.fragment(stripe), fragment.checksum()).await;
        assert_eq!(&back.unwrap(), fragment);
    }
    // Its documents are there too: one more fragment needs no introduction.
    assert!(tessera.give(&a, b.id(), 0).await.unwrap().was_there);
}

#[tokio::test(flavor = "multi_thread")]
async fn fragments_that_are_given_all_at_once_do_not_keep_each_other_from_coming() {
    let (a, b) = pair().await;
    // Far more than a connection's window holds, and than a node takes at a time.
    let tessera = Tessera::new(&a.author, 1, 64 << 20);
    tessera.introduce(&a, b.id()).await.unwrap();
    let (author, root, to) = (a.author.id(), tessera.layout.checksum(), b.id());
    let given = tessera.fragments.iter().enumerate().map(|(stripe, fragment)| {
        let (remote, id, fragment) = (a.system.remote.clone(), tessera.fragment(stripe), fragment.clone());
        tokio::spawn(async move { remote.put_fragment(to, author, id, root, &fragment).await })
    });
    for given in join_all(given).await {
        given.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_a_fragment_is_held_until_it_is_on_the_disk() {
    let disk = SlowDisk::default();
    let (a, b) = (Node::start(1).await, Node::on_disk(2, disk.clone(), |_| ()).await);
    b.knows(&a).await;
    a.knows(&b).await;
    let tessera = Tessera::new(&a.author, 1, 100_000);
    tessera.introduce(&a, b.id()).await.unwrap();
    disk.hold(true);
    let checked = async {
        until("a sync waits", async || disk.waiting() > 0).await;
        let parked = b.system.parked();
        disk.hold(false);
        parked
    };
    let (given, parked) = tokio::join!(tessera.give(&a, b.id(), 0), checked);
    given.unwrap();
    let length = tessera.fragments[0].bytes().len() as u64;
    assert!(parked.room_bytes >= length && parked.owed_bytes >= length, "{parked:?}");
    until("nothing parked", async || b.system.parked().room_bytes == 0).await;
}

/// All that was sent was acknowledged, so nothing tells by itself that the other end is gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_and_not_answered_at_a_crash_is_asked_again_soon() {
    let (a, mut b) = pair().await;
    let tessera = Tessera::new(&a.author, 1, 5_000);
    let (key, address) = (b.key(), b.address());
    b.system.clone().drain().await;
    // It ends with all that it has, and nobody is told.
    let machine = Runtime::new().unwrap();
    let (taken, mut seen) = mpsc::unbounded_channel();
    let liar = key.clone();
    machine.spawn(async move {
        let raw = bind(&liar, address, TransportConfig::default).await;
        let lie = Arc::new(move |_: &Asked, _| {
            taken.send(()).unwrap();
            None
        });
        serve(raw, liar, Pace::default(), lie).await;
    });
    let crash = async {
        seen.recv().await.unwrap();
        sleep(Duration::from_millis(500)).await;
        machine.shutdown_background();
        b.start_again(address).await;
    };
    // Long before it is given up that an answer comes.
    let given = timeout(Duration::from_secs(15), tessera.give(&a, key.id(), 0));
    let (given, ()) = tokio::join!(given, crash);
    assert_eq!(refusal(given.unwrap()), RefusalKind::NeedManifest, "it was asked, and answers");
}

/// As when both had dialled at once, a moment before it was started anew.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_on_two_connections_that_are_closed_is_asked_a_third_time() {
    let (a, b) = pair().await;
    let (key, address) = (b.key(), b.address());
    b.system.clone().drain().await;
    let raw = bind(&key, address, TransportConfig::default).await;
    let closed = tokio::spawn(async move {
        for _ in 0..2 {
            let (_, connection) = raw.accept().await.unwrap();
            let _asked = connection.accept_bi().await.unwrap();
            // It has been idle, and whoever asks may ask again.
            connection.close(quinn::VarInt::from_u32(2), b"a test");
        }
        let lie = Arc::new(|_: &Asked, _| None);
        serve(raw, key, Pace::default(), lie).await;
    });
    let greeting = timeout(Duration::from_secs(20), a.system.remote.hello(b.id(), false, None)).await;
    assert_eq!(greeting.unwrap().unwrap().author, None);
    closed.abort();
}

/// Asking again is for what the other side has lost. What this node has cut off itself its callers begin anew, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_when_the_pool_falls_is_asked_once() {
    let (a, b) = pair().await;
    let tessera = Tessera::new(&a.author, 1, 5_000);
    let (taken, mut seen) = mpsc::unbounded_channel();
    let lie = move |_: &Asked, _| {
        taken.send(()).unwrap();
        None
    };
    stand_in(&b, Pace::default(), Arc::new(lie)).await;
    let falls = async {
        seen.recv().await.unwrap();
        a.system.pool.panic();
    };
    let (given, ()) = tokio::join!(timeout(Duration::from_secs(10), tessera.give(&a, b.id(), 0)), falls);
    let told = trouble(given.unwrap());
    assert!(matches!(&told, PeerTrouble::Lost { is_passing: false, .. }), "{told}");
    assert!(seen.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn receipt_says_who_keeps_what_for_whom() {
    let (a, b) = pair().await;
    let tessera = Tessera::new(&a.author, 1, 5_000);
    tessera.introduce(&a, b.id()).await.unwrap();
    let first = tessera.give(&a, b.id(), 0).await.unwrap();
    let receipt = &first.receipt;
    assert_eq!((receipt.holder, receipt.deliverer, receipt.author), (b.id(), a.id(), a.author.id()));
    assert_eq!((receipt.fragment, receipt.checksum), (tessera.fragment(0), tessera.fragments[0].checksum()));
    assert!(!first.was_there);
    let second = tessera.give(&a, b.id(), 0).await.unwrap();
    assert!(second.was_there);
    let kept = b.system.storage.records().account(AccountId::from(a.author.id())).await.unwrap();
    assert_eq!(kept.fragments, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fragment_without_its_documents_is_refused() {
    let (a, b) = pair().await;
    let tessera = Tessera::new(&a.author, 1, 5_000);
    assert_eq!(refusal(tessera.give(&a, b.id(), 0).await), RefusalKind::NeedManifest);
    let page = tessera.pages[0].clone();
    let root = Some(tessera.layout.checksum());
    let early =
        a.system.remote.put_document(b.id(), tessera.id(), DocumentKind::LayoutPage, root, page).await;
    assert_eq!(refusal(early), RefusalKind::NeedManifest);
    // What came before its fragment is in memory only, so that nobody fills a disk with it.
    tessera.introduce(&a, b.id()).await.unwrap();
    assert!(b.system.storage.document(tessera.id(), DocumentKind::Manifest, None).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_do_not_belong_to_the_tessera_are_refused() {
    let (a, b) = pair().await;
    let (one, other) = (Tessera::new(&a.author, 1, 5_000), Tessera::new(&a.author, 2, 5_000));
    let put = async |kind, root, bytes: Bytes| {
        refusal(a.system.remote.put_document(b.id(), one.id(), kind, root, bytes).await)
    };
    assert_eq!(put(DocumentKind::Manifest, None, other.manifest.bytes().clone()).await, RefusalKind::Corrupt);
    let mut flipped = one.manifest.bytes().to_vec();
    flipped[10] ^= 1;
    assert_eq!(put(DocumentKind::Manifest, None, flipped.into()).await, RefusalKind::Corrupt);
    one.introduce(&a, b.id()).await.unwrap();
    assert_eq!(put(DocumentKind::Layout, None, other.layout.bytes().clone()).await, RefusalKind::Corrupt);
    let root = Some(one.layout.checksum());
    assert_eq!(put(DocumentKind::LayoutPage, root, other.pages[0].clone()).await, RefusalKind::Corrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_tessera_is_introduced_in_one() {
    let (a, b) = pair().await;
    let (one, other) = (Tessera::new(&a.author, 1, 5_000), Tessera::new(&a.author, 2, 5_000));
    let of = |tessera: &Tessera| {
        [tessera.manifest.bytes().clone(), tessera.layout.bytes().clone(), tessera.pages[0].clone()]
    };
    let introduce = async |documents: &[Bytes; 3]| {
        a.system.remote.introduce(b.id(), one.id(), documents.each_ref()).await
    };
    for wrong in 0..3 {
        let mut documents = of(&one);
        documents[wrong] = of(&other)[wrong].clone();
        assert_eq!(refusal(introduce(&documents).await), RefusalKind::Corrupt, "{wrong}");
    }
    assert_eq!(refusal(one.give(&a, b.id(), 0).await), RefusalKind::NeedManifest);
    introduce(&of(&one)).await.unwrap();
    assert!(!one.give(&a, b.id(), 0).await.unwrap().was_there);
    b.system.peers.block(Blocked::Tessera(one.id()), "never".to_owned()).await.unwrap();
    assert_eq!(refusal(introduce(&of(&one)).await), RefusalKind::Blocked);
}

#[tokio::test(flavor = "multi_thread")]
async fn fragment_that_the_layout_does_not_name_is_refused() {
    let (a, b) = pair().await;
    let tessera = Tessera::new(&a.author, 1, 20_000);
    tessera.introduce(&a, b.id()).await.unwrap();
    let wrong = Fragment::hash(Bytes::from(vec![1; tessera.fragments[0].bytes().len()])).unwrap();
    let (author, root) = (a.author.id(), tessera.layout.checksum());
    let remote = &a.system.remote;
    let given = remote.put_fragment(b.id(), author, tessera.fragment(0), root, &wrong).await;
    assert_eq!(refusal(given), RefusalKind::Forbidden);
    let given = remote.put_fragment(b.id(), author, tessera.fragment(9), root, &tessera.fragments[0]).await;
    assert_eq!(refusal(given), RefusalKind::Forbidden);
    assert!(b.system.storage.records().tessera(tessera.id()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn allowance_ends_at_its_last_byte_and_drops_give_it_back() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    let tessera = Tessera::new(&a.author, 1, 12_288);
    assert_eq!(tessera.fragments.len(), 3);
    b.knows_at(a.id(), a.address(), Some(tessera.cost_of_documents() + 2 * (4096 + PLACE))).await;
    a.knows(&b).await;
    tessera.introduce(&a, b.id()).await.unwrap();
    tessera.give(&a, b.id(), 0).await.unwrap();
    tessera.give(&a, b.id(), 1).await.unwrap();
    assert_eq!(refusal(tessera.give(&a, b.id(), 2).await), RefusalKind::QuotaExceeded);
    // What is there already costs nothing.
    assert!(tessera.give(&a, b.id(), 1).await.unwrap().was_there);
    let greeting = a.system.remote.hello(b.id(), false, None).await.unwrap();
    assert_eq!(greeting.allowance_bytes, 0);
    let dropped = a.system.remote.drop_fragments(b.id(), &a.author, tessera.id(), &[(0, 0), (7, 0)]).await;
    assert_eq!(dropped.unwrap(), 1);
    tessera.give(&a, b.id(), 2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_fragments_at_once_cannot_exceed_an_allowance_together() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    let tessera = Tessera::new(&a.author, 1, 16 * 4096);
    b.knows_at(a.id(), a.address(), Some(tessera.cost_of_documents() + 5 * (4096 + PLACE))).await;
    a.knows(&b).await;
    tessera.introduce(&a, b.id()).await.unwrap();
    let all = (0..tessera.fragments.len()).map(|stripe| tessera.give(&a, b.id(), stripe));
    let outcomes = join_all(all).await;
    let kept = outcomes.into_iter().filter_map(|given| match given {
        Ok(_) => Some(()),
        refused => {
            assert_eq!(refusal(refused), RefusalKind::QuotaExceeded);
            None
        }
    });
    assert_eq!(kept.count(), 5);
    let kept = b.system.storage.records().account(AccountId::from(a.author.id())).await.unwrap();
    assert_eq!(kept.bytes, 5 * 4096);
}

/// A byte may bring some hundred KiB of documents.
#[tokio::test(flavor = "multi_thread")]
async fn documents_count_against_the_allowance() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    b.knows_at(a.id(), a.address(), Some(ALLOWED)).await;
    a.knows(&b).await;
    let (mut given, mut cost) = (0, 0);
    let refused = loop {
        let tessera = Tessera::new(&a.author, given, 8);
        tessera.introduce(&a, b.id()).await.unwrap();
        if let Err(refused) = tessera.give(&a, b.id(), 0).await {
            break refused;
        }
        cost += tessera.cost_of_documents() + PLACE + 8;
        given += 1;
    };
    assert_eq!(refusal::<()>(Err(refused)), RefusalKind::QuotaExceeded);
    let kept = b.system.storage.records().account(AccountId::from(a.author.id())).await.unwrap();
    assert_eq!((kept.fragments, kept.bytes, kept.charged()), (given, 8 * given, cost));
    assert!(cost <= ALLOWED && cost > ALLOWED * 9 / 10, "{cost}");
    // They go with the last fragment.
    let tessera = Tessera::new(&a.author, 0, 8);
    a.system.remote.drop_fragments(b.id(), &a.author, tessera.id(), &[(0, 0)]).await.unwrap();
    let left = b.system.storage.records().account(AccountId::from(a.author.id())).await.unwrap();
    assert_eq!(left.charged(), cost - tessera.cost_of_documents() - PLACE - 8);
    // And are paid for again when they come again: there is room for one, and not for its documents twice.
    tessera.give(&a, b.id(), 0).await.unwrap();
    let other = Tessera::new(&a.author, given, 8);
    other.introduce(&a, b.id()).await.unwrap();
    assert_eq!(refusal(other.give(&a, b.id(), 0).await), RefusalKind::QuotaExceeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn stranger_brings_no_more_for_having_many_keys() {
    let any = |network: &mut NetworkConfig| {
        network.accept = Accept::Any;
        network.max_storage_per_peer_bytes = ALLOWED;
    };
    let (stranger, b) = (Node::start(1).await, Node::with(2, any).await);
    stranger.knows(&b).await;
    let give = async |from: &Node, seed: u8| {
        let tessera = Tessera::new(&proto::AuthorKey::from_seed([seed; 32]), 1, 4096);
        tessera.introduce(from, b.id()).await.unwrap();
        tessera.give(from, b.id(), 0).await
    };
    let mut given = 0;
    let refused = loop {
        match give(&stranger, 100 + given).await {
            Ok(_) => given += 1,
            Err(refused) => break refused,
        }
    };
    assert!(refused.to_string().contains("this node has brought"), "{refused}");
    assert!(given > 1 && u64::from(given) * 4096 <= ALLOWED, "{given}");
    // A peer that the operator wants is not held to what strangers have.
    let known = Node::start(3).await;
    b.knows(&known).await;
    known.knows(&b).await;
    let tessera = Tessera::new(&known.author, 1, 4096);
    tessera.give_all(&known, b.id()).await;
}

/// Documents are remembered until their first fragment comes; there are only so many places for them.
#[tokio::test(flavor = "multi_thread")]
async fn stranger_with_many_documents_displaces_none_of_a_wanted_node() {
    let b = Node::with(2, |network| network.accept = Accept::Any).await;
    let (stranger, known) = (Node::start(1).await, Node::start(3).await);
    stranger.knows(&b).await;
    b.knows(&known).await;
    known.knows(&b).await;
    let tessera = Tessera::new(&known.author, 1, 4096);
    tessera.introduce(&known, b.id()).await.unwrap();
    for seed in 0..100 {
        Tessera::new(&stranger.author, seed, 8).introduce(&stranger, b.id()).await.unwrap();
    }
    tessera.give(&known, b.id(), 0).await.unwrap();
}

/// However many come, from wherever.
#[tokio::test(flavor = "multi_thread")]
async fn all_strangers_together_have_one_allowance() {
    let any = |network: &mut NetworkConfig| {
        network.accept = Accept::Any;
        network.max_storage_per_peer_bytes = ALLOWED;
    };
    let (stranger, b) = (Node::start(1).await, Node::with(2, any).await);
    stranger.knows(&b).await;
    // What strangers have, from other days: an allowance each.
    for author in 0..16 {
        let (account, bytes) = (AccountId::from_bytes([100 + author; 32]), vec![author; 32 << 10]);
        let id =
            proto::FragmentId { tessera: proto::TesseraId::from_bytes([author; 32]), stripe: 0, index: 0 };
        b.system.storage.put(account, id, Fragment::hash(Bytes::from(bytes)).unwrap()).await.unwrap();
    }
    let tessera = Tessera::new(&proto::AuthorKey::from_seed([99; 32]), 1, 4096);
    tessera.introduce(&stranger, b.id()).await.unwrap();
    let refused = tessera.give(&stranger, b.id(), 0).await.unwrap_err();
    assert!(refused.to_string().contains("all authors that no peer"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_granted_an_allowance_for_is_refused() {
    let (a, b) = pair().await;
    let stranger = proto::AuthorKey::from_seed([99; 32]);
    let tessera = Tessera::new(&stranger, 1, 5_000);
    // Its documents are not even read.
    assert_eq!(refusal(tessera.introduce(&a, b.id()).await), RefusalKind::QuotaExceeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_holds_only_what_is_encrypted_says_so() {
    let (a, b) = (Node::start(1).await, Node::with(2, |network| network.hold = Hold::Private).await);
    b.knows(&a).await;
    a.knows(&b).await;
    let public = Tessera::visible(&a.author, 1, 5_000, Visibility::Public);
    assert_eq!(refusal(public.introduce(&a, b.id()).await), RefusalKind::Forbidden);
    Tessera::new(&a.author, 1, 5_000).give_all(&a, b.id()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_with_a_bound_on_its_line_keeps_to_it() {
    let slow = |network: &mut NetworkConfig| {
        network.upload = Some(200_000);
        network.download = Some(200_000);
    };
    let (a, b) = (Node::start(1).await, Node::with(2, slow).await);
    b.knows(&a).await;
    a.knows(&b).await;
    let tessera = Tessera::new(&a.author, 1, 200_000);
    let begun = std::time::Instant::now();
    tessera.give_all(&a, b.id()).await;
    // All but the last fragment, which nobody waits for.
    let last = tessera.fragments.last().unwrap().bytes().len() as f64;
    assert!(begun.elapsed().as_secs_f64() >= (200_000.0 - last) / 200_000.0);
    let begun = std::time::Instant::now();
    for (stripe, fragment) in tessera.fragments.iter().enumerate() {
        a.system.remote.fragment(b.id(), tessera.fragment(stripe), fragment.checksum()).await.unwrap();
    }
    assert!(begun.elapsed().as_secs_f64() >= (200_000.0 - last) / 200_000.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn author_drops_only_its_own() {
    let (a, b) = pair().await;
    let tessera = Tessera::new(&a.author, 1, 5_000);
    tessera.give_all(&a, b.id()).await;
    let dropped = a.system.remote.drop_fragments(b.id(), &b.author, tessera.id(), &[(0, 0)]).await;
    assert_eq!(dropped.unwrap(), 0);
    assert_eq!(b.system.storage.get(tessera.fragment(0)).await.unwrap(), tessera.fragments[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fragment_that_is_not_there_or_is_another_is_not_found() {
    let (a, b) = pair().await;
    let tessera = Tessera::new(&a.author, 1, 5_000);
    let checksum = tessera.fragments[0].checksum();
    let remote = &a.system.remote;
    assert_eq!(refusal(remote.fragment(b.id(), tessera.fragment(0), checksum).await), RefusalKind::NotFound);
    tessera.give_all(&a, b.id()).await;
    let other = Checksum::of(b"other");
    assert_eq!(refusal(remote.fragment(b.id(), tessera.fragment(0), other).await), RefusalKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn tessera_that_is_blocked_is_neither_taken_nor_given_and_the_reason_is_told() {
    let (a, b) = pair().await;
    let tessera = Tessera::new(&a.author, 1, 5_000);
    tessera.give_all(&a, b.id()).await;
    let blocked = Blocked::Tessera(tessera.id());
    b.system.peers.block(blocked, "a court said so".to_owned()).await.unwrap();
    let told = trouble(tessera.introduce(&a, b.id()).await).to_string();
    assert!(told.contains("a court said so"), "{told}");
    let checksum = tessera.fragments[0].checksum();
    let asked = a.system.remote.fragment(b.id(), tessera.fragment(0), checksum).await;
    assert_eq!(refusal(asked), RefusalKind::Blocked);
    assert_eq!(refusal(a.system.remote.attest(b.id(), tessera.id(), 0..1).await), RefusalKind::Blocked);
    // What is here of it goes, for whomever it was kept.
    assert_eq!(b.system.drop_for_all(tessera.id()).await.unwrap(), tessera.fragments.len() as u64);
    assert!(b.system.storage.records().tessera(tessera.id()).await.is_err());
    b.system.peers.unblock(blocked).await.unwrap();
    tessera.give_all(&a, b.id()).await;
    a.system.remote.fragment(b.id(), tessera.fragment(0), checksum).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_blocked_is_dropped_at_the_next_start_if_it_was_not_before() {
    let (a, mut b) = pair().await;
    let [blocked, own] = [1, 2].map(|seed| Tessera::new(&a.author, seed, 5_000));
    blocked.give_all(&a, b.id()).await;
    // What this node keeps by its own wish is not dropped by the way.
    let id = own.fragment(0);
    b.system.storage.put(AccountId::LOCAL, id, own.fragments[0].clone()).await.unwrap();
    for tessera in [&blocked, &own] {
        let what = Blocked::Tessera(tessera.id());
        b.system.peers.block(what, "a court said so".to_owned()).await.unwrap();
    }
    b.kill_and_start().await;
    let is_gone = async || b.system.storage.records().tessera(blocked.id()).await.is_err();
    until("it is dropped", is_gone).await;
    assert_eq!(&b.system.storage.get(id).await.unwrap(), &own.fragments[0]);
}

/// What a fragment is charged beside its bytes.
const PLACE: u64 = 512;
const ALLOWED: u64 = 32 << 10;
