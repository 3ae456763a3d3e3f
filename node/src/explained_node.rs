//! How it stands with another node: what is known of it, why that is so, and what to do. Pure.

use actors::conn_pool::PeerTrouble;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{api::Origin, explained::Finding, human};

/// `GET /v1/peers/{id}/explain`: how it stands with a node, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct NodeExplained {
    /// In one sentence.
    pub(crate) verdict: String,
    /// Whether it is of use: known, not blocked, and as far as is known there and honest.
    pub(crate) good: bool,
    /// One by one.
    pub(crate) findings: Vec<Finding>,
}

/// What is known of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NodeFacts {
    /// Whether it is this node itself.
    pub(crate) is_own: bool,
    /// How it came to be known, if it is.
    pub(crate) origin: Option<Origin>,
    /// Whether the settings name it.
    pub(crate) in_settings: bool,
    /// Where it is said to be.
    pub(crate) addresses: Vec<String>,
    /// Whom it acts for, if it has shown that.
    pub(crate) author: Option<String>,
    /// Why it is blocked, if it is.
    pub(crate) blocked: Option<String>,
    /// Whether there is a connection with it.
    pub(crate) is_connected: bool,
    /// Why it is left alone, if it is.
    pub(crate) waits: Option<Waits>,
    /// How long ago it was there, in milliseconds, and where, if it has said that.
    pub(crate) seen: Option<(u64, Option<String>)>,
    /// How often it gave other bytes than it should.
    pub(crate) wrong_bytes: u64,
    /// How often it failed.
    pub(crate) errors: u64,
    /// How often it was not there.
    pub(crate) absences: u64,
    /// How much is kept here for it, in bytes.
    pub(crate) kept_bytes: u64,
    /// How much may be, in bytes.
    pub(crate) allow_bytes: u64,
}

/// Why a node is left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waits {
    /// By what can be done about it.
    cause: Cause,
    /// In the pool's words.
    reason: String,
    /// For how long still, in milliseconds.
    again_ms: u64,
}

impl Waits {
    /// Because dialling it ended so, for so long.
    pub(crate) fn new(trouble: &PeerTrouble, again_ms: u64) -> Self {
        Self { cause: Cause::of(trouble), reason: trouble.to_string(), again_ms }
    }
}

/// How dialling a node ended, by what can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Nothing answers.
    Away,
    /// Another node does.
    OtherKey,
    /// It does not know this one, or not any more.
    NotKnown,
    /// It has blocked this one.
    BlocksUs,
    /// It has answered, and ended the connection.
    Lost,
}

impl Cause {
    fn of(trouble: &PeerTrouble) -> Self {
        match trouble {
            PeerTrouble::WrongKey { .. } => Self::OtherKey,
            PeerTrouble::NotKnown { .. } => Self::NotKnown,
            PeerTrouble::Blocked { .. } => Self::BlocksUs,
            PeerTrouble::Lost { .. } => Self::Lost,
            _ => Self::Away,
        }
    }

    fn verdict(self) -> &'static str {
        match self {
            Self::Away | Self::Lost => "It could not be reached lately.",
            Self::OtherKey => "Another node answers where it is said to be.",
            Self::NotKnown => "It does not know this node, and keeps nothing for it.",
            Self::BlocksUs => "It has blocked this node.",
        }
    }

    fn remedy(self, addresses: &[String]) -> String {
        let text = match self {
            Self::Away if addresses.is_empty() => "ask whoever runs it whether it runs, and where",
            Self::Away => {
                let named = addresses.join(" or ");
                return format!(
                    "ask whoever runs it whether it runs, and whether {named} is still its address"
                );
            }
            Self::OtherKey => {
                "ask whoever runs it for its id and address: `peers add ID@HOST:PORT` if it is elsewhere; with a new id it is \
                 another node, and this one is to be removed: `peers remove ID`"
            }
            Self::NotKnown => {
                "ask whoever runs it for an `invite` to `join`, or to `peers add` this node: `id` says who it is"
            }
            Self::BlocksUs => {
                "ask whoever runs it to `unblock` this node: `id` says who it is; `peers remove ID` if it is to stay so"
            }
            Self::Lost => "`peers ping ID` when that time is over",
        };
        text.to_owned()
    }
}

impl NodeExplained {
    /// From what is known.
    pub(crate) fn new(facts: &NodeFacts) -> Self {
        let (verdict, good) = verdict(facts);
        let all = [known(facts), blocked(facts), there(facts), wrong(facts), failed(facts), kept(facts)];
        Self { verdict, good, findings: all.into_iter().flatten().collect() }
    }
}

