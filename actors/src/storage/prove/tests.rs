//! Proofs of what is stored, through the door of scrubbing, and what was read for them.

use std::{os::unix::fs::FileExt, path::PathBuf};

use config::StorageConfig;
use proto::{AccountId, FragmentId, NodeKey};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::*;
use crate::{
    FragmentStore, System, SystemConfig,
    storage::{INDEX_FILE, SEGMENTS_FOLDER},
    testbed::Measured,
};

struct Bench {
    system: System,
    measured: Measured,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (system, measured) = Self::start(&folder).await;
        Self { system, measured, folder }
    }

    async fn start(folder: &tempfile::TempDir) -> (System, Measured) {
        let config = StorageConfig { min_free_bytes: 0, ..StorageConfig::with_defaults(folder.path()) };
        let measured = Measured::new();
        let config = SystemConfig {
            metrics: measured.metrics.clone(),
            ..SystemConfig::new(config, NodeKey::from_seed([7; 32]))
        };
        (System::start(config).await.unwrap(), measured)
    }

    /// Stopped, something done to its files, and started again.
    async fn between(self, change: impl AsyncFnOnce(&tempfile::TempDir)) -> Self {
        let Self { system, folder, .. } = self;
        system.drain().await;
        change(&folder).await;
        let (system, measured) = Self::start(&folder).await;
        Self { system, measured, folder }
    }

    async fn put(&self, fragment: &Fragment) {
        self.system.storage.put(AccountId::LOCAL, id(fragment), fragment.clone()).await.unwrap();
    }

    /// Asks for a proof of a group, checks it, and says how many bytes were read for it.
    async fn proven(&self, fragment: &Fragment, group: u32) -> u64 {
        let before = self.read();
        let proof = self.system.scrub.prove(fragment.checksum(), group).await.unwrap();
        let length = u32::try_from(fragment.bytes().len()).unwrap();
        assert_eq!(proof.fragment_len, length);
        proof::verify(fragment.checksum(), length, group, &proof.slice).unwrap();
        self.read() - before
    }

    async fn refused(&self, fragment: &Fragment, group: u32) -> ActorError {
        self.system.scrub.prove(fragment.checksum(), group).await.unwrap_err()
    }

    fn read(&self) -> u64 {
        self.measured.value("blob_read").unwrap()
    }

    /// Flips a bit of a stored fragment.
    fn flip(&self, fragment: &Fragment, at: usize) {
        let segment = self.folder.path().join(SEGMENTS_FOLDER).join("00000001.seg");
        let bytes = std::fs::read(&segment).unwrap();
        let start = bytes.windows(64).position(|window| window == &fragment.bytes()[..64]).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(segment).unwrap();
        file.write_all_at(&[fragment.bytes()[at] ^ 1], (start + at) as u64).unwrap();
    }
}

/// Of bytes that do not repeat.
fn fragment(length: usize) -> Fragment {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&length.to_le_bytes()).finalize_xof().fill(&mut bytes);
    Fragment::hash(bytes.into()).unwrap()
}

fn id(fragment: &Fragment) -> FragmentId {
    let stripe = u32::try_from(fragment.bytes().len()).unwrap();
    FragmentId { tessera: TesseraId::from_bytes([1; 32]), stripe, index: 0 }
}

async fn execute(folder: &tempfile::TempDir, sql: &'static str) {
    let options = SqliteConnectOptions::new().filename(folder.path().join(INDEX_FILE));
    let mut index = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query(sql).execute(&mut index).await.unwrap();
    index.close().await.unwrap();
}

async fn outboards(folder: &tempfile::TempDir) -> i64 {
    let options = SqliteConnectOptions::new().filename(folder.path().join(INDEX_FILE)).read_only(true);
    let mut index = SqliteConnection::connect_with(&options).await.unwrap();
    let count = sqlx::query_scalar("SELECT count(*) FROM outboards").fetch_one(&mut index).await.unwrap();
    index.close().await.unwrap();
    count
}

const KIB: u64 = 1 << 10;
const LENGTHS: [usize; 6] = [100, 16 << 10, (16 << 10) + 1, 100_000, 300_000, 1 << 20];

