//! Reads settings one by one and keeps the books: which names are known, what each value is and where it came
//! from, and all that is wrong. Whatever is read here exists; whatever was written and never read does not.

use figment::value::Value;

use crate::{
    error::{ConfigError, ConfigErrors},
    origin::{Origin, Place},
    profile::{Presets, Profile},
    raw::{self, Entry, Layers},
    value::Kind,
};

/// A setting with the value it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `section.key`.
    pub key: &'static str,
    /// The value, as TOML.
    pub value: String,
    /// Where the value came from.
    pub origin: Origin,
    /// What it is for, in sentences; one line each.
    pub meaning: &'static str,
}

pub(crate) struct Reader {
    layers: Layers,
    profile: Profile,
    settings: Vec<Setting>,
    errors: Vec<ConfigError>,
}

impl Reader {
    pub(crate) fn new(layers: Layers, errors: Vec<ConfigError>) -> Self {
        Self { layers, profile: Profile::Standard, settings: Vec::new(), errors }
    }

    /// From here on, defaults are those of this profile.
    pub(crate) fn set_profile(&mut self, profile: Profile) {
        self.profile = profile;
    }

    /// A setting whose default is the same in every profile.
    pub(crate) fn read<T: Kind>(&mut self, key: &'static str, default: T, meaning: &'static str) -> T {
        self.read_or(key, default, Origin::Default, meaning)
    }

    /// A setting whose default differs between profiles.
    pub(crate) fn read_preset<T: Kind + PartialEq>(
        &mut self,
        key: &'static str,
        preset: fn(Presets) -> T,
        meaning: &'static str,
    ) -> T {
        let default = preset(self.profile.presets());
        let usual = default == preset(Profile::Standard.presets());
        let origin = if usual { Origin::Default } else { Origin::Profile(self.profile) };
        self.read_or(key, default, origin, meaning)
    }

    /// A wrong value is reported, and the default stands in for it while the rest is read.
    fn read_or<T: Kind>(
        &mut self,
        key: &'static str,
        default: T,
        origin: Origin,
        meaning: &'static str,
    ) -> T {
        let (value, origin) = match self.layers.find(key) {
            None => (default, origin),
            Some((written, place)) => match T::read(&written) {
                Some(value) => (value, Origin::Written(place.clone())),
                None => {
                    let (place, found) = (place.clone(), T::instead(&written));
                    self.errors.push(ConfigError::BadValue { place, key, expected: T::expected(), found });
                    (default, origin)
                }
            },
        };
        self.settings.push(Setting { key, value: value.to_toml(), origin, meaning });
        value
    }

    /// Reports what is wrong, whatever it is.
    pub(crate) fn report(&mut self, error: ConfigError) {
        self.errors.push(error);
    }

    /// Reports a rule that does not hold between settings, unless one of them has been reported already.
    pub(crate) fn require(&mut self, holds: bool, keys: &[&str], rule: impl Into<String>) {
        let reported = |key: &&str| self.errors.iter().any(|error| error.concerns(key));
        if holds || keys.iter().any(reported) {
            return;
        }
        let named = self.settings.iter().filter(|setting| keys.contains(&setting.key));
        let settings = named.map(|s| (s.key, s.value.clone(), s.origin.clone())).collect();
        self.errors.push(ConfigError::Conflict { rule: rule.into(), settings });
    }

    /// All settings, and all that is wrong: what was found on the way, and every name that nothing has asked for.
    pub(crate) fn finish(mut self) -> (Vec<Setting>, ConfigErrors) {
        let unknown = self.layers.entries().filter(|entry| !self.knows(entry));
        let unknown: Vec<_> = unknown
            .map(|entry| ConfigError::UnknownKey {
                place: entry.place.clone(),
                key: entry.key.clone(),
                nearest: self.nearest(&entry.key, &entry.place),
            })
            .collect();
        self.errors.extend(unknown);
        self.errors.sort_by(|a, b| a.place().cmp(&b.place()));
        (self.settings, ConfigErrors(self.errors))
    }

    /// Whether this is a setting, or the header of a section without any.
    fn knows(&self, entry: &Entry) -> bool {
        let is_table = matches!(entry.value, Value::Dict(..));
        let is_section = |key: &str| key.split_once('.').is_some_and(|(section, _)| section == entry.key);
        self.settings.iter().any(|setting| setting.key == entry.key || is_table && is_section(setting.key))
    }

    /// The setting that was most likely meant, spelled for this place: the name may be misspelt, or stand in the
    /// wrong section.
    fn nearest(&self, name: &str, place: &Place) -> Option<String> {
        let last = |name: &str| name.rsplit('.').next().map(str::to_owned).unwrap_or_default();
        let distance = |key: &str| {
            let whole = strsim::damerau_levenshtein(name, key);
            whole.min(strsim::damerau_levenshtein(&last(name), &last(key)))
        };
        let nearest = self.settings.iter().map(|setting| setting.key).min_by_key(|key| distance(key))?;
        let near_enough = distance(nearest) <= last(nearest).len() / 3;
        near_enough.then(|| match place {
            Place::Env(_) => raw::env_name(nearest),
            Place::File { .. } | Place::Flag(_) => nearest.to_owned(),
        })
    }
}
