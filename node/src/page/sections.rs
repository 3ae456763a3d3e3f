//! The sections of the page, each from the facts it shows. What could not be found out says so.

use std::time::Instant;

use maud::{Markup, Render, html};

use super::{
    facts::{Facts, Known},
    history::{self, History},
    pictures::{amount, bar, figure, percent},
    render::prose,
};
use crate::{
    api::{self, Mode},
    human::{self, at_most},
};

/// How much is stored, and whether more can be.
pub(super) fn space(facts: &Facts) -> Markup {
    card("Space", &facts.storage, |storage| {
        let api::Storage { tesseras, fragments, fragment_bytes, segment_bytes, live_bytes, .. } = storage;
        let [size, kept, counting] = [*segment_bytes, *fragment_bytes, *live_bytes].map(human::bytes);
        let whole = storage.room().map(|room| segment_bytes.saturating_add(room));
        html! {
            @if let Some(whole) = whole { (bar(*segment_bytes, whole, "used")) }
            dl {
                (row("Kept", human::count(*tesseras, "tessera", "tesserae")))
                (row("Fragments", format!("{fragments}, {kept}")))
                (row("On disk", format!("{size}, of which {counting} count")))
                (row("Room for", storage.room_left()))
                (row("Disk free", disk_free(storage)))
                (row("Capacity", storage.capacity_bytes.map_or("as much as fits".to_owned(), human::bytes)))
            }
        }
    })
}

fn disk_free(storage: &api::Storage) -> String {
    match (storage.free_bytes.map(human::bytes), storage.min_free_bytes.map(human::bytes)) {
        (Some(free), Some(kept)) => format!("{free}, of which {kept} stay free"),
        (free, _) => free.unwrap_or_else(unknown),
    }
}

/// How verifying stands.
pub(super) fn verification(facts: &Facts) -> Markup {
    card("Verification", &facts.scrub, |scrub| {
        html! {
            dl {
                (row("Oldest", format!("{} ago", at_most(scrub.oldest_age_ms))))
                (row("Wanted", format!("at least every {}", at_most(scrub.within_ms))))
                (row("Overdue", match scrub.overdue_bytes {
                    0 => "nothing".to_owned(),
                    bytes => human::bytes(bytes),
                }))
                (row("At the moment", doing(scrub)))
                @if scrub.asked_bytes > 0 { (row("Asked for", human::bytes(scrub.asked_bytes))) }
                (row("Begins by itself", match scrub.begins_in_ms {
                    None => "when there is something".to_owned(),
                    Some(0) => "now".to_owned(),
                    Some(ms) => format!("in {}", at_most(ms)),
                }))
                (row("Takes", match scrub.rate {
                    Some(rate) => format!("{} at {}/s", at_most(scrub.takes_ms), human::bytes(rate)),
                    None => "as long as the disk does".to_owned(),
                }))
            }
        }
    })
}

fn doing(scrub: &api::Scrub) -> String {
    match scrub.mode {
        Mode::Idle => "nothing is due".to_owned(),
        Mode::Verifying => "verifying".to_owned(),
        Mode::Resting => "resting, as the rate wants".to_owned(),
        Mode::GivingWay => "giving way to others".to_owned(),
        Mode::QuietHours => "quiet hours".to_owned(),
        Mode::Paused => format!("paused for {}", at_most(scrub.paused_for_ms.unwrap_or(0))),
        Mode::Failing => "waiting to try again".to_owned(),
    }
}

/// How much the cache holds, and how often that helped.
pub(super) fn cache(facts: &Facts, history: &History) -> Markup {
    card("Cache", &facts.cache, |cache| {
        let [held, most] = [cache.bytes, cache.bytes_max].map(human::bytes);
        let answered = history.overall(history::hit_share).map(|share| format!("{} of gets", percent(share)));
        html! {
            (bar(cache.bytes, cache.bytes_max, "full"))
            dl {
                (row("Holds", human::count(cache.entries, "fragment", "fragments")))
                (row("In memory", format!("{held} of {most}")))
                (row("Answered, last hour", answered.unwrap_or_else(|| "nobody asked".to_owned())))
            }
        }
    })
}