/// The first of these that is so, worst first.
fn verdict(facts: &NodeFacts) -> (String, bool) {
    let so = |text: &str, good| (text.to_owned(), good);
    match facts {
        NodeFacts { is_own: true, .. } => {
            so("That is this node itself: `status` and `doctor` say how it fares.", true)
        }
        NodeFacts { blocked: Some(_), .. } => {
            so("It is blocked here: it is neither answered nor asked.", false)
        }
        NodeFacts { origin: None, .. } => so("It is not known here.", false),
        NodeFacts { wrong_bytes: 1.., .. } => {
            so("It has given other bytes than it should: none of them was accepted.", false)
        }
        NodeFacts { is_connected: true, .. } => so("It is there, and connected.", true),
        NodeFacts { waits: Some(waits), .. } => so(waits.cause.verdict(), false),
        NodeFacts { seen: None, .. } => so("It was never there so far.", false),
        NodeFacts { seen: Some((ago, _)), .. } => {
            (format!("It was there {} ago, and is not connected now.", human::span(ago / 1000)), true)
        }
    }
}

fn known(facts: &NodeFacts) -> Option<Finding> {
    if facts.is_own {
        return None;
    }
    let how = match facts.origin {
        None => return Some(unknown()),
        Some(Origin::Configured) if facts.in_settings => "network.peers names it",
        Some(Origin::Configured) => "it was added here with `peers add`",
        Some(Origin::Invited) => "an invite made it known",
        Some(Origin::Introduced) => {
            "another peer told of it: it may read here, and stores only where `network.accept` is \"any\""
        }
    };
    let who = facts.author.as_ref().map_or_else(
        || "it has not shown whom it acts for".to_owned(),
        |author| format!("it acts for {author}"),
    );
    Some(Finding { what: format!("{how}; {who}"), remedy: None })
}

fn unknown() -> Finding {
    Finding {
        what: "nobody has named it, and no peer has told of it".to_owned(),
        remedy: Some("`peers add ID@HOST:PORT`, or `invite` whoever runs it".to_owned()),
    }
}

fn blocked(facts: &NodeFacts) -> Option<Finding> {
    let reason = facts.blocked.as_ref()?;
    let remedy = Some("`unblock ID` if that is over".to_owned());
    Some(Finding { what: format!("it is blocked because: {reason}"), remedy })
}

fn there(facts: &NodeFacts) -> Option<Finding> {
    facts.origin.filter(|_| !facts.is_connected)?;
    let seen = match &facts.seen {
        Some((ago, at)) => {
            let at = at.as_ref().map_or_else(String::new, |at| format!(", at {at}"));
            format!("it was last there {} ago{at}", human::span(ago / 1000))
        }
        None => "it was never there so far".to_owned(),
    };
    let named = facts.addresses.join(" or ");
    let (what, remedy) = match &facts.waits {
        _ if facts.blocked.is_some() => {
            (format!("{seen}; it is not dialled, and not let in when it comes, until it is unblocked"), None)
        }
        Some(Waits { cause, reason, again_ms }) => (
            // What others say stands at the end, with whatever it ends with.
            format!("{seen}; it is left alone for {}, because {reason}", human::wait(*again_ms)),
            Some(cause.remedy(&facts.addresses)),
        ),
        None if facts.addresses.is_empty() => (
            format!("{seen}; no address of it is known, so it has to come by itself"),
            Some("`peers add ID@HOST:PORT` when you know where it is".to_owned()),
        ),
        None => (
            format!("{seen}; it is dialled at {named} when it is needed"),
            Some("`peers ping ID`".to_owned()),
        ),
    };
    Some(Finding { what, remedy })
}

fn wrong(facts: &NodeFacts) -> Option<Finding> {
    (facts.wrong_bytes > 0).then(|| Finding {
        what: format!(
            "{} it gave other bytes than it should: its disk is failing, or it lies",
            human::count(facts.wrong_bytes, "time", "times")
        ),
        remedy: facts
            .blocked
            .is_none()
            .then(|| "tell whoever runs it to `scrub start`; `block ID` if it goes on".to_owned()),
    })
}

fn failed(facts: &NodeFacts) -> Option<Finding> {
    let parts = [(facts.errors, "it failed"), (facts.absences, "it was not there when it was needed")];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<_> =
        parts.map(|(count, what)| format!("{} {what}", human::count(*count, "time", "times"))).collect();
    (!parts.is_empty()).then(|| Finding { what: parts.join("; "), remedy: None })
}

