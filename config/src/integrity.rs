//! `[integrity]`: how often everything that is stored is read back and checked, and how loudly.

use std::time::Duration;

use figment::value::Value;

use crate::{
    human,
    reader::Reader,
    value::{Kind, Rate, Size, found, quoted},
};

/// `[integrity]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegrityConfig {
    /// Everything is read back at least this often.
    pub verify_within: Duration,
    /// At most so many bytes a second are read for that; `None` for as fast as it goes.
    pub scrub_rate: Option<u64>,
    /// When nothing is read for that.
    pub quiet_hours: Vec<Hours>,
    /// Each holder proves at least this often that it has what it claims.
    pub prove_within: Duration,
}

impl Default for IntegrityConfig {
    fn default() -> Self {
        Self {
            verify_within: VERIFY_WITHIN,
            scrub_rate: Some(SCRUB_RATE),
            quiet_hours: Vec::new(),
            prove_within: PROVE_WITHIN,
        }
    }
}

/// A part of every day, by the clock on the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    /// The minute of the day at which it begins.
    from: u16,
    /// The minute of the day at which it ends, on the next day if that is earlier.
    to: u16,
}

impl Hours {
    /// From one minute of the day to another, each below 1440; `None` when these are the same.
    pub fn new(from: u16, to: u16) -> Option<Self> {
        (from != to && from.max(to) < MINUTES_PER_DAY).then_some(Self { from, to })
    }

    /// How many minutes are left of it at this minute of the day; `None` outside of it.
    pub fn left(&self, minute: u16) -> Option<u16> {
        let since = (minute + MINUTES_PER_DAY - self.from) % MINUTES_PER_DAY;
        self.minutes().checked_sub(since).filter(|left| *left > 0)
    }

    fn minutes(&self) -> u16 {
        (self.to + MINUTES_PER_DAY - self.from) % MINUTES_PER_DAY
    }

    /// Of a text like `23:00-07:00`.
    fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        Self::new(minute(from)?, minute(to)?)
    }

    /// What is wrong with a text that is none.
    fn wrong(text: &str) -> Option<String> {
        let Some((from, to)) = text.split_once('-') else {
            return Some(format!("{} has no begin and end with `-` between", quoted(text.trim())));
        };
        let no_time = [from, to].into_iter().find(|text| minute(text).is_none());
        let no_time = no_time.map(|text| format!("{} is no time from 00:00 to 23:59", quoted(text.trim())));
        no_time.or_else(|| {
            (minute(from) == minute(to)).then(|| format!("{} ends when it begins", quoted(text.trim())))
        })
    }

    fn text(&self) -> String {
        let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        format!("{}-{}", time(self.from), time(self.to))
    }
}

