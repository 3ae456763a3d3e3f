//! Metrics: OpenTelemetry instruments, exported as Prometheus text.
//!
//! # Invariants
//! 1. Nothing is global: each node has its own provider and registry, so two run in one process.
//! 2. Names come out as `tesseras_…`, for a collector, too; the exporter for Prometheus adds the unit and `_total`.
//! 3. Which instruments there are, and the boundaries of the histograms, is the business of those who count.

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Meter, MeterProvider},
};
use opentelemetry_sdk::metrics::{Instrument, MeterProviderBuilder, SdkMeterProvider, Stream};
use prometheus::{Encoder, Registry, TextEncoder, proto::MetricFamily};

use super::{otlp::Otlp, process};
use crate::{
    failure::Failure,
    problem::{Kind, Problem},
};

/// Where a node's metrics are kept. Dropping it empties them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
    refusals: Counter<u64>,
    memory: Gauge<u64>,
}

/// What memory is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Fragments read lately.
    Cache,
    /// The map of where fragments lie.
    Locations,
    /// Requests under way.
    Requests,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Locations => "locations",
            Self::Requests => "requests",
        }
    }
}

impl Metrics {
    /// Those of the process as a whole, and nothing of the actors yet; for a collector, too, if there is one.
    pub(crate) fn new(otlp: Option<&Otlp>) -> Result<Self, Failure> {
        Self::of(SdkMeterProvider::builder(), otlp)
    }

    /// The same, for whoever has something to say on how they are kept.
    pub(super) fn of(builder: MeterProviderBuilder, otlp: Option<&Otlp>) -> Result<Self, Failure> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .scope_info_enabled(false)
            .build()
            .map_err(|error| {
                Problem::new(Kind::Internal, format!("the metrics cannot be set up: {error}"))
            })?;
        let builder = builder.with_view(prefixed).with_reader(exporter);
        let provider = match otlp {
            Some(otlp) => builder.with_resource(otlp.resource()).with_reader(otlp.reader()?).build(),
            None => builder.build(),
        };
        let meter = provider.meter(NAMESPACE);
        let build = meter.u64_gauge("build_info").with_description("1, with the version of this software.");
        build.build().record(1, &[KeyValue::new("version", VERSION)]);
        process::watch(&meter);
        if let Some(otlp) = otlp {
            otlp.watch(&meter);
        }
        let refusals = meter.u64_counter("admin_refusals").with_description(REFUSALS).build();
        // There from the start: else the first one would not be seen as an increase.
        let served = Kind::ALL.into_iter().filter(|kind| kind.is_served());
        served.for_each(|kind| refusals.add(0, &[KeyValue::new("reason", kind.word())]));
        let memory = meter.u64_gauge("memory").with_unit("By").with_description(MEMORY).build();
        Ok(Self { registry, provider, refusals, memory })
    }

    /// A request was answered with a problem of this kind.
    pub(crate) fn refused(&self, kind: Kind) {
        self.refusals.add(1, &[KeyValue::new("reason", kind.word())]);
    }

    /// So many bytes of memory are held for this.
    pub(crate) fn holds(&self, part: Part, bytes: u64) {
        self.memory.record(bytes, &[KeyValue::new("part", part.word())]);
    }

    /// What instruments are made from.
    pub(crate) fn meter(&self) -> Meter {
        self.provider.meter(NAMESPACE)
    }

    /// The metrics as Prometheus reads them.
    pub(crate) fn text(&self) -> Result<String, Problem> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).map_err(|error| {
            Problem::new(Kind::Internal, format!("the metrics cannot be written: {error}"))
        })?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// What is counted at this moment, for whoever reads it here and not as text.
    pub(crate) fn families(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// Flushes and stops the readers. Blocks.
    pub(crate) fn shutdown(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::debug!(%error, "the metrics did not stop cleanly");
        }
    }
}

/// Everybody sees the same names: a collector, too.
fn prefixed(instrument: &Instrument) -> Option<Stream> {
    Stream::builder().with_name(format!("{NAMESPACE}_{}", instrument.name())).build().ok()
}

const NAMESPACE: &str = "tesseras";
const REFUSALS: &str = "Requests answered with a problem document, by the last word of its type.";
const MEMORY: &str =
    "Memory of performance.memory_budget_mb that is taken, by what holds it: the rest is in the process.";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The media type of [`Metrics::text`].
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_carry_prefix_unit_and_total() {
        let metrics = Metrics::new(None).unwrap();
        metrics.meter().u64_counter("storage_syncs").build().add(3, &[]);
        metrics.meter().f64_histogram("storage_put_duration").with_unit("s").build().record(3.0, &[]);
        let text = metrics.text().unwrap();
        assert!(text.contains("tesseras_storage_syncs_total 3"), "{text}");
        assert!(text.contains("tesseras_storage_put_duration_seconds_sum 3"), "{text}");
        assert!(text.contains(&format!(r#"tesseras_build_info{{version="{VERSION}"}} 1"#)), "{text}");
        assert!(!text.contains("otel_scope"), "{text}");
    }

    #[test]
    fn two_nodes_in_one_process_count_apart() {
        let (one, two) = (Metrics::new(None).unwrap(), Metrics::new(None).unwrap());
        one.meter().u64_counter("storage_syncs").build().add(1, &[]);
        assert!(!two.text().unwrap().contains("storage_syncs"));
    }
}
