//! What the tests of several actors need: somebody to be started by, and metrics that can be read.

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::{
    InMemoryMetricExporter, PeriodicReader, SdkMeterProvider,
    data::{AggregatedMetrics, MetricData},
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::metrics::Metrics;

/// Starts actors and does not mind when they fall.
pub(crate) struct Parent;

impl Actor for Parent {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

impl Parent {
    pub(crate) async fn spawn() -> ActorCell {
        Actor::spawn(None, Self, ()).await.unwrap().0.get_cell()
    }
}

/// Metrics, and what they came to.
pub(crate) struct Measured {
    pub(crate) metrics: Metrics,
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

impl Measured {
    pub(crate) fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        Self { metrics: Metrics::new(&provider.meter("test")), provider, exporter }
    }

    /// A counter's or gauge's value now, all labels together; `None` when there is no such metric, or no value of it yet.
    pub(crate) fn value(&self, name: &str) -> Option<u64> {
        self.provider.force_flush().unwrap();
        let exported = self.exporter.get_finished_metrics().unwrap();
        let metrics = exported.last()?.scope_metrics().flat_map(|scope| scope.metrics());
        let data = metrics.filter(|metric| metric.name() == name).map(|metric| metric.data()).next()?;
        match data {
            AggregatedMetrics::U64(MetricData::Sum(sum)) => Some(sum.data_points().map(|p| p.value()).sum()),
            AggregatedMetrics::U64(MetricData::Gauge(gauge)) => {
                Some(gauge.data_points().map(|p| p.value()).sum())
            }
            other => panic!("{name} is neither a counter nor a gauge: {other:?}"),
        }
    }
}
