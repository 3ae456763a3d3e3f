//! Who may read and change what belongs to the node.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use actors::{
    keys::{AUTHOR_KEY_NAME, NODE_KEY_NAME},
    storage::{INDEX_FILE, SEGMENTS_FOLDER},
};
use config::Config;

use super::{Check, Outcome};
use crate::human;

/// A file or folder, as it was found.
#[derive(Debug, Clone)]
struct Entry {
    path: PathBuf,
    /// Its permission bits.
    mode: u32,
    owner: u32,
}

impl Entry {
    /// `None` when there is none.
    fn look(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(found) => {
                let mode = found.permissions().mode() & 0o7777;
                Ok(Some(Self { path: path.to_owned(), mode, owner: found.uid() }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Complains when the mode has any of these bits.
    fn refuse(&self, bits: u32, outcome: Outcome, what: &str, allowed: u32) -> Option<Fault> {
        let Self { path, mode, .. } = self;
        (mode & bits != 0).then(|| Fault {
            outcome,
            finding: format!("{} has mode {mode:04o}: {what}", path.display()),
            remedy: format!("chmod {allowed:o} {}", human::quoted(path)),
        })
    }
}

/// Something that is not as it should be.
#[derive(Debug)]
struct Fault {
    outcome: Outcome,
    finding: String,
    remedy: String,
}

/// What lies in the data directory.
struct DataDir {
    folder: Entry,
    keys: Vec<Entry>,
    /// What else belongs to the node.
    others: Vec<Entry>,
    /// Whether members of a group pass through the folder to its socket.
    for_group: bool,
}

/// The data directory and what lies in it.
pub(super) fn data_dir(config: &Config) -> Check {
    let path = &config.node.data_dir;
    let all = |names: &[&str]| -> io::Result<Vec<Entry>> {
        let found: io::Result<Vec<_>> = names.iter().map(|name| Entry::look(&path.join(name))).collect();
        Ok(found?.into_iter().flatten().collect())
    };
    let look = || -> io::Result<Option<DataDir>> {
        let Some(folder) = Entry::look(path)? else { return Ok(None) };
        let socket_is_inside = config.admin.socket.parent() == Some(path);
        let for_group = config.admin.socket_group.is_some() && socket_is_inside;
        let (keys, others) = (all(&[NODE_KEY_NAME, AUTHOR_KEY_NAME])?, all(&[INDEX_FILE, SEGMENTS_FOLDER])?);
        Ok(Some(DataDir { folder, keys, others, for_group }))
    };
    match look() {
        Ok(Some(found)) => {
            verdict(PERMISSIONS, &faults_of_data_dir(&found), "only the owner can read the data and the keys")
        }
        Ok(None) => Check::ok(PERMISSIONS, "there is no data directory yet"),
        Err(error) => not_seen(PERMISSIONS, path, &error),
    }
}

/// The socket and its folder.
pub(super) fn socket(config: &Config) -> Check {
    let path = &config.admin.socket;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (Entry::look(path), Entry::look(folder)) {
        (Ok(Some(socket)), Ok(Some(folder))) => {
            let faults = faults_of_socket(&socket, &folder, config.admin.socket_group.is_some());
            verdict(SOCKET, &faults, "nobody else can use the node")
        }
        (Ok(_), Ok(_)) => {
            Check::ok(SOCKET, format!("there is none at {}: a daemon makes it", path.display()))
        }
        (Err(error), _) | (_, Err(error)) => not_seen(SOCKET, path, &error),
    }
}

fn not_seen(check: &'static str, path: &Path, error: &io::Error) -> Check {
    let finding = format!("{} cannot be looked at: {error}", path.display());
    Check::unknown(check, finding, "run this as the user that the daemon runs as, or as root")
}

fn faults_of_data_dir(found: &DataDir) -> Vec<Fault> {
    let DataDir { folder, keys, others, for_group } = found;
    let (allowed, forbidden) = if *for_group { (0o750, 0o027) } else { (0o700, 0o077) };
    let open = folder
        .refuse(WRITABLE, Outcome::Failed, "others can put their own files in place of yours", allowed)
        .or_else(|| folder.refuse(forbidden, Outcome::Warning, "others can look into it", allowed));
    let exposed = keys.iter().filter_map(|key| {
        key.refuse(OTHERS, Outcome::Failed, "others can read this key, so the daemon does not start", 0o600)
    });
    let visible = others.iter().filter_map(|entry| {
        let allowed = if entry.path.is_dir() { 0o700 } else { 0o600 };
        entry.refuse(OTHERS, Outcome::Warning, "others can see what is kept", allowed)
    });
    let foreign = keys.iter().chain(others).filter(|entry| entry.owner != folder.owner).map(|entry| Fault {
        outcome: Outcome::Failed,
        finding: format!(
            "{} belongs to user {}, its folder to {}: the daemon cannot use it",
            entry.path.display(),
            entry.owner,
            folder.owner
        ),
        remedy: format!("chown -R --reference={0} {0}", human::quoted(&folder.path)),
    });
    open.into_iter().chain(exposed).chain(visible).chain(foreign).collect()
}

fn faults_of_socket(socket: &Entry, folder: &Entry, for_group: bool) -> Vec<Fault> {
    let (mode, folder_mode) = if for_group { (0o660, 0o750) } else { (0o600, 0o700) };
    let open = socket.refuse(0o777 & !mode, Outcome::Failed, "others can use the node as you do", mode);
    let replaceable = folder.refuse(
        WRITABLE,
        Outcome::Warning,
        "others can put a socket of their own in place of the node's",
        folder_mode,
    );
    open.into_iter().chain(replaceable).collect()
}

/// The worst of the faults, with all that was found.
fn verdict(check: &'static str, faults: &[Fault], well: &str) -> Check {
    let Some(outcome) = faults.iter().map(|fault| fault.outcome).max() else { return Check::ok(check, well) };
    let lines = |of: fn(&Fault) -> &str| {
        let mut lines: Vec<&str> = faults.iter().map(of).collect();
        lines.dedup();
        lines.join("\n")
    };
    Check::not_ok(check, outcome, lines(|fault| &fault.finding), lines(|fault| &fault.remedy))
}

const PERMISSIONS: &str = "permissions";
const SOCKET: &str = "socket";
/// Any right of anybody but the owner.
const OTHERS: u32 = 0o077;
/// The right of anybody but the owner to write.
const WRITABLE: u32 = 0o022;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::tests::check;

    fn entry(path: &str, mode: u32, owner: u32) -> Entry {
        Entry { path: path.into(), mode, owner }
    }

    fn found(folder: u32, key: u32, index: u32, owner: u32, for_group: bool) -> Check {
        let found = DataDir {
            folder: entry("/d", folder, 7),
            keys: vec![entry("/d/node.key", key, 7)],
            others: vec![entry("/d/index.db", index, owner)],
            for_group,
        };
        verdict(PERMISSIONS, &faults_of_data_dir(&found), "well")
    }

    #[test]
    fn data_that_others_can_read_or_replace_are_found() {
        check(&found(0o700, 0o600, 0o600, 7, false), Outcome::Ok, "well");
        check(&found(0o750, 0o600, 0o600, 7, true), Outcome::Ok, "well");
        check(&found(0o750, 0o600, 0o600, 7, false), Outcome::Warning, "chmod 700 /d");
        check(&found(0o755, 0o600, 0o600, 7, true), Outcome::Warning, "chmod 750 /d");
        check(&found(0o777, 0o600, 0o600, 7, false), Outcome::Failed, "in place of yours");
        check(&found(0o700, 0o640, 0o600, 7, false), Outcome::Failed, "chmod 600 /d/node.key");
        check(&found(0o700, 0o600, 0o644, 7, false), Outcome::Warning, "chmod 600 /d/index.db");
        check(&found(0o700, 0o600, 0o600, 0, false), Outcome::Failed, "chown -R --reference=/d /d");
    }

    #[test]
    fn several_faults_are_all_named_and_the_worst_counts() {
        let both = found(0o755, 0o644, 0o600, 7, false);
        check(&both, Outcome::Failed, "/d has mode 0755: others can look into it\n/d/node.key has mode 0644");
        check(&both, Outcome::Failed, "chmod 700 /d\nchmod 600 /d/node.key");
    }

    #[test]
    fn socket_that_others_can_use_or_replace_is_found() {
        let socket = |mode, folder, for_group| {
            let faults = faults_of_socket(&entry("/r/s", mode, 7), &entry("/r", folder, 7), for_group);
            verdict(SOCKET, &faults, "well")
        };
        check(&socket(0o600, 0o700, false), Outcome::Ok, "well");
        check(&socket(0o660, 0o750, true), Outcome::Ok, "well");
        check(&socket(0o660, 0o700, false), Outcome::Failed, "chmod 600 /r/s");
        check(&socket(0o666, 0o750, true), Outcome::Failed, "chmod 660 /r/s");
        check(&socket(0o600, 0o777, false), Outcome::Warning, "chmod 700 /r");
    }
}
