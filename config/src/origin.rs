//! Where a value came from.

use std::{fmt, path::PathBuf};

use crate::profile::Profile;

/// A place where an operator writes settings. Ordered as the layers are: a later one wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Env(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Env(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Why a setting has its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody wrote one, and it is the same on every machine.
    Default,
    /// Nobody wrote one, and this profile has its own.
    Profile(Profile),
    /// Somebody wrote it here.
    Written(Place),
}

impl Origin {
    /// Where somebody wrote it, if somebody did.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Written(place) => Some(place),
            Self::Default | Self::Profile(_) => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Profile(profile) => write!(f, "profile {profile}"),
            Self::Written(place) => place.fmt(f),
        }
    }
}
