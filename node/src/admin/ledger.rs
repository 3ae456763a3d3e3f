//! `/v1/ledger`: what is kept here for whom, and what others have signed to keep.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use actors::{ActorError, conn_pool::PeerBook, storage::LedgerRow};
use axum::{Json, extract::State};
use config::Hold;
use proto::{AuthorId, NodeId};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Node, extract::InQuery};
use crate::{
    api,
    ledger::{Account, Granted, Machine},
    problem::Problem,
    schema,
};

/// Which accounts to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// From this author on.
    #[param(value_type = Option<schema::AuthorId>)]
    from: Option<AuthorId>,
    /// At most so many.
    limit: Option<u32>,
}

/// What is kept here for whom, and what they keep of this node's; the others in the order of their ids
#[utoipa::path(
    get, path = "/v1/ledger", operation_id = "ledger", tag = "nodes",
    params(Which),
    responses(
        (status = 200, description = "This node's own, one page of the others, and what they all come to", body = api::Ledger),
    )
)]
pub(super) async fn ledger(
    State(node): State<Arc<Node>>,
    InQuery(which): InQuery<Which>,
) -> Result<Json<api::Ledger>, Problem> {
    let limit = which.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let us = node.keys.author.id();
    let known = Known::of(&node).await?;
    let mut rows = node.system.storage.records().ledger(us, which.from, limit.saturating_add(1)).await?;
    let mut next = if rows.accounts.len() > limit as usize { rows.accounts.pop() } else { None };
    let mut ledger = api::Ledger::new(us, known.machines(us), &rows);
    let mut bytes = 0;
    for row in rows.accounts {
        let account = Account::new(&row, known.machines(row.author), known.granted(&node, &row));
        bytes += serde_json::to_vec(&account).map_or(0, |text| text.len());
        if bytes > PAGE_BYTES_MAX && !ledger.accounts.is_empty() {
            next = Some(row);
            break;
        }
        ledger.accounts.push(account);
    }
    ledger.next = next.map(|row| row.author);
    Ok(Json(ledger))
}

/// Who acts for whom, and what may be kept for them.
struct Known {
    book: Arc<PeerBook>,
    machines: HashMap<AuthorId, Vec<Machine>>,
}

impl Known {
    async fn of(node: &Node) -> Result<Self, ActorError> {
        let rows = node.system.storage.records().peers().await?;
        let mut names: BTreeMap<NodeId, Option<String>> =
            rows.into_iter().map(|row| (row.node, row.name)).collect();
        let book = node.system.peers.book();
        let mut machines = HashMap::<_, Vec<_>>::new();
        for (id, peer) in &book.peers {
            let machine = Machine { node: *id, name: names.remove(id).flatten() };
            if let Some(author) = peer.author {
                machines.entry(author).or_default().push(machine);
            }
        }
        Ok(Self { book, machines })
    }

    fn machines(&self, author: AuthorId) -> Vec<Machine> {
        self.machines.get(&author).cloned().unwrap_or_default()
    }

    fn granted(&self, node: &Node, row: &LedgerRow) -> Granted {
        let granted = self.book.allowance(row.author, node.network.max_storage_per_peer_bytes);
        let as_stranger = || self.book.stranger_allowance(&node.network, row.ours.charged());
        Granted {
            bytes: granted.or_else(as_stranger).unwrap_or_default(),
            is_strange: granted.is_none(),
            holds: node.network.hold != Hold::None,
        }
    }
}

/// The most accounts in one page.
const PAGE_MAX: u32 = 100;
/// A page ends before it is longer than this, in bytes, but for the first of its accounts.
const PAGE_BYTES_MAX: usize = 64 << 10;
