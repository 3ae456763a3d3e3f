//! What the node says about itself while it runs: metrics for machines, a log for people.

mod line;
pub(crate) mod log;
pub(crate) mod metrics;
#[cfg(test)]
mod moves;
mod process;
mod repeats;
