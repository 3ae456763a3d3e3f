//! `/v1/tesseras/{id}/holders`: what other nodes claim to hold of a tessera, and having them claim and prove it.

use std::sync::Arc;

use actors::{
    ActorError,
    conn_pool::PeerTrouble,
    storage::{self, RecordsHandle},
};
use axum::{Json, extract::State};
use proto::{Checksum, NodeId, TesseraId, wire::RefusalKind};

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
    let records = node.system.storage.records();
    let (holders, peers) = (claimants(&records, tessera).await?, records.peers().await?);
    let name = |id| peers.iter().find(|peer| peer.node == id).and_then(|peer| peer.name.clone());
    let book = node.system.peers.book();
    let described = |holder: storage::Holder| {
        api::Holder::new(holder, name(holder.node), api::Standing::of(holder.node, &book))
    };
    Ok(Json(holders.into_iter().map(described).collect()))
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
    match node.system.remote.prove_one(&records, &checksums, holder, tessera).await {
        Ok(proven) => Ok(Json(api::Proven::new(holder, &proven))),
        Err(error) => Err(unproven(&records, holder, tessera, error).await),
    }
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
async fn unproven(records: &RecordsHandle, holder: NodeId, tessera: TesseraId, error: ActorError) -> Problem {
    let ActorError::Peer { trouble: PeerTrouble::Refused(refusal), .. } = &error else { return error.into() };
    let found = match checksum_in(refusal.reason()) {
        Some(checksum) => place(records, holder, tessera, checksum).await,
        None => Ok(None),
    };
    let which = match found {
        Ok(Some((stripe, index))) => format!("fragment {stripe}/{index}"),
        Ok(None) => "a fragment of it".to_owned(),
        Err(error) => return error.into(),
    };
    let detail = match refusal.kind() {
        RefusalKind::NotFound => format!(
            "{holder}: it does not have {which} any more, which it has claimed: ask what it still has, with \
             `attest {tessera} --peer {holder}`"
        ),
        RefusalKind::Corrupt => format!(
            "{holder}: {which} is damaged there, at the node that was asked, and waits there for its repair: tell whoever \
             runs it to look at `jobs` and `doctor`"
        ),
        _ => return error.into(),
    };
    Problem::new(Problem::from(error).kind(), detail)
}

/// Where a fragment with this checksum stands among those that a node claims.
async fn place(
    records: &RecordsHandle,
    holder: NodeId,
    tessera: TesseraId,
    checksum: Checksum,
) -> Result<Option<(u32, u16)>, ActorError> {
    let holders = records.holders(tessera).await?;
    let mut left = holders.iter().find(|one| one.node == holder).map_or(0, |one| one.claimed);
    let mut from = 0_u32;
    while left > 0 && from < u32::MAX {
        let to = from.saturating_add(STRIPES);
        let claims = records.claims(tessera, from..to).await?;
        for claim in claims.iter().filter(|claim| claim.holder == holder) {
            if claim.checksum == checksum {
                return Ok(Some((claim.stripe, claim.index)));
            }
            left = left.saturating_sub(1);
        }
        from = to;
    }
    Ok(None)
}

fn checksum_in(sentence: &str) -> Option<Checksum> {
    sentence.split(|letter: char| !letter.is_ascii_hexdigit()).find_map(|word| word.parse().ok())
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

/// Stripes that are looked at together.
const STRIPES: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_found_in_what_another_node_says() {
        let checksum = Checksum::of(b"a fragment");
        for error in
            [ActorError::not_found(format!("the bytes of {checksum}")), ActorError::CorruptBlob { checksum }]
        {
            assert_eq!(checksum_in(&error.to_string()), Some(checksum), "{error}");
        }
        assert_eq!(checksum_in("the bytes of a707b0 are not there"), None);
    }
}
