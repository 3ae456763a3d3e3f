//! Giving a tessera to other nodes, so that it survives the loss of some of them.

mod adopting;
mod agreeing;
mod damaging;
mod fetching;
mod leaving;
mod line;
mod losing;
mod many;
mod parted;
mod placed;
mod recovering;
mod refused;
mod relayout;
mod repairing;
mod resumed;
mod retracting;
mod sweeping;
mod waiting;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use actors::{
    ActorError, FragmentStore,
    replication::Told,
    storage::{JobState, Jobs, ReplicationJob},
};
use futures::future::join_all;
use proto::{
    Checksum, Fragment, TesseraId,
    layout::{Layout, SignedLayout},
    manifest::SignedManifest,
    placement::SignedPlacement,
};

use super::support::{Node, Tessera, until};

/// An author and so many other nodes, each of somebody else, that know the author and are known to it.
async fn network(others: u8) -> (Node, Vec<Node>) {
    let author = Node::start(1).await;
    let nodes = join_all((0..others).map(|number| Node::start(10 + number))).await;
    for node in &nodes {
        introduce(&author, node).await;
    }
    (author, nodes)
}

async fn introduce(author: &Node, node: &Node) {
    node.knows(author).await;
    author.knows(node).await;
}

/// Publishes a tessera, and waits for what comes of it.
async fn publish(author: &Node, tessera: TesseraId) -> (JobState, Told) {
    let job = author.system.replication.publish(tessera).await.unwrap();
    ended(author, job.id).await
}

/// Waits until a job has ended.
async fn ended(author: &Node, id: u64) -> (JobState, Told) {
    // Whoever is gone without a word is waited for, for a while.
    let deadline = Instant::now() + Duration::from_secs(120);
    while kept_job(author, id).await.state == JobState::Pending {
        assert!(Instant::now() < deadline, "the job does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let job = kept_job(author, id).await;
    (job.state, serde_json::from_str(&job.told.unwrap()).unwrap())
}

async fn kept_job(author: &Node, id: u64) -> ReplicationJob {
    let jobs = author.system.storage.records().replication_jobs(Jobs::One(id)).await.unwrap();
    jobs.into_iter().next().unwrap()
}

/// The layout that others keep, and who does.
async fn published(author: &Node, tessera: &Tessera) -> (SignedLayout, SignedPlacement) {
    let records = author.system.storage.records();
    let kept = records.placements(tessera.id()).await.unwrap();
    let layouts = author.system.storage.layouts(tessera.id()).await.unwrap();
    let newest = layouts.into_iter().next().unwrap().unwrap();
    let kept = kept.into_iter().find(|kept| kept.layout == newest.checksum()).unwrap();
    let signed = SignedPlacement::parse(kept.signed, tessera.id(), author.author.id()).unwrap();
    (newest, signed)
}

/// What a node has of a layout, by stripe and index.
async fn held(node: &Node, layout: &Layout) -> Vec<((u32, u16), Fragment)> {
    let storage = &node.system.storage;
    let from = (layout.stripe_numbers().start, 0);
    let rows = storage.checksums(layout.tessera(), from, 10_000).await.unwrap();
    let mut held = Vec::new();
    for row in rows.into_iter().filter(|row| layout.number(row.stripe, row.index).is_some()) {
        let id = proto::FragmentId { tessera: layout.tessera(), stripe: row.stripe, index: row.index };
        match storage.get(id).await {
            Ok(fragment) => held.push(((row.stripe, row.index), fragment)),
            // It was dropped meanwhile.
            Err(ActorError::NotFound { .. }) => {}
            Err(error) => panic!("{id}: {error}"),
        }
    }
    held
}

/// How many fragments of a tessera a node has.
async fn fragments(node: &Node, tessera: TesseraId) -> usize {
    node.system.storage.checksums(tessera, (0, 0), 10_000).await.unwrap().len()
}

/// The content, from these fragments alone; `None` when they are too few.
fn rebuilt(layout: &SignedLayout, pages: &[Checksum], held: &[((u32, u16), Fragment)]) -> Option<Vec<u8>> {
    let (mut coder, mut content) = (proto::erasure::Coder::new(), Vec::new());
    let layout = layout.layout();
    for number in layout.stripe_numbers() {
        let stripe = layout.stripe(number).unwrap();
        let first = usize::try_from(layout.number(number, 0).unwrap()).unwrap();
        let checksums = &pages[first..first + usize::from(stripe.width())];
        let here: Vec<_> = held
            .iter()
            .filter(|((at, _), _)| *at == number)
            .map(|((_, index), fragment)| (*index, fragment.clone()))
            .collect();
        let wanted: Vec<_> = (0..stripe.data()).collect();
        let data = coder.reconstruct(&stripe, checksums, &here, &wanted).ok()?;
        data.iter().for_each(|chunk| content.extend_from_slice(chunk.bytes()));
    }
    Some(content)
}

/// The checksums of a layout, from the pages that its author keeps.
async fn checksums(author: &Node, layout: &SignedLayout) -> Vec<Checksum> {
    let (door, layout) = (author.system.storage.checksums_door(), layout.layout());
    let none = BTreeMap::new();
    let expected = door.expected(layout.tessera(), layout.stripe_numbers(), u32::MAX, &none).await;
    expected.unwrap().fragments.iter().map(|fragment| fragment.checksum).collect()
}

fn hash(manifest: &SignedManifest, content: &[u8]) -> bool {
    Checksum::of(content) == manifest.manifest().content_hash
}
