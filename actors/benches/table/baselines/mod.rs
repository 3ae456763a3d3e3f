//! What ours is held against. Each does what an ordinary program would do, as well as it can be done that way.

mod append;
mod durable;
mod grouped;
mod index;

pub(crate) use append::{BareAppend, SequentialWrite};
pub(crate) use durable::DurableFiles;
pub(crate) use grouped::GroupedFiles;
