//! Nodes that talk to each other, over real sockets on loopback.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends at the first surprise")]

mod attesting;
mod comparing;
mod deficit;
mod giving;
mod hostile;
mod log;
mod lying;
mod meeting;
mod publishing;
mod stopping;
mod strangers;
mod support;
