//! Enqueues the scheduled lookbacks: each tick once, however many workers run. After a downtime, one run
//! covers all missed ticks.
//!
//! There is no leader and no lock. Each worker checks which ticks are due, enqueues their jobs under dedupe
//! keys, and then records the tick. If a worker dies in between, the next one enqueues the rest.

mod gap;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{FailedDeliveriesRequest, LookbackJob, accounts};
use crate::clock::Clock;
use crate::config::LookbackSettings;
use crate::outage::{self, Outage};
use crate::queue::{Enqueued, Item, Queue, QueueError};
use crate::schedule::Schedule;
use crate::store::{Store, StoreError, Watermark};
use crate::time_zone::Tz;

/// How long the dedupe keys of a tick are kept. A worker that pauses in the middle for less than this
/// enqueues nothing twice.
const DEDUPE_FOR: Duration = Duration::from_hours(48);
/// The largest difference between two machines' clocks. A recorded tick further in the future was recorded by
/// a wrong clock.
const MAX_CLOCK_SKEW: Duration = Duration::from_mins(5);
/// A tick that fires later than this also covers the time since.
const LATE_AFTER: TimeDelta = TimeDelta::minutes(1);
/// Pause at most this long, to notice a changed clock or a machine that slept.
const MAX_PAUSE: Duration = Duration::from_secs(30);
const MIN_PAUSE: Duration = Duration::from_millis(50);

/// Enqueues the due lookbacks of each account.
#[derive(Debug, Clone)]
pub struct Cron {
    queue: Queue,
    store: Arc<Store>,
    clock: Clock,
    settings: LookbackSettings,
    is_test: bool,
}

/// Why the due lookbacks could not all be enqueued. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum CronError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("cannot read the tenants' accounts and watermarks: {0}")]
    Store(#[from] StoreError),
}

/// A due tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueTick {
    /// The latest due tick, which stands for all that were missed.
    pub tick: DateTime<Utc>,
    /// The first missed tick; `tick` if none was missed.
    pub first: DateTime<Utc>,
    /// The last tick that fired; `None` if none did.
    pub last: Option<DateTime<Utc>>,
}

/// A fired tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FiredTick {
    /// The schedule's name.
    pub schedule: &'static str,
    pub due: DueTick,
    /// Jobs that this process enqueued, without those that another process enqueued first.
    pub jobs: usize,
}

/// The status of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStatus {
    pub name: &'static str,
    /// Five cron fields, as configured.
    pub schedule: String,
    pub time_zone: Tz,
    /// The last tick that fired.
    pub last: Option<DateTime<Utc>>,
    /// The tick that is due and has not fired.
    pub overdue: Option<DateTime<Utc>>,
    pub next: Option<DateTime<Utc>>,
}

/// A schedule and the window of its lookback.
struct ScheduledLookback<'a> {
    name: &'static str,
    schedule: &'a Schedule,
    window: Duration,
    /// How far back to list undelivered events. `None`: from the end of the last such job.
    events: Option<Duration>,
}

impl Cron {
    /// Enqueues into `queue`, for the accounts of the tenants in `store`.
    #[must_use]
    pub fn new(queue: Queue, store: Arc<Store>, clock: Clock, settings: LookbackSettings) -> Self {
        Self {
            queue,
            store,
            clock,
            settings,
            is_test: false,
        }
    }

    /// Sets the mode of the Stripe key, whose watermarks it uses.
    #[must_use]
    pub fn with_livemode(self, livemode: Option<bool>) -> Self {
        Self {
            is_test: livemode == Some(false),
            ..self
        }
    }

    /// Fires until `stop`. After an outage of Redis or the store, missed ticks fire at once.
    pub async fn run(&self, stop: CancellationToken) {
        let (mut pause, outage) = (MIN_PAUSE, Outage::default());
        let work = async {
            loop {
                match self.fire_due().await {
                    Ok(_) => {
                        pause = self.until_next();
                        outage.answered();
                    }
                    Err(error) => {
                        pause = (pause * 2).clamp(Duration::from_secs(1), MAX_PAUSE);
                        // The workers already log an outage of Redis.
                        if matches!(error, CronError::Queue(_)) {
                            tracing::debug!(%error, "scheduled lookbacks are late");
                        } else if let Some(late) = outage.failed() {
                            let late_ms = outage::millis(late);
                            tracing::warn!(%error, late_ms, "scheduled lookbacks are late");
                        }
                    }
                }
                tokio::time::sleep(pause).await;
            }
        };
        stop.run_until_cancelled(work).await;
    }

