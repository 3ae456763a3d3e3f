//! Whether there is room for a put.

use config::StorageConfig;

use super::disk::Space;

/// Why there is no room for so many more bytes, if there is none. Without knowledge of the disk only the configured
/// capacity counts: a write that finds it full fails by itself.
pub(crate) fn refusal(config: &StorageConfig, space: Option<Space>, used: u64, more: u64) -> Option<String> {
    if let Some(capacity) = config.capacity_bytes.filter(|capacity| used + more > *capacity) {
        return Some(format!("{used} bytes of the configured capacity of {capacity} are in use"));
    }
    let space = space?;
    let floor = floor(config, space);
    (space.free < floor + more).then(|| {
        format!("the disk has {} bytes free, of which {floor} are kept free (storage.min_free)", space.free)
    })
}

/// Bytes that are kept free: as configured, but at most 5 % of the disk.
pub(crate) fn floor(config: &StorageConfig, space: Space) -> u64 {
    config.min_free_bytes.min(space.total / FLOOR_SHARE)
}

const FLOOR_SHARE: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(capacity: Option<u64>, free: u64, used: u64, more: u64, refused: bool) {
        let config = StorageConfig {
            capacity_bytes: capacity,
            min_free_bytes: 100,
            ..StorageConfig::with_defaults("unused")
        };
        let space = Some(Space { free, total: 1_000_000 });
        assert_eq!(
            refusal(&config, space, used, more).is_some(),
            refused,
            "{capacity:?} {free} {used} {more}"
        );
    }

    #[test]
    fn put_is_refused_beyond_capacity_or_below_the_floor() {
        check(None, 1000, 0, 900, false);
        check(None, 1000, 0, 901, true);
        check(Some(500), 100_000, 400, 100, false);
        check(Some(500), 100_000, 400, 101, true);
    }

    #[test]
    fn floor_is_at_most_a_twentieth_of_the_disk() {
        let config = StorageConfig::with_defaults("unused");
        assert_eq!(floor(&config, Space { free: 0, total: 2_000 }), 100);
    }
}
