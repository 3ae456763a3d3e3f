//! The data directory itself, and the keys in it.

use std::path::Path;

use actors::keys::{AUTHOR_KEY_NAME, Author, KeyError, NODE_KEY_NAME, read_node_key};
use config::Loaded;

use super::Check;
use crate::{
    args::this_node,
    data_dir::{self, Found, holds_data, inspect},
    failure::Failure,
    human,
};

/// Whether the data directory is one, and its keys are there.
pub(super) fn examine(loaded: &Loaded) -> Vec<Check> {
    let path = loaded.config.node.data_dir.as_path();
    if let Err(error) = std::fs::read_dir(path)
        && error.kind() == std::io::ErrorKind::PermissionDenied
    {
        let finding = format!("{} may not be looked into: {error}", path.display());
        return vec![Check::unknown(DATA_DIR, finding, AS_ANOTHER)];
    }
    let found = inspect(path);
    let marked = matches!(found, Ok(Found::Marked));
    let mut checks = vec![folder(path, found, data_dir::named_in_a_file(loaded).as_deref())];
    if marked {
        let (node, author) = (path.join(NODE_KEY_NAME), path.join(AUTHOR_KEY_NAME));
        let node = KeyFile::of(&node, read_node_key(&node).map(drop));
        let author = KeyFile::of(&author, Author::read(&author).map(drop));
        checks.push(keys(path, node, author, holds_data(path)));
    }
    checks
}

fn folder(path: &Path, found: Result<Found, Failure>, named_at: Option<&str>) -> Check {
    let shown = path.display();
    match found {
        Ok(Found::Marked) => Check::ok(DATA_DIR, format!("{shown}")),
        Ok(Found::Missing | Found::Empty) if named_at.is_some() => Check::failed(
            DATA_DIR,
            format!("{shown}, named at {}, is empty", named_at.unwrap_or_default()),
            format!(
                "if its disk is not mounted, mount it; to begin a new node there: `{} init`",
                this_node()
            ),
        ),
        Ok(Found::Missing | Found::Empty) => Check::warning(
            DATA_DIR,
            format!("nothing is at {shown} yet"),
            format!("`{} init` makes it, and so does `{0} run`", this_node()),
        ),
        Ok(Found::Unmarked(name)) => Check::failed(
            DATA_DIR,
            format!("{shown} is not a data directory: it holds {name:?}, but no file named TESSERAS"),
            "if its disk is not mounted, mount it; else choose an empty folder with --data-dir",
        ),
        Err(failure) => Check::failed(
            DATA_DIR,
            failure.to_string(),
            "choose another folder with --data-dir, or restore this one",
        ),
    }
}

/// A key file as it was found.
enum KeyFile {
    Missing,
    Right,
    /// It is no key, and why.
    Wrong(String),
    /// It may be one.
    Unseen(String),
}

impl KeyFile {
    fn of(path: &Path, read: Result<(), KeyError>) -> Self {
        match read {
            // Who else can read it is found by `permissions`.
            Ok(()) | Err(KeyError::Exposed { .. }) => Self::Right,
            Err(_) if !path.exists() => Self::Missing,
            Err(KeyError::Malformed { reason, .. }) => Self::Wrong(reason),
            Err(error) => Self::Unseen(error.to_string()),
        }
    }
}

fn keys(path: &Path, node: KeyFile, author: KeyFile, holds_data: bool) -> Check {
    let mut missing = Vec::new();
    for (file, name) in [(node, NODE_KEY_NAME), (author, AUTHOR_KEY_NAME)] {
        match file {
            KeyFile::Missing => missing.push(name),
            KeyFile::Wrong(reason) => {
                let finding = format!("{} is no key: {reason}", path.join(name).display());
                return Check::failed(
                    KEYS,
                    format!("{finding}; the daemon does not start with it"),
                    FROM_COPY,
                );
            }
            KeyFile::Unseen(error) => return Check::unknown(KEYS, error, AS_ANOTHER),
            KeyFile::Right => {}
        }
    }
    if missing.is_empty() {
        let copy = format!(
            "keep a copy of {} away from this machine: without it nobody can read your private tesserae",
            human::quoted(path.join(AUTHOR_KEY_NAME))
        );
        return Check {
            remedy: Some(copy),
            ..Check::ok(KEYS, "both are there; whether you have a copy, only you know")
        };
    }
    let names = missing.join(" and ");
    if holds_data {
        return Check::failed(
            KEYS,
            format!("{} holds tesserae, but {names} is gone: the daemon does not start", path.display()),
            format!(
                "restore it from your copy; if it is lost for good, `{} init` makes a new one",
                this_node()
            ),
        );
    }
    Check::ok(KEYS, format!("{names} is made at the first start"))
}

const DATA_DIR: &str = "data-directory";
const KEYS: &str = "keys";
const FROM_COPY: &str = "put it back from your copy, or move it away and `restore` what `backup` wrote; an empty one was never used: remove it";
const AS_ANOTHER: &str = "run this as the user that the daemon runs as, or as root";

#[cfg(test)]
mod tests {
    use actors::keys::create_node_key;

    use super::*;
    use crate::doctor::{Outcome, tests::check};

    #[test]
    fn folder_that_is_no_data_directory_is_found() {
        let is = |found, named_at| folder(Path::new("/d"), found, named_at);
        check(&is(Ok(Found::Marked), None), Outcome::Ok, "/d");
        check(&is(Ok(Found::Empty), None), Outcome::Warning, "init");
        check(&is(Ok(Found::Missing), None), Outcome::Warning, "nothing is at /d yet");
        check(&is(Ok(Found::Empty), Some("node.toml:3")), Outcome::Failed, "named at node.toml:3");
        check(&is(Ok(Found::Unmarked("photo.jpg".to_owned())), None), Outcome::Failed, "photo.jpg");
        let newer = Failure::new(crate::problem::Kind::NewerVersion, "/d has format 2");
        check(&is(Err(newer), None), Outcome::Failed, "/d has format 2");
    }

    #[test]
    fn key_that_is_gone_where_something_is_stored_fails() {
        let is = |node, author, data| {
            let file = |is_there| if is_there { KeyFile::Right } else { KeyFile::Missing };
            keys(Path::new("/d"), file(node), file(author), data)
        };
        check(&is(true, true, true), Outcome::Ok, "keep a copy of /d/author.key");
        check(&is(true, false, true), Outcome::Failed, "author.key is gone");
        check(&is(false, false, true), Outcome::Failed, "node.key and author.key");
        check(&is(false, false, false), Outcome::Ok, "made at the first start");
    }

    #[test]
    fn key_file_that_holds_no_key_fails() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NODE_KEY_NAME);
        let found =
            || keys(dir.path(), KeyFile::of(&path, read_node_key(&path).map(drop)), KeyFile::Right, true);
        check(&found(), Outcome::Failed, "node.key is gone");
        create_node_key(&path).unwrap();
        check(&found(), Outcome::Ok, "both are there");
        std::fs::write(&path, "rubbish").unwrap();
        check(&found(), Outcome::Failed, "node.key is no key: ");
        check(&found(), Outcome::Failed, "put it back from your copy");
    }
}
