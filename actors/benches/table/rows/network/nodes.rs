//! Two of our nodes that know each other.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actors::{System, SystemConfig};
use bytes::Bytes;
use config::{Accept, NetworkConfig, StorageConfig};
use futures::future::BoxFuture;
use proto::{
    AuthorKey, Checksum, Fragment, FragmentId, NodeId, NodeKey, ProtoError, TesseraId,
    chunks::Chunker,
    credential::Credential,
    layout::{Code, Layout, SignedLayout},
    manifest::{Manifest, SignedManifest, Visibility},
    record::DocumentKind,
};
use tokio::task::JoinSet;

use crate::{
    Result,
    meters::CountingDisk,
    rounds::{Contender, Work},
};

/// One that asks and one that holds.
pub(crate) struct Pair {
    pub(crate) asks: System,
    pub(crate) holds: System,
    pub(crate) holder: NodeId,
    pub(crate) syncs: Arc<AtomicU64>,
    pub(crate) author: AuthorKey,
}

impl Pair {
    /// Two that want each other, and nobody else.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        Self::of(folder, Accept::Known).await
    }

    /// The same, but whoever comes is let in.
    pub(crate) async fn open_to_all(folder: &Path) -> Result<Self> {
        Self::of(folder, Accept::Any).await
    }

    async fn of(folder: &Path, accept: Accept) -> Result<Self> {
        let author = AuthorKey::from_seed([9; 32]);
        let disk = CountingDisk::default();
        let syncs = disk.syncs();
        let holds = start(&folder.join("holds"), 1, &author, accept, Some(disk)).await?;
        let asks = start(&folder.join("asks"), 2, &author, accept, None).await?;
        let allow = Some(u64::MAX / 4);
        // Who is known dials at once: the other has to know it before.
        holds.peers.add(asks.peers.us(), &[asks.pool.address().try_into()?], allow, None).await?;
        asks.peers.add(holds.peers.us(), &[holds.pool.address().try_into()?], allow, None).await?;
        let holder = holds.peers.us();
        asks.remote.hello(holder, false, None).await?;
        Ok(Self { asks, holds, holder, syncs, author })
    }

    pub(crate) async fn stop(self) {
        self.asks.drain().await;
        self.holds.drain().await;
    }

    /// Has the holder keep all of a tessera.
    pub(crate) async fn give(&self, tessera: &Tessera) -> Result<()> {
        tessera.introduce(&self.asks, self.holder).await?;
        for stripe in 0..tessera.fragments.len() {
            tessera.give(&self.asks, self.holder, stripe).await?;
        }
        Ok(())
    }
}

async fn start(
    folder: &Path,
    seed: u8,
    author: &AuthorKey,
    accept: Accept,
    disk: Option<CountingDisk>,
) -> Result<System> {
    std::fs::create_dir_all(folder)?;
    let key = NodeKey::from_seed([seed; 32]);
    let credential = Credential { author: author.id(), node: key.id(), made_at_ms: 0 };
    let listen_addr = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let storage = StorageConfig { min_free_bytes: 0, ..StorageConfig::with_defaults(folder) };
    let mut config = SystemConfig {
        network: NetworkConfig { listen_addr, accept, ..NetworkConfig::default() },
        credential: Some(credential.sign(author)?),
        ..SystemConfig::new(storage, key)
    };
    if let Some(disk) = disk {
        config.disk = Arc::new(disk);
    }
    Ok(System::start(config).await?)
}

/// A tessera in memory, without parity: a fragment a stripe.
pub(crate) struct Tessera {
    manifest: SignedManifest,
    layout: SignedLayout,
    pages: Vec<Bytes>,
    pub(crate) fragments: Vec<Fragment>,
}

