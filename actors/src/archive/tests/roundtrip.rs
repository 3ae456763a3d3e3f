//! Any tree of files comes back as it was.

use std::{
    collections::BTreeMap,
    fs::{self, File},
};

use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;

use super::{super::mtime::Mtime, *};

/// Files and folders by their paths: a file's bytes and each one's modification time.
type Tree = BTreeMap<String, (Option<Vec<u8>>, Mtime)>;

#[derive(Debug, Clone)]
enum Node {
    File(Vec<u8>, Mtime),
    Folder(BTreeMap<String, Node>, Mtime),
}

fn mtimes() -> impl Strategy<Value = Mtime> {
    (-100_000_000_i64..4_000_000_000, prop_oneof![Just(0), Just(500_000_000), 0..1_000_000_000_u32])
        .prop_map(|(seconds, nanos)| Mtime::parse(&format!("{seconds}.{nanos:09}")).unwrap())
}

fn names() -> impl Strategy<Value = String> {
    "[a-cA-C é\u{301}ü日🙂%0A\n\r._'\"*-]{1,12}|[xé]{80,120}"
        .prop_map(|name: String| name.nfc().collect::<String>())
        .prop_filter("a name of its own", |name| name != "." && name != "..")
}

fn nodes() -> impl Strategy<Value = Node> {
    let bytes = prop_oneof![
        Just(Vec::new()),
        proptest::collection::vec(any::<u8>(), 1..2000),
        (1..200_000_usize, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ];
    let file = (bytes, mtimes()).prop_map(|(bytes, mtime)| Node::File(bytes, mtime));
    file.prop_recursive(4, 24, 6, |inner| {
        (proptest::collection::btree_map(names(), inner, 0..6), mtimes())
            .prop_map(|(children, mtime)| Node::Folder(children, mtime))
    })
}

fn write(node: &Node, path: &Path) {
    match node {
        Node::File(bytes, mtime) => {
            fs::write(path, bytes).unwrap();
            File::options().write(true).open(path).unwrap().set_modified(mtime.to_system()).unwrap();
        }
        Node::Folder(children, mtime) => {
            fs::create_dir(path).unwrap();
            children.iter().for_each(|(name, child)| write(child, &path.join(name)));
            File::open(path).unwrap().set_modified(mtime.to_system()).unwrap();
        }
    }
}

fn tree(path: &Path, name: &str, into: &mut Tree) {
    let stat = fs::symlink_metadata(path).unwrap();
    let bytes = stat.is_file().then(|| fs::read(path).unwrap());
    into.insert(name.to_owned(), (bytes, Mtime::from(&stat)));
    if stat.is_dir() {
        for child in fs::read_dir(path).unwrap() {
            let child = child.unwrap();
            let below = format!("{name}/{}", child.file_name().to_str().unwrap());
            tree(&child.path(), &below, into);
        }
    }
}

fn tree_of(path: &Path) -> Tree {
    let mut all = Tree::new();
    tree(path, "", &mut all);
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_created_and_exported_is_identical(root in nodes(), public in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("root"), dir.path().join("export"));
        write(&root, &from);
        let author = Author::generate().unwrap();
        let store = MemoryStore::default();
        let metadata = Metadata { public, title: Some("Any".into()), ..Metadata::default() };
        let (created, exported) = run(async {
            let created = create_from(&store, &author, &metadata, &from).await;
            (created, export(&store, created.id, &author, &to).await)
        });
        prop_assert_eq!(tree_of(&to.join("tessera/data/root")), tree_of(&from));
        prop_assert_eq!(exported.files, created.files + 5);
        let report = check_folder(&to, |_| {}).unwrap();
        prop_assert!(report.is_intact(), "{report:?}");
        let state = if public { ContentState::Signed } else { ContentState::Unpacked };
        prop_assert_eq!((report.content, report.tessera), (state, created.id));
    }
}

