//! `/metrics`, in the text format of OpenMetrics; and what the intake counts: every request by what became of it.
//! Refused ones are sampled in the log, never stored.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, web};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::Health;
use super::read;
use super::refusals::Refusals;
use crate::customer::StatusStreams;
use crate::lookback::endpoint_check::Findings;
use crate::outage::{self, Outage};
use crate::queue::{Exposition, Histogram, QueueError};
use crate::verdict::{PAID_WITHOUT_PASS, Verdict, WAITING_TOO_LONG};

/// What became of a webhook request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    Accepted,
    Duplicate,
    Ignored,
    MissingSignature,
    MalformedSignature,
    InvalidSignature,
    StaleTimestamp,
    MalformedEvent,
    UnknownTenant,
    TooLarge,
    TooSlow,
    Unreadable,
    Unavailable,
}

impl Received {
    /// Why it was not accepted, for the log.
    fn why(self, is_tenants: bool) -> &'static str {
        match self {
            Self::Accepted | Self::Duplicate | Self::Ignored => "accepted",
            Self::MissingSignature => "no Stripe-Signature header",
            Self::MalformedSignature => "the Stripe-Signature header cannot be read",
            Self::InvalidSignature if is_tenants => "signature does not match the tenant's webhookSecrets",
            Self::InvalidSignature => "signature does not match STRIPE_WEBHOOK_SECRET",
            Self::StaleTimestamp => "signature is too old, or this machine's clock is wrong",
            Self::MalformedEvent => "the body is not an event",
            Self::UnknownTenant => "no tenant has the slug in its path",
            Self::TooLarge => "the body is larger than server.max_body_bytes",
            Self::TooSlow => "the body did not arrive in time",
            Self::Unreadable => "the body ended early",
            Self::Unavailable => "Redis is not accepting jobs",
        }
    }
}

const NAMES: [&str; 13] = [
    "accepted",
    "duplicate",
    "ignored",
    "missing_signature",
    "malformed_signature",
    "invalid_signature",
    "stale_timestamp",
    "malformed_event",
    "unknown_tenant",
    "body_too_large",
    "body_timeout",
    "unreadable_body",
    "unavailable",
];

/// How often a reason is told in the log, at most.
const BETWEEN_SAMPLES: Duration = Duration::from_secs(10);

/// How long a scrape waits for the verdict.
const PATIENCE: Duration = Duration::from_millis(800);

/// Counts of webhook requests, and when each reason was last told.
#[derive(Debug)]
pub struct IntakeMetrics {
    counts: [AtomicU64; NAMES.len()],
    durations: Histogram,
    told: Mutex<[Option<Instant>; NAMES.len()]>,
    refusals: Arc<Refusals>,
    outage: Outage,
    /// How many had been answered with 503 when the last outage was over.
    refused_before: AtomicU64,
}

impl IntakeMetrics {
    pub(super) fn new(refusals: Arc<Refusals>) -> Self {
        Self {
            counts: Default::default(),
            durations: Histogram::default(),
            told: Mutex::default(),
            refusals,
            outage: Outage::default(),
            refused_before: AtomicU64::new(0),
        }
    }

    /// Remembers a refusal for `surepass doctor`. `tenant`: the slug of the path.
    pub(super) fn refused(&self, received: Received, tenant: Option<&str>) {
        match received {
            Received::Accepted | Received::Duplicate | Received::Ignored | Received::Unavailable => {}
            // A slug that a stranger made up.
            Received::UnknownTenant | Received::TooLarge | Received::TooSlow | Received::Unreadable => {
                self.refusals.count(NAMES[received as usize], None);
            }
            _ => self.refusals.count(NAMES[received as usize], tenant),
        }
    }

    pub(super) fn count(&self, received: Received, tenant: Option<&str>) {
        let which = received as usize;
        let total = self.counts[which].fetch_add(1, Ordering::Relaxed) + 1;
        let good = matches!(
            received,
            Received::Accepted | Received::Duplicate | Received::Ignored
        );
        if !good && self.may_tell(which) {
            let why = received.why(tenant.is_some());
            tracing::warn!(
                reason = NAMES[which],
                total,
                "webhook rejected: {why}; run `surepass doctor`"
            );
        }
    }

    pub(super) fn took(&self, time: Duration) {
        self.durations.observe(time);
    }

    /// Redis has taken a batch. Costs a look at a flag, unless it was away before.
    pub(super) fn redis_answered(&self) {
        if let Some(away) = self.outage.answered() {
            let all = self.counts[Received::Unavailable as usize].load(Ordering::Relaxed);
            let refused = all - self.refused_before.swap(all, Ordering::Relaxed);
            tracing::info!(
                away_ms = outage::millis(away),
                refused,
                "Redis is back: webhooks are accepted again; Stripe resends the rejected ones"
            );
        }
    }

