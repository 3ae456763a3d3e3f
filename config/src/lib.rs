//! Every setting of a node: raw (what the operator wrote), checked (types that cannot be wrong), with provenance.

pub mod storage;

pub use storage::StorageConfig;
