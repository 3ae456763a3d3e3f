//! What people say about a tessera, as it travels in an upload (`tessera.json`) and as it is kept in the bag
//! (`bag-info.txt`, RFC 8493, section 2.2.2).
//!
//! The bag holds it for public and private tesserae alike, so that it is found by whoever opens the bag; a public
//! manifest repeats it, a private one must not.

use std::fmt::Write as _;

use proto::{
    limits::MANIFEST_BYTES_MAX,
    manifest::{Description, Visibility},
};
use serde::{Deserialize, Serialize};

use super::error::ArchiveError;

/// The name of an upload's first entry that holds a [`Metadata`].
pub const METADATA_NAME: &str = "tessera.json";
/// The longest `tessera.json`, in bytes. What JSON says in as many is no longer in the manifest's CBOR, so a manifest
/// that would be too long is refused before any file is read.
pub const METADATA_BYTES_MAX: usize = MANIFEST_BYTES_MAX / 2;

/// `tessera.json`: everything is optional, and what is not known is refused, so that a misspelt `"pubic"` can't make
/// something else than was meant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metadata {
    /// What it is, in a line.
    pub title: Option<String>,
    /// The language of the content, as in `pt-BR`.
    pub language: Option<String>,
    /// Where it happened.
    pub place: Option<String>,
    /// When it happened, in the maker's words: `summer of 1973`.
    pub era: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Who is in it.
    pub people: Vec<String>,
    /// Readable by everybody. When false, the content is encrypted to the author and [`Metadata::recipients`].
    pub public: bool,
    /// `age1…`: who can read a private tessera besides its author.
    pub recipients: Vec<String>,
}

impl Metadata {
    /// Reads and checks `tessera.json`.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, ArchiveError> {
        // By itself serde also takes the values in their order, without names.
        if json.trim_ascii_start().first() != Some(&b'{') {
            return Err(bad("it must be a JSON object".to_owned()));
        }
        let metadata: Self = serde_json::from_slice(json).map_err(|error| bad(error.to_string()))?;
        metadata.check()?;
        Ok(metadata)
    }

    /// Refuses what `bag-info.txt` can't hold, and a public tessera with recipients.
    pub fn check(&self) -> Result<(), ArchiveError> {
        for (label, text) in self.lines() {
            if text.chars().any(char::is_control)
                || matches!(text.trim(), trimmed if trimmed.is_empty() || trimmed != text)
            {
                return Err(bad(format!(
                    "{label} {text:?} must be one line with something in it, without space around it"
                )));
            }
        }
        if self.public && !self.recipients.is_empty() {
            return Err(bad(
                "it is public, so everybody can read it: leave out the recipients, or do not publish it"
                    .into(),
            ));
        }
        Ok(())
    }

    /// Private unless said otherwise.
    pub(crate) fn visibility(&self) -> Visibility {
        if self.public { Visibility::Public } else { Visibility::Private }
    }

    /// What the manifest says about the content: nothing, unless it is public.
    pub(crate) fn description(&self) -> Description {
        if !self.public {
            return Description::default();
        }
        Description {
            title: self.title.clone(),
            language: self.language.clone(),
            place: self.place.clone(),
            era: self.era.clone(),
            tags: self.tags.clone(),
            people: self.people.clone(),
        }
    }

    /// The text of `bag-info.txt`. It comes first in the bag and so holds no totals.
    pub(crate) fn bag_info(&self, created_at_ms: u64) -> String {
        let mut text = format!("Bag-Software-Agent: tesseras\nBagging-Date: {}\n", date(created_at_ms));
        for (label, value) in self.lines() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{label}: {value}");
        }
        text
    }

    fn lines(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let single = [
            ("Title", &self.title),
            ("Language", &self.language),
            ("Place", &self.place),
            ("Era", &self.era),
        ];
        let single = single.into_iter().filter_map(|(label, value)| Some((label, value.as_deref()?)));
        let tags = self.tags.iter().map(|tag| ("Tag", tag.as_str()));
        let people = self.people.iter().map(|person| ("Person", person.as_str()));
        single.chain(tags).chain(people)
    }
}

fn bad(reason: String) -> ArchiveError {
    ArchiveError::Metadata { reason }
}

/// `YYYY-MM-DD` in UTC, by Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html#civil_from_days>).
pub fn date(ms: u64) -> String {
    let days = ms / 86_400_000 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // The year begins in March, so that the leap day is its last.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", year_of_era + era * 400 + next_year)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_is_that_of_the_calendar() {
        for (ms, expected) in [
            (0, "1970-01-01"),
            (951_782_400_000, "2000-02-29"),
            (951_868_800_000, "2000-03-01"),
            (1_704_067_199_999, "2023-12-31"),
            (4_107_542_400_000, "2100-03-01"),
        ] {
            assert_eq!(date(ms), expected);
        }
    }

    #[test]
    fn metadata_with_an_unknown_field_is_refused_by_name() {
        let error = Metadata::parse(br#"{"pubic": true}"#).unwrap_err().to_string();
        assert!(error.contains("`pubic`"), "{error}");
        assert!(Metadata::parse(br#"{"title": "a", "title": "b"}"#).is_err());
        assert!(Metadata::parse(b"[true]").unwrap_err().to_string().contains("object"));
    }

    #[test]
    fn metadata_that_says_nothing_is_private() {
        let metadata = Metadata::parse(b"{}").unwrap();
        assert_eq!(metadata, Metadata::default());
        assert_eq!(metadata.visibility(), Visibility::Private);
    }

    #[test]
    fn metadata_that_would_break_a_line_is_refused() {
        for json in [r#"{"title": "a\nb"}"#, r#"{"tags": [""]}"#, r#"{"place": " a"}"#] {
            assert!(Metadata::parse(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn metadata_that_is_public_with_recipients_is_refused() {
        assert!(Metadata::parse(br#"{"public": true, "recipients": ["age1x"]}"#).is_err());
    }

    #[test]
    fn bag_info_lists_what_is_known() {
        let metadata = Metadata {
            title: Some("Vó Ana's kitchen".into()),
            era: Some("summer of 1973".into()),
            tags: vec!["family".into(), "food".into()],
            ..Metadata::default()
        };
        let expected = "Bag-Software-Agent: tesseras\nBagging-Date: 1970-01-01\n\
                        Title: Vó Ana's kitchen\nEra: summer of 1973\nTag: family\nTag: food\n";
        assert_eq!(metadata.bag_info(0), expected);
    }

    #[test]
    fn description_of_a_private_tessera_is_empty() {
        let mut metadata = Metadata { title: Some("secret".into()), ..Metadata::default() };
        assert_eq!(metadata.description(), Description::default());
        metadata.public = true;
        assert_eq!(metadata.description().title.as_deref(), Some("secret"));
    }
}
