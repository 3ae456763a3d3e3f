//! The archive (work in progress).

pub mod error;
pub mod mtime;
pub mod names;

pub(crate) mod entries;
pub(crate) mod tarball;
