//! The document: the verdict, the sections below it, and when all of this was so. Everything shown is escaped by maud.

use std::time::Instant;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    facts::Facts,
    history::History,
    sections,
    verdict::{Tone, Verdict, verdict},
};
use crate::{doctor::Check, human};

/// All of the page.
pub(super) fn document(facts: &Facts, history: &History, now: Instant) -> Markup {
    let verdict = verdict(facts);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="refresh" content=(REFRESH_SECS);
                title { (in_a_word(verdict.tone)) " · Tesseras" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { p { "Tesseras" } }
                main {
                    (headline(&verdict))
                    div.cards {
                        (sections::space(facts))
                        (sections::verification(facts))
                        (sections::cache(facts, history))
                        (sections::repairs(facts))
                        (sections::others(facts))
                    }
                    (sections::recovery(facts))
                    (sections::last_hour(history, now))
                    (sections::actors(facts))
                }
                (colophon(facts))
            }
        }
    }
}

fn headline(verdict: &Verdict) -> Markup {
    html! {
        section.verdict.(class(verdict.tone)) {
            h1 { (sign(verdict.tone)) span { (prose(&verdict.sentence)) } }
            @match verdict.findings.as_slice() {
                [] => {}
                [one] => { (what_to_do(one)) }
                several => {
                    ol {
                        @for check in several {
                            li { p { (prose(&sentence(&check.finding))) } (what_to_do(check)) }
                        }
                    }
                }
            }
        }
    }
}

fn what_to_do(check: &Check) -> Markup {
    html! { @if let Some(remedy) = &check.remedy { p.remedy { "What to do: " (prose(remedy)) "." } } }
}

fn colophon(facts: &Facts) -> Markup {
    let (date, time) = (human::date(facts.at_ms), human::time_of_day(facts.at_ms));
    html! {
        footer {
            p { "Version " (facts.version) ", up for " (human::span(facts.uptime_secs)) "." }
            p {
                "As of " time datetime=(format!("{date}T{time}Z")) { (date) " " (time) " UTC" }
                ". This page asks again every " (REFRESH_SECS) " seconds."
            }
        }
    }
}

/// The tone as a picture; the words beside it say the same.
fn sign(tone: Tone) -> Markup {
    let path = match tone {
        Tone::InOrder => "M5 12.5l4.5 4.5L19 7.5",
        Tone::Look => "M12 5v9M12 18.5h0",
        Tone::Unsure => "M8.5 9a3.5 3.5 0 1 1 5 3.2c-1 .6-1.5 1-1.5 2.3M12 18.5h0",
        Tone::Stopping => "M9 7v10M15 7v10",
    };
    html! { svg.sign viewBox="0 0 24 24" aria-hidden="true" { path d=(path) {} } }
}

fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::InOrder => "in-order",
        Tone::Look => "look",
        Tone::Unsure => "unsure",
        Tone::Stopping => "stopping",
    }
}

fn in_a_word(tone: Tone) -> &'static str {
    match tone {
        Tone::InOrder => "In order",
        Tone::Look => "Look here",
        Tone::Unsure => "Not all is known",
        Tone::Stopping => "Stopping",
    }
}

/// A text in which what stands between backticks is typed into a terminal.
pub(super) fn prose(text: &str) -> Markup {
    html! {
        @for (number, part) in text.split('`').enumerate() {
            @if number % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// A clause as a sentence of its own.
fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    let first = letters.next().map(char::to_uppercase);
    format!("{}{}.", first.into_iter().flatten().collect::<String>(), letters.as_str())
}

/// The only style there is. Its hash is in the page's policy, so a browser applies this and no other.
pub(super) const STYLE: &str = include_str!("style.css");
/// A browser asks again after so many seconds.
const REFRESH_SECS: u32 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_sets_what_is_typed_apart_and_escapes_it() {
        assert_eq!(
            prose("see `dmesg`; `<b>`").into_string(),
            "see <code>dmesg</code>; <code>&lt;b&gt;</code>"
        );
        assert_eq!(prose("").into_string(), "");
    }

    #[test]
    fn clause_becomes_a_sentence() {
        assert_eq!((sentence("it fell"), sentence("")), ("It fell.".to_owned(), ".".to_owned()));
    }

    #[test]
    fn style_ends_nothing_and_asks_for_nothing() {
        assert!(!STYLE.contains('<'), "it stands in the page as it is");
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"), "the page is all there is");
    }
}
