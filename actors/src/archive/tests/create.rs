//! What can't be kept becomes no tessera, and leaves nothing behind.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{super::pour::pour, *};

/// Every upload here must be refused, and nothing of it kept.
fn refused(upload: &[u8]) -> ArchiveError {
    let (author, store) = (Author::generate().unwrap(), MemoryStore::default());
    let error = run(create(upload, &author, store.sink(), NOW_MS)).unwrap_err();
    assert!(store.is_empty());
    error
}

#[test]
fn upload_of_nothing_is_refused() {
    assert!(matches!(refused(&upload(&Metadata::default(), &[])), ArchiveError::Empty));
    assert!(matches!(refused(&Tarball::new(Vec::new()).finish().unwrap()), ArchiveError::Empty));
    assert!(matches!(refused(b""), ArchiveError::Truncated { .. }));
}

#[test]
fn upload_that_ends_early_is_an_error_wherever_it_ends() {
    let tar = upload(&public(), &[("a", &[1; 700]), ("b", b"b")]);
    for end in (0..tar.len()).step_by(100).chain([tar.len() - 512, tar.len() - 1]) {
        assert!(matches!(refused(&tar[..end]), ArchiveError::Truncated { .. }), "{end}");
    }
}

#[test]
fn upload_that_breaks_off_is_an_error() {
    let (author, store) = (Author::generate().unwrap(), MemoryStore::default());
    let tar = upload(&public(), &[("a", &[1; 700])]);
    let broken = tokio_test_error();
    let error = run(create(tar[..1000].chain(broken), &author, store.sink(), NOW_MS)).unwrap_err();
    assert!(matches!(error, ArchiveError::Stream { what: "upload", .. }), "{error:?}");
    assert!(store.is_empty());
}

#[test]
fn upload_with_names_that_can_not_be_kept_is_refused_naming_them() {
    for (files, told) in [
        (&[("../a", b"".as_slice())][..], "../a"),
        (&[("/etc/passwd", b"")], "/etc/passwd"),
        (&[("a", b""), ("a", b"")], "comes twice"),
        (&[("a", b""), ("a/b", b"")], "both a file and a folder"),
        (&[("\u{e9}", b""), ("e\u{301}", b"")], "same name"),
    ] {
        let error = refused(&upload(&public(), files)).to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn upload_whose_names_outgrow_memory_is_refused() {
    // Two bytes of upload for each folder, and all of its path to remember.
    let names: Vec<String> = (10..60).map(|at| format!("{at}/{}x", "d/".repeat(1530))).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), b"".as_slice())).collect();
    assert!(matches!(refused(&upload(&public(), &files)), ArchiveError::TooMany { .. }));
}

