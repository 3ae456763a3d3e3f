//! The invite: one line that a person sends to another, so that their nodes know each other. Who has it may become a peer
//! of the node that made it, once, until it expires.
//!
//! Written as bech32m with the prefix `invite`, like ids: no letter in it is changed by a chat or a mail, one that was
//! mistyped is noticed, and it is never taken for an id. What mails do to long lines is undone: blanks in it do not count.
//!
//! ```text
//! length of the map (2 bytes, most significant first) ‖ map
//! ```
//!
//! The length stands in front so that a line that was not copied whole is told from one that was mistyped.
//!
//! | field | holds |
//! |---|---|
//! | 0 | version, 1 |
//! | 1 | node that invites, 32 bytes |
//! | 2 | where it is reached, 1 to 8 texts `host:port` |
//! | 3 | token that the invited node shows, 32 bytes |
//! | 4 | when it expires, on the clock of the node that invites, milliseconds since 1970 |
//! | 5 | optional: how much that node will keep for the other, in bytes |

use std::fmt;

use bech32::{Bech32m, Checksum as _, Hrp, primitives::decode::CheckedHrpstring};
use minicbor::Decoder;

use crate::{
    cbor::{self, Fields, Writer},
    error::ProtoError,
    ids::NodeId,
    limits::{ADDRESS_BYTES_MAX, ADDRESSES_MAX, TIME_MS_MAX},
};

/// An invitation to become a peer of a node.
#[derive(Clone, PartialEq, Eq)]
pub struct Invite {
    /// The node that invites.
    pub node: NodeId,
    /// Where it is reached, `host:port`, the one to try first in front.
    pub addresses: Vec<String>,
    /// What the invited node shows, once. A secret of the two persons.
    pub token: [u8; 32],
    /// When it expires, in milliseconds since 1970.
    pub expires_at_ms: u64,
    /// How many bytes the node that invites will keep for the other; what it keeps for any peer if absent.
    pub allowance_bytes: Option<u64>,
}

impl Invite {
    /// The line to send. Errors with [`ProtoError::Malformed`] when there is no address, or more than eight, and with
    /// [`ProtoError::TooLong`] when the addresses do not fit into a line.
    pub fn to_line(&self) -> Result<String, ProtoError> {
        self.check()?;
        let map = self.encode();
        let letters = letters(map.len());
        if letters > LETTERS_MAX {
            return Err(ProtoError::TooLong {
                what: WHAT,
                length: letters as u64,
                limit: LETTERS_MAX as u64,
            });
        }
        let length = u16::try_from(map.len()).unwrap_or(u16::MAX);
        Ok(spell(&[&length.to_be_bytes()[..], &map].concat()))
    }

    /// Reads a line, whatever blanks are in it. Errors with [`ProtoError::BadId`] for what is no invite, not all of one,
    /// or mistyped; with [`ProtoError::NewerVersion`] and [`ProtoError::Malformed`]. No error repeats the token. Whether it
    /// still holds the node that made it decides, by its own clock.
    pub fn read(line: &str) -> Result<Self, ProtoError> {
        let line: String = line.split_whitespace().collect();
        let map = map(&line).map_err(|reason| ProtoError::BadId {
            kind: WHAT,
            text: format!("{}…", line.chars().take(SHOWN_CHARS_MAX).collect::<String>()),
            reason,
        })?;
        Self::decode(&map)
    }

    fn check(&self) -> Result<(), ProtoError> {
        let refuse = |reason: String| Err(ProtoError::malformed(WHAT, reason));
        if self.addresses.is_empty() || self.addresses.len() > ADDRESSES_MAX {
            return refuse(format!("{} addresses; 1 to {ADDRESSES_MAX} are allowed", self.addresses.len()));
        }
        if let Some(long) = self.addresses.iter().find(|address| address.len() > ADDRESS_BYTES_MAX) {
            return refuse(format!("an address of {} bytes", long.len()));
        }
        if self.expires_at_ms > TIME_MS_MAX {
            return refuse(format!("it expires at {} ms", self.expires_at_ms));
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::document(VERSION);
        out.bytes(1, self.node.as_bytes());
        out.texts(2, &self.addresses);
        out.bytes(3, &self.token);
        out.unsigned(4, self.expires_at_ms);
        if let Some(bytes) = self.allowance_bytes {
            out.unsigned(5, bytes);
        }
        out.finish()
    }

    fn decode(map: &[u8]) -> Result<Self, ProtoError> {
        cbor::check(WHAT, map)?;
        let mut decoder = Decoder::new(map);
        let mut fields = Fields::enter(WHAT, &mut decoder)?;
        fields.version(VERSION)?;
        let invite = Self {
            node: fields.required(1, cbor::bytes32)?,
            addresses: fields.required(2, cbor::texts_within::<ADDRESSES_MAX>)?,
            token: fields.required(3, cbor::bytes32)?,
            expires_at_ms: fields.required(4, Decoder::u64)?,
            allowance_bytes: fields.optional(5, Decoder::u64)?,
        };
        invite.check()?;
        Ok(invite)
    }
}

/// Without the token: what is printed for debugging ends up in logs.
impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, addresses, token: _, expires_at_ms, allowance_bytes } = self;
        f.debug_struct("Invite")
            .field("node", node)
            .field("addresses", addresses)
            .field("expires_at_ms", expires_at_ms)
            .field("allowance_bytes", allowance_bytes)
            .finish_non_exhaustive()
    }
}

