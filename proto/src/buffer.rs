//! Buffers for fragments, whose memory goes back to the system with them.
//!
//! An allocator keeps large blocks that were given back, for whoever asks next, on a heap of each thread: a process that
//! handles many fragments at a time then holds up to twice what it uses, and no budget is true. So whatever is large is a
//! mapping of its own, and of those only a few are kept.

use std::fmt;

use bytes::Bytes;

use crate::spare::Mapping;

/// Bytes that are being written, and the most they may be.
pub struct Buffer {
    memory: Memory,
    length: usize,
    bytes_max: usize,
}

enum Memory {
    Heap(Vec<u8>),
    Mapped(Mapping),
}

impl Buffer {
    /// An empty one that takes at most so many bytes. Memory is taken as it fills.
    pub fn up_to(bytes_max: usize) -> Self {
        Self { memory: Memory::Heap(Vec::new()), length: 0, bytes_max }
    }

    /// An empty one that takes just so many bytes. Memory is taken at once.
    pub fn for_just(bytes: usize) -> Self {
        let map = if bytes < LARGE_BYTES { None } else { Mapping::of(bytes) };
        let memory = map.map_or_else(|| Memory::Heap(Vec::with_capacity(bytes)), Memory::Mapped);
        Self { memory, length: 0, bytes_max: bytes }
    }

    /// One that is full of whatever bytes, which others may have left: for whoever writes all of it.
    pub fn to_overwrite(length: usize) -> Self {
        let map = if length < LARGE_BYTES { None } else { Mapping::of(length) };
        let memory = map.map_or_else(|| Memory::Heap(vec![0; length]), Memory::Mapped);
        Self { memory, length, bytes_max: length }
    }

    /// A copy, in memory of just its length.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::for_just(bytes.len());
        copy.fill(bytes);
        copy
    }

    /// Takes as many of these bytes as there is room for, and returns the others.
    pub fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, later) = bytes.split_at(bytes.len().min(self.room()));
        let start = self.length;
        self.length += now.len();
        match &mut self.memory {
            Memory::Heap(heap) if self.length < LARGE_BYTES => heap.extend_from_slice(now),
            Memory::Heap(heap) => match Mapping::of(self.bytes_max) {
                Some(mut map) => {
                    write(map.bytes_mut(), 0, heap);
                    write(map.bytes_mut(), start, now);
                    self.memory = Memory::Mapped(map);
                }
                None => heap.extend_from_slice(now),
            },
            Memory::Mapped(map) => write(map.bytes_mut(), start, now),
        }
        later
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many more it takes.
    pub fn room(&self) -> usize {
        self.bytes_max - self.length
    }

    /// The bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let memory: &mut [u8] = match &mut self.memory {
            Memory::Heap(heap) => heap,
            Memory::Mapped(map) => map.bytes_mut(),
        };
        memory.get_mut(..self.length).unwrap_or_default()
    }

    /// The bytes, which nobody changes any more.
    pub fn freeze(self) -> Bytes {
        let mut bytes = match self.memory {
            Memory::Heap(heap) => Bytes::from(heap),
            Memory::Mapped(map) => Bytes::from_owner(map),
        };
        bytes.truncate(self.length);
        bytes
    }
}

impl fmt::Debug for Buffer {
    /// Without the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} of {} bytes)", self.length, self.bytes_max)
    }
}

fn write(to: &mut [u8], position: usize, bytes: &[u8]) {
    if let Some(to) = to.get_mut(position..).and_then(|to| to.get_mut(..bytes.len())) {
        to.copy_from_slice(bytes);
    }
}

/// From here on a mapping costs less than the copy of what goes into it.
const LARGE_BYTES: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(bytes: &[u8], bytes_max: usize, step: usize) -> Buffer {
        let mut buffer = Buffer::up_to(bytes_max);
        for piece in bytes.chunks(step) {
            assert!(buffer.fill(piece).is_empty());
        }
        buffer
    }

    #[test]
    fn buffer_holds_what_was_filled_in_whatever_the_steps() {
        let bytes: Vec<u8> = (0..1_u32 << 20).map(|at| (at % 251) as u8).collect();
        for length in [0, 1, LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1, bytes.len()] {
            for step in [4000, LARGE_BYTES, bytes.len()] {
                let bytes = &bytes[..length];
                let buffer = filled(bytes, 1 << 20, step);
                assert_eq!((buffer.len(), buffer.room()), (length, (1 << 20) - length));
                assert_eq!(buffer.freeze(), bytes, "{length} {step}");
                assert_eq!(Buffer::copy_of(bytes).freeze(), bytes);
            }
        }
    }

    #[test]
    fn buffer_for_just_so_many_bytes_takes_its_memory_at_once() {
        for length in [0, 10, LARGE_BYTES, 1 << 20] {
            let mut buffer = Buffer::for_just(length);
            assert_eq!((buffer.len(), buffer.room()), (0, length));
            let before = buffer.bytes_mut().as_ptr();
            assert_eq!(buffer.fill(&vec![1; length + 2]), [1, 1]);
            assert_eq!(buffer.bytes_mut().as_ptr(), before);
            assert_eq!(buffer.freeze(), vec![1; length]);
        }
    }

    #[test]
    fn buffer_that_is_full_takes_no_more() {
        for bytes_max in [10, LARGE_BYTES + 10] {
            let mut buffer = filled(&vec![1; bytes_max - 3], bytes_max, bytes_max);
            assert_eq!(buffer.fill(&[2; 8]), [2; 5]);
            assert_eq!((buffer.len(), buffer.room()), (bytes_max, 0));
            assert_eq!(buffer.freeze()[bytes_max - 4..], [1, 2, 2, 2]);
        }
    }

    #[test]
    fn buffer_to_overwrite_has_its_length_at_once() {
        for length in [0, 5, LARGE_BYTES, LARGE_BYTES, LARGE_BYTES + 1] {
            let mut buffer = Buffer::to_overwrite(length);
            assert_eq!((buffer.bytes_mut().len(), buffer.room()), (length, 0));
            buffer.bytes_mut().fill(7);
            assert_eq!(buffer.freeze(), vec![7; length]);
        }
    }

    #[test]
    fn large_buffer_is_a_mapping_of_its_own() {
        let large = filled(&vec![1; LARGE_BYTES], 1 << 20, 4096);
        assert!(matches!(large.memory, Memory::Mapped(_)));
        assert!(matches!(Buffer::to_overwrite(LARGE_BYTES).memory, Memory::Mapped(_)));
        assert!(matches!(filled(&[1], 1 << 20, 1).memory, Memory::Heap(_)));
    }
}
