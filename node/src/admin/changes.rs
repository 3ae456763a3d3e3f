//! What has happened between two looks at the actors and the storage.

use actors::supervision::ActorStatus;

use crate::api::Happening;

/// What was seen at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The actors, in the order in which they are started.
    pub(super) actors: Vec<ActorStatus>,
    /// The storage, if it was asked.
    pub(super) storage: Option<Fares>,
}

/// How the storage fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fares {
    /// Why nothing is written, if that is so.
    pub(super) read_only: Option<String>,
    /// Damaged fragments and documents that wait for their repair.
    pub(super) repairs_queued: u64,
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
    let blobs = repairs_queued.saturating_sub(before.repairs_queued);
    let damage = (blobs > 0).then_some(Happening::DamageFound { blobs, repairs_queued });
    writing.into_iter().chain(damage)
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
            storage: Some(Fares { read_only: read_only.map(str::to_owned), repairs_queued }),
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
        let damaged = |blobs, repairs_queued| Happening::DamageFound { blobs, repairs_queued };
        check(&fares(None, 0), &fares(Some("the disk is full"), 0), from_ref(&stopped));
        check(&fares(Some("the disk is full"), 0), &fares(Some("it still is"), 0), &[]);
        check(&fares(Some("the disk is full"), 0), &fares(None, 0), &[Happening::WritingWorks]);
        check(&fares(None, 1), &fares(None, 3), &[damaged(2, 3)]);
        check(&fares(None, 3), &fares(None, 1), &[]);
        check(&fares(None, 0), &fares(Some("the disk is full"), 1), &[stopped, damaged(1, 1)]);
        check(&Seen::default(), &fares(Some("the disk is full"), 1), &[]);
    }
}
