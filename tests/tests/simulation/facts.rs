//! Facts that must hold in every simulation, and those that this one is for.

use std::collections::{BTreeMap, BTreeSet};

use proto::placement::Domain;

use crate::{
    chance::{Chance, DAY, Lasting},
    climate::Climate,
    holding::{Holding, Moment, PROVE_WITHIN, SWEEP, domain, standing},
    mending::{Budget, Mending, Turn, needs_mending},
    scheme::Scheme,
    table::Loss,
    tessera::Tessera,
    world::{Machine, World},
    years::{Extent, Tally, simulate},
};

const SMALL: Extent =
    Extent { climate: Climate::CHOSEN, machines: 600, tesseras: 40, years: 2, worlds: 2, seed: 7 };

fn of(at: usize, worlds: &[Vec<Tally>]) -> impl Iterator<Item = &Tally> {
    worlds.iter().map(move |world| &world[at])
}

/// Published in a world of this climate, in which nothing has happened yet.
fn published(climate: Climate, scheme: &Scheme, seed: u64) -> (World, Tessera, Holding, Chance) {
    let world = World::new(climate, 600, 0, seed);
    let mut chance = Chance::new(seed);
    let tessera = Tessera::new(&world, &mut chance);
    let holding = Holding::publish(Moment { scheme, world: &world, now: 0 }, &tessera, &mut chance);
    (world, tessera, holding, chance)
}

#[test]
fn same_seed_gives_the_same_years_and_another_others() {
    let extent = Extent { tesseras: 10, years: 1, ..SMALL };
    let (once, again) = (simulate(&extent, &Scheme::all()), simulate(&extent, &Scheme::all()));
    assert_eq!(once, again);
    assert_ne!(once[0], once[1]);
    assert_ne!(once, simulate(&Extent { seed: 8, ..extent }, &Scheme::all()));
    let fewer = simulate(&Extent { worlds: 1, ..extent }, &Scheme::all());
    assert_eq!(once[..1], fewer);
    let alone = simulate(&extent, &Scheme::all()[..1]);
    assert_eq!(once[1][..1], alone[1]);
}

/// Without repair and with machines that go one by one, what is lost is known: it is the tail of a binomial distribution.
#[test]
fn loss_without_repair_is_that_of_the_binomial_law() {
    let climate = Climate { machine_years: 2.0, ..Climate::CALM };
    let schemes = [Scheme::earlier(false), Scheme::ours(7, false), Scheme::ours(24, false)];
    let worlds = simulate(&Extent { climate, tesseras: 80, years: 1, worlds: 6, ..SMALL }, &schemes);
    let gone = 1.0 - (-0.5_f64).exp();
    let at_least = |lost: i32, of: i32| {
        let ways = |some: i32| (0..some).map(|i| f64::from(of - i) / f64::from(i + 1)).product::<f64>();
        (lost..=of).map(|some| ways(some) * gone.powi(some) * (1.0 - gone).powi(of - some)).sum::<f64>()
    };
    for (at, (expected, about)) in
        [(at_least(3, 7), 0.562), (at_least(4, 7), 0.273), (at_least(9, 24), 0.645)].into_iter().enumerate()
    {
        assert!((expected - about).abs() < 0.02, "{at}: {expected}");
        let loss = Loss::within(1, of(at, &worlds));
        // Four standard deviations.
        let margin = loss.high - loss.low;
        assert!((loss.share - expected).abs() < margin, "{at}: {loss:?}, expected {expected}");
        assert!(margin < 0.2, "{at}: {loss:?} says nothing");
    }
}

#[test]
fn ours_loses_less_than_round_robin_with_as_many_machines_and_with_as_much_overhead() {
    // Where there are few machines, one provider has a third of them.
    let climate = Climate { provider_gone_years: f64::INFINITY, ..Climate::CHOSEN };
    let schemes = Scheme::all();
    let worlds = simulate(&Extent { climate, years: 5, worlds: 4, ..SMALL }, &schemes);
    let loss = |at: usize, years| Loss::within(years, of(at, &worlds));
    let less = |less: usize, more: usize, years| {
        let (less, more) = (loss(less, years), loss(more, years));
        assert!(less.high < more.low, "{less:?}, {more:?} in {years} years");
    };
    let [round_robin, round_robin_mended, few_alone, few, many_alone, many] = [0, 1, 2, 3, 4, 5];
    for years in [1, 5] {
        less(few, round_robin, years);
        less(many, round_robin, years);
        less(few, few_alone, years);
        less(many, many_alone, years);
        less(round_robin_mended, round_robin, years);
    }
    // Repair alone is not it: seven peers without regard to whose they are lose more than ours on as many.
    less(few, round_robin_mended, 5);
    less(many, round_robin_mended, 5);
    assert!(loss(round_robin, 5).share > 0.99, "{:?}", loss(round_robin, 5));
}

