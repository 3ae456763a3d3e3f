//! What has happened between two looks at the actors and the storage.

use std::cmp::Ordering;

use actors::{scrub::Findings, supervision::ActorStatus};

use crate::api::Happening;

/// What was seen at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The actors, in the order in which they are started.
    pub(super) actors: Vec<ActorStatus>,
    /// The storage, if it was asked.
    pub(super) storage: Option<Fares>,
}

/// How the storage and verifying fare.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fares {
    /// Why nothing is written, if that is so.
    pub(super) read_only: Option<String>,
    /// Damaged fragments and documents that wait for their repair.
    pub(super) repairs_queued: u64,
    /// Whether anything that is due is being verified.
    pub(super) verifies: Verifies,
    /// What was found since the daemon was started.
    pub(super) findings: Findings,
    /// The newest snapshot of what only the index knows.
    pub(super) snapshot: Option<String>,
    /// The index, if it was made anew when storage was started last.
    pub(super) rebuilt: Option<Rebuilt>,
}

/// Whether anything is being verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Verifies {
    /// Nothing is due.
    #[default]
    Nothing,
    /// Something is, and is read in bursts.
    Now,
    /// Something may be, and has to wait.
    Later,
}

/// An index that was made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rebuilt {
    /// How often storage had been started again by then.
    pub(super) restarts: u64,
    pub(super) records: u64,
    pub(super) damaged_places: u64,
    pub(super) lost_segments: u64,
}

/// What happened meanwhile.
pub(super) fn changes(before: &Seen, after: &Seen) -> Vec<Happening> {
    let was = |name: &str| before.actors.iter().find(|actor| actor.name == name);
    let known = after.actors.iter().filter_map(|actor| Some((was(actor.name)?, actor)));
    let mut changes: Vec<_> = known.flat_map(|(before, after)| actor(before, after)).collect();
    if let (Some(before), Some(after)) = (&before.storage, &after.storage) {
        changes.extend(storage(before, after));
    }
    changes
}

fn actor(before: &ActorStatus, after: &ActorStatus) -> impl Iterator<Item = Happening> {
    // One that falls and runs again in between was seen running both times; one that is started again because somebody
    // asked for it has not fallen.
    let fell = after.last_fall_ms.is_some_and(|at_ms| before.last_fall_ms != Some(at_ms));
    let runs = after.running && (!before.running || after.restarts > before.restarts);
    let name = after.name;
    let reason = after.last_fall.clone().unwrap_or_default();
    let fell = fell.then(|| Happening::ActorFell { actor: name.to_owned(), reason });
    let runs = runs.then(|| Happening::ActorRestarted { actor: name.to_owned(), restarts: after.restarts });
    fell.into_iter().chain(runs)
}

fn storage(before: &Fares, after: &Fares) -> impl Iterator<Item = Happening> + use<> {
    let writing = match (&before.read_only, &after.read_only) {
        (None, Some(reason)) => Some(Happening::WritingStopped { reason: reason.clone() }),
        (Some(_), None) => Some(Happening::WritingWorks),
        _ => None,
    };
    let repairs_queued = after.repairs_queued;
    let damage = match repairs_queued.cmp(&before.repairs_queued) {
        Ordering::Greater => Some(Happening::DamageFound {
            blobs: repairs_queued - before.repairs_queued,
            repairs_queued,
            tesseras: Vec::new(),
        }),
        Ordering::Less => {
            Some(Happening::DamageGone { blobs: before.repairs_queued - repairs_queued, repairs_queued })
        }
        Ordering::Equal => None,
    };
    let snapshot = after.snapshot.clone().filter(|_| after.snapshot != before.snapshot);
    let snapshot = snapshot.map(|file| Happening::SnapshotTaken { file });
    [rebuilt(before, after), writing, damage, snapshot, verified(before, after)].into_iter().flatten()
}

fn rebuilt(before: &Fares, after: &Fares) -> Option<Happening> {
    let Rebuilt { records, damaged_places, lost_segments, .. } =
        after.rebuilt.filter(|_| after.rebuilt != before.rebuilt)?;
    Some(Happening::IndexRebuilt { records, damaged_places, lost_segments })
}

