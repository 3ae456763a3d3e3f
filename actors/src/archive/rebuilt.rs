//! The tar that the author of a public tessera signed, built again from an exported folder.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use proto::{
    Checksum,
    manifest::{Manifest, Visibility},
};

use super::{
    bag::{DATA, TAGS_BEFORE, TAGS_BEHIND, TOP},
    check::ContentState,
    mtime::Mtime,
    tarball::Tarball,
};

/// The bag's own files that could be read.
pub(crate) type Tags = HashMap<&'static str, Vec<u8>>;

/// The tar that the author signed, being built again; nothing of it once a file could not be had.
pub(crate) struct Rebuilt {
    tar: Option<Tarball<Content>>,
    created: Mtime,
}

impl Rebuilt {
    pub(crate) fn new(said: &Manifest) -> Self {
        // The signature of a private tessera is about the encrypted content.
        let tar = (said.visibility == Visibility::Public).then(|| Tarball::new(Content::default()));
        Self { tar, created: Mtime::from_ms(said.created_at_ms) }
    }

    pub(crate) fn before(&mut self, tags: &Tags) {
        let created = self.created;
        self.write(|tar| tar.folder(TOP, created));
        TAGS_BEFORE.iter().for_each(|name| self.tag(name, tags));
        self.folder(DATA, created);
    }

    pub(crate) fn behind(&mut self, tags: &Tags) {
        TAGS_BEHIND.iter().for_each(|name| self.tag(name, tags));
    }

    fn tag(&mut self, name: &str, tags: &Tags) {
        let created = self.created;
        match tags.get(name) {
            Some(bytes) => self.write(|tar| tar.whole_file(&format!("{TOP}/{name}"), bytes, created)),
            None => self.give_up(),
        }
    }

    pub(crate) fn folder(&mut self, path: &str, mtime: Mtime) {
        self.write(|tar| tar.folder(&format!("{TOP}/{path}"), mtime));
    }

    pub(crate) fn file(&mut self, path: &str, size: u64, mtime: Mtime) {
        self.write(|tar| tar.file(&format!("{TOP}/{path}"), size, mtime));
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.write(|tar| tar.write_all(bytes));
    }

    fn write(&mut self, step: impl FnOnce(&mut Tarball<Content>) -> io::Result<()>) {
        if self.tar.as_mut().is_some_and(|tar| step(tar).is_err()) {
            self.give_up();
        }
    }

    pub(crate) fn give_up(&mut self) {
        self.tar = None;
    }

    pub(crate) fn finish(self) -> Option<Content> {
        self.tar?.finish().ok()
    }
}

/// Length and hash of content.
#[derive(Default)]
pub(crate) struct Content {
    length: u64,
    hasher: blake3::Hasher,
}

impl Content {
    pub(crate) fn compare(&self, said: &Manifest) -> ContentState {
        let hash = Checksum::from_bytes(*self.hasher.finalize().as_bytes());
        if (self.length, hash) == (said.content_len, said.content_hash) {
            ContentState::Signed
        } else {
            ContentState::Differs
        }
    }
}

impl Write for Content {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.length += bytes.len() as u64;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
