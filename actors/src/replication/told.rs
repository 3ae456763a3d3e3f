//! What is said when a job has ended: one sentence, and what would make it better. Pure.

use proto::{NodeId, ProtoError, TesseraId, layout::Code};
use serde::{Deserialize, Serialize};

use super::standing::Guarantee;
use crate::error::ActorError;

/// What came of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// It in one sentence.
    pub sentence: String,
    /// How safe the tessera is now.
    pub guarantee: Option<Guarantee>,
    /// How many machines may be lost by the settings.
    pub asked: Option<u16>,
    /// What would mend it.
    pub remedies: Vec<String>,
    /// The nodes that keep nothing of it, and why.
    pub turned: Vec<Turned>,
    /// What could not be handed over, the first of it.
    #[serde(default)]
    pub left: Vec<Left>,
    /// Tesserae of this node itself that no other is known to keep, the first of them.
    #[serde(default)]
    pub only_here: Vec<TesseraId>,
    /// Whether a part of what was asked for is not done.
    #[serde(default)]
    pub is_partial: bool,
    /// What would be better than what is as asked.
    #[serde(default)]
    pub offer: Option<String>,
    /// Why it failed, if so.
    #[serde(default)]
    pub failure: Option<Failure>,
}

/// Why a job failed, by what is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// What is here, or what was brought here, is not what it should be.
    Damaged,
    /// There is no room for it.
    NoRoom,
    /// The disk fails.
    Io,
    /// Later software has written it.
    Newer,
    /// Too much is under way at the moment.
    Busy,
    /// It is not to be had.
    NotFound,
    /// Anything else: the sentence says what.
    #[serde(other)]
    Other,
}

impl From<&ActorError> for Failure {
    fn from(error: &ActorError) -> Self {
        match error {
            ActorError::Corrupt { .. }
            | ActorError::CorruptBlob { .. }
            | ActorError::CorruptDocument { .. }
            | ActorError::Index { .. }
            | ActorError::Proto(ProtoError::Mismatch { .. } | ProtoError::BadSignature { .. }) => {
                Self::Damaged
            }
            error if error.is_full_disk() => Self::NoRoom,
            ActorError::Io { .. } | ActorError::Sqlite(_) | ActorError::ReadOnly { .. } => Self::Io,
            ActorError::Version { .. } | ActorError::Proto(ProtoError::NewerVersion { .. }) => Self::Newer,
            ActorError::Busy { .. } | ActorError::Restarting { .. } | ActorError::Cut => Self::Busy,
            ActorError::NotFound { .. } => Self::NotFound,
            _ => Self::Other,
        }
    }
}

/// A node that keeps nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turned {
    /// The node.
    pub node: NodeId,
    /// Why not.
    pub reason: String,
}

/// A tessera of which something is here for others, and stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Which one.
    pub tessera: TesseraId,
    /// How many bytes of it.
    pub bytes: u64,
    /// Why.
    pub reason: String,
}

impl Told {
    /// It could not be done.
    pub(super) fn failed(error: &ActorError) -> Self {
        Self { failure: Some(error.into()), ..Self::plain(error.to_string()) }
    }

    /// Nothing but a sentence.
    pub(super) fn plain(sentence: String) -> Self {
        Self { sentence, ..Self::default() }
    }

    /// How safe a tessera is that was published: by this node, or by somebody else.
    pub(super) fn published(guarantee: Guarantee, asked: u16, turned: Vec<Turned>, means: Means) -> Self {
        let sentence = guarantee.sentence(asked);
        let mut told =
            Self { guarantee: Some(guarantee), asked: Some(asked), turned, ..Self::plain(sentence) };
        if !told.is_as_asked() {
            told.remedies = told.mend(guarantee, asked, means);
        }
        told
    }

    /// How safe a tessera is cannot be said: its holders, so many, have not said lately what they have. They are asked where it is
    /// looked after.
    pub(super) fn not_known(holders: usize, asked: u16, is_looked_after: bool) -> Self {
        let holders = match holders {
            1 => String::from("the node that is said to keep it has"),
            holders => format!("the {holders} nodes that are said to keep it have"),
        };
        let sentence = format!("Not known how safe it is: {holders} not told this node so lately.");
        let adopt =
            || String::from("`adopt` it: then this node asks them, keeps all of it, and looks after it");
        let remedies = if is_looked_after { Vec::new() } else { vec![adopt()] };
        Self { asked: Some(asked), remedies, ..Self::plain(sentence) }
    }

    /// A tessera was brought here.
    pub(super) fn fetched(content_len: u64) -> Self {
        Self::plain(format!("Here: all {} of it, as its author signed them.", size(content_len)))
    }

    /// Whether all was done, and it is as safe as asked, or nothing was asked of that kind.
    pub fn is_as_asked(&self) -> bool {
        let survives = self.guarantee.and_then(|guarantee| guarantee.survives);
        !self.is_partial && self.asked.is_none_or(|asked| survives.is_some_and(|survives| survives >= asked))
    }

