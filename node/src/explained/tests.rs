//! What `explain` says of what was found, in its own words.

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
        is_ours: Some(true),
        content: Some(Content { here: 10, of: 10, is_wanted: true }),
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
    check(&public, true, "all of it is here and in order", &["no other machine"], 1);
    let content = Some(Content { here: 2, of: 10, is_wanted: true });
    let part = Facts { content, ok: 2, private: None, is_ours: Some(false), ..whole() };
    check(&part, true, "what is here of it is in order: 2 fragments", &["2 of the 10 fragments"], 1);
    let told = Explained::new(&part);
    assert!(!told.verdict.contains("only") && !told.findings.iter().any(|it| it.what.contains("no other")));
    let ours = Facts { is_ours: Some(true), ..part.clone() };
    check(&ours, true, "in order: 2 fragments, on this machine only", &["no other machine"], 1);
    let kept = Facts { content: content.map(|it| Content { is_wanted: false, ..it }), ..part };
    check(&kept, true, "what is here of it is in order", &["2 of the 10 fragments"], 0);
    let others = Facts { is_ours: Some(false), ..whole() };
    check(&others, true, "in order", &["only its author can read it"], 1);
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
    };
    let some = "2 other nodes claim to hold some of it, asked within the last 4 days, and 1 of 2 has proven some, within \
                the last 3 days";
    explained(held().holders, some, 2);
    let none =
        "1 other node claims to hold some of it, asked within the last 4 days, and 0 of 1 have proven any";
    explained(vec![holder(1, 4 * DAY, None)], none, 2);
    let all = vec![holder(1, DAY, Some(9 * DAY)), holder(2, DAY, Some(MINUTE))];
    explained(all, "and 2 of 2 have proven some, each within the last 9 days", 1);
    assert!(Explained::new(&whole()).holders.is_empty());
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
    let guarantee = Guarantee {
        survives: None,
        machines: 0,
        nodes: 0,
        margin: -3,
        proven_nodes: 0,
        oldest_claim_ms: None,
    };
    let sentence = "Not safe: no other machine has it.".to_owned();
    let alone = Safety { sentence, guarantee: Some(guarantee), ..Safety::default() };
    let asks = "`repair ID` asks all of them now, and rebuilds what they have lost";
    explained(&alone, "Not safe: no other machine has it", Some(asks));
    let remedies = ["3 more machines", "`repair` it"].map(str::to_owned).into();
    let told = Safety { remedies, ..alone };
    explained(&told, "Not safe: no other machine has it", Some("3 more machines; or `repair` it"));
}

#[test]
fn holders_that_were_not_asked_are_not_said_to_have_nothing() {
    let sentence =
        "Not known how safe it is: the 4 nodes that are said to keep it have not told this node so lately.";
    let safety = Safety { sentence: sentence.to_owned(), ..Safety::default() };
    let explained = Explained::new(&Facts { safety: Some(safety), holders: Vec::new(), ..whole() });
    assert!(!explained.verdict.contains("only"), "{}", explained.verdict);
    let found = |what: &str| explained.findings.iter().find(|one| one.what.contains(what));
    assert!(found("no other machine").is_none());
    let asks = "`repair ID` asks all of them now, and rebuilds what they have lost";
    assert_eq!(found("have not told this node so lately").unwrap().remedy.as_deref(), Some(asks));
    assert_eq!(explained.guarantee, None);
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
    check(&layout, false, "how it is put together is damaged", &["how its fragments are put together"], 2);
}
