//! The storage actor through its handle: what it promises to whoever uses it.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use actors::{ActorError, FragmentStore, PutOutcome, System, SystemConfig};
use bytes::Bytes;
use config::StorageConfig;
use proto::{AccountId, Fragment, FragmentId, TesseraId, keys::NodeKey};

const LOCAL: AccountId = AccountId::LOCAL;

fn id(tessera: u8, stripe: u32) -> FragmentId {
    FragmentId { tessera: TesseraId::from_bytes([tessera; 32]), stripe, index: 0 }
}

fn fragment(number: u64, length: usize) -> Fragment {
    let bytes: Vec<u8> = number.to_le_bytes().iter().copied().cycle().take(length).collect();
    Fragment::hash(Bytes::from(bytes)).unwrap()
}

async fn start(folder: &tempfile::TempDir) -> System {
    let mut storage = StorageConfig::with_defaults(folder.path());
    storage.min_free_bytes = 0;
    storage.segment_bytes = 1 << 20;
    System::start(SystemConfig::new(storage, NodeKey::from_seed([7; 32]))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn put_is_there_after_a_clean_stop_and_gone_after_a_drop() {
    let folder = tempfile::tempdir().unwrap();
    let system = start(&folder).await;
    let one = fragment(1, 5000);
    assert_eq!(system.storage.put(LOCAL, id(1, 0), one.clone()).await.unwrap(), PutOutcome::Stored);
    assert_eq!(system.storage.put(LOCAL, id(1, 0), one.clone()).await.unwrap(), PutOutcome::Held);
    assert_eq!(system.storage.get(id(1, 0)).await.unwrap(), one);
    system.drain().await;

    let system = start(&folder).await;
    assert_eq!(system.storage.usage().await.unwrap().recovery.records, 0, "a clean stop needs no recovery");
    assert_eq!(system.storage.get(id(1, 0)).await.unwrap(), one);
    system.storage.drop_fragment(LOCAL, id(1, 0)).await.unwrap();
    assert!(matches!(system.storage.get(id(1, 0)).await, Err(ActorError::NotFound { .. })));
    let again = system.storage.drop_fragment(LOCAL, id(1, 0)).await;
    assert!(matches!(again, Err(ActorError::NotFound { .. })));
    let usage = system.storage.usage().await.unwrap();
    assert_eq!((usage.totals.fragments, usage.totals.fragment_bytes), (0, 0));
    system.drain().await;
}
