//! Runs the endpoint check at a worker's start and by schedule, once for all workers. Reports it in logs and
//! on `/metrics`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};
use tokio_util::sync::CancellationToken;

use super::{EndpointChecker, EndpointReport, Finding, Severity};
use crate::config::LookbackSettings;
use crate::lookback::cron::{ENDPOINT_CHECK, due_tick};
use crate::outage::Outage;
use crate::queue::{Enqueued, Item, Queue, QueueError};
use crate::store::{Store, StoreError};
use crate::stripe::api::StripeError;

/// How long a report is kept.
const REPORT_RETENTION: Duration = Duration::from_hours(30 * 24);
/// How long other workers leave a running check alone. If its worker dies, it is due again after this time.
const CLAIM_TTL: Duration = Duration::from_mins(5);
/// Workers that start within this time share one check.
const START_CLAIM_TTL: Duration = Duration::from_mins(1);
/// Problems are checked again after this time: they may be fixed, or the server was only starting.
const RECHECK_AFTER: TimeDelta = TimeDelta::minutes(5);
/// Between two checks whether one is due.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// The longest time that a check may take.
const TIMEOUT: Duration = Duration::from_mins(4);

/// Runs endpoint checks when they are due.
#[derive(Debug)]
pub struct EndpointCheckScheduler {
    /// The queue `sync`, which stores the last check's time and report.
    pub queue: Queue,
    pub store: Arc<Store>,
    pub checker: EndpointChecker,
    pub settings: LookbackSettings,
    pub findings: Findings,
}

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointCheckError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("cannot read the tenants: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Stripe(#[from] StripeError),
    #[error("took longer than {} s", TIMEOUT.as_secs())]
    TooLong,
    #[error("cannot store the report: {0}")]
    Encode(#[from] serde_json::Error),
}

impl EndpointCheckScheduler {
    /// Runs checks until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let rounds = async {
            let (mut starting, outage) = (true, Outage::default());
            loop {
                match self.run_if_due(starting).await {
                    Ok(()) => {
                        starting = false;
                        outage.answered();
                    }
                    // The workers already log an outage of Redis.
                    Err(error @ EndpointCheckError::Queue(_)) => {
                        tracing::debug!(%error, "cannot check the webhook endpoints");
                    }
                    Err(error) if outage.failed().is_some() => {
                        tracing::warn!(%error, "cannot check the webhook endpoints; retrying");
                    }
                    Err(_) => {}
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        stop.run_until_cancelled(rounds).await;
    }

    /// Runs a check if one is due and no other worker runs it. Then publishes the last report. `starting`: it
    /// is due at a worker's start.
    ///
    /// # Errors
    /// [`EndpointCheckError`]. The check stays due.
    pub async fn run_if_due(&self, starting: bool) -> Result<(), EndpointCheckError> {
        let Some(schedule) = &self.settings.audit else {
            return Ok(());
        };
        let now = self.checker.clock.now();
        let zone = &self.settings.time_zone;
        let noted = self.queue.last_ticks().await?.get(ENDPOINT_CHECK).copied();
        let due = due_tick(schedule, zone, noted, now).map(|due| due.tick);
        let before = last_report(&self.queue).await?;
        let wrong_since = before
            .as_ref()
            .filter(|report| report.is_wrong())
            .map(|report| report.at);
        let (key, life) = match (starting, due, wrong_since) {
            (true, _, _) => ("cron:audit:start".to_owned(), START_CLAIM_TTL),
            (false, Some(tick), _) => (format!("cron:audit:{}", tick.timestamp()), CLAIM_TTL),
            (false, None, Some(at)) if now - at >= RECHECK_AFTER => {
                (format!("cron:audit:again:{}", at.timestamp()), CLAIM_TTL)
            }
            (false, None, _) => return self.publish_last_report().await,
        };
        let claim = Item::default().dedupe(key, life);
        let claimed = self.queue.enqueue(&[claim]).await? == [Enqueued::Logged];
        if claimed {
            let checked = tokio::time::timeout(TIMEOUT, self.check()).await;
            let report = checked.map_err(|_| EndpointCheckError::TooLong)??;
            log_changes(&report, before.as_ref(), starting || due.is_some());
            let text = serde_json::to_string(&report)?;
            self.queue
                .save_note(ENDPOINT_CHECK, &text, REPORT_RETENTION)
                .await?;
            if let Some(tick) = due.or_else(|| schedule.before(now, zone)) {
                self.queue.reset_tick(ENDPOINT_CHECK, tick).await?;
                self.queue.record_tick(ENDPOINT_CHECK, tick).await?;
            }
        }
        self.publish_last_report().await
    }

    async fn check(&self) -> Result<EndpointReport, EndpointCheckError> {
        let tenants = self.store.catalog().known().await?;
        self.checker.check(&tenants, Some(&self.store)).await
    }

    async fn publish_last_report(&self) -> Result<(), EndpointCheckError> {
        if let Some(report) = last_report(&self.queue).await? {
            self.findings.put(report);
        }
        Ok(())
    }
}

/// Logs new findings. A scheduled check also logs known errors, until they are fixed.
fn log_changes(report: &EndpointReport, before: Option<&EndpointReport>, by_schedule: bool) {
    let known = |finding: &Finding| before.is_some_and(|before| before.findings.contains(finding));
    for finding in &report.findings {
        let (code, message, fix) = (&finding.code, &finding.message, &finding.fix);
        match finding.severity {
            Severity::Error if by_schedule || !known(finding) => {
                tracing::error!(code, fix, "webhooks: {message}");
            }
            Severity::Warning if !known(finding) => tracing::warn!(code, fix, "webhooks: {message}"),
            Severity::Error | Severity::Warning => {}
        }
    }
    if report.findings.is_empty() && (by_schedule || before.is_some_and(|before| !before.findings.is_empty()))
    {
        tracing::info!(endpoints = report.endpoints.len(), "webhook endpoints are ok");
    }
}

/// The last report of any worker.
///
/// # Errors
/// [`QueueError`].
pub async fn last_report(queue: &Queue) -> Result<Option<EndpointReport>, QueueError> {
    let text = queue.load_note(ENDPOINT_CHECK).await?;
    // Ignores a report of another version of Surepass; the next check replaces it.
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// The last report, for `/metrics`. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Findings(Arc<Mutex<Option<EndpointReport>>>);

impl Findings {
    fn put(&self, report: EndpointReport) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }

    /// Adds the report's metrics to a registry, once there is one.
    pub fn register(&self, registry: &mut Registry) {
        let report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(report) = report.as_ref() else {
            return;
        };
        let problems = Family::<[(&str, String); 2], Gauge>::default();
        for finding in &report.findings {
            let severity = finding.severity.as_str().to_owned();
            problems
                .get_or_create(&[("severity", severity), ("code", finding.code.clone())])
                .inc();
        }
        registry.register(
            "surepass_webhook_endpoint_problems",
            "Problems that the last check of our webhook endpoints at Stripe found",
            problems,
        );
        registry.register_with_unit(
            "surepass_webhook_endpoint_audit_timestamp",
            "When that check ran, in seconds since 1970",
            Unit::Seconds,
            ConstGauge::new(report.at.timestamp()),
        );
    }
}
