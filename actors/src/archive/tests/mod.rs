//! The whole way, against a store in memory: what goes in comes out, or an error does.

mod create;
mod damage;
mod memory;
mod roundtrip;
mod storage;
mod tools;

use std::{
    collections::HashMap,
    io::Write,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use futures::StreamExt;
use proto::{
    AccountId, Checksum, Fragment, FragmentId, TesseraId, layout::SignedLayout, manifest::SignedManifest,
    record::DocumentKind,
};

use super::{tarball::Tarball, *};
use crate::{
    error::ActorError,
    keys::Author,
    store::{Deposited, FragmentRow, FragmentStore, PutOutcome},
};

const NOW_MS: u64 = 1_750_000_000_000;

/// A store in memory that does what storage promises.
#[derive(Clone, Default)]
struct MemoryStore(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    fragments: HashMap<FragmentId, Checksum>,
    blobs: HashMap<Checksum, Bytes>,
    documents: Vec<(TesseraId, DocumentKind, Bytes)>,
}

impl Inner {
    fn document(&self, tessera: TesseraId, kind: DocumentKind, hash: Option<Checksum>) -> Option<Bytes> {
        let mut documents = self.documents.iter().rev();
        let found = documents.find(|(of, its, bytes)| {
            (*of, *its) == (tessera, kind) && hash.is_none_or(|hash| hash == Checksum::of(bytes))
        });
        found.map(|(.., bytes)| bytes.clone())
    }
}

/// A session of it.
struct MemorySink {
    store: MemoryStore,
    blobs: HashMap<Checksum, Bytes>,
}

impl MemoryStore {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    fn sink(&self) -> MemorySink {
        MemorySink { store: self.clone(), blobs: HashMap::new() }
    }

    fn is_empty(&self) -> bool {
        let inner = self.inner();
        inner.fragments.is_empty() && inner.blobs.is_empty() && inner.documents.is_empty()
    }

    fn manifest(&self, id: TesseraId) -> SignedManifest {
        SignedManifest::parse(self.inner().document(id, DocumentKind::Manifest, None).unwrap()).unwrap()
    }
}

impl ContentSink for MemorySink {
    async fn put(&mut self, fragment: Fragment) -> Result<(), ActorError> {
        self.blobs.insert(fragment.checksum(), fragment.into_bytes());
        Ok(())
    }

    async fn commit(self, tessera: NewTessera) -> Result<(), ActorError> {
        let mut inner = self.store.inner();
        inner.blobs.extend(self.blobs);
        for (kind, bytes) in &tessera.documents {
            inner.documents.push((tessera.id, *kind, bytes.clone()));
        }
        for (id, checksum, length) in tessera.fragments() {
            assert_eq!(inner.blobs[&checksum].len(), length as usize);
            inner.fragments.insert(id, checksum);
        }
        Ok(())
    }
}

impl FragmentStore for MemoryStore {
    async fn deposit(
        &self,
        _: AccountId,
        _: FragmentId,
        _: Fragment,
        _: Vec<Deposited>,
    ) -> Result<PutOutcome, ActorError> {
        unreachable!("the archive writes through sessions")
    }

    async fn get(&self, id: FragmentId) -> Result<Fragment, ActorError> {
        let inner = self.inner();
        let checksum = *inner.fragments.get(&id).ok_or(ActorError::not_found(id))?;
        Fragment::check(checksum, inner.blobs[&checksum].clone())
            .map_err(|_| ActorError::Corrupt { fragment: id, checksum })
    }

    async fn drop_fragment(&self, _: AccountId, _: FragmentId) -> Result<(), ActorError> {
        unreachable!("the archive drops nothing")
    }

    async fn checksums(&self, _: TesseraId, _: (u32, u16), _: u32) -> Result<Vec<FragmentRow>, ActorError> {
        unreachable!("the archive asks the layout, not the index")
    }
}

impl TesseraStore for MemoryStore {
    async fn document(
        &self,
        tessera: TesseraId,
        kind: DocumentKind,
        hash: Option<Checksum>,
    ) -> Result<Bytes, ActorError> {
        self.inner().document(tessera, kind, hash).ok_or(ActorError::not_found(tessera))
    }

    async fn layouts(&self, tessera: TesseraId) -> Result<Vec<Result<SignedLayout, ActorError>>, ActorError> {
        let layout = self.document(tessera, DocumentKind::Layout, None).await?;
        Ok(vec![SignedLayout::parse(layout, &self.manifest(tessera)).map_err(ActorError::from)])
    }
}

/// Runs a test's async part as the daemon would: with blocking threads beside it.
fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn public() -> Metadata {
    Metadata { public: true, ..Metadata::default() }
}

/// An upload of files made up on the spot: names and bytes. A name that ends with `/` is a folder's.
fn upload(metadata: &Metadata, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Tarball::new(Vec::new());
    tar.whole_file(METADATA_NAME, &serde_json::to_vec(metadata).unwrap(), Default::default()).unwrap();
    for (name, bytes) in files {
        match name.strip_suffix('/') {
            Some(folder) => tar.folder(folder, Default::default()).unwrap(),
            None => tar.whole_file(name, bytes, Default::default()).unwrap(),
        }
    }
    tar.finish().unwrap()
}

/// Makes a tessera of files on the disk, as the command line would.
async fn create_from(store: &MemoryStore, author: &Author, metadata: &Metadata, path: &Path) -> Created {
    let tar =
        walk(&[path.to_owned()], Special::Refuse).unwrap().write_tar(metadata, Vec::new(), |_| {}).unwrap();
    create(tar.as_slice(), author, store.sink(), NOW_MS).await.unwrap()
}

async fn collect(mut content: Content) -> Result<Vec<u8>, ArchiveError> {
    let mut all = Vec::new();
    while let Some(piece) = content.next().await {
        all.write_all(&piece?).unwrap();
    }
    Ok(all)
}

async fn read(
    store: &MemoryStore,
    id: TesseraId,
    author: &Author,
    form: Form,
) -> Result<Vec<u8>, ArchiveError> {
    let content = content(store.clone(), id, author, form).await?;
    let length = content.length();
    let all = collect(content).await?;
    assert_eq!(all.len() as u64, length, "it was told before");
    Ok(all)
}

/// Exports a tessera to a folder that must not exist.
async fn export(store: &MemoryStore, id: TesseraId, author: &Author, folder: &Path) -> Progress {
    let bag = read(store, id, author, Form::Bag).await.unwrap();
    unpack(bag.as_slice(), &store.manifest(id), folder, |_| {}).unwrap()
}

async fn export_raw(store: &MemoryStore, id: TesseraId, author: &Author, folder: &Path) -> u64 {
    let content = read(store, id, author, Form::Stored).await.unwrap();
    unpack_raw(content.as_slice(), &store.manifest(id), folder, |_| {}).unwrap()
}
