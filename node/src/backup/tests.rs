//! A backup is whole or refused, whoever made it.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use config::StorageConfig;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::*;
use crate::{data_dir::DataDir, failure::Failure, keys::Keys, problem::Kind};

/// A data directory with keys, and a backup of it that can be changed.
struct Place {
    dir: TempDir,
    entries: Vec<(Header, Vec<u8>)>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(&dir.path().join("data")).unwrap();
        Keys::make(&held).unwrap();
        held.write_new("node.toml", b"# mine\n").unwrap();
        held.make_folder("snapshots").unwrap();
        let content = vec![7; 100_000];
        let hash: String = Checksum::of(&content).to_string().chars().take(32).collect();
        held.write_new(&format!("snapshots/1795841103000-{hash}.db"), &content).unwrap();
        drop(held);
        let mut place = Self { dir, entries: Vec::new() };
        let mut tar = Vec::new();
        Pack::gather(&place.storage(), 1_795_841_103_000).unwrap().write(&mut tar).unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        place.entries = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
                (entry.header().clone(), bytes)
            })
            .collect();
        place
    }

    fn storage(&self) -> StorageConfig {
        let flags =
            config::Flags { data_dir: Some(self.dir.path().join("data")), ..config::Flags::default() };
        let machine = config::Machine { memory_bytes: None, is_root: false };
        let env = [("HOME".to_owned(), "/nowhere".to_owned())];
        let sources = config::Sources { file: None, env: env.into(), flags };
        config::load_on(machine, &sources).unwrap().config.storage
    }

    fn tar(&self) -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        for (header, bytes) in &self.entries {
            tar.append(header, bytes.as_slice()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    /// Changes the header of an entry, and makes its sum right again.
    fn header(&mut self, at: usize, change: impl FnOnce(&mut Header)) {
        let header = &mut self.entries[at].0;
        change(header);
        header.set_cksum();
    }

    fn manifest(&self) -> Manifest {
        serde_json::from_slice(&self.entries[0].1).unwrap()
    }

    fn set_manifest(&mut self, manifest: &Manifest) {
        let json = serde_json::to_vec_pretty(manifest).unwrap();
        self.header(0, |header| header.set_size(json.len() as u64));
        self.entries[0].1 = json;
    }

    fn open(&self, tar: &[u8]) -> Result<Backup, Failure> {
        let path = self.dir.path().join("backup.tar");
        fs::write(&path, tar).unwrap();
        Backup::open(&path)
    }

    #[track_caller]
    fn refused(&self, tar: &[u8], kind: Kind, reason: &str) {
        match self.open(tar) {
            Ok(_) => panic!("it was taken: {reason}"),
            Err(Failure::Problem(problem)) => {
                assert!(problem.detail.contains(reason), "{reason}: {}", problem.detail);
                assert_eq!(problem.kind(), kind, "{reason}");
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("restored")
    }
}

#[test]
fn restored_folder_holds_the_same_files_for_their_owner_only() {
    let place = Place::new();
    let backup = place.open(&place.tar()).unwrap();
    let restored = restore(&backup, &place.target()).unwrap();
    assert_eq!((restored.written.len(), restored.kept.len()), (5, 0));
    for Listed { name, .. } in &backup.manifest.files {
        let (old, new) = (place.dir.path().join("data").join(name), place.target().join(name));
        assert_eq!(fs::read(old).unwrap(), fs::read(&new).unwrap(), "{name}");
        assert_eq!(fs::metadata(new).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::metadata(place.target()).unwrap().permissions().mode() & 0o777, 0o700);
    let again = restore(&backup, &place.target()).unwrap();
    assert_eq!((again.written.len(), again.kept.len()), (0, 5), "the same keys may stay");
}

#[test]
fn snapshot_that_is_not_as_it_was_taken_is_not_packed() {
    let place = Place::new();
    let snapshot = place.dir.path().join("data").join(&place.manifest().files.last().unwrap().name);
    assert!(snapshot.extension().is_some_and(|extension| extension == "db"));
    fs::write(&snapshot, [7; 99_999]).unwrap();
    let pack = Pack::gather(&place.storage(), 0).unwrap();
    assert!(pack.manifest.files.iter().all(|listed| !listed.is_snapshot()));
    assert_eq!(pack.manifest.files.len(), 4);
}

#[test]
fn restore_never_replaces_keys_nor_goes_where_others_files_are() {
    let place = Place::new();
    let backup = place.open(&place.tar()).unwrap();
    for name in ["node.key", "author.key"] {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        Keys::make(&held).unwrap();
        let other = if name == "node.key" { "author.key" } else { "node.key" };
        fs::remove_file(dir.path().join(other)).unwrap();
        drop(held);
        let before = fs::read(dir.path().join(name)).unwrap();
        let failure = restore(&backup, dir.path()).err().unwrap().to_string();
        assert!(failure.contains(&format!("{name} is another key")), "{failure}");
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), before);
        assert!(!dir.path().join(other).exists());
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("photo.jpg"), "").unwrap();
    let failure = restore(&backup, dir.path()).err().unwrap().to_string();
    assert!(failure.contains("photo.jpg"), "{failure}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn restore_waits_for_nobody_who_has_the_folder() {
    let place = Place::new();
    let backup = place.open(&place.tar()).unwrap();
    let _held = DataDir::open(&place.target()).unwrap();
    let failure = restore(&backup, &place.target()).err().unwrap().to_string();
    assert!(failure.contains("in use by"), "{failure}");
    assert!(!place.target().join("node.key").exists());
}

#[test]
fn backup_that_changed_after_it_was_checked_writes_no_snapshot() {
    let place = Place::new();
    let tar = place.tar();
    let backup = place.open(&tar).unwrap();
    let at = tar.windows(100).position(|bytes| bytes == [7; 100]).unwrap();
    let mut changed = tar;
    changed[at] ^= 1;
    fs::write(place.dir.path().join("backup.tar"), changed).unwrap();
    let failure = restore(&backup, &place.target()).err().unwrap().to_string();
    assert!(failure.contains("changed in"), "{failure}");
    assert!(!place.target().join("node.key").exists() && !place.target().join("TESSERAS").exists());
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let place = Place::new();
    let tar = place.tar();
    // What is no header, name, length or content is the padding and the part of headers nobody reads.
    for at in (0..tar.len()).step_by(257) {
        let mut changed = tar.clone();
        changed[at] ^= 1;
        let Ok(backup) = place.open(&changed) else { continue };
        assert_eq!(backup.manifest, place.manifest(), "byte {at}");
        for (listed, (_, bytes)) in backup.manifest.files.iter().zip(&place.entries[1..]) {
            let mut copy = Vec::new();
            backup.copy(listed, &mut copy).unwrap();
            assert!(copy == *bytes, "byte {at}");
        }
    }
    for length in (0..tar.len()).step_by(509).chain([tar.len() - 1, tar.len() + 1]) {
        let mut cut = tar.clone();
        cut.resize(length, 0);
        assert!(place.open(&cut).is_err(), "{length} bytes");
    }
}

#[test]
fn entry_that_is_not_the_plain_file_it_should_be_is_refused_by_name() {
    let check = |change: &dyn Fn(&mut Place), reason: &str| {
        let mut place = Place::new();
        change(&mut place);
        place.refused(&place.tar(), Kind::Damaged, reason);
    };
    let named = |name: &'static str| {
        move |place: &mut Place| {
            place.header(2, |header| {
                let field = &mut header.as_old_mut().name;
                field.fill(0);
                field[..name.len()].copy_from_slice(name.as_bytes());
            });
        }
    };
    check(&named("../../etc/passwd"), "../../etc/passwd stands in it where author.key");
    check(&named("/etc/passwd"), "/etc/passwd stands in it");
    check(&named("node.key"), "node.key stands in it where author.key");
    check(&named("a\u{1b}[2Jb"), "\\u{1b}[2Jb stands in it");
    for kind in
        [EntryType::Symlink, EntryType::Link, EntryType::Directory, EntryType::XHeader, EntryType::Fifo]
    {
        check(
            &|place| place.header(2, |header| header.set_entry_type(kind)),
            "author.key in it is not a plain",
        );
    }
    check(&|place| place.header(2, |header| header.set_size(1 << 60)), "bytes, not");
    check(&|place| place.header(0, |header| header.set_size(1 << 40)), "is too long");
    check(&|place| drop(place.entries.remove(0)), "stands in it where backup.json should be");
    check(&|place| drop(place.entries.pop()), "cut short or changed");
    check(&|place| place.entries.push(place.entries[2].clone()), "cut short or changed");
    check(&|place| place.entries.swap(2, 3), "stands in it where author.key should be");
    check(&|place| place.entries[4].1[0] ^= 1, "its node.toml is damaged");
    check(&|place| place.entries[5].1[9] ^= 1, "is damaged: the checksum is another");
}

#[test]
fn manifest_that_lists_what_it_must_not_is_refused_by_name() {
    let check = |change: &dyn Fn(&mut Manifest), kind: Kind, reason: &str| {
        let mut place = Place::new();
        let mut manifest = place.manifest();
        change(&mut manifest);
        place.set_manifest(&manifest);
        place.refused(&place.tar(), kind, reason);
    };
    let renamed =
        |name: &'static str| move |manifest: &mut Manifest| name.clone_into(&mut manifest.files[3].name);
    for name in [
        "../node.toml",
        "/etc/passwd",
        "snapshots/../../x.db",
        "snapshots/x.db",
        "lock",
        "index.db",
        "segments",
    ] {
        check(&renamed(name), Kind::Damaged, &format!("it lists {name}, which has no place in a backup"));
    }
    check(&renamed("node.key"), Kind::Damaged, "it lists node.key twice");
    check(&|manifest| drop(manifest.files.remove(1)), Kind::Damaged, "author.key is not in it");
    check(&|manifest| manifest.files[4].bytes = u64::MAX, Kind::Damaged, "more than there can be");
    check(&|manifest| manifest.files[1].bytes = 1 << 40, Kind::Damaged, "which is more than it can have");
    check(&|manifest| manifest.format = 2, Kind::NewerVersion, "has format 2");
    check(&|manifest| manifest.format = 0, Kind::Damaged, "never was");
    check(&|manifest| manifest.node = NodeId::from_bytes([1; 32]), Kind::Damaged, "its keys are not those");
}
