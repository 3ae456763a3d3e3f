//! Why a tessera is as it is: what is known, why that is so, and what to do. Pure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{Holder, State},
    human,
    replicated::Guarantee,
};

/// `GET /v1/tesseras/{id}/explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Explained {
    /// In one sentence.
    pub(crate) verdict: String,
    /// Whether everything of it that should be here is, as far as is known without reading it.
    pub(crate) whole: bool,
    /// Whether what is here is less than it takes to put it together, as with whoever keeps a part for its author.
    #[serde(default)]
    pub(crate) part: bool,
    /// One by one.
    pub(crate) findings: Vec<Finding>,
    /// The other nodes that claim to hold some of it, in the order of their ids: those that are peers.
    #[serde(default)]
    pub(crate) holders: Vec<Holder>,
    /// How safe it is by what others have claimed or proven lately; absent when it was not published, as far as is known, or
    /// none of its holders has told this node.
    #[serde(default)]
    pub(crate) guarantee: Option<Guarantee>,
}

/// One thing that is so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Finding {
    /// What is so.
    pub(crate) what: String,
    /// What to do about it, if anything.
    pub(crate) remedy: Option<String>,
}

/// What is known of a tessera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// When that is known, in milliseconds since 1970.
    pub(crate) now_ms: i64,
    /// Fragments that are here and in order.
    pub(crate) ok: u64,
    /// Fragments whose bytes are wrong.
    pub(crate) suspect: u64,
    /// Fragments whose bytes are gone.
    pub(crate) missing: u64,
    /// Bytes of all.
    pub(crate) bytes: u64,
    /// Of those in order, how many were never read back.
    pub(crate) unverified: u64,
    /// The age of the oldest verification of the others, in milliseconds.
    pub(crate) oldest_verified_ms: Option<u64>,
    /// How long ago it came here, in milliseconds.
    pub(crate) came_ms: u64,
    /// Whether what its author signed is here.
    pub(crate) manifest: State,
    /// Documents that are known to be damaged or gone, with the manifest or without.
    pub(crate) damaged_documents: u64,
    /// Whether only its author can read it; unknown without the manifest.
    pub(crate) private: Option<bool>,
    /// Whether this node acts for its author; unknown without the manifest.
    pub(crate) is_ours: Option<bool>,
    /// What it can be put together from; unknown without a layout.
    pub(crate) content: Option<Content>,
    /// When the next verification begins by itself, from now, in milliseconds.
    pub(crate) verified_in_ms: Option<u64>,
    /// Other nodes that claim to hold some of it, and are peers.
    pub(crate) holders: Vec<Holder>,
    /// Others that have claimed to hold some of it, and are blocked or no peers any more.
    pub(crate) former: u64,
    /// How long it has been looked after here although it is somebody else's, in milliseconds, if it is.
    pub(crate) adopted_ms: Option<u64>,
    /// How long ago it came to be known here that its author has taken it back, in milliseconds, if so.
    pub(crate) retracted_ms: Option<u64>,
    /// How safe it is with others, if it was published.
    pub(crate) safety: Option<Safety>,
    /// When this node looks after that.
    pub(crate) watched: Option<Looks>,
}

/// The fragments of a tessera's content, by the layout of which most is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    /// How many are here.
    pub(crate) here: u64,
    /// Of how many.
    pub(crate) of: u64,
    /// Whether any is kept for this node itself, and not only for others.
    pub(crate) is_wanted: bool,
}

impl Content {
    fn is_part(&self) -> bool {
        self.here < self.of
    }
}

/// How safe a tessera is with others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Safety {
    /// In one sentence.
    pub(crate) sentence: String,
    /// Whether that is as safe as asked.
    pub(crate) is_as_asked: bool,
    /// What would make it safer.
    pub(crate) remedies: Vec<String>,
    /// In figures; `None` when that is not known: no holder has told it.
    pub(crate) guarantee: Option<Guarantee>,
}

