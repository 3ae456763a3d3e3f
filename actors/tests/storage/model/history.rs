//! Histories made by chance: operations, compactions, and every way in which a process or its disk can end.

use proptest::{collection::vec, prelude::*};

use super::{
    super::support::{index::Wal, node::End},
    run::CONTENTS,
    state::{Key, Op},
};

/// A life of a store.
#[derive(Debug, Clone)]
pub(super) struct History {
    pub(super) seed: u64,
    pub(super) synchronous_full: bool,
    pub(super) autocheckpoint_pages: u32,
    /// Of the smaller ones, the oldest must go for a few drops.
    pub(super) segment_bytes: u64,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Operations asked for at once.
    Together(Vec<Op>),
    /// The same during a compaction.
    Compact(Vec<Op>),
    /// Puts and drops of a fragment in turn: what ends older records piles up.
    Churn {
        key: Key,
        times: u8,
    },
    Checkpoint,
    Restart,
    /// A stop, and a start without the index.
    Rebuild,
    /// The actor falls, while operations are asked for.
    Panic(Vec<Op>),
    /// The end comes after so many more calls of the disk, while operations are asked for.
    End {
        end: End,
        after: u8,
        ops: Vec<Op>,
        compacts: bool,
        index_goes: bool,
    },
}

pub(super) fn history() -> impl Strategy<Value = History> {
    let pages = prop_oneof![Just(4_u32), Just(40), Just(1000)];
    let segment_bytes = prop_oneof![Just(2_u64 << 10), Just(16 << 10)];
    (any::<u64>(), any::<bool>(), pages, segment_bytes, vec(step(), 1..24)).prop_map(
        |(seed, synchronous_full, autocheckpoint_pages, segment_bytes, steps)| History {
            seed,
            synchronous_full,
            autocheckpoint_pages,
            segment_bytes,
            steps,
        },
    )
}

/// All tesserae that operations may name.
pub(super) fn tesseras() -> impl Iterator<Item = u8> {
    (1..=TESSERAS).chain(SESSIONS..SESSIONS + TESSERAS)
}

/// All fragments that operations may name.
pub(super) fn keys() -> impl Iterator<Item = Key> {
    tesseras().flat_map(|tessera| (0..STRIPES).map(move |stripe| (tessera, stripe)))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => ops().prop_map(Step::Together),
        3 => ops().prop_map(Step::Compact),
        2 => (key(), 1..30_u8).prop_map(|(key, times)| Step::Churn { key, times }),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
        1 => Just(Step::Rebuild),
        1 => ops().prop_map(Step::Panic),
        4 => (end(), 0..40_u8, ops(), any::<bool>(), prop::bool::weighted(0.2)).prop_map(
            |(end, after, ops, compacts, index_goes)| Step::End { end, after, ops, compacts, index_goes }
        ),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        Just(End::Killed),
        prop_oneof![Just(Wal::All), Just(Wal::Least), Just(Wal::Some)].prop_map(End::PowerCut),
    ]
}

/// Operations of which the outcome does not depend on how they overlap: what takes more than one request has its
/// tessera to itself.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    vec(op(), 0..10).prop_map(|ops| {
        let alone = |op: &Op| matches!(op, Op::Session { .. } | Op::Forget { .. });
        let mut kept: Vec<Op> = Vec::new();
        for op in ops {
            let same = |other: &Op| other.tessera() == op.tessera();
            let clashes = kept.iter().any(|other| same(other) && (alone(other) || alone(&op)));
            if !clashes {
                kept.push(op);
            }
        }
        kept
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..2_u8, key(), 0..CONTENTS, any::<bool>())
            .prop_map(|(account, key, content, laid_out)| Op::Put { account, key, content, laid_out }),
        8 => (0..2_u8, key()).prop_map(|(account, key)| Op::Drop { account, key }),
        2 => (SESSIONS..SESSIONS + TESSERAS, vec(0..CONTENTS, 1..4), prop::bool::weighted(0.7))
            .prop_map(|(tessera, contents, commits)| Op::Session { tessera, contents, commits }),
        1 => key().prop_map(|(tessera, _)| Op::Forget { tessera }),
    ]
}

fn key() -> impl Strategy<Value = Key> {
    (prop_oneof![1..=TESSERAS, SESSIONS..SESSIONS + TESSERAS], 0..STRIPES)
}

const TESSERAS: u8 = 2;
const STRIPES: u32 = 3;
/// The first tessera that sessions make.
const SESSIONS: u8 = 11;
