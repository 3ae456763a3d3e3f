//! What a power cut would leave of a few files: what was synced, and of the rest whatever chance decides.
//!
//! Contents count from a sync of their file on, names from a sync of their folder on. Of what was not synced each
//! write is lost, or there, or torn at sectors; each name is changed or not. After a sync that failed it is decided at
//! once what reached the disk: a later sync does not bring the rest there, as on Linux.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
};

use super::chance::Chance;

#[derive(Debug)]
pub(crate) struct Platter {
    files: BTreeMap<u64, Content>,
    /// Which file an inode is now; inodes are used again.
    inodes: HashMap<u64, u64>,
    files_made: u64,
    names: BTreeMap<PathBuf, u64>,
    names_pending: Vec<NameChange>,
    /// Folders whose own names are durable.
    folders: HashSet<PathBuf>,
    chance: Chance,
}

#[derive(Debug, Default)]
struct Content {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { position: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug)]
enum NameChange {
    Add(PathBuf, u64),
    Remove(PathBuf),
}

impl Platter {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            files: BTreeMap::new(),
            inodes: HashMap::new(),
            files_made: 0,
            names: BTreeMap::new(),
            names_pending: Vec::new(),
            folders: HashSet::new(),
            chance: Chance::new(seed),
        }
    }

    /// A file was made; its name is not durable yet. Its inode may have been that of one that is gone.
    pub(crate) fn created(&mut self, path: &Path, inode: u64) {
        let file = self.file(inode, Content::default());
        self.names_pending.push(NameChange::Add(path.to_owned(), file));
    }

    /// A file was opened. One that was there before this platter was is taken as durable.
    pub(crate) fn opened(&mut self, path: &Path, inode: u64) {
        if self.inodes.contains_key(&inode) {
            return;
        }
        if let Some(file) = self.names.get(path) {
            self.inodes.insert(inode, *file);
            return;
        }
        self.folders.extend(path.parent().map(Path::to_owned));
        let durable = std::fs::read(path).unwrap_or_default();
        let file = self.file(inode, Content { durable, pending: Vec::new() });
        self.names.insert(path.to_owned(), file);
    }

    pub(crate) fn wrote(&mut self, inode: u64, position: u64, bytes: Vec<u8>) {
        let position = usize::try_from(position).unwrap();
        self.change(inode, Change::Write { position, bytes });
    }

    pub(crate) fn truncated(&mut self, inode: u64, length: u64) {
        self.change(inode, Change::Length(usize::try_from(length).unwrap()));
    }

    pub(crate) fn removed(&mut self, path: &Path) {
        self.names_pending.push(NameChange::Remove(path.to_owned()));
    }

    pub(crate) fn synced(&mut self, inode: u64) {
        if let Some(content) = self.content(inode) {
            for change in std::mem::take(&mut content.pending) {
                content.apply(change);
            }
        }
    }

    /// The sync failed: some of it is on the disk, and the rest will never be.
    pub(crate) fn sync_failed(&mut self, inode: u64) {
        let Some(file) = self.inodes.get(&inode) else { return };
        if let Some(content) = self.files.get_mut(file) {
            content.lose_some(&mut self.chance);
        }
    }

    pub(crate) fn folder_synced(&mut self, folder: &Path) {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        self.folders.extend(entries.filter(|path| path.is_dir()));
        let (now, later) = std::mem::take(&mut self.names_pending)
            .into_iter()
            .partition(|change| change.path().parent() == Some(folder));
        self.names_pending = later;
        self.rename(now);
    }

    /// The power goes: what is left, by name. From here on that is all there is.
    pub(crate) fn power_cut(&mut self) -> BTreeMap<PathBuf, Vec<u8>> {
        let pending = std::mem::take(&mut self.names_pending);
        let kept = pending.into_iter().filter(|_| self.chance.one_in(2)).collect();
        self.rename(kept);
        for content in self.files.values_mut() {
            content.lose_some(&mut self.chance);
        }
        let folders = &self.folders;
        self.names.retain(|path, _| path.parent().is_some_and(|folder| folders.contains(folder)));
        self.inodes.clear();
        self.names.iter().map(|(path, file)| (path.clone(), self.files[file].durable.clone())).collect()
    }

    fn file(&mut self, inode: u64, content: Content) -> u64 {
        self.files_made += 1;
        self.inodes.insert(inode, self.files_made);
        self.files.insert(self.files_made, content);
        self.files_made
    }

    fn content(&mut self, inode: u64) -> Option<&mut Content> {
        self.files.get_mut(self.inodes.get(&inode)?)
    }

    fn change(&mut self, inode: u64, change: Change) {
        if let Some(content) = self.content(inode) {
            content.pending.push(change);
        }
    }

    fn rename(&mut self, changes: Vec<NameChange>) {
        for change in changes {
            match change {
                NameChange::Add(path, file) => self.names.insert(path, file),
                NameChange::Remove(path) => self.names.remove(&path),
            };
        }
    }
}

impl NameChange {
    fn path(&self) -> &Path {
        match self {
            Self::Add(path, _) | Self::Remove(path) => path,
        }
    }
}

impl Content {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Length(length) => self.durable.resize(length, 0),
            Change::Write { position, bytes } => {
                let end = position + bytes.len();
                if self.durable.len() < end {
                    self.durable.resize(end, 0);
                }
                self.durable[position..end].copy_from_slice(&bytes);
            }
        }
    }

    fn lose_some(&mut self, chance: &mut Chance) {
        for change in std::mem::take(&mut self.pending) {
            match (chance.below(4), change) {
                (0, _) => {}
                (1, change) => self.apply(change),
                (_, Change::Write { position, bytes }) => self.tear(position, &bytes, chance),
                (_, change) => {
                    if chance.one_in(2) {
                        self.apply(change);
                    }
                }
            }
        }
    }

    /// Some sectors of a write are there.
    fn tear(&mut self, position: usize, bytes: &[u8], chance: &mut Chance) {
        let mut at = position;
        while at < position + bytes.len() {
            let next = (at + 1).next_multiple_of(SECTOR_BYTES).min(position + bytes.len());
            if chance.one_in(2) {
                let bytes = bytes[at - position..next - position].to_vec();
                self.apply(Change::Write { position: at, bytes });
            }
            at = next;
        }
    }
}

const SECTOR_BYTES: usize = 512;