fn kept(facts: &NodeFacts) -> Option<Finding> {
    facts.origin?;
    let (kept, most) = (human::bytes(facts.kept_bytes), human::bytes(facts.allow_bytes));
    let remedy = (facts.kept_bytes >= facts.allow_bytes && facts.blocked.is_none())
        .then(|| "`peers add ID@HOST:PORT --allow SIZE` lets it keep more here".to_owned());
    Some(Finding { what: format!("{kept} are kept here for it, of at most {most}"), remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> NodeFacts {
        NodeFacts {
            origin: Some(Origin::Configured),
            addresses: vec!["example.org:4433".to_owned()],
            seen: Some((7_200_000, Some("192.0.2.7:4433".to_owned()))),
            allow_bytes: 1 << 30,
            ..NodeFacts::default()
        }
    }

    #[track_caller]
    fn check(facts: &NodeFacts, good: bool, verdict: &str, findings: &[&str], remedies: usize) {
        let explained = NodeExplained::new(facts);
        assert_eq!(explained.good, good, "{explained:?}");
        assert!(explained.verdict.contains(verdict), "{}", explained.verdict);
        for part in findings {
            assert!(explained.findings.iter().any(|one| one.what.contains(part)), "{part:?}: {explained:?}");
        }
        let with_remedy = explained.findings.iter().filter(|one| one.remedy.is_some()).count();
        assert_eq!(with_remedy, remedies, "{explained:?}");
    }

    #[test]
    fn node_that_is_of_use_is_explained_with_where_it_is_and_what_is_kept() {
        let away = ["`peers add`", "not shown whom", "2 hours ago, at 192.0.2.7", "0 B are kept"];
        check(&peer(), true, "was there 2 hours ago", &away, 1);
        let there =
            NodeFacts { is_connected: true, in_settings: true, author: Some("author1x".into()), ..peer() };
        check(&there, true, "connected", &["network.peers names it; it acts for author1x"], 0);
        let full = NodeFacts { is_connected: true, kept_bytes: 1 << 30, ..peer() };
        check(&full, true, "connected", &["1.00 GiB are kept here for it, of at most 1.00 GiB"], 1);
        let nowhere = NodeFacts { seen: Some((7_200_000, None)), ..peer() };
        check(&nowhere, true, "was there 2 hours ago", &["last there 2 hours ago; it is dialled"], 1);
        let own = NodeFacts { is_own: true, ..NodeFacts::default() };
        check(&own, true, "this node itself", &[], 0);
    }

    #[test]
    fn node_that_is_away_is_explained_with_how_it_was_looked_for() {
        let waits = |trouble: &PeerTrouble| NodeFacts { waits: Some(Waits::new(trouble, 541)), ..peer() };
        let said = |trouble: PeerTrouble, verdict: &str, remedy: &str| {
            let expected = format!("it is left alone for 1 second, because {trouble}");
            let facts = waits(&trouble);
            check(&facts, false, verdict, &[&expected], 1);
            let explained = NodeExplained::new(&facts);
            let remedies: Vec<_> = explained.findings.into_iter().filter_map(|one| one.remedy).collect();
            assert!(remedies[0].contains(remedy), "{remedies:?}");
        };
        let reason = || "it lies".to_owned();
        said(
            PeerTrouble::Unreachable { reason: reason() },
            "could not be reached",
            "whether example.org:4433 is still its address",
        );
        said(
            PeerTrouble::WrongKey { address: "example.org:4433".to_owned() },
            "Another node answers",
            "`peers add ID@HOST:PORT` if it is elsewhere",
        );
        said(PeerTrouble::NotKnown { reason: reason() }, "does not know this node", "an `invite` to `join`");
        said(PeerTrouble::Blocked { reason: reason() }, "has blocked this node", "to `unblock` this node");
        said(
            PeerTrouble::Lost { reason: reason(), is_passing: false },
            "could not be reached",
            "`peers ping ID`",
        );
        let never = NodeFacts { seen: None, origin: Some(Origin::Invited), addresses: Vec::new(), ..peer() };
        check(&never, false, "never there", &["an invite", "has to come by itself"], 1);
    }

    #[test]
    fn node_that_is_not_wanted_or_lies_is_explained_with_why() {
        check(&NodeFacts::default(), false, "not known", &["nobody has named it"], 1);
        let blocked = NodeFacts { blocked: Some("spam".to_owned()), is_connected: true, ..peer() };
        check(&blocked, false, "blocked", &["because: spam"], 1);
        // There is one thing to do about it, however it else stands with it.
        let cut_off = NodeFacts {
            is_connected: false,
            waits: Some(Waits::new(&PeerTrouble::NoAddress, 541)),
            wrong_bytes: 1,
            kept_bytes: 1 << 30,
            ..blocked
        };
        check(&cut_off, false, "neither answered nor asked", &["it is not dialled, and not let in"], 1);
        assert!(NodeExplained::new(&cut_off).findings.iter().all(|one| !one.what.contains("left alone")));
        let liar = NodeFacts { wrong_bytes: 2, errors: 1, absences: 3, is_connected: true, ..peer() };
        let findings = ["2 times it gave other bytes", "1 time it failed; 3 times it was not there"];
        check(&liar, false, "other bytes", &findings, 1);
    }
}
