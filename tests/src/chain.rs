//! One store and the workloads that live on it, one after the other.

use std::path::{Path, PathBuf};

use fastrand::Rng;

use crate::{
    journal::Start,
    ledger::Ledger,
    victim::{Life, Victim},
};

/// What carries over from one workload to the next.
#[derive(Debug)]
pub struct Chain {
    program: PathBuf,
    /// How the next one is started.
    pub start: Start,
    /// Decides everything that is random.
    pub rng: Rng,
    seed: u64,
    lives: u64,
}

impl Chain {
    /// A chain on an empty folder. The program is that of the workload.
    pub fn new(program: &str, folder: &Path, seed: u64) -> Self {
        let (folder, ledger) = (folder.to_owned(), Ledger::default());
        let start = Start { folder, seed, synchronous_full: false, min_free_bytes: 0, ledger };
        Self { program: program.into(), start, rng: Rng::with_seed(seed), seed, lives: 0 }
    }

    /// Starts the next workload.
    pub fn live(&mut self) -> Victim {
        self.lives += 1;
        self.start.seed = self.rng.u64(..);
        Victim::start(&self.program, &self.start)
    }

    /// Takes over what the last workload was promised. Panics when a promise was broken.
    #[track_caller]
    pub fn bury(&mut self, life: Life) -> Life {
        self.expect(life.faults.is_empty(), &life.faults.join("\n"));
        self.start.ledger = life.ledger.clone();
        life
    }

    /// Panics with all that is needed to look into it, unless the condition holds.
    #[track_caller]
    pub fn expect(&self, condition: bool, what: &str) {
        let (seed, lives, folder) = (self.seed, self.lives, self.start.folder.display());
        assert!(condition, "life {lives} on {folder} (TESSERAS_TEST_SEED={seed} replays):\n{what}");
    }
}

/// The seed given, or a new one.
pub fn seed() -> u64 {
    let given = std::env::var("TESSERAS_TEST_SEED").ok();
    given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("TESSERAS_TEST_SEED is a number"))
}

/// A count for `make test`, or the one for `make torture`.
pub fn scaled<T>(test: T, torture: T) -> T {
    if std::env::var_os("TESSERAS_TEST_TORTURE").is_some() { torture } else { test }
}
