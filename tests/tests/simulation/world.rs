//! The world: machines that come, are away and go, alone and together. It knows nothing of tesserae, so that all layouts are
//! tried in the same one.
//!
//! The number of machines never changes: whoever goes is replaced at once by a new node with an empty disk. All are there
//! when it begins. As lifetimes have no memory, the age of a machine says nothing.

use proto::{
    ids::{AuthorId, NodeId},
    placement::{Candidate, Network},
};

use crate::{
    chance::{Chance, HOUR, Minute, YEAR, zipf_sums},
    climate::Climate,
};

/// A node, by the order in which they came. Nobody's number is given again.
pub(crate) type Machine = usize;

pub(crate) struct World {
    machines: Vec<Node>,
    /// What others know of each machine.
    candidates: Vec<Candidate>,
    climate: Climate,
    chance: Chance,
    operators: Vec<Operator>,
    networks: Vec<Range>,
    /// How many reasons each provider has to be away.
    providers: Vec<u16>,
    provider_sums: Vec<f64>,
    networks_ever: u32,
    /// What will happen, by the hour.
    calendar: Vec<Vec<(Minute, Event)>>,
    /// The first hour that has not begun.
    hour: usize,
}

/// Small, as it is looked at all the time.
struct Node {
    operator: u32,
    network: u32,
    honest: bool,
    away: bool,
    /// For ever.
    gone: bool,
}

struct Operator {
    id: AuthorId,
    honest: bool,
    says: bool,
    /// The network that all machines are in, if they are in one.
    home: Option<usize>,
    machines: Vec<Machine>,
}

/// A /24. What is gone for ever is replaced by another with a new number.
struct Range {
    number: u32,
    provider: usize,
    away: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    MachineAway(Machine),
    MachineBack(Machine),
    MachineGone(Machine),
    OperatorQuits(usize),
    NetworkAway(usize),
    NetworkBack(usize),
    NetworkGone(usize),
    ProviderAway(usize),
    ProviderBack(usize),
    ProviderGone(usize),
}

impl World {
    /// With so many machines, all of them up.
    pub(crate) fn new(climate: Climate, machines: usize, years: u32, seed: u64) -> Self {
        let providers = machines.div_ceil(MACHINES_PER_PROVIDER);
        let provider_sums = zipf_sums(u32::try_from(providers).unwrap(), 1.0);
        let mut world = Self {
            machines: Vec::new(),
            candidates: Vec::new(),
            climate,
            chance: Chance::new(seed),
            operators: Vec::new(),
            networks: Vec::new(),
            providers: vec![0; providers],
            provider_sums,
            networks_ever: 0,
            calendar: (0..=years * (YEAR / HOUR)).map(|_| Vec::new()).collect(),
            hour: 0,
        };
        for network in 0..machines.div_ceil(MACHINES_PER_NETWORK) {
            let number = world.new_network();
            // Each provider has one, and the larger have more.
            let drawn = world.chance.weighted(&world.provider_sums);
            let provider = if network < providers { network } else { drawn };
            world.networks.push(Range { number, provider, away: 0 });
        }
        let sizes = zipf_sums(OPERATOR_MACHINES_MAX, OPERATOR_EXPONENT);
        while world.machines.len() < machines {
            let size = world.chance.weighted(&sizes) + 1;
            let size = size.min(machines - world.machines.len());
            let operator = world.operators.len();
            let someone = world.new_operator(size);
            world.operators.push(someone);
            world.settle(0, operator, size);
        }
        world.expect_outages();
        world
    }

    /// Lets happen what happens before this moment, a whole hour. Within an hour nobody looks, so that what is planned for it
    /// while it runs comes last.
    pub(crate) fn advance(&mut self, until: Minute) {
        while self.hour < (until / HOUR) as usize {
            while !self.calendar[self.hour].is_empty() {
                let mut events = std::mem::take(&mut self.calendar[self.hour]);
                events.sort_unstable();
                for (now, event) in events {
                    self.happens(now, event);
                }
            }
            self.hour += 1;
        }
    }

