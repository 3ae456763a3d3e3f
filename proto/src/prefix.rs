//! The beginning of an id, as people type it: `tess1qx…` stands for every tessera whose id starts so. It is parsed
//! into the range of 32-byte values, which an index can look up.

use std::{fmt, iter, str::FromStr};

use crate::{error::ProtoError, ids::Id};

/// The beginning of an id of kind `T`, or a whole one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPrefix<T> {
    text: String,
    first: T,
    last: T,
}

impl<T: Id> IdPrefix<T> {
    /// The lowest id it can stand for.
    pub fn first(&self) -> T {
        self.first
    }

    /// The highest id it can stand for.
    pub fn last(&self) -> T {
        self.last
    }

    /// The id, if it can stand for one only.
    pub fn exact(&self) -> Option<T> {
        (self.first == self.last).then_some(self.first)
    }

    /// Whether it can stand for this id.
    pub fn contains(&self, id: &T) -> bool {
        (self.first..=self.last).contains(id)
    }
}

impl<T: Id> From<T> for IdPrefix<T> {
    fn from(id: T) -> Self {
        Self { text: id.to_string(), first: id, last: id }
    }
}

impl<T> fmt::Display for IdPrefix<T> {
    /// In small letters, as ids are written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<T: Id> FromStr for IdPrefix<T> {
    type Err = ProtoError;

    /// Errors with [`ProtoError::BadId`], which names the bad letter; also when the letters are those of an id but
    /// its checksum does not fit.
    fn from_str(text: &str) -> Result<Self, ProtoError> {
        let refuse = |reason| ProtoError::BadId {
            kind: T::KIND,
            text: text.chars().take(SHOWN_CHARS_MAX).collect(),
            reason,
        };
        let small = one_case(text).map_err(refuse)?;
        let letters = small
            .strip_prefix(T::HRP)
            .and_then(|rest| rest.strip_prefix('1'))
            .ok_or_else(|| refuse(format!("it does not start with `{}1`", T::HRP)))?;
        let values = values(T::HRP.len() + 1, letters).map_err(refuse)?;
        let (first, last) = (T::from(filled(&values, 0)), T::from(filled(&values, ALL_ONES)));
        if values.len() >= DATA_LETTERS && !first.to_string().starts_with(&small) {
            return Err(refuse("its checksum does not fit; was it typed or copied whole?".to_owned()));
        }
        Ok(Self { text: small, first, last })
    }
}

/// bech32 is written in small or in capital letters, not in both.
fn one_case(text: &str) -> Result<String, String> {
    let small = text.to_ascii_lowercase();
    if text == small || text == text.to_ascii_uppercase() {
        Ok(small)
    } else {
        Err("it mixes small and capital letters".to_owned())
    }
}

/// The five-bit values of the letters; `before` letters stand in front of them.
fn values(before: usize, letters: &str) -> Result<Vec<u8>, String> {
    if letters.is_empty() {
        return Err("at least one letter is needed behind the `1`".to_owned());
    }
    if letters.chars().count() > DATA_LETTERS + CHECKSUM_LETTERS {
        return Err(format!("it is longer than a whole id of {}", before + DATA_LETTERS + CHECKSUM_LETTERS));
    }
    (before + 1..)
        .zip(letters.chars())
        .map(|(at, letter)| {
            let value = LETTERS.chars().zip(0..).find(|(known, _)| *known == letter);
            value.map(|(_, value)| value).ok_or_else(|| {
                format!("letter {at}, {letter:?}, is none that ids are written with ({LETTERS})")
            })
        })
        .collect()
}

/// The 32 bytes whose bits are those of the values, and behind them those of `fill`.
fn filled(values: &[u8], fill: u8) -> [u8; 32] {
    let mut out = [0; 32];
    let values = values.iter().copied().chain(iter::repeat(fill)).take(DATA_LETTERS);
    for (value, letter) in values.zip(0..) {
        for bit in (0..LETTER_BITS).filter(|bit| value & (0x10 >> bit) != 0) {
            let at: usize = letter * LETTER_BITS + bit;
            if let Some(byte) = out.get_mut(at / 8) {
                *byte |= 0x80 >> (at % 8);
            }
        }
    }
    out
}

/// The letters of bech32, in the order of their values (BIP 173).
const LETTERS: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const LETTER_BITS: usize = 5;
/// 256 bits in letters of five; the last four bits of the last one are zero.
const DATA_LETTERS: usize = 52;
const CHECKSUM_LETTERS: usize = 6;
const ALL_ONES: u8 = 0x1f;
/// How much of a wrong prefix an error message repeats.
const SHOWN_CHARS_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{NodeId, TesseraId};

    fn id() -> TesseraId {
        TesseraId::from_bytes(*blake3::hash(b"tessera").as_bytes())
    }

    fn parse(text: &str) -> IdPrefix<TesseraId> {
        text.parse().unwrap()
    }

    fn refused(text: &str, reason: &str) {
        let error = text.parse::<IdPrefix<TesseraId>>().unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
        assert!(error.contains("is not a valid tessera id"), "{error}");
    }

    #[test]
    fn every_beginning_of_an_id_contains_it() {
        let whole = id().to_string();
        for length in "tess1".len() + 1..=whole.len() {
            let prefix = parse(&whole[..length]);
            assert!(prefix.contains(&id()), "{prefix}");
            assert_eq!(prefix.first().to_string()[..length.min(56)], whole[..length.min(56)]);
            assert_eq!(prefix.last().to_string()[..length.min(56)], whole[..length.min(56)]);
            assert_eq!(prefix.exact(), (length >= "tess1".len() + DATA_LETTERS).then_some(id()), "{length}");
        }
        assert_eq!(parse(&whole.to_uppercase()), IdPrefix::from(id()));
    }

    #[test]
    fn range_is_the_narrowest_that_holds_the_prefix() {
        let prefix = parse("tess1qp");
        assert_eq!(prefix.first().as_bytes()[..3], [0x00, 0x40, 0]);
        assert_eq!(prefix.last().as_bytes()[..3], [0x00, 0x7f, 0xff]);
        assert!(!prefix.contains(&TesseraId::from_bytes([0; 32])));
        assert_eq!(prefix.exact(), None);
    }

    #[test]
    fn bad_letter_is_named() {
        refused("tess1qbz", "letter 7, 'b', is none");
        refused("tess1qü", "letter 7, 'ü', is none");
        refused("tess1", "at least one letter");
        refused("", "does not start with `tess1`");
        refused("qqq", "does not start with `tess1`");
        refused("Tess1qq", "mixes small and capital");
        refused(&NodeId::from_bytes([1; 32]).to_string(), "does not start with `tess1`");
        refused(&format!("{}q", id()), "longer than a whole id");
    }

    #[test]
    fn whole_id_with_one_wrong_letter_is_refused() {
        let good = id().to_string();
        for at in "tess1".len()..good.len() {
            let other = if &good[at..=at] == "q" { "p" } else { "q" };
            refused(&format!("{}{other}{}", &good[..at], &good[at + 1..]), "its checksum does not fit");
        }
    }
}
