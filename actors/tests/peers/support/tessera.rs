//! A tessera in memory: its fragments, and the documents that say which they are.

use actors::{ActorError, FragmentStore, remote::Kept};
use bytes::Bytes;
use proto::{
    AccountId, AuthorKey, Checksum, Fragment, FragmentId, NodeId, ProtoError, TesseraId,
    chunks::{Chunker, Cut},
    layout::{Code, Layout, SignedLayout},
    manifest::{Manifest, SignedManifest, Visibility},
    record::DocumentKind,
};

use super::Node;

#[derive(Clone)]
pub(crate) struct Tessera {
    pub(crate) manifest: SignedManifest,
    pub(crate) layout: SignedLayout,
    pub(crate) pages: Vec<Bytes>,
    /// Without parity: one a stripe.
    pub(crate) fragments: Vec<Fragment>,
}

impl Tessera {
    /// Of so many bytes, that are not those of another seed.
    pub(crate) fn new(author: &AuthorKey, seed: u64, length: usize) -> Self {
        Self::visible(author, seed, length, Visibility::Private)
    }

    pub(crate) fn visible(author: &AuthorKey, seed: u64, length: usize, visibility: Visibility) -> Self {
        let content = content(seed, length);
        let (mut chunker, mut fragments) = (Chunker::new(), Vec::new());
        let mut keep = |chunk| {
            fragments.push(chunk);
            Ok::<(), ProtoError>(())
        };
        chunker.push(&content, &mut keep).unwrap();
        let cut = chunker.finish(&mut keep).unwrap();
        Self::of(author, visibility, cut, fragments)
    }

    /// In so many pieces of 4 KiB: as many as a large one has, and short enough for a test.
    pub(crate) fn in_pieces(author: &AuthorKey, seed: u64, pieces: usize) -> Self {
        let content = content(seed, pieces << 12);
        let piece = |bytes: &[u8]| Fragment::hash(Bytes::copy_from_slice(bytes)).unwrap();
        let fragments = content.chunks(1 << 12).map(piece).collect();
        let (content_len, content_hash) = (content.len() as u64, Checksum::of(&content));
        Self::of(
            author,
            Visibility::Private,
            Cut { fragment_len: 1 << 12, content_len, content_hash },
            fragments,
        )
    }

    fn of(author: &AuthorKey, visibility: Visibility, cut: Cut, fragments: Vec<Fragment>) -> Self {
        let manifest = Manifest {
            author: author.id(),
            created_at_ms: 0,
            visibility,
            content_len: cut.content_len,
            content_hash: cut.content_hash,
            description: Default::default(),
            supersedes: None,
            part_of: None,
            rights: None,
        };
        let manifest = manifest.sign(author).unwrap();
        let checksums: Vec<Checksum> = fragments.iter().map(Fragment::checksum).collect();
        let code = Code::new(1, 0).unwrap();
        let (layout, pages) =
            Layout::build(manifest.id(), code, cut.fragment_len, cut.content_len, &checksums).unwrap();
        Self { manifest, layout: layout.sign(author).unwrap(), pages, fragments }
    }

    pub(crate) fn id(&self) -> TesseraId {
        self.manifest.id()
    }

    pub(crate) fn fragment(&self, stripe: usize) -> FragmentId {
        FragmentId { tessera: self.id(), stripe: u32::try_from(stripe).unwrap(), index: 0 }
    }

    /// Keeps it here, as its author does.
    pub(crate) async fn keep(&self, node: &Node) {
        self.keep_first(node, self.fragments.len()).await;
    }

    /// The first fragments of it alone.
    pub(crate) async fn keep_first(&self, node: &Node, fragments: usize) {
        let documents = || {
            let pages = self.pages.iter().map(|page| (DocumentKind::LayoutPage, page.clone()));
            let signed = [
                (DocumentKind::Manifest, self.manifest.bytes().clone()),
                (DocumentKind::Layout, self.layout.bytes().clone()),
            ];
            signed.into_iter().chain(pages).map(Into::into).collect()
        };
        let stripes = self.layout.layout().stripe_numbers();
        for (stripe, fragment) in stripes.zip(self.fragments.iter().take(fragments)) {
            let (id, account) = (FragmentId { tessera: self.id(), stripe, index: 0 }, AccountId::LOCAL);
            node.system.storage.deposit(account, id, fragment.clone(), documents()).await.unwrap();
        }
    }

    /// What its documents are charged, with their heads.
    pub(crate) fn cost_of_documents(&self) -> u64 {
        let documents = [self.manifest.bytes(), self.layout.bytes()].into_iter().chain(&self.pages);
        documents.map(|bytes| bytes.len() as u64 + 48).sum()
    }

    /// Has a node learn its documents.
    pub(crate) async fn introduce(&self, from: &Node, to: NodeId) -> Result<(), ActorError> {
        let (remote, id) = (&from.system.remote, self.id());
        remote.put_document(to, id, DocumentKind::Manifest, None, self.manifest.bytes().clone()).await?;
        remote.put_document(to, id, DocumentKind::Layout, None, self.layout.bytes().clone()).await?;
        let root = Some(self.layout.checksum());
        for page in &self.pages {
            remote.put_document(to, id, DocumentKind::LayoutPage, root, page.clone()).await?;
        }
        Ok(())
    }

    /// Gives a node one of its fragments.
    pub(crate) async fn give(&self, from: &Node, to: NodeId, stripe: usize) -> Result<Kept, ActorError> {
        let author = self.manifest.manifest().author;
        let (id, root) = (self.fragment(stripe), self.layout.checksum());
        from.system.remote.put_fragment(to, author, id, root, &self.fragments[stripe]).await
    }

    /// Gives a node all there is.
    pub(crate) async fn give_all(&self, from: &Node, to: NodeId) {
        self.introduce(from, to).await.unwrap();
        for stripe in 0..self.fragments.len() {
            self.give(from, to, stripe).await.unwrap();
        }
    }
}

/// So many bytes, that are not those of another seed.
fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut content = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut content);
    content
}
