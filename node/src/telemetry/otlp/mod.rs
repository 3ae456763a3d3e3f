//! Metrics, traces and logs for a collector, by OTLP over HTTP. Only where one is configured.
//!
//! # Invariants
//! 1. The node does not depend on the collector: whoever records something never waits for it. Threads of the SDK send.
//! 2. What waits to be sent is bounded; what has no room, or is not taken in time, is dropped and counted.
//! 3. A collector that is away is said once, and again only after a while; nothing that sending does is sent.
//! 4. Without a collector there are no spans at all: nothing is measured that nobody asked for.

mod exporters;
mod line;
mod queues;

use std::{sync::Arc, thread, time::Duration};

use config::{Collector, ObservabilityConfig};
use opentelemetry::{KeyValue, metrics::Meter, trace::TracerProvider};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::{
    Resource,
    logs::{BatchConfigBuilder as LogBatches, BatchLogProcessor, SdkLoggerProvider},
    metrics::PeriodicReader,
    trace::{BatchConfigBuilder as SpanBatches, BatchSpanProcessor, Sampler, SdkTracerProvider, Tracer},
};
use tracing::Subscriber;
use tracing_subscriber::{Layer, registry::LookupSpan};

use crate::{failure::Failure, problem::Kind};
use exporters::Watched;
use line::{Line, Signal};
use queues::Queue;

/// What sends to a collector. Copies are of the same.
#[derive(Debug, Clone)]
pub(crate) struct Otlp {
    spans: SdkTracerProvider,
    logs: SdkLoggerProvider,
    line: Arc<Line>,
    client: reqwest::blocking::Client,
    resource: Resource,
    collector: Collector,
}

impl Otlp {
    /// Starts the threads that send, if a collector is configured. Nothing is sent yet, so whether there is one shows
    /// later.
    pub(crate) fn start(config: &ObservabilityConfig) -> Result<Option<Self>, Failure> {
        let Some(collector) = config.otlp_endpoint.clone() else { return Ok(None) };
        let ratio = config.otlp_trace_ratio;
        // The client that blocks may not be made by a thread that must not block.
        let started = thread::Builder::new()
            .spawn(move || Self::connect(collector, ratio))
            .map(thread::JoinHandle::join);
        match started {
            Ok(Ok(Ok(otlp))) => Ok(Some(otlp)),
            Ok(Ok(Err(reason))) => Err(failed(&reason)),
            Ok(Err(_)) => Err(failed("it fell")),
            Err(error) => Err(failed(&error.to_string())),
        }
    }

    fn connect(collector: Collector, ratio: f64) -> Result<Self, String> {
        let client = reqwest::blocking::Client::builder()
            .timeout(PATIENCE)
            // What is sent speaks of this machine: it goes where it was told to, and nowhere else.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| error.to_string())?;
        let line = Arc::new(Line::new(collector.as_str()));
        let resource = resource();
        let exporter = SpanExporter::builder().with_http();
        let exporter = to(exporter, &client, &collector, Signal::Traces).build().map_err(wrong)?;
        let exporter = Watched::new(exporter, Arc::clone(&line));
        let batches = SpanBatches::default()
            .with_max_queue_size(line::QUEUED_MAX)
            .with_max_export_batch_size(BATCH_MAX);
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches.build()).build();
        let spans = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
            .with_resource(resource.clone())
            .with_span_processor(Queue::new(processor, Arc::clone(&line)))
            .build();
        let exporter = LogExporter::builder().with_http();
        let exporter = to(exporter, &client, &collector, Signal::Logs).build().map_err(wrong)?;
        let exporter = Watched::new(exporter, Arc::clone(&line));
        let batches =
            LogBatches::default().with_max_queue_size(line::QUEUED_MAX).with_max_export_batch_size(BATCH_MAX);
        let processor = BatchLogProcessor::builder(exporter).with_batch_config(batches.build()).build();
        let logs = SdkLoggerProvider::builder()
            .with_resource(resource.clone())
            .with_log_processor(Queue::new(processor, Arc::clone(&line)))
            .build();
        Ok(Self { spans, logs, line, client, resource, collector })
    }

    /// What sends metrics from time to time.
    pub(super) fn reader(
        &self,
    ) -> Result<PeriodicReader<impl opentelemetry_sdk::metrics::exporter::PushMetricExporter + use<>>, Failure>
    {
        let exporter = MetricExporter::builder().with_http();
        let exporter = to(exporter, &self.client, &self.collector, Signal::Metrics).build();
        let exporter = exporter.map_err(|error| failed(&wrong(error)))?;
        Ok(PeriodicReader::builder(Watched::new(exporter, Arc::clone(&self.line)))
            .with_interval(METRICS_INTERVAL)
            .build())
    }

    /// Who sends.
    pub(super) fn resource(&self) -> Resource {
        self.resource.clone()
    }

    /// Counts what is dropped.
    pub(super) fn watch(&self, meter: &Meter) {
        let line = Arc::clone(&self.line);
        meter
            .u64_observable_counter("telemetry_dropped")
            .with_description(
                "Spans, lines of the log, and readings of all metrics, that the collector did not take.",
            )
            .with_callback(move |seen| {
                for signal in Signal::ALL {
                    seen.observe(line.dropped(signal), &[KeyValue::new("signal", signal.word())]);
                }
            })
            .build();
    }

    /// Sends what is traced. Events are not: the log is sent anyway.
    pub(super) fn spans<S: Subscriber + for<'s> LookupSpan<'s>>(&self) -> impl Layer<S> + use<S> {
        tracing_opentelemetry::layer::<S>()
            .with_tracer::<Tracer>(self.spans.tracer(SERVICE))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_level(false)
            .with_target(false)
    }

    /// Sends what is logged.
    pub(super) fn logs<S: Subscriber + for<'s> LookupSpan<'s>>(&self) -> impl Layer<S> + use<S> {
        OpenTelemetryTracingBridge::new(&self.logs)
    }

    /// Sends what is left, for as long as the collector has patience. Blocks.
    pub(super) fn shutdown(&self) {
        for outcome in [self.spans.shutdown_with_timeout(PATIENCE), self.logs.shutdown_with_timeout(PATIENCE)]
        {
            if let Err(error) = outcome {
                tracing::debug!(%error, "what was left for the collector could not be sent");
            }
        }
    }
}

/// How often metrics are sent. The gauges should be brought up to date as often.
pub(crate) const METRICS_INTERVAL: Duration = Duration::from_secs(60);

fn to<B>(builder: B, client: &reqwest::blocking::Client, collector: &Collector, signal: Signal) -> B
where
    B: WithHttpConfig + WithExportConfig,
{
    builder
        .with_http_client(client.clone())
        .with_timeout(PATIENCE)
        .with_endpoint(collector.address_for(signal.word()))
}

fn resource() -> Resource {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    Resource::builder()
        .with_service_name(SERVICE)
        .with_attributes([version, KeyValue::new("host.name", host)])
        .build()
}

fn wrong(error: ExporterBuildError) -> String {
    error.to_string()
}

fn failed(reason: &str) -> Failure {
    Failure::new(
        Kind::Internal,
        format!("what sends to observability.otlp_endpoint could not be started: {reason}"),
    )
}

const SERVICE: &str = "tesseras";
/// How long the collector may take for one batch.
const PATIENCE: Duration = Duration::from_secs(5);
/// Spans, or lines of the log, sent at a time.
const BATCH_MAX: usize = 512;
