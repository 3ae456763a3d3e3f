//! How much a peer may have parked here: pure.
//!
//! What a peer sends and nobody has read, and what is sent to it and it does not take, lies in memory for as long as the
//! peer likes. A window that was once opened cannot be taken back (RFC 9000 §4.1), so each connection begins with a small
//! one, of which there is enough for all, and a node that the operator wants gets a share of what is left.

use super::limits::{GRANT_SHARE, PARKED_BYTES_MAX, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN};

/// What each connection begins with, for either direction, in bytes: all of them together take half of what may be parked.
pub(super) fn first(connections_max: usize) -> u32 {
    let connections = u64::try_from(connections_max).unwrap_or(u64::MAX).max(1);
    let each = PARKED_BYTES_MAX / 2 / connections / 2;
    u32::try_from(each).unwrap_or(u32::MAX).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX)
}

/// What is left for those that get more, in bytes.
pub(super) fn reserve(connections_max: usize) -> u64 {
    let connections = u64::try_from(connections_max).unwrap_or(u64::MAX);
    PARKED_BYTES_MAX.saturating_sub(connections.saturating_mul(2 * u64::from(first(connections_max))))
}

/// What a connection gets more than the first window, for either direction, when so much is left. The less there is, the
/// less it gets, so that something always is.
pub(super) fn more(left: u64, first: u32) -> u32 {
    let most = WINDOW_BYTES_MAX.saturating_sub(first);
    u32::try_from(left / GRANT_SHARE / 2).unwrap_or(u32::MAX).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_windows_together_stay_below_what_may_be_parked() {
        for connections in [1, 2, 16, 100, 256, 1000] {
            let first = first(connections);
            let mut left = reserve(connections);
            let granted: u64 = (0..connections)
                .map(|_| {
                    let more = u64::from(more(left, first));
                    left -= 2 * more;
                    2 * more
                })
                .sum();
            let parked = connections as u64 * 2 * u64::from(first) + granted;
            assert!(parked <= PARKED_BYTES_MAX, "{connections}: {parked}");
        }
    }

    #[test]
    fn first_nodes_get_whole_windows_and_later_ones_less() {
        let (first, left) = (first(256), reserve(256));
        assert_eq!(first, 64 << 10);
        assert_eq!(first + more(left, first), WINDOW_BYTES_MAX);
        assert!(more(left / 2, first) < more(left, first));
        assert_eq!(more(0, first), 0);
    }
}