/// The map that a line without blanks holds, or what is wrong with it.
fn map(line: &str) -> Result<Vec<u8>, String> {
    let prefix = line.split_once('1').map(|(prefix, _)| prefix.to_ascii_lowercase());
    if prefix.as_deref() != Some(HRP) {
        return Err(format!("it does not start with `{HRP}1`"));
    }
    // A letter more or less is said first: the checksum would only say that something is wrong.
    let (found, expected) = (line.chars().count(), expected(line));
    match expected {
        Some(expected) if found < expected => {
            return Err(format!("it is cut off, or mistyped: {found} of {expected} letters are there"));
        }
        None if found < LETTERS_MIN => return Err(format!("it is cut off behind {found} letters")),
        _ => {}
    }
    let mistyped = |error: &dyn fmt::Display| format!("{error}: it was mistyped, or is not only the invite");
    let checked = CheckedHrpstring::new::<Bech32m>(line).map_err(|error| mistyped(&error))?;
    let bytes: Vec<u8> = checked.byte_iter().collect();
    let whole = expected == Some(found) && line.eq_ignore_ascii_case(&spell(&bytes));
    match bytes.split_at_checked(LENGTH_BYTES) {
        Some((_, map)) if whole => Ok(map.to_vec()),
        _ => Err(mistyped(&"its length is not what it says")),
    }
}

/// How many letters a line has, as its beginning says; `None` when that is impossible, or missing.
fn expected(line: &str) -> Option<usize> {
    let mut values = line.chars().skip(HRP.len() + 1).map(|letter| bech32::Fe32::from_char(letter).ok());
    let first: Option<u32> = (0..LENGTH_LETTERS)
        .try_fold(0, |sum, _| Some(sum << LETTER_BITS | u32::from(values.next()??.to_u8())));
    // Four letters hold 20 bits, the length the upper 16 of them.
    let length = usize::try_from(first? >> (LENGTH_LETTERS * LETTER_BITS - 16)).ok()?;
    Some(letters(length)).filter(|letters| (LETTERS_MIN..=LETTERS_MAX).contains(letters))
}

/// How many letters a line with a map of this length has.
const fn letters(map: usize) -> usize {
    HRP.len() + 1 + ((LENGTH_BYTES + map) * 8).div_ceil(LETTER_BITS as usize) + CHECKSUM_LETTERS
}

fn spell(bytes: &[u8]) -> String {
    // Only a line that is too long cannot be spelled, and that was refused.
    bech32::encode::<Bech32m>(Hrp::parse_unchecked(HRP), bytes).unwrap_or_default()
}

