//! The table: how many tesserae were lost in each layout, how sure that is, and what repair moved.

use std::fmt::Write;

use crate::{
    chance::{DAY, YEAR},
    holding::SWEEP,
    scheme::{Scheme, Spread},
    years::Tally,
};

/// The years after which the lost are counted.
pub(crate) const AFTER_YEARS: [u32; 3] = [1, 5, 10];

/// A share of tesserae that were lost, and where it is with 95 % confidence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    pub(crate) share: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Loss {
    /// Of one layout, by its tally in each world.
    ///
    /// The interval is Wilson's. Tesserae of one world share its disasters, so they count for as many independent ones as the
    /// spread between worlds shows. When none or all were lost it is the rule of three.
    pub(crate) fn within<'a>(years: u32, worlds: impl Iterator<Item = &'a Tally>) -> Self {
        let counts: Vec<_> = worlds
            .map(|tally| {
                let lost = tally.lost.iter().filter(|lost| **lost <= years * YEAR).count();
                (number(lost), number(tally.tesseras))
            })
            .collect();
        let (lost, all): (f64, f64) =
            counts.iter().fold((0.0, 0.0), |(lost, all), one| (lost + one.0, all + one.1));
        let share = lost / all;
        if lost == 0.0 || lost == all {
            let at_most = 3.0 / all;
            let (low, high) = if lost == 0.0 { (0.0, at_most) } else { (1.0 - at_most, 1.0) };
            return Self { share, low, high };
        }
        let deviations = counts.iter().map(|(lost, all)| (lost - share * all).powi(2) / all).sum::<f64>();
        let spread = deviations / (number(counts.len()) - 1.0).max(1.0) / (share * (1.0 - share));
        let (low, high) = wilson(share, all / spread.max(1.0));
        Self { share, low, high }
    }
}

/// What repair moved in a year, in multiples of the tessera.
pub(crate) fn moved_per_year<'a>(scheme: &Scheme, worlds: impl Iterator<Item = &'a Tally>) -> f64 {
    let (moved, sweeps) =
        worlds.fold((0, 0), |(moved, sweeps), tally| (moved + tally.moved, sweeps + tally.sweeps));
    let years = float(sweeps) * f64::from(SWEEP) / f64::from(YEAR);
    float(moved) / f64::from(scheme.code.k()) / years
}

/// The lines of the table, in Markdown.
pub(crate) fn table(schemes: &[Scheme], worlds: &[Vec<Tally>]) -> Vec<String> {
    let [first, second, third] = AFTER_YEARS;
    let mut lines = vec![
        format!(
            "| layout | machines | overhead | repair | lost in {first} year | in {second} years | in {third} years | moved a year |"
        ),
        "|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    for (at, scheme) in schemes.iter().enumerate() {
        let tallies = || worlds.iter().map(|world| &world[at]);
        let layout = match scheme.spread {
            Spread::Apart => format!("ours, {}", scheme.code),
            Spread::RoundRobin => format!("round robin, {}", scheme.code),
        };
        let repair = if scheme.mends { "ours" } else { "none" };
        let mut line = format!("| {layout} | {} | {} | {repair} |", scheme.machines, scheme.overhead());
        for years in AFTER_YEARS {
            write!(line, " {} |", shown(Loss::within(years, tallies()))).unwrap();
        }
        let moved = moved_per_year(scheme, tallies());
        write!(line, " {} |", if scheme.mends { format!("{moved:.1} ×") } else { "0".to_owned() }).unwrap();
        lines.push(line);
    }
    lines
}

fn shown(loss: Loss) -> String {
    let Loss { share, low, high } = loss;
    if share == 0.0 {
        return format!("none: < {}", percent(high, high));
    }
    if share == 1.0 {
        return format!("all: > {}", percent(low, low));
    }
    let bounds = [low, high].map(|bound| percent(bound, share).trim_end_matches(" %").to_owned());
    format!("{} ({}–{})", percent(share, share), bounds[0], bounds[1])
}

/// With as many decimals as this share needs for two digits, or its complement does.
fn percent(value: f64, like: f64) -> String {
    let scale = like.min(1.0 - like);
    let decimals = if scale >= 0.1 {
        0
    } else if scale >= 0.01 {
        1
    } else if scale >= 0.001 {
        2
    } else {
        3
    };
    format!("{:.decimals$} %", value * 100.0)
}

/// Wilson's interval with 95 % confidence for a share that was seen in so many cases.
fn wilson(share: f64, cases: f64) -> (f64, f64) {
    const Z: f64 = 1.96;
    let centre = share + Z * Z / (2.0 * cases);
    let half = Z * (share * (1.0 - share) / cases + Z * Z / (4.0 * cases * cases)).sqrt();
    let scale = 1.0 + Z * Z / cases;
    ((centre - half) / scale, (centre + half) / scale)
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

#[expect(clippy::cast_precision_loss, reason = "16 digits are enough")]
fn float(count: u64) -> f64 {
    count as f64
}

const _: () = assert!(SWEEP == DAY, "whoever reads `sweeps` as days is right");

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lost: usize, tesseras: usize) -> Tally {
        Tally { tesseras, lost: vec![YEAR; lost], ..Tally::default() }
    }

    #[track_caller]
    fn check(worlds: &[Tally], expected: &str) {
        assert_eq!(shown(Loss::within(1, worlds.iter())), expected);
    }

    #[test]
    fn interval_is_wilsons() {
        // Newcombe: Two-sided confidence intervals for the single proportion, 1998, table I, method 3.
        let rounded = |lost: f64, all: f64| {
            let (low, high) = wilson(lost / all, all);
            [low, high].map(|bound| format!("{bound:.4}"))
        };
        assert_eq!(rounded(81.0, 263.0), ["0.2553", "0.3662"]);
        assert_eq!(rounded(15.0, 148.0), ["0.0624", "0.1605"]);
        assert_eq!(rounded(1.0, 29.0), ["0.0061", "0.1718"]);
    }

    #[test]
    fn loss_is_shown_with_what_is_certain() {
        check(&[tally(81, 263)], "31 % (26–37)");
        check(&[tally(0, 1500), tally(0, 1500)], "none: < 0.10 %");
        check(&[tally(3000, 3000)], "all: > 99.90 %");
        check(&[tally(1, 10_000)], "0.010 % (0.002–0.057)");
        let late = Tally { tesseras: 3000, lost: vec![YEAR + 1], ..Tally::default() };
        check(&[late], "none: < 0.10 %");
    }

    #[test]
    fn tesserae_lost_together_are_less_certain() {
        check(&[tally(50, 100), tally(50, 100)], "50 % (43–57)");
        check(&[tally(0, 100), tally(100, 100)], "50 % (5–95)");
    }
}
