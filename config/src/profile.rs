//! Defaults by the size of the machine.

use std::fmt;

use crate::value::{Choice, Size};

/// The most memory of a machine that is small, in bytes.
const SMALL_MEMORY_BYTES_MAX: u64 = 1 << 30;

/// A set of defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// For machines with up to 1 GiB of memory.
    Small,
    /// For all others.
    Standard,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Small => "small",
            Self::Standard => "standard",
        })
    }
}

/// What an operator may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProfileChoice {
    Auto,
    Named(Profile),
}

impl Choice for ProfileChoice {
    const EXPECTED: &'static str = r#""auto", "small" or "standard""#;
    const ALL: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("small", Self::Named(Profile::Small)),
        ("standard", Self::Named(Profile::Standard)),
    ];
}

impl ProfileChoice {
    /// The profile for a machine with this much memory. Where the system does not tell, the one that always fits.
    pub(crate) fn resolve(self, memory_bytes: Option<u64>) -> Profile {
        match self {
            Self::Named(profile) => profile,
            Self::Auto if memory_bytes.is_some_and(|bytes| bytes > SMALL_MEMORY_BYTES_MAX) => {
                Profile::Standard
            }
            Self::Auto => Profile::Small,
        }
    }
}

/// The defaults that differ between profiles.
pub(crate) struct Presets {
    pub(crate) memory_budget_mb: u32,
    pub(crate) fragment_cache_size_mb: u32,
    pub(crate) sqlite_cache_size_kb: u32,
    pub(crate) sqlite_wal_autocheckpoint_pages: u32,
    pub(crate) segment_size: Size,
    pub(crate) max_concurrent_handshakes: u32,
    pub(crate) pool_max_connections: u32,
}

impl Profile {
    pub(crate) fn presets(self) -> Presets {
        match self {
            Self::Small => Presets {
                memory_budget_mb: 192,
                fragment_cache_size_mb: 32,
                sqlite_cache_size_kb: 16 << 10,
                sqlite_wal_autocheckpoint_pages: 8_000,
                segment_size: Size(32 << 20),
                max_concurrent_handshakes: 16,
                pool_max_connections: 64,
            },
            Self::Standard => Presets {
                memory_budget_mb: 256,
                fragment_cache_size_mb: 128,
                sqlite_cache_size_kb: 64_000,
                sqlite_wal_autocheckpoint_pages: 32_000,
                segment_size: Size(256 << 20),
                max_concurrent_handshakes: 64,
                pool_max_connections: 256,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_is_chosen_by_memory_unless_named() {
        let check = |choice: ProfileChoice, memory, expected| assert_eq!(choice.resolve(memory), expected);
        check(ProfileChoice::Auto, Some(1 << 30), Profile::Small);
        check(ProfileChoice::Auto, Some((1 << 30) + 1), Profile::Standard);
        check(ProfileChoice::Auto, None, Profile::Small);
        check(ProfileChoice::Named(Profile::Small), Some(1 << 40), Profile::Small);
        check(ProfileChoice::Named(Profile::Standard), Some(1 << 20), Profile::Standard);
    }
}
