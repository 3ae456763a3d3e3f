//! `/v1/peers`: the nodes that this one knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use actors::{
    ActorError,
    conn_pool::{Known, PeerBook, PoolStatus},
    storage,
};
use axum::{Json, extract::State, http::StatusCode};
use config::HostPort;
use proto::{NodeId, limits::ADDRESSES_MAX};

use super::{
    Node,
    extract::{InBody, InPath},
};
use crate::{
    api::{self, Happening, NodeExplained},
    clock::now_ms,
    explained_node::{NodeFacts, Waits},
    network::name,
    pooled::us,
    problem::{Kind, Problem},
    schema::OfNode,
};

/// The nodes that are known, in the order of their ids
#[utoipa::path(
    get, path = "/v1/peers", operation_id = "list_peers", tag = "nodes",
    responses(
        (status = 200, description = "Who they are, what they may, and how they behaved", body = Vec<api::Peer>),
    )
)]
pub(super) async fn list(State(node): State<Arc<Node>>) -> Result<Json<Vec<api::Peer>>, Problem> {
    let picture = Picture::of(&node).await?;
    let mut peers = Vec::new();
    for id in picture.nodes() {
        peers.extend(picture.peer(&node, id).await?);
    }
    Ok(Json(peers))
}

/// Makes a node known, or says more of one that is: its addresses are replaced, its allowance if one is given
#[utoipa::path(
    post, path = "/v1/peers", operation_id = "add_peer", tag = "nodes",
    request_body = api::NewPeer,
    responses(
        (status = 201, description = "It is known", body = api::Peer),
    )
)]
pub(super) async fn add(
    State(node): State<Arc<Node>>,
    InBody(new): InBody<api::NewPeer>,
) -> Result<(StatusCode, Json<api::Peer>), Problem> {
    let addresses = addresses(&new.addresses)?;
    let name = named(new.name.as_deref())?;
    let allow_bytes = allowed(new.allow_bytes)?;
    node.system.peers.add(new.node, &addresses, allow_bytes, name).await?;
    tracing::info!(node = %new.node, "made a node known");
    node.events.tell(Happening::PeerAdded { node: new.node });
    let peer = Picture::of(&node).await?.peer(&node, new.node).await?;
    let gone = || Problem::new(Kind::NotFound, format!("{} was removed just now", new.node));
    Ok((StatusCode::CREATED, Json(peer.ok_or_else(gone)?)))
}

/// Knows a node no longer; what it keeps and what is kept for it stays
#[utoipa::path(
    delete, path = "/v1/peers/{id}", operation_id = "remove_peer", tag = "nodes",
    params(OfNode),
    responses(
        (status = 204, description = "It is not known any more"),
    )
)]
pub(super) async fn remove(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<NodeId>,
) -> Result<StatusCode, Problem> {
    node.system.peers.remove(id).await?;
    tracing::info!(node = %id, "a node is not known any more");
    node.events.tell(Happening::PeerRemoved { node: id });
    Ok(StatusCode::NO_CONTENT)
}

/// Asks a node whether it is there, how it sees this one, and whether it can connect to it
#[utoipa::path(
    post, path = "/v1/peers/{id}/ping", operation_id = "ping_peer", tag = "nodes",
    params(OfNode),
    responses(
        (status = 200, description = "What it says", body = api::Ping),
    )
)]
pub(super) async fn ping(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<NodeId>,
) -> Result<Json<api::Ping>, Problem> {
    Ok(Json(asked(&node, id).await?))
}

/// How it stands with a node, and why
#[utoipa::path(
    get, path = "/v1/peers/{id}/explain", operation_id = "explain_peer", tag = "nodes",
    params(OfNode),
    responses(
        (status = 200, description = "What is known, and what to do", body = api::NodeExplained),
    )
)]
pub(super) async fn explain(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<NodeId>,
) -> Result<Json<api::NodeExplained>, Problem> {
    let picture = Picture::of(&node).await?;
    let peer = picture.peer(&node, id).await?;
    let facts = facts(id == node.keys.node.id(), peer, &picture.book, &picture.pool, id);
    Ok(Json(NodeExplained::new(&facts)))
}

/// What a node says for itself, over a connection that is there before it is timed.
pub(super) async fn asked(node: &Node, id: NodeId) -> Result<api::Ping, ActorError> {
    let lease = node.system.pool.lease(id).await?;
    let begun = Instant::now();
    let greeting = node.system.remote.hello(id, false, None).await?;
    let took_us = us(begun.elapsed());
    // It dials back before it answers: that takes its time.
    let dialled = node.system.remote.hello(id, true, None).await?;
    Ok(api::Ping {
        node: id,
        address: lease.address().to_string(),
        took_us,
        software: greeting.software,
        addresses: greeting.addresses,
        observed: greeting.observed,
        reaches_us: dialled.dial_back,
        allowance_bytes: dialled.allowance_bytes,
        bound: dialled.bound.map(Into::into),
    })
}