#[test]
fn tree_made_twice_at_the_same_moment_is_the_same_tessera() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("photos");
    fs::create_dir_all(path.join("a/b")).unwrap();
    fs::write(path.join("a/b/c"), vec![7; 100_000]).unwrap();
    let author = Author::generate().unwrap();
    let ids = [(), ()]
        .map(|()| run(async { create_from(&MemoryStore::default(), &author, &public(), &path).await.id }));
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn one_file_is_read_by_its_path() {
    let author = Author::generate().unwrap();
    let store = MemoryStore::default();
    for metadata in [public(), Metadata::default()] {
        let video = vec![3; 500_000];
        let files: &[(&str, &[u8])] =
            &[("a/caf\u{e9}.txt", b"coffee"), ("a/video", &video), ("a/empty", b""), ("b", b"last")];
        run(async {
            let tar = upload(&metadata, files);
            let id = create(tar.as_slice(), &author, store.sink(), NOW_MS).await.unwrap().id;
            for (path, bytes) in files {
                let file = read_file(store.clone(), id, &author, path).await.unwrap();
                assert_eq!(file.content.length(), bytes.len() as u64);
                assert_eq!(collect(file.content).await.unwrap(), *bytes);
            }
            let decomposed = read_file(store.clone(), id, &author, "a/cafe\u{301}.txt").await.unwrap();
            assert_eq!(collect(decomposed.content).await.unwrap(), b"coffee");
            for path in ["a", "c", "../b", ""] {
                let missing = read_file(store.clone(), id, &author, path).await;
                assert!(matches!(missing, Err(ArchiveError::NoSuchFile { path: told }) if told == path));
            }
        });
    }
}

#[test]
fn private_tessera_is_read_by_its_author_and_its_recipients_only() {
    let [author, friend, stranger] = [(), (), ()].map(|()| Author::generate().unwrap());
    let store = MemoryStore::default();
    let metadata = Metadata { recipients: vec![friend.recipient().to_string()], ..Metadata::default() };
    run(async {
        let tar = upload(&metadata, &[("letter", b"dear")]);
        let id = create(tar.as_slice(), &author, store.sink(), NOW_MS).await.unwrap().id;
        assert!(store.manifest(id).manifest().description.is_empty());
        let read_by = async |who: &Author| read(&store, id, who, Form::Bag).await;
        assert_eq!(read_by(&author).await.unwrap(), read_by(&friend).await.unwrap());
        assert!(matches!(content(store.clone(), id, &stranger, Form::Bag).await, Err(ArchiveError::Sealed)));
        assert!(matches!(read_file(store.clone(), id, &stranger, "letter").await, Err(ArchiveError::Sealed)));
        let stored = read(&store, id, &stranger, Form::Stored).await.unwrap();
        assert!(!stored.windows(4).any(|bytes| bytes == b"dear"));
    });
}

#[test]
fn public_tessera_describes_itself_in_manifest_and_bag() {
    let author = Author::generate().unwrap();
    let store = MemoryStore::default();
    let metadata = Metadata { title: Some("Kitchen".into()), tags: vec!["food".into()], ..public() };
    run(async {
        let tar = upload(&metadata, &[("a", b"a")]);
        let id = create(tar.as_slice(), &author, store.sink(), NOW_MS).await.unwrap().id;
        let manifest = store.manifest(id);
        assert_eq!(manifest.manifest().description.title.as_deref(), Some("Kitchen"));
        assert_eq!(manifest.manifest().description.tags, ["food"]);
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("out");
        export(&store, id, &author, &folder).await;
        let info = fs::read_to_string(folder.join("tessera/bag-info.txt")).unwrap();
        assert!(info.contains("Title: Kitchen\nTag: food\n"), "{info}");
        let readme = fs::read_to_string(folder.join("README.txt")).unwrap();
        assert!(readme.starts_with("Kitchen\n\n") && readme.contains(&id.to_string()), "{readme}");
    });
}
