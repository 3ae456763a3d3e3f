//! Damage is found, named, and never served as if it were the content.

use std::{
    fs,
    os::unix::fs::symlink,
    time::{Duration, Instant, SystemTime},
};

use proto::{
    chunks::{Chunker, Cut},
    layout::{Code, Layout, SignedLayout},
};

use super::*;

struct Made {
    author: Author,
    store: MemoryStore,
    id: TesseraId,
}

/// A tessera of 20 fragments of 4 KiB or so.
fn made(metadata: &Metadata) -> Made {
    let (author, store) = (Author::generate().unwrap(), MemoryStore::default());
    let bytes: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).take(50_000).collect();
    let tar =
        upload(metadata, &[("photos/a.jpg", &bytes), ("photos/empty/x", b""), ("void/", b""), ("z", b"z")]);
    let id = run(create(tar.as_slice(), &author, store.sink(), NOW_MS)).unwrap().id;
    Made { author, store, id }
}

impl Made {
    fn fragment(&self, stripe: u32) -> FragmentId {
        FragmentId { tessera: self.id, stripe, index: 0 }
    }

    fn verify(&self) -> VerifyReport {
        run(verify(self.store.clone(), self.id, |_| {})).unwrap()
    }

    fn read(&self, form: Form) -> Result<Vec<u8>, ArchiveError> {
        run(read(&self.store, self.id, &self.author, form))
    }
}

#[test]
fn tessera_as_it_was_made_is_intact() {
    for metadata in [public(), Metadata::default()] {
        let made = made(&metadata);
        let report = made.verify();
        assert!(report.is_intact() && report.fragments > 10, "{report:?}");
    }
}

#[test]
fn fragment_that_is_missing_or_damaged_is_named_and_ends_the_content() {
    for metadata in [public(), Metadata::default()] {
        let made = made(&metadata);
        let damaged = made.store.inner().fragments[&made.fragment(5)];
        made.store.inner().blobs.insert(damaged, Bytes::from_static(b"rot"));
        made.store.inner().fragments.remove(&made.fragment(7));
        let report = made.verify();
        assert_eq!((report.missing, report.damaged, report.ok), (1, 1, report.fragments - 2));
        let faults: Vec<_> = report.faults.iter().map(|fault| (fault.stripe, fault.state)).collect();
        assert_eq!(faults, [(5, FaultState::Damaged), (7, FaultState::Missing)]);
        assert_eq!(report.content_ok, None);
        for form in [Form::Stored, Form::Bag] {
            let error = made.read(form).unwrap_err();
            assert!(matches!(error, ArchiveError::Store(ActorError::Corrupt { .. })), "{error:?}");
        }
    }
}

#[test]
fn fragment_exchanged_for_another_intact_one_is_damage() {
    let made = made(&public());
    let other = made.store.inner().fragments[&made.fragment(1)];
    made.store.inner().fragments.insert(made.fragment(2), other);
    assert_eq!(made.verify().damaged, 1);
    let error = made.read(Form::Stored).unwrap_err().to_string();
    assert!(error.contains(&made.fragment(2).to_string()), "{error}");
}

/// Lets the author sign a layout over other bytes of the same length: every fragment fits it, the whole does not.
fn exchange_content(made: &Made, at: usize) {
    let mut bytes = made.read(Form::Stored).unwrap();
    bytes[at] ^= 1;
    let mut chunker = Chunker::new();
    let mut chunks = Vec::new();
    let mut sink = |chunk| {
        chunks.push(chunk);
        Ok::<_, ArchiveError>(())
    };
    chunker.push(&bytes, &mut sink).unwrap();
    let Cut { fragment_len, content_len, .. } = chunker.finish(&mut sink).unwrap();
    let checksums: Vec<_> = chunks.iter().map(Fragment::checksum).collect();
    let (layout, pages) = Layout::build(made.id, Code::WHOLE, fragment_len, content_len, &checksums).unwrap();
    let signed = layout.sign(made.author.key()).unwrap();
    let mut inner = made.store.inner();
    inner.documents.push((made.id, DocumentKind::Layout, signed.bytes().clone()));
    inner.documents.push((made.id, DocumentKind::LayoutPage, pages[0].clone()));
    for (stripe, chunk) in (0..).zip(chunks) {
        inner.fragments.insert(made.fragment(stripe), chunk.checksum());
        inner.blobs.insert(chunk.checksum(), chunk.into_bytes());
    }
}

