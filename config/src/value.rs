//! The kinds of value a setting can have: how each is read from what was written, and printed as TOML.
//!
//! Environment variables and flags carry only text, so every kind can also be read from a text. Text is never
//! turned into a number before the kind is known: a path `012345` stays what it is.

use std::{net::SocketAddr, path::PathBuf};

use figment::value::Value;

use crate::human;

/// A kind of value.
pub(crate) trait Kind: Sized {
    /// What would be right, for people: `a whole number above zero`.
    fn expected() -> String;
    /// The value, or `None` when this is not one.
    fn read(written: &Value) -> Option<Self>;
    /// What stands there instead, for people, and what is wrong with it if that is not plain.
    fn instead(written: &Value) -> String {
        found(written)
    }
    /// The value as TOML.
    fn to_toml(&self) -> String;
}

/// What was written, for people.
pub(crate) fn found(written: &Value) -> String {
    match written {
        Value::String(_, text) => quoted(text),
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, number) => {
            let integer = number.to_i128().map(|n| n.to_string());
            integer.or_else(|| number.to_f64().map(|n| n.to_string())).unwrap_or_default()
        }
        Value::Array(_, values) => {
            format!("[{}]", values.iter().map(found).collect::<Vec<_>>().join(", "))
        }
        Value::Dict(..) => String::from("a table"),
        Value::Char(..) | Value::Empty(..) => String::from("nothing"),
    }
}

pub(crate) fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

impl Kind for bool {
    fn expected() -> String {
        String::from("true or false")
    }
    fn read(written: &Value) -> Option<Self> {
        written.to_bool().or_else(|| written.as_str()?.parse().ok())
    }
    fn to_toml(&self) -> String {
        self.to_string()
    }
}

/// A whole number. It goes to SQLite as a C `int`, or is counted in MiB: both end at `i32::MAX`.
impl Kind for u32 {
    fn expected() -> String {
        format!("a whole number from 1 to {}", i32::MAX)
    }
    fn read(written: &Value) -> Option<Self> {
        let number = written.to_i128().or_else(|| written.as_str()?.parse().ok())?;
        i32::try_from(number).ok().filter(|n| *n > 0).map(i32::unsigned_abs)
    }
    fn to_toml(&self) -> String {
        self.to_string()
    }
}

/// A share of a whole; its bounds are the setting's own.
impl Kind for f64 {
    fn expected() -> String {
        String::from("a number")
    }
    fn read(written: &Value) -> Option<Self> {
        let integer = || written.to_i128().and_then(|n| i32::try_from(n).ok()).map(Self::from);
        let number = written.to_f64().or_else(integer).or_else(|| written.as_str()?.parse().ok())?;
        number.is_finite().then_some(number)
    }
    fn to_toml(&self) -> String {
        toml_edit::Value::from(*self).to_string()
    }
}

/// A number of bytes above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl Kind for Size {
    fn expected() -> String {
        String::from(r#"a whole number above zero and its unit, such as "256 MiB""#)
    }
    fn read(written: &Value) -> Option<Self> {
        human::parse_size(written.as_str()?).filter(|bytes| *bytes > 0).map(Self)
    }
    fn to_toml(&self) -> String {
        quoted(&human::size(self.0))
    }
}

