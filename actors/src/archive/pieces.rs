//! Copying in pieces, through one buffer that is used again for file after file.

use std::io::{self, Read};

/// How much is read or written at a time: enough for hashes and disks to run at full speed.
pub(crate) const PIECE_BYTES: usize = 64 << 10;

/// A buffer to copy through.
pub(crate) struct Pieces {
    buffer: Vec<u8>,
}

impl Pieces {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; PIECE_BYTES] }
    }

    /// Gives all that `read` reads to `each`, until it reads nothing.
    pub(crate) fn copy<E>(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, E>,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let length = read(&mut self.buffer)?;
            match self.buffer.get(..length) {
                Some(bytes) if !bytes.is_empty() => each(bytes)?,
                _ => return Ok(()),
            }
        }
    }
}

/// Reads once, and again when a signal came in between.
pub(crate) fn read_some(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
