//! The JSON of the admin socket: one shape for the daemon that writes it and the command line that reads it.

use config::Loaded;
use serde::Serialize;
use serde_json::Value;

/// A setting and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Setting {
    key: &'static str,
    value: Value,
    origin: String,
}

/// Every setting.
pub(crate) fn settings(loaded: &Loaded) -> Vec<Setting> {
    let one = |setting: &config::Setting| Setting {
        key: setting.key,
        // TOML's numbers, booleans and plain strings are JSON too; whatever is not stays as it is written.
        value: serde_json::from_str(&setting.value).unwrap_or_else(|_| Value::from(setting.value.as_str())),
        origin: setting.origin.to_string(),
    };
    loaded.show().map(one).collect()
}
