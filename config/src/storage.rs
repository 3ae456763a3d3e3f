//! What the storage actor needs to know, gathered from `[node]`, `[performance]` and `[storage]`.

use std::{path::PathBuf, time::Duration};

/// Settings of the segment log and its index, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct StorageConfig {
    /// Where everything is kept: `index.db` and `segments/` lie below it.
    pub data_dir: PathBuf,
    /// The most bytes that segments may take; `None` for as much as the disk has.
    pub capacity_bytes: Option<u64>,
    /// Puts are refused when fewer bytes than this (or 5 % of the disk, if that is less) are free.
    pub min_free_bytes: u64,
    /// A segment is sealed when it has grown to this many bytes.
    pub segment_bytes: u64,
    /// A sealed segment with a smaller share of live bytes than this is compacted, 0 to 1.
    pub compact_below: f64,
    /// SQLite's page cache in KiB, all connections together.
    pub sqlite_cache_kib: u32,
    /// `synchronous=FULL` instead of `NORMAL`.
    pub sqlite_synchronous_full: bool,
    /// How long a statement waits for a lock.
    pub sqlite_busy_timeout: Duration,
    /// The WAL is checkpointed when it has grown to this many pages.
    pub sqlite_wal_autocheckpoint_pages: u32,
    /// What only the index knows is kept aside this often, if it has changed.
    pub snapshot_interval: Duration,
    /// So many of these are kept.
    pub snapshots: u32,
    /// Memory for the map from fragment ids to their places, in bytes.
    pub location_map_bytes: u64,
}

impl StorageConfig {
    /// The defaults, for a data directory.
    pub fn with_defaults(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            capacity_bytes: None,
            min_free_bytes: 1 << 30,
            segment_bytes: 256 << 20,
            compact_below: 0.5,
            sqlite_cache_kib: 64_000,
            sqlite_synchronous_full: false,
            sqlite_busy_timeout: Duration::from_millis(5000),
            sqlite_wal_autocheckpoint_pages: 32_000,
            snapshot_interval: Duration::from_secs(86_400),
            snapshots: 2,
            location_map_bytes: 32 << 20,
        }
    }
}
