//! A tessera, and its circle: the nodes that its holders know.
//!
//! A node knows hundreds of others, not ten thousand. As ranks are hashes, the first of a circle chosen by chance are as good as
//! the first of all.

use proto::{
    ids::{NodeId, TesseraId},
    placement,
};

use crate::{
    chance::Chance,
    world::{Machine, World},
};

pub(crate) struct Tessera {
    pub(crate) id: TesseraId,
    /// The node of who made it.
    pub(crate) author: NodeId,
    circle: Vec<Machine>,
    /// The share of all nodes that come to be known.
    known: f64,
}

impl Tessera {
    pub(crate) fn new(world: &World, chance: &mut Chance) -> Self {
        let machines = u32::try_from(world.machines_ever()).unwrap();
        let known = CIRCLE_MACHINES / f64::from(machines);
        let (id, author) = (TesseraId::from_bytes(chance.bytes()), NodeId::from_bytes(chance.bytes()));
        let mut tessera = Self { id, author, circle: Vec::new(), known };
        tessera.meet(world, 0, chance);
        tessera
    }

    /// Comes to know some of the machines from this one on.
    pub(crate) fn meet(&mut self, world: &World, first: Machine, chance: &mut Chance) {
        self.circle.extend((first..world.machines_ever()).filter(|_| chance.is(self.known)));
    }

    /// Forgets those that are gone for ever.
    pub(crate) fn forget_gone(&mut self, world: &World) {
        self.circle.retain(|machine| !world.gone(*machine));
    }

    /// Those in the circle that can be reached.
    pub(crate) fn reachable<'a>(&'a self, world: &'a World) -> impl Iterator<Item = Machine> + 'a {
        self.circle.iter().copied().filter(|machine| world.up(*machine))
    }

    /// Sorts machines by rank.
    pub(crate) fn rank(&self, world: &World, machines: &mut [Machine]) {
        machines.sort_by_cached_key(|machine| placement::rank(self.id, world.candidate(*machine).node));
    }
}

/// How many nodes a circle has in the mean: several times as many as a stripe can have holders.
const CIRCLE_MACHINES: f64 = 100.0;
