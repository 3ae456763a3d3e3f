//! Whether there is room for a put.

use config::StorageConfig;

use super::{disk::Space, pragmas::PAGE_BYTES};

/// The configuration with segments and a WAL that fit onto the disk: those of the defaults may be as large as all of a
/// small one, and then nothing could be given back before all of it is forgotten.
pub(crate) fn fit(config: StorageConfig, space: Option<Space>) -> StorageConfig {
    let whole = [config.capacity_bytes, space.map(|space| space.total)].into_iter().flatten().min();
    let segment = whole.map_or(u64::MAX, |whole| (whole / SEGMENT_SHARE).max(SEGMENT_BYTES_MIN));
    // Where nothing is kept free, as where as much is as can be.
    let kept = |space: Space| match floor(&config, space) {
        0 => space.total / FLOOR_SHARE,
        kept => kept,
    };
    let wal = space.map_or(u64::MAX, |space| kept(space) / WAL_SHARE / u64::from(PAGE_BYTES));
    let wal = u32::try_from(wal).unwrap_or(u32::MAX).max(WAL_PAGES_MIN);
    StorageConfig {
        segment_bytes: config.segment_bytes.min(segment),
        sqlite_wal_autocheckpoint_pages: config.sqlite_wal_autocheckpoint_pages.min(wal),
        ..config
    }
}

/// Why there is no room for so many more bytes, if there is none. Without knowledge of the disk only the configured
/// capacity counts: a write that finds it full fails by itself.
pub fn refusal(config: &StorageConfig, space: Option<Space>, used: u64, more: u64) -> Option<String> {
    if let Some(capacity) = config.capacity_bytes.filter(|capacity| used + more > *capacity) {
        let (used, capacity) = (mib(used), mib(capacity));
        return Some(format!("{used} of the configured capacity of {capacity} are in use"));
    }
    let space = space?;
    let floor = floor(config, space);
    (space.free < floor + more).then(|| {
        let (free, floor) = (mib(space.free), mib(floor));
        format!("the disk has {free} free, of which {floor} are kept free (storage.min_free)")
    })
}

/// Bytes that may still be stored: up to the configured capacity and what is kept free of the disk, whichever is less.
/// `None` when neither is known.
pub(crate) fn room(config: &StorageConfig, space: Option<Space>, used: u64) -> Option<u64> {
    let of_capacity = config.capacity_bytes.map(|capacity| capacity.saturating_sub(used));
    let of_disk = space.map(|space| space.free.saturating_sub(floor(config, space)));
    [of_capacity, of_disk].into_iter().flatten().min()
}

/// Bytes that are kept free: as configured, but at most 5 % of the disk.
pub fn floor(config: &StorageConfig, space: Space) -> u64 {
    config.min_free_bytes.min(space.total / FLOOR_SHARE)
}

/// For people, rounded down to hundredths.
fn mib(bytes: u64) -> String {
    let hundredths = (u128::from(bytes) * 100) >> 20;
    format!("{}.{:02} MiB", hundredths / 100, hundredths % 100)
}

const FLOOR_SHARE: u64 = 20;
/// A segment is at most this part of all room, unless that is very little: there must be room for a copy of most of one
/// in what is kept free.
const SEGMENT_SHARE: u64 = 64;
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// The WAL takes at most about this part of what is kept free, so that drops can be written when all else is full.
const WAL_SHARE: u64 = 4;
const WAL_PAGES_MIN: u32 = 256;

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
    fn room_is_what_a_put_may_take() {
        let check = |capacity_bytes, space, expected| {
            let defaults = StorageConfig::with_defaults("unused");
            let config = StorageConfig { capacity_bytes, min_free_bytes: 100, ..defaults };
            assert_eq!(room(&config, space, 400), expected, "{capacity_bytes:?} {space:?}");
        };
        let free = |free| Some(Space { free, total: 1_000_000 });
        check(None, None, None);
        check(None, free(1000), Some(900));
        check(None, free(50), Some(0));
        check(Some(500), None, Some(100));
        check(Some(500), free(1000), Some(100));
        check(Some(5000), free(1000), Some(900));
        check(Some(300), free(1000), Some(0));
    }

    #[test]
    fn segments_and_wal_are_a_small_part_of_a_small_disk() {
        let fitted = |capacity_bytes, total| {
            let config = StorageConfig { capacity_bytes, ..StorageConfig::with_defaults("unused") };
            let fitted = fit(config, Some(Space { free: 0, total }));
            (fitted.segment_bytes >> 20, fitted.sqlite_wal_autocheckpoint_pages)
        };
        assert_eq!(fitted(None, 1 << 40), (256, 32_000));
        assert_eq!(fitted(None, 128 << 20), (2, 1638));
        assert_eq!(fitted(Some(320 << 20), 1 << 40), (5, 32_000));
        assert_eq!(fitted(Some(1 << 20), 1 << 20), (1, 256));
        let config = StorageConfig { min_free_bytes: 0, ..StorageConfig::with_defaults("unused") };
        let fitted = fit(config, Some(Space { free: 0, total: 1 << 40 }));
        assert_eq!(fitted.sqlite_wal_autocheckpoint_pages, 32_000, "nothing is kept free");
    }

    #[test]
    fn floor_is_at_most_a_twentieth_of_the_disk() {
        let config = StorageConfig::with_defaults("unused");
        assert_eq!(floor(&config, Space { free: 0, total: 2_000 }), 100);
    }
}
