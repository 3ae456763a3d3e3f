//! What the page says first: that all is in order, or where to look. Pure.
//!
//! What `doctor` asks a daemon about is judged by the same functions here, so both say the same.

use std::cmp::Reverse;

use super::facts::{Facts, Known};
use crate::{
    api,
    doctor::{Check, Outcome, daemon, space},
    human,
};

/// How the node fares, in one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) tone: Tone,
    pub(super) sentence: String,
    /// What is not as it should be, the worst first; each with what to do about it.
    pub(super) findings: Vec<Check>,
}

/// The kind of sentence it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// All is well.
    InOrder,
    /// Somebody should do something.
    Look,
    /// What was found out is well; the rest is not known.
    Unsure,
    /// The node is about to stop.
    Stopping,
}

/// Decides.
pub(super) fn verdict(facts: &Facts) -> Verdict {
    if facts.is_draining && facts.fatal.is_none() {
        let sentence = "The node is stopping: it finishes what it has begun, and takes nothing new.";
        return Verdict { tone: Tone::Stopping, sentence: sentence.to_owned(), findings: Vec::new() };
    }
    let mut findings = checks(facts);
    findings.retain(|check| check.outcome != Outcome::Ok);
    findings.sort_by_key(|check| Reverse(check.outcome));
    let (tone, sentence) = match findings.first() {
        None => (Tone::InOrder, format!("Everything is in order: {}.", in_order(facts))),
        Some(first) => {
            let (tone, opening) = match first.outcome {
                Outcome::Unknown => (Tone::Unsure, "Not all is known"),
                _ => (Tone::Look, "Look here"),
            };
            let more = match findings.len() - 1 {
                0 => String::new(),
                1 => ", and one more thing".to_owned(),
                more => format!(", and {more} more things"),
            };
            (tone, format!("{opening}: {}{more}.", first.finding))
        }
    };
    Verdict { tone, sentence, findings }
}

fn in_order(facts: &Facts) -> String {
    let (Ok(storage), Ok(scrub)) = (&facts.storage, &facts.scrub) else { return String::new() };
    if storage.fragments == 0 {
        return "nothing is kept here yet".to_owned();
    }
    format!(
        "{}, {}, all verified or written within {}",
        human::count(storage.tesseras, "tessera", "tesserae"),
        human::bytes(storage.fragment_bytes),
        human::the_last(scrub.oldest_age_ms)
    )
}

fn checks(facts: &Facts) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(reason) = &facts.fatal {
        checks.push(Check::failed("node", format!("the node gives up: {reason}"), RESTART));
    }
    match &facts.storage {
        Ok(storage) => {
            checks.extend([daemon::storage(storage), daemon::recovery(&storage.recovery)]);
            checks.extend(no_room(storage));
        }
        Err(why) => checks.push(unknown("storage", "what is stored", why)),
    }
    checks.push(daemon::actors(&facts.actors, facts.at_ms));
    match &facts.scrub {
        Ok(scrub) => checks.push(daemon::verification(scrub)),
        Err(why) => checks.push(unknown("verification", "what is verified", why)),
    }
    if let Known::Err(why) = &facts.cache {
        checks.push(unknown("cache", "what the cache holds", why));
    }
    checks
}

fn unknown(check: &'static str, what: &str, why: &str) -> Check {
    Check::unknown(check, format!("{what} could not be found out ({why})"), ASK_AGAIN)
}

fn no_room(storage: &api::Storage) -> Option<Check> {
    if storage.room()? > 0 {
        return None;
    }
    let capacity = storage.capacity_bytes.filter(|capacity| *capacity <= storage.segment_bytes);
    Some(match capacity {
        Some(capacity) => space::used_up(&format!(
            "the configured capacity of {} is used up, so nothing new is stored",
            human::bytes(capacity)
        )),
        None => space::full("the disk has no room but for what is kept free, so nothing new is stored"),
    })
}

