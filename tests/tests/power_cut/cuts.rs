//! The power goes at random moments under load, sometimes soon after a `kill -9`.

use tests::chain::{Chain, scaled};

use crate::image::{FileSystem, Image};

/// Nothing acknowledged is lost.
pub(crate) fn survived(system: FileSystem, seed: u64, synchronous_full: bool) {
    let image = Image::new(system);
    let mut chain = Chain::new(env!("CARGO_BIN_EXE_workload"), &image.store(), seed);
    chain.start.synchronous_full = synchronous_full;
    for _ in 0..scaled(12, 300) {
        if chain.rng.u8(..3) > 0 {
            // What recovery finds in the page cache, it must make durable before it builds upon it.
            let mut victim = chain.live();
            victim.work(chain.rng.u64(..DEEDS));
            chain.bury(victim.kill());
        }
        let mut victim = chain.live();
        victim.work(chain.rng.u64(..DEEDS));
        victim.freeze();
        image.cut_power();
        chain.bury(victim.kill());
        image.restore_power();
    }
    let mut last = chain.live();
    last.work(0);
    let last = chain.bury(last.stop());
    chain.expect(last.closed, "a clean stop ends it");
}

/// The power goes at the latest after so many deeds.
const DEEDS: u64 = 300;
