//! What two nodes send each other: one request and one answer on each stream, both as frames.
//!
//! A frame is a head of 8 bytes and a body, which is a map of numbered fields in strict CBOR; fields with unknown numbers
//! are skipped. Bulk bytes (a document, a fragment, a claim, a slice) follow raw behind the frame; their length is a
//! field of it, so that it is known before anything is taken.
//!
//! | bytes of the head | hold |
//! |---|---|
//! | 0 | version, 1 |
//! | 1 | kind: requests from 1, answers from 65 |
//! | 2–3 | zeros |
//! | 4–7 | length of the body, little-endian, at most [`FRAME_BYTES_MAX`] |

mod answer;
mod page;
mod refusal;
mod request;

pub use answer::{Answer, Bound, PeerSample};
use minicbor::Decoder;
pub use refusal::{Refusal, RefusalKind};
pub use request::Request;

use crate::{
    cbor::{self, Fields, Writer},
    error::ProtoError,
    limits::{ADDRESS_BYTES_MAX, FRAME_BYTES_MAX, FRAME_HEAD_BYTES, SOFTWARE_BYTES_MAX},
};

/// The fixed part in front of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Head {
    /// What the body is: the kind of a request or of an answer, known or not.
    pub kind: u8,
    /// Length of the body in bytes, at most [`FRAME_BYTES_MAX`].
    pub body_len: u32,
}

impl Head {
    /// Reads a head. Errors with [`ProtoError::NewerVersion`], with [`ProtoError::TooLong`] for a body above
    /// [`FRAME_BYTES_MAX`], and with [`ProtoError::Malformed`].
    pub fn parse(bytes: [u8; FRAME_HEAD_BYTES]) -> Result<Self, ProtoError> {
        let [version, kind, zero, nil, length @ ..] = bytes;
        if version > VERSION {
            let (version, known) = (version.into(), VERSION.into());
            return Err(ProtoError::NewerVersion { what: FRAME, version, known });
        }
        if version != VERSION || (zero, nil) != (0, 0) {
            return Err(ProtoError::malformed(FRAME, format!("it begins with {bytes:02x?}")));
        }
        let body_len = u32::from_le_bytes(length);
        if body_len as usize > FRAME_BYTES_MAX {
            let (length, limit) = (body_len.into(), FRAME_BYTES_MAX as u64);
            return Err(ProtoError::TooLong { what: FRAME, length, limit });
        }
        Ok(Self { kind, body_len })
    }

    /// The 8 bytes to send.
    pub const fn encode(self) -> [u8; FRAME_HEAD_BYTES] {
        let [a, b, c, d] = self.body_len.to_le_bytes();
        [VERSION, self.kind, 0, 0, a, b, c, d]
    }
}

/// Whether a text is an address to be dialled: `host:port`, with a host in brackets if it is IPv6, at most
/// [`ADDRESS_BYTES_MAX`] visible ASCII characters. Errors with [`ProtoError::Malformed`].
pub fn check_address(text: &str) -> Result<(), ProtoError> {
    let refuse = |reason: &str| {
        let shown: String = text.chars().take(ADDRESS_BYTES_MAX).collect();
        Err(ProtoError::malformed("address", format!("{reason} in {shown:?}; `host:port` is expected")))
    };
    if text.len() > ADDRESS_BYTES_MAX {
        return refuse("too many bytes");
    }
    if !text.chars().all(|letter| letter.is_ascii_graphic()) {
        return refuse("a character that no host has");
    }
    let Some((host, port)) = text.rsplit_once(':') else { return refuse("no port") };
    if port.starts_with('+') || !port.parse().is_ok_and(|port: u16| port > 0) {
        return refuse("a port that is none");
    }
    match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        Some(Some(inner)) if !inner.is_empty() => Ok(()),
        None if !host.is_empty() && !host.contains([':', ']']) => Ok(()),
        _ => refuse("a host that is none"),
    }
}

/// How the fields of one kind of body are read; `None` for what only later software knows.
type Read<T> = fn(&mut Fields<'_, '_>) -> Result<Option<T>, ProtoError>;