#[test]
fn layout_that_fits_another_content_is_found_by_the_manifest() {
    for metadata in [public(), Metadata::default()] {
        for at in [3, 40_000] {
            let made = made(&metadata);
            exchange_content(&made, at);
            let report = made.verify();
            assert_eq!((report.ok, report.content_ok), (report.fragments, Some(false)));
            assert!(!report.is_intact());
            for form in [Form::Stored, Form::Bag] {
                let error = made.read(form).unwrap_err();
                assert!(matches!(error, ArchiveError::Damaged { .. }), "{error:?}");
            }
        }
    }
}

/// A store whose disk never answers.
#[derive(Clone)]
struct StuckStore(MemoryStore);

impl FragmentStore for StuckStore {
    async fn deposit(
        &self,
        _: AccountId,
        _: FragmentId,
        _: Fragment,
        _: Vec<Deposited>,
    ) -> Result<PutOutcome, ActorError> {
        std::future::pending().await
    }

    async fn get(&self, _: FragmentId) -> Result<Fragment, ActorError> {
        std::future::pending().await
    }

    async fn drop_fragment(&self, _: AccountId, _: FragmentId) -> Result<(), ActorError> {
        std::future::pending().await
    }

    async fn checksums(&self, _: TesseraId, _: (u32, u16), _: u32) -> Result<Vec<FragmentRow>, ActorError> {
        std::future::pending().await
    }
}

impl TesseraStore for StuckStore {
    async fn document(
        &self,
        tessera: TesseraId,
        kind: DocumentKind,
        hash: Option<Checksum>,
    ) -> Result<Bytes, ActorError> {
        self.0.document(tessera, kind, hash).await
    }

    async fn layouts(&self, tessera: TesseraId) -> Result<Vec<Result<SignedLayout, ActorError>>, ActorError> {
        self.0.layouts(tessera).await
    }
}

