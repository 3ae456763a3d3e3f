//! That the world is as its figures say.

use std::collections::BTreeMap;

use super::*;

const MACHINES: usize = 2_000;

fn living(world: &World) -> impl Iterator<Item = Machine> + '_ {
    (0..world.machines_ever()).filter(|machine| !world.gone(*machine))
}

fn after(climate: Climate, years: u32) -> World {
    let mut world = World::new(climate, MACHINES, years, 5);
    world.advance(years * YEAR);
    world
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

#[test]
fn machines_stay_as_many_and_last_two_years() {
    let world = after(Climate::CHOSEN, 5);
    assert_eq!(living(&world).count(), MACHINES);
    let turnover = number(world.machines_ever() - MACHINES) / number(MACHINES) / 5.0;
    // A half, and what networks and providers take with them.
    assert!((0.45..0.60).contains(&turnover), "{turnover}");
    let down = living(&world).filter(|machine| !world.up(*machine)).count();
    assert!((10..200).contains(&down), "{down} down");
    let liars = number(living(&world).filter(|machine| !world.honest(*machine)).count());
    assert!((0.02..0.09).contains(&(liars / number(MACHINES))), "{liars} liars");
}

#[test]
fn operator_quits_with_all_machines_and_is_followed_by_one_with_as_many() {
    let sizes = |world: &World| {
        let mut sizes = BTreeMap::<_, usize>::new();
        living(world).for_each(|machine| *sizes.entry(world.candidate(machine).operator).or_default() += 1);
        sizes
    };
    let climate = Climate { operator_years: 0.1, ..Climate::CALM };
    let (before, after) = (sizes(&after(climate, 0)), sizes(&after(climate, 2)));
    assert!(before.keys().all(|operator| !after.contains_key(operator)));
    let sorted = |sizes: BTreeMap<_, usize>| {
        let mut sizes: Vec<_> = sizes.into_values().collect();
        sizes.sort_unstable();
        sizes
    };
    let before = sorted(before);
    assert!(before.last() > Some(&10) && before.contains(&1), "{before:?}");
    assert_eq!(before, sorted(after));
}

#[test]
fn network_is_away_and_goes_as_a_whole() {
    let networks = |world: &World, which: &dyn Fn(Machine) -> bool| {
        let mut networks = BTreeMap::<_, (usize, usize)>::new();
        for machine in living(world) {
            let (all, some) = networks.entry(world.candidate(machine).network).or_default();
            *all += 1;
            *some += usize::from(which(machine));
        }
        networks
    };
    let away = after(Climate { network_away_years: 0.05, ..Climate::CALM }, 1);
    let up = networks(&away, &|machine| away.up(machine));
    assert!(up.values().all(|(all, up)| *up == 0 || up == all));
    assert!(up.values().any(|(_, up)| *up == 0));
    let gone = after(Climate { network_gone_years: 0.5, ..Climate::CALM }, 1);
    let first = networks(&gone, &|machine| machine < MACHINES);
    let old = first.values().filter(|(_, first)| *first > 0);
    assert!(number(old.count()) / number(first.len()) < 0.3, "e^−2 of the networks are still there");
    assert_eq!(living(&gone).count(), MACHINES);
}
