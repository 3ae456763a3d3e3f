//! What is wrong with a configuration: everything at once, each with its place and what would be right.

use std::{fmt, io, path::PathBuf};

use crate::origin::{Origin, Place};

/// All that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub struct ConfigErrors(pub(crate) Vec<ConfigError>);

impl ConfigErrors {
    /// One by one, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot read this configuration file: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{place}: not valid TOML: {reason}")]
    Syntax {
        /// The file and the line where reading stopped.
        place: Place,
        /// What was expected there.
        reason: String,
    },
    /// A name that no setting has.
    #[error("{place}: there is no setting `{key}`{}", suggestion(nearest))]
    UnknownKey {
        /// Where it was written.
        place: Place,
        /// The name: `storage.segmnt_size`.
        key: String,
        /// The known name that resembles it most, spelled as it would be at this place.
        nearest: Option<String>,
    },
    /// A value that is not of the setting's kind, or outside its bounds.
    #[error("{place}: `{key}` must be {expected}, not {found}")]
    BadValue {
        /// Where it was written.
        place: Place,
        /// The setting.
        key: &'static str,
        /// What would be right.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// Values that are right alone and wrong together.
    #[error("{rule}, but {}", list(settings))]
    Conflict {
        /// What must hold, as a sentence.
        rule: String,
        /// The settings with their values, as TOML text, and where those came from.
        settings: Vec<(&'static str, String, Origin)>,
    },
    /// A setting without a default on this machine.
    #[error("`{key}` has no default here, because {reason}: set it with {flag}")]
    Missing {
        /// The setting.
        key: &'static str,
        /// Why there is no default.
        reason: &'static str,
        /// The flag that sets it.
        flag: &'static str,
    },
}

impl ConfigError {
    /// Where the mistake was written; the first place, when several values together are wrong.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Syntax { place, .. } | Self::UnknownKey { place, .. } | Self::BadValue { place, .. } => {
                Some(place)
            }
            Self::Conflict { settings, .. } => settings.iter().find_map(|(.., origin)| origin.place()),
            Self::Unreadable { .. } | Self::Missing { .. } => None,
        }
    }

    /// Whether it is about this setting, so that a second complaint about it would only confuse.
    pub(crate) fn concerns(&self, name: &str) -> bool {
        match self {
            Self::BadValue { key, .. } | Self::Missing { key, .. } => *key == name,
            Self::Conflict { settings, .. } => settings.iter().any(|(key, ..)| *key == name),
            Self::Unreadable { .. } | Self::Syntax { .. } | Self::UnknownKey { .. } => false,
        }
    }
}

fn suggestion(nearest: &Option<String>) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None => String::from("; `config default` lists all there are"),
    }
}

fn list(settings: &[(&'static str, String, Origin)]) -> String {
    let one = |(key, value, origin): &(_, _, _)| format!("`{key}` is {value} ({origin})");
    settings.iter().map(one).collect::<Vec<_>>().join(" and ")
}
