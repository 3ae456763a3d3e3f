//! What the operator wrote, before anything is known about it: three layers of names, values and places.
//!
//! figment lays them over each other and tells which one a value came from; the layer itself knows the place,
//! down to the line. A value that a later layer replaces is not looked at, but its name must exist.

use std::path::Path;

use figment::{
    Figment, Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};
use toml_edit::{Document, Item, TableLike};

use crate::{Flags, error::ConfigError, origin::Place};

const ENV_PREFIX: &str = "TESSERAS_";
/// Variables that begin like this steer our own tests and benches. A node that they start must not trip over them.
const ENV_PREFIX_OF_TESTS: &str = "TESSERAS_TEST_";

/// One thing that was written.
pub(crate) struct Entry {
    /// `section.key`, or whatever else stands where that should be.
    pub(crate) key: String,
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// All that was written in one file, in the environment, or on the command line.
pub(crate) struct Layer {
    name: &'static str,
    entries: Vec<Entry>,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut sections: Map<&str, Dict> = Map::new();
        for entry in &self.entries {
            if let Some((section, key)) = entry.key.split_once('.') {
                sections.entry(section).or_default().insert(key.to_owned(), entry.value.clone());
            }
        }
        let nested = sections.into_iter().map(|(name, keys)| (name.to_owned(), Value::from(keys)));
        Ok(Profile::Default.collect(nested.collect()))
    }
}

/// The layers, lowest first, and what they amount to.
pub(crate) struct Layers {
    layers: Vec<Layer>,
    merged: Figment,
}

impl Layers {
    pub(crate) fn new(file: Vec<Entry>, env: Vec<Entry>, flags: Vec<Entry>) -> Self {
        let layers: Vec<Layer> = [("file", file), ("env", env), ("flags", flags)]
            .into_iter()
            .map(|(name, entries)| Layer { name, entries })
            .collect();
        let merged = layers.iter().fold(Figment::new(), |below, layer| below.merge(layer));
        Self { layers, merged }
    }

    /// What counts for this key, and where it was written.
    pub(crate) fn find(&self, key: &str) -> Option<(Value, &Place)> {
        let value = self.merged.find_value(key).ok()?;
        let source = self.merged.get_metadata(value.tag())?;
        let layer = self.layers.iter().find(|layer| layer.name == source.name)?;
        let entry = layer.entries.iter().find(|entry| entry.key == key)?;
        Some((value, &entry.place))
    }

    /// Everything that was written, whether it counts or not.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.layers.iter().flat_map(|layer| &layer.entries)
    }
}

/// What stands in a file with this text.
pub(crate) fn from_file(path: &Path, text: &str) -> Result<Vec<Entry>, ConfigError> {
    let place = |offset: usize| Place::File { path: path.to_owned(), line: line_at(text, offset) };
    let document = Document::parse(text).map_err(|error| ConfigError::Syntax {
        place: place(error.span().map_or(0, |span| span.start)),
        reason: error.message().trim().replace('\n', ", "),
    })?;
    let entry = |table: &dyn TableLike, name: &str, key: String, value: Value| {
        let offset = table.key(name).and_then(|key| key.span()).map_or(0, |span| span.start);
        Entry { key, value, place: place(offset) }
    };
    let mut entries = Vec::new();
    for (name, item) in document.as_table().iter() {
        match item.as_table_like().filter(|section| !section.is_empty()) {
            None => entries.push(entry(document.as_table(), name, name.to_owned(), of_item(item))),
            Some(section) => entries.extend(
                section.iter().map(|(key, item)| entry(section, key, format!("{name}.{key}"), of_item(item))),
            ),
        }
    }
    Ok(entries)
}

/// What stands in the variables that are meant for us.
pub(crate) fn from_env(env: &[(String, String)]) -> Vec<Entry> {
    let ours = env.iter().filter(|(name, _)| !name.starts_with(ENV_PREFIX_OF_TESTS));
    ours.filter_map(|(name, text)| {
        let key = name.strip_prefix(ENV_PREFIX)?.to_lowercase().replace("__", ".");
        Some(Entry { key, value: Value::from(text.as_str()), place: Place::Env(name.clone()) })
    })
    .collect()
}