/// A name as it was given.
pub(super) fn named(text: Option<&str>) -> Result<Option<String>, Problem> {
    text.map(name).transpose().map_err(|wrong| Problem::new(Kind::BadRequest, wrong))
}

/// How much may be kept for somebody, as it was given.
pub(super) fn allowed(bytes: Option<u64>) -> Result<Option<u64>, Problem> {
    match bytes {
        Some(0) => {
            let detail = "`allow_bytes` is 0, and a peer is somebody for whom something is kept: name more, or leave it out for \
                replication.max_storage_per_peer";
            Err(Problem::new(Kind::BadRequest, detail))
        }
        bytes => Ok(bytes),
    }
}

/// Addresses as they were given.
pub(super) fn addresses(texts: &[String]) -> Result<Vec<HostPort>, Problem> {
    let wrong = |detail: String| Problem::new(Kind::BadRequest, detail);
    if texts.is_empty() || texts.len() > ADDRESSES_MAX {
        return Err(wrong(format!("a node has 1 to {ADDRESSES_MAX} addresses, not {}", texts.len())));
    }
    let read =
        |text: &String| text.parse().map_err(|error| wrong(format!("{text:?} is no address: {error}")));
    texts.iter().map(read).collect()
}

/// All that is known of other nodes, put together.
struct Picture {
    book: Arc<PeerBook>,
    rows: BTreeMap<NodeId, storage::Peer>,
    pool: PoolStatus,
}

impl Picture {
    async fn of(node: &Node) -> Result<Self, ActorError> {
        let rows = node.system.storage.records().peers().await?;
        let rows = rows.into_iter().map(|row| (row.node, row)).collect();
        Ok(Self { book: node.system.peers.book(), rows, pool: node.system.pool.status().await? })
    }

    /// Those that are known, in the order of their ids.
    fn nodes(&self) -> BTreeSet<NodeId> {
        self.book.peers.keys().chain(self.rows.keys()).copied().collect()
    }

    /// One of them, if it is known.
    async fn peer(&self, node: &Node, id: NodeId) -> Result<Option<api::Peer>, ActorError> {
        let (Some(known), row) = (self.book.peers.get(&id), self.rows.get(&id)) else { return Ok(None) };
        let kept = match known.author {
            Some(author) => node.system.storage.records().account(author.into()).await?.charged(),
            None => 0,
        };
        let in_settings = node.network.peers.iter().any(|peer| peer.node == id);
        Ok(Some(self.described(id, known, row, (kept, node.network.max_storage_per_peer_bytes), in_settings)))
    }

    fn described(
        &self,
        node: NodeId,
        known: &Known,
        row: Option<&storage::Peer>,
        (kept_bytes, allow_bytes): (u64, u64),
        in_settings: bool,
    ) -> api::Peer {
        api::Peer {
            node,
            name: row.and_then(|row| row.name.clone()),
            addresses: known.addresses.iter().map(ToString::to_string).collect(),
            author: known.author,
            origin: match row {
                Some(row) if !in_settings => row.origin.into(),
                _ => api::Origin::Configured,
            },
            in_settings,
            allow_bytes: known.allow_bytes.unwrap_or(allow_bytes),
            kept_bytes,
            added_at_ms: row.map(|row| row.added_at_ms),
            seen_at_ms: row.and_then(|row| row.seen_at_ms),
            last_address: row.and_then(|row| row.last_address.clone()),
            connected: self.pool.connections.iter().any(|one| one.node == node),
            wrong_bytes: row.map_or(0, |row| row.wrong_bytes),
            errors: row.map_or(0, |row| row.errors),
            absences: row.map_or(0, |row| row.absences),
            blocked: self.book.blocked.get(&node).cloned(),
        }
    }
}

fn facts(is_own: bool, peer: Option<api::Peer>, book: &PeerBook, pool: &PoolStatus, id: NodeId) -> NodeFacts {
    let waits = pool.waiting.iter().find(|one| one.node == id);
    let waits = waits.map(|one| Waits::new(&one.trouble, us(one.retry_after) / 1000));
    let is_connected = pool.connections.iter().any(|one| one.node == id);
    let blocked = book.blocked.get(&id).cloned();
    let Some(peer) = peer else {
        return NodeFacts { is_own, blocked, is_connected, waits, ..NodeFacts::default() };
    };
    let ago = |at_ms: i64| now_ms().saturating_sub(u64::try_from(at_ms).unwrap_or(0));
    NodeFacts {
        is_own,
        origin: Some(peer.origin),
        in_settings: peer.in_settings,
        addresses: peer.addresses,
        author: peer.author.map(|author| author.to_string()),
        blocked,
        is_connected,
        waits,
        seen: peer.seen_at_ms.map(|at_ms| (ago(at_ms), peer.last_address)),
        wrong_bytes: peer.wrong_bytes,
        errors: peer.errors,
        absences: peer.absences,
        kept_bytes: peer.kept_bytes,
        allow_bytes: peer.allow_bytes,
    }
}
