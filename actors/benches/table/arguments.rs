//! What the bench is asked for.

use crate::Result;

/// The command line.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    /// JSON instead of a table.
    pub(crate) json: bool,
    /// Few and short rounds over little data: whether it works, not how fast.
    pub(crate) quick: bool,
    /// Without the baselines, for a profiler.
    pub(crate) ours: bool,
    /// Only rows whose name has one of these in it.
    names: Vec<String>,
}

impl Arguments {
    /// Reads the command line. `--bench` is what cargo itself adds.
    pub(crate) fn parse(words: Vec<String>) -> Result<Self> {
        let mut arguments = Self::default();
        for word in words {
            match word.as_str() {
                "--json" => arguments.json = true,
                "--quick" => arguments.quick = true,
                "--ours" => arguments.ours = true,
                "--bench" => {}
                option if option.starts_with('-') => {
                    return Err(format!("{option} is not known; usage: {USAGE}").into());
                }
                _ => arguments.names.push(word),
            }
        }
        Ok(arguments)
    }

    /// Whether a row of this name was asked for.
    pub(crate) fn wants(&self, row: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| row.contains(name.as_str()))
    }
}

const USAGE: &str = "[--json] [--quick] [--ours] [NAME…]";
