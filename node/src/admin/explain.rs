//! `/v1/tesseras/{id}/explain` and `/v1/cache`: why things are as they are.

use std::sync::Arc;

use actors::{
    ActorError,
    replication::Told,
    storage::{BlobState, StorageHandle, Watched, Which, losses},
};
use axum::{Json, extract::State};
use proto::{AccountId, TesseraId, layout::SignedLayout, manifest::Visibility};

use super::{Node, extract::InPath, holders, tesseras};
use crate::{
    api::{self, Explained, Facts},
    clock,
    explained::{Content, Looks, Safety, since},
    human,
    problem::{Kind, Problem},
    replicated::Guarantee,
    schema::OfTessera,
};

/// Why a tessera is as it is; no blob is read
#[utoipa::path(
    get, path = "/v1/tesseras/{id}/explain", operation_id = "explain_tessera", tag = "tesserae",
    params(OfTessera),
    responses(
        (status = 200, description = "What is known, and what to do", body = api::Explained),
    )
)]
pub(super) async fn explain(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<TesseraId>,
) -> Result<Json<api::Explained>, Problem> {
    let row = match node.system.storage.records().tessera(id).await {
        Err(error @ ActorError::NotFound { .. }) => {
            return Err(gone(&node, id).await.unwrap_or(error.into()));
        }
        row => row?,
    };
    let scrub = node.system.scrub.status().await?;
    let mut claimed = node.system.storage.records().holders(id).await?;
    // What this node claims itself is told by what is here.
    claimed.retain(|holder| holder.node != node.keys.node.id());
    // Nobody asks the others for anything, so they are no copies.
    let (holders, former): (Vec<_>, Vec<_>) = holders::described(&node, claimed)
        .await?
        .into_iter()
        .partition(|holder| holder.standing == api::Standing::Peer);
    let now_ms = i64::try_from(clock::now_ms()).unwrap_or(i64::MAX);
    let damaged_documents = row.damaged_documents;
    let retracted = node.system.storage.records().retraction(id).await?;
    let tessera = tesseras::describe(&node, row).await?;
    let about = tessera.manifest.as_ref();
    let mut facts = Facts {
        now_ms,
        ok: 0,
        suspect: 0,
        missing: 0,
        bytes: 0,
        unverified: 0,
        oldest_verified_ms: None,
        came_ms: since(tessera.received_at_ms, now_ms),
        manifest: tessera.manifest_state,
        damaged_documents,
        private: about.map(|about| about.visibility == Visibility::Private),
        is_ours: about.map(|about| about.author == node.keys.author.id()),
        content: None,
        verified_in_ms: scrub.outlook.begins_in_ms,
        holders,
        former: former.len() as u64,
        adopted_ms: tessera.adopted_at_ms.map(|at_ms| since(at_ms, now_ms)),
        retracted_ms: retracted.map(|known| since(known.at_ms, now_ms)),
        safety: node.system.replication.safety(id).await?.map(Safety::from),
        watched: watched(&node, id, now_ms).await?,
    };
    count(&node, id, now_ms, &mut facts).await?;
    Ok(Json(Explained::new(&facts)))
}

/// Counts the fragments that are here, and how they fare.
async fn count(node: &Node, id: TesseraId, now_ms: i64, facts: &mut Facts) -> Result<(), ActorError> {
    let storage = &node.system.storage;
    let door = storage.checksums_door();
    let mut contents = Contents::of(storage, id).await?;
    let mut from = (0, 0);
    loop {
        let rows = door.checksums(id, from, PAGE).await?;
        for row in &rows {
            facts.bytes += u64::from(row.length);
            contents.count(row.stripe, row.index);
            match row.state {
                BlobState::Ok => facts.ok += 1,
                BlobState::Suspect => facts.suspect += 1,
                BlobState::Missing => facts.missing += 1,
            }
            match row.verified_at_ms.filter(|_| row.state == BlobState::Ok) {
                Some(at_ms) => {
                    facts.oldest_verified_ms = facts.oldest_verified_ms.max(Some(since(at_ms, now_ms)))
                }
                None => facts.unverified += u64::from(row.state == BlobState::Ok),
            }
        }
        match rows.last() {
            Some(last) if rows.len() == PAGE as usize => from = behind(last.stripe, last.index),
            _ => break,
        }
    }
    facts.content = contents.most();
    Ok(())
}

