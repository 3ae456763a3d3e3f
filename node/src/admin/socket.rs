//! The Unix socket: where it lies, who may open it, and whom it belongs to.
//!
//! # Invariants
//! 1. The socket is 0600, or 0660 for one group; it is never open to others, not even while it is being made.
//! 2. A socket file is removed only when nobody answers on it. The data directory's lock alone does not show that:
//!    another daemon with another data directory may listen there.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use config::Loaded;
use tokio::net::{UnixListener, UnixStream};

use crate::{failure::Failure, problem::Kind};

/// Where to listen and for whom.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The socket's path.
    pub(crate) path: PathBuf,
    /// The group, by name or number, whose members may open it besides the owner and root.
    pub(crate) group: Option<String>,
    /// The node's data directory: a folder of its own, whose mode it may set.
    pub(crate) data_dir: PathBuf,
}

/// A socket that is being listened on. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Whether the file's mode lets a group in, so that the caller's user id says nothing.
    for_group: bool,
}

impl Socket {
    /// Binds and listens.
    pub(crate) async fn bind(place: &Place) -> Result<Self, Failure> {
        check_length(&place.path)?;
        let group = place.group.as_deref().map(group_id).transpose()?;
        let io = |error: io::Error| Failure::io("listening on", &place.path, &error);
        if let Some(folder) = place.path.parent() {
            prepare_folder(folder, place, group).map_err(io)?;
        }
        remove_stale(&place.path).await?;
        let listener = UnixListener::bind(&place.path).map_err(io)?;
        // Made first: from here on the file is removed again on failure.
        let socket = Self { listener, path: place.path.clone(), for_group: group.is_some() };
        let mode = if group.is_some() { 0o660 } else { 0o600 };
        make_right(&place.path, group, mode).map_err(io)?;
        Ok(socket)
    }

    /// The next caller, and whether it may use the node: its user is ours or root, or the file's mode decides.
    pub(crate) async fn accept(&self) -> io::Result<(UnixStream, bool)> {
        let (stream, _) = self.listener.accept().await?;
        let user = stream.peer_cred()?.uid();
        let allowed = self.for_group || user == 0 || user == rustix::process::geteuid().as_raw();
        Ok((stream, allowed))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the socket file was gone already");
        }
    }
}

fn check_length(path: &Path) -> Result<(), Failure> {
    let length = path.as_os_str().len();
    if length <= PATH_BYTES_MAX {
        return Ok(());
    }
    let path = path.display();
    Err(Failure::new(
        Kind::BadConfig,
        format!(
            "the socket path {path} has {length} bytes, {PATH_BYTES_MAX} are possible: name a shorter one with --socket"
        ),
    ))
}

/// Makes the folder if it is missing. The mode of an existing one is set only if it is the node's own.
fn prepare_folder(folder: &Path, place: &Place, group: Option<u32>) -> io::Result<()> {
    if folder.as_os_str().is_empty() {
        return Ok(());
    }
    let made = !folder.try_exists()?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let own = made || folder == place.data_dir || folder.file_name().is_some_and(|name| name == OWN_FOLDER);
    if own && group.is_some() {
        make_right(folder, group, 0o750)?;
    }
    Ok(())
}

/// Sets group and mode where they differ. A service whose manager made the folder and gave it the group finds both as
/// they should be, and may do without the right to change owners.
fn make_right(path: &Path, group: Option<u32>, mode: u32) -> io::Result<()> {
    let found = fs::metadata(path)?;
    if group.is_some_and(|group| group != found.gid()) {
        chown(path, None, group)?;
    }
    if found.mode() & MODE_BITS != mode {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

async fn remove_stale(path: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => {
            let detail = format!(
                "{} is there and is not a socket: remove it or name another with --socket",
                path.display()
            );
            return Err(Failure::new(Kind::BadConfig, detail));
        }
    }
    match UnixStream::connect(path).await {
        // Nobody holds it any more.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| Failure::io("removing", path, &error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // One that is busy, or that we may not open, is somebody's too.
        connected => {
            let why = connected.err().map_or_else(String::new, |error| format!(" ({error})"));
            let detail = format!(
                "another daemon listens on {}{why}: stop it, or name another socket with --socket",
                path.display()
            );
            Err(Failure::new(Kind::Locked, detail))
        }
    }
}

/// Whether the group that these settings name is there. Fails with [`Kind::BadConfig`], naming where it is written.
pub(crate) fn group_must_exist(loaded: &Loaded) -> Result<(), Failure> {
    let Some(group) = &loaded.config.admin.socket_group else { return Ok(()) };
    let setting = loaded.show().find(|setting| setting.key == "admin.socket_group");
    let place = setting.map_or_else(String::new, |setting| format!("{}: ", setting.origin));
    group_id(group).map(drop).map_err(|failure| Failure::new(Kind::BadConfig, format!("{place}{failure}")))
}

/// The id of a group given by name or number.
fn group_id(group: &str) -> Result<u32, Failure> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let path = Path::new(GROUPS);
    let text = fs::read_to_string(path).map_err(|error| Failure::io("reading", path, &error))?;
    find_group(&text, group).ok_or_else(|| {
        let detail = format!("admin.socket_group names the group {group:?}, which is not in {GROUPS}: make it with `groupadd {group}`, or name another, by name or number");
        Failure::new(Kind::BadConfig, detail)
    })
}