#[tokio::test(flavor = "multi_thread")]
async fn each_group_is_proven_and_no_more_than_it_is_read() {
    let bench = Bench::new().await;
    for length in LENGTHS {
        let fragment = fragment(length);
        bench.put(&fragment).await;
        let groups = proof::groups(u32::try_from(length).unwrap());
        for group in 0..groups {
            let read = bench.proven(&fragment, group).await;
            assert!(read <= 16 * KIB, "{read} bytes for group {group} of {length}");
        }
        let refused = bench.refused(&fragment, groups).await;
        assert!(matches!(refused, ActorError::NotFound { .. }), "{refused}");
    }
    let refused = bench.refused(&fragment(5), 0).await;
    assert!(matches!(refused, ActorError::NotFound { .. }), "{refused}");
    bench.system.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn first_proof_of_bytes_of_before_reads_all_of_them_and_the_next_does_not() {
    let fragment = fragment(300_000);
    let remove = async |folder: &tempfile::TempDir| execute(folder, "DELETE FROM outboards").await;
    let lose = async |folder: &tempfile::TempDir| {
        for file in ["", "-wal", "-shm"] {
            let path = PathBuf::from(format!("{}{file}", folder.path().join(INDEX_FILE).display()));
            let _ = std::fs::remove_file(path);
        }
    };
    // Chaining values of something else.
    let spoil = async |folder: &tempfile::TempDir| {
        execute(folder, "UPDATE outboards SET chaining = zeroblob(length(chaining))").await;
    };
    let cut = async |folder: &tempfile::TempDir| {
        execute(folder, "UPDATE outboards SET chaining = substr(chaining, 1, 33)").await;
    };
    for (case, more) in [("removed", 0), ("lost", 0), ("spoilt", 16 * KIB), ("cut", 16 * KIB)] {
        let bench = Bench::new().await;
        bench.put(&fragment).await;
        let bench = match case {
            "removed" => bench.between(remove).await,
            "lost" => bench.between(lose).await,
            "spoilt" => bench.between(spoil).await,
            _ => bench.between(cut).await,
        };
        assert_eq!(bench.proven(&fragment, 3).await, 300_000 + more, "{case}");
        assert_eq!(bench.proven(&fragment, 4).await, 16 * KIB, "{case}");
        assert_eq!(bench.system.storage.jobs(9).await.unwrap(), [], "{case}: nothing is damaged");
        bench.system.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_damaged_are_not_proven_but_marked() {
    for length in [100, 300_000] {
        let bench = Bench::new().await;
        let (fragment, other) = (fragment(length), fragment(length + 100));
        bench.put(&fragment).await;
        bench.put(&other).await;
        bench.flip(&fragment, length - 1);
        let group = proof::groups(u32::try_from(length).unwrap()) - 1;
        if group > 0 {
            bench.proven(&fragment, 0).await;
        }
        for _ in 0..2 {
            let refused = bench.refused(&fragment, group).await;
            assert!(matches!(refused, ActorError::CorruptBlob { .. }), "{refused}");
        }
        let refused = bench.refused(&fragment, 0).await;
        assert!(matches!(refused, ActorError::CorruptBlob { .. }), "what is damaged anywhere is not proven");
        let jobs = bench.system.storage.jobs(9).await.unwrap();
        assert_eq!(jobs.iter().map(|job| job.checksum).collect::<Vec<_>>(), [fragment.checksum()]);
        bench.proven(&other, group).await;
        bench.put(&fragment).await;
        bench.proven(&fragment, group).await;
        bench.system.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chaining_values_go_with_their_bytes() {
    let bench = Bench::new().await;
    for length in LENGTHS {
        bench.put(&fragment(length)).await;
    }
    let mut session = bench.system.storage.open_session().await.unwrap();
    session.put_blob(fragment(50_000)).await.unwrap();
    drop(session);
    bench.system.storage.usage().await.unwrap();
    let dropped = fragment(100_000);
    bench.system.storage.drop_fragment(AccountId::LOCAL, id(&dropped)).await.unwrap();
    let refused = bench.refused(&dropped, 0).await;
    assert!(matches!(refused, ActorError::NotFound { .. }), "{refused}");
    assert!(outboards(&bench.folder).await >= 3);
    // With nobody to want them, bytes go from the index when their segment is compacted or they are found damaged.
    let bench = bench.between(async |folder| execute(folder, "DELETE FROM blobs WHERE refs = 0").await).await;
    assert_eq!(outboards(&bench.folder).await, 3);
    bench.system.drain().await;
}