    /// How many there ever were.
    pub(crate) fn machines_ever(&self) -> usize {
        self.machines.len()
    }

    /// What others know of it.
    pub(crate) fn candidate(&self, machine: Machine) -> Candidate {
        self.candidates[machine]
    }

    /// Whether it can be reached.
    pub(crate) fn up(&self, machine: Machine) -> bool {
        let node = &self.machines[machine];
        let network = &self.networks[node.network as usize];
        !node.gone && !node.away && network.away == 0 && self.providers[network.provider] == 0
    }

    /// Whether it keeps what it takes.
    pub(crate) fn honest(&self, machine: Machine) -> bool {
        self.machines[machine].honest
    }

    /// For ever.
    pub(crate) fn gone(&self, machine: Machine) -> bool {
        self.machines[machine].gone
    }

    /// Whether what it was given is still there, be it away or not.
    pub(crate) fn keeps(&self, machine: Machine) -> bool {
        self.honest(machine) && !self.gone(machine)
    }

    /// Ends a machine before its time; its operator does not begin anew.
    pub(crate) fn destroy(&mut self, machine: Machine) {
        self.machines[machine].gone = true;
    }

    fn happens(&mut self, now: Minute, event: Event) {
        let climate = self.climate;
        match event {
            Event::MachineAway(machine) | Event::MachineBack(machine) if self.machines[machine].gone => {}
            Event::MachineAway(machine) => {
                self.machines[machine].away = true;
                let lasts = self.chance.lasts(climate.away);
                self.plan(now.saturating_add(lasts), Event::MachineBack(machine));
            }
            Event::MachineBack(machine) => {
                self.machines[machine].away = false;
                self.expect(now, climate.away_years, Event::MachineAway(machine));
            }
            Event::MachineGone(machine) => {
                self.replace(now, machine, Some(self.machines[machine].network as usize));
            }
            Event::OperatorQuits(operator) => self.succeed(now, operator),
            Event::NetworkAway(network) => {
                self.networks[network].away += 1;
                let lasts = self.chance.lasts(climate.outage);
                self.plan(now.saturating_add(lasts), Event::NetworkBack(network));
                self.expect(now, climate.network_away_years, event);
            }
            Event::NetworkBack(network) => self.networks[network].away -= 1,
            Event::NetworkGone(network) => {
                self.end_networks(now, |at, _| at == network);
                self.expect(now, climate.network_gone_years, event);
            }
            Event::ProviderAway(provider) => {
                self.providers[provider] += 1;
                let lasts = self.chance.lasts(climate.outage);
                self.plan(now.saturating_add(lasts), Event::ProviderBack(provider));
                self.expect(now, climate.provider_away_years, event);
            }
            Event::ProviderBack(provider) => self.providers[provider] -= 1,
            Event::ProviderGone(provider) => {
                self.end_networks(now, |_, range| range.provider == provider);
                self.expect(now, climate.provider_gone_years, event);
            }
        }
    }

    /// The machine is gone, and its operator begins anew, there or anywhere.
    fn replace(&mut self, now: Minute, machine: Machine, network: Option<usize>) {
        if std::mem::replace(&mut self.machines[machine].gone, true) {
            return;
        }
        let operator = self.machines[machine].operator as usize;
        self.operators[operator].machines.retain(|one| *one != machine);
        let network = network.unwrap_or_else(|| self.draw_network());
        self.join(now, operator, network);
    }

    /// The operator quits, and another one comes with as many machines.
    fn succeed(&mut self, now: Minute, operator: usize) {
        let size = self.operators[operator].machines.len();
        let someone = self.new_operator(size);
        for machine in std::mem::replace(&mut self.operators[operator], someone).machines {
            self.machines[machine].gone = true;
        }
        self.settle(now, operator, size);
    }

