//! What this node knows that another keeps for it, beside what that says it keeps.

use actors::{FragmentStore, remote::Difference, storage::Note};
use proto::{AccountId, wire::RefusalKind};

use crate::support::{Tessera, pair, refusal, until};

#[tokio::test(flavor = "multi_thread")]
async fn only_what_differs_is_descended_to() {
    let (a, b) = pair().await;
    let mut all = Vec::new();
    for seed in 0..20 {
        let tessera = Tessera::new(&a.author, seed, 9_000);
        tessera.introduce(&a, b.id()).await.unwrap();
        for stripe in 0..tessera.fragments.len() {
            tessera.give(&a, b.id(), stripe).await.unwrap();
        }
        all.push(tessera);
    }
    let (records, account) = (a.system.storage.checksums_door(), AccountId::from(a.author.id()));
    let compared = a.system.remote.compare(&records, b.id(), account).await.unwrap();
    assert_eq!((compared.differences.as_slice(), compared.requests), ([].as_slice(), 1));
    // One is lost there, and one is there that this node does not know of.
    let (lost, extra) = (&all[3], Tessera::new(&a.author, 99, 4_000));
    b.system.cache.drop_fragment(account, lost.fragment(1)).await.unwrap();
    extra.give_all(&a, b.id()).await;
    let forgotten = Note::Dropped { holder: b.id(), tessera: extra.id(), fragments: vec![(0, 0)] };
    a.system.storage.records().note(vec![forgotten]).await.unwrap();
    let compared = a.system.remote.compare(&records, b.id(), account).await.unwrap();
    let of = |tessera: &Tessera, stripe: u32, is_ours: bool| {
        let checksum = Some(tessera.fragments[stripe as usize].checksum());
        let (ours, theirs) = if is_ours { (checksum, None) } else { (None, checksum) };
        Difference { tessera: tessera.id(), stripe, index: 0, ours, theirs }
    };
    let mut expected = vec![of(lost, 1, true), of(&extra, 0, false)];
    expected.sort();
    assert_eq!(compared.differences, expected);
    assert!(compared.requests <= 1 + 2 * 3, "{}", compared.requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_for_an_account_is_told_only_to_who_acts_for_it() {
    let (a, b) = pair().await;
    a.system.remote.hello(b.id(), false, None).await.unwrap();
    until("b knows a's author", async || {
        b.system.peers.book().peers.get(&a.id()).is_some_and(|peer| peer.author.is_some())
    })
    .await;
    let (records, other) = (a.system.storage.checksums_door(), AccountId::from(b.author.id()));
    let asked = a.system.remote.compare(&records, b.id(), other).await;
    assert_eq!(refusal(asked), RefusalKind::Forbidden);
}
