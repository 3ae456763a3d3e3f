//! `make bench`: one table of what this node reaches, ours beside its baselines.
//!
//! Ours and the baselines of a row take turns, round by round, in one process and on one disk, after a warm-up that is
//! thrown away; figures are medians over rounds, and ratios medians of the rounds' own ratios, so that a machine that
//! gets slower meanwhile slows down both sides of a ratio. Rounds last a fixed time, not a number of operations:
//! machines differ in the cost of a sync by a factor of 100.
//!
//! Targets are those of the project's first milestone. Whether each is met is said, never assumed.

mod arguments;
mod attack;
#[path = "../../tests/peers/hostile/attackers/mod.rs"]
mod attackers;
mod baselines;
mod child;
mod daemon;
mod load;
mod meters;
mod ours;
mod report;
mod rounds;
mod rows;

use std::{io::Write, path::Path};

use arguments::Arguments;
use report::Report;
use rounds::Plan;
use rows::{Bench, Entry, ROWS};

/// Whatever goes wrong ends the run: a figure that is not complete is none.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [child::NAME, files, work] = words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        let peak = runtime.block_on(child::create_and_export(Path::new(files), Path::new(work)))?;
        return Ok(writeln!(std::io::stdout(), "{peak}")?);
    }
    if let Some((attack::NAME, rest)) = words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return runtime.block_on(attack::run(rest));
    }
    let arguments = Arguments::parse(words)?;
    let report = runtime.block_on(measure(&arguments))?;
    let text = if arguments.json { report.to_json()? } else { report.to_table() };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

async fn measure(arguments: &Arguments) -> Result<Report> {
    let wanted = |entry: &&Entry| arguments.wants(entry.name);
    let entries: Vec<_> = ROWS.iter().filter(wanted).collect();
    if entries.is_empty() {
        let names: Vec<_> = ROWS.iter().map(|entry| entry.name).collect();
        return Err(format!("no row has such a name; there are: {}", names.join(", ")).into());
    }
    // On the disk that the repository is on; the temporary folder may be in memory.
    let folder = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    let bench = Bench { folder: folder.path().to_owned(), plan: Plan::new(arguments.quick, arguments.ours) };
    let mut report = Report::new(arguments.quick)?;
    for entry in entries {
        tell(&format!("{}:", entry.name))?;
        report.rows.extend((entry.run)(&bench).await?);
    }
    Ok(report)
}

/// Progress, on standard error: standard output is the table's.
fn tell(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "{line}")?)
}
