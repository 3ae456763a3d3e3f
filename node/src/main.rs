//! The `node` binary: daemon and command line.
mod admin;
mod client;
mod data_dir;
mod exit;
mod failure;
mod lock;
mod output;
mod problem;
mod progress;
mod table;
mod telemetry;
fn main() {}
