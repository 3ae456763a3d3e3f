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
    /// One by one.
    pub(crate) findings: Vec<Finding>,
    /// The other nodes that claim to hold some of it, in the order of their ids: those that are peers.
    #[serde(default)]
    pub(crate) holders: Vec<Holder>,
    /// How safe it is by what others have claimed or proven lately; absent when it was not published, as far as is known.
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

/// How safe a tessera is with others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Safety {
    /// In one sentence.
    pub(crate) sentence: String,
    /// Whether that is as safe as asked.
    pub(crate) is_as_asked: bool,
    /// What would make it safer.
    pub(crate) remedies: Vec<String>,
    /// In figures.
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
            findings: all.into_iter().flatten().collect(),
            holders: facts.holders.clone(),
            guarantee: facts.safety.as_ref().and_then(|safety| safety.guarantee.clone()),
        }
    }
}

impl Finding {
    /// Whether it says how many claim to hold some of a tessera: who they are belongs to it.
    pub(crate) fn is_about_holders(&self) -> bool {
        self.what.contains(CLAIM_SOME)
    }
}

fn verdict(facts: &Facts, whole: bool) -> String {
    let all = facts.ok + facts.suspect + facts.missing;
    if whole {
        let all = human::fragments(all);
        let only = if facts.holders.is_empty() { ", on this machine only" } else { "" };
        return format!("As far as is known all of it is here and in order: {all}{only}.");
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
        let what =
            format!("{claim} {CLAIM_SOME}, asked within {asked}, and {proven} of {holders} {have_proven}");
        let remedy = (proven < holders).then(|| "`prove ID` has them show it".to_owned());
        return Some(Finding { what, remedy });
    }
    Some(Finding {
        what: "no other machine is known to keep any of it: a disk that fails takes it along".to_owned(),
        // What is hurt cannot be exported.
        remedy: whole.then(|| "keep a copy elsewhere: `export ID DIR`".to_owned()),
    })
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
    Some(Finding {
        what: format!("by what others have claimed or proven lately: {sentence}{figures}"),
        remedy,
    })
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
    facts.private.unwrap_or(false).then(|| Finding {
        what: "its content is encrypted: without the key in author.key nobody can read it, you included"
            .to_owned(),
        remedy: Some("keep a copy of author.key where this machine is not".to_owned()),
    })
}

/// By this the finding about the holders is known again.
const CLAIM_SOME: &str = "to hold some of it";

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
mod tests {
    use proto::NodeId;

    use super::*;
    use crate::api::Standing;

    const MINUTE: u64 = 60_000;
    const DAY: u64 = 1440 * MINUTE;
    const NOW_MS: i64 = 1_700_000_000_000;

    fn whole() -> Facts {
        Facts {
            now_ms: NOW_MS,
            ok: 10,
            suspect: 0,
            missing: 0,
            bytes: 3 << 20,
            unverified: 0,
            oldest_verified_ms: Some(3 * DAY),
            came_ms: 9 * DAY,
            manifest: State::Ok,
            damaged_documents: 0,
            private: Some(true),
            verified_in_ms: Some(20 * DAY),
            holders: Vec::new(),
            former: 0,
            adopted_ms: None,
            retracted_ms: None,
            safety: None,
            watched: None,
        }
    }

    /// So many milliseconds ago.
    fn ago(ms: u64) -> i64 {
        NOW_MS - i64::try_from(ms).unwrap()
    }

    /// Who has claimed two fragments so long ago, and perhaps proven one.
    fn holder(number: u8, claimed_ms: u64, proven_ms: Option<u64>) -> Holder {
        Holder {
            node: NodeId::from_bytes([number; 32]),
            name: None,
            standing: Standing::Peer,
            claimed: 2,
            indices: vec![0],
            claimed_at_ms: ago(claimed_ms),
            proven: u64::from(proven_ms.is_some()),
            proven_at_ms: proven_ms.map(ago),
        }
    }

    fn held() -> Facts {
        Facts { holders: vec![holder(1, 4 * DAY, None), holder(2, DAY, Some(3 * DAY))], ..whole() }
    }

    #[track_caller]
    fn check(facts: &Facts, whole: bool, verdict: &str, findings: &[&str], remedies: usize) {
        let explained = Explained::new(facts);
        assert_eq!(explained.whole, whole, "{explained:?}");
        assert!(explained.verdict.contains(verdict), "{}", explained.verdict);
        for part in findings {
            assert!(explained.findings.iter().any(|one| one.what.contains(part)), "{part:?}: {explained:?}");
        }
        let with_remedy = explained.findings.iter().filter(|one| one.remedy.is_some()).count();
        assert_eq!(with_remedy, remedies, "{explained:?}");
    }

    #[test]
    fn tessera_in_order_is_explained_with_its_age_its_copies_and_its_key() {
        check(
            &whole(),
            true,
            "in order",
            &["3.00 MiB, came here 9 days", "last 3 days", "no other machine", "encrypted"],
            2,
        );
        let public = Facts { private: Some(false), ..whole() };
        check(&public, true, "in order", &["no other machine"], 1);
        let left = Facts { former: 1, ..whole() };
        let findings = ["no other machine", "1 node that is blocked, or no longer a peer, has claimed some"];
        check(&left, true, "on this machine only", &findings, 3);
        let adopted = Facts { adopted_ms: Some(2 * DAY), ..held() };
        check(&adopted, true, "in order: 10", &["somebody else's, adopted 2 days ago"], 3);
        let retracted = Facts { retracted_ms: Some(2 * DAY), ..held() };
        check(&retracted, true, "in order: 10", &["took it back 2 days ago, for ever"], 3);
        check(&Facts { former: 2, ..held() }, true, "in order: 10", &["2 nodes that are blocked"], 3);
        let fresh = Facts { unverified: 4, oldest_verified_ms: None, ..whole() };
        check(
            &fresh,
            true,
            "in order",
            &["4 fragments were written and synced, and not read back", "in 20 days"],
            3,
        );
    }