    /// Fires each due schedule. Returns the fired ticks.
    ///
    /// # Errors
    /// [`CronError`]. Some jobs may be enqueued; the next call enqueues the rest.
    pub async fn fire_due(&self) -> Result<Vec<FiredTick>, CronError> {
        let now = self.clock.now();
        let ticks = self.queue.last_ticks().await?;
        let mut fired = Vec::new();
        let mut known = None;
        for entry in self.entries() {
            let noted = ticks.get(entry.name).copied();
            let Some(due) = due_tick(entry.schedule, &self.settings.time_zone, noted, now) else {
                continue;
            };
            let (accounts, marks) = match &known {
                Some(known) => known,
                None => known.insert((self.accounts().await?, self.store.lookback().watermarks().await?)),
            };
            let items = self.items(&entry, due, now, accounts, marks).await?;
            let answers = self.queue.enqueue(&items).await?;
            let jobs = answers.iter().filter(|answer| **answer == Enqueued::New).count();
            if noted.is_some_and(|noted| noted > due.tick) {
                tracing::warn!(
                    schedule = entry.name,
                    noted = ?noted,
                    %now,
                    "ignored a recorded tick in the future: check the clocks of all machines (NTP)"
                );
                self.queue.reset_tick(entry.name, due.tick).await?;
            }
            self.queue.record_tick(entry.name, due.tick).await?;
            if jobs > 0 {
                let last = due.last.map(tracing::field::display);
                tracing::info!(schedule = entry.name, tick = %due.tick, last, jobs, "lookback enqueued");
            }
            let schedule = entry.name;
            fired.push(FiredTick { schedule, due, jobs });
        }
        Ok(fired)
    }

    fn entries(&self) -> impl Iterator<Item = ScheduledLookback<'_>> {
        let LookbackSettings {
            nightly,
            nightly_window,
            recent,
            recent_window,
            ..
        } = &self.settings;
        // The longer window first: both share one job for undelivered events, and the longer window includes
        // the other.
        let nightly = nightly.as_ref().map(|schedule| ScheduledLookback {
            name: NIGHTLY,
            schedule,
            window: **nightly_window,
            events: Some(**nightly_window),
        });
        let recent = recent.as_ref().map(|schedule| ScheduledLookback {
            name: RECENT,
            schedule,
            window: **recent_window,
            events: None,
        });
        nightly.into_iter().chain(recent)
    }

    /// The jobs of a tick: for each account an account sync and a job for undelivered events. A dead job with
    /// the same key runs again, so that after a fix nobody has to retry it.
    async fn items(
        &self,
        entry: &ScheduledLookback<'_>,
        due: DueTick,
        now: DateTime<Utc>,
        accounts: &[Option<String>],
        marks: &[Watermark],
    ) -> Result<Vec<Item>, CronError> {
        let span = (window_start(due, entry.window), window_end(due, now));
        let spread = self.spread(entry.schedule, due.tick);
        let mut items = Vec::with_capacity(2 * accounts.len());
        for (place, account) in accounts.iter().enumerate() {
            let wait = spread.mul_f64(share(place, accounts.len()));
            let mut request = self
                .account_sync(entry, account.as_deref(), span, marks, now)
                .await?;
            request.spread_seconds = u32::try_from(spread.as_secs()).unwrap_or(u32::MAX);
            let failed = FailedDeliveriesRequest {
                account: account.clone(),
                since: entry.events.map(|events| due.first - events),
                resume: None,
            };
            let jobs = [
                ("sweep", LookbackJob::AccountSync(request)),
                ("undelivered", LookbackJob::FailedDeliveries(failed)),
            ];
            for (what, job) in jobs {
                let tick = due.tick.timestamp();
                let account = account.as_deref().unwrap_or("own");
                let once = format!("cron:{}:{tick}:{account}:{what}", entry.name);
                items.push(job.item()?.dedupe(once, DEDUPE_FOR).after(wait));
            }
        }
        Ok(items)
    }

    /// The time over which a tick's jobs are spread: at most half the time to the next tick.
    fn spread(&self, schedule: &Schedule, tick: DateTime<Utc>) -> Duration {
        let next = schedule.after(tick, &self.settings.time_zone);
        let room = next.and_then(|next| (next - tick).to_std().ok());
        room.map_or(*self.settings.spread, |room| self.settings.spread.min(room / 2))
    }

    /// The key's own account, and each connected account of a tenant.
    async fn accounts(&self) -> Result<Vec<Option<String>>, StoreError> {
        Ok(accounts(&self.store.catalog().known().await?))
    }

    fn until_next(&self) -> Duration {
        let now = self.clock.now();
        let next = self
            .entries()
            .filter_map(|entry| entry.schedule.after(now, &self.settings.time_zone))
            .min();
        let wait = next.and_then(|next| (next - now).to_std().ok());
        wait.unwrap_or(MAX_PAUSE).clamp(MIN_PAUSE, MAX_PAUSE)
    }
}

