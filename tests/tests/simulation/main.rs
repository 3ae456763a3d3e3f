//! What our layouts lose in ten years, beside the round robin of an earlier system, with ten thousand nodes that come, are
//! away and go, alone and together, and of which some lie. Code, placement, guarantee and repair are those of `proto`, as nodes
//! use them; nothing else of a node runs, and no bytes move. `make simulate` prints the table that README quotes.
//!
//! What is assumed, all of it chosen, and rather too hard than too kind:
//!
//! - [`climate`]: how long machines last, how often they are away, what fails together, who lies. [`world`]: how many machines
//!   an operator, a network and a provider have. Placement knows networks, and the operators that say who they are; it does
//!   not know providers.
//! - [`tessera`]: holders of a tessera know 100 of all nodes, and place on these.
//! - [`holding`]: a sweep each day, alive is who has claimed within two of them; a proof of each holder within a week, without
//!   which liars are believed. Whom one tessera finds out, others still believe. What a machine kept that was replaced
//!   and comes back is of no use.
//! - [`mending`]: below the margin of `margin_wanted(2, m)`, one after another with a grace of six hours. Who rebuilds fetches k
//!   fragments. The author has its copy and repairs for a month after publishing, and then is never seen again.
//! - [`years`]: repair moves at most 2 % of all that is stored in a day.
//! - The earlier system ([`scheme`]): 16+8 over seven peers in turn, the first seven by rank whoever runs them; nobody reads
//!   what they attest, nobody repairs. With our repair, a peer that is missing is replaced by one other.
//! - Lost is a tessera when fewer than k different fragments are left with machines that are not gone for ever. That others
//!   are away makes it unavailable for a while, which is not counted.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a simulation ends at the first surprise"
)]

mod chance;
mod climate;
mod facts;
mod holding;
mod mending;
mod scheme;
mod table;
mod tessera;
mod world;
mod years;

use std::{fs, io::Write, path::Path, time::Instant};

use climate::Climate;
use scheme::Scheme;
use years::{Extent, simulate};

/// In `make test` a small one, whose layouts README must show; where torture is asked for all of it, and then README must quote
/// it as it is.
#[test]
fn table_is_the_one_in_the_readme() {
    let begun = Instant::now();
    let all = std::env::var_os("TESSERAS_TEST_TORTURE").is_some();
    let given = std::env::var("TESSERAS_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let extent = if all { FULL } else { Extent { machines: 600, tesseras: 10, worlds: 2, ..FULL } };
    let extent = Extent { seed: given.unwrap_or(FULL.seed), ..extent };
    let schemes = Scheme::all();
    let lines = table::table(&schemes, &simulate(&extent, &schemes));
    let Extent { machines, tesseras, years, worlds, seed, .. } = extent;
    say(&format!(
        "{machines} nodes, {years} years, {} tesserae in {worlds} worlds, TESSERAS_TEST_SEED={seed}: {:.0?}\n",
        tesseras * worlds,
        begun.elapsed()
    ));
    lines.iter().for_each(|line| say(line));
    let compared = if all && given.is_none() { usize::MAX } else { PIECES_OF_LAYOUT };
    let columns = |line: &str| line.split('|').take(compared).collect::<Vec<_>>().join("|");
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let quoted: Vec<_> = readme.lines().map(columns).collect();
    let missing: Vec<_> = lines.iter().filter(|line| !quoted.contains(&columns(line))).collect();
    assert!(missing.is_empty(), "README does not quote these lines as they are:\n{missing:#?}");
    assert_eq!(lines.len(), 2 + schemes.len());
}

fn say(line: &str) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stdout(), "{line}");
}

const FULL: Extent =
    Extent { climate: Climate::CHOSEN, machines: 10_000, tesseras: 250, years: 10, worlds: 40, seed: 1 };

/// What stands before the first bar, layout, machines, overhead and repair: it does not depend on chance.
const PIECES_OF_LAYOUT: usize = 5;