/// How many fragments of the content are here, by each layout.
struct Contents {
    layouts: Vec<(SignedLayout, u64)>,
    is_wanted: bool,
}

impl Contents {
    /// What is wrong with its documents is told beside it.
    async fn of(storage: &StorageHandle, id: TesseraId) -> Result<Self, ActorError> {
        let layouts = storage.layouts(id).await.unwrap_or_default().into_iter().flatten();
        let layouts = layouts.map(|layout| (layout, 0)).collect();
        let is_wanted = storage.records().keepers(id).await?.contains(&AccountId::LOCAL);
        Ok(Self { layouts, is_wanted })
    }

    /// One more that is here. Parity cannot be read.
    fn count(&mut self, stripe: u32, index: u16) {
        for (layout, here) in &mut self.layouts {
            *here += u64::from(index < layout.layout().stripe_width(stripe).0);
        }
    }

    /// Of the layout of which most is here.
    fn most(&self) -> Option<Content> {
        let contents = self.layouts.iter().map(|(layout, here)| Content {
            here: *here,
            of: layout.layout().data_fragments(),
            is_wanted: self.is_wanted,
        });
        contents.min_by_key(|content| content.of.saturating_sub(content.here))
    }
}

impl From<Told> for Safety {
    fn from(told: Told) -> Self {
        let is_as_asked = told.is_as_asked();
        let Told { sentence, remedies, guarantee, .. } = told;
        Self { sentence, is_as_asked, remedies, guarantee: guarantee.map(Guarantee::from) }
    }
}

/// When this node looks at what others keep of it.
async fn watched(node: &Node, id: TesseraId, now_ms: i64) -> Result<Option<Looks>, Problem> {
    let watched = node.system.storage.records().watched(Which::One(id)).await?;
    let one = watched.into_iter().next().filter(Watched::is_looked_after);
    let within = |at_ms: i64| since(now_ms, at_ms);
    Ok(one.map(|one| Looks {
        looked_ms: one.looked_at_ms.map(|at_ms| since(at_ms, now_ms)),
        next_in_ms: one.next_at_ms.map(within),
        below_ms: one.below_since_ms.map(|at_ms| since(at_ms, now_ms)),
        mends_in_ms: one.due_at_ms.map(within),
    }))
}

/// Why a tessera is not here, if a start has missed it.
async fn gone(node: &Node, id: TesseraId) -> Option<Problem> {
    let data_dir = node.data_dir.clone();
    let losses = tokio::task::spawn_blocking(move || losses(&data_dir)).await.ok()?.ok()?;
    let loss = losses.iter().rfind(|loss| loss.missing.first.contains(&id))?;
    let moment = |ms: i64| human::moment(u64::try_from(ms).unwrap_or(0));
    let detail = format!(
        "{id} is not here: it was known on {}, and the segments did not have it at the start of {}: it was lost, or \
         forgotten in between; put the segment files back from a copy, if there is one, and run `rebuild-index`",
        moment(loss.snapshot_taken_at_ms.unwrap_or(0)),
        moment(loss.at_ms)
    );
    Some(Problem::new(Kind::NotFound, detail))
}

/// How much the fragment cache holds
#[utoipa::path(
    get, path = "/v1/cache", operation_id = "cache", tag = "node",
    responses(
        (status = 200, description = "Its fragments, their bytes, and the bound", body = api::Cache),
    )
)]
pub(super) async fn cache(State(node): State<Arc<Node>>) -> Result<Json<api::Cache>, Problem> {
    Ok(Json(node.system.cache.usage().await?.into()))
}

fn behind(stripe: u32, index: u16) -> (u32, u16) {
    index.checked_add(1).map_or((stripe.saturating_add(1), 0), |index| (stripe, index))
}

const PAGE: u32 = 4096;
