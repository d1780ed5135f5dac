//! `/metrics`, in the text format of OpenMetrics; and what the intake counts: every request by what became of it.
//! Refused ones are sampled in the log, never stored.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, web};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Health;
use super::read;
use super::refusals::Refusals;
use crate::customer::StatusStreams;
use crate::lookback::endpoint_check::Findings;
use crate::outage::{self, Outage};
use crate::queue::{Exposition, QueueError, duration_histogram};
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

/// How often a reason is logged, at most.
const BETWEEN_SAMPLES: Duration = Duration::from_secs(10);

/// How long a scrape waits for the verdict.
const PATIENCE: Duration = Duration::from_millis(800);

type ByLabel<M> = Family<[(&'static str, &'static str); 1], M>;

/// Counts of webhook requests, and when each reason was last logged.
#[derive(Debug)]
pub struct IntakeMetrics {
    counts: [Counter; NAMES.len()],
    results: ByLabel<Counter>,
    durations: Histogram,
    logged: Mutex<[Option<Instant>; NAMES.len()]>,
    refusals: Arc<Refusals>,
    outage: Outage,
    /// How many had been answered with 503 when the last outage was over.
    refused_before: AtomicU64,
}

impl IntakeMetrics {
    pub(super) fn new(refusals: Arc<Refusals>) -> Self {
        let results = ByLabel::<Counter>::default();
        Self {
            counts: NAMES.map(|name| results.get_or_create_owned(&[("result", name)])),
            results,
            durations: duration_histogram(),
            logged: Mutex::default(),
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
        let total = self.counts[which].inc() + 1;
        let good = matches!(
            received,
            Received::Accepted | Received::Duplicate | Received::Ignored
        );
        if !good && self.may_log(which) {
            let why = received.why(tenant.is_some());
            tracing::warn!(
                reason = NAMES[which],
                total,
                "webhook rejected: {why}; run `surepass doctor`"
            );
        }
    }

    pub(super) fn took(&self, time: Duration) {
        self.durations.observe(time.as_secs_f64());
    }

    /// Redis has taken a batch. Costs a look at a flag, unless it was away before.
    pub(super) fn redis_answered(&self) {
        if let Some(away) = self.outage.answered() {
            let all = self.counts[Received::Unavailable as usize].get();
            let refused = all - self.refused_before.swap(all, Ordering::Relaxed);
            tracing::info!(
                away_ms = outage::millis(away),
                refused,
                "Redis is back: webhooks are accepted again; Stripe resends the rejected ones"
            );
        }
    }

    pub(super) fn redis_failed(&self, error: &QueueError) {
        // The cause of the 503s, so it is logged even beside samples of them.
        if let Some(away) = self.outage.failed() {
            tracing::error!(
                %error,
                away_ms = outage::millis(away),
                "Redis is not accepting jobs: webhooks get 503 until it does"
            );
        }
    }

    fn may_log(&self, which: usize) -> bool {
        let Ok(mut logged) = self.logged.try_lock() else {
            return false;
        };
        let due = logged[which].is_none_or(|at| at.elapsed() > BETWEEN_SAMPLES);
        if due {
            logged[which] = Some(Instant::now());
        }
        due
    }

    fn register(&self, registry: &mut Registry) {
        let help = "Webhook requests, by what became of them";
        registry.register("surepass_webhooks", help, self.results.clone());
        registry.register_with_unit(
            "surepass_webhook_duration",
            "From a webhook's body to its answer",
            Unit::Seconds,
            self.durations.clone(),
        );
    }
}

/// What `/metrics` shows.
#[derive(Debug, Clone)]
pub struct MetricsPage {
    queues: Exposition,
    intake: Option<Arc<IntakeMetrics>>,
    endpoints: Option<Findings>,
    streams: Option<StatusStreams>,
    health: Option<Health>,
}

impl MetricsPage {
    /// Shows these queues and, in a server, its intake.
    #[must_use]
    pub fn new(queues: Exposition, intake: Option<Arc<IntakeMetrics>>) -> Self {
        Self {
            queues,
            intake,
            endpoints: None,
            streams: None,
            health: None,
        }
    }

    /// Shows the checks of the webhook endpoints, too.
    #[must_use]
    pub fn with(mut self, endpoints: Findings) -> Self {
        self.endpoints = Some(endpoints);
        self
    }

    /// Shows how many streams are open, too.
    #[must_use]
    pub fn with_streams(mut self, streams: StatusStreams) -> Self {
        self.streams = Some(streams);
        self
    }

    /// Shows how many customers have paid and wait, too.
    #[must_use]
    pub fn with_health(mut self, health: Health) -> Self {
        self.health = Some(health);
        self
    }

    async fn text(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        self.queues.register(&mut registry).await;
        if let Some(intake) = &self.intake {
            intake.register(&mut registry);
        }
        if let Some(endpoints) = &self.endpoints {
            endpoints.register(&mut registry);
        }
        if let Some(streams) = &self.streams {
            let open = i64::try_from(streams.open()).unwrap_or(i64::MAX);
            let help = "Purchases that customers follow by a stream at present";
            registry.register("surepass_streams_open", help, ConstGauge::new(open));
        }
        if let Some(health) = &self.health
            && let Ok(seen) = tokio::time::timeout(PATIENCE, health.seen()).await
        {
            register_unserved(&mut registry, &seen.verdict);
        }
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

fn register_unserved(registry: &mut Registry, verdict: &Verdict) {
    let unserved = ByLabel::<Gauge>::default();
    for problem in [PAID_WITHOUT_PASS, WAITING_TOO_LONG] {
        // Where it is not known there is no sample.
        if let Some(count) = verdict.count(problem) {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            unserved.get_or_create(&[("problem", problem)]).set(count);
        }
    }
    let help = "Paid purchases without a pass, and those that have waited for over 60 s";
    registry.register("surepass_purchases_unserved", help, unserved);
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
