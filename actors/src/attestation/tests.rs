//! Attestation through its handle, over a real store.

#[cfg(feature = "faults")]
use std::time::Duration;
use std::{fs, ops::Range, path::PathBuf};

use config::StorageConfig;
use futures::future::{join_all, try_join_all};
use proto::{
    AccountId, Fragment, FragmentId, NodeId, NodeKey, ProtoError, TesseraId,
    attestation::{Claim, Expect, SignedClaim},
    limits::FRAME_BYTES_MAX,
};
use tempfile::TempDir;

use super::{Attestation, AttestedRow, Question};
use crate::{
    error::ActorError,
    storage::{BlobState, SEGMENTS_FOLDER},
    store::FragmentStore,
    system::{System, SystemConfig},
    testbed::Measured,
};

const NONCE: [u8; 32] = [3; 32];
const LOCAL_BINDING: [u8; 32] = [0; 32];
const ALL: Range<u32> = 0..u32::MAX;

/// A store and who attests for it.
struct Bench {
    folder: TempDir,
    system: System,
    measured: Measured,
}

impl Bench {
    /// With so many fragments of one tessera, one in each stripe.
    async fn new(fragments: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let measured = Measured::new();
        let storage = StorageConfig { min_free_bytes: 0, ..StorageConfig::with_defaults(folder.path()) };
        let config = SystemConfig { metrics: measured.metrics.clone(), ..SystemConfig::new(storage, key()) };
        let system = System::start(config).await.unwrap();
        let puts =
            (0..fragments).map(|stripe| system.storage.put(AccountId::LOCAL, id(stripe), fragment(stripe)));
        try_join_all(puts).await.unwrap();
        Self { folder, system, measured }
    }

    async fn attest(&self, stripes: Range<u32>) -> Result<Attestation, ActorError> {
        self.system.attestation.attest(question(stripes)).await
    }

    fn segments(&self) -> Vec<PathBuf> {
        let folder = fs::read_dir(self.folder.path().join(SEGMENTS_FOLDER)).unwrap();
        folder.map(|entry| entry.unwrap().path()).collect()
    }
}

fn key() -> NodeKey {
    NodeKey::from_seed([1; 32])
}

fn verifier() -> NodeId {
    NodeKey::from_seed([2; 32]).id()
}

fn tessera() -> TesseraId {
    TesseraId::from_bytes([5; 32])
}

fn id(stripe: u32) -> FragmentId {
    FragmentId { tessera: tessera(), stripe, index: 0 }
}

fn fragment(stripe: u32) -> Fragment {
    Fragment::hash(stripe.to_le_bytes().repeat(16).into()).unwrap()
}

fn question(stripes: Range<u32>) -> Question {
    Question { tessera: tessera(), stripes, verifier: verifier(), nonce: NONCE, binding: LOCAL_BINDING }
}

