//! `/v1/tesseras/{id}/holders`: what other nodes claim to hold of a tessera, and having them claim and prove it.

use std::sync::Arc;

use actors::{
    ActorError,
    conn_pool::PeerTrouble,
    remote::Unproven,
    storage::{self, RecordsHandle},
};
use axum::{Json, extract::State};
use proto::{FragmentId, NodeId, TesseraId, wire::RefusalKind};

use super::{Node, extract::InPath};
use crate::{
    api,
    problem::{Kind, Problem},
    schema::{OfHolder, OfTessera},
};

/// What other nodes claim to hold of a tessera, and have proven, as far as they were asked
#[utoipa::path(
    get, path = "/v1/tesseras/{id}/holders", operation_id = "list_holders", tag = "tesserae",
    params(OfTessera),
    responses(
        (status = 200, description = "In the order of their ids", body = Vec<api::Holder>),
    )
)]
pub(super) async fn list(
    State(node): State<Arc<Node>>,
    InPath(tessera): InPath<TesseraId>,
) -> Result<Json<Vec<api::Holder>>, Problem> {
    let holders = claimants(&node.system.storage.records(), tessera).await?;
    Ok(Json(described(&node, holders).await?))
}

/// With what each is called here, and whether what it claims counts as a copy.
pub(super) async fn described(
    node: &Node,
    holders: Vec<storage::Holder>,
) -> Result<Vec<api::Holder>, ActorError> {
    let peers = node.system.storage.records().peers().await?;
    let name = |id| peers.iter().find(|peer| peer.node == id).and_then(|peer| peer.name.clone());
    let book = node.system.peers.book();
    let described = |holder: storage::Holder| {
        api::Holder::new(holder, name(holder.node), api::Standing::of(holder.node, &book))
    };
    Ok(holders.into_iter().map(described).collect())
}

/// Asks another node what it holds of a tessera, and compares every checksum with the layout
///
/// What it claims is noted. That speaks of its records: only a proof shows that the bytes are there.
#[utoipa::path(
    post, path = "/v1/tesseras/{id}/holders/{node}/attest", operation_id = "attest_holder", tag = "tesserae",
    params(OfHolder),
    responses(
        (status = 200, description = "What it claims, compared", body = api::Audit),
    )
)]
pub(super) async fn attest(
    State(node): State<Arc<Node>>,
    InPath((tessera, holder)): InPath<(TesseraId, NodeId)>,
) -> Result<Json<api::Audit>, Problem> {
    refuse_own(&node, holder)?;
    Ok(Json(node.system.attestation.audit(holder, tessera).await?.into()))
}

/// Has another node prove that it has a fragment that it claims, picked at random
#[utoipa::path(
    post, path = "/v1/tesseras/{id}/holders/{node}/prove", operation_id = "prove_holder", tag = "tesserae",
    params(OfHolder),
    responses(
        (status = 200, description = "What it has proven", body = api::Proven),
    )
)]
pub(super) async fn prove(
    State(node): State<Arc<Node>>,
    InPath((tessera, holder)): InPath<(TesseraId, NodeId)>,
) -> Result<Json<api::Proven>, Problem> {
    refuse_own(&node, holder)?;
    let (records, checksums) = (node.system.storage.records(), node.system.storage.checksums_door());
    if claimants(&records, tessera).await?.iter().all(|one| one.node != holder) {
        let detail = format!(
            "{holder}: it has claimed nothing of {tessera} so far: ask it first, with `attest {tessera} --peer {holder}`"
        );
        return Err(Problem::new(Kind::NotFound, detail));
    }
    let proven = node.system.remote.prove_one(&records, &checksums, holder, tessera).await;
    let proven = proven.map_err(|why| unproven(holder, why))?;
    Ok(Json(api::Proven::new(holder, &proven)))
}

/// Those that claim something of a tessera. Errors with [`ActorError::NotFound`] when none does and it is not known here.
async fn claimants(records: &RecordsHandle, tessera: TesseraId) -> Result<Vec<storage::Holder>, ActorError> {
    let holders = records.holders(tessera).await?;
    if holders.is_empty() {
        records.tessera(tessera).await?;
    }
    Ok(holders)
}

/// Why a node has not proven what it claims. It is asked by a checksum and knows no more; here the fragment has a place.
fn unproven(holder: NodeId, Unproven { fragment, error }: Unproven) -> Problem {
    let (ActorError::Peer { trouble: PeerTrouble::Refused(refusal), .. }, Some(id)) = (&error, fragment)
    else {
        return error.into();
    };
    let FragmentId { tessera, stripe, index } = id;
    let detail = match refusal.kind() {
        RefusalKind::NotFound => format!(
            "{holder}: it does not have fragment {stripe}/{index} any more, which it has claimed: ask what it still has, \
             with `attest {tessera} --peer {holder}`"
        ),
        RefusalKind::Corrupt => format!(
            "{holder}: fragment {stripe}/{index} is damaged there, at the node that was asked, and waits there for its \
             repair: tell whoever runs it to look at `jobs` and `doctor`"
        ),
        _ => return error.into(),
    };
    Problem::new(Problem::from(error).kind(), detail)
}

/// Others are asked, and this node is not one of them.
fn refuse_own(node: &Node, holder: NodeId) -> Result<(), Problem> {
    if holder != node.keys.node.id() {
        return Ok(());
    }
    let detail = format!(
        "{holder}: that is this node itself: `attest ID` without `--peer` says what it claims, and `verify ID` reads that back"
    );
    Err(Problem::new(Kind::Refused, detail))
}
