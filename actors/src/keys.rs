//! The two key files of a data directory, `author.key` and `node.key`.
//!
//! `author.key` is a person: whoever has it signs and reads as its author, whoever loses it never reads their private
//! tesserae again. It is an identity file of age, so that `age -d -i author.key` opens what was sealed; the signing
//! key stands in a comment, which age passes over.
//!
//! # Invariants
//! 1. A key file is made once, never written over, readable by its owner only, and on the disk before it is used.
//! 2. A key file that others can read is refused: a key that leaked without anybody's knowing is worse than a stop.

use std::{
    fmt,
    fs::{File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use age::{
    secrecy::ExposeSecret,
    x25519::{Identity, Recipient},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use proto::{
    AuthorId, ProtoError,
    keys::{AuthorKey, NodeKey, Zeroizing},
};

/// The author's key file in a data directory.
pub const AUTHOR_KEY_NAME: &str = "author.key";
/// The machine's key file in a data directory.
pub const NODE_KEY_NAME: &str = "node.key";

/// Why a key file could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Others could read the key.
    #[error("{path} can be read by others (mode {mode:04o}), so it is not used: run `chmod 600 {path}`; if somebody else may have seen it, make a new key", path = .path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file is not a key.
    #[error("{path} is not a usable key file: {reason}; restore it from a copy (an empty one was never used: remove it)", path = .path.display())]
    Malformed {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The key file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// A person: the key that signs and the identity that reads.
#[derive(Clone)]
pub struct Author {
    key: AuthorKey,
    identity: Identity,
}

impl Author {
    /// A new one, held in memory only.
    pub fn generate() -> Result<Self, KeyError> {
        Ok(Self { key: AuthorKey::from_seed(seed()?), identity: Identity::generate() })
    }

    /// Writes a new one to a file that must not exist.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let author = Self::generate()?;
        write_new(path, &author.text())?;
        Ok(author)
    }

    /// Reads the file that [`Author::create`] wrote.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        Self::parse(&read_secret(path)?)
            .map_err(|reason| KeyError::Malformed { path: path.to_owned(), reason })
    }

    /// The public half of the signing key.
    pub fn id(&self) -> AuthorId {
        self.key.id()
    }

    /// The key that signs manifests and layouts.
    pub fn key(&self) -> &AuthorKey {
        &self.key
    }

    /// The identity that opens private content.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The public half of the identity, `age1…`: what others encrypt to.
    pub fn recipient(&self) -> Recipient {
        self.identity.to_public()
    }

    /// What its file holds. A secret.
    pub fn text(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(BASE64_STANDARD.encode(self.key.to_pkcs8_der()));
        let identity = self.identity.to_string();
        Zeroizing::new(format!(
            "# This file is you. Whoever has it can sign and read as you; without it your private tesserae stay\n\
             # closed for ever. Keep a copy away from this machine, on paper too.\n\
             # It opens private content without this program: age -d -i author.key content.tar.age | tar -x\n\
             {AUTHOR_LINE}{}\n\
             # public key: {}\n\
             {SIGNING_LINE}{}\n\
             {}\n",
            self.id(),
            self.recipient(),
            key.as_str(),
            identity.expose_secret(),
        ))
    }

    /// From what its file holds. Errors with what is wrong with that, without telling any of it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let key = only(text, SIGNING_LINE, "signing key")?;
        let der =
            Zeroizing::new(BASE64_STANDARD.decode(key).map_err(|error| format!("its signing key: {error}"))?);
        let key = AuthorKey::from_pkcs8_der(&der).map_err(|error| error.to_string())?;
        let identity = only(text, "AGE-SECRET-KEY-", "line AGE-SECRET-KEY-1…")?;
        let identity = Zeroizing::new(format!("AGE-SECRET-KEY-{identity}"));
        let identity: Identity = identity.parse().map_err(|reason| format!("its age key: {reason}"))?;
        let told = only(text, AUTHOR_LINE, "line naming the author")?;
        if told != key.id().to_string() {
            return Err(format!("it says {told}, but its signing key is that of {}", key.id()));
        }
        Ok(Self { key, identity })
    }
}

impl fmt::Debug for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Author({}, {})", self.id(), self.recipient())
    }
}

