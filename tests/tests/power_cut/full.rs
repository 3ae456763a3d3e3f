//! A disk that fills up under load.

use std::time::{Duration, Instant};

use tests::{
    chain::{Chain, scaled},
    journal::Refusal,
    ledger::Deed,
    victim::{Life, Victim},
};

use crate::image::{FileSystem, Image};

/// What is refused is refused as such, reads and drops go on, and so does everything once there is room again.
pub(crate) fn survived(system: FileSystem, seed: u64) {
    let image = Image::new(system);
    let mut chain = Chain::new(env!("CARGO_BIN_EXE_workload"), &image.store(), seed);
    for _ in 0..scaled(2, 100) {
        below_the_floor(&image, &mut chain);
        without_a_byte(&image, &mut chain);
    }
    let mut last = chain.live();
    last.work(0);
    let last = chain.bury(last.stop());
    chain.expect(last.closed, "a clean stop ends it");
}

/// The space that is kept free is enough for reads, drops and compactions.
fn below_the_floor(image: &Image, chain: &mut Chain) {
    chain.start.min_free_bytes = FLOOR_BYTES;
    let mut victim = chain.live();
    victim.work(chain.rng.u64(..DEEDS));
    fill(image, chain, &mut victim, FLOOR_BYTES - (1 << 20));
    let dropped = victim.life().answers;
    until(chain, &mut victim, |life| life.answers >= dropped + SOME);
    let only_what_needs_room =
        |deed: &Deed| matches!(deed, Deed::Put(..) | Deed::Create(_) | Deed::Abandon(_));
    let wrong = victim.life().refusals.iter().find(|(deed, _, _)| !only_what_needs_room(deed));
    chain.expect(wrong.is_none(), &format!("{wrong:?}"));
    image.clear();
    end(chain, victim);
}

/// Log and index both meet the end of the disk.
fn without_a_byte(image: &Image, chain: &mut Chain) {
    chain.start.min_free_bytes = 0;
    let mut victim = chain.live();
    victim.work(chain.rng.u64(..DEEDS));
    let left = chain.rng.u64(..LEFT_BYTES);
    fill(image, chain, &mut victim, left);
    if chain.rng.bool() {
        image.clear();
        end(chain, victim);
        return;
    }
    let life = chain.bury(victim.kill());
    check(chain, &life);
    // It may start on the full disk or say why it does not, but it must not do any harm.
    let mut victim = chain.live();
    victim.work_until(|life| life.opening.is_some());
    let life = chain.bury(victim.kill());
    let reason = life.not_opened.as_deref();
    chain.expect(life.opening.is_some() || reason.is_some(), &format!("it fell silent: {:?}", life.status));
    image.clear();
}

/// Everything works again once there is room.
fn end(chain: &mut Chain, mut victim: Victim) {
    let before = victim.life().puts;
    until(chain, &mut victim, |life| life.puts >= before + SOME);
    let life = chain.bury(victim.kill());
    check(chain, &life);
}

fn check(chain: &Chain, life: &Life) {
    chain.expect(life.unread.is_empty(), &life.unread.join("\n"));
    let typed = |refusal| matches!(refusal, Refusal::Full | Refusal::SessionEnded | Refusal::Conflict);
    let wrong = life.refusals.iter().find(|(_, refusal, _)| !typed(*refusal));
    chain.expect(wrong.is_none(), &format!("{wrong:?}"));
}

/// Leaves so many bytes of the disk free, again and again: the node makes room by itself, and may go on for long.
fn fill(image: &Image, chain: &Chain, victim: &mut Victim, but_bytes: u64) {
    let deadline = Instant::now() + DEADLINE;
    while puts_refused(victim.life()) < SOME {
        image.fill(but_bytes);
        let answers = victim.life().answers + ANSWERS_BETWEEN;
        until(chain, victim, |life| puts_refused(life) >= SOME || life.answers >= answers);
        chain.expect(Instant::now() < deadline, "puts are not refused");
    }
}

fn until(chain: &Chain, victim: &mut Victim, enough: impl Fn(&Life) -> bool) {
    let deadline = Instant::now() + DEADLINE;
    let ended = !victim.work_until(|life| enough(life) || Instant::now() > deadline);
    chain.expect(!ended && enough(victim.life()), "it did not come so far");
}

fn puts_refused(life: &Life) -> u64 {
    life.refusals.iter().filter(|(deed, _, _)| matches!(deed, Deed::Put(..))).count() as u64
}

const DEEDS: u64 = 300;
/// The disk is filled again after so many.
const ANSWERS_BETWEEN: u64 = 1000;
const SOME: u64 = 50;
const FLOOR_BYTES: u64 = 12 << 20;
/// Left free at most when the disk is filled.
const LEFT_BYTES: u64 = 512 << 10;
const DEADLINE: Duration = Duration::from_secs(120);