/// Reads a body whose kind is known.
fn read<T>(what: &'static str, body: &[u8], read: Read<T>) -> Result<Option<T>, ProtoError> {
    if body.len() > FRAME_BYTES_MAX {
        let (length, limit) = (body.len() as u64, FRAME_BYTES_MAX as u64);
        return Err(ProtoError::TooLong { what, length, limit });
    }
    cbor::check(what, body)?;
    let mut decoder = Decoder::new(body);
    read(&mut Fields::enter(what, &mut decoder)?)
}

/// Head and body.
fn frame(kind: u8, body: Writer) -> Vec<u8> {
    let body = body.finish();
    debug_assert!(body.len() <= FRAME_BYTES_MAX, "kind {kind} has a body of {} bytes", body.len());
    let body_len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&Head { kind, body_len }.encode()[..], &body].concat()
}

/// Refuses a length that is 0 or beyond its limit.
fn check_length(what: &'static str, length: u32, limit: usize) -> Result<(), ProtoError> {
    match length as usize {
        0 => Err(ProtoError::malformed(what, "a length of 0 bytes")),
        length if length > limit => {
            Err(ProtoError::TooLong { what, length: length as u64, limit: limit as u64 })
        }
        _ => Ok(()),
    }
}

fn check_count(what: &'static str, count: usize, most: usize) -> Result<(), ProtoError> {
    if count <= most {
        return Ok(());
    }
    Err(ProtoError::malformed(what, format!("{count} items; at most {most} are allowed")))
}

/// Refuses a text that is empty, beyond its limit, or would not be printed as it is.
fn check_text(what: &'static str, text: &str, bytes_max: usize) -> Result<(), ProtoError> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err(ProtoError::malformed(what, format!("the text {text:?}")));
    }
    if text.len() > bytes_max {
        let (length, limit) = (text.len() as u64, bytes_max as u64);
        return Err(ProtoError::TooLong { what, length, limit });
    }
    Ok(())
}

/// What is the same in a greeting and its answer.
fn check_greeting(
    what: &'static str,
    software: &str,
    addresses: &[String],
    most: usize,
) -> Result<(), ProtoError> {
    check_text(what, software, SOFTWARE_BYTES_MAX)?;
    check_addresses(what, addresses, most)
}

fn check_addresses(what: &'static str, addresses: &[String], most: usize) -> Result<(), ProtoError> {
    check_count(what, addresses.len(), most)?;
    addresses.iter().try_for_each(|address| check_address(address))
}

const FRAME: &str = "frame";
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_written_and_read_is_the_same() {
        let head = Head { kind: 7, body_len: 0x0102 };
        assert_eq!(head.encode(), [1, 7, 0, 0, 2, 1, 0, 0]);
        assert_eq!(Head::parse(head.encode()), Ok(head));
        let longest = Head { kind: 255, body_len: 65_536 };
        assert_eq!(Head::parse(longest.encode()), Ok(longest));
    }

    #[test]
    fn head_that_breaks_a_rule_is_refused() {
        let refused = |bytes: [u8; 8], reason: &str| {
            let error = Head::parse(bytes).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        };
        refused([2, 1, 0, 0, 0, 0, 0, 0], "this frame has version 2");
        refused([0, 1, 0, 0, 0, 0, 0, 0], "malformed frame: it begins with [00, 01");
        refused([1, 1, 1, 0, 0, 0, 0, 0], "malformed frame");
        refused([1, 1, 0, 1, 0, 0, 0, 0], "malformed frame");
        refused([1, 1, 0, 0, 1, 0, 1, 0], "65537 bytes long; at most 65536");
        refused(*b"GET / HT", "this frame has version 71");
    }

    #[test]
    fn address_is_host_and_port() {
        let good = [
            "a:1",
            "example.org:4433",
            "192.0.2.1:65535",
            "[2001:db8::1]:4433",
            "[fe80::1%eth0]:1",
            "xn--bcher-kva.example:7",
        ];
        for text in good {
            assert_eq!(check_address(text), Ok(()), "{text}");
        }
        let long = format!("{}:1", "a".repeat(254));
        let bad = [
            "",
            ":",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:+1",
            "a:-1",
            "a b:1",
            "bücher:1",
            "a\n:1",
            "2001:db8::1:1",
            "[]:1",
            "[::1:1",
            "::1]:1",
            &long,
        ];
        for text in bad {
            assert!(check_address(text).is_err(), "{text:?}");
        }
        assert_eq!(check_address(&long[1..]), Ok(()));
    }
}