/// How it stands with other nodes. Who they are is nobody's business who may look at the page.
pub(super) fn others(facts: &Facts) -> Markup {
    card("Other nodes", &facts.network, |network| {
        html! {
            dl {
                (row("Known", network.peers))
                (row("Connected", network.connected.map_or_else(unknown, |connected| connected.to_string())))
                @if network.strangers > 0 { (row("Strangers", network.strangers)) }
                (row("Others can dial it", match &network.reached {
                    _ if network.listens_at.is_none() => "no: it only dials".to_owned(),
                    None => "not tried lately".to_owned(),
                    Some(reached) if reached.worked => format!("yes, as of {}", human::ago(reached.at_ms)),
                    Some(reached) => format!("no, as of {}: see `doctor`", human::ago(reached.at_ms)),
                }))
            }
        }
    })
}

/// What was found damaged and waits to be mended.
pub(super) fn repairs(facts: &Facts) -> Markup {
    card("Repairs", &facts.storage, |storage| {
        html! {
            dl {
                (row("Queued", match storage.repairs_queued {
                    0 => "none".to_owned(),
                    queued => human::count(queued, "damaged fragment or document", "damaged fragments or documents"),
                }))
                @match &facts.scrub {
                    Ok(scrub) => {
                        (row("Damaged since the start", damaged(scrub)))
                        (row("Records mended", scrub.mended_records))
                    }
                    Err(_) => { (row("Damaged since the start", unknown())) }
                }
            }
        }
    })
}

fn damaged(scrub: &api::Scrub) -> String {
    match (scrub.damaged_fragments + scrub.damaged_documents, scrub.verified_bytes) {
        (0, 0) => "nothing verified yet".to_owned(),
        (0, bytes) => format!("nothing in {}", human::bytes(bytes)),
        (damaged, bytes) => format!("{damaged} in {}", human::bytes(bytes)),
    }
}

/// What was found when the index was last brought up to the segments, if anything was lost.
pub(super) fn recovery(facts: &Facts) -> Markup {
    let Ok(api::Storage { recovery, .. }) = &facts.storage else { return html! {} };
    let api::Recovery { records, damaged_places, lost_segments, rebuilt, restored_from_ms, .. } = recovery;
    if lost_segments.is_empty() && *damaged_places == 0 && !rebuilt && recovery.missing_tesseras == 0 {
        return html! {};
    }
    html! {
        section.card {
            h2 { "What reading the segments found" }
            dl {
                (row("Segments gone or cut short", lost_segments.len()))
                (row("Documents lost", recovery.lost_documents))
                (row("Tesserae that are gone, or forgotten since the last snapshot", recovery.missing_tesseras))
                (row("Places that are not what was written", damaged_places))
                (row("Index made anew", if *rebuilt { "yes" } else { "no" }))
                @if let Some(taken) = restored_from_ms.and_then(|ms| u64::try_from(ms).ok()) {
                    (row("Given what a snapshot knew, of", human::date(taken)))
                }
                (row("Records read again", records))
            }
        }
    }
}

/// The last hour in pictures.
pub(super) fn last_hour(history: &History, now: Instant) -> Markup {
    let points = |measure| history.points(now, measure);
    html! {
        section.card {
            h2 { "The last hour" }
            div.figures {
                (figure("Written, a minute", &points(history::written), amount, None))
                (figure("Read for whoever asked, a minute", &points(history::read), amount, None))
                (figure("Read back to verify, a minute", &points(history::verified), amount, None))
                (figure("Answered from the cache", &points(history::hit_share), percent, Some(1.0)))
            }
        }
    }
}

/// Every actor, and why those that fell did.
pub(super) fn actors(facts: &Facts) -> Markup {
    let falls = facts.actors.iter().filter_map(|actor| Some((&actor.name, actor.last_fall.as_ref()?)));
    html! {
        section.card {
            h2 { "Actors" }
            table {
                thead {
                    tr {
                        th scope="col" { "Actor" }
                        th scope="col" { "State" }
                        th.number scope="col" { "Restarts" }
                    }
                }
                tbody {
                    @for actor in &facts.actors {
                        tr {
                            th scope="row" { (actor.name) }
                            td { @if actor.running { "running" } @else { strong { "restarting" } } }
                            td.number { (actor.restarts) }
                        }
                    }
                }
            }
            @for (name, reason) in falls { p.fall { (name) " fell last because: " (reason) } }
        }
    }
}

/// A section with a heading, or why it has nothing to show.
fn card<T>(title: &str, known: &Known<T>, content: impl FnOnce(&T) -> Markup) -> Markup {
    html! {
        section.card {
            h2 { (title) }
            @match known {
                Ok(known) => { (content(known)) }
                Err(why) => { p.unknown { "Could not be found out: " (prose(why)) "." } }
            }
        }
    }
}

fn row(name: &str, value: impl Render) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn unknown() -> String {
    "unknown".to_owned()
}
