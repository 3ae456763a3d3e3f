//! What a batch needs to know of the index before it is decided.

use std::collections::{HashMap, HashSet};

use proto::{AccountId, Checksum, TesseraId, record::DocumentKind};
use sqlx::SqliteConnection;

use super::{
    facts::{self, Need},
    ops::{Op, Submission},
    rows::DocumentKey,
    view::View,
};
use crate::error::ActorError;

/// Rows of tesserae that were read for a batch, beside those that are now in the view.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// Documents of each tessera that may go.
    pub(crate) documents: HashMap<TesseraId, Vec<(DocumentKind, Checksum)>>,
    /// Some deposits of each tessera to be purged.
    pub(crate) deposits: HashMap<TesseraId, Vec<Need>>,
}

/// Loads the rows that a batch needs into the view.
pub(crate) async fn load(
    connection: &mut SqliteConnection,
    view: &mut View,
    batch: &[Submission],
) -> Result<Extra, ActorError> {
    view.forget_loaded();
    let mut needs: Vec<Need> = Vec::with_capacity(batch.len());
    let mut documents = Vec::<DocumentKey>::new();
    let mut invites = Vec::new();
    let mut extra = Extra::default();
    for Submission { op, .. } in batch {
        op.needs(&mut needs);
        op.documents(&mut documents);
        op.invites(&mut invites);
        match op {
            Op::Purge { tessera } => {
                let deposits = facts::deposits_of(connection, *tessera, PURGE_DEPOSITS_MAX).await?;
                needs.extend_from_slice(&deposits);
                extra.deposits.insert(*tessera, deposits);
            }
            Op::Commit { tessera, .. } => facts::load_tessera(connection, view, *tessera).await?,
            _ => {}
        }
    }
    facts::load(connection, view, &needs).await?;
    // Fragments of one tessera come with the same documents.
    let documents: HashSet<_> = documents.into_iter().collect();
    let loaded: HashSet<_> = needs.iter().map(|need| need.fragment.tessera).collect();
    facts::load_documents(connection, view, &documents.iter().copied().collect::<Vec<_>>()).await?;
    for tessera in documents.iter().map(|(tessera, ..)| *tessera).collect::<HashSet<_>>() {
        if !loaded.contains(&tessera) {
            facts::load_tessera(connection, view, tessera).await?;
        }
    }
    for token in invites {
        facts::load_invite(connection, view, token).await?;
    }
    for tessera in may_go(view, batch) {
        let mut found = facts::load_documents_of(connection, view, tessera).await?;
        let in_flight = view.documents.in_flight().filter(|(of, ..)| *of == tessera);
        found.extend(in_flight.map(|(_, kind, hash)| (*kind, *hash)));
        extra.documents.insert(tessera, found);
    }
    Ok(extra)
}

/// The tesserae of which nothing may be left after the batch: those to be purged, and those of which some account
/// drops as many fragments as it holds. It may put some of these in the same batch.
fn may_go(view: &View, batch: &[Submission]) -> HashSet<TesseraId> {
    let mut drops = HashMap::<(AccountId, TesseraId), u64>::new();
    let mut tesseras = HashSet::new();
    for Submission { op, .. } in batch {
        match op {
            Op::Drop { account, id } => *drops.entry((*account, id.tessera)).or_default() += 1,
            Op::Purge { tessera } => {
                tesseras.insert(*tessera);
            }
            _ => {}
        }
    }
    let all = drops
        .iter()
        .filter(|(key, drops)| view.holdings.get(key).map_or(0, |held| held.fragments) <= **drops);
    tesseras.extend(all.map(|((_, tessera), _)| *tessera));
    tesseras
}

const PURGE_DEPOSITS_MAX: u32 = 256;
