//! Dropping what is kept of a tessera for somebody.

use futures::future;
use proto::{AccountId, FragmentId, TesseraId};

use crate::{
    error::ActorError,
    storage::{Side, StorageHandle},
    store::FragmentStore,
};

/// Drops all that is kept of a tessera for an account, from the store and from what is in front of it. How many fragments that
/// were. May be called again after it was interrupted.
pub(crate) async fn drop_for(
    storage: &StorageHandle,
    store: &impl FragmentStore,
    account: AccountId,
    tessera: TesseraId,
) -> Result<u64, ActorError> {
    let (mut from, mut dropped) = ((0, 0), 0);
    loop {
        let side = Side::Held(account);
        let page = storage.checksums_door().fragments_of(side, tessera, from, DROPS).await?;
        let last = page.last().map_or(from, |(stripe, index, _)| (*stripe, *index));
        from = (last.0, last.1.saturating_add(1));
        let drops = page.iter().map(|(stripe, index, _)| {
            let id = FragmentId { tessera, stripe: *stripe, index: *index };
            store.drop_fragment(account, id)
        });
        for outcome in future::join_all(drops).await {
            match outcome {
                Ok(()) => dropped += 1,
                // Somebody else was faster.
                Err(ActorError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if page.len() < DROPS as usize {
            return Ok(dropped);
        }
    }
}

/// Fragments dropped at a time: what one batch takes.
const DROPS: u32 = 256;