/// When this node looks how safe a tessera is. In milliseconds from now, or ago.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Looks {
    /// How long ago it did; `None` when it has not yet.
    pub(crate) looked_ms: Option<u64>,
    /// When it does so next.
    pub(crate) next_in_ms: Option<u64>,
    /// How long it has needed mending.
    pub(crate) below_ms: Option<u64>,
    /// When this node mends that; `None` when others do.
    pub(crate) mends_in_ms: Option<u64>,
}

impl Explained {
    /// From what is known.
    pub(crate) fn new(facts: &Facts) -> Self {
        let whole = facts.suspect + facts.missing + facts.damaged_documents == 0
            && facts.manifest != State::Missing
            && facts.manifest != State::Suspect;
        let all = [
            kept(facts),
            part(facts),
            damaged(facts),
            manifest(facts),
            verified(facts),
            copies(facts, whole),
            safety(facts),
            looked(facts),
            adopted(facts),
            retracted(facts),
            former(facts),
            key(facts),
        ];
        Self {
            verdict: verdict(facts, whole),
            whole,
            part: is_part(facts),
            findings: all.into_iter().flatten().collect(),
            holders: facts.holders.clone(),
            guarantee: facts.safety.as_ref().and_then(|safety| safety.guarantee.clone()),
        }
    }
}

fn verdict(facts: &Facts, whole: bool) -> String {
    let all = facts.ok + facts.suspect + facts.missing;
    if whole {
        let all = human::fragments(all);
        let only = if is_only_here(facts) { ", on this machine only" } else { "" };
        let what = if is_part(facts) { "what is here of it is" } else { "all of it is here and" };
        return format!("As far as is known {what} in order: {all}{only}.");
    }
    let hurt = facts.suspect + facts.missing;
    match hurt {
        0 if facts.manifest == State::Suspect => {
            "What its author signed is damaged here: its content cannot be found in its fragments.".to_owned()
        }
        0 if facts.damaged_documents > 0 => "What says how it is put together is damaged here.".to_owned(),
        0 => {
            "What its author signed is not here: without it its fragments cannot be put together.".to_owned()
        }
        hurt => {
            let (are, them) = if hurt == 1 { ("is", "it") } else { ("are", "them") };
            let all = human::fragments(all);
            format!("{hurt} of {all} {are} damaged here: without {them} the whole cannot be put together.")
        }
    }
}

fn kept(facts: &Facts) -> Option<Finding> {
    let all = facts.ok + facts.suspect + facts.missing;
    let (all, bytes) = (human::fragments(all), human::bytes(facts.bytes));
    let what = format!("{all}, {bytes}, came here {} ago", age(facts.came_ms));
    Some(Finding { what, remedy: None })
}

/// What is kept for others is a part of it, and what was fetched may be.
fn part(facts: &Facts) -> Option<Finding> {
    let Content { here, of, is_wanted } = facts.content.filter(Content::is_part)?;
    Some(Finding {
        what: format!(
            "{here} of the {of} fragments of its content are here: others have the rest, or nobody"
        ),
        remedy: (is_wanted && facts.retracted_ms.is_none()).then(|| "`fetch ID` brings the rest".to_owned()),
    })
}

fn is_part(facts: &Facts) -> bool {
    facts.content.is_some_and(|content| content.is_part())
}

fn damaged(facts: &Facts) -> Option<Finding> {
    let Facts { suspect, missing, .. } = facts;
    let what = match (suspect, missing) {
        (0, 0) => return None,
        (&suspect, 0) => {
            let many = human::fragments(suspect);
            format!("the disk gave other bytes than were stored for {many}: what is damaged is not served")
        }
        (0, &missing) => {
            let gone = human::fragments(missing);
            format!("the segments no longer have {gone}: one of them is lost, cut short or damaged")
        }
        (&suspect, &missing) => {
            let damaged = human::count(suspect, "fragment is", "fragments are");
            let gone = human::count(missing, "is", "are");
            format!("{damaged} not what was stored, and {gone} gone: what is damaged is not served")
        }
    };
    let remedy = format!(
        "put the segment files back from a copy, or put the same fragments again (`fragment list ID` says which); if \
         there is no copy, {}; `doctor` looks at the disk",
        AGAIN
    );
    Some(Finding { what, remedy: Some(remedy) })
}