/// Looks a group up in a file as `group(5)` describes it: `name:password:id:members`.
fn find_group(text: &str, group: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// `sockaddr_un` has 108 bytes, the last one for the zero that ends the path.
const PATH_BYTES_MAX: usize = 107;
/// The name of the folder for sockets below `/run` or `$XDG_RUNTIME_DIR`.
const OWN_FOLDER: &str = "tesseras";
const GROUPS: &str = "/etc/group";
const MODE_BITS: u32 = 0o7777;

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

    use super::*;

    fn place(dir: &Path) -> Place {
        Place { path: dir.join("run/node.sock"), group: None, data_dir: dir.to_owned() }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[tokio::test]
    async fn socket_is_private_in_a_private_folder_and_removed_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let socket = Socket::bind(&place).await.unwrap();
        assert_eq!((mode(&place.path), mode(&dir.path().join("run"))), (0o600, 0o700));
        drop(socket);
        assert!(!place.path.exists());
    }

    #[tokio::test]
    async fn socket_for_a_group_is_open_to_that_group_only() {
        let dir = tempfile::tempdir().unwrap();
        let own = rustix::process::getegid().as_raw().to_string();
        let place = Place { group: Some(own), ..place(dir.path()) };
        let _socket = Socket::bind(&place).await.unwrap();
        assert_eq!((mode(&place.path), mode(&dir.path().join("run"))), (0o660, 0o750));
    }

    #[test]
    fn group_and_mode_that_are_right_are_left_alone() {
        let changed_at = |path: &Path| {
            let found = fs::metadata(path).unwrap();
            (found.ctime(), found.ctime_nsec())
        };
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let own = Some(rustix::process::getegid().as_raw());
        make_right(dir.path(), own, 0o750).unwrap();
        let before = changed_at(dir.path());
        // Until the clock of the file system has moved on, so that a change would show.
        while changed_at(elsewhere.path()) <= before {
            fs::write(elsewhere.path().join("file"), "").unwrap();
            fs::remove_file(elsewhere.path().join("file")).unwrap();
        }
        make_right(dir.path(), own, 0o750).unwrap();
        assert_eq!(changed_at(dir.path()), before);
        make_right(dir.path(), own, 0o700).unwrap();
        assert!(changed_at(dir.path()) > before);
    }

    #[tokio::test]
    async fn socket_left_behind_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { path: dir.path().join("node.sock"), ..place(dir.path()) };
        drop(std::os::unix::net::UnixListener::bind(&place.path).unwrap());
        assert!(place.path.exists());
        let socket = Socket::bind(&place).await.unwrap();
        let (accepted, connected) = tokio::join!(socket.accept(), UnixStream::connect(&place.path));
        assert!(connected.is_ok());
        assert!(accepted.unwrap().1, "our own user is let in");
    }

    #[tokio::test]
    async fn socket_of_a_living_daemon_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let _first = Socket::bind(&place).await.unwrap();
        let error = Socket::bind(&place).await.unwrap_err().to_string();
        assert!(error.contains("another daemon listens on"), "{error}");
        assert!(UnixStream::connect(&place.path).await.is_ok());
    }

    #[tokio::test]
    async fn socket_of_a_daemon_that_takes_nobody_at_the_moment_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { path: dir.path().join("node.sock"), ..place(dir.path()) };
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(&place.path).unwrap()).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        // The kernel keeps one more than it was told to.
        let _waiting = std::os::unix::net::UnixStream::connect(&place.path).unwrap();
        let error = Socket::bind(&place).await.unwrap_err().to_string();
        assert!(error.contains("another daemon listens on"), "{error}");
        assert!(place.path.exists());
    }

    #[tokio::test]
    async fn socket_path_that_is_too_long_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { path: dir.path().join("x".repeat(108)), ..place(dir.path()) };
        let error = Socket::bind(&place).await.unwrap_err().to_string();
        assert!(error.contains("107 are possible"), "{error}");
    }

    #[test]
    fn group_is_found_by_its_whole_name() {
        let text = "root:x:0:\ntesseras-admin:x:7:\ntesseras:x:990:ann,bob\n";
        assert_eq!(find_group(text, "tesseras"), Some(990));
        assert_eq!(find_group(text, "tess"), None);
    }
}
