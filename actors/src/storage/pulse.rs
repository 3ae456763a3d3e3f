//! How long puts and gets take, counted so cheaply that every one of them is: what scrubbing gives way to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// Counts by duration, in steps of a quarter octave from 1 µs on. Shared; counting takes no lock.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    counts: Arc<[AtomicU32; STEPS]>,
}

/// What was counted over some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beats {
    counts: [u32; STEPS],
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self { counts: Arc::new([const { AtomicU32::new(0) }; STEPS]) }
    }

    /// One request took this long.
    pub(crate) fn beat(&self, took: Duration) {
        if let Some(count) = self.counts.get(step(took)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted since the last time.
    pub(crate) fn take(&self) -> Beats {
        Beats { counts: self.counts.each_ref().map(|count| count.swap(0, Ordering::Relaxed)) }
    }
}

impl Default for Beats {
    fn default() -> Self {
        Self { counts: [0; STEPS] }
    }
}

impl Beats {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// Both together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut others = other.counts.iter();
        Self { counts: self.counts.map(|count| count.saturating_add(*others.next().unwrap_or(&0))) }
    }

    /// 99 of 100 took no longer than this, to a quarter octave; `None` without any.
    pub fn p99(&self) -> Option<Duration> {
        let above = self.count() / 100;
        let mut seen = 0;
        let mut longest_first = self.counts.iter().enumerate().rev();
        longest_first.find_map(|(step, count)| {
            seen += u64::from(*count);
            (seen > above).then(|| upper(step))
        })
    }
}

/// These, counted.
#[cfg(test)]
pub(crate) fn beats(durations: impl IntoIterator<Item = Duration>) -> Beats {
    let pulse = Pulse::new();
    durations.into_iter().for_each(|took| pulse.beat(took));
    pulse.take()
}

/// Durations with the same leading bit and the same two bits behind it share a step.
fn step(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let octave = micros.ilog2();
    let quarter = if octave >= 2 { (micros >> (octave - 2)) & 3 } else { (micros << (2 - octave)) & 3 };
    (octave as usize * 4 + usize::try_from(quarter).unwrap_or(0)).min(STEPS - 1)
}

/// The end of a step.
fn upper(step: usize) -> Duration {
    let (octave, quarter) = (step / 4, step as u64 % 4);
    Duration::from_micros(((1 << octave) * (5 + quarter)).div_ceil(4))
}

/// Up to about 18 minutes.
const STEPS: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    fn beats(micros: impl IntoIterator<Item = u64>) -> Beats {
        super::beats(micros.into_iter().map(Duration::from_micros))
    }

    #[test]
    fn p99_is_right_to_a_quarter_octave() {
        for micros in [1, 2, 3, 5, 7, 100, 1000, 12_345, 999_999, 60_000_000] {
            let p99 = beats([micros; 50]).p99().unwrap().as_micros();
            let exact = u128::from(micros);
            assert!(p99 >= exact && p99 <= exact + exact.div_ceil(3), "{micros}: {p99}");
        }
        assert_eq!(beats([]).p99(), None);
    }

    #[test]
    fn p99_leaves_out_one_of_a_hundred() {
        let fast = [100; 198];
        assert!(beats(fast.into_iter().chain([50_000])).p99().unwrap() < Duration::from_micros(130));
        assert!(beats(fast.into_iter().chain([50_000; 3])).p99().unwrap() >= Duration::from_millis(50));
    }

    #[test]
    fn beats_are_counted_once() {
        let pulse = Pulse::new();
        pulse.beat(Duration::from_secs(4000));
        assert_eq!(pulse.take().count(), 1);
        assert_eq!(pulse.take(), Beats::default());
        assert_eq!(beats([1, 2]).and(&beats([3])).count(), 3);
    }
}
