//! What the intake counts: every request by what became of it. Refused ones are sampled in the log, never stored.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix_web::{HttpResponse, web};

use crate::queue::QueueError;

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
    Unreadable,
    Unavailable,
}

const NAMES: [&str; 12] = [
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
    "unreadable_body",
    "unavailable",
];

/// How often a reason is told in the log, at most.
const BETWEEN_SAMPLES: Duration = Duration::from_secs(10);

/// Counts of webhook requests, and when each reason was last told.
#[derive(Debug, Default)]
pub struct IntakeMetrics {
    counts: [AtomicU64; NAMES.len()],
    told: Mutex<[Option<Instant>; NAMES.len()]>,
}

impl IntakeMetrics {
    pub(super) fn count(&self, received: Received, tenant: Option<&str>) {
        let which = received as usize;
        let total = self.counts[which].fetch_add(1, Ordering::Relaxed) + 1;
        let good = matches!(
            received,
            Received::Accepted | Received::Duplicate | Received::Ignored
        );
        if !good && self.may_tell(which) {
            let endpoint = if tenant.is_some() {
                "a tenant's"
            } else {
                "the platform's"
            };
            tracing::warn!(
                reason = NAMES[which],
                total,
                endpoint,
                "webhook refused (a sample)"
            );
        }
    }

    pub(super) fn redis_failed(&self, error: &QueueError) {
        // Told apart from the refusals that follow from it: this is the cause.
        if self.may_tell(Received::Accepted as usize) {
            tracing::error!(%error, "Redis takes no jobs: webhooks are answered with 503 until it does");
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

    fn text(&self) -> String {
        let mut text = String::from(
            "# HELP surepass_webhooks_total Webhook requests, by what became of them.\n\
             # TYPE surepass_webhooks_total counter\n",
        );
        for (name, count) in NAMES.iter().zip(&self.counts) {
            let count = count.load(Ordering::Relaxed);
            let _ = writeln!(text, "surepass_webhooks_total{{result=\"{name}\"}} {count}");
        }
        text
    }
}

/// `GET /metrics`
pub(super) async fn show(metrics: web::Data<IntakeMetrics>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4")
        .body(metrics.text())
}
