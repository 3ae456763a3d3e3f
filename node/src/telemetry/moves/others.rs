//! Other nodes, on loopback: what passes between them and the one that is watched.

use std::{net::SocketAddr, time::Duration};

use actors::{
    ActorError, FragmentStore, System, SystemConfig,
    conn_pool::PeerTrouble,
    storage::{Blocked, Note, Origin},
};
use config::{NetworkConfig, StorageConfig};
use http_body_util::{BodyExt, Full};
use hyper::Method;
use proto::{Checksum, FragmentId, NodeId, NodeKey, TesseraId};
use serde_json::Value;

use super::{Driven, eventually};

/// Has room for one connection, and may close it as soon as nobody uses it.
pub(super) fn network() -> NetworkConfig {
    NetworkConfig {
        listen_addr: Some(LOOPBACK),
        pool_max_connections: 1,
        pool_idle_timeout: Duration::ZERO,
        pool_reaper_interval: Duration::from_secs(3600),
        ..NetworkConfig::default()
    }
}

/// Greets and is greeted, is refused and refuses, and cannot keep every connection.
pub(super) async fn talk(driven: &mut Driven) {
    let ours = driven.system.clone();
    let dir = tempfile::tempdir().unwrap();
    let (friend, stranger) = (start(dir.path(), 21).await, start(dir.path(), 22).await);
    for other in [&friend, &stranger] {
        knows_at(other, ours.peers.us(), ours.pool.address()).await;
    }
    let unwanted = Blocked::Node(stranger.peers.us());
    ours.peers.block(unwanted, "a test".to_owned()).await.unwrap();
    stranger.remote.hello(ours.peers.us(), false, None).await.unwrap_err();
    ours.peers.unblock(unwanted).await.unwrap();
    knows_at(&ours, friend.peers.us(), friend.pool.address()).await;
    ask(&friend, &ours).await;
    driven.scrape().await;
    for _ in 0..2 {
        greets(&ours, &friend).await;
    }
    let absent = TesseraId::from_bytes([9; 32]);
    ours.attestation.audit(friend.peers.us(), absent).await.unwrap_err();
    prove(driven, &friend).await;
    // It is known now, and takes the place of the first; then nobody is where a third is said to be.
    knows_at(&ours, stranger.peers.us(), stranger.pool.address()).await;
    let nobody = NodeId::from_bytes([23; 32]);
    knows_at(&ours, nobody, friend.pool.address()).await;
    greets(&ours, &stranger).await;
    let is_dialled = async || match ours.remote.hello(nobody, false, None).await {
        Err(error) => !matches!(error, ActorError::Busy { .. }),
        Ok(_) => panic!("somebody else answers there"),
    };
    eventually(is_dialled).await;
    greets(&ours, &friend).await;
    driven.scrape().await;
    eventually(async || {
        ours.pool.reap();
        ours.pool.status().await.is_ok_and(|status| status.connections.is_empty())
    })
    .await;
    driven.scrape().await;
    publish(driven, &friend).await;
    friend.drain().await;
    stranger.drain().await;
}

/// As soon as the connection that there may be is not in use any more.
async fn greets(ours: &System, other: &System) {
    eventually(async || ours.remote.hello(other.peers.us(), false, None).await.is_ok()).await;
}

/// The other is said to hold what it never had, and cannot prove it.
async fn prove(driven: &Driven, friend: &System) {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    let letter = b"We went to the sea.";
    header.set_size(letter.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "letter.txt", letter.as_slice()).unwrap();
    let body = Full::from(tar.into_inner().unwrap()).map_err(|never| match never {}).boxed();
    let created: Value = driven.client.upload(Method::POST, "/v1/tesseras", body).await.unwrap();
    let (tessera, holder): (TesseraId, _) =
        (created["id"].as_str().unwrap().parse().unwrap(), friend.peers.us());
    let storage = &driven.system.storage;
    let (records, checksums) = (storage.records(), storage.checksums_door());
    let row = checksums.checksums(tessera, (0, 0), 1).await.unwrap().remove(0);
    let held = vec![(row.stripe, row.index, row.checksum)];
    records
        .note(vec![Note::Claim { holder, tessera, stripes: 0..1, held, asked_at_ms: 0, at_ms: 0 }])
        .await
        .unwrap();
    eventually(async || {
        let proven = driven.system.remote.prove_one(&records, &checksums, holder, tessera).await;
        matches!(
            proven.map_err(|why| why.error),
            Err(ActorError::Peer { trouble: PeerTrouble::Refused(_), .. })
        )
    })
    .await;
}