/// The variable that sets a key.
pub(crate) fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// What the flags say.
pub(crate) fn from_flags(flags: &Flags) -> Vec<Entry> {
    let entry = |key: &str, flag, text: &str| Entry {
        key: key.to_owned(),
        value: Value::from(text),
        place: Place::Flag(flag),
    };
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let level = match flags.verbose {
        0 => None,
        1 => Some("debug"),
        _ => Some("trace"),
    };
    [
        flags.data_dir.as_deref().map(|dir| entry("node.data_dir", "--data-dir", &path(dir))),
        flags.socket.as_deref().map(|socket| entry("admin.socket", "--socket", &path(socket))),
        level.map(|level| entry("observability.log_level", "-v", level)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The line, from 1, that the byte at this offset is on.
fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

fn of_item(item: &Item) -> Value {
    match item {
        Item::Value(toml) => value(toml),
        Item::ArrayOfTables(_) => Value::from(Vec::<Value>::new()),
        Item::Table(_) | Item::None => Value::from(Dict::new()),
    }
}

/// A TOML value as figment knows it. No setting takes a table: that it is one is all that counts.
pub(crate) fn value(toml: &toml_edit::Value) -> Value {
    match toml {
        toml_edit::Value::String(text) => Value::from(text.value().as_str()),
        toml_edit::Value::Integer(number) => Value::from(*number.value()),
        toml_edit::Value::Float(number) => Value::from(*number.value()),
        toml_edit::Value::Boolean(value) => Value::from(*value.value()),
        toml_edit::Value::Datetime(time) => Value::from(time.value().to_string()),
        toml_edit::Value::Array(values) => Value::from(values.iter().map(value).collect::<Vec<_>>()),
        toml_edit::Value::InlineTable(_) => Value::from(Dict::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Vec<(String, String)> {
        let entries = from_file(Path::new("f"), text).unwrap();
        entries.into_iter().map(|entry| (entry.key, entry.place.to_string())).collect()
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(k, p)| (k.to_string(), p.to_string())).collect();
        assert_eq!(file(text), expected);
    }

    #[test]
    fn file_in_any_toml_spelling_gives_keys_with_lines() {
        check("# c\n[a]\nx = 1\n\ny = 'é'\n[b]\nz = 2", &[("a.x", "f:3"), ("a.y", "f:5"), ("b.z", "f:7")]);
        check("a.x = 1\na.y = 2", &[("a.x", "f:1"), ("a.y", "f:2")]);
        check("\na = { x = 1 }", &[("a.x", "f:2")]);
        check("x = 1\n[a]\n[[b]]\nx = 1", &[("x", "f:1"), ("a", "f:2"), ("b", "f:3")]);
        check("[a.b]\nx = 1", &[("a.b", "f:1")]);
    }

    #[test]
    fn file_that_is_not_toml_is_refused_with_its_line() {
        let error = from_file(Path::new("f"), "[a]\nx = 1\ny = \n").err().unwrap();
        assert!(error.to_string().starts_with("f:3: not valid TOML: "), "{error}");
    }

    #[test]
    fn env_of_others_and_of_tests_is_passed_over() {
        let names = ["PATH", "NODE_ENV", "TESSERAS_TEST_SEED", "TESSERAS_NODE__CAPACITY", "TESSERAS_X"];
        let env: Vec<_> = names.iter().map(|name| (name.to_string(), String::new())).collect();
        let keys: Vec<String> = from_env(&env).into_iter().map(|entry| entry.key).collect();
        assert_eq!(keys, ["node.capacity", "x"]);
        assert_eq!(env_name("node.capacity"), "TESSERAS_NODE__CAPACITY");
    }

    #[test]
    fn layers_that_disagree_the_later_one_wins() {
        let entry = |value: &str, place| Entry { key: String::from("a.x"), value: value.into(), place };
        let file = Place::File { path: "f".into(), line: 1 };
        let env = Place::Env(String::from("TESSERAS_A__X"));
        let layers = Layers::new(vec![entry("1", file.clone())], vec![], vec![]);
        assert_eq!(layers.find("a.x").unwrap().1, &file);
        let layers = Layers::new(vec![entry("1", file)], vec![entry("2", env.clone())], vec![]);
        let (value, place) = layers.find("a.x").unwrap();
        assert_eq!((value.as_str(), place), (Some("2"), &env));
        assert!(layers.find("a.y").is_none() && layers.find("a").is_none());
    }
}