/// The schedules' names in settings, keys and metrics.
pub(super) const NIGHTLY: &str = "nightly";
pub(super) const RECENT: &str = "recent";
pub(super) const ENDPOINT_CHECK: &str = "audit";

/// The due tick, if any. `noted` is the last tick that fired.
pub(super) fn due_tick(
    schedule: &Schedule,
    zone: &Tz,
    noted: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<DueTick> {
    let tick = schedule.before(now, zone)?;
    let last = noted.filter(|noted| *noted <= now + MAX_CLOCK_SKEW);
    let first = match last {
        Some(last) if last >= tick => return None,
        Some(last) => schedule.after(last, zone)?,
        None => tick,
    };
    Some(DueTick { tick, first, last })
}

/// The start of the window: as far back as the first missed tick would have gone. At least back to the last
/// fired tick, however short the window.
fn window_start(due: DueTick, window: Duration) -> DateTime<Utc> {
    let from = due.first - window;
    due.last.map_or(from, |last| from.min(last))
}

/// The end of the window: the tick, or now for a late tick.
fn window_end(due: DueTick, now: DateTime<Utc>) -> DateTime<Utc> {
    let late = now - due.tick > LATE_AFTER;
    if late { now.trunc_subsecs(0) } else { due.tick }
}

#[expect(clippy::cast_precision_loss, reason = "a fraction of accounts, not a count")]
fn share(place: usize, of: usize) -> f64 {
    place as f64 / of.max(1) as f64
}

/// The status of each schedule, including the endpoint check, from the queue `sync`.
///
/// # Errors
/// [`QueueError`].
pub async fn status(
    queue: &Queue,
    settings: &LookbackSettings,
    now: DateTime<Utc>,
) -> Result<Vec<ScheduleStatus>, QueueError> {
    let ticks = queue.last_ticks().await?;
    let all = [
        (NIGHTLY, &settings.nightly),
        (RECENT, &settings.recent),
        (ENDPOINT_CHECK, &settings.audit),
    ];
    let set = all
        .into_iter()
        .filter_map(|(name, schedule)| Some((name, schedule.as_ref()?)));
    let status = set.map(|(name, schedule)| {
        let last = ticks.get(name).copied();
        let due = due_tick(schedule, &settings.time_zone, last, now);
        ScheduleStatus {
            name,
            schedule: schedule.to_string(),
            time_zone: settings.time_zone.clone(),
            last,
            overdue: due.map(|due| due.first),
            next: schedule.after(now, &settings.time_zone),
        }
    });
    Ok(status.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn one_run_covers_all_ticks_that_were_missed() {
        let schedule: Schedule = "*/10 * * * *".parse().unwrap();
        let now = at("2026-11-23T12:34:00Z");
        let last = at("2026-11-23T09:00:00Z");
        let due = due_tick(&schedule, &Tz::UTC, Some(last), now).unwrap();
        assert_eq!(
            (due.tick, due.first),
            (at("2026-11-23T12:30:00Z"), at("2026-11-23T09:10:00Z"))
        );
        let from = window_start(due, Duration::from_hours(3));
        assert_eq!(from, at("2026-11-23T06:10:00Z"));
    }

    #[test]
    fn windows_that_are_shorter_than_the_time_between_ticks_leave_no_gap() {
        let schedule: Schedule = "0 */6 * * *".parse().unwrap();
        let last = at("2026-11-23T06:00:00Z");
        let due = due_tick(&schedule, &Tz::UTC, Some(last), at("2026-11-23T12:00:01Z")).unwrap();
        assert_eq!(window_start(due, Duration::from_hours(1)), last);
    }

    #[test]
    fn a_clock_that_was_set_back_a_little_repeats_no_tick_and_a_tick_far_in_the_future_is_not_believed() {
        let schedule: Schedule = "*/10 * * * *".parse().unwrap();
        let due = |noted: &str, now: &str| due_tick(&schedule, &Tz::UTC, Some(at(noted)), at(now));
        assert_eq!(due("2026-11-23T12:00:00Z", "2026-11-23T11:58:00Z"), None);
        let wrong = due("2027-01-01T00:00:00Z", "2026-11-23T11:58:00Z").unwrap();
        assert_eq!((wrong.tick, wrong.last), (at("2026-11-23T11:50:00Z"), None));
    }
}
