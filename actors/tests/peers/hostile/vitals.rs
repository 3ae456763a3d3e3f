//! What a node takes of its machine, and how an honest peer fares with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::support::{Node, Tessera};

/// What this process takes: the node's and the test's own share together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vitals {
    pub(crate) memory_bytes: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

impl Vitals {
    pub(crate) fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        Self {
            memory_bytes: field("VmRSS:") << 10,
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            threads: usize::try_from(field("Threads:")).unwrap(),
        }
    }
}

/// A peer that asks for a fragment again and again.
pub(crate) struct Honest {
    over: Arc<AtomicBool>,
    visits: thread::JoinHandle<Vec<Duration>>,
}

impl Honest {
    /// Begins: `a` gets from `b` a fragment that it has given it before.
    pub(crate) async fn arrive(a: &Node, b: &Node) -> Self {
        let tessera = Tessera::new(&a.author, HONEST_SEED, 50_000);
        tessera.give_all(a, b.id()).await;
        let (remote, holder) = (a.system.remote.clone(), b.id());
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        // On a thread of its own, so that the attack delays it no more than it delays the node.
        let visits = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let mut visits = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let (begun, stripe) = (Instant::now(), visits.len() % tessera.fragments.len());
                let fragment = &tessera.fragments[stripe];
                let got = remote.fragment(holder, tessera.fragment(stripe), fragment.checksum());
                assert_eq!(&runtime.block_on(got).unwrap(), fragment);
                visits.push(begun.elapsed());
                thread::sleep(PAUSE);
            }
            visits
        });
        Self { over, visits }
    }

    /// Ends: how long each visit took, the longest last.
    pub(crate) fn leave(self) -> Vec<Duration> {
        self.over.store(true, Ordering::Relaxed);
        let mut visits = self.visits.join().unwrap();
        visits.sort_unstable();
        visits
    }
}

const HONEST_SEED: u64 = 7777;
const PAUSE: Duration = Duration::from_millis(10);
