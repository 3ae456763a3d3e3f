//! Years: one world, some tesserae published when it begins, in every layout, and what becomes of them hour by hour.

use std::thread;

use crate::{
    chance::{Chance, DAY, HOUR, Minute, YEAR},
    climate::Climate,
    holding::{Holding, Moment, SWEEP},
    mending::{Budget, Mending, Turn, author_is_there, needs_mending},
    scheme::Scheme,
    tessera::Tessera,
    world::World,
};

/// How much is simulated.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) climate: Climate,
    pub(crate) machines: usize,
    pub(crate) tesseras: usize,
    pub(crate) years: u32,
    /// Each has its own machines and events.
    pub(crate) worlds: usize,
    pub(crate) seed: u64,
}

/// What became of the tesserae of one world in one layout.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) tesseras: usize,
    /// When each was lost of those that were.
    pub(crate) lost: Vec<Minute>,
    /// How often a fragment that was alive was found not to be so any more.
    pub(crate) missed: u64,
    /// Fragments that repair made again.
    pub(crate) rebuilt: u64,
    /// Fragments that repair fetched for that, and those that it made.
    pub(crate) moved: u64,
    /// The most that were moved on one day, and the most that might have been.
    pub(crate) moved_day_max: u64,
    pub(crate) budget: u64,
    /// Sweeps of tesserae that were not lost.
    pub(crate) sweeps: u64,
}

/// The tallies of each world, by scheme.
pub(crate) fn simulate(extent: &Extent, schemes: &[Scheme]) -> Vec<Vec<Tally>> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(extent.worlds);
    let share = |first: usize| {
        let worlds = (first..extent.worlds).step_by(threads);
        worlds.map(|world| (world, one_world(extent, schemes, world))).collect::<Vec<_>>()
    };
    let mut done: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|first| scope.spawn(move || share(first))).collect();
        running.into_iter().flat_map(|one| one.join().unwrap()).collect()
    });
    done.sort_by_key(|(world, _)| *world);
    done.into_iter().map(|(_, tallies)| tallies).collect()
}

fn one_world(extent: &Extent, schemes: &[Scheme], world: usize) -> Vec<Tally> {
    let seed = extent.seed.wrapping_mul(1_000_003).wrapping_add(world as u64);
    let mut world = World::new(extent.climate, extent.machines, extent.years, seed);
    let mut chance = Chance::new(!seed);
    let mut tesseras: Vec<_> = (0..extent.tesseras).map(|_| Tessera::new(&world, &mut chance)).collect();
    // Each has its own chance, so that a layout fares the same whatever it is compared with.
    let publish = |(at, scheme): (usize, &Scheme)| {
        let chance = Chance::new(!seed ^ ((1 + at as u64) << 32));
        Kept::publish(Moment { scheme, world: &world, now: 0 }, &tesseras, chance)
    };
    let mut all: Vec<_> = schemes.iter().enumerate().map(publish).collect();
    let mut known = world.machines_ever();
    for hour in 0..=extent.years * (YEAR / HOUR) {
        let now = hour * HOUR;
        world.advance(now);
        if known < world.machines_ever() {
            tesseras.iter_mut().for_each(|tessera| tessera.meet(&world, known, &mut chance));
            known = world.machines_ever();
        }
        for (kept, scheme) in all.iter_mut().zip(schemes) {
            kept.hour(Moment { scheme, world: &world, now }, &mut tesseras);
        }
    }
    all.into_iter().map(Kept::finish).collect()
}

/// All tesserae in one layout.
struct Kept {
    tesseras: Vec<One>,
    /// Those that wait for somebody's turn.
    waiting: Vec<usize>,
    budget: Budget,
    chance: Chance,
    tally: Tally,
}

struct One {
    holding: Holding,
    mending: Option<Mending>,
    lost: bool,
}

impl Kept {
    fn publish(at: Moment, tesseras: &[Tessera], mut chance: Chance) -> Self {
        let publish =
            |tessera| One { holding: Holding::publish(at, tessera, &mut chance), mending: None, lost: false };
        let kept: Vec<_> = tesseras.iter().map(publish).collect();
        // That of all machines together: a sample of tesserae is too thin to charge single ones.
        let width = at.scheme.width() as u64;
        let budget =
            (kept.len() as u64 * width * BUDGET_PERCENT_PER_DAY / 100).max(width * BUDGET_REPAIRS_MIN);
        let tally = Tally { tesseras: kept.len(), budget, ..Tally::default() };
        Self { tesseras: kept, waiting: Vec::new(), budget: Budget(budget), chance, tally }
    }

    fn hour(&mut self, at: Moment, tesseras: &mut [Tessera]) {
        if at.now.is_multiple_of(DAY) {
            self.budget = Budget(self.tally.budget);
        }
        // Each has its own hour of the day.
        let hours = (SWEEP / HOUR) as usize;
        for number in ((at.now / HOUR) as usize % hours..tesseras.len()).step_by(hours) {
            self.sweep(at, number, &tesseras[number]);
        }
        for number in std::mem::take(&mut self.waiting) {
            self.turn(at, number, &mut tesseras[number]);
        }
        self.tally.moved_day_max = self.tally.moved_day_max.max(self.tally.budget - self.budget.0);
    }

    fn sweep(&mut self, at: Moment, number: usize, tessera: &Tessera) {
        let one = &mut self.tesseras[number];
        if one.lost {
            return;
        }
        self.tally.sweeps += 1;
        one.lost = !author_is_there(at.now) && one.holding.is_lost(at);
        if one.lost {
            one.mending = None;
            self.tally.lost.push(at.now);
        } else if at.scheme.mends {
            let alive = one.holding.attest(at);
            if !needs_mending(at.scheme, alive) {
                one.mending = None;
            } else if one.mending.is_none() {
                one.mending = Some(Mending::begin(at, tessera, &one.holding));
                self.waiting.push(number);
            }
        }
    }

    fn turn(&mut self, at: Moment, number: usize, tessera: &mut Tessera) {
        let one = &mut self.tesseras[number];
        let Some(mending) = &mut one.mending else { return };
        match mending.due() {
            None => one.mending = None,
            Some(due) if due > at.now => self.waiting.push(number),
            Some(_) => {
                match mending.turn(at, tessera, &mut one.holding, &mut self.budget, &mut self.chance) {
                    Turn::Next => self.waiting.push(number),
                    Turn::Enough => one.mending = None,
                    Turn::Mended { moved, rebuilt } => {
                        one.mending = None;
                        self.tally.moved += moved;
                        self.tally.rebuilt += rebuilt;
                    }
                }
            }
        }
    }

    fn finish(mut self) -> Tally {
        self.tally.missed = self.tesseras.iter().map(|one| one.holding.missed).sum();
        self.tally
    }
}

/// What repair may move in a day, of all that is stored.
const BUDGET_PERCENT_PER_DAY: u64 = 2;
/// So many tesserae can be mended in a day, however few the sample has.
const BUDGET_REPAIRS_MIN: u64 = 2;