    #[test]
    fn holders_are_counted_with_the_oldest_claim_and_the_oldest_of_the_last_proofs() {
        let explained = |holders: Vec<Holder>, said: &str, remedies: usize| {
            let facts = Facts { holders, ..whole() };
            check(&facts, true, "in order: 10 fragments.", &[said], remedies);
            let explained = Explained::new(&facts);
            assert_eq!(explained.holders, facts.holders);
            assert_eq!(explained.findings.iter().filter(|one| one.is_about_holders()).count(), 1);
        };
        let some = "2 other nodes claim to hold some of it, asked within the last 4 days, and 1 of 2 has proven some, within \
                    the last 3 days";
        explained(held().holders, some, 2);
        let none = "1 other node claims to hold some of it, asked within the last 4 days, and 0 of 1 have proven any";
        explained(vec![holder(1, 4 * DAY, None)], none, 2);
        let all = vec![holder(1, DAY, Some(9 * DAY)), holder(2, DAY, Some(MINUTE))];
        explained(all, "and 2 of 2 have proven some, each within the last 9 days", 1);
        assert!(Explained::new(&whole()).findings.iter().all(|one| !one.is_about_holders()));
    }

    #[test]
    fn safety_is_told_in_figures_and_with_what_would_make_it_better() {
        let explained = |safety: &Safety, said: &str, remedy: Option<&str>| {
            let explained = Explained::new(&Facts { safety: Some(safety.clone()), ..held() });
            let finding = explained.findings.iter().find(|one| one.what.contains("proven lately: ")).unwrap();
            assert_eq!(finding.what, format!("by what others have claimed or proven lately: {said}"));
            assert_eq!(finding.remedy.as_deref(), remedy);
            assert_eq!(explained.guarantee, safety.guarantee);
        };
        let guarantee = Guarantee {
            survives: Some(2),
            machines: 5,
            nodes: 5,
            margin: 2,
            proven_nodes: 4,
            oldest_claim_ms: Some(ago(12 * MINUTE)),
        };
        let sentence = "Safe: survives the loss of any 2 of 5 machines.".to_owned();
        let safe = Safety { sentence, is_as_asked: true, guarantee: Some(guarantee), ..Safety::default() };
        let said = "Safe: survives the loss of any 2 of 5 machines (claimed within the last 12 minutes; proven lately: 4 of 5 \
                    nodes)";
        explained(&safe, said, None);
        let alone = Safety { sentence: "Not safe: no other machine has it.".to_owned(), ..Safety::default() };
        let asks = "`repair ID` asks all of them now, and rebuilds what they have lost";
        explained(&alone, "Not safe: no other machine has it", Some(asks));
        let remedies = ["3 more machines", "`repair` it"].map(str::to_owned).into();
        let told = Safety { remedies, ..alone };
        explained(&told, "Not safe: no other machine has it", Some("3 more machines; or `repair` it"));
    }

    #[test]
    fn tessera_that_is_watched_is_explained_with_when_it_is_mended() {
        let looks = Looks { looked_ms: Some(3 * MINUTE), next_in_ms: Some(DAY), ..Looks::default() };
        let watched = |looks: &Looks| Facts { watched: Some(looks.clone()), ..held() };
        let findings = ["the holders were asked 3 minutes ago, and are asked again within"];
        check(&watched(&looks), true, "in order: 10", &findings, 2);
        let below = Looks { below_ms: Some(9 * MINUTE), mends_in_ms: Some(5 * MINUTE), ..looks };
        let findings = ["it has needed mending for 9 minutes: this node mends it in 5 minutes"];
        check(&watched(&below), true, "in order: 10", &findings, 3);
        let others = Looks { mends_in_ms: None, ..below };
        check(&watched(&others), true, "in order: 10", &["other holders mend it"], 3);
    }

    #[test]
    fn tessera_that_is_hurt_is_explained_with_what_hurts() {
        let suspect = Facts { ok: 8, suspect: 2, ..whole() };
        check(&suspect, false, "2 of 10 fragments are damaged", &["other bytes than were stored for 2"], 2);
        let gone = Facts { ok: 9, missing: 1, ..whole() };
        check(&gone, false, "1 of 10 fragments is damaged", &["no longer have 1 fragment:"], 2);
        let both = Facts { ok: 7, suspect: 1, missing: 2, ..whole() };
        check(&both, false, "3 of 10", &["1 fragment is not what was stored, and 2 are gone"], 2);
        let unread = Facts { manifest: State::Suspect, private: None, ..whole() };
        check(&unread, false, "author signed is damaged", &["signed is damaged"], 1);
        let layout = Facts { damaged_documents: 1, ..whole() };
        let single = Facts { manifest: State::Missing, private: None, ..whole() };
        check(&single, false, "author signed is not here", &["somebody put single fragments here"], 1);
        check(
            &layout,
            false,
            "how it is put together is damaged",
            &["how its fragments are put together"],
            2,
        );
    }
}