    fn end_networks(&mut self, now: Minute, ends: impl Fn(usize, &Range) -> bool) {
        let ended: Vec<bool> =
            self.networks.iter().enumerate().map(|(at, network)| ends(at, network)).collect();
        for (at, _) in ended.iter().enumerate().filter(|(_, ended)| **ended) {
            self.networks[at].number = self.new_network();
        }
        for operator in &mut self.operators {
            operator.home = operator.home.filter(|home| !ended[*home]);
        }
        for machine in 0..self.machines.len() {
            if ended[self.machines[machine].network as usize] {
                self.replace(now, machine, None);
            }
        }
    }

    /// The first machines of an operator, and when it quits.
    fn settle(&mut self, now: Minute, operator: usize, machines: usize) {
        for _ in 0..machines {
            let network = self.operators[operator].home.unwrap_or_else(|| self.draw_network());
            self.join(now, operator, network);
        }
        self.expect(now, self.climate.operator_years, Event::OperatorQuits(operator));
    }

    fn join(&mut self, now: Minute, operator: usize, network: usize) {
        let machine = self.machines.len();
        let owner = &mut self.operators[operator];
        owner.machines.push(machine);
        let [_, a, b, c] = self.networks[network].number.to_be_bytes();
        self.candidates.push(Candidate {
            node: NodeId::from_bytes(self.chance.bytes()),
            operator: owner.says.then_some(owner.id),
            network: Some(Network::V4([a, b, c])),
        });
        let [operator, network] = [operator, network].map(|number| u32::try_from(number).unwrap());
        self.machines.push(Node { operator, network, honest: owner.honest, away: false, gone: false });
        self.expect(now, self.climate.machine_years, Event::MachineGone(machine));
        self.expect(now, self.climate.away_years, Event::MachineAway(machine));
    }

    fn new_operator(&mut self, machines: usize) -> Operator {
        let home = self.chance.is(self.climate.together).then(|| self.draw_network());
        Operator {
            id: AuthorId::from_bytes(self.chance.bytes()),
            honest: !self.chance.is(self.climate.liars),
            says: !(machines > 1 && self.chance.is(self.climate.silent)),
            home,
            machines: Vec::new(),
        }
    }

    fn new_network(&mut self) -> u32 {
        self.networks_ever += 1;
        self.networks_ever
    }

    fn draw_network(&mut self) -> usize {
        self.chance.below(self.networks.len())
    }

    fn expect_outages(&mut self) {
        let climate = self.climate;
        for network in 0..self.networks.len() {
            self.expect(0, climate.network_away_years, Event::NetworkAway(network));
            self.expect(0, climate.network_gone_years, Event::NetworkGone(network));
        }
        for provider in 0..self.providers.len() {
            self.expect(0, climate.provider_away_years, Event::ProviderAway(provider));
            self.expect(0, climate.provider_gone_years, Event::ProviderGone(provider));
        }
    }

    fn expect(&mut self, now: Minute, years: f64, event: Event) {
        if let Some(wait) = self.chance.until_next(years) {
            self.plan(now.saturating_add(wait), event);
        }
    }

    /// What comes after the last hour does not matter.
    fn plan(&mut self, at: Minute, event: Event) {
        if let Some(events) = self.calendar.get_mut((at / HOUR) as usize) {
            events.push((at, event));
        }
    }
}

/// In the mean; an operator that has all machines in one network makes it more.
const MACHINES_PER_NETWORK: usize = 4;
/// In the mean; the first of 200 has a sixth of all, as Zipf found: in IPFS, too, few providers have most (Balduf and others:
/// The Cloud Strikes Back, 2023).
const MACHINES_PER_PROVIDER: usize = 50;
/// Three of four operators have one machine, and the mean is 1.9.
const OPERATOR_EXPONENT: f64 = 2.5;
const OPERATOR_MACHINES_MAX: u32 = 50;

#[cfg(test)]
mod tests;
