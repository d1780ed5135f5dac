//! Audits at a worker's start and by schedule: once for all workers, told as alerts and on `/metrics`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use tokio_util::sync::CancellationToken;

use super::{Audit, Auditor, Finding, Severity};
use crate::config::LookbackSettings;
use crate::lookback::cron::{AUDIT, due};
use crate::outage::Outage;
use crate::queue::{Enqueued, Item, Queue, QueueError};
use crate::store::{Store, StoreError};
use crate::stripe::api::StripeError;

/// What an audit found is kept so long.
const KEPT: Duration = Duration::from_hours(30 * 24);
/// Who has begun an audit is left alone with it for so long: who dies with it costs no more.
const CLAIMED: Duration = Duration::from_mins(5);
/// Workers that start together share one audit.
const AT_START: Duration = Duration::from_mins(1);
/// What is wrong is looked at again after so long: it may have been mended, or the server was only starting.
const AGAIN: TimeDelta = TimeDelta::minutes(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(30);
/// An audit is given up after so long: it stands in nobody's way, and is due again.
const PATIENCE: Duration = Duration::from_mins(4);

/// Lets audits be made when they are due.
#[derive(Debug)]
pub struct Rounds {
    /// The queue of lookbacks: when the last audit was, and what it found.
    pub queue: Queue,
    pub store: Arc<dyn Store>,
    pub auditor: Auditor,
    pub settings: LookbackSettings,
    pub findings: Findings,
}

/// Why there was no audit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoundError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("the tenants cannot be read: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Stripe(#[from] StripeError),
    #[error("it took longer than {} s", PATIENCE.as_secs())]
    TooLong,
    #[error("what it found cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
}

impl Rounds {
    /// Audits until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let rounds = async {
            let (mut starting, outage) = (true, Outage::default());
            loop {
                match self.look(starting).await {
                    Ok(()) => {
                        starting = false;
                        outage.answered();
                    }
                    // The workers say that Redis is away.
                    Err(error @ RoundError::Queue(_)) => {
                        tracing::debug!(%error, "no audit of the webhook endpoints");
                    }
                    Err(error) if outage.failed().is_some() => {
                        tracing::warn!(%error, "no audit of the webhook endpoints; it is tried again");
                    }
                    Err(_) => {}
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        stop.run_until_cancelled(rounds).await;
    }

    /// Audits if it is due and nobody else does, then takes over what the last audit found. `starting`: due for that reason
    /// alone.
    ///
    /// # Errors
    /// [`RoundError`]: it stays due.
    pub async fn look(&self, starting: bool) -> Result<(), RoundError> {
        let Some(schedule) = &self.settings.audit else {
            return Ok(());
        };
        let now = self.auditor.clock.now();
        let zone = self.settings.time_zone;
        let noted = self.queue.last_ticks().await?.get(AUDIT).copied();
        let due = due(schedule, zone, noted, now).map(|due| due.tick);
        let before = last(&self.queue).await?;
        let wrong_since = before
            .as_ref()
            .filter(|audit| audit.is_wrong())
            .map(|audit| audit.at);
        let (key, life) = match (starting, due, wrong_since) {
            (true, _, _) => ("cron:audit:start".to_owned(), AT_START),
            (false, Some(tick), _) => (format!("cron:audit:{}", tick.timestamp()), CLAIMED),
            (false, None, Some(at)) if now - at >= AGAIN => {
                (format!("cron:audit:again:{}", at.timestamp()), CLAIMED)
            }
            (false, None, _) => return self.take_over().await,
        };
        let claim = Item::default().dedupe(key, life);
        let claimed = self.queue.enqueue(&[claim]).await? == [Enqueued::Logged];
        if claimed {
            let audited = tokio::time::timeout(PATIENCE, self.auditor_finds()).await;
            let audit = audited.map_err(|_| RoundError::TooLong)??;
            tell(&audit, before.as_ref(), starting || due.is_some());
            let text = serde_json::to_string(&audit)?;
            self.queue.save_note(AUDIT, &text, KEPT).await?;
            if let Some(tick) = due.or_else(|| schedule.before(now, zone)) {
                self.queue.reset_tick(AUDIT, tick).await?;
                self.queue.record_tick(AUDIT, tick).await?;
            }
        }
        self.take_over().await
    }

    async fn auditor_finds(&self) -> Result<Audit, RoundError> {
        let tenants = self.store.known_tenants().await?;
        self.auditor.audit(&tenants, Some(&*self.store)).await
    }

    async fn take_over(&self) -> Result<(), RoundError> {
        if let Some(audit) = last(&self.queue).await? {
            self.findings.put(audit);
        }
        Ok(())
    }
}

/// Tells what is new of it; by schedule also what is still wrong, until it is mended.
fn tell(audit: &Audit, before: Option<&Audit>, by_schedule: bool) {
    let known = |finding: &Finding| before.is_some_and(|before| before.findings.contains(finding));
    for finding in &audit.findings {
        let (code, message, mend) = (&finding.code, &finding.message, &finding.mend);
        match finding.severity {
            Severity::Error if by_schedule || !known(finding) => {
                tracing::error!(code, mend, "webhooks: {message}");
            }
            Severity::Warning if !known(finding) => tracing::warn!(code, mend, "webhooks: {message}"),
            Severity::Error | Severity::Warning => {}
        }
    }
    if audit.findings.is_empty() && (by_schedule || before.is_some_and(|before| !before.findings.is_empty()))
    {
        tracing::info!(
            endpoints = audit.endpoints.len(),
            "webhook endpoints are in order"
        );
    }
}

/// What the last audit found, whoever made it.
///
/// # Errors
/// [`QueueError`].
pub async fn last(queue: &Queue) -> Result<Option<Audit>, QueueError> {
    let text = queue.load_note(AUDIT).await?;
    // One of another version of Surepass is none; the next audit writes it anew.
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// What the last audit found, for `/metrics`. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Findings(Arc<Mutex<Option<Audit>>>);

impl Findings {
    fn put(&self, audit: Audit) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(audit);
    }
}

impl Collector for Findings {
    fn encode(&self, mut page: DescriptorEncoder<'_>) -> fmt::Result {
        let audit = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(audit) = audit.as_ref() else {
            return Ok(());
        };
        let name = "surepass_webhook_endpoint_problems";
        let help = "What the last audit of our webhook endpoints at Stripe found wrong";
        let mut metric = page.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let mut codes: Vec<_> = audit
            .findings
            .iter()
            .map(|finding| (finding.severity, finding.code.as_str()))
            .collect();
        codes.sort_unstable();
        for same in codes.chunk_by(|one, other| one == other) {
            let (severity, code) = same[0];
            let labels = [("severity", severity.as_str()), ("code", code)];
            let count = i64::try_from(same.len()).unwrap_or(i64::MAX);
            metric.encode_family(&labels)?.encode_gauge(&count)?;
        }
        let name = "surepass_webhook_endpoint_audit_timestamp";
        let help = "When that audit was, in seconds since 1970";
        let mut metric = page.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        metric.encode_gauge(&audit.at.timestamp())
    }
}