#[test]
fn reading_that_is_given_up_lets_go_of_the_store() {
    let made = made(&public());
    run(async {
        let reading = read_file(StuckStore(made.store.clone()), made.id, &made.author, "z");
        let given_up = async {
            // The second owner is the task that reads fragments.
            while Arc::strong_count(&made.store.0) < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = reading => unreachable!("its store never answers"),
            () = given_up => {}
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while Arc::strong_count(&made.store.0) > 1 {
            assert!(Instant::now() < deadline, "the store is still held");
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn manifest_of_another_tessera_is_refused() {
    let (made, other) = (made(&public()), made(&public()));
    let manifest = other.store.manifest(other.id).bytes().clone();
    made.store.inner().documents.push((made.id, DocumentKind::Manifest, manifest));
    assert!(matches!(made.read(Form::Stored), Err(ArchiveError::Damaged { .. })));
}

#[test]
fn export_to_a_folder_that_holds_something_is_refused() {
    let made = made(&public());
    let dir = tempfile::tempdir().unwrap();
    let (bag, manifest) = (made.read(Form::Bag).unwrap(), made.store.manifest(made.id));
    let export = |to: &Path| unpack(bag.as_slice(), &manifest, to, |_| {});
    fs::write(dir.path().join("file"), b"mine").unwrap();
    for taken in [dir.path().to_owned(), dir.path().join("file")] {
        assert!(matches!(export(&taken), Err(ArchiveError::Destination { path }) if path == taken));
    }
    assert!(matches!(export(&dir.path().join("no/such")), Err(ArchiveError::Io { .. })));
    fs::create_dir(dir.path().join("empty")).unwrap();
    assert!(export(&dir.path().join("empty")).is_ok());
    assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"mine");
}

#[test]
fn export_of_a_tar_that_leads_outside_writes_nothing_there() {
    let made = made(&public());
    let dir = tempfile::tempdir().unwrap();
    let manifest = made.store.manifest(made.id);
    for (number, name) in
        ["../evil", "/tmp/evil", "tessera/../../evil", "evil", "tessera\\evil"].iter().enumerate()
    {
        let mut tar = Tarball::new(Vec::new());
        tar.whole_file(name, b"evil", Default::default()).unwrap();
        let tar = tar.finish().unwrap();
        let to = dir.path().join(number.to_string());
        assert!(
            matches!(unpack(tar.as_slice(), &manifest, &to, |_| {}), Err(ArchiveError::Refused(_))),
            "{name}"
        );
        assert_eq!(fs::read_dir(&to).unwrap().count(), 0, "{name}");
        assert!(check_folder(&to, |_| {}).is_err());
    }
    assert!(!dir.path().join("evil").exists());
}

#[test]
fn export_of_a_tar_that_ends_early_is_an_error_and_never_a_finished_export() {
    let made = made(&public());
    let dir = tempfile::tempdir().unwrap();
    let (bag, manifest) = (made.read(Form::Bag).unwrap(), made.store.manifest(made.id));
    for end in [0, 600, 30_000, bag.len() - 1024, bag.len() - 1] {
        let to = dir.path().join(end.to_string());
        let cut = unpack(&bag[..end], &manifest, &to, |_| {});
        assert!(matches!(cut, Err(ArchiveError::Truncated { .. })), "{end}");
        assert!(!to.join(MANIFEST_NAME).exists());
        let raw = dir.path().join(format!("raw {end}"));
        assert!(matches!(
            unpack_raw(&bag[..end], &manifest, &raw, |_| {}),
            Err(ArchiveError::Truncated { .. })
        ));
        assert!(!raw.join(MANIFEST_NAME).exists());
    }
}

/// Exports, lets something happen to the folder, and checks it.
fn checked(metadata: &Metadata, happen: impl FnOnce(&Path)) -> FolderReport {
    let made = made(metadata);
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("export");
    run(export(&made.store, made.id, &made.author, &folder));
    happen(&folder.join("tessera"));
    check_folder(&folder, |_| {}).unwrap()
}

/// What is told of a private and a public tessera alike; `content` is the state of the public one.
fn problems(content: ContentState, happen: impl Fn(&Path)) -> Vec<Problem> {
    let [private, public] = [Metadata::default(), public()].map(|metadata| checked(&metadata, &happen));
    assert!(!private.is_intact() && !public.is_intact());
    assert_eq!((private.content, public.content), (ContentState::Unpacked, content));
    assert_eq!(private.problems, public.problems);
    public.problems
}

#[test]
fn folder_that_lost_its_times_is_still_what_was_signed() {
    let report = checked(&public(), |bag| {
        for path in ["data/photos/a.jpg", "data/z", "bagit.txt", "data"] {
            fs::File::open(bag.join(path)).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
    });
    assert_eq!((report.content, report.problems), (ContentState::Signed, vec![]));
}

#[test]
fn folder_with_a_changed_file_names_it() {
    let damaged = vec![Problem::Damaged { path: "data/photos/a.jpg".into() }];
    assert_eq!(
        problems(ContentState::Differs, |bag| fs::write(bag.join("data/photos/a.jpg"), b"new").unwrap()),
        damaged
    );
    let bit = problems(ContentState::Differs, |bag| {
        let path = bag.join("data/photos/a.jpg");
        let mut bytes = fs::read(&path).unwrap();
        bytes[49_999] ^= 1;
        fs::write(path, bytes).unwrap();
    });
    assert_eq!(bit, damaged);
}

#[test]
fn folder_with_a_missing_file_names_it() {
    let missing = vec![Problem::Missing { path: "data/photos/empty/x".into() }];
    assert_eq!(
        problems(ContentState::Incomplete, |bag| fs::remove_file(bag.join("data/photos/empty/x")).unwrap()),
        missing
    );
    assert_eq!(
        problems(ContentState::Incomplete, |bag| fs::remove_dir_all(bag.join("data/photos/empty")).unwrap()),
        missing
    );
    let tag = problems(ContentState::Incomplete, |bag| fs::remove_file(bag.join("bagit.txt")).unwrap());
    assert_eq!(tag, [Problem::Missing { path: "bagit.txt".into() }]);
}

#[test]
fn folder_that_lost_an_empty_folder_names_it_and_is_what_was_signed() {
    let missing = problems(ContentState::Signed, |bag| fs::remove_dir(bag.join("data/void")).unwrap());
    assert_eq!(missing, [Problem::Missing { path: "data/void".into() }]);
}

#[test]
fn folder_with_something_added_names_it() {
    let extra = problems(ContentState::Signed, |bag| {
        fs::write(bag.join("data/photos/.DS_Store"), b"").unwrap();
    });
    assert_eq!(extra, [Problem::Extra { path: "data/photos/.DS_Store".into() }]);
    let link = problems(ContentState::Incomplete, |bag| {
        let path = bag.join("data/z");
        fs::remove_file(&path).unwrap();
        symlink("/etc/hostname", path).unwrap();
    });
    assert!(matches!(&link[..], [Problem::Unreadable { path, .. }] if path == "data/z"), "{link:?}");
}

#[test]
fn folder_whose_lists_were_changed_names_them() {
    let edit = |bag: &Path, name: &str, from: &str, to: &str| {
        let text = fs::read_to_string(bag.join(name)).unwrap();
        assert!(text.contains(from));
        fs::write(bag.join(name), text.replace(from, to)).unwrap();
    };
    let outside = problems(ContentState::Differs, |bag| edit(bag, "entries.txt", "data/z", "../../z"));
    assert!(outside.contains(&Problem::Damaged { path: "entries.txt".into() }), "{outside:?}");
    assert!(
        outside
            .iter()
            .any(|problem| matches!(problem, Problem::Listing { path, .. } if path == "entries.txt"))
    );
    let garbage = problems(ContentState::Differs, |bag| {
        fs::write(bag.join("manifest-sha512.txt"), b"garbage").unwrap()
    });
    assert!(garbage.contains(&Problem::Damaged { path: "manifest-sha512.txt".into() }));
}

#[test]
fn folder_whose_lists_would_outgrow_memory_is_refused() {
    let made = made(&public());
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("export");
    run(export(&made.store, made.id, &made.author, &folder));
    // Two bytes for each folder, and all of its path to remember.
    let deep = (10..60).map(|at| format!("0 data/{at}/{}x/\n", "d/".repeat(1500)));
    fs::write(folder.join("tessera/entries.txt"), deep.collect::<String>()).unwrap();
    let told = check_folder(&folder, |_| {});
    assert!(matches!(told, Err(ArchiveError::TooMany { .. })), "{told:?}");
}

#[test]
fn folder_with_very_many_problems_tells_the_first() {
    let report = checked(&public(), |bag| {
        fs::write(bag.join("entries.txt"), "nonsense\n".repeat(20_000)).unwrap();
    });
    assert_eq!(report.problems.len(), 10_000);
    let twice = checked(&public(), |bag| {
        fs::write(bag.join("entries.txt"), "0 data/x/\n0 data/x/\n").unwrap();
    });
    let is_it =
        |problem: &Problem| matches!(problem, Problem::Listing { reason, .. } if reason.contains("twice"));
    assert!(twice.problems.iter().any(is_it), "{:?}", twice.problems);
}

#[test]
fn folder_changed_together_with_its_lists_is_not_what_was_signed() {
    use super::super::listing::Sum;
    let forge = |bag: &Path| {
        let replace = |name: &str, from: &str, to: &str| {
            let text = fs::read_to_string(bag.join(name)).unwrap();
            assert!(text.contains(from));
            fs::write(bag.join(name), text.replace(from, to)).unwrap();
        };
        let sum_of = |name: &str| Sum::of(&fs::read(bag.join(name)).unwrap()).0;
        let (file_before, list_before) = (sum_of("data/z"), sum_of("manifest-sha512.txt"));
        fs::write(bag.join("data/z"), b"y").unwrap();
        replace("manifest-sha512.txt", &file_before, &sum_of("data/z"));
        replace("tagmanifest-sha512.txt", &list_before, &sum_of("manifest-sha512.txt"));
    };
    let report = checked(&public(), forge);
    assert_eq!((report.content, &report.problems[..]), (ContentState::Differs, &[][..]));
    assert!(!report.is_intact());
}

#[test]
fn folder_with_a_changed_manifest_is_refused() {
    let made = made(&public());
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("export");
    run(export(&made.store, made.id, &made.author, &folder));
    let path = folder.join(MANIFEST_NAME);
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(check_folder(&folder, |_| {}), Err(ArchiveError::Proto(_))));
}

#[test]
fn raw_export_is_compared_with_what_was_signed() {
    for metadata in [public(), Metadata::default()] {
        let made = made(&metadata);
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("export");
        run(export_raw(&made.store, made.id, &made.author, &folder));
        assert_eq!(check_folder(&folder, |_| {}).unwrap().content, ContentState::Signed);
        let raw = folder.join(raw_name(made.store.manifest(made.id).manifest().visibility));
        let mut bytes = fs::read(&raw).unwrap();
        bytes[1000] ^= 1;
        fs::write(raw, bytes).unwrap();
        assert_eq!(check_folder(&folder, |_| {}).unwrap().content, ContentState::Differs);
    }
}