#[test]
fn upload_with_a_description_that_is_not_understood_is_refused() {
    let with = |json: &str| {
        let mut tar = Tarball::new(Vec::new());
        tar.whole_file(METADATA_NAME, json.as_bytes(), Default::default()).unwrap();
        tar.whole_file("a", b"a", Default::default()).unwrap();
        refused(&tar.finish().unwrap())
    };
    assert!(matches!(with("{"), ArchiveError::Metadata { .. }));
    assert!(matches!(with(r#"{"titel": "a"}"#), ArchiveError::Metadata { .. }));
    assert!(matches!(with(r#"{"recipients": ["age1nobody"]}"#), ArchiveError::Recipient { .. }));
    let long = format!(r#"{{"public": true, "title": "{}"}}"#, "x".repeat(METADATA_BYTES_MAX));
    assert!(matches!(with(&long), ArchiveError::Metadata { .. }));
}

#[test]
fn upload_whose_longest_description_is_allowed_fits_its_manifest() {
    let (author, store) = (Author::generate().unwrap(), MemoryStore::default());
    let mut metadata = public();
    let others = serde_json::to_vec(&metadata).unwrap().len();
    metadata.tags = vec!["x".into(); (METADATA_BYTES_MAX - others) / r#""x","#.len()];
    let tar = upload(&metadata, &[("a", b"a")]);
    let id = run(create(tar.as_slice(), &author, store.sink(), NOW_MS)).unwrap().id;
    assert_eq!(store.manifest(id).manifest().description.tags, metadata.tags);
}

#[test]
fn upload_without_a_description_is_private() {
    let (author, store) = (Author::generate().unwrap(), MemoryStore::default());
    let mut tar = Tarball::new(Vec::new());
    tar.folder("only a folder", Default::default()).unwrap();
    let tar = tar.finish().unwrap();
    let created = run(create(tar.as_slice(), &author, store.sink(), NOW_MS)).unwrap();
    assert_eq!(created.visibility, proto::manifest::Visibility::Private);
    assert_eq!((created.files, created.folders, created.bytes), (0, 1, 0));
}

/// A sink without room.
struct FullSink;

impl ContentSink for FullSink {
    async fn put(&mut self, _: Fragment) -> Result<(), ActorError> {
        Err(ActorError::InsufficientStorage { reason: "full".into() })
    }

    async fn commit(self, _: NewTessera) -> Result<(), ActorError> {
        unreachable!("nothing was put")
    }
}

#[test]
fn store_without_room_ends_an_upload_that_has_not_ended() {
    let author = Author::generate().unwrap();
    let (mut sending, receiving) = tokio::io::duplex(1 << 20);
    let mut tar = Tarball::new(Vec::new());
    tar.whole_file(METADATA_NAME, br#"{"public": true}"#, Default::default()).unwrap();
    tar.file("video", 1 << 40, Default::default()).unwrap();
    tar.write_all(&vec![0; 9 << 20]).unwrap();
    let bytes = tar.into_inner();
    run(async {
        let creating = create(receiving, &author, FullSink, NOW_MS);
        let sending = async {
            // Fails as soon as nobody reads any more; the other end stays open.
            let _ = sending.write_all(&bytes).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            created = creating => {
                assert!(matches!(
                    created,
                    Err(ArchiveError::Store(ActorError::InsufficientStorage { .. }))
                ));
            }
            () = sending => unreachable!("it never ends"),
        }
    });
}

#[test]
fn upload_that_is_refused_is_told_so_while_it_still_waits() {
    let (author, store) = (Author::generate().unwrap(), MemoryStore::default());
    let (mut sending, receiving) = tokio::io::duplex(1 << 20);
    let tar = upload(&public(), &[("../evil", b"")]);
    let created = run(async {
        sending.write_all(&tar[..tar.len() - 1024]).await.unwrap();
        create(receiving, &author, store.sink(), NOW_MS).await
    });
    assert!(matches!(created, Err(ArchiveError::Refused(_))));
}

#[test]
fn create_that_is_given_up_keeps_nothing_and_ends_its_thread() {
    let (author, store) = (Author::generate().unwrap(), MemoryStore::default());
    let (mut sending, receiving) = tokio::io::duplex(1 << 20);
    let tar = upload(&public(), &[("a", &[1; 700])]);
    run(async {
        sending.write_all(&tar[..1000]).await.unwrap();
        let creating = create(receiving, &author, store.sink(), NOW_MS);
        tokio::select! {
            biased;
            _ = creating => unreachable!("the upload is not complete"),
            () = tokio::task::yield_now() => {}
        }
        // The runtime's end waits for its blocking threads: without one of them ending, so would this test not.
    });
    assert!(store.is_empty());
}

proptest! {
    #[test]
    fn arbitrary_bytes_as_upload_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let author = Author::generate().unwrap().recipient();
        prop_assert!(pour(bytes.as_slice(), &author, NOW_MS, |_| Ok(())).is_err());
    }

    #[test]
    fn upload_with_changed_bytes_never_panics(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8)) {
        let author = Author::generate().unwrap().recipient();
        let mut tar = upload(&public(), &[("a/b", &[1; 700]), (&"long/".repeat(40), b""), ("b", b"b")]);
        for (at, byte) in changes {
            let at = at % tar.len();
            tar[at] = byte;
        }
        let _ = pour(tar.as_slice(), &author, NOW_MS, |_| Ok(()));
    }
}

/// A reader that fails at once.
fn tokio_test_error() -> impl tokio::io::AsyncRead + Unpin {
    struct Broken;
    impl tokio::io::AsyncRead for Broken {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::task::Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()))
        }
    }
    Broken
}