/// A little is verified in less time than passes between two looks: then more was read, and nothing is due.
fn verified(before: &Fares, after: &Fares) -> Option<Happening> {
    let findings = after.findings;
    let has_read = before.verifies == Verifies::Now || findings.bytes > before.findings.bytes;
    (after.verifies == Verifies::Nothing && has_read).then_some(Happening::ScrubFinished {
        verified_bytes: findings.bytes,
        damaged: findings.blobs + findings.documents,
        mended_records: findings.mended,
    })
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn cache(running: bool, restarts: u64) -> Seen {
        let last_fall = (restarts > 0).then(|| "it panicked".to_owned());
        let last_fall_ms = last_fall.as_ref().map(|_| i64::try_from(restarts).unwrap());
        let actor = ActorStatus { name: "cache", running, restarts, last_fall, last_fall_ms };
        Seen { actors: vec![actor], storage: None }
    }

    fn fares(read_only: Option<&str>, repairs_queued: u64) -> Seen {
        Seen {
            storage: Some(Fares {
                read_only: read_only.map(str::to_owned),
                repairs_queued,
                ..Fares::default()
            }),
            ..Seen::default()
        }
    }

    #[track_caller]
    fn check(before: &Seen, after: &Seen, expected: &[Happening]) {
        assert_eq!(changes(before, after), expected, "{before:?} {after:?}");
    }

    #[test]
    fn actor_that_fell_or_runs_again_is_told() {
        let fell = Happening::ActorFell { actor: "cache".into(), reason: "it panicked".into() };
        let runs = |restarts| Happening::ActorRestarted { actor: "cache".into(), restarts };
        check(&Seen::default(), &cache(true, 0), &[]);
        check(&cache(true, 0), &cache(true, 0), &[]);
        check(&cache(true, 0), &cache(false, 1), from_ref(&fell));
        check(&cache(false, 1), &cache(false, 1), &[]);
        check(&cache(false, 1), &cache(true, 1), &[runs(1)]);
        check(&cache(true, 1), &cache(true, 2), &[fell, runs(2)]);
        let mut asked = cache(true, 2);
        asked.actors[0].last_fall_ms = Some(1);
        check(&cache(true, 1), &asked, &[runs(2)]);
    }

    #[test]
    fn storage_that_stops_works_again_or_is_damaged_is_told() {
        let stopped = Happening::WritingStopped { reason: "the disk is full".into() };
        let tesseras = Vec::new;
        let damaged =
            |blobs, repairs_queued| Happening::DamageFound { blobs, repairs_queued, tesseras: tesseras() };
        check(&fares(None, 0), &fares(Some("the disk is full"), 0), from_ref(&stopped));
        check(&fares(Some("the disk is full"), 0), &fares(Some("it still is"), 0), &[]);
        check(&fares(Some("the disk is full"), 0), &fares(None, 0), &[Happening::WritingWorks]);
        check(&fares(None, 1), &fares(None, 3), &[damaged(2, 3)]);
        let gone = Happening::DamageGone { blobs: 2, repairs_queued: 1 };
        check(&fares(None, 3), &fares(None, 1), &[gone]);
        check(&fares(None, 0), &fares(Some("the disk is full"), 1), &[stopped, damaged(1, 1)]);
        check(&Seen::default(), &fares(Some("the disk is full"), 1), &[]);
    }

    fn fares_so(change: impl FnOnce(&mut Fares)) -> Seen {
        let mut fares = Fares::default();
        change(&mut fares);
        Seen { storage: Some(fares), ..Seen::default() }
    }

    #[test]
    fn end_of_verifying_is_told_however_short_it_was() {
        let scrub = |verifies, bytes| {
            let findings = Findings { bytes, blobs: 1, documents: 1, mended: 1 };
            fares_so(|fares| (fares.verifies, fares.findings) = (verifies, findings))
        };
        let finished =
            |verified_bytes| Happening::ScrubFinished { verified_bytes, damaged: 2, mended_records: 1 };
        check(&scrub(Verifies::Nothing, 1), &scrub(Verifies::Now, 2), &[]);
        check(&scrub(Verifies::Now, 1), &scrub(Verifies::Now, 2), &[]);
        check(&scrub(Verifies::Now, 1), &scrub(Verifies::Later, 2), &[]);
        check(&scrub(Verifies::Now, 2), &scrub(Verifies::Nothing, 2), &[finished(2)]);
        check(&scrub(Verifies::Nothing, 2), &scrub(Verifies::Nothing, 3), &[finished(3)]);
        check(&scrub(Verifies::Nothing, 3), &scrub(Verifies::Nothing, 3), &[]);
    }

    #[test]
    fn snapshot_and_index_made_anew_are_told_once() {
        let kept = |name: &str| fares_so(|fares| fares.snapshot = Some(name.to_owned()));
        let taken = |file: &str| Happening::SnapshotTaken { file: file.to_owned() };
        check(&fares(None, 0), &kept("1.db"), &[taken("1.db")]);
        check(&kept("1.db"), &kept("1.db"), &[]);
        check(&kept("1.db"), &kept("2.db"), &[taken("2.db")]);
        check(&kept("1.db"), &fares(None, 0), &[]);
        let anew = |restarts| {
            let rebuilt = Rebuilt { restarts, records: 7, damaged_places: 1, lost_segments: 0 };
            fares_so(|fares| fares.rebuilt = Some(rebuilt))
        };
        let told = Happening::IndexRebuilt { records: 7, damaged_places: 1, lost_segments: 0 };
        check(&fares(None, 0), &anew(1), from_ref(&told));
        check(&anew(1), &anew(1), &[]);
        check(&anew(1), &anew(2), &[told]);
        check(&anew(2), &fares(None, 0), &[]);
    }
}
