//! A holding: which machine keeps which index of a tessera, what is known of it, and what is true. One stripe stands for all.

use std::collections::{BTreeMap, BTreeSet};

use proto::{
    guarantee::Standing,
    ids::NodeId,
    placement::{self, Domain},
};

use crate::{
    chance::{Chance, DAY, Minute},
    scheme::{Scheme, Spread},
    tessera::Tessera,
    world::{Machine, World},
};

/// When a holding is looked at, and in which layout.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'a> {
    pub(crate) scheme: &'a Scheme,
    pub(crate) world: &'a World,
    pub(crate) now: Minute,
}

pub(crate) struct Holding {
    pub(crate) places: Vec<Place>,
    /// How often an index that was alive was found not to be so any more.
    pub(crate) missed: u64,
    /// Machines that could prove nothing. Each tessera finds them out for itself.
    liars: BTreeSet<Machine>,
    /// How many domains could be lost, truly, when it was last placed, and who kept something then.
    guarantee: Option<u16>,
    at_stake: Vec<Machine>,
}

/// Who keeps an index, and what is known of that.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) holder: Machine,
    /// When the holder has claimed it last, or has taken it.
    claimed: Minute,
    /// When a proof is asked of the holder.
    proof: Minute,
    /// Whether it could not give it.
    lied: bool,
    /// Whether it was found not to be alive.
    missed: bool,
}

impl Holding {
    /// As it is published: everybody takes what it is given.
    pub(crate) fn publish(at: Moment, tessera: &Tessera, chance: &mut Chance) -> Self {
        let mut holding = Self {
            places: Vec::new(),
            missed: 0,
            liars: BTreeSet::new(),
            guarantee: None,
            at_stake: Vec::new(),
        };
        let scheme = at.scheme;
        let holders = match scheme.spread {
            Spread::Apart => holding.apart(at, tessera, &vec![None; scheme.width()]),
            Spread::RoundRobin => {
                let mut first: Vec<_> = tessera.reachable(at.world).collect();
                tessera.rank(at.world, &mut first);
                first.truncate(scheme.machines);
                first.iter().copied().map(Some).cycle().take(scheme.width()).collect()
            }
        };
        let holders = holders.into_iter().map(|holder| holder.expect("a circle is large enough"));
        holding.places = holders.map(|holder| Place::new(holder, at.now, chance)).collect();
        holding.promise(at);
        holding
    }

    /// Asks every holder what it has, and says how many indices are alive. Whoever can be reached claims all that it was given,
    /// liars as well; a liar whose proof is due is found out.
    pub(crate) fn attest(&mut self, at: Moment) -> usize {
        for place in &mut self.places {
            if at.world.up(place.holder) {
                place.claimed = at.now;
                if at.now >= place.proof && !at.world.honest(place.holder) {
                    place.lied = true;
                    self.liars.insert(place.holder);
                }
            }
            let missed = !place.is_alive(at.now);
            self.missed += u64::from(missed && !place.missed);
            place.missed = missed;
        }
        self.alive(at.now).count()
    }