fn verified(attestation: &Attestation, nonce: [u8; 32]) -> Result<Claim, ProtoError> {
    let (node, verifier, tessera) = (key().id(), verifier(), tessera());
    let expect = Expect { node, verifier, nonce, binding: LOCAL_BINDING, tessera };
    SignedClaim::verify(attestation.claim.bytes(), &expect)
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_names_every_fragment_and_reads_no_blob() {
    let bench = Bench::new(100).await;
    let attestation = bench.attest(ALL).await.unwrap();
    let claim = verified(&attestation, NONCE).unwrap();
    assert_eq!((claim.stripes, claim.next_stripe, attestation.next_stripe), (ALL, None, None));
    assert_eq!(claim.fragments.len(), 100);
    for (stripe, claimed) in (0..).zip(&claim.fragments) {
        let held = fragment(stripe);
        assert_eq!((claimed.stripe, claimed.index, claimed.checksum), (stripe, 0, held.checksum()));
        assert_eq!((claimed.length, claimed.verified_age_ms), (64, None), "written, and not read back yet");
    }
    assert_eq!(attestation.rows.iter().filter_map(AttestedRow::claimed).collect::<Vec<_>>(), claim.fragments);
    assert_eq!(bench.measured.value("attestations"), Some(1));
    assert_eq!(bench.measured.value("blob_reads"), Some(0));
    bench.system.storage.get(id(0)).await.unwrap();
    assert_eq!(bench.measured.value("blob_reads"), Some(1), "the counter does count");
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_with_another_nonce_is_refused() {
    let bench = Bench::new(1).await;
    let attestation = bench.attest(ALL).await.unwrap();
    assert!(verified(&attestation, NONCE).is_ok());
    let refused = verified(&attestation, [4; 32]).unwrap_err().to_string();
    assert!(refused.contains("another nonce"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_is_the_same_when_every_segment_is_cut_to_nothing() {
    let bench = Bench::new(100).await;
    let before = bench.attest(ALL).await.unwrap();
    for segment in bench.segments() {
        fs::File::options().write(true).open(segment).unwrap().set_len(0).unwrap();
    }
    let after = bench.attest(ALL).await.unwrap();
    assert_eq!(after.rows, before.rows);
    let fragments = |attestation: &Attestation| verified(attestation, NONCE).unwrap().fragments;
    assert_eq!(fragments(&after), fragments(&before));
    assert_eq!(bench.measured.value("blob_reads"), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn suspect_fragment_is_reported_and_not_claimed() {
    let bench = Bench::new(3).await;
    let wanted = fragment(1);
    for segment in bench.segments() {
        let mut bytes = fs::read(&segment).unwrap();
        let found = bytes.windows(wanted.bytes().len()).position(|window| window == wanted.bytes());
        if let Some(at) = found {
            bytes[at] ^= 1;
            fs::write(&segment, bytes).unwrap();
        }
    }
    assert!(matches!(bench.system.storage.get(id(1)).await, Err(ActorError::Corrupt { .. })));
    let attestation = bench.attest(ALL).await.unwrap();
    let states: Vec<_> = attestation.rows.iter().map(|row| row.state).collect();
    assert_eq!(states, [BlobState::Ok, BlobState::Suspect, BlobState::Ok]);
    let claim = verified(&attestation, NONCE).unwrap();
    assert_eq!(claim.fragments.iter().map(|held| held.stripe).collect::<Vec<_>>(), [0, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_tessera_is_not_found_and_stripes_without_fragments_are_claimed_empty() {
    let bench = Bench::new(2).await;
    let unknown = Question { tessera: TesseraId::from_bytes([6; 32]), ..question(ALL) };
    assert!(matches!(bench.system.attestation.attest(unknown).await, Err(ActorError::NotFound { .. })));
    let attestation = bench.attest(7..9).await.unwrap();
    let claim = verified(&attestation, NONCE).unwrap();
    assert_eq!((claim.stripes, claim.fragments.len(), attestation.rows.len()), (7..9, 0, 0));
    assert!(matches!(bench.attest(Range { start: 9, end: 7 }).await, Err(ActorError::Proto(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_tessera_is_claimed_page_by_page() {
    let bench = Bench::new(1100).await;
    let (mut from, mut claimed) = (0, Vec::new());
    loop {
        let attestation = bench.attest(from..u32::MAX).await.unwrap();
        assert!(attestation.claim.bytes().len() <= FRAME_BYTES_MAX);
        let claim = verified(&attestation, NONCE).unwrap();
        assert_eq!(claim.stripes.start, from);
        claimed.extend(claim.fragments.iter().map(|held| held.stripe));
        let Some(next) = attestation.next_stripe else { break };
        from = next;
    }
    assert_eq!(from, 1024);
    assert_eq!(claimed, (0..1100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_beside_each_other_are_all_answered() {
    let bench = Bench::new(10).await;
    let answers = join_all((0..200).map(|_| bench.attest(ALL))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.rows.len() == 10)));
}

#[cfg(feature = "faults")]
#[tokio::test(flavor = "multi_thread")]
async fn attestation_that_fell_answers_again_behind_the_same_handle() {
    let bench = Bench::new(1).await;
    bench.system.attestation.panic();
    let answers = async {
        while let Err(error) = bench.attest(ALL).await {
            assert!(matches!(error, ActorError::Restarting { .. }), "{error}");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), answers).await.unwrap();
}