fn manifest(facts: &Facts) -> Option<Finding> {
    let from_copy = "put the segment files back from a copy of the data directory, then restart the daemon";
    let (what, remedy) = match facts.manifest {
        State::Ok if facts.damaged_documents > 0 => (
            "not all that says how its fragments are put together is in order here",
            format!("{from_copy}; if there is none, {}", AGAIN),
        ),
        State::Ok => return None,
        State::Missing => (
            "what its author signed is not here: somebody put single fragments here, or it was lost",
            "if it was made here, put the segment files back from a copy, then `rebuild-index`".to_owned(),
        ),
        State::Newer => ("a newer version of this software signed it", "update this software".to_owned()),
        State::Suspect => {
            ("what its author signed is damaged here", format!("{from_copy}; if there is none, {}", AGAIN))
        }
    };
    Some(Finding { what: what.to_owned(), remedy: Some(remedy) })
}

fn verified(facts: &Facts) -> Option<Finding> {
    let next = facts
        .verified_in_ms
        .map_or_else(String::new, |ms| format!("; the next verification begins in {}", age(ms)));
    let what = match (facts.unverified, facts.oldest_verified_ms) {
        (0, None) => return None,
        (0, Some(oldest)) => {
            format!(
                "all that is in order was read back from the disk within {}{next}",
                human::the_last(oldest)
            )
        }
        (unverified, _) => {
            let were = human::count(unverified, "fragment was", "fragments were");
            format!("{were} written and synced, and not read back from the disk yet{next}")
        }
    };
    let remedy = (facts.unverified > 0).then(|| "`scrub start --wait` reads everything back now".to_owned());
    Some(Finding { what, remedy })
}

fn copies(facts: &Facts, whole: bool) -> Option<Finding> {
    let holders = facts.holders.len();
    if holders > 0 {
        let claim = human::count(holders as u64, "other node claims", "other nodes claim");
        let claimed = facts.holders.iter().map(|holder| since(holder.claimed_at_ms, facts.now_ms));
        let asked = human::the_last(claimed.max().unwrap_or(0));
        let proofs = facts.holders.iter().filter_map(|holder| holder.proven_at_ms);
        let proofs: Vec<_> = proofs.map(|at_ms| since(at_ms, facts.now_ms)).collect();
        let proven = proofs.len();
        // Each by its last one: whoever has proven nothing for long is not hidden by who just did.
        let oldest = human::the_last(proofs.into_iter().max().unwrap_or(0));
        let have_proven = match proven {
            0 => "have proven any".to_owned(),
            1 => format!("has proven some, within {oldest}"),
            _ => format!("have proven some, each within {oldest}"),
        };
        let what = format!(
            "{claim} to hold some of it, asked within {asked}, and {proven} of {holders} {have_proven}"
        );
        let remedy = (proven < holders).then(|| "`prove ID` has them show it".to_owned());
        return Some(Finding { what, remedy });
    }
    is_only_here(facts).then(|| Finding {
        what: "no other machine is known to keep any of it: a disk that fails takes it along".to_owned(),
        // What is hurt, or not all here, cannot be exported.
        remedy: (whole && !is_part(facts)).then(|| "keep a copy elsewhere: `export ID DIR`".to_owned()),
    })
}

/// Whether nobody else is known to have any of it, or said to: whoever is will not have told this node lately. A part of what is
/// somebody else's came from others.
fn is_only_here(facts: &Facts) -> bool {
    let is_not_known = facts.safety.as_ref().is_some_and(|safety| safety.guarantee.is_none());
    let came_from_others = is_part(facts) && facts.is_ours != Some(true);
    facts.holders.is_empty() && !is_not_known && !came_from_others
}

/// What the others have said lately.
fn safety(facts: &Facts) -> Option<Finding> {
    let Safety { sentence, is_as_asked, remedies, guarantee } = facts.safety.as_ref()?;
    let (sentence, figures) = (sentence.trim_end_matches('.'), figures(guarantee.as_ref(), facts.now_ms));
    let remedy = match remedies.as_slice() {
        [] => (!is_as_asked)
            .then(|| "`repair ID` asks all of them now, and rebuilds what they have lost".to_owned()),
        remedies => Some(remedies.join("; or ")),
    };
    let what = match guarantee {
        Some(_) => format!("by what others have claimed or proven lately: {sentence}{figures}"),
        None => sentence.to_owned(),
    };
    Some(Finding { what, remedy })
}

