//! The program that crash tests kill: it works on a store and says on standard output what it was promised.

use std::io;

use tests::{journal::Start, workload};

fn main() -> io::Result<()> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let start: Start = serde_json::from_str(&line)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(workload::run(start));
    // What is still under way here was promised to nobody.
    std::process::exit(0)
}
