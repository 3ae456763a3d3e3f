//! Ids: 32 bytes each, one type per kind, written as bech32m so that kinds can't be confused and typing errors are
//! caught. Checksums are written in hexadecimal, as `b3sum` prints them.

use std::{fmt, str::FromStr};

use bech32::{Bech32m, Hrp};

use crate::error::ProtoError;

/// Declares a 32-byte newtype with its conversions; text form and parsing are given by the two functions.
macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $show:expr, $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// From the 32 raw bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 raw bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl From<[u8; 32]> for $name {
            fn from(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = ProtoError;

            fn try_from(bytes: &[u8]) -> Result<Self, ProtoError> {
                let bytes = bytes.try_into().map_err(|_| {
                    ProtoError::malformed($kind, format!("{} bytes instead of 32", bytes.len()))
                })?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&$show(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ProtoError;

            fn from_str(text: &str) -> Result<Self, ProtoError> {
                $parse(text).map(Self).map_err(|reason| ProtoError::BadId {
                    kind: $kind,
                    text: text.chars().take(SHOWN_CHARS_MAX).collect(),
                    reason,
                })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

bytes32!(
    /// A tessera: BLAKE3 of its manifest file. Written `tess1…`.
    TesseraId, "tessera id", |b| to_bech32("tess", b), |t| from_bech32("tess", t)
);
bytes32!(
    /// A machine: its Ed25519 public key. Written `node1…`.
    NodeId, "node id", |b| to_bech32("node", b), |t| from_bech32("node", t)
);
bytes32!(
    /// A person: the Ed25519 public key that signs their tesserae. Written `author1…`.
    AuthorId, "author id", |b| to_bech32("author", b), |t| from_bech32("author", t)
);
bytes32!(
    /// Whom stored bytes are charged to: an author's key, or [`AccountId::LOCAL`].
    AccountId, "account id", |b| to_bech32("account", b), |t| from_bech32("account", t)
);
bytes32!(
    /// BLAKE3 of a fragment or a document. Written as 64 hexadecimal digits.
    Checksum, "checksum", to_hex, from_hex
);

/// The ids that people see: 32 bytes in bech32m behind a prefix of letters that tells their kind. Ordered as bytes.
pub trait Id: Copy + Ord + From<[u8; 32]> + fmt::Display + private::Sealed {
    /// The letters in front of the `1`.
    const HRP: &'static str;
    /// What it is, as a person would say it.
    const KIND: &'static str;
}

/// Declares which ids are written in bech32m.
macro_rules! bech32_ids {
    ($($name:ident, $hrp:literal, $kind:literal;)*) => {$(
        impl private::Sealed for $name {}

        impl Id for $name {
            const HRP: &'static str = $hrp;
            const KIND: &'static str = $kind;
        }
    )*};
}

bech32_ids! {
    TesseraId, "tess", "tessera id";
    NodeId, "node", "node id";
    AuthorId, "author", "author id";
    AccountId, "account", "account id";
}

mod private {
    /// Only this crate declares kinds of ids.
    pub trait Sealed {}
}

impl AccountId {
    /// This node itself.
    pub const LOCAL: Self = Self([0; 32]);
}

impl From<AuthorId> for AccountId {
    fn from(author: AuthorId) -> Self {
        Self(author.0)
    }
}

impl Checksum {
    /// The checksum of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl From<Checksum> for TesseraId {
    /// The tessera whose manifest file has this checksum.
    fn from(manifest: Checksum) -> Self {
        Self(manifest.0)
    }
}

fn to_bech32(hrp: &'static str, bytes: &[u8; 32]) -> String {
    // A constant lower-case prefix of at most seven letters and 32 bytes always fit: encoding cannot fail.
    let hrp = Hrp::parse_unchecked(hrp);
    bech32::encode::<Bech32m>(hrp, bytes).unwrap_or_default()
}

fn from_bech32(hrp: &'static str, text: &str) -> Result<[u8; 32], String> {
    let checked = bech32::primitives::decode::CheckedHrpstring::new::<Bech32m>(text)
        .map_err(|error| format!("{error}; was it typed or copied whole?"))?;
    let found = checked.hrp().to_lowercase();
    if found != hrp {
        return Err(format!("it starts with `{found}1`, not with `{hrp}1`"));
    }
    let bytes: Vec<u8> = checked.byte_iter().collect();
    let length = bytes.len();
    let bytes = bytes.try_into().map_err(|_| format!("it holds {length} bytes instead of 32"))?;
    // The last letter before the checksum has four bits to spare: with others than zeros an id had sixteen forms.
    if text.eq_ignore_ascii_case(&to_bech32(hrp, &bytes)) {
        Ok(bytes)
    } else {
        Err("the letter before its checksum is impossible".to_owned())
    }
}

fn to_hex(bytes: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*bytes).to_hex().to_string()
}

fn from_hex(text: &str) -> Result<[u8; 32], String> {
    blake3::Hash::from_hex(text)
        .map(|hash| *hash.as_bytes())
        .map_err(|_| "64 hexadecimal digits are expected".to_owned())
}

/// How much of a wrong id an error message repeats.
const SHOWN_CHARS_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_written_and_read_is_the_same() {
        let id = TesseraId::from_bytes([7; 32]);
        assert!(id.to_string().starts_with("tess1"), "{id}");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
    }

    #[test]
    fn id_of_another_kind_is_refused_by_name() {
        let node = NodeId::from_bytes([7; 32]).to_string();
        let error = node.parse::<TesseraId>().unwrap_err().to_string();
        assert!(error.contains("`node1`, not with `tess1`"), "{error}");
    }

    #[test]
    fn id_with_one_wrong_letter_is_refused() {
        let good = AuthorId::from_bytes([9; 32]).to_string();
        for at in "author1".len()..good.len() {
            let mut bad = good.clone().into_bytes();
            bad[at] = if bad[at] == b'q' { b'p' } else { b'q' };
            let bad = String::from_utf8(bad).unwrap();
            assert!(bad.parse::<AuthorId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn id_in_a_second_form_is_refused() {
        use bech32::{ByteIterExt, Fe32, Fe32IterExt};
        let spare = std::iter::once(Fe32::P);
        let letters = [7; 32].into_iter().bytes_to_fes().take(51).chain(spare);
        let hrp = Hrp::parse("tess").unwrap();
        let other: String = letters.with_checksum::<Bech32m>(&hrp).chars().collect();
        let error = other.parse::<TesseraId>().unwrap_err().to_string();
        assert!(error.contains("impossible"), "{other}: {error}");
    }

    #[test]
    fn checksum_is_hexadecimal() {
        let sum = Checksum::of(b"");
        assert_eq!(sum.to_string(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
        assert_eq!(sum.to_string().parse(), Ok(sum));
        assert!("af13".parse::<Checksum>().is_err());
    }
}
