//! Settings and what becomes of their changes, as JSON; the rest of the admin socket's JSON is in `api`.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A setting and where it came from.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Setting {
    /// Its name, `section.key`.
    key: &'static str,
    /// The value in force.
    value: Value,
    /// The layer it came from: `default`, a file and line, a variable, or a flag.
    origin: String,
    /// What is written by now, and will be in force after a restart; absent when that is the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    after_restart: Option<Written>,
}

/// A value and where it is written.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Written {
    /// The value.
    value: Value,
    /// The layer it is written in.
    origin: String,
}

impl Setting {
    /// What is in force, and what waits for a restart, if anything does.
    pub(crate) fn new(now: &config::Setting, waiting: Option<&config::Setting>) -> Self {
        let written = |setting: &config::Setting| Written {
            value: value(&setting.value),
            origin: setting.origin.to_string(),
        };
        let Written { value, origin } = written(now);
        Self { key: now.key, value, origin, after_restart: waiting.map(written) }
    }
}

/// These settings.
pub(crate) fn settings<'a>(settings: impl IntoIterator<Item = &'a config::Setting>) -> Vec<Setting> {
    settings.into_iter().map(|setting| Setting::new(setting, None)).collect()
}

/// `POST /v1/config/reload`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Reloaded {
    /// The file that was read, if there is one.
    pub(crate) file: Option<String>,
    /// Every setting that is written otherwise than it is in force.
    pub(crate) changes: Vec<Change>,
}

/// A setting that is written otherwise than it was in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Change {
    /// The setting.
    pub(crate) key: String,
    /// What was in force.
    pub(crate) old: Value,
    /// What is written.
    pub(crate) new: Value,
    /// Where it is written.
    pub(crate) origin: String,
    /// What became of it.
    pub(crate) outcome: ChangeOutcome,
}

impl Change {
    /// From the setting that was in force to the one that is written.
    pub(crate) fn new(old: &config::Setting, new: &config::Setting, outcome: ChangeOutcome) -> Self {
        Self {
            key: new.key.to_owned(),
            old: value(&old.value),
            new: value(&new.value),
            origin: new.origin.to_string(),
            outcome,
        }
    }
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) enum ChangeOutcome {
    /// It is in force.
    #[serde(rename = "applied")]
    Applied,
    /// It will be in force after a restart.
    #[serde(rename = "needs restart")]
    NeedsRestart,
}

impl fmt::Display for ChangeOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Applied => "applied",
            Self::NeedsRestart => "needs restart",
        })
    }
}

/// TOML's numbers, booleans and plain strings are JSON too; whatever is not stays as it is written.
fn value(toml: &str) -> Value {
    serde_json::from_str(toml).unwrap_or_else(|_| Value::from(toml))
}
