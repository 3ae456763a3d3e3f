//! What is looked at while somebody follows the events: how storage and verifying fare, and what is damaged.

use std::{collections::BTreeSet, path::Path};

use actors::{
    System,
    scrub::{Mode, ScrubStatus},
    storage::{NAME, Report, SNAPSHOTS_FOLDER, Usage, is_snapshot},
};
use proto::TesseraId;

use super::changes::{Fares, Rebuilt, Verifies};

/// How they fare; `None` while one of them restarts, as there is nobody to ask.
pub(super) async fn fares(system: &System, data_dir: &Path) -> Option<Fares> {
    let Usage { read_only, totals, recovery, .. } = system.storage.usage().await.ok()?;
    let ScrubStatus { mode, findings, .. } = system.scrub.status().await.ok()?;
    let standing = system.standing.borrow().actors.clone();
    let restarts = standing.iter().find(|actor| actor.name == NAME).map_or(0, |actor| actor.restarts);
    Some(Fares {
        read_only,
        repairs_queued: totals.jobs,
        verifies: verifies(mode),
        findings,
        snapshot: newest_snapshot(data_dir).await,
        rebuilt: recovery.rebuilt.then(|| rebuilt(restarts, &recovery)),
    })
}

/// The tesserae of the damaged bytes that were queued last, so many of these. All fragments are looked at for it, so it is
/// done only when there are new ones.
pub(super) async fn damaged(system: &System, blobs: u64) -> Vec<TesseraId> {
    let mut jobs = system.storage.jobs(JOBS_MAX).await.unwrap_or_default();
    if jobs.len() >= JOBS_MAX as usize {
        // The newest may not be among them, and others are not to be named for them.
        return Vec::new();
    }
    jobs.sort_by_key(|job| std::cmp::Reverse(job.queued_at_ms));
    let newest = jobs.iter().take(usize::try_from(blobs).unwrap_or(usize::MAX));
    let tesseras: BTreeSet<_> = newest
        .flat_map(|job| {
            let fragments = job.fragments.iter().map(|id| id.tessera);
            fragments.chain(job.documents.iter().map(|(tessera, _)| *tessera))
        })
        .collect();
    tesseras.into_iter().take(TESSERAS_MAX).collect()
}

fn verifies(mode: Mode) -> Verifies {
    match mode {
        Mode::Idle => Verifies::Nothing,
        Mode::Verifying | Mode::Resting | Mode::GivingWay => Verifies::Now,
        Mode::QuietHours | Mode::Paused | Mode::Failing => Verifies::Later,
    }
}

fn rebuilt(restarts: u64, report: &Report) -> Rebuilt {
    Rebuilt {
        restarts,
        records: report.records,
        damaged_places: report.damage.len() as u64,
        lost_segments: report.lost_segments.len() as u64,
    }
}

/// By its name, which begins with when it was taken.
async fn newest_snapshot(data_dir: &Path) -> Option<String> {
    let mut entries = tokio::fs::read_dir(data_dir.join(SNAPSHOTS_FOLDER)).await.ok()?;
    let mut newest = None;
    while let Ok(Some(entry)) = entries.next_entry().await {
        newest = newest.max(entry.file_name().into_string().ok().filter(|name| is_snapshot(name)));
    }
    newest
}

/// Of those that wait, the ones that have waited longest are listed.
const JOBS_MAX: u32 = 1000;
/// An event stays short, however much is damaged.
const TESSERAS_MAX: usize = 16;
