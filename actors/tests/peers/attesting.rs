//! What others claim, compared with the layout.

use actors::{ActorError, remote::Unproven, storage::Blocked};
use proto::Fragment;

use crate::support::{Tessera, pair, refusal};

/// Both have the documents; the first has the fragments too.
async fn kept_by_both(a: &crate::support::Node, b: &crate::support::Node, length: usize) -> Tessera {
    let tessera = Tessera::new(&a.author, 1, length);
    tessera.give_all(a, b.id()).await;
    tessera.keep(a).await;
    tessera
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_is_asked_what_it_has_and_what_it_says_is_noted_as_claimed() {
    let (a, b) = pair().await;
    let tessera = kept_by_both(&a, &b, 100_000).await;
    let audit = a.system.attestation.audit(b.id(), tessera.id()).await.unwrap();
    let all = tessera.fragments.len() as u64;
    assert_eq!((audit.held, audit.wrong, audit.unverified), (all, 0, all));
    let holders = a.system.storage.records().holders(tessera.id()).await.unwrap();
    let [holder] = holders.as_slice() else { panic!("{holders:?}") };
    assert_eq!((holder.node, holder.claimed, holder.proven), (b.id(), all, 0));
    // What it no longer has it no longer claims.
    a.system.remote.drop_fragments(b.id(), &a.author, tessera.id(), &[(0, 0), (1, 0)]).await.unwrap();
    let audit = a.system.attestation.audit(b.id(), tessera.id()).await.unwrap();
    assert_eq!(audit.held, all - 2);
    let claims = a.system.storage.records().claims(tessera.id(), 0..10).await.unwrap();
    assert_eq!(claims.iter().map(|claim| claim.stripe).min(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn tessera_of_many_pages_is_claimed_whole() {
    let (a, b) = pair().await;
    let tessera = kept_by_both(&a, &b, 17 << 20).await;
    let audit = a.system.attestation.audit(b.id(), tessera.id()).await.unwrap();
    assert_eq!((audit.held, audit.wrong), (tessera.fragments.len() as u64, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_of_what_no_layout_here_names_is_not_compared_with_nothing() {
    let (a, b) = pair().await;
    let tessera = Tessera::new(&a.author, 1, 5_000);
    tessera.give_all(&a, b.id()).await;
    let error = a.system.attestation.audit(b.id(), tessera.id()).await.unwrap_err();
    assert!(matches!(error, ActorError::NotFound { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attesting_reads_no_blob() {
    let (a, b) = pair().await;
    let tessera = kept_by_both(&a, &b, 100_000).await;
    // With its bytes gone, a claim says the same: it speaks of records.
    b.lose_segments();
    let audit = a.system.attestation.audit(b.id(), tessera.id()).await.unwrap();
    assert_eq!(audit.held, tessera.fragments.len() as u64);
    assert!(tessera.fragments.iter().all(|fragment: &Fragment| !fragment.bytes().is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_proves_what_it_claims_and_that_is_noted_apart() {
    let (a, b) = pair().await;
    let tessera = kept_by_both(&a, &b, 17 << 20).await;
    let (records, checksums) = (a.system.storage.records(), a.system.storage.checksums_door());
    let remote = &a.system.remote;
    // Who claims nothing has nothing to prove.
    let nobody = remote.prove_one(&records, &checksums, a.id(), tessera.id()).await;
    assert!(matches!(nobody.unwrap_err().error, ActorError::NotFound { .. }));
    a.system.attestation.audit(b.id(), tessera.id()).await.unwrap();
    for _ in 0..10 {
        let proven = remote.prove_one(&records, &checksums, b.id(), tessera.id()).await.unwrap();
        assert!(proven.groups == 64 && proven.bytes <= (16 << 10) + 6 * 64, "{proven:?}");
    }
    let holders = records.holders(tessera.id()).await.unwrap();
    assert!(holders[0].proven >= 1 && holders[0].proven <= 10 && holders[0].proven_at_ms.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_has_lost_the_bytes_claims_them_but_cannot_prove_them() {
    let (a, b) = pair().await;
    let tessera = kept_by_both(&a, &b, 100_000).await;
    a.system.attestation.audit(b.id(), tessera.id()).await.unwrap();
    b.damage(&tessera.fragments);
    let (records, checksums) = (a.system.storage.records(), a.system.storage.checksums_door());
    let proven = a.system.remote.prove_one(&records, &checksums, b.id(), tessera.id()).await;
    assert_eq!(refusal(proven.map_err(|unproven| unproven.error)), proto::wire::RefusalKind::Corrupt);
    // So much for that claim of it.
    assert_eq!(claimed(&a, &tessera).await, tessera.fragments.len() as u64 - 1);
    // What was found damaged is not even claimed any more.
    let audit = a.system.attestation.audit(b.id(), tessera.id()).await.unwrap();
    assert!(audit.held < tessera.fragments.len() as u64, "{audit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_has_let_go_of_it_is_no_holder_any_more_once_it_says_so() {
    let (a, b) = pair().await;
    let tessera = kept_by_both(&a, &b, 5_000).await;
    let (records, checksums) = (a.system.storage.records(), a.system.storage.checksums_door());
    a.system.attestation.audit(b.id(), tessera.id()).await.unwrap();
    a.system.remote.prove_one(&records, &checksums, b.id(), tessera.id()).await.unwrap();
    assert_eq!(claimed(&a, &tessera).await, tessera.fragments.len() as u64);
    assert_eq!(b.system.drop_for_all(tessera.id()).await.unwrap(), tessera.fragments.len() as u64);
    for _ in &tessera.fragments {
        let proven = a.system.remote.prove_one(&records, &checksums, b.id(), tessera.id()).await;
        let Err(Unproven { fragment: Some(_), error }) = proven else { panic!("{proven:?}") };
        assert_eq!(refusal(Err::<(), _>(error)), proto::wire::RefusalKind::NotFound);
    }
    assert_eq!(claimed(&a, &tessera).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_has_blocked_it_is_no_holder_any_more_once_it_says_so() {
    let (a, b) = pair().await;
    let tessera = kept_by_both(&a, &b, 100_000).await;
    a.system.attestation.audit(b.id(), tessera.id()).await.unwrap();
    assert!(claimed(&a, &tessera).await > 1);
    b.system.peers.block(Blocked::Tessera(tessera.id()), "not ours".to_owned()).await.unwrap();
    let asked = a.system.attestation.audit(b.id(), tessera.id()).await;
    assert_eq!(refusal(asked), proto::wire::RefusalKind::Blocked);
    assert_eq!(claimed(&a, &tessera).await, 0);
}

/// How much of a tessera others claim to hold, as far as this node knows.
async fn claimed(a: &crate::support::Node, tessera: &Tessera) -> u64 {
    let holders = a.system.storage.records().holders(tessera.id()).await.unwrap();
    holders.iter().map(|holder| holder.claimed).sum()
}
