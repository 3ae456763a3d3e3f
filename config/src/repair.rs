//! What `[replication]` says about repair, and how often holders prove what they claim.

use std::time::Duration;

use figment::value::Value;
use proto::limits::STRIPE_TOTAL_MAX;

use crate::{
    reader::Reader,
    value::{Kind, Size, quoted},
};

/// When what others keep is looked at, and mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairConfig {
    /// Each tessera is looked at so often.
    pub interval: Duration,
    /// Up to so much later, so that not all nodes look at once.
    pub jitter: Duration,
    /// A tessera that has lost too much is mended after so long: who is only away comes back.
    pub grace: Duration,
    /// How much too much is.
    pub margin: MarginChoice,
    /// Bytes that repair may move in a day, on average; `None` for any number.
    pub per_day: Option<u64>,
}

/// The margin below which a tessera is mended: fragments of a stripe beyond those that are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarginChoice {
    /// By its code and what must survive.
    Auto,
    /// Always so.
    Fixed(u16),
}

impl RepairConfig {
    /// The margin below which a stripe with so much parity is mended.
    pub fn margin_wanted(&self, survive: u16, m: u16) -> i32 {
        match self.margin {
            MarginChoice::Auto => proto::repair::margin_wanted(survive, m),
            MarginChoice::Fixed(margin) => margin.min(m).into(),
        }
    }
}

impl Default for RepairConfig {
    fn default() -> Self {
        Self {
            interval: INTERVAL,
            jitter: JITTER,
            grace: GRACE,
            margin: MarginChoice::Auto,
            per_day: Some(PER_DAY),
        }
    }
}

impl Kind for MarginChoice {
    fn expected() -> String {
        format!(r#""auto", or a number of fragments from 1 to {STRIPE_TOTAL_MAX}"#)
    }
    fn read(written: &Value) -> Option<Self> {
        if written.as_str().is_some_and(|text| text.trim() == "auto") {
            return Some(Self::Auto);
        }
        let margin = u16::try_from(u32::read(written)?).ok()?;
        (margin <= STRIPE_TOTAL_MAX).then_some(Self::Fixed(margin))
    }
    fn to_toml(&self) -> String {
        match self {
            Self::Auto => quoted("auto"),
            Self::Fixed(margin) => margin.to_string(),
        }
    }
}

/// Reads the settings, and checks them.
pub(crate) fn read(r: &mut Reader) -> RepairConfig {
    let interval = r.read(
        "replication.repair_interval",
        INTERVAL,
        "How often the holders of each tessera are asked what they still have. What a holder has not said for twice as\n\
         long counts as lost.",
    );
    let jitter = r.read(
        "replication.repair_jitter",
        JITTER,
        "Up to so much later, at random: else all nodes would ask at the same time.",
    );
    let grace = r.read(
        "replication.repair_grace",
        GRACE,
        "How long a tessera has lost too much before it is mended: who is only away comes back. The author's node begins\n\
         after that, the holders one after another, each after as long again.",
    );
    let margin = r.read(
        "replication.repair_margin",
        MarginChoice::Auto,
        "A tessera is mended when a stripe has fewer fragments than this beyond those that are needed to read it. \"auto\" is\n\
         half of the parity, and at least replication.survive.",
    );
    let per_day = r.read(
        "replication.repair_per_day",
        Some(Size(PER_DAY)),
        "The most that mending by itself moves in a day, on average, what is worst off first; \"none\" for any number of\n\
         bytes. `repair ID` does not wait for it.",
    );
    r.require(
        (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval),
        &["replication.repair_interval"],
        "holders must be asked every second to every 30 days",
    );
    r.require(
        jitter <= interval,
        &["replication.repair_jitter", "replication.repair_interval"],
        "the jitter may be as long as the interval, and no longer",
    );
    r.require(
        grace <= GRACE_MAX,
        &["replication.repair_grace"],
        "what is lost must be mended within 30 days",
    );
    RepairConfig { interval, jitter, grace, margin, per_day: per_day.map(|size| size.0) }
}

const INTERVAL: Duration = Duration::from_secs(24 * 3600);
const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(30 * 86_400);
const JITTER: Duration = Duration::from_secs(2 * 3600);
const GRACE: Duration = Duration::from_secs(6 * 3600);
const GRACE_MAX: Duration = Duration::from_secs(30 * 86_400);
const PER_DAY: u64 = 10 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margin_is_auto_or_a_number_that_a_stripe_can_have() {
        let read = |written: Value| MarginChoice::read(&written).map(|margin| margin.to_toml());
        assert_eq!(read(Value::from("auto")).as_deref(), Some("\"auto\""));
        assert_eq!(read(Value::from(3)).as_deref(), Some("3"));
        for wrong in [Value::from(0), Value::from(25), Value::from("some")] {
            assert_eq!(read(wrong), None);
        }
    }

    #[test]
    fn no_more_is_wanted_than_the_parity_gives() {
        let auto = RepairConfig::default();
        assert_eq!((auto.margin_wanted(2, 8), auto.margin_wanted(2, 1)), (4, 1));
        let fixed = RepairConfig { margin: MarginChoice::Fixed(3), ..auto };
        assert_eq!((fixed.margin_wanted(2, 8), fixed.margin_wanted(2, 2)), (3, 2));
    }
}
