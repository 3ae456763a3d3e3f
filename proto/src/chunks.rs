//! How content is cut: into chunks of one length that depends on the length of the content only, the last one
//! shorter. The chunks are the data fragments of every layout, whatever its code.

use std::{fmt, mem};

use bytes::Bytes;

use crate::{
    buffer::Buffer,
    error::ProtoError,
    fragment::Fragment,
    ids::Checksum,
    limits::{
        CONTENT_BUFFER_BYTES_MAX, CONTENT_BYTES_MAX, FRAGMENT_BYTES_MAX, FRAGMENT_BYTES_MIN,
        FRAGMENTS_PER_TESSERA_AIM,
    },
};

/// The length of the chunks of this content, in bytes: a sixteenth of it, rounded up to a power of two, between
/// [`FRAGMENT_BYTES_MIN`] and [`FRAGMENT_BYTES_MAX`].
#[expect(clippy::cast_possible_truncation, reason = "between two constants that fit, as asserted below")]
pub const fn fragment_len_for(content_len: u64) -> u32 {
    let sixteenth = content_len.div_ceil(FRAGMENTS_PER_TESSERA_AIM);
    if sixteenth <= FRAGMENT_BYTES_MIN as u64 {
        FRAGMENT_BYTES_MIN as u32
    } else if sixteenth >= FRAGMENT_BYTES_MAX as u64 {
        FRAGMENT_BYTES_MAX as u32
    } else {
        sixteenth.next_power_of_two() as u32
    }
}

/// How a content was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Length of every chunk but the last, in bytes.
    pub fragment_len: u32,
    /// Length of the content, in bytes.
    pub content_len: u64,
    /// BLAKE3 of the content.
    pub content_hash: Checksum,
}

/// Cuts a stream of unknown length in one pass. It holds back what came until the length of the chunks is certain:
/// as soon as the longest is needed, less than [`CONTENT_BUFFER_BYTES_MAX`]. From then on it holds one chunk.
pub struct Chunker {
    /// Pieces of [`FRAGMENT_BYTES_MAX`] that wait for the certainty.
    waiting: Vec<Bytes>,
    /// The piece that is being filled.
    filling: Buffer,
    content: blake3::Hasher,
    content_len: u64,
}

impl Chunker {
    /// For an empty content.
    pub fn new() -> Self {
        Self { waiting: Vec::new(), filling: empty(), content: blake3::Hasher::new(), content_len: 0 }
    }

    /// Takes the next bytes and gives the chunks that became certain to `sink`, in order. How the content is split
    /// into calls makes no difference. Errors with [`ProtoError::TooLong`] above [`CONTENT_BYTES_MAX`] and with
    /// whatever `sink` fails with; after an error the chunker is of no more use.
    pub fn push<E: From<ProtoError>>(
        &mut self,
        mut bytes: &[u8],
        mut sink: impl FnMut(Fragment) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            bytes = self.fill(bytes)?;
            if fragment_len_for(self.content_len) as usize == FRAGMENT_BYTES_MAX {
                self.release(FRAGMENT_BYTES_MAX, &mut sink)?;
            }
        }
        Ok(())
    }

    /// Gives the remaining chunks to `sink` and tells how the content was cut. Errors with whatever `sink` fails with.
    pub fn finish<E: From<ProtoError>>(
        mut self,
        mut sink: impl FnMut(Fragment) -> Result<(), E>,
    ) -> Result<Cut, E> {
        let fragment_len = fragment_len_for(self.content_len);
        if !self.filling.is_empty() {
            self.waiting.push(mem::replace(&mut self.filling, empty()).freeze());
        }
        self.release(fragment_len as usize, &mut sink)?;
        let content_hash = Checksum::from_bytes(*self.content.finalize().as_bytes());
        Ok(Cut { fragment_len, content_len: self.content_len, content_hash })
    }

    /// Bytes that came so far.
    pub fn content_len(&self) -> u64 {
        self.content_len
    }

    /// Takes what the piece has room for, and returns the rest.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], ProtoError> {
        let later = self.filling.fill(bytes);
        self.content_len = self.content_len.saturating_add((bytes.len() - later.len()) as u64);
        if self.content_len > CONTENT_BYTES_MAX {
            let (length, limit) = (self.content_len, CONTENT_BYTES_MAX);
            return Err(ProtoError::TooLong { what: "content", length, limit });
        }
        if self.filling.room() == 0 {
            self.waiting.push(mem::replace(&mut self.filling, empty()).freeze());
        }
        Ok(later)
    }

    /// The waiting pieces, cut to this length, which divides theirs.
    fn release<E: From<ProtoError>>(
        &mut self,
        fragment_len: usize,
        sink: &mut impl FnMut(Fragment) -> Result<(), E>,
    ) -> Result<(), E> {
        for mut piece in self.waiting.drain(..) {
            self.content.update(&piece);
            while !piece.is_empty() {
                let chunk = piece.split_to(fragment_len.min(piece.len()));
                sink(Fragment::hash_to_keep(chunk)?)?;
            }
        }
        Ok(())
    }
}

