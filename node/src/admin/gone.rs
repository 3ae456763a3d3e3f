//! Notices that a caller is gone, in both directions. One that only ends what it sends still waits for its answer, and to
//! whoever reads, both look the same.

use std::{io, os::fd::AsFd, os::unix::net};

use tokio::{io::Interest, net::UnixStream};

/// The other end of a connection, watched through a descriptor of its own.
#[derive(Debug)]
pub(super) struct Gone(UnixStream);

impl Gone {
    /// Watches the other end of this stream.
    pub(super) fn watch(stream: &impl AsFd) -> io::Result<Self> {
        // Nothing is read or written through it, so of which family it is does not matter.
        let descriptor = stream.as_fd().try_clone_to_owned()?;
        UnixStream::from_std(net::UnixStream::from(descriptor)).map(Self)
    }

    /// Returns when it is gone. Over TCP it may be so unnoticed until something is written.
    pub(super) async fn wait(&self) {
        while self.0.ready(Interest::WRITABLE).await.is_ok_and(|ready| !ready.is_write_closed()) {
            // It takes what is written. From here on the system tells when that changes, as it does for a writer.
            let _ = self.0.try_io(Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
    }
}