    /// The holders of what counts as alive.
    pub(crate) fn alive(&self, now: Minute) -> impl Iterator<Item = Machine> + '_ {
        self.places.iter().filter(move |place| place.is_alive(now)).map(|place| place.holder)
    }

    /// How many different fragments are there, be their holders away or not.
    pub(crate) fn kept(&self, world: &World) -> usize {
        self.places.iter().filter(|place| world.keeps(place.holder)).count()
    }

    /// How many different fragments can be had at once.
    pub(crate) fn fetchable(&self, world: &World) -> usize {
        self.places.iter().filter(|place| world.up(place.holder) && world.keeps(place.holder)).count()
    }

    /// Whether too few fragments are left, be their holders away or not.
    ///
    /// # Panics
    /// If no more domains were lost than the guarantee said.
    pub(crate) fn is_lost(&self, at: Moment) -> bool {
        let lost = self.kept(at.world) < usize::from(at.scheme.code.k());
        if lost && let Some(survives) = self.guarantee {
            let gone = self.at_stake.iter().filter(|machine| at.world.gone(**machine));
            let gone: BTreeSet<_> = gone.map(|machine| domain(at.world, *machine)).collect();
            assert!(gone.len() > usize::from(survives), "lost with {gone:?}, and {survives} were survived");
        }
        lost
    }

    /// Gives what is not alive to other holders, as far as there are any, and says how many fragments that are.
    pub(crate) fn replace(&mut self, at: Moment, tessera: &Tessera, chance: &mut Chance) -> usize {
        let alive = |place: &Place| place.is_alive(at.now).then_some(place.holder);
        let kept: Vec<_> = self.places.iter().map(alive).collect();
        let holders = match at.scheme.spread {
            Spread::Apart => self.apart(at, tessera, &kept),
            Spread::RoundRobin => self.one_for_one(at.world, tessera, &kept),
        };
        let mut rebuilt = 0;
        for ((place, kept), holder) in self.places.iter_mut().zip(kept).zip(holders) {
            if let (None, Some(holder)) = (kept, holder) {
                *place = Place::new(holder, at.now, chance);
                rebuilt += 1;
            }
        }
        self.promise(at);
        rebuilt
    }

    /// Holders as `fill` chooses them.
    fn apart(&self, at: Moment, tessera: &Tessera, kept: &[Option<Machine>]) -> Vec<Option<Machine>> {
        let world = at.world;
        let mut machines = self.willing(tessera, world);
        // Their domains count, also while they are away for an hour.
        machines.extend(kept.iter().flatten().copied().filter(|machine| !world.up(*machine)));
        let candidates: Vec<_> = machines.iter().map(|machine| world.candidate(*machine)).collect();
        let node = |machine: Machine| world.candidate(machine).node;
        let mut nodes: Vec<Option<NodeId>> = kept.iter().map(|holder| holder.map(node)).collect();
        placement::fill(tessera.id, &candidates, &mut nodes, at.scheme.code.k() == 1);
        let machine = |id: NodeId| machines.iter().copied().find(|machine| node(*machine) == id);
        kept.iter().zip(nodes).map(|(kept, node)| kept.or_else(|| node.and_then(machine))).collect()
    }

    /// For each holder that is missing the next one by rank, which gets all that it had.
    fn one_for_one(
        &self,
        world: &World,
        tessera: &Tessera,
        kept: &[Option<Machine>],
    ) -> Vec<Option<Machine>> {
        let mut willing = self.willing(tessera, world);
        willing.retain(|machine| !kept.contains(&Some(*machine)));
        tessera.rank(world, &mut willing);
        let mut next = willing.into_iter();
        let mut instead = BTreeMap::new();
        let mut choose = |place: &Place| *instead.entry(place.holder).or_insert_with(|| next.next());
        self.places.iter().zip(kept).map(|(place, kept)| kept.or_else(|| choose(place))).collect()
    }

    /// Those that may be given something.
    fn willing(&self, tessera: &Tessera, world: &World) -> Vec<Machine> {
        tessera.reachable(world).filter(|machine| !self.liars.contains(machine)).collect()
    }

    /// Remembers what must not be lost from now on.
    fn promise(&mut self, at: Moment) {
        let holders = self.places.iter().map(|place| place.holder);
        self.at_stake = holders.filter(|holder| at.world.keeps(*holder)).collect();
        self.guarantee = standing(at, self.at_stake.iter().copied()).survives;
    }
}

impl Place {
    fn new(holder: Machine, now: Minute, chance: &mut Chance) -> Self {
        Self { holder, claimed: now, proof: now + chance.before(PROVE_WITHIN), lied: false, missed: false }
    }

    /// Claimed within two sweeps, and by no known liar.
    fn is_alive(&self, now: Minute) -> bool {
        now - self.claimed < 2 * SWEEP && !self.lied
    }
}

/// What fragments on these machines, one for each time that it is named, guarantee.
pub(crate) fn standing(at: Moment, holders: impl Iterator<Item = Machine>) -> Standing {
    let mut domains = BTreeMap::<Domain, u16>::new();
    for holder in holders {
        *domains.entry(domain(at.world, holder)).or_default() += 1;
    }
    Standing::of(at.scheme.code.k(), domains.into_values())
}

pub(crate) fn domain(world: &World, machine: Machine) -> Domain {
    world.candidate(machine).domain()
}

/// Each tessera is swept once in this time.
pub(crate) const SWEEP: Minute = DAY;
/// Every holder is asked for a proof within this time.
pub(crate) const PROVE_WITHIN: Minute = 7 * DAY;