const WHAT: &str = "invite";
const VERSION: u64 = 1;
const HRP: &str = "invite";
const LENGTH_BYTES: usize = 2;
const LETTER_BITS: u32 = 5;
const LENGTH_LETTERS: u32 = 4;
const CHECKSUM_LETTERS: usize = Bech32m::CHECKSUM_LENGTH;
/// As long as bech32m is sure to find four wrong letters (BIP 173).
const LETTERS_MAX: usize = Bech32m::CODE_LENGTH;
/// The least that a line can say: a version, 32 bytes twice, an address of one byte, and a time.
const LETTERS_MIN: usize = letters(1 + 2 + 35 + 4 + 35 + 2);
/// How much of a wrong line an error repeats: none of it is the token.
const SHOWN_CHARS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_MS: u64 = 1_764_374_400_000;

    fn invite() -> Invite {
        Invite {
            node: NodeId::from_bytes([7; 32]),
            addresses: vec!["example.org:4433".to_owned(), "[2001:db8::7]:4433".to_owned()],
            token: [0xa5; 32],
            expires_at_ms: NOW_MS + 86_400_000,
            allowance_bytes: Some(200_000_000_000),
        }
    }

    #[track_caller]
    fn refused(line: &str, reason: &str) {
        let error = Invite::read(line).unwrap_err().to_string();
        assert!(error.contains(reason), "{line}: {error}");
    }

    #[test]
    fn invite_written_and_read_is_the_same() {
        let bare = Invite { allowance_bytes: None, addresses: vec!["h:1".to_owned()], ..invite() };
        for invite in [invite(), bare] {
            let line = invite.to_line().unwrap();
            assert!(
                line.starts_with("invite1") && line.bytes().all(|byte| byte.is_ascii_alphanumeric()),
                "{line}"
            );
            assert_eq!(Invite::read(&line), Ok(invite.clone()));
            assert_eq!(Invite::read(&line.to_uppercase()), Ok(invite.clone()));
            let (begin, end) = line.split_at(72);
            assert_eq!(Invite::read(&format!("  {begin}\r\n\t{end}\n")), Ok(invite));
        }
    }

    #[test]
    fn invite_that_is_cut_off_says_how_much_is_there() {
        let line = invite().to_line().unwrap();
        let length = line.len();
        for cut in ["invite1".len() + 4, 80, length - 6, length - 1] {
            refused(&line[..cut], &format!("cut off, or mistyped: {cut} of {length} letters"));
        }
        refused("invite1", "cut off behind 7 letters");
        refused(&line[..9], "cut off behind 9 letters");
    }

    #[test]
    fn invite_with_a_wrong_letter_is_refused_wherever_it_is() {
        let line = invite().to_line().unwrap();
        for at in "invite1".len()..line.len() {
            let mut bad = line.clone().into_bytes();
            bad[at] = if bad[at] == b'q' { b'p' } else { b'q' };
            let bad = String::from_utf8(bad).unwrap();
            let error = Invite::read(&bad).unwrap_err();
            assert!(matches!(error, ProtoError::BadId { .. }), "{at}: {error}");
        }
        refused(&line.replace("invite1", "invite1b"), "mistyped");
        refused(&format!("{line}q"), "mistyped");
        refused(&format!("<{line}>"), "does not start with `invite1`");
        let mixed = line.replacen('q', "Q", 1);
        refused(&mixed, "mistyped");
    }

    #[test]
    fn invite_with_a_second_spelling_is_refused() {
        // Right checksums around bytes whose length is another.
        let map = invite().encode();
        let said = |length: usize, rest: &[u8]| {
            spell(&[&u16::try_from(length).unwrap().to_be_bytes()[..], rest].concat())
        };
        refused(&said(map.len() - 1, &map), "its length is not what it says");
        refused(&said(map.len() + 1, &map), "cut off");
        refused(&said(map.len() + 1, &[&map[..], &[0]].concat()), "bytes behind the end");
    }

    #[test]
    fn something_else_than_an_invite_is_refused_by_what_it_starts_with() {
        refused("", "does not start with `invite1`");
        refused("hello", "does not start with `invite1`");
        refused(&NodeId::from_bytes([7; 32]).to_string(), "does not start with `invite1`");
        refused("invite", "does not start with `invite1`");
    }

    #[test]
    fn invite_that_cannot_be_followed_is_not_made() {
        let with =
            |addresses: Vec<String>| Invite { addresses, ..invite() }.to_line().unwrap_err().to_string();
        assert!(with(Vec::new()).contains("0 addresses"));
        assert!(with(vec!["h:1".to_owned(); 9]).contains("9 addresses"));
        assert!(with(vec!["h".repeat(256)]).contains("256 bytes"));
        assert!(with(vec!["h".repeat(255); 3]).contains("at most 1023"));
        let late = Invite { expires_at_ms: TIME_MS_MAX + 1, ..invite() };
        assert!(late.to_line().is_err());
    }

    #[test]
    fn longest_invite_of_eight_machines_fits_into_a_line() {
        let address = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535".to_owned();
        let long = Invite {
            addresses: vec![address; ADDRESSES_MAX],
            expires_at_ms: TIME_MS_MAX,
            allowance_bytes: Some(u64::MAX),
            ..invite()
        };
        assert_eq!(Invite::read(&long.to_line().unwrap()), Ok(long));
    }

    #[test]
    fn token_is_in_no_error_and_in_no_log() {
        let line = invite().to_line().unwrap();
        let error = Invite::read(&line[..line.len() - 1]).unwrap_err().to_string();
        assert!(error.contains(&line[..20]) && !error.contains(&line[..21]), "{error}");
        assert!(!format!("{:?}", invite()).contains("165"), "{:?}", invite());
    }

    proptest! {
        #[test]
        fn line_of_any_text_is_read_without_a_panic(text in "\\PC*", letters in "invite1[qpzry9x8gf2tvdw0s3jn54khce6mua7l]{0,300}") {
            let _ = Invite::read(&text);
            let _ = Invite::read(&letters);
        }
    }
}
