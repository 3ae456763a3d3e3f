//! Putting a backup into a data directory that has no keys of its own.

use std::{io, path::Path};

use actors::keys::{AUTHOR_KEY_NAME, Author, NODE_KEY_NAME, read_node_key};

use super::{Backup, Listed};
use crate::{data_dir::DataDir, failure::Failure, keys, problem::Kind};

/// What a restore did.
pub(crate) struct Restored {
    /// Files that were written.
    pub(crate) written: Vec<String>,
    /// Files that were there already and stayed as they were.
    pub(crate) kept: Vec<String>,
    /// Whether something is stored there, from which a start makes the index anew.
    pub(crate) holds_data: bool,
}

/// Writes what is in a backup. Fails with [`Kind::WrongDataDir`] where other keys or somebody else's files are, and with
/// [`Kind::Locked`] while a daemon has the folder; then nothing was changed.
pub(crate) fn restore(backup: &Backup, path: &Path) -> Result<Restored, Failure> {
    // Before a folder is made or locked, and again when nobody else can change it.
    no_other_keys(backup, path)?;
    let data_dir = DataDir::adopt(path)?;
    no_other_keys(backup, path)?;
    let mut restored = Restored { written: Vec::new(), kept: Vec::new(), holds_data: data_dir.holds_data() };
    // The marker stands first in a backup and is written last: a restore that was cut off is no data directory, so no
    // daemon makes the keys that are missing by itself.
    let mut files: Vec<_> = backup.files().collect();
    files.reverse();
    for (listed, small) in files {
        let wrote = match small {
            Some(bytes) => data_dir.write_new(&listed.name, bytes)?,
            None => snapshot(backup, listed, &data_dir)?,
        };
        let told = if wrote { &mut restored.written } else { &mut restored.kept };
        told.push(listed.name.clone());
    }
    Ok(restored)
}

fn snapshot(backup: &Backup, listed: &Listed, data_dir: &DataDir) -> Result<bool, Failure> {
    if let Some((folder, _)) = listed.name.split_once('/') {
        data_dir.make_folder(folder)?;
    }
    data_dir.write_new_with(&listed.name, |file| backup.copy(listed, file))
}

fn no_other_keys(backup: &Backup, path: &Path) -> Result<(), Failure> {
    let (node, author) = (path.join(NODE_KEY_NAME), path.join(AUTHOR_KEY_NAME));
    if is_there(&node)? {
        let id = read_node_key(&node).map_err(keys::failed)?.id();
        if id != backup.manifest.node {
            return Err(differs(&node, &id.to_string(), &backup.manifest.node.to_string()));
        }
    }
    if is_there(&author)? {
        let there = Author::read(&author).map_err(keys::failed)?;
        // The id is that of the key that signs; the one that reads may differ alone.
        let is_same = backup.author().is_some_and(|one| one.text() == there.text());
        if !is_same {
            return Err(differs(&author, &there.id().to_string(), &backup.manifest.author.to_string()));
        }
    }
    Ok(())
}

fn is_there(path: &Path) -> Result<bool, Failure> {
    path.try_exists().map_err(|error: io::Error| Failure::io("looking at", path, &error))
}

fn differs(path: &Path, there: &str, backup: &str) -> Failure {
    let detail = format!(
        "{path} is another key than that of the backup, and is never replaced: it is that of {there}, the backup has \
         {backup}. Restore into an empty folder with --data-dir, or move this key to a safe place first",
        path = path.display()
    );
    Failure::new(Kind::WrongDataDir, detail)
}