    /// Offers another code for the machines that are there now, if that is so much better that everything is worth being moved.
    pub(super) fn offer(&mut self, kept: Code, other: Code) {
        let survives = self.guarantee.and_then(|guarantee| guarantee.survives).unwrap_or(0);
        let percent = |code: Code| u32::from(code.k() + code.m()) * 100 / u32::from(code.k());
        let is_worth_it =
            other.m() > survives || (other.m() == survives && percent(other) * 10 <= percent(kept) * 9);
        if self.is_as_asked() && kept != other && is_worth_it {
            let times = |code| format!("{}.{:02}", percent(code) / 100, percent(code) % 100);
            self.offer = Some(format!(
                "for the machines that are there now another layout fits better: it survives the loss of any {} and takes {} \
                 times its size, not {}; `publish` it with `--relayout` for that, which moves all of it",
                other.m(),
                times(other),
                times(kept)
            ));
        }
    }

    fn mend(&self, guarantee: Guarantee, asked: u16, means: Means) -> Vec<String> {
        let Means { known, is_ours, fits } = means;
        let again = if is_ours { "publish again" } else { "`repair` it" };
        let mut remedies = Vec::new();
        // One more than may be lost, if each has a whole copy.
        let needed = usize::from(asked) + 1;
        if known < needed {
            let more = needed - known;
            let machines = if more == 1 { "machine" } else { "machines" };
            remedies.push(format!(
                "{more} more {machines} of other people: `invite` makes a line for each, or `peers add` names one; then {again}"
            ));
        }
        if !self.turned.is_empty() {
            remedies.push(format!("what is named below keeps them from it: mend that, and {again}"));
        }
        if usize::from(guarantee.machines) >= needed && !fits {
            let who = if is_ours { "publish it" } else { "its author publishes it" };
            remedies.push(format!(
                "there are machines enough for another layout, which is safe without the others: {who} with `--relayout`"
            ));
        }
        if remedies.is_empty() {
            remedies.push(format!("what is missing of it can be made again: {again}"));
        }
        remedies
    }
}

/// What there is to make it safer with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means {
    /// Nodes that could keep it.
    pub(super) known: usize,
    /// Whether this node publishes it.
    pub(super) is_ours: bool,
    /// Whether its layout is that for as many machines as keep it.
    pub(super) fits: bool,
}

/// A number of bytes as people read it: `47.7 MiB`.
fn size(bytes: u64) -> String {
    let tenths = |unit: u64| u128::from(bytes) * 10 / u128::from(unit);
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", tenths(*unit) / 10, tenths(*unit) % 10),
        None => format!("{bytes} bytes"),
    }
}

/// The largest first.
const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_said_as_people_read_it() {
        let check = |bytes, expected: &str| assert_eq!(size(bytes), expected);
        check(0, "0 bytes");
        check(1023, "1023 bytes");
        check(1024, "1.0 KiB");
        check(50_000_000, "47.6 MiB");
        check(u64::MAX, "16777215.9 TiB");
    }

    fn guarantee(survives: Option<u16>, machines: u16) -> Guarantee {
        Guarantee { survives, machines, nodes: machines, margin: 0, proven_nodes: 0, oldest_claim_ms: None }
    }

    /// A layout for fewer machines, published here.
    fn means(known: usize) -> Means {
        Means { known, is_ours: true, fits: false }
    }

    fn turned() -> Vec<Turned> {
        vec![Turned { node: NodeId::from_bytes([1; 32]), reason: "full".to_owned() }]
    }

    #[test]
    fn as_asked_is_said_in_one_sentence_and_needs_no_remedy() {
        let told = Told::published(guarantee(Some(2), 5), 2, turned(), means(5));
        assert_eq!(told.sentence, "Safe: survives the loss of any 2 of 5 machines.");
        assert!(told.is_as_asked() && told.remedies.is_empty());
    }

    #[test]
    fn less_than_asked_says_what_would_mend_it() {
        let check = |survives, machines, turned: Vec<Turned>, known, remedy: &str| {
            let [told, others] = [true, false].map(|is_ours| {
                let means = Means { is_ours, ..means(known) };
                Told::published(guarantee(survives, machines), 2, turned.clone(), means)
            });
            assert!(!told.is_as_asked());
            assert!(told.remedies.iter().any(|it| it.contains(remedy)), "{:?}", told.remedies);
            assert_eq!(told.remedies.len(), others.remedies.len());
            assert!(!others.remedies.iter().any(|it| it.contains("publish again")), "only its author does");
        };
        check(Some(0), 1, Vec::new(), 1, "2 more machines");
        check(Some(1), 2, Vec::new(), 2, "1 more machine of");
        check(None, 0, turned(), 3, "named below");
        check(Some(1), 3, Vec::new(), 3, "--relayout");
        check(Some(1), 5, turned(), 8, "--relayout");
        check(Some(1), 5, turned(), 8, "named below");
    }

    #[test]
    fn another_layout_is_advised_only_where_there_is_one() {
        let fitting = Means { fits: true, ..means(5) };
        let told = Told::published(guarantee(Some(1), 5), 2, Vec::new(), fitting);
        assert_eq!(told.remedies, ["what is missing of it can be made again: publish again"]);
    }

    #[test]
    fn what_is_written_down_is_read_again() {
        let told = Told::published(guarantee(Some(1), 2), 2, turned(), means(2));
        let text = serde_json::to_string(&told).unwrap();
        assert_eq!(serde_json::from_str::<Told>(&text).unwrap(), told);
    }
}
