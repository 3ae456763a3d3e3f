//! The data directory itself, and the keys in it.

use std::path::Path;

use actors::keys::{AUTHOR_KEY_NAME, NODE_KEY_NAME};
use config::Loaded;

use super::Check;
use crate::{
    client::program,
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
        let is_there = |name: &str| path.join(name).exists();
        checks.push(keys(path, is_there(NODE_KEY_NAME), is_there(AUTHOR_KEY_NAME), holds_data(path)));
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
            format!("if its disk is not mounted, mount it; to begin a new node there: `{} init`", program()),
        ),
        Ok(Found::Missing | Found::Empty) => Check::warning(
            DATA_DIR,
            format!("nothing is at {shown} yet"),
            format!("`{} init` makes it, and so does `{0} run`", program()),
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

fn keys(path: &Path, node: bool, author: bool, holds_data: bool) -> Check {
    let missing: Vec<&str> = [(node, NODE_KEY_NAME), (author, AUTHOR_KEY_NAME)]
        .iter()
        .filter(|(there, _)| !there)
        .map(|(_, name)| *name)
        .collect();
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
                program()
            ),
        );
    }
    Check::ok(KEYS, format!("{names} is made at the first start"))
}

const DATA_DIR: &str = "data-directory";
const KEYS: &str = "keys";
const AS_ANOTHER: &str = "run this as the user that the daemon runs as, or as root";

#[cfg(test)]
mod tests {
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
        let is = |node, author, data| keys(Path::new("/d"), node, author, data);
        check(&is(true, true, true), Outcome::Ok, "keep a copy of /d/author.key");
        check(&is(true, false, true), Outcome::Failed, "author.key is gone");
        check(&is(false, false, true), Outcome::Failed, "node.key and author.key");
        check(&is(false, false, false), Outcome::Ok, "made at the first start");
    }
}
