//! Enqueues the events that Stripe could not deliver by webhook.

use chrono::{DateTime, TimeDelta, Utc};

use super::cycle::CycleDetector;
use super::{FailedDeliveriesRequest, Lookback, LookbackError, LookbackJob, Resume};
use crate::ingest::ingest;
use crate::store::{CreatedVia, Watermark};
use crate::stripe::PURCHASE_EVENTS;
use crate::stripe::api::EventFilter;

/// The name of its watermark.
pub(super) const DETECTOR: &str = "events";

/// How long Stripe keeps events.
const EVENT_RETENTION: TimeDelta = TimeDelta::days(30);
/// Younger events may still arrive by webhook, and Stripe's list may not show them yet.
pub(super) const MARGIN: TimeDelta = TimeDelta::seconds(60);
/// By how much two runs overlap.
const OVERLAP: TimeDelta = TimeDelta::hours(1);

impl Lookback {
    /// Lists a page of the undelivered events of an account and enqueues each under its event id. Then enqueues a
    /// job for the next page.
    ///
    /// # Errors
    /// [`LookbackError`]. Idempotent.
    pub async fn enqueue_failed_deliveries(
        &self,
        request: &FailedDeliveriesRequest,
    ) -> Result<(), LookbackError> {
        let account = request.account.as_deref();
        let mut resume = if let Some(resume) = &request.resume {
            resume.clone()
        } else {
            let (from, to) = self.time_range(request).await?;
            Resume {
                after: String::new(),
                from,
                to,
                whole: true,
                cycle: CycleDetector::default(),
            }
        };
        let filter = EventFilter {
            types: PURCHASE_EVENTS.map(str::to_owned).to_vec(),
            delivery_success: Some(false),
            created_from: Some(resume.from),
            created_before: Some(resume.to),
            starting_after: Some(resume.after.clone()).filter(|after| !after.is_empty()),
        };
        let page = match self.stripe()?.account(account).events(filter).next().await {
            Ok(page) => page.unwrap_or_default(),
            Err(error) if error.is_endless_list() => {
                tracing::error!(account, %error, "Stripe's list of events has no end; the rest was skipped");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        resume.whole &= page.unreadable == 0;
        let items = page
            .items
            .iter()
            .map(|listed| {
                let via = CreatedVia::Lookback;
                ingest(&listed.event, &listed.body, None, via, self.remember_events)
                    .map(|ingested| ingested.item)
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.fulfil.enqueue(&items).await?;
        if let Some(last) = page.last_id.filter(|_| page.has_more) {
            if resume.cycle.is_cycle(&last) {
                tracing::error!(
                    account,
                    "Stripe's list of events repeats itself; the rest was skipped"
                );
                return Ok(());
            }
            resume.after = last;
            let next = LookbackJob::FailedDeliveries(FailedDeliveriesRequest {
                resume: Some(resume),
                ..request.clone()
            });
            self.sync.enqueue(&[next.item()?]).await?;
            return Ok(());
        }
        if resume.whole {
            let mark = Watermark {
                detector: DETECTOR.to_owned(),
                account: request.account.clone(),
                is_test: self.is_test(),
                from: resume.from,
                to: resume.to,
                updated_at: self.clock.now(),
            };
            self.records().raise_watermark(&mark).await?;
        }
        Ok(())
    }

    /// From the end of the last run, or from `since` if that is earlier, until a moment ago.
    async fn time_range(
        &self,
        request: &FailedDeliveriesRequest,
    ) -> Result<(DateTime<Utc>, DateTime<Utc>), LookbackError> {
        let to = self.clock.now() - MARGIN;
        let earliest = to - EVENT_RETENTION;
        let marks = self.records().watermarks().await?;
        let account = request.account.as_deref();
        let own = |mark: &&Watermark| mark.is_of(DETECTOR, account, self.is_test()) && !mark.is_ahead_of(to);
        let mark = marks.iter().find(own).map(|mark| mark.to - OVERLAP);
        // A later start must not leave a gap after the watermark.
        let from = match (request.since, mark) {
            (Some(since), Some(mark)) => since.min(mark),
            (since, mark) => since.or(mark).unwrap_or(earliest),
        };
        Ok((from.clamp(earliest, to), to))
    }
}
