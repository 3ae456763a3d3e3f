//! However long a file, what is held of it is bounded.

use std::sync::atomic::{AtomicU64, Ordering};

use proto::limits::CONTENT_BUFFER_BYTES_MAX;
use tokio::io::AsyncReadExt;

use super::{super::mtime::Mtime, *};

const FILE_BYTES: u64 = 300 << 20;

/// Counts what was read of an upload.
struct Counted<R>(R, Arc<AtomicU64>);

impl<R: tokio::io::AsyncRead + Unpin> tokio::io::AsyncRead for Counted<R> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = std::pin::Pin::new(&mut self.0).poll_read(context, buffer);
        self.1.fetch_add((buffer.filled().len() - before) as u64, Ordering::SeqCst);
        polled
    }
}

/// Keeps nothing, and measures how far the upload is ahead of what was written.
struct CountingSink {
    read: Arc<AtomicU64>,
    written: AtomicU64,
    most_ahead: Arc<AtomicU64>,
}

impl ContentSink for CountingSink {
    async fn put(&mut self, fragment: Fragment) -> Result<(), ActorError> {
        // Slower than the upload, so that it gets as far ahead as it can.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        let ahead = self.read.load(Ordering::SeqCst) - self.written.load(Ordering::SeqCst);
        self.most_ahead.fetch_max(ahead, Ordering::SeqCst);
        self.written.fetch_add(fragment.bytes().len() as u64, Ordering::SeqCst);
        Ok(())
    }

    async fn commit(self, tessera: NewTessera) -> Result<(), ActorError> {
        assert_eq!(tessera.checksums.len() as u64, FILE_BYTES.div_ceil(1 << 20) + 1);
        Ok(())
    }
}

#[test]
fn file_of_300_mib_is_never_held() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(FILE_BYTES).unwrap();
    let mut tar = Tarball::new(Vec::new());
    tar.whole_file(METADATA_NAME, br#"{"public": true}"#, Mtime::default()).unwrap();
    tar.file("video", FILE_BYTES, Mtime::default()).unwrap();
    let head = tar.into_inner();
    let (read, most_ahead) = <(Arc<AtomicU64>, Arc<AtomicU64>)>::default();
    let sink =
        CountingSink { read: read.clone(), written: AtomicU64::new(0), most_ahead: most_ahead.clone() };
    let created = run(async {
        let file = tokio::fs::File::from_std(file);
        let upload = head.chain(file).chain([0; 1024].as_slice());
        create(Counted(upload, read), &Author::generate().unwrap(), sink, NOW_MS).await.unwrap()
    });
    assert_eq!(created.bytes, FILE_BYTES);
    let most_ahead = most_ahead.load(Ordering::SeqCst);
    assert!(most_ahead <= CREATE_BYTES_MAX as u64, "{most_ahead} bytes ahead");
    // It did get ahead, so the bound was put to the test.
    assert!(most_ahead > CONTENT_BUFFER_BYTES_MAX as u64 / 2, "{most_ahead} bytes ahead");
}
