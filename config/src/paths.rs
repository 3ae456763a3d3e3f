//! Where things lie when nobody says where: in root's places for root, in the XDG ones for everybody else.

use std::path::{Path, PathBuf};

/// Root's socket, and that of a node which runs as a service of the machine.
pub const MACHINE_SOCKET: &str = "/run/tesseras/node.sock";

/// Root's data folder, and that of a node which runs as a service of the machine.
pub const MACHINE_DATA_DIR: &str = "/var/lib/tesseras";

/// The longest path a Unix socket can be bound to, in bytes (`sun_path` without its final zero).
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The folder of the data; `None` when the environment names no home.
pub(crate) fn data_dir(env: &[(String, String)], is_root: bool) -> Option<PathBuf> {
    if is_root {
        return Some(PathBuf::from(MACHINE_DATA_DIR));
    }
    let home = || folder(env, "HOME").map(|home| home.join(".local/share"));
    Some(folder(env, "XDG_DATA_HOME").or_else(home)?.join("tesseras"))
}

/// The socket of a node whose data lie in the default folder.
pub(crate) fn socket(env: &[(String, String)], is_root: bool, data_dir: &Path) -> PathBuf {
    if is_root {
        return PathBuf::from(MACHINE_SOCKET);
    }
    match folder(env, "XDG_RUNTIME_DIR") {
        Some(runtime) => runtime.join("tesseras/node.sock"),
        None => socket_in(data_dir),
    }
}

/// The socket of a node whose data folder was named.
pub(crate) fn socket_in(data_dir: &Path) -> PathBuf {
    data_dir.join("node.sock")
}

/// A variable that names a folder. Relative ones are passed over, as the XDG specification asks.
fn folder(env: &[(String, String)], name: &str) -> Option<PathBuf> {
    let (_, value) = env.iter().find(|(n, _)| n == name)?;
    Some(PathBuf::from(value)).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn data_dir_without_a_setting_follows_the_user() {
        let check = |pairs: &[_], root, expected: Option<&str>| {
            assert_eq!(data_dir(&env(pairs), root), expected.map(PathBuf::from));
        };
        check(&[("XDG_DATA_HOME", "/x"), ("HOME", "/root")], true, Some("/var/lib/tesseras"));
        check(&[("XDG_DATA_HOME", "/x"), ("HOME", "/h")], false, Some("/x/tesseras"));
        check(&[("XDG_DATA_HOME", "x"), ("HOME", "/h")], false, Some("/h/.local/share/tesseras"));
        check(&[("HOME", "/h")], false, Some("/h/.local/share/tesseras"));
        check(&[("HOME", "")], false, None);
        check(&[], false, None);
    }

    #[test]
    fn socket_without_a_setting_follows_the_user() {
        let check = |pairs: &[_], root, expected: &str| {
            assert_eq!(socket(&env(pairs), root, Path::new("/d")), Path::new(expected));
        };
        check(&[("XDG_RUNTIME_DIR", "/r")], true, "/run/tesseras/node.sock");
        check(&[("XDG_RUNTIME_DIR", "/r")], false, "/r/tesseras/node.sock");
        check(&[], false, "/d/node.sock");
    }
}
