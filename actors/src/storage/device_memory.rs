//! Memory that a device reads into by itself: whole pages, and large ones where the system has them. A device takes only
//! so many places in memory for one read; with pages of 4 KiB that is the bound, not what the device could do.

use std::{io, sync::Arc};

use bytes::Bytes;
use memmap2::MmapMut;

use super::disk::DEVICE_BLOCK_BYTES;

/// A buffer, and whoever still holds bytes of it.
#[derive(Debug)]
pub(super) struct DeviceMemory(Arc<MmapMut>);

/// Some of it, for reading.
struct Part(Arc<MmapMut>);

impl DeviceMemory {
    /// At least so many bytes: this buffer again, if it is large enough and nobody holds any of it.
    pub(super) fn again(last: Option<Self>, bytes: usize) -> io::Result<Self> {
        match last {
            Some(last) if last.0.len() >= bytes && Arc::strong_count(&last.0) == 1 => Ok(last),
            _ => Self::new(bytes),
        }
    }

    fn new(bytes: usize) -> io::Result<Self> {
        let memory = MmapMut::map_anon(bytes.next_multiple_of(LARGE_PAGE_BYTES))?;
        // Where there are no large pages, small ones do.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage);
        Ok(Self(Arc::new(memory)))
    }

    /// At least so many bytes, to be filled: whole blocks. Errors when somebody holds some of them.
    pub(super) fn blocks(&mut self, bytes: usize) -> io::Result<&mut [u8]> {
        let memory = Arc::get_mut(&mut self.0).ok_or(io::ErrorKind::ResourceBusy)?;
        memory.get_mut(..bytes.next_multiple_of(DEVICE_BLOCK_BYTES)).ok_or(io::ErrorKind::InvalidInput.into())
    }

    /// The first of them.
    pub(super) fn bytes(&self, length: usize) -> Bytes {
        let mut bytes = Bytes::from_owner(Part(self.0.clone()));
        bytes.truncate(length);
        bytes
    }
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

const LARGE_PAGE_BYTES: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_when_nobody_holds_any_of_it() {
        let mut memory = DeviceMemory::again(None, 5000).unwrap();
        let place = memory.blocks(5000).unwrap().as_ptr();
        assert!(place.addr().is_multiple_of(DEVICE_BLOCK_BYTES));
        memory.blocks(5000).unwrap().fill(7);
        let held = memory.bytes(3);
        assert!(memory.blocks(1).is_err(), "it would change under whoever holds it");
        let mut other = DeviceMemory::again(Some(memory), 1).unwrap();
        let place = other.blocks(1).unwrap().as_ptr();
        assert_eq!(held[..], [7; 3]);
        drop(other.bytes(1));
        let mut again = DeviceMemory::again(Some(other), 1).unwrap();
        assert_eq!(again.blocks(1).unwrap().as_ptr(), place);
        let mut larger = DeviceMemory::again(Some(again), 3 << 20).unwrap();
        assert_eq!(larger.blocks(3 << 20).unwrap().len(), 3 << 20);
    }
}
