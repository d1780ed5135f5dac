//! The events that Stripe could not deliver, taken in as if it had.

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::cycle::CycleDetector;
use super::{Lookback, LookbackError, LookbackJob, Resume, UndeliveredRequest};
use crate::accept::accept;
use crate::store::{CreatedVia, LookbackMark};
use crate::stripe::api::EventFilter;

/// The name of its mark.
pub(super) const DETECTOR: &str = "events";

/// Stripe keeps events for so long.
const KEPT: TimeDelta = TimeDelta::days(30);
/// What is younger may be on its way by webhook right now, and Stripe's list may not show it yet.
pub(super) const MARGIN: TimeDelta = TimeDelta::seconds(60);
/// The spans of two looks overlap by so much.
const OVERLAP: TimeDelta = TimeDelta::hours(1);

/// The events that tell of a purchase.
const TYPES: [&str; 2] = [
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
];

impl Lookback {
    /// Reads the undelivered events of an account and hands them to the queue of purchases, each once for its id. Works
    /// for a slice at most, and then enqueues what is left.
    ///
    /// # Errors
    /// [`LookbackError`]. What was handed in until then is: reading it again changes nothing.
    pub async fn undelivered(&self, request: &UndeliveredRequest) -> Result<(), LookbackError> {
        let end = Instant::now() + self.slice;
        let account = request.account.as_deref();
        let mut resume = if let Some(resume) = &request.resume {
            resume.clone()
        } else {
            let (from, to) = self.span(request).await?;
            Resume {
                after: String::new(),
                from,
                to,
                whole: true,
                cycle: CycleDetector::default(),
            }
        };
        let filter = EventFilter {
            types: TYPES.map(str::to_owned).to_vec(),
            delivery_success: Some(false),
            created_from: Some(resume.from),
            created_before: Some(resume.to),
            starting_after: Some(resume.after.clone()).filter(|after| !after.is_empty()),
            ..EventFilter::default()
        };
        let mut pages = self.stripe()?.account(account).events(filter);
        loop {
            let page = match pages.next().await {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(error) if error.is_endless_list() => {
                    tracing::error!(account, %error, "the rest of Stripe's list of events is not read");
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            resume.whole &= page.unreadable == 0;
            let items = page
                .items
                .into_iter()
                .map(|mut listed| {
                    let via = CreatedVia::Lookback;
                    accept(&mut listed.event, &listed.body, None, via, self.remember_events)
                        .map(|accepted| accepted.item)
                })
                .collect::<Result<Vec<_>, _>>()?;
            self.fulfil.enqueue(&items).await?;
            let Some(last) = page.last_id.filter(|_| page.has_more) else {
                continue;
            };
            if resume.cycle.is_cycle(&last) {
                tracing::error!(
                    account,
                    "Stripe's list of events goes round in circles: the rest of it is not read"
                );
                return Ok(());
            }
            if Instant::now() >= end {
                resume.after = last;
                let next = LookbackJob::Undelivered(UndeliveredRequest {
                    resume: Some(resume),
                    ..request.clone()
                });
                self.sync.enqueue(&[next.item()?]).await?;
                return Ok(());
            }
        }
        if resume.whole {
            let mark = LookbackMark {
                detector: DETECTOR.to_owned(),
                account: request.account.clone(),
                is_test: self.is_test(),
                from: resume.from,
                to: resume.to,
                updated_at: self.clock.now(),
            };
            self.records().raise_mark(&mark).await?;
        }
        Ok(())
    }

    /// From where the last look came to, or from further back, to a moment ago.
    async fn span(
        &self,
        request: &UndeliveredRequest,
    ) -> Result<(DateTime<Utc>, DateTime<Utc>), LookbackError> {
        let to = self.clock.now() - MARGIN;
        let earliest = to - KEPT;
        let marks = self.records().marks().await?;
        let account = request.account.as_deref();
        let own =
            |mark: &&LookbackMark| mark.is_of(DETECTOR, account, self.is_test()) && !mark.is_ahead_of(to);
        let mark = marks.iter().find(own).map(|mark| mark.to - OVERLAP);
        // Whoever asks for less leaves no gap behind what is proven.
        let from = match (request.since, mark) {
            (Some(since), Some(mark)) => since.min(mark),
            (since, mark) => since.or(mark).unwrap_or(earliest),
        };
        Ok((from.clamp(earliest, to), to))
    }
}
