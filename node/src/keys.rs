//! The keys of a node: the machine's and its person's, made once.
//!
//! # Invariants
//! 1. A missing key is made by itself only where nothing is stored yet. Where something is, a new key would make a
//!    stranger of the node and close the private tesserae for good: that takes an explicit `init`.

use std::path::Path;

use actors::keys::{AUTHOR_KEY_NAME, Author, KeyError, NODE_KEY_NAME, create_node_key, read_node_key};
use config::FILE_NAME;
use proto::{
    credential::{Credential, SignedCredential},
    keys::NodeKey,
};

use crate::{
    args::this_node,
    clock::now_ms,
    data_dir::{DataDir, give},
    failure::Failure,
    problem::Kind,
};

/// Who this machine is, and who uses it.
#[derive(Debug)]
pub(crate) struct Keys {
    /// The machine's.
    pub(crate) node: NodeKey,
    /// The person's.
    pub(crate) author: Author,
}

impl Keys {
    /// Reads the keys; makes what is missing, if nothing is stored yet.
    pub(crate) fn open(data_dir: &DataDir) -> Result<Self, Failure> {
        for name in [NODE_KEY_NAME, AUTHOR_KEY_NAME] {
            if data_dir.holds_data() && !data_dir.path().join(name).exists() {
                return Err(lost(data_dir, name));
            }
        }
        Self::make(data_dir)
    }

    /// Reads the keys; makes what is missing.
    pub(crate) fn make(data_dir: &DataDir) -> Result<Self, Failure> {
        let (node, author) = (data_dir.path().join(NODE_KEY_NAME), data_dir.path().join(AUTHOR_KEY_NAME));
        let node = if node.exists() { read_node_key(&node) } else { create_node_key(&node) };
        let author = if author.exists() { Author::read(&author) } else { Author::create(&author) };
        let keys = Self { node: node.map_err(failed)?, author: author.map_err(failed)? };
        for name in [NODE_KEY_NAME, AUTHOR_KEY_NAME] {
            let path = data_dir.path().join(name);
            give(&path, data_dir.path()).map_err(|error| Failure::io("giving away", &path, &error))?;
        }
        Ok(keys)
    }

    /// Makes a data directory for a person whose key is known, and a new key for the machine; where there is one of theirs, it
    /// stays as it is. Fails with [`Kind::WrongDataDir`] where there is somebody else's key.
    pub(crate) fn adopt(path: &Path, author: &Author) -> Result<Self, Failure> {
        let key = path.join(AUTHOR_KEY_NAME);
        // Before a folder is made or locked, and again when nobody else can change it.
        no_other(&key, author)?;
        let data_dir = DataDir::adopt(path)?;
        no_other(&key, author)?;
        data_dir.write_new(AUTHOR_KEY_NAME, author.text().as_bytes())?;
        let keys = Self::make(&data_dir)?;
        data_dir.write_new(FILE_NAME, config::example().as_bytes())?;
        // Last: a folder that has only some of that is no data directory, and no daemon makes the rest by itself.
        data_dir.mark()?;
        Ok(keys)
    }

    /// The person's word that this machine acts for them: what others keep for it is charged to them.
    pub(crate) fn credential(&self) -> Result<SignedCredential, Failure> {
        let (author, node) = (self.author.id(), self.node.id());
        let credential = Credential { author, node, made_at_ms: now_ms() };
        let signed = credential.sign(self.author.key());
        signed.map_err(|error| {
            Failure::new(Kind::Internal, format!("this node cannot say whom it acts for: {error}"))
        })
    }
}

/// Fails where the key of another person is.
fn no_other(key: &Path, author: &Author) -> Result<(), Failure> {
    if !key.try_exists().map_err(|error| Failure::io("looking at", key, &error))? {
        return Ok(());
    }
    let there = Author::read(key).map_err(failed)?;
    if *there.text() == *author.text() {
        return Ok(());
    }
    let detail = format!(
        "{} is the key of {}, and the card is that of {}: name an empty folder with --data-dir",
        key.display(),
        there.id(),
        author.id()
    );
    Err(Failure::new(Kind::WrongDataDir, detail))
}

fn lost(data_dir: &DataDir, name: &str) -> Failure {
    let path = data_dir.path().display();
    let detail = format!(
        "{path} holds tesserae, but its {name} is gone: restore it from your copy. \
         If it is lost for good, `{} init` makes a new one",
        this_node()
    );
    Failure::new(Kind::WrongDataDir, detail)
}

/// As a failure of the command.
pub(crate) fn failed(error: KeyError) -> Failure {
    let kind = match &error {
        KeyError::Exposed { .. } => Kind::NotPermitted,
        KeyError::Malformed { .. } => Kind::Damaged,
        KeyError::Io { .. } => Kind::Io,
        _ => Kind::Internal,
    };
    Failure::new(kind, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn keys_made_once_stay_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        let (first, second) = (Keys::open(&held).unwrap(), Keys::open(&held).unwrap());
        assert_eq!((first.node.id(), first.author.id()), (second.node.id(), second.author.id()));
    }

    #[test]
    fn machine_acts_for_its_person() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::open(&DataDir::open(dir.path()).unwrap()).unwrap();
        let signed = keys.credential().unwrap();
        let credential = SignedCredential::verify(signed.bytes(), keys.node.id()).unwrap();
        assert_eq!(credential.author, keys.author.id());
    }

    #[test]
    fn key_that_is_gone_is_not_replaced_where_something_is_stored() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        Keys::open(&held).unwrap();
        fs::create_dir(dir.path().join("segments")).unwrap();
        fs::remove_file(dir.path().join(AUTHOR_KEY_NAME)).unwrap();
        let failure = Keys::open(&held).unwrap_err();
        assert!(failure.to_string().contains("its author.key is gone"), "{failure}");
        assert!(!dir.path().join(AUTHOR_KEY_NAME).exists());
        Keys::make(&held).unwrap();
    }
}
