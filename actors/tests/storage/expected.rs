//! What should be there by the layout that came with a fragment.

use std::{collections::BTreeMap, ops::Range};

use actors::{ActorError, FragmentStore, storage::Expected};
use bytes::Bytes;
use proto::{
    AuthorKey, Checksum, Fragment, FragmentId, TesseraId,
    layout::{Code, Layout, SignedLayout},
    limits::LAYOUT_PAGE_CHECKSUMS_MAX,
    manifest::{Manifest, SignedManifest, Visibility},
    record::DocumentKind,
};

use super::support::{account, fragment, node::Node};

/// Chunks of 4 KiB, the last one shorter, with one fragment of parity for two: more than a page of checksums.
const CHUNKS: u64 = 1500;
const CONTENT: u64 = (CHUNKS - 1) * 4096 + 100;

struct Tessera {
    manifest: SignedManifest,
    checksums: Vec<Checksum>,
    layout: SignedLayout,
    pages: Vec<Bytes>,
}

impl Tessera {
    fn new(first: &Fragment, data: u16) -> Self {
        let key = AuthorKey::from_seed([1; 32]);
        let manifest = Manifest {
            author: key.id(),
            created_at_ms: 0,
            visibility: Visibility::Private,
            content_len: CONTENT,
            content_hash: Checksum::of(b"whatever it is"),
            description: Default::default(),
            supersedes: None,
            part_of: None,
            rights: None,
        };
        let manifest = manifest.sign(&key).unwrap();
        let fragments = CHUNKS + CHUNKS.div_ceil(u64::from(data));
        let mut checksums: Vec<_> =
            (0..fragments).map(|number| Checksum::of(&number.to_le_bytes())).collect();
        checksums[0] = first.checksum();
        let code = Code::new(data, 1).unwrap();
        let (layout, pages) = Layout::build(manifest.id(), code, 4096, CONTENT, &checksums).unwrap();
        Self { manifest, checksums, layout: layout.sign(&key).unwrap(), pages }
    }

    fn id(&self) -> TesseraId {
        self.manifest.id()
    }

    fn documents(&self) -> Vec<(DocumentKind, Bytes)> {
        let mut documents = vec![
            (DocumentKind::Manifest, self.manifest.bytes().clone()),
            (DocumentKind::Layout, self.layout.bytes().clone()),
        ];
        documents.extend(self.pages.iter().map(|page| (DocumentKind::LayoutPage, page.clone())));
        documents
    }

    async fn deposit(&self, node: &Node, first: &Fragment, documents: Vec<(DocumentKind, Bytes)>) {
        let id = FragmentId { tessera: self.id(), stripe: 0, index: 0 };
        node.storage()
            .deposit(account(1), id, first.clone(), documents.into_iter().map(Into::into).collect())
            .await
            .unwrap();
    }
}

async fn expected(
    node: &Node,
    tessera: TesseraId,
    stripes: Range<u32>,
    limit: u32,
) -> Result<Expected, ActorError> {
    node.storage().checksums_door().expected(tessera, stripes, limit, &BTreeMap::new()).await
}

fn numbers(expected: &Expected) -> Vec<(u32, u16, u32)> {
    expected.fragments.iter().map(|it| (it.stripe, it.index, it.length)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn layout_names_the_fragments_of_any_stripes() {
    let mut node = Node::started(1).await;
    let first = fragment(1, 4096);
    let tessera = Tessera::new(&first, 2);
    assert!(tessera.pages.len() > 1 && tessera.checksums.len() > LAYOUT_PAGE_CHECKSUMS_MAX);
    let absent = expected(&node, tessera.id(), 0..1, 9).await;
    assert!(matches!(absent, Err(ActorError::NotFound { .. })), "{absent:?}");
    tessera.deposit(&node, &first, tessera.documents()).await;
    let all = expected(&node, tessera.id(), 0..u32::MAX, u32::MAX).await.unwrap();
    assert_eq!(all.layouts, [(tessera.layout.checksum(), 0..750)]);
    let checksums: Vec<_> = all.fragments.iter().map(|fragment| fragment.checksum).collect();
    assert_eq!(checksums, tessera.checksums);
    let some = expected(&node, tessera.id(), 748..750, 9).await.unwrap();
    let parity_of_last = 4096;
    assert_eq!(
        numbers(&some),
        [
            (748, 0, 4096),
            (748, 1, 4096),
            (748, 2, 4096),
            (749, 0, 4096),
            (749, 1, 100),
            (749, 2, parity_of_last)
        ]
    );
    assert_eq!(some.fragments[..], all.fragments[748 * 3..]);
    let few = expected(&node, tessera.id(), 1..9, 2).await.unwrap();
    assert_eq!(numbers(&few), [(1, 0, 4096), (1, 1, 4096)]);
    assert!(expected(&node, tessera.id(), 750..760, 9).await.unwrap().fragments.is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn newest_layout_counts_and_its_pages_that_are_not_here_are_named() {
    let mut node = Node::started(2).await;
    let first = fragment(1, 4096);
    let (before, after) = (Tessera::new(&first, 2), Tessera::new(&first, 3));
    assert_eq!(before.id(), after.id());
    before.deposit(&node, &first, before.documents()).await;
    after.deposit(&node, &first, after.documents()).await;
    let layouts = expected(&node, after.id(), 0..1, 9).await.unwrap().layouts;
    assert_eq!(layouts, [(after.layout.checksum(), after.layout.layout().stripe_numbers())]);
    node.storage()
        .drop_fragment(account(1), FragmentId { tessera: after.id(), stripe: 0, index: 0 })
        .await
        .unwrap();
    // Without its pages, and with a layout that the author has not signed.
    let mut documents = before.documents();
    documents.truncate(2);
    before.deposit(&node, &first, documents).await;
    let page = &before.pages[0];
    let absent = expected(&node, before.id(), 0..1, 9).await.unwrap();
    assert_eq!((absent.fragments, absent.absent), (vec![], vec![Checksum::of(page)]));
    // Somebody else may show it.
    let shown = BTreeMap::from([(Checksum::of(page), page.clone())]);
    let door = node.storage().checksums_door();
    let all = door.expected(before.id(), 0..1, 9, &shown).await.unwrap();
    assert_eq!((numbers(&all), all.absent), (vec![(0, 0, 4096), (0, 1, 4096), (0, 2, 4096)], vec![]));
    let forged = after.layout.layout().sign(&AuthorKey::from_seed([2; 32])).unwrap();
    before.deposit(&node, &first, vec![(DocumentKind::Layout, forged.bytes().clone())]).await;
    let refused = expected(&node, before.id(), 0..1, 9).await;
    assert!(matches!(refused, Err(ActorError::Proto(_))), "{refused:?}");
    node.stop().await;
}
