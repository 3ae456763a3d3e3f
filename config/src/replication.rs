//! `[replication]`: how tesserae are spread over other machines.

use figment::value::Value;
use proto::{
    layout::{Code, Wanted},
    limits::{STRIPE_DATA_MAX, STRIPE_TOTAL_MAX},
};

use crate::{
    profile::Profile,
    reader::Reader,
    repair::{self, RepairConfig},
    value::{Kind, quoted},
};

/// `[replication]`, but for what is kept for others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReplicationConfig {
    /// How a tessera is coded.
    pub layout: LayoutChoice,
    /// What is wanted of a code that follows the number of machines.
    pub wanted: Wanted,
    /// Fragments that are on their way to or from others at a time.
    pub max_concurrent_transfers: usize,
    /// When what is lost is mended.
    pub repair: RepairConfig,
}

/// How a tessera is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayoutChoice {
    /// By the number of machines.
    Auto,
    /// Always so.
    Fixed(Code),
}

impl ReplicationConfig {
    /// The code for so many machines.
    pub fn code(&self, machines: usize) -> Code {
        match self.layout {
            LayoutChoice::Auto => Code::for_machines(machines, &self.wanted),
            LayoutChoice::Fixed(code) => code,
        }
    }
}

impl Default for ReplicationConfig {
    fn default() -> Self {
        let wanted = Wanted {
            survive: u16::try_from(SURVIVE).unwrap_or(u16::MAX),
            overhead_max_percent: percent(MAX_OVERHEAD),
            k_max: STRIPE_DATA_MAX,
        };
        Self {
            layout: LayoutChoice::Auto,
            wanted,
            max_concurrent_transfers: TRANSFERS as usize,
            repair: RepairConfig::default(),
        }
    }
}

impl Kind for LayoutChoice {
    fn expected() -> String {
        String::from(r#""auto", or data and parity fragments of a stripe, such as "16+8""#)
    }
    fn read(written: &Value) -> Option<Self> {
        let text = written.as_str()?.trim();
        if text == "auto" {
            return Some(Self::Auto);
        }
        let (k, m) = text.split_once('+')?;
        Code::new(k.trim().parse().ok()?, m.trim().parse().ok()?).ok().map(Self::Fixed)
    }
    fn to_toml(&self) -> String {
        match self {
            Self::Auto => quoted("auto"),
            Self::Fixed(code) => quoted(&code.to_string()),
        }
    }
}

/// Reads the settings, and checks them.
pub(crate) fn read(r: &mut Reader, profile: Profile) -> ReplicationConfig {
    let layout = r.read(
        "replication.layout",
        LayoutChoice::Auto,
        "How a tessera is cut for other machines: \"auto\" follows their number, \"16+8\" is 16 fragments of data and 8 of parity\n\
         whatever it is.",
    );
    let survive = r.read(
        "replication.survive",
        SURVIVE,
        "How many machines may be lost before anything is. `publish` says when that was not reached.",
    );
    let overhead = r.read(
        "replication.max_overhead",
        MAX_OVERHEAD,
        "The most that all fragments together take, in times of the content, beyond what `survive` needs.",
    );
    let transfers = r.read(
        "replication.max_concurrent_transfers",
        TRANSFERS,
        "Fragments of 1 MiB, or as many bytes of smaller ones, that are on their way to or from others at a time.",
    );
    r.require(
        survive < u32::from(STRIPE_TOTAL_MAX),
        &["replication.survive"],
        format!("a stripe has {STRIPE_TOTAL_MAX} fragments, so fewer machines than that may be lost"),
    );
    r.require(
        (1.0..=OVERHEAD_MAX).contains(&overhead),
        &["replication.max_overhead"],
        format!(
            "all fragments take at least as much as the content, and at most {OVERHEAD_MAX} times as much"
        ),
    );
    r.require(
        transfers <= TRANSFERS_MAX,
        &["replication.max_concurrent_transfers"],
        format!("more than {TRANSFERS_MAX} transfers at a time only wait for each other"),
    );
    if let LayoutChoice::Fixed(code) = layout {
        let survive = u16::try_from(survive).unwrap_or(u16::MAX);
        r.require(
            code.m() >= survive,
            &["replication.layout", "replication.survive"],
            format!("a layout of {code} is lost with any {} machines", code.m() + 1),
        );
    }
    let wanted = Wanted {
        survive: u16::try_from(survive).unwrap_or(u16::MAX),
        overhead_max_percent: percent(overhead),
        k_max: match profile {
            Profile::Small => STRIPE_DATA_MAX / 2,
            Profile::Standard => STRIPE_DATA_MAX,
        },
    };
    let max_concurrent_transfers = usize::try_from(transfers).unwrap_or(usize::MAX);
    ReplicationConfig { layout, wanted, max_concurrent_transfers, repair: repair::read(r) }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of at most 24 was required"
)]
fn percent(times: f64) -> u32 {
    (times.clamp(1.0, OVERHEAD_MAX) * 100.0).round() as u32
}

const SURVIVE: u32 = 2;
const MAX_OVERHEAD: f64 = 2.5;
const TRANSFERS: u32 = 4;
const TRANSFERS_MAX: u32 = 64;
/// All fragments of a stripe, for one of data.
const OVERHEAD_MAX: f64 = 24.0;
const _: () = assert!(STRIPE_TOTAL_MAX == 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_auto_or_a_code_that_there_is() {
        let read = |text: &str| LayoutChoice::read(&Value::from(text)).map(|layout| layout.to_toml());
        assert_eq!(read("auto").as_deref(), Some("\"auto\""));
        assert_eq!(read(" 3 + 2").as_deref(), Some("\"3+2\""));
        for wrong in ["", "3", "3+", "0+2", "17+1", "16+9", "3+2+1", "3,2"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn code_follows_the_machines_or_is_fixed() {
        let auto = ReplicationConfig::default();
        assert_eq!(auto.code(5).to_string(), "3+2");
        let fixed = LayoutChoice::Fixed(Code::new(4, 4).unwrap());
        assert_eq!(ReplicationConfig { layout: fixed, ..auto }.code(5).to_string(), "4+4");
    }
}
