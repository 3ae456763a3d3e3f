//! The address of a telemetry collector.

use figment::value::Value;

use crate::value::{Kind, quoted};

/// Where a collector takes OTLP over HTTP, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector(String);

impl Collector {
    /// Where it takes `traces`, `metrics` or `logs`.
    pub fn address_for(&self, signal: &str) -> String {
        format!("{}/v1/{signal}", self.0)
    }

    /// The address as it was written. There is no password in it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `http://HOST[:PORT][/PATH]`.
    fn parse(text: &str) -> Option<Self> {
        let (host, path) = {
            let rest = text.strip_prefix("http://")?;
            rest.split_once('/').unwrap_or((rest, ""))
        };
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
            _ => (host, None),
        };
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
        let is_v6 = |name: &str| {
            let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
            bare.is_some_and(|bare| bare.parse::<std::net::Ipv6Addr>().is_ok())
        };
        let is_right = !name.is_empty()
            && (name.chars().all(is_name) || is_v6(name))
            && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
            && path.chars().all(|letter| is_name(letter) || letter == '/');
        is_right.then(|| Self(text.trim_end_matches('/').to_owned()))
    }
}

/// A collector, or `"off"`.
impl Kind for Option<Collector> {
    fn expected() -> String {
        String::from(
            r#"an address such as "http://127.0.0.1:4318", or "off" (https is not built in: send to a collector on this machine, which can send on with TLS)"#,
        )
    }
    fn read(written: &Value) -> Option<Self> {
        let text = written.as_str()?;
        if text == "off" { Some(None) } else { Collector::parse(text).map(Some) }
    }
    fn to_toml(&self) -> String {
        quoted(self.as_ref().map_or("off", Collector::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(Collector::parse(text).as_ref().map(Collector::as_str), expected, "{text}");
    }

    #[test]
    fn collector_is_an_http_address_without_secrets() {
        for text in [
            "http://127.0.0.1:4318",
            "http://collector",
            "http://[::1]:4318",
            "http://[::1]",
            "http://a-b.example/otlp/x",
        ] {
            check(text, Some(text));
        }
        check("http://127.0.0.1:4318/", Some("http://127.0.0.1:4318"));
        for text in [
            "https://collector:4318",
            "collector:4318",
            "http://",
            "http://:4318",
            "http://collector:0",
            "http://collector:65536",
            "http://collector:x",
            "http://ann:secret@collector",
            "http://collector/?key=1",
            "http://col lector",
            "http://[::g]",
            "off",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn each_signal_has_its_own_address() {
        let collector = Collector::parse("http://127.0.0.1:4318/").unwrap();
        assert_eq!(collector.address_for("traces"), "http://127.0.0.1:4318/v1/traces");
    }
}
