//! Nodes that are not known, where only those that are may have something kept: they read what is published, and change
//! nothing.

use proto::{AccountId, record::DocumentKind, wire::RefusalKind};

use crate::support::{Node, Tessera, pair, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn stranger_reads_what_is_published_and_changes_nothing() {
    let (a, b) = pair().await;
    let tessera = Tessera::new(&a.author, 1, 20_000);
    tessera.give_all(&a, b.id()).await;
    let stranger = Node::start(3).await;
    stranger.knows(&b).await;
    let (remote, id) = (&stranger.system.remote, tessera.id());
    let greeting = remote.hello(b.id(), false, None).await.unwrap();
    assert_eq!((greeting.author, greeting.allowance_bytes), (Some(b.author.id()), 0));
    let manifest = remote.document(b.id(), id, DocumentKind::Manifest, None).await.unwrap();
    assert_eq!(&manifest, tessera.manifest.bytes());
    let (fragment, checksum) = (&tessera.fragments[1], tessera.fragments[1].checksum());
    assert_eq!(&remote.fragment(b.id(), tessera.fragment(1), checksum).await.unwrap(), fragment);
    assert!(!remote.attest(b.id(), id, 0..1).await.unwrap().fragments.is_empty());
    let length = u32::try_from(fragment.bytes().len()).unwrap();
    remote.prove(b.id(), checksum, length, 0).await.unwrap();
    assert_eq!(remote.peers_of(b.id()).await.unwrap()[0].node, a.id());
    // It may as well bring what its own author or another has made.
    for brought in [&tessera, &Tessera::new(&stranger.author, 2, 5_000)] {
        assert_eq!(refusal(brought.introduce(&stranger, b.id()).await), RefusalKind::NotKnown);
        assert_eq!(refusal(brought.give(&stranger, b.id(), 0).await), RefusalKind::NotKnown);
    }
    let dropped = remote.drop_fragments(b.id(), &stranger.author, id, &[(0, 0)]).await;
    assert_eq!(refusal(dropped), RefusalKind::NotKnown);
    let account = AccountId::from(a.author.id());
    assert_eq!(refusal(remote.tesseras_of(b.id(), account).await), RefusalKind::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_machine_of_a_peers_author_is_no_stranger() {
    let (a, b) = pair().await;
    Tessera::new(&a.author, 1, 5_000).give_all(&a, b.id()).await;
    let other = Node::of(3, 1).await;
    other.knows(&b).await;
    let tessera = Tessera::new(&other.author, 2, 5_000);
    tessera.give_all(&other, b.id()).await;
    let remote = &other.system.remote;
    let listed = remote.tesseras_of(b.id(), AccountId::from(other.author.id())).await.unwrap();
    assert!(listed.len() == 2 && listed.contains(&tessera.id()), "{listed:?}");
    assert_eq!(remote.drop_fragments(b.id(), &other.author, tessera.id(), &[(0, 0)]).await.unwrap(), 1);
    // Without the peer it is one.
    b.system.peers.remove(a.id()).await.unwrap();
    assert_eq!(refusal(tessera.give(&other, b.id(), 0).await), RefusalKind::NotKnown);
}
