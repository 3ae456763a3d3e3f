//! The actors of a node, each the only owner of its resource, and the tasks that own nothing.
//!
//! Outside its folder an actor is a handle with async methods; its messages cannot be named. Who may call whom is in
//! the table of the README, and a test compares it with this code.

mod acquaintance;
pub mod archive;
pub mod attestation;
pub mod budget;
pub mod cache;
mod clock;
pub mod conn_pool;
mod dropping;
pub mod error;
mod frames;
pub mod keys;
pub mod metrics;
pub mod peers;
pub mod remote;
pub mod replication;
pub mod scrub;
mod seldom;
mod serve;
pub mod storage;
pub mod store;
pub mod supervision;
pub mod system;
#[cfg(test)]
mod testbed;
mod throttle;

pub use error::ActorError;
pub use metrics::Metrics;
pub use store::{Deposited, FragmentRow, FragmentStore, PutOutcome};
pub use system::{System, SystemConfig};
