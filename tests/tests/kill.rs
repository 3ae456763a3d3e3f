//! `kill -9` at random moments under load, again and again on the same store.

use std::{fs, io, path::Path, time::Duration};

use actors::storage::INDEX_FILE;
use tests::{
    chain::{Chain, scaled, seed},
    journal::Refusal,
    ledger::Deed,
    victim::{Life, Victim},
};

#[test]
fn acknowledged_deeds_survive_every_kill() {
    let folder = tempfile::tempdir().unwrap();
    let seed = seed();
    println!("TESSERAS_TEST_SEED={seed}");
    let mut chain = Chain::new(env!("CARGO_BIN_EXE_workload"), folder.path(), seed);
    let mut clean = false;
    for _ in 0..scaled(200, 5000) {
        let rebuild = chain.rng.u8(..12) == 0 && chain.start.folder.join(INDEX_FILE).exists();
        if rebuild {
            remove_index(&chain.start.folder);
        }
        chain.start.synchronous_full = chain.rng.bool();
        let victim = chain.live();
        let life = end_somehow(&mut chain, victim);
        let life = chain.bury(life);
        check(&chain, &life, rebuild, clean);
        clean = life.closed;
    }
}

/// Most are killed at work, some while they start, and a few are asked to stop.
fn end_somehow(chain: &mut Chain, mut victim: Victim) -> Life {
    match chain.rng.u8(..20) {
        ..3 => {
            // Not to wait for anything: this is the moment.
            std::thread::sleep(Duration::from_micros(chain.rng.u64(..START_MICROS)));
            victim.kill()
        }
        3 => {
            victim.work(chain.rng.u64(..DEEDS));
            victim.stop()
        }
        _ => {
            victim.work(chain.rng.u64(..DEEDS));
            victim.kill()
        }
    }
}

fn check(chain: &Chain, life: &Life, rebuild: bool, clean: bool) {
    let not_opened = life.not_opened.as_deref();
    chain.expect(not_opened.is_none(), not_opened.unwrap_or_default());
    chain.expect(life.unread.is_empty(), &life.unread.join("\n"));
    let allowed = |deed, refusal| matches!((deed, refusal), (Deed::Create(_), Refusal::Conflict));
    let refused = life.refusals.iter().find(|(deed, refusal, _)| !allowed(*deed, *refusal));
    chain.expect(refused.is_none(), &format!("{refused:?}"));
    let Some(opening) = &life.opening else { return };
    chain.expect(!rebuild || opening.rebuilt, "an index that was deleted is made anew");
    chain.expect(rebuild || !clean || opening.records == 0, "a clean stop needs no recovery");
    let (bytes, live) = (opening.segment_bytes, opening.live_bytes);
    // As compaction leaves it: at least half of every segment counts or ends older records, and these come to a quarter
    // of what counts at most.
    let expected = 2 * (live + live / 4) + UNCOMPACTED_BYTES_MAX;
    chain.expect(!clean || bytes < expected, &format!("{bytes} bytes in segments, {live} count"));
}

fn remove_index(folder: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        match fs::remove_file(folder.join(format!("{INDEX_FILE}{suffix}"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.expect("the index can be deleted"),
        }
    }
}

/// Killed at the latest after so many deeds.
const DEEDS: u64 = 500;
/// About as long as it takes until work begins.
const START_MICROS: u64 = 150_000;
/// A few small segments may be left as they are.
const UNCOMPACTED_BYTES_MAX: u64 = 1 << 20;
