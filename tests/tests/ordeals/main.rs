//! What happens to a machine, and to the node on it, as a process: its clock is set, it is stopped and goes on; and to several
//! whose clocks are years apart.

#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests fail and tell as tests do"
)]

mod apart;
mod clock;
mod stopped;
mod wall;
