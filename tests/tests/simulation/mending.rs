//! Mending: what is done about a tessera whose margin is too small, by the rules of [`proto::repair`].
//!
//! Whoever sweeps sees it; the author, while it is there, and those that hold something of it and are alive begin one after
//! another, each a grace later. Each asks all holders again, stops when enough have come back, and else fetches k fragments and
//! rebuilds only what is missing. A liar does nothing when it is its turn, nor does who is away or cannot fetch enough, or
//! when the day's budget is spent. The author has a full copy, and needs to fetch nothing.

use std::time::Duration;

use proto::repair::{begins_after, margin_wanted, repairers};

use crate::{
    chance::{Chance, DAY, Minute},
    holding::{Holding, Moment},
    scheme::{Scheme, WANTED},
    tessera::Tessera,
    world::Machine,
};

/// Those that will try, in turn.
pub(crate) struct Mending {
    since: Minute,
    order: Vec<Repairer>,
    rank: usize,
}

#[derive(Clone, Copy)]
enum Repairer {
    Author,
    Holder(Machine),
}

/// What became of a turn.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Enough fragments are there again.
    Enough,
    /// This one could not; the next one may.
    Next,
    /// It was mended: fragments fetched and rebuilt.
    Mended { moved: u64, rebuilt: u64 },
}

/// What may still be moved today, in fragments.
pub(crate) struct Budget(pub(crate) u64);

/// Whether so few indices are alive that something is to be done.
pub(crate) fn needs_mending(scheme: &Scheme, alive: usize) -> bool {
    let margin = i32::try_from(alive).unwrap() - i32::from(scheme.code.k());
    margin < margin_wanted(WANTED.survive, scheme.code.m())
}

impl Mending {
    pub(crate) fn begin(at: Moment, tessera: &Tessera, holding: &Holding) -> Self {
        let node = |machine: Machine| at.world.candidate(machine).node;
        let alive: Vec<_> = holding.alive(at.now).collect();
        let nodes: Vec<_> = alive.iter().map(|machine| node(*machine)).collect();
        let author = Some(tessera.author).filter(|_| author_is_there(at.now));
        let repairer = |id| {
            let holder = alive.iter().copied().find(|machine| node(*machine) == id);
            holder.map_or(Repairer::Author, Repairer::Holder)
        };
        let order = repairers(tessera.id, author.as_slice(), &nodes).into_iter().map(repairer).collect();
        Self { since: at.now, order, rank: 0 }
    }

    /// When the next one begins; `None` when all have had their turn.
    pub(crate) fn due(&self) -> Option<Minute> {
        let after = begins_after(self.rank, GRACE).as_secs() / 60;
        (self.rank < self.order.len()).then(|| self.since + u32::try_from(after).unwrap())
    }

    /// The turn of the one that is next, of which there is one.
    pub(crate) fn turn(
        &mut self,
        at: Moment,
        tessera: &mut Tessera,
        holding: &mut Holding,
        budget: &mut Budget,
        chance: &mut Chance,
    ) -> Turn {
        let repairer = self.order[self.rank];
        self.rank += 1;
        let able = match repairer {
            Repairer::Author => author_is_there(at.now),
            Repairer::Holder(machine) => at.world.up(machine) && at.world.keeps(machine),
        };
        if !able {
            return Turn::Next;
        }
        let alive = holding.attest(at);
        if !needs_mending(at.scheme, alive) {
            return Turn::Enough;
        }
        let fetched = match repairer {
            Repairer::Author => 0,
            Repairer::Holder(_) => usize::from(at.scheme.code.k()),
        };
        let missing = at.scheme.width() - alive;
        if holding.fetchable(at.world) < fetched || budget.0 < (fetched + missing) as u64 {
            return Turn::Next;
        }
        tessera.forget_gone(at.world);
        let rebuilt = holding.replace(at, tessera, chance);
        let moved = (fetched + rebuilt) as u64;
        budget.0 -= moved;
        Turn::Mended { moved, rebuilt: rebuilt as u64 }
    }
}

/// Whether the author still has its copy, and can be reached.
pub(crate) fn author_is_there(now: Minute) -> bool {
    now < AUTHOR_STAYS
}

/// After this time the author is never seen again.
const AUTHOR_STAYS: Minute = 30 * DAY;
const GRACE: Duration = Duration::from_secs(6 * 60 * 60);