/// How old the oldest claim is that counts, and how many have proven it; nothing where nobody claims anything.
fn figures(guarantee: Option<&Guarantee>, now_ms: i64) -> String {
    let Some(Guarantee { nodes, proven_nodes, oldest_claim_ms: Some(oldest_ms), .. }) = guarantee else {
        return String::new();
    };
    let (claimed, nodes) = (since(*oldest_ms, now_ms), human::count((*nodes).into(), "node", "nodes"));
    let claimed = human::the_last(claimed);
    format!(" (claimed within {claimed}; proven lately: {proven_nodes} of {nodes})")
}

/// When it is looked at, and mended.
fn looked(facts: &Facts) -> Option<Finding> {
    let looks = facts.watched.as_ref()?;
    let (looked, again) = match looks.looked_ms {
        None => ("this node has not asked the holders by itself yet".to_owned(), "does"),
        Some(ms) => (format!("the holders were asked {} ago", age(ms)), "are asked again"),
    };
    let next = looks.next_in_ms.map_or(String::new(), |ms| format!(", and {again} within {}", age(ms)));
    let Some(below_ms) = looks.below_ms else { return Some(Finding { what: looked + &next, remedy: None }) };
    let mends = match looks.mends_in_ms {
        Some(0) => "this node mends it as soon as replication.repair_per_day allows".to_owned(),
        Some(ms) => format!("this node mends it in {} unless somebody else has by then", age(ms)),
        None => "other holders mend it".to_owned(),
    };
    Some(Finding {
        what: format!("it has needed mending for {}: {mends}; {looked}{next}", age(below_ms)),
        remedy: Some("`repair ID` does it now".to_owned()),
    })
}

fn adopted(facts: &Facts) -> Option<Finding> {
    let since = age(facts.adopted_ms?);
    Some(Finding {
        what: format!("it is somebody else's, adopted {since} ago: all of it is kept here, and looked after"),
        remedy: Some("`forget ID` ends that".to_owned()),
    })
}

fn retracted(facts: &Facts) -> Option<Finding> {
    let since = age(facts.retracted_ms?);
    Some(Finding {
        what: format!("its author took it back {since} ago, for ever: other nodes drop it and refuse it"),
        remedy: Some("`forget ID` drops what is here as well".to_owned()),
    })
}

fn former(facts: &Facts) -> Option<Finding> {
    let claim = match facts.former {
        0 => return None,
        1 => "1 node that is blocked, or no longer a peer, has claimed".to_owned(),
        many => format!("{many} nodes that are blocked, or no longer peers, have claimed"),
    };
    Some(Finding {
        what: format!("{claim} some of it: that does not count as a copy"),
        remedy: Some("`attest ID` says who; `unblock` or `peers add` whom you trust".to_owned()),
    })
}

fn key(facts: &Facts) -> Option<Finding> {
    facts.private.filter(|is_private| *is_private)?;
    if facts.is_ours == Some(false) {
        let what = "its content is encrypted: only its author can read it".to_owned();
        return Some(Finding { what, remedy: None });
    }
    Some(Finding {
        what: "its content is encrypted: without the key in author.key nobody can read it, you included"
            .to_owned(),
        remedy: Some("keep a copy of author.key where this machine is not".to_owned()),
    })
}

/// What is left to whoever has the files. What was made at another time is not the same, and what is private is encrypted
/// anew each time.
const AGAIN: &str =
    "`forget` it and `create` it again from the files if you have them: it then has another id";

/// How long ago that was, in milliseconds. Never negative: clocks are set.
pub(crate) fn since(at_ms: i64, now_ms: i64) -> u64 {
    u64::try_from(now_ms.saturating_sub(at_ms)).unwrap_or(0)
}

fn age(ms: u64) -> String {
    human::span(ms / 1000)
}

#[cfg(test)]
mod tests;