/// A bound that may be absent: a size, or `"none"`.
impl Kind for Option<Size> {
    fn expected() -> String {
        format!(r#"{}, or "none""#, Size::expected())
    }
    fn read(written: &Value) -> Option<Self> {
        if written.as_str()? == "none" { Some(None) } else { Size::read(written).map(Some) }
    }
    fn to_toml(&self) -> String {
        self.as_ref().map_or_else(|| quoted("none"), Size::to_toml)
    }
}

/// Bytes a second, above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) u64);

/// A bound that may be absent: a size a second, or `"none"`.
impl Kind for Option<Rate> {
    fn expected() -> String {
        String::from(r#"a size a second, such as "2 MiB/s", or "none""#)
    }
    fn read(written: &Value) -> Option<Self> {
        let text = written.as_str()?;
        if text == "none" {
            return Some(None);
        }
        let (size, second) = text.rsplit_once('/')?;
        let bytes = human::parse_size(size).filter(|bytes| *bytes > 0 && second.trim() == "s")?;
        Some(Some(Rate(bytes)))
    }
    fn to_toml(&self) -> String {
        self.as_ref().map_or_else(|| quoted("none"), |rate| quoted(&format!("{}/s", human::size(rate.0))))
    }
}

/// A path. `~` is for shells to expand: taken literally it would make a folder of that name.
impl Kind for PathBuf {
    fn expected() -> String {
        String::from("a path in UTF-8, without a `~` to expand")
    }
    fn read(written: &Value) -> Option<Self> {
        let path = written.as_str()?;
        let usable = !path.is_empty() && !path.starts_with('~') && !path.contains(['\0', '\u{fffd}']);
        usable.then(|| path.into())
    }
    fn to_toml(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

/// The name of a group of the system, or `"none"`.
impl Kind for Option<String> {
    fn expected() -> String {
        String::from(r#"the name of a group, or "none""#)
    }
    fn read(written: &Value) -> Option<Self> {
        match written.as_str()? {
            "" => None,
            "none" => Some(None),
            name => Some(Some(name.to_owned())),
        }
    }
    fn to_toml(&self) -> String {
        quoted(self.as_deref().unwrap_or("none"))
    }
}

/// An address to listen on, or `"off"`.
impl Kind for Option<SocketAddr> {
    fn expected() -> String {
        String::from(r#"an address and a port, such as "127.0.0.1:9190", or "off""#)
    }
    fn read(written: &Value) -> Option<Self> {
        let text = written.as_str()?;
        if text == "off" { Some(None) } else { text.parse().ok().map(Some) }
    }
    fn to_toml(&self) -> String {
        self.map_or_else(|| quoted("off"), |address| quoted(&address.to_string()))
    }
}

/// One of a few words.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    /// The words, for people.
    const EXPECTED: &'static str;
    /// Every word and what it stands for.
    const ALL: &'static [(&'static str, Self)];
}

impl<T: Choice> Kind for T {
    fn expected() -> String {
        String::from(T::EXPECTED)
    }
    fn read(written: &Value) -> Option<Self> {
        let text = written.as_str()?;
        T::ALL.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice)
    }
    fn to_toml(&self) -> String {
        let word = T::ALL.iter().find(|(_, choice)| choice == self).map(|(word, _)| *word);
        quoted(word.unwrap_or_default())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fmt::Debug;

    use super::*;

    /// What comes of a value, and that it is read back as it is written.
    #[track_caller]
    pub(crate) fn check<T: Kind + PartialEq + Debug>(written: impl Into<Value>, expected: Option<T>) {
        let written = written.into();
        assert_eq!(T::read(&written), expected, "{written:?}");
        if let Some(value) = expected {
            let toml: toml_edit::Value = value.to_toml().parse().unwrap();
            assert_eq!(T::read(&crate::raw::value(&toml)), Some(value), "{toml} does not read back");
        }
    }

    #[test]
    fn value_of_each_kind_is_read_from_toml_and_from_text() {
        check(true, Some(true));
        check("false", Some(false));
        check(7_i64, Some(7_u32));
        check("7", Some(7_u32));
        check(0.5, Some(0.5));
        check(0_i64, Some(0.0));
        check("0.25", Some(0.25));
        check("1 GiB", Some(Size(1 << 30)));
        check("none", Some(None::<Size>));
        check("1 GiB", Some(Some(Size(1 << 30))));
        check("2 MiB/s", Some(Some(Rate(2 << 20))));
        check("none", Some(None::<Rate>));
        check("012345", Some(PathBuf::from("012345")));
        check("none", Some(None::<String>));
        check("backup", Some(Some(String::from("backup"))));
        check("off", Some(None::<SocketAddr>));
        check("[::1]:9190", Some(Some(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 9190)))));
    }

    #[test]
    fn value_of_the_wrong_kind_is_refused() {
        check::<bool>("yes", None);
        check::<bool>(1_i64, None);
        check::<u32>(0_i64, None);
        check::<u32>(-1_i64, None);
        check::<u32>(i64::from(i32::MAX) + 1, None);
        check::<u32>(1.0, None);
        check::<u32>("", None);
        check::<f64>("half", None);
        check::<f64>("NaN", None);
        check::<Size>("0 B", None);
        check::<Size>(1024_i64, None);
        for wrong in ["2 MiB", "2 MiB/min", "0 B/s", "2/s", ""] {
            check::<Option<Rate>>(wrong, None);
        }
        check::<PathBuf>("", None);
        check::<PathBuf>("~/data", None);
        check::<Option<String>>("", None);
        check::<Option<SocketAddr>>("localhost:9190", None);
        check::<Option<SocketAddr>>("127.0.0.1", None);
    }
}