    pub(super) fn redis_failed(&self, error: &QueueError) {
        // Told apart from the refusals that follow from it: this is the cause.
        if let Some(away) = self.outage.failed() {
            tracing::error!(
                %error,
                away_ms = outage::millis(away),
                "Redis is not accepting jobs: webhooks get 503 until it does"
            );
        }
    }

    fn may_tell(&self, which: usize) -> bool {
        let Ok(mut told) = self.told.try_lock() else {
            return false;
        };
        let due = told[which].is_none_or(|at| at.elapsed() > BETWEEN_SAMPLES);
        if due {
            told[which] = Some(Instant::now());
        }
        due
    }
}

impl Collector for IntakeMetrics {
    fn encode(&self, mut page: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Webhook requests, by what became of them";
        let mut metric = page.encode_descriptor("surepass_webhooks", help, None, MetricType::Counter)?;
        for (name, count) in NAMES.iter().zip(&self.counts) {
            let count = count.load(Ordering::Relaxed);
            metric
                .encode_family(&[("result", *name)])?
                .encode_counter::<NoLabelSet, u64, f64>(&count, None)?;
        }
        let help = "From a webhook's body to its answer";
        let name = "surepass_webhook_duration";
        let mut metric = page.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        self.durations.encode(&mut metric)
    }
}

/// What `/metrics` tells of.
#[derive(Debug, Clone)]
pub struct MetricsPage {
    queues: Exposition,
    intake: Option<Arc<IntakeMetrics>>,
    audit: Option<Findings>,
    streams: Option<StatusStreams>,
    health: Option<Health>,
}

impl MetricsPage {
    /// Tells of these queues and, in a server, of its intake.
    #[must_use]
    pub fn new(queues: Exposition, intake: Option<Arc<IntakeMetrics>>) -> Self {
        Self {
            queues,
            intake,
            audit: None,
            streams: None,
            health: None,
        }
    }

    /// Tells of the webhook endpoints' audits, too.
    #[must_use]
    pub fn with(mut self, audit: Findings) -> Self {
        self.audit = Some(audit);
        self
    }

    /// Tells how many streams are open, too.
    #[must_use]
    pub fn with_streams(mut self, streams: StatusStreams) -> Self {
        self.streams = Some(streams);
        self
    }

    /// Tells how many customers have paid and wait, too.
    #[must_use]
    pub fn with_health(mut self, health: Health) -> Self {
        self.health = Some(health);
        self
    }

    async fn text(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.queues.read().await));
        if let Some(intake) = &self.intake {
            registry.register_collector(Box::new(intake.clone()));
        }
        if let Some(audit) = &self.audit {
            registry.register_collector(Box::new(audit.clone()));
        }
        if let Some(streams) = &self.streams {
            registry.register_collector(Box::new(Streams(streams.clone())));
        }
        if let Some(health) = &self.health
            && let Ok(seen) = tokio::time::timeout(PATIENCE, health.seen()).await
        {
            registry.register_collector(Box::new(Unserved(seen.verdict)));
        }
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

#[derive(Debug)]
struct Streams(StatusStreams);

impl Collector for Streams {
    fn encode(&self, mut page: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Purchases that customers follow by a stream at present";
        let open = u32::try_from(self.0.open()).unwrap_or(u32::MAX);
        page.encode_descriptor("surepass_streams_open", help, None, MetricType::Gauge)?
            .encode_gauge(&open)
    }
}

#[derive(Debug)]
struct Unserved(Arc<Verdict>);

impl Collector for Unserved {
    fn encode(&self, mut page: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Paid purchases without a pass, and those that have waited for over 60 s";
        let mut metric =
            page.encode_descriptor("surepass_purchases_unserved", help, None, MetricType::Gauge)?;
        for problem in [PAID_WITHOUT_PASS, WAITING_TOO_LONG] {
            // Where it is not known there is no sample.
            if let Some(count) = self.0.count(problem) {
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                metric
                    .encode_family(&[("problem", problem)])?
                    .encode_gauge(&count)?;
            }
        }
        Ok(())
    }
}

/// `/metrics`, for the server and for a worker.
pub fn routes(config: &mut web::ServiceConfig) {
    config.route("/metrics", read().to(show));
}

async fn show(page: web::Data<MetricsPage>) -> HttpResponse {
    match page.text().await {
        Ok(text) => HttpResponse::Ok()
            .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
            .insert_header((CACHE_CONTROL, "no-store"))
            .body(text),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}
