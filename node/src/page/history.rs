//! The last hour in numbers: what the counters said from time to time, in memory and bounded.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use prometheus::proto::{Metric, MetricFamily};

/// What was counted since the start, at one moment. Numbers are as Prometheus has them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counts {
    /// Bytes written to segments.
    written: f64,
    /// Bytes read from segments because somebody asked for them.
    read: f64,
    /// Fragments that the cache held.
    hits: f64,
    /// Fragments that it did not.
    misses: f64,
    /// Bytes read back and checked.
    verified: f64,
}

/// Samples of the last hour.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    samples: VecDeque<(Instant, Counts)>,
}

/// What happened between two samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// How long ago that was, in seconds.
    pub(super) age_secs: f64,
    /// `None` where there was nothing to measure.
    pub(super) value: Option<f64>,
}

/// A question to the last hour: two samples and the minutes between them, to a value.
pub(super) type Measure = fn(&Counts, &Counts, f64) -> Option<f64>;

impl Counts {
    /// Of all metrics that there are.
    pub(super) fn of(families: &[MetricFamily]) -> Self {
        let sum = |name: &str, is_meant: fn(&Metric) -> bool| {
            let family = families.iter().find(|family| family.name() == name);
            let metrics = family.map(MetricFamily::get_metric).unwrap_or_default().iter();
            metrics.filter(|metric| is_meant(metric)).map(|metric| metric.get_counter().get_value()).sum()
        };
        Self {
            written: sum("tesseras_storage_written_bytes_total", |metric| has(metric, "file", "segment")),
            read: sum("tesseras_blob_read_bytes_total", |metric| has(metric, "reason", "get")),
            hits: sum("tesseras_fragment_cache_hits_total", |_| true),
            misses: sum("tesseras_fragment_cache_misses_total", |_| true),
            verified: sum("tesseras_scrub_bytes_total", |_| true),
        }
    }
}

impl History {
    /// Adds a sample, and lets go of what is older than the last hour.
    pub(super) fn push(&mut self, at: Instant, counts: Counts) {
        self.samples.push_back((at, counts));
        let is_old = |sample: &(Instant, Counts)| at.duration_since(sample.0) > SPAN;
        while self.samples.len() > SAMPLES_MAX || self.samples.front().is_some_and(is_old) {
            self.samples.pop_front();
        }
    }

    /// A value for the time between each two samples, the oldest first.
    pub(super) fn points(&self, now: Instant, measure: Measure) -> Vec<Point> {
        let later = self.samples.iter().skip(1);
        let between = self.samples.iter().zip(later).map(|((from, before), (to, after))| {
            let minutes = to.duration_since(*from).as_secs_f64() / 60.0;
            let value = (minutes > 0.0).then(|| measure(before, after, minutes)).flatten();
            Point { age_secs: now.duration_since(*to).as_secs_f64(), value }
        });
        between.collect()
    }

    /// One value for all of the last hour.
    pub(super) fn overall(&self, measure: Measure) -> Option<f64> {
        let ((from, before), (to, after)) = (self.samples.front()?, self.samples.back()?);
        measure(before, after, to.duration_since(*from).as_secs_f64() / 60.0)
    }
}

/// Bytes written to segments, a minute.
pub(super) fn written(before: &Counts, after: &Counts, minutes: f64) -> Option<f64> {
    Some((after.written - before.written) / minutes)
}

/// Bytes read from segments because somebody asked for them, a minute.
pub(super) fn read(before: &Counts, after: &Counts, minutes: f64) -> Option<f64> {
    Some((after.read - before.read) / minutes)
}

/// Bytes read back and checked, a minute.
pub(super) fn verified(before: &Counts, after: &Counts, minutes: f64) -> Option<f64> {
    Some((after.verified - before.verified) / minutes)
}

/// The part of all gets that the cache answered, from 0 to 1.
pub(super) fn hit_share(before: &Counts, after: &Counts, _: f64) -> Option<f64> {
    let (hits, misses) = (after.hits - before.hits, after.misses - before.misses);
    (hits + misses > 0.0).then(|| hits / (hits + misses))
}

