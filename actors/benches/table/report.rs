//! The table, for people and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::Result;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    pub(crate) rows: Vec<Row>,
}

/// Where it was measured; figures of two machines cannot be compared, ratios to some degree.
#[derive(Debug, Serialize)]
struct Machine {
    cores: usize,
    kernel: String,
    /// Of the last minute, before it began: above 0 others were at work.
    load: String,
    quick: bool,
}

/// One operation.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) operation: String,
    pub(crate) size: String,
    /// `None` where nobody waits for one operation after the other.
    pub(crate) clients: Option<u32>,
    pub(crate) figure: Figure,
    pub(crate) p50_seconds: Option<f64>,
    pub(crate) p99_seconds: Option<f64>,
    pub(crate) judgements: Vec<Judgement>,
}

/// A value with its unit.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

/// One thing that is held against something else, or only said.
#[derive(Debug, Serialize)]
pub(crate) struct Judgement {
    /// The baseline, or what the value is.
    what: String,
    /// What the baseline reached.
    baseline: Option<Figure>,
    /// The ratio to the baseline, or what is judged.
    value: Figure,
    target: Option<Target>,
    met: Option<bool>,
}

/// What a value must reach.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) enum Target {
    #[serde(rename = "at_least")]
    AtLeast(f64),
    #[serde(rename = "at_most")]
    AtMost(f64),
}

impl Report {
    /// A report without rows.
    pub(crate) fn new(quick: bool) -> Result<Self> {
        let load = std::fs::read_to_string("/proc/loadavg")?;
        let machine = Machine {
            cores: std::thread::available_parallelism()?.get(),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
            quick,
        };
        Ok(Self { machine, rows: Vec::new() })
    }

    /// As JSON.
    pub(crate) fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// For people.
    pub(crate) fn to_table(&self) -> String {
        let mut lines = vec![HEADINGS.map(str::to_owned)];
        for row in &self.rows {
            lines.extend(row.lines());
        }
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: [usize; COLUMNS] = std::array::from_fn(width);
        let mut text = String::new();
        for line in &lines {
            let mut padded = String::new();
            for ((cell, width), left) in line.iter().zip(widths).zip(LEFT) {
                // Writing into a string does not fail.
                let _ = if left {
                    write!(padded, "{cell:<width$}  ")
                } else {
                    write!(padded, "{cell:>width$}  ")
                };
            }
            text.push_str(padded.trim_end());
            text.push('\n');
        }
        let Machine { cores, kernel, load, quick } = &self.machine;
        let quick = if *quick { "; --quick: these are no figures" } else { "" };
        let _ = writeln!(text, "\n{cores} cores, Linux {kernel}, load before it began {load}{quick}");
        text
    }
}

impl Row {
    /// What is judged first stands beside the figure, the rest below.
    fn lines(&self) -> Vec<[String; COLUMNS]> {
        let judgements = self.judgements.iter().map(Judgement::cells);
        let mut lines: Vec<_> = judgements
            .map(|[what, baseline, value, target, met]| {
                [const { String::new() }; 6].into_iter().chain([what, baseline, value, target, met]).collect()
            })
            .collect::<Vec<Vec<String>>>();
        if lines.is_empty() {
            lines.push(vec![String::new(); COLUMNS]);
        }
        let duration = |seconds: Option<f64>| seconds.map_or(String::new(), duration);
        let head = [
            self.operation.clone(),
            self.size.clone(),
            self.clients.map_or(String::new(), |clients| clients.to_string()),
            self.figure.text(),
            duration(self.p50_seconds),
            duration(self.p99_seconds),
        ];
        if let Some(first) = lines.first_mut() {
            first.iter_mut().zip(head).for_each(|(cell, text)| *cell = text);
        }
        lines.into_iter().filter_map(|line| line.try_into().ok()).collect()
    }
}

impl Figure {
    /// A value with its unit.
    pub(crate) fn new(value: f64, unit: &'static str) -> Self {
        Self { value, unit }
    }

    fn text(self) -> String {
        match self.unit {
            _ if self.value.is_nan() => "-".to_owned(),
            "s" => duration(self.value),
            unit => format!("{}{unit}", number(self.value)),
        }
    }
}

impl Judgement {
    /// A ratio to a baseline.
    pub(crate) fn ratio(
        what: impl Into<String>,
        baseline: Figure,
        ratio: f64,
        target: Option<Target>,
    ) -> Self {
        Self { baseline: Some(baseline), ..Self::value(what, Figure::new(ratio, "×"), target) }
    }

    /// A value of its own.
    pub(crate) fn value(what: impl Into<String>, value: Figure, target: Option<Target>) -> Self {
        let met = target.filter(|_| !value.value.is_nan()).map(|target| target.is_met(value.value));
        Self { what: what.into(), baseline: None, value, target, met }
    }

    fn cells(&self) -> [String; 5] {
        let target = self.target.map_or(String::new(), |target| target.text(self.value.unit));
        let met = self.met.map_or("", |met| if met { "yes" } else { "NO" });
        let baseline = self.baseline.map_or(String::new(), Figure::text);
        [self.what.clone(), baseline, self.value.text(), target, met.to_owned()]
    }
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    fn text(self, unit: &'static str) -> String {
        match self {
            Self::AtLeast(value) => format!("≥ {}", Figure { value, unit }.text()),
            Self::AtMost(value) => format!("≤ {}", Figure { value, unit }.text()),
        }
    }
}

/// Three digits that say something, thousands apart.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 0.1 || value == 0.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let first = whole.len() % 3;
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && at % 3 == first {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
        seconds if seconds >= 1e-3 => format!("{:.2} ms", seconds * 1e3),
        seconds => format!("{:.1} µs", seconds * 1e6),
    }
}

const COLUMNS: usize = 11;
const HEADINGS: [&str; COLUMNS] =
    ["operation", "size", "clients", "figure", "p50", "p99", "baseline", "reached", "ratio", "target", "met"];
/// Which columns are set to the left.
const LEFT: [bool; COLUMNS] = [true, true, false, false, false, false, true, false, false, false, true];
