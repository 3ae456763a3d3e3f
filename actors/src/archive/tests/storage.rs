//! The whole way through the storage of a node.

use std::fs;

use config::StorageConfig;

use super::*;
use crate::system::{System, SystemConfig};

async fn start(folder: &Path) -> System {
    let mut storage = StorageConfig::with_defaults(folder);
    storage.min_free_bytes = 0;
    System::start(SystemConfig::new(storage, proto::NodeKey::from_seed([7; 32]))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tessera_created_in_storage_is_there_after_a_restart_and_gone_when_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (data, photos, out) = (dir.path().join("data"), dir.path().join("photos"), dir.path().join("out"));
    fs::create_dir(&data).unwrap();
    fs::create_dir(&photos).unwrap();
    fs::write(photos.join("video"), vec![7; 3 << 20]).unwrap();
    let author = Author::generate().unwrap();
    let tar = walk(&[photos], Special::Refuse).unwrap();
    let tar = tar.write_tar(&Metadata::default(), Vec::new(), |_| {}).unwrap();

    let system = start(&data).await;
    let session = system.storage.open_session().await.unwrap();
    let id = create(tar.as_slice(), &author, session, NOW_MS).await.unwrap().id;
    system.drain().await;

    let system = start(&data).await;
    assert!(verify(system.storage.clone(), id, |_| {}).await.unwrap().is_intact());
    let bag = content(system.storage.clone(), id, &author, Form::Bag).await.unwrap();
    let manifest = bag.manifest().clone();
    unpack(collect(bag).await.unwrap().as_slice(), &manifest, &out, |_| {}).unwrap();
    assert_eq!(fs::read(out.join("tessera/data/photos/video")).unwrap(), vec![7; 3 << 20]);

    system.storage.forget(id).await.unwrap();
    let gone = content(system.storage.clone(), id, &author, Form::Bag).await;
    assert!(matches!(gone, Err(ArchiveError::Store(ActorError::NotFound { .. }))));
    system.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_refused_after_many_fragments_leaves_nothing_in_storage() {
    let dir = tempfile::tempdir().unwrap();
    let system = start(dir.path()).await;
    let tar = upload(&public(), &[("video", &vec![7; 12 << 20]), ("../evil", b"")]);
    let session = system.storage.open_session().await.unwrap();
    let author = Author::generate().unwrap();
    let refused = create(tar.as_slice(), &author, session, NOW_MS).await;
    assert!(matches!(refused, Err(ArchiveError::Refused(_))));
    let usage = system.storage.usage().await.unwrap();
    assert_eq!((usage.totals.fragments, usage.totals.fragment_bytes), (0, 0));
    system.drain().await;
}