/// Every loss of a simulation is held against the guarantee as well, in [`Holding::is_lost`].
#[test]
fn as_many_domains_as_the_guarantee_says_may_be_lost_and_not_one_more() {
    let climate = Climate { liars: 0.1, silent: 0.0, ..Climate::CALM };
    let mut guarantees = BTreeSet::new();
    for (scheme, seed) in Scheme::all()
        .iter()
        .filter(|scheme| scheme.mends)
        .flat_map(|scheme| (0..40).map(move |seed| (scheme, seed)))
    {
        let (world, _, holding, _) = published(climate, scheme, seed);
        let at = Moment { scheme, world: &world, now: 0 };
        let kept = || holding.places.iter().map(|place| place.holder).filter(|holder| world.keeps(*holder));
        let Some(survives) = standing(at, kept()).survives else { continue };
        guarantees.insert((scheme.machines, scheme.code.to_string(), survives));
        let mut domains = BTreeMap::<Domain, Vec<Machine>>::new();
        kept().for_each(|holder| domains.entry(domain(&world, holder)).or_default().push(holder));
        let mut fullest: Vec<_> = domains.into_values().collect();
        fullest.sort_by_key(|holders| std::cmp::Reverse(holders.len()));
        let lost_with = |domains: usize| {
            let mut world = World::new(climate, 600, 0, seed);
            fullest.iter().take(domains).flatten().for_each(|machine| world.destroy(*machine));
            holding.is_lost(Moment { scheme, world: &world, now: 0 })
        };
        let survives = usize::from(survives);
        assert!(!lost_with(survives), "{} {seed}", scheme.code);
        assert!(lost_with(survives + 1), "{} {seed}", scheme.code);
    }
    // Where nobody lies the three survive two, three and eight.
    let promised =
        |machines, code: &str, survives| guarantees.contains(&(machines, code.to_owned(), survives));
    assert!(promised(7, "16+8", 2) && promised(7, "4+3", 3), "{guarantees:?}");
    assert!((5..=8).any(|survives| promised(24, "16+8", survives)), "{guarantees:?}");
    assert!(guarantees.len() > 6, "{guarantees:?}");
}

#[test]
fn liar_counts_as_a_holder_until_it_is_asked_for_a_proof_and_then_no_more() {
    let climate = Climate { liars: 0.2, ..Climate::CALM };
    let scheme = Scheme::ours(24, true);
    let (mut believed, mut replaced) = (0, 0);
    for seed in 0..20 {
        let (world, mut tessera, mut holding, mut chance) = published(climate, &scheme, seed);
        let day = |day: u32| Moment { scheme: &scheme, world: &world, now: day * DAY };
        believed += holding.attest(day(0)) - holding.kept(&world);
        for sweep in 1..60 {
            let at = day(sweep);
            if !needs_mending(&scheme, holding.attest(at)) {
                continue;
            }
            let mut mending = Mending::begin(at, &tessera, &holding);
            while mending.due().is_some() {
                match mending.turn(at, &mut tessera, &mut holding, &mut Budget(u64::MAX), &mut chance) {
                    Turn::Next => {}
                    Turn::Enough => break,
                    Turn::Mended { rebuilt, .. } => {
                        replaced += rebuilt;
                        break;
                    }
                }
            }
        }
        let at = day(60 + PROVE_WITHIN / SWEEP);
        let (alive, kept) = (holding.attest(at), holding.kept(&world));
        assert_eq!(alive, kept, "{seed}: who claims, and who keeps");
        assert!(!needs_mending(&scheme, kept), "{seed}: {kept}");
    }
    assert!(believed > 30 && replaced > 20, "{believed} {replaced}");
}

#[test]
fn repairer_that_finds_enough_does_nothing() {
    let scheme = Scheme::ours(7, true);
    let (world, mut tessera, mut holding, mut chance) = published(Climate::CALM, &scheme, 1);
    let at = Moment { scheme: &scheme, world: &world, now: DAY };
    holding.attest(at);
    let mut mending = Mending::begin(at, &tessera, &holding);
    let mut budget = Budget(u64::MAX);
    let turn = mending.turn(at, &mut tessera, &mut holding, &mut budget, &mut chance);
    assert_eq!((turn, budget.0), (Turn::Enough, u64::MAX));
}

#[test]
fn network_that_is_away_for_less_than_two_sweeps_moves_nothing() {
    let schemes = [Scheme::ours(7, true), Scheme::ours(24, true)];
    let run = |years, hours| {
        let outage = Lasting { median_hours: hours, sigma: 0.0 };
        let climate = Climate { network_away_years: years, outage, ..Climate::CALM };
        simulate(&Extent { climate, years: 1, ..SMALL }, &schemes)
    };
    // Only who goes again at once misses two sweeps.
    for tally in run(0.5, 20.0).iter().flatten() {
        assert_eq!((tally.moved, tally.rebuilt, tally.lost.len()), (0, 0, 0));
    }
    for tally in run(0.1, 80.0).iter().flatten() {
        assert!(tally.missed > 0 && tally.rebuilt > 0 && tally.lost.is_empty(), "{tally:?}");
    }
}

#[test]
fn repair_makes_no_more_than_was_missed_and_stays_within_its_budget_in_a_storm() {
    // Every provider, so the largest with a sixth of all machines, goes away four times a year, for a week.
    let outage = Lasting { median_hours: 7.0 * 24.0, sigma: 0.0 };
    let climate = Climate { provider_away_years: 0.25, outage, ..Climate::CHOSEN };
    let schemes = [Scheme::earlier(true), Scheme::ours(7, true), Scheme::ours(24, true)];
    let worlds = simulate(&Extent { climate, tesseras: 100, years: 1, ..SMALL }, &schemes);
    for (tally, scheme) in worlds.iter().flat_map(|world| world.iter().zip(&schemes)) {
        assert!(tally.rebuilt > 0 && tally.rebuilt <= tally.missed, "{tally:?}");
        assert!(tally.moved <= tally.missed * u64::from(scheme.code.k() + 1), "{tally:?}");
        assert!(tally.moved_day_max <= tally.budget, "{tally:?}");
    }
    // It is a storm: somewhere the budget was what ended the day.
    let spent = |tally: &Tally| tally.moved_day_max * 10 > tally.budget * 6;
    assert!(worlds.iter().flatten().any(spent), "{worlds:?}");
}