const RESTART: &str = "its log says why; restart the daemon";
const ASK_AGAIN: &str = "nothing, at first: an actor that fell is back within seconds, a busy disk within minutes, and \
     this page asks again by itself";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::tests::{facts, scrub, storage};

    #[track_caller]
    fn check(facts: &Facts, tone: Tone, sentence: &str) {
        let found = verdict(facts);
        assert_eq!((found.tone, found.sentence.as_str()), (tone, sentence));
        assert!(found.findings.iter().all(|check| check.remedy.is_some()), "{found:?}");
    }

    #[test]
    fn node_that_is_well_says_what_it_keeps_and_how_old_the_oldest_look_is() {
        check(
            &facts(),
            Tone::InOrder,
            "Everything is in order: 12 tesserae, 3.10 GiB, all verified or written within the last 9 days.",
        );
        let one = api::Storage { tesseras: 1, fragment_bytes: 7, ..storage() };
        let young = api::Scrub { oldest_age_ms: 5, ..scrub() };
        check(
            &Facts { storage: Ok(one), scrub: Ok(young), ..facts() },
            Tone::InOrder,
            "Everything is in order: 1 tessera, 7 B, all verified or written within the last minute.",
        );
        let empty = api::Storage { tesseras: 0, fragments: 0, fragment_bytes: 0, ..storage() };
        check(
            &Facts { storage: Ok(empty), ..facts() },
            Tone::InOrder,
            "Everything is in order: nothing is kept here yet.",
        );
    }

    #[test]
    fn damage_comes_before_lesser_things_and_those_are_counted() {
        let damaged = api::Storage { repairs_queued: 2, ..storage() };
        let one = Facts { storage: Ok(damaged.clone()), ..facts() };
        check(&one, Tone::Look, "Look here: 2 fragments or documents are damaged and wait for their repair.");
        let late = api::Scrub { late_ms: 5, overdue_bytes: 7, ..scrub() };
        let two = Facts { scrub: Ok(late), ..one.clone() };
        check(
            &two,
            Tone::Look,
            "Look here: 2 fragments or documents are damaged and wait for their repair, and one more thing.",
        );
        let read_only = api::Storage { read_only: Some("the disk is gone".to_owned()), ..damaged };
        let three = Facts { storage: Ok(read_only), cache: Err("why".to_owned()), ..two };
        check(
            &three,
            Tone::Look,
            "Look here: nothing is written any more: the disk is gone, and 2 more things.",
        );
    }

    #[test]
    fn actor_that_fell_is_named() {
        let mut fallen = facts();
        fallen.actors[0].restarts = 1;
        fallen.actors[0].last_fall = Some("asked to".to_owned());
        fallen.actors[0].last_fall_ms = i64::try_from(fallen.at_ms).ok();
        check(&fallen, Tone::Look, "Look here: storage fell and runs again (asked to).");
        fallen.actors[0].running = false;
        fallen.storage = Err("storage is being restarted".to_owned());
        check(&fallen, Tone::Look, "Look here: storage does not run (asked to), and one more thing.");
        fallen.fatal = Some("storage fell too often".to_owned());
        fallen.is_draining = true;
        check(
            &fallen,
            Tone::Look,
            "Look here: the node gives up: storage fell too often, and 2 more things.",
        );
    }

    #[test]
    fn what_could_not_be_found_out_is_never_in_order() {
        let slow = || "no answer within 2 s".to_owned();
        check(
            &Facts { storage: Err(slow()), ..facts() },
            Tone::Unsure,
            "Not all is known: what is stored could not be found out (no answer within 2 s).",
        );
        check(
            &Facts { storage: Err(slow()), scrub: Err(slow()), cache: Err(slow()), ..facts() },
            Tone::Unsure,
            "Not all is known: what is stored could not be found out (no answer within 2 s), and 2 more things.",
        );
    }

    #[test]
    fn node_that_stops_says_so_and_nothing_else() {
        let stopping = Facts { is_draining: true, storage: Err("why".to_owned()), ..facts() };
        assert_eq!(verdict(&stopping).tone, Tone::Stopping);
        assert!(verdict(&stopping).findings.is_empty());
    }

    #[test]
    fn node_without_room_says_which_bound_was_met() {
        let full = api::Storage { capacity_bytes: Some(storage().segment_bytes), ..storage() };
        check(
            &Facts { storage: Ok(full), ..facts() },
            Tone::Look,
            "Look here: the configured capacity of 3.30 GiB is used up, so nothing new is stored.",
        );
        let full = api::Storage { free_bytes: Some(5), min_free_bytes: Some(5), ..storage() };
        check(
            &Facts { storage: Ok(full), ..facts() },
            Tone::Look,
            "Look here: the disk has no room but for what is kept free, so nothing new is stored.",
        );
    }

    #[test]
    fn room_is_the_least_that_any_bound_leaves() {
        let room = |capacity_bytes, free_bytes| {
            let min_free_bytes = Some(100);
            api::Storage { segment_bytes: 50, capacity_bytes, free_bytes, min_free_bytes, ..storage() }.room()
        };
        assert_eq!(room(None, None), None);
        assert_eq!(room(None, Some(170)), Some(70));
        assert_eq!(room(Some(60), Some(170)), Some(10));
        assert_eq!(room(Some(40), None), Some(0));
        assert_eq!(room(Some(400), Some(99)), Some(0));
    }
}