impl Default for Chunker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Chunker {
    /// Without the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunker({} bytes so far)", self.content_len)
    }
}

fn empty() -> Buffer {
    Buffer::up_to(FRAGMENT_BYTES_MAX)
}

// The longest chunks are certain before the buffer is full, and shorter ones divide a piece.
const _: () = assert!(fragment_len_for(CONTENT_BUFFER_BYTES_MAX as u64) as usize == FRAGMENT_BYTES_MAX);
const _: () = assert!(FRAGMENT_BYTES_MIN.is_power_of_two() && FRAGMENT_BYTES_MAX.is_power_of_two());
const _: () = assert!(FRAGMENT_BYTES_MAX <= u32::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn cut(content: &[u8], split: usize) -> (Cut, Vec<Fragment>) {
        let mut chunker = Chunker::new();
        let mut chunks = Vec::new();
        let mut sink = |chunk| -> Result<(), ProtoError> {
            chunks.push(chunk);
            Ok(())
        };
        for part in content.chunks(split) {
            chunker.push(part, &mut sink).unwrap();
        }
        let cut = chunker.finish(&mut sink).unwrap();
        (cut, chunks)
    }

    #[test]
    fn fragment_len_is_a_sixteenth_within_its_limits() {
        let cases = [
            (0, 4096),
            (1, 4096),
            (65_536, 4096),
            (65_537, 8192),
            (131_072, 8192),
            (8 * MIB, 524_288),
            (8 * MIB + 1, 1_048_576),
            (16 * MIB, 1_048_576),
            (u64::MAX, 1_048_576),
        ];
        for (content_len, expected) in cases {
            assert_eq!(fragment_len_for(content_len), expected, "{content_len}");
        }
    }

    #[test]
    fn chunks_are_the_content_in_order() {
        let content: Vec<u8> = (0..9 * MIB + 77).map(|at| (at % 251) as u8).collect();
        for length in [0, 1, 4096, 65_536, 65_537, 3_000_000, 8 << 20, (8 << 20) + 1, content.len()] {
            let content = &content[..length];
            let (cut, chunks) = cut(content, 1 << 16);
            let fragment_len = fragment_len_for(length as u64);
            assert_eq!(cut.fragment_len, fragment_len, "{length}");
            assert_eq!(cut.content_len, length as u64);
            assert_eq!(cut.content_hash, Checksum::of(content));
            let expected = content.chunks(fragment_len as usize);
            assert!(chunks.iter().map(|chunk| &chunk.bytes()[..]).eq(expected), "{length}");
        }
    }

    #[test]
    fn chunks_leave_as_soon_as_their_length_is_certain() {
        let mut chunker = Chunker::new();
        let mut seen = 0;
        let mut push = |bytes: &[u8]| {
            let count = |_| -> Result<(), ProtoError> {
                seen += 1;
                Ok(())
            };
            chunker.push(bytes, count).unwrap();
            seen
        };
        assert_eq!(push(&vec![0; 8 << 20]), 0);
        assert_eq!(push(&[0]), 8);
        assert_eq!(push(&vec![0; (1 << 20) - 1]), 9);
    }

    #[test]
    fn error_of_the_sink_is_passed_on() {
        let mut chunker = Chunker::new();
        chunker.push::<ProtoError>(&[1], |_| Ok(())).unwrap();
        let full = ProtoError::malformed("disk", "full");
        assert_eq!(chunker.finish(|_| Err(full.clone())), Err(full));
    }
}