impl Tessera {
    /// Of so many fragments of about so many bytes, unlike those of another seed.
    pub(crate) fn new(author: &AuthorKey, seed: u64, fragments: usize, bytes: usize) -> Result<Self> {
        let mut content = vec![0; fragments * bytes];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut content);
        let (mut chunker, mut all) = (Chunker::new(), Vec::new());
        let mut keep = |chunk| {
            all.push(chunk);
            Ok::<(), ProtoError>(())
        };
        chunker.push(&content, &mut keep)?;
        let cut = chunker.finish(&mut keep)?;
        let manifest = Manifest {
            author: author.id(),
            created_at_ms: 0,
            visibility: Visibility::Private,
            content_len: cut.content_len,
            content_hash: cut.content_hash,
            description: Default::default(),
            supersedes: None,
            part_of: None,
            rights: None,
        };
        let manifest = manifest.sign(author)?;
        // Cut again as it was asked for: a chunker aims at sixteen fragments.
        let fragments: Vec<Fragment> = content
            .chunks(bytes)
            .map(|chunk| Fragment::hash(Bytes::copy_from_slice(chunk)))
            .collect::<std::result::Result<_, _>>()?;
        let checksums: Vec<Checksum> = fragments.iter().map(Fragment::checksum).collect();
        let length = u32::try_from(bytes)?;
        let (layout, pages) =
            Layout::build(manifest.id(), Code::new(1, 0)?, length, cut.content_len, &checksums)?;
        Ok(Self { manifest, layout: layout.sign(author)?, pages, fragments })
    }

    pub(crate) fn id(&self) -> TesseraId {
        self.manifest.id()
    }

    pub(crate) fn fragment(&self, stripe: usize) -> Result<FragmentId> {
        Ok(FragmentId { tessera: self.id(), stripe: u32::try_from(stripe)?, index: 0 })
    }

    pub(crate) async fn introduce(&self, from: &System, to: NodeId) -> Result<()> {
        let (remote, id) = (&from.remote, self.id());
        remote.put_document(to, id, DocumentKind::Manifest, None, self.manifest.bytes().clone()).await?;
        remote.put_document(to, id, DocumentKind::Layout, None, self.layout.bytes().clone()).await?;
        let root = Some(self.layout.checksum());
        for page in &self.pages {
            remote.put_document(to, id, DocumentKind::LayoutPage, root, page.clone()).await?;
        }
        Ok(())
    }

    pub(crate) async fn give(&self, from: &System, to: NodeId, stripe: usize) -> Result<()> {
        let fragment = self.fragments.get(stripe).ok_or("no such fragment")?;
        let (id, root) = (self.fragment(stripe)?, self.layout.checksum());
        from.remote.put_fragment(to, self.manifest.manifest().author, id, root, fragment).await?;
        Ok(())
    }
}

/// A contender whose clients each do one thing after the other.
pub(crate) struct Clients<T> {
    name: &'static str,
    clients: usize,
    shared: Arc<T>,
    /// Counts the things that were done, over all rounds.
    next: Arc<AtomicUsize>,
    each: fn(Arc<T>, usize) -> BoxFuture<'static, Result<()>>,
}

impl<T: Send + Sync + 'static> Clients<T> {
    pub(crate) fn new(
        name: &'static str,
        clients: usize,
        shared: T,
        each: fn(Arc<T>, usize) -> BoxFuture<'static, Result<()>>,
    ) -> Self {
        Self { name, clients, shared: Arc::new(shared), next: Arc::default(), each }
    }
}

impl<T: Send + Sync + 'static> Contender for Clients<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn round(&mut self, length: Duration) -> BoxFuture<'_, Result<Work>> {
        let end = Instant::now() + length;
        Box::pin(async move {
            let mut clients = JoinSet::new();
            for _ in 0..self.clients {
                let (shared, next, each) = (self.shared.clone(), self.next.clone(), self.each);
                clients.spawn(async move {
                    let mut work = Work::default();
                    while Instant::now() < end {
                        let asked = Instant::now();
                        each(shared.clone(), next.fetch_add(1, Ordering::Relaxed)).await?;
                        work.note(asked.elapsed())?;
                    }
                    Ok(work)
                });
            }
            Work::of_all(clients).await
        })
    }
}
