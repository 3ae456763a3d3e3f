//! The node that runs as a service of this machine: which socket a command talks to when nobody names one.

use std::path::{Path, PathBuf};

use config::{Loaded, MACHINE_SOCKET, Origin};

/// The socket of the caller's own node. Whoever has none, and has written nothing about one, means the machine's, if
/// that is there.
pub(super) fn socket(loaded: &Loaded) -> PathBuf {
    let (own, data_dir) = (&loaded.config.admin.socket, &loaded.config.node.data_dir);
    // What may not be looked at is there: the error that follows says how to be let in.
    let is_there = |path: &Path| path.try_exists().unwrap_or(true);
    if is_named(loaded) { own.clone() } else { nearest(own, data_dir, is_there).to_owned() }
}

/// Whether anything says which node is meant: a file, the environment or a flag.
fn is_named(loaded: &Loaded) -> bool {
    let is_default = |key| loaded.show().any(|one| one.key == key && one.origin == Origin::Default);
    loaded.file.is_some() || !["node.data_dir", "admin.socket"].into_iter().all(is_default)
}

fn nearest<'a>(own: &'a Path, data_dir: &Path, is_there: impl Fn(&Path) -> bool) -> &'a Path {
    let machines = Path::new(MACHINE_SOCKET);
    // A node of one's own that does not run is not replaced by another: what is kept or forgotten there is not the same.
    let has_own = is_there(own) || is_there(data_dir);
    if !has_own && is_there(machines) { machines } else { own }
}

#[cfg(test)]
mod tests {
    use config::{Flags, Machine, Sources};

    use super::*;

    #[test]
    fn machines_node_is_reached_by_those_who_have_none() {
        let check = |there: &[&str], expected: &str| {
            let is_there = |path: &Path| there.iter().any(|one| Path::new(one) == path);
            let found = nearest(Path::new("/r/node.sock"), Path::new("/h/data"), is_there);
            assert_eq!(found, Path::new(expected), "{there:?}");
        };
        check(&[MACHINE_SOCKET], MACHINE_SOCKET);
        check(&[], "/r/node.sock");
        check(&["/r/node.sock", MACHINE_SOCKET], "/r/node.sock");
        check(&["/h/data", MACHINE_SOCKET], "/r/node.sock");
    }

    #[test]
    fn node_is_named_by_a_flag_the_environment_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.toml");
        std::fs::write(&file, "").unwrap();
        let check = |flags: Flags, variable: &str, file: Option<&PathBuf>, expected: bool| {
            let env = [("HOME", "/nowhere"), (variable, "/named")].map(|(n, v)| (n.to_owned(), v.to_owned()));
            let sources = Sources { file: file.cloned(), env: env.into(), flags };
            let user = Machine { memory_bytes: None, is_root: false };
            assert_eq!(is_named(&config::load_on(user, &sources).unwrap()), expected, "{sources:?}");
        };
        let none = Flags::default;
        check(none(), "XDG_RUNTIME_DIR", None, false);
        check(Flags { data_dir: Some("/d".into()), ..none() }, "X", None, true);
        check(Flags { socket: Some("/s".into()), ..none() }, "X", None, true);
        check(none(), "TESSERAS_NODE__DATA_DIR", None, true);
        check(none(), "TESSERAS_ADMIN__SOCKET", None, true);
        check(none(), "X", Some(&file), true);
    }
}
