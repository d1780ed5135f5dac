//! Spans to a collector, by OTLP over HTTP. A thread of its own sends them; what it cannot keep up with is dropped.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::{Layer, Registry};
use url::Url;

use super::trace::TraceParent;
use crate::http_client::{blocking_http, innermost};
use crate::outage::{Outage, millis};
use crate::tls::{self, TrustError};

/// How long the end of the process waits for the last spans.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// The variables of OpenTelemetry that switch the export on.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];

const TIMEOUTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// There is no way to such an address.
    #[error("it must begin with http:// or https://")]
    NotHttp,
    /// It needs TLS.
    #[error("it needs TLS, but {0}")]
    Trust(#[from] TrustError),
    /// The system lets no HTTP client be made.
    #[error("no HTTP client can be set up: {0}")]
    Client(#[from] reqwest::Error),
    /// The exporter refuses it.
    #[error(transparent)]
    Exporter(#[from] ExporterBuildError),
}

/// Sends spans, and logs why it cannot: the exporter itself names no cause.
#[derive(Debug)]
struct Sender {
    http: reqwest::blocking::Client,
    outage: Outage,
}

#[async_trait::async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.http.send_bytes(request).await;
        match &sent {
            Ok(_) => {
                if let Some(away) = self.outage.answered() {
                    tracing::info!(away_ms = millis(away), "the collector takes spans again");
                }
            }
            Err(error) => {
                if let Some(away) = self.outage.failed() {
                    let (error, away_ms) = (innermost(error.as_ref()), millis(away));
                    tracing::warn!(
                        error,
                        away_ms,
                        "OTEL_EXPORTER_OTLP_ENDPOINT: the collector takes no spans, and they are lost"
                    );
                }
            }
        }
        sent
    }
}

/// The export of spans.
#[derive(Debug)]
pub(super) struct Spans(SdkTracerProvider);

impl Drop for Spans {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_SPANS) {
            tracing::warn!(%error, "the last spans did not reach the collector");
        }
    }
}

pub(super) type Exporting = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts the export, where the environment names a collector. The sampler, the size of batches and the rest are
/// OpenTelemetry's own variables (`OTEL_TRACES_SAMPLER`, `OTEL_BSP_…`).
pub(super) fn start(program: &'static str) -> Result<Option<(Spans, Exporting)>, CollectorError> {
    let named = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let endpoints: Vec<String> = ENDPOINTS.into_iter().filter_map(named).collect();
    let disabled = named("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if endpoints.is_empty() || disabled {
        return Ok(None);
    }
    for endpoint in &endpoints {
        let url = Url::parse(endpoint).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
        tls::check_for(&url.ok_or(CollectorError::NotHttp)?)?;
    }
    // The exporter's own client would trust what the system does.
    let http = blocking_http().timeout(longest_export()).build()?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Sender {
            http,
            outage: Outage::default(),
        })
        .build()?;
    let resource = match named("OTEL_SERVICE_NAME") {
        Some(_) => Resource::builder(),
        None => Resource::builder().with_service_name(program),
    };
    let provider = SdkTracerProvider::builder()
        .with_resource(resource.build())
        .with_batch_exporter(exporter)
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("surepass"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(FilterFn::new(is_ours).with_max_level_hint(tracing::Level::DEBUG));
    Ok(Some((Spans(provider), layer.boxed())))
}

/// How long one export may take, by the variables for it: milliseconds, 10 s unless they are set.
fn longest_export() -> Duration {
    let set = TIMEOUTS
        .iter()
        .find_map(|name| std::env::var(name).ok()?.parse().ok());
    Duration::from_millis(set.unwrap_or(10_000))
}

/// Our own spans, and none of the log's lines: what an error says may be for the operator's eyes only.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_span()
        && metadata.target().starts_with("surepass")
        && *metadata.level() <= tracing::Level::DEBUG
}

pub(super) fn failed(span: &Span, code: &str) {
    span.set_status(Status::error(code.to_owned()));
}

/// Makes `parent` the parent of `span`, if there is one, and answers how the span is known to a collector; `None` where
/// it is not exported.
pub(super) fn exported(span: &Span, parent: Option<TraceParent>) -> Option<TraceParent> {
    if span.is_disabled() {
        return None;
    }
    if let Some(parent) = parent {
        let parent = SpanContext::new(
            TraceId::from_bytes(parent.trace.to_be_bytes()),
            SpanId::from_bytes(parent.span.to_be_bytes()),
            TraceFlags::new(parent.flags),
            true,
            TraceState::default(),
        );
        span.set_parent(Context::new().with_remote_span_context(parent))
            .ok()?;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| TraceParent {
        trace: u128::from_be_bytes(context.trace_id().to_bytes()),
        span: u64::from_be_bytes(context.span_id().to_bytes()),
        flags: context.trace_flags().to_u8(),
    })
}
