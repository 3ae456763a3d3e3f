//! Reads a store as a whole and compares it with what it has promised.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use actors::{
    ActorError, FragmentStore, System,
    storage::{BlobState, Report, StorageHandle, Totals},
};
use proto::{Checksum, FragmentId, TesseraId};
use serde::{Deserialize, Serialize};

use crate::{
    content::{DOCUMENT_KINDS, document, tessera_id},
    ledger::{Bounds, Ledger},
};

/// What a store was found to be after its start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Opening {
    /// What it is known to hold now.
    pub ledger: Ledger,
    /// Records that its recovery read.
    pub records: u64,
    /// Whether its index was made anew.
    pub rebuilt: bool,
    /// Bytes in segments.
    pub segment_bytes: u64,
    /// Bytes of records in them that count.
    pub live_bytes: u64,
}

/// Reads all of a store. Gives every promise that is broken.
pub async fn inspect(system: &System, mut ledger: Ledger, created: &[u32]) -> Result<Opening, Vec<String>> {
    let storage = &system.storage;
    let mut faults = Vec::new();
    let found = everything(storage, &mut faults).await.map_err(|error| vec![error.to_string()])?;
    faults.extend(ledger.settle(&found));
    let there: BTreeSet<TesseraId> = found.keys().map(|id| id.tessera).collect();
    for tessera in created {
        check_documents(storage, *tessera, there.contains(&tessera_id(*tessera)), &mut faults).await;
    }
    let usage = usage_within(storage, ledger.bounds(), &mut faults).await?;
    if usage.totals.jobs > 0 {
        faults.push(format!("{} repairs are queued", usage.totals.jobs));
    }
    faults.extend(recovery_faults(&usage.recovery));
    let Report { records, rebuilt, .. } = usage.recovery;
    let totals = usage.totals;
    let opening = Opening {
        ledger,
        records,
        rebuilt,
        segment_bytes: totals.segment_bytes,
        live_bytes: totals.live_bytes,
    };
    if faults.is_empty() { Ok(opening) } else { Err(faults) }
}

/// A crash damages nothing and takes no segment away.
fn recovery_faults(report: &Report) -> Vec<String> {
    let damage = report.damage.iter().map(|damage| format!("the recovery reports {damage:?}"));
    let lost =
        report.lost_segments.iter().map(|id| format!("the recovery misses segment {id} or a part of it"));
    damage.chain(lost).collect()
}

/// Every fragment with its checksum, all of them read and hashed.
async fn everything(
    storage: &StorageHandle,
    faults: &mut Vec<String>,
) -> Result<BTreeMap<FragmentId, Checksum>, ActorError> {
    let mut found = BTreeMap::new();
    let mut next = Some(tessera_id(0));
    while let Some(from) = next {
        let rows = storage.records().tesseras(from, tessera_id(u32::MAX), PAGE).await?;
        next = rows.last().and_then(|last| after(last.id));
        for row in rows {
            fragments(storage, row.id, &mut found, faults).await?;
            if !storage.checksums_door().add_up(row.id).await? {
                faults.push(format!("the rows of {} do not add up to its digest", row.id));
            }
        }
    }
    Ok(found)
}

async fn fragments(
    storage: &StorageHandle,
    tessera: TesseraId,
    found: &mut BTreeMap<FragmentId, Checksum>,
    faults: &mut Vec<String>,
) -> Result<(), ActorError> {
    let mut from = (0, 0);
    loop {
        let rows = storage.checksums(tessera, from, PAGE).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        from = (last.stripe, last.index + 1);
        for row in rows {
            let id = FragmentId { tessera, stripe: row.stripe, index: row.index };
            found.insert(id, row.checksum);
            match storage.get(id).await {
                Ok(fragment) if fragment.checksum() == row.checksum && row.state == BlobState::Ok => {}
                Ok(_) => faults.push(format!("{id}: {row:?}, but other bytes are served")),
                Err(error) => faults.push(format!("{id}: {row:?}, but {error}")),
            }
        }
    }
}

/// The documents of a tessera are there exactly if it is.
async fn check_documents(storage: &StorageHandle, tessera: u32, there: bool, faults: &mut Vec<String>) {
    for kind in DOCUMENT_KINDS {
        match storage.document(tessera_id(tessera), kind, None).await {
            Ok(bytes) if there && bytes == document(tessera, kind) => {}
            Err(ActorError::NotFound { .. }) if !there => {}
            other => faults.push(format!("tessera {tessera} is there: {there}, its {kind:?}: {other:?}")),
        }
    }
}

/// The usage, as soon as what counts nowhere is taken back.
async fn usage_within(
    storage: &StorageHandle,
    bounds: Bounds,
    faults: &mut Vec<String>,
) -> Result<actors::storage::Usage, Vec<String>> {
    let deadline = Instant::now() + PURGE_DEADLINE;
    let within = |totals: &Totals| {
        let inside = |[low, high]: [u64; 2], value: u64| (low..=high).contains(&value);
        inside(bounds.fragments, totals.fragments) && inside(bounds.bytes, totals.fragment_bytes)
    };
    loop {
        let usage = storage.usage().await.map_err(|error| vec![error.to_string()])?;
        if within(&usage.totals) {
            return Ok(usage);
        }
        if Instant::now() > deadline {
            faults.push(format!("{:?} instead of {bounds:?}", usage.totals));
            return Ok(usage);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn after(id: TesseraId) -> Option<TesseraId> {
    let number = u32::from_be_bytes(*id.as_bytes().first_chunk()?);
    number.checked_add(1).map(tessera_id)
}

const PAGE: u32 = 1000;
/// How long leftovers of sessions may take to be taken back.
const PURGE_DEADLINE: Duration = Duration::from_secs(20);