/// The minutes of a day in which none of these hours are.
pub fn minutes_outside(hours: &[Hours]) -> u16 {
    let is_outside = |minute: &u16| hours.iter().all(|hours| hours.left(*minute).is_none());
    let outside = (0..MINUTES_PER_DAY).filter(is_outside).count();
    u16::try_from(outside).unwrap_or(MINUTES_PER_DAY)
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number =
        |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let (hour, minute) = (number(hour)?, number(minute)?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

/// Written as a list of texts, or as one with commas between them.
impl Kind for Vec<Hours> {
    fn expected() -> String {
        String::from(r#"a list of hours of the day, such as ["23:00-07:00"]"#)
    }
    fn read(written: &Value) -> Option<Self> {
        match written {
            Value::Array(_, hours) => hours.iter().map(|text| Hours::parse(text.as_str()?)).collect(),
            Value::String(_, text) if text.trim().is_empty() => Some(Self::new()),
            Value::String(_, text) => text.split(',').map(Hours::parse).collect(),
            _ => None,
        }
    }
    fn instead(written: &Value) -> String {
        let wrong = |value: &Value| {
            value.as_str().map_or_else(|| Some(format!("{} is no text", found(value))), Hours::wrong)
        };
        let wrong = match written {
            Value::Array(_, hours) => hours.iter().find_map(wrong),
            Value::String(_, text) => text.split(',').find_map(Hours::wrong),
            _ => None,
        };
        let found = found(written);
        wrong.map_or_else(|| found.clone(), |wrong| format!("{found}: {wrong}"))
    }
    fn to_toml(&self) -> String {
        let hours: Vec<_> = self.iter().map(|hours| quoted(&hours.text())).collect();
        format!("[{}]", hours.join(", "))
    }
}

/// A span of time.
impl Kind for Duration {
    fn expected() -> String {
        String::from(r#"a whole number above zero and its unit, such as "30 days""#)
    }
    fn read(written: &Value) -> Option<Self> {
        human::parse_duration(written.as_str()?).filter(|span| !span.is_zero())
    }
    fn to_toml(&self) -> String {
        quoted(&human::duration(*self))
    }
}

/// Reads the section.
pub(crate) fn read(r: &mut Reader) -> IntegrityConfig {
    let verify_within = r.read(
        "integrity.verify_within",
        VERIFY_WITHIN,
        "Everything stored is read back from the disk and checked at least this often. `scrub status` says when\n\
         that cannot be done with the settings below.",
    );
    let scrub_rate = r.read(
        "integrity.scrub_rate",
        Some(Rate(SCRUB_RATE)),
        "The most that is read for that, on average over a minute; \"none\" for as fast as it goes. It gives way when\n\
         puts and gets become slower.",
    );
    let quiet_hours: Vec<Hours> = r.read(
        "integrity.quiet_hours",
        Vec::new(),
        "When nothing is read for that, by the clock on the wall: [\"23:00-07:00\"].",
    );
    let prove_within = r.read(
        "integrity.prove_within",
        PROVE_WITHIN,
        "The holders of this node's tesserae show a piece of what they claim to have at least this often, each of each tessera.\n\
         Such a proof counts for so long.",
    );
    r.require(
        (PROVE_MIN..=WITHIN_MAX).contains(&prove_within),
        &["integrity.prove_within"],
        "holders must prove what they claim within 1 second to 3650 days",
    );
    r.require(
        (WITHIN_MIN..=WITHIN_MAX).contains(&verify_within),
        &["integrity.verify_within"],
        "what is stored must be verified within 1 hour to 3650 days",
    );
    r.require(
        scrub_rate.is_none_or(|rate| rate.0 >= RATE_MIN),
        &["integrity.scrub_rate"],
        format!(
            "what is stored must be verified with at least {}/s",
            Size(RATE_MIN).to_toml().trim_matches('"')
        ),
    );
    r.require(
        minutes_outside(&quiet_hours) >= OUTSIDE_MIN,
        &["integrity.quiet_hours"],
        "the quiet hours must leave at least an hour of the day",
    );
    let scrub_rate = scrub_rate.map(|rate| rate.0);
    IntegrityConfig { verify_within, scrub_rate, quiet_hours, prove_within }
}

const VERIFY_WITHIN: Duration = Duration::from_secs(30 * 86_400);
const PROVE_WITHIN: Duration = Duration::from_secs(7 * 86_400);
const PROVE_MIN: Duration = Duration::from_secs(1);
const SCRUB_RATE: u64 = 2 << 20;
const MINUTES_PER_DAY: u16 = 24 * 60;
/// Less would be a disk that never rests.
const WITHIN_MIN: Duration = Duration::from_secs(3600);
const WITHIN_MAX: Duration = Duration::from_secs(3650 * 86_400);
/// A segment then takes about an hour; with less, none would ever be done before a restart.
const RATE_MIN: u64 = 64 << 10;
const OUTSIDE_MIN: u16 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::tests::check;

    #[test]
    fn hours_are_read_from_a_list_and_from_a_text() {
        let hours = |from, to| Hours::new(from, to).unwrap();
        check(vec!["23:00-07:30", "12:00-13:00"], Some(vec![hours(1380, 450), hours(720, 780)]));
        check(" 23:00 - 07:30 , 12:00-13:00", Some(vec![hours(1380, 450), hours(720, 780)]));
        check("", Some(Vec::<Hours>::new()));
        check(Vec::<Value>::new(), Some(Vec::<Hours>::new()));
        for wrong in ["7-8", "07:00", "07:00-07:00", "24:00-01:00", "01:60-02:00", "+1:00-02:00", "a", ","] {
            check::<Vec<Hours>>(wrong, None);
        }
        check::<Vec<Hours>>(vec![Value::from(7_i64)], None);
        check::<Vec<Hours>>(7_i64, None);
    }

    #[test]
    fn hours_are_left_until_they_end_also_over_midnight() {
        let check = |(from, to), minute, expected| {
            assert_eq!(Hours::new(from, to).unwrap().left(minute), expected, "{from}-{to} at {minute}");
        };
        check((60, 120), 59, None);
        check((60, 120), 60, Some(60));
        check((60, 120), 119, Some(1));
        check((60, 120), 120, None);
        check((1380, 60), 1379, None);
        check((1380, 60), 1380, Some(120));
        check((1380, 60), 0, Some(60));
        check((1380, 60), 60, None);
        assert_eq!(minutes_outside(&[]), 1440);
        assert_eq!(minutes_outside(&[Hours::new(0, 60).unwrap(), Hours::new(30, 90).unwrap()]), 1350);
    }

    #[test]
    fn spans_are_read_with_their_units() {
        check("30 days", Some(Duration::from_secs(30 * 86_400)));
        check("90 min", Some(Duration::from_secs(5400)));
        check::<Duration>("0 s", None);
        check::<Duration>(30_i64, None);
    }
}
