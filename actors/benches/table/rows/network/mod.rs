//! Two nodes on this machine, beside bare quinn with the same runtimes: each endpoint on a thread of its own, those who
//! ask on the threads that all share.

mod attacked;
mod bare;
mod compare;
mod nodes;
mod pinned;
mod proof;
mod requests;
mod transfers;

pub(crate) use attacked::{flooded, stalled};
pub(crate) use bare::Fan;
pub(crate) use compare::{few_tesserae, many_tesserae};
pub(crate) use proof::one;
pub(crate) use requests::{attest, pooled};
pub(crate) use transfers::{get_large, get_small, put};