fn has(metric: &Metric, label: &str, value: &str) -> bool {
    metric.get_label().iter().any(|one| one.name() == label && one.value() == value)
}

/// A sample is taken this often.
pub(super) const SAMPLE_INTERVAL: Duration = Duration::from_secs(30);
/// What the plots show.
pub(super) const SPAN: Duration = Duration::from_secs(3600);
/// Some 50 bytes each.
const SAMPLES_MAX: usize = 121;
const _: () = assert!(SAMPLE_INTERVAL.as_secs() * (SAMPLES_MAX as u64 - 1) == SPAN.as_secs());

#[cfg(test)]
mod tests {
    use actors::FragmentStore;
    use actors::{Metrics as Instruments, System, SystemConfig};
    use config::StorageConfig;
    use proto::{AccountId, Fragment, FragmentId, NodeKey, TesseraId};

    use super::*;
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn history_holds_an_hour_and_no_more() {
        let (mut history, start) = (History::default(), Instant::now());
        for number in 0..1000 {
            let counts = Counts { written: f64::from(number) * 10.0, ..Counts::default() };
            history.push(start + SAMPLE_INTERVAL * number, counts);
        }
        let now = start + SAMPLE_INTERVAL * 999;
        let points = history.points(now, written);
        assert_eq!(points.len(), SAMPLES_MAX - 1);
        assert!(points.iter().all(|point| point.value == Some(20.0)), "10 in half a minute");
        assert_eq!((points[0].age_secs, points[119].age_secs), (3570.0, 0.0));
        // A machine that slept: what was before is long ago.
        history.push(now + SPAN * 2, Counts::default());
        assert_eq!(history.points(now + SPAN * 2, written), []);
    }

    #[test]
    fn samples_that_come_thick_are_bounded_too() {
        let (mut history, start) = (History::default(), Instant::now());
        for number in 0..1000 {
            history.push(start + Duration::from_millis(number), Counts::default());
        }
        assert_eq!(history.points(Instant::now(), written).len(), SAMPLES_MAX - 1);
        history.push(start, Counts::default());
        assert!(history.points(start, written).iter().all(|point| point.value.is_none_or(f64::is_finite)));
    }

    #[test]
    fn share_of_hits_is_unknown_where_nobody_asked() {
        let asked = |hits, misses| Counts { hits, misses, ..Counts::default() };
        assert_eq!(hit_share(&asked(3.0, 1.0), &asked(3.0, 1.0), 1.0), None);
        assert_eq!(hit_share(&asked(3.0, 1.0), &asked(6.0, 2.0), 1.0), Some(0.75));
    }

    #[tokio::test]
    async fn counts_are_those_of_a_node_at_work() {
        let (dir, metrics) = (tempfile::tempdir().unwrap(), Metrics::new(None).unwrap());
        let storage = StorageConfig::with_defaults(dir.path());
        let mut config = SystemConfig::new(storage, NodeKey::from_seed([1; 32]));
        config.metrics = Instruments::new(&metrics.meter());
        let system = System::start(config).await.unwrap();
        assert_eq!(Counts::of(&metrics.families()).hits, 0.0);
        let id = FragmentId { tessera: TesseraId::from_bytes([1; 32]), stripe: 0, index: 0 };
        let fragment = Fragment::hash(bytes::Bytes::from_static(b"we went to the sea")).unwrap();
        system.cache.put(AccountId::LOCAL, id, fragment).await.unwrap();
        for _ in 0..3 {
            system.cache.get(id).await.unwrap();
        }
        system.scrub.start().await.unwrap();
        let counts = async {
            loop {
                let counts = Counts::of(&metrics.families());
                if counts.verified > 0.0 {
                    return counts;
                }
                tokio::task::yield_now().await;
            }
        };
        let counts = tokio::time::timeout(Duration::from_secs(60), counts).await.unwrap();
        assert!(counts.written > 18.0, "{counts:?}");
        assert_eq!((counts.misses, counts.hits), (1.0, 2.0));
        assert_eq!(counts.read, 18.0, "once: then the cache had it");
        system.drain().await;
    }
}