/// Writes a new machine key to a file that must not exist.
pub fn create_node_key(path: &Path) -> Result<NodeKey, KeyError> {
    let key = NodeKey::from_seed(seed()?);
    write_new(path, &key.to_pem())?;
    Ok(key)
}

/// Reads the file that [`create_node_key`] wrote.
pub fn read_node_key(path: &Path) -> Result<NodeKey, KeyError> {
    NodeKey::from_pem(&read_secret(path)?)
        .map_err(|error: ProtoError| KeyError::Malformed { path: path.to_owned(), reason: error.to_string() })
}

/// The rest of the one line that begins so.
fn only<'a>(text: &'a str, start: &str, what: &str) -> Result<&'a str, String> {
    let mut lines = text.lines().filter_map(|line| line.trim().strip_prefix(start));
    match (lines.next(), lines.next()) {
        (Some(line), None) => Ok(line),
        (None, _) => Err(format!("it has no {what}")),
        (Some(_), Some(_)) => Err(format!("it has more than one {what}")),
    }
}

/// 32 random bytes.
pub(crate) fn seed() -> Result<[u8; 32], KeyError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(KeyError::Random)?;
    Ok(seed)
}

fn write_new(path: &Path, text: &str) -> Result<(), KeyError> {
    let failed = |source| KeyError::Io { doing: "make", path: path.to_owned(), source };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path).map_err(failed)?;
    // A umask takes permissions away, also from the owner.
    file.set_permissions(Permissions::from_mode(OWNER_ONLY)).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let failed = |source| KeyError::Io { doing: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::with_capacity(KEY_BYTES_MAX));
    file.take(KEY_BYTES_MAX as u64).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Begins the line of an author's file that names the author.
pub const AUTHOR_LINE: &str = "# author: ";
/// Begins the line with the signing key, in base64. A secret.
pub const SIGNING_LINE: &str = "# signing key (Ed25519, PKCS#8): ";
const OWNER_ONLY: u32 = 0o600;
const OTHERS: u32 = 0o077;
/// Longer than any key file; read into one buffer that is overwritten with zeros afterwards.
const KEY_BYTES_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn author_written_and_read_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(AUTHOR_KEY_NAME);
        let author = Author::create(&path).unwrap();
        let read = Author::read(&path).unwrap();
        assert_eq!((read.id(), read.recipient()), (author.id(), author.recipient()));
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn node_key_written_and_read_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NODE_KEY_NAME);
        let key = create_node_key(&path).unwrap();
        assert_eq!(read_node_key(&path).unwrap().id(), key.id());
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn key_file_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(AUTHOR_KEY_NAME);
        fs::write(&path, "mine").unwrap();
        assert!(matches!(Author::create(&path), Err(KeyError::Io { .. })));
        assert!(matches!(create_node_key(&path), Err(KeyError::Io { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn key_file_that_others_can_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(AUTHOR_KEY_NAME);
        Author::create(&path).unwrap();
        for loose in [0o640, 0o604, 0o620, 0o644, 0o666] {
            fs::set_permissions(&path, Permissions::from_mode(loose)).unwrap();
            let error = Author::read(&path).unwrap_err();
            assert!(matches!(error, KeyError::Exposed { mode, .. } if mode == loose));
            assert!(error.to_string().contains(&format!("`chmod 600 {}`", path.display())), "{error}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        assert!(Author::read(&path).is_ok());
    }

    #[test]
    fn damaged_author_key_is_refused_naming_what_is_wrong() {
        let text = Author::generate().unwrap().text();
        let other = Author::generate().unwrap().text();
        let line = |text: &str, start| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
        for (damaged, reason) in [
            (String::new(), "no signing key"),
            (text.replace("AGE-SECRET-KEY-1", "#"), "no line AGE-SECRET-KEY"),
            (format!("{}{}", text.as_str(), line(&other, "AGE-SECRET")), "more than one"),
            (text.replace(&line(&text, SIGNING_LINE), &line(&other, SIGNING_LINE)), "but its signing key"),
            (text.replace("PKCS#8): ", "PKCS#8): !"), "its signing key"),
        ] {
            let error = Author::parse(&damaged).unwrap_err();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }

    #[test]
    fn author_shown_for_debugging_holds_no_secret() {
        let author = Author::generate().unwrap();
        let shown = format!("{author:?}");
        assert!(shown.contains(&author.id().to_string()) && !shown.contains("SECRET"), "{shown}");
    }
}