/// The other keeps what is here.
async fn publish(driven: &mut Driven, friend: &System) {
    let ours = driven.system.clone();
    for (one, other) in [(friend, &ours), (&ours, friend)] {
        let address = other.pool.address().try_into().unwrap();
        one.peers.add(other.peers.us(), &[address], None, None).await.unwrap();
    }
    let (first, last) = (TesseraId::from_bytes([0; 32]), TesseraId::from_bytes([255; 32]));
    let mut own = ours.storage.records().tesseras(first, last, 99).await.unwrap();
    // That one is none: it has no manifest.
    own.retain(|one| one.id != super::tessera());
    for tessera in &own {
        let at = format!("/v1/tesseras/{}/publish", tessera.id);
        let _: Value = driven.client.call(Method::POST, &at).await.unwrap();
    }
    driven.until_moved("tesseras_publish_jobs_total").await;
    driven.until_moved("tesseras_publish_bytes_total").await;
    driven.until_moved("tesseras_tessera_safety").await;
    driven.until_moved("tesseras_oldest_proof_age_seconds").await;
    for tessera in &own {
        friend.drop_for_all(tessera.id).await.unwrap();
        let at = format!("/v1/tesseras/{}/repair", tessera.id);
        let _: Value = driven.client.call(Method::POST, &at).await.unwrap();
    }
    driven.until_moved("tesseras_repair_jobs_total").await;
    driven.until_moved("tesseras_repair_bytes_total").await;
    let _: Value = driven.client.call(Method::POST, "/v1/leave").await.unwrap();
    driven.until_moved("tesseras_leave_jobs_total").await;
    driven.client.call::<()>(Method::DELETE, "/v1/leave").await.unwrap();
    for tessera in own {
        ours.storage.forget(tessera.id).await.unwrap();
        let at = format!("/v1/tesseras/{}/fetch", tessera.id);
        let _: Value = driven.client.call(Method::POST, &at).await.unwrap();
    }
    driven.until_counted("tesseras_fetch_jobs_total", "outcome", "done").await;
    driven.until_moved("tesseras_fetch_bytes_total").await;
    let (first, last) = (TesseraId::from_bytes([0; 32]), TesseraId::from_bytes([255; 32]));
    let mut own = ours.storage.records().tesseras(first, last, 99).await.unwrap();
    own.retain(|one| one.id != super::tessera());
    for tessera in own {
        let at = format!("/v1/tesseras/{}/retract", tessera.id);
        let _: Value = driven.client.call(Method::POST, &at).await.unwrap();
    }
    driven.until_moved("tesseras_retract_jobs_total").await;
}

/// Of what one asks, something is there and something is not.
async fn ask(friend: &System, ours: &System) {
    let us = ours.peers.us();
    friend.remote.hello(us, false, None).await.unwrap();
    let absent = FragmentId { tessera: TesseraId::from_bytes([9; 32]), stripe: 0, index: 0 };
    friend.remote.fragment(us, absent, Checksum::from_bytes([9; 32])).await.unwrap_err();
}

async fn start(dir: &std::path::Path, seed: u8) -> System {
    let storage =
        StorageConfig { min_free_bytes: 0, ..StorageConfig::with_defaults(dir.join(seed.to_string())) };
    std::fs::create_dir(&storage.data_dir).unwrap();
    let network = NetworkConfig { listen_addr: Some(LOOPBACK), ..NetworkConfig::default() };
    let config = SystemConfig { network, ..SystemConfig::new(storage, NodeKey::from_seed([seed; 32])) };
    System::start(config).await.unwrap()
}

/// As another has told of it: no connection to it is kept open.
async fn knows_at(system: &System, node: NodeId, address: SocketAddr) {
    let note = Note::Peer {
        node,
        addresses: vec![address.to_string()],
        author: None,
        allow_bytes: None,
        origin: Origin::Introduced,
        name: None,
        at_ms: 0,
    };
    system.storage.records().note(vec![note]).await.unwrap();
    system.peers.refresh().await.unwrap();
}

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
