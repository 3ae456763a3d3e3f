//! The admin server: HTTP/1.1 with JSON on a Unix socket, for the command line and for programs on this machine.

pub(crate) mod connections;
pub(crate) mod health;
pub(crate) mod problems;
pub(crate) mod socket;
#[cfg(test)]
mod tests;
