//! When lookbacks begin: once per tick, however many workers run; what was missed while all were down, once.
//!
//! Nobody is in charge and nothing is locked. Every worker looks which ticks are due, enqueues their jobs, each with a key of
//! its own that is taken in the same step, and only then notes the tick. Who dies in between leaves the rest to the next
//! who looks, and what was enqueued is not enqueued again.

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
use crate::store::{LookbackMark, Store, StoreError};
use crate::time_zone::Tz;

/// How long it is remembered what a tick has enqueued: a worker that stood still in the middle of it for less changes nothing.
const REMEMBERED: Duration = Duration::from_hours(48);
/// The most by which two machines' clocks may differ. A tick noted further in the future was noted by a wrong clock.
const SKEW: Duration = Duration::from_mins(5);
/// Who fires a tick later than this looks at what came after it, too.
const LATE: TimeDelta = TimeDelta::minutes(1);
/// The longest time between two looks: a clock that was set, or a machine that slept, is noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// Enqueues the lookbacks that are due, for each account. What a lookback does is its job's business.
#[derive(Debug, Clone)]
pub struct Cron {
    queue: Queue,
    store: Arc<dyn Store>,
    clock: Clock,
    settings: LookbackSettings,
    is_test: bool,
}

/// Why it could not be told what is due, or not all of it be enqueued: it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum CronError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("the accounts of the tenants, and what is proven of them, cannot be read: {0}")]
    Store(#[from] StoreError),
}

/// A tick that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The latest one: it stands for all that were missed.
    pub tick: DateTime<Utc>,
    /// The first one that was missed; `tick` where none was.
    pub first: DateTime<Utc>,
    /// The last one that fired; `None` where none ever did.
    pub last: Option<DateTime<Utc>>,
}

/// A tick that has fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fired {
    /// The schedule's name.
    pub schedule: &'static str,
    pub due: Due,
    /// Jobs that this process enqueued; those that another was quicker with are not in it.
    pub jobs: usize,
}

/// How a schedule stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStatus {
    pub name: &'static str,
    /// Cron's five fields, as they were set.
    pub schedule: String,
    pub time_zone: Tz,
    /// The last tick that fired.
    pub last: Option<DateTime<Utc>>,
    /// The tick that should have fired and has not.
    pub overdue: Option<DateTime<Utc>>,
    pub next: Option<DateTime<Utc>>,
}

/// One of the schedules, and how far its lookback goes.
struct Plan<'a> {
    name: &'static str,
    schedule: &'a Schedule,
    window: Duration,
    /// How far back undelivered events are asked for; `None`: from where the last job of that kind came to.
    events: Option<Duration>,
}

impl Cron {
    /// Fires into `queue`, for the accounts of the tenants in `store`.
    #[must_use]
    pub fn new(queue: Queue, store: Arc<dyn Store>, clock: Clock, settings: LookbackSettings) -> Self {
        Self {
            queue,
            store,
            clock,
            settings,
            is_test: false,
        }
    }

    /// With the mode of the key with which its lookbacks are made: it goes by what was proven with one like it.
    #[must_use]
    pub fn of_mode(self, livemode: Option<bool>) -> Self {
        Self {
            is_test: livemode == Some(false),
            ..self
        }
    }

    /// Fires until `stop`. What cannot be fired now (Redis or the store is away) is fired as soon as it can be.
    pub async fn run(&self, stop: CancellationToken) {
        let (mut pause, outage) = (SHORTEST_PAUSE, Outage::default());
        let work = async {
            loop {
                match self.look().await {
                    Ok(_) => {
                        pause = self.until_next();
                        outage.answered();
                    }
                    Err(error) => {
                        pause = (pause * 2).clamp(Duration::from_secs(1), LONGEST_PAUSE);
                        // The workers say that Redis is away.
                        if matches!(error, CronError::Queue(_)) {
                            tracing::debug!(%error, "the lookback's ticks are late");
                        } else if let Some(late) = outage.failed() {
                            let late_ms = outage::millis(late);
                            tracing::warn!(%error, late_ms, "the lookback's ticks are late");
                        }
                    }
                }
                tokio::time::sleep(pause).await;
            }
        };
        stop.run_until_cancelled(work).await;
    }

    /// Fires each schedule whose tick is due, and answers which those were.
    ///
    /// # Errors
    /// [`CronError`]: some of it may have been enqueued; the next look enqueues the rest.
    pub async fn look(&self) -> Result<Vec<Fired>, CronError> {
        let now = self.clock.now();
        let ticks = self.queue.last_ticks().await?;
        let mut fired = Vec::new();
        let mut known = None;
        for plan in self.plans() {
            let noted = ticks.get(plan.name).copied();
            let Some(due) = due(plan.schedule, self.settings.time_zone, noted, now) else {
                continue;
            };
            let (accounts, marks) = match &known {
                Some(known) => known,
                None => known.insert((self.accounts().await?, self.store.lookback().marks().await?)),
            };
            let items = self.items(&plan, due, now, accounts, marks).await?;
            let answers = self.queue.enqueue(&items).await?;
            let jobs = answers.iter().filter(|answer| **answer == Enqueued::New).count();
            if noted.is_some_and(|noted| noted > due.tick) {
                tracing::warn!(
                    schedule = plan.name,
                    noted = ?noted,
                    %now,
                    "a tick was noted in the future: the clock of some machine is, or was, wrong"
                );
                self.queue.reset_tick(plan.name, due.tick).await?;
            }
            self.queue.record_tick(plan.name, due.tick).await?;
            if jobs > 0 {
                let last = due.last.map(tracing::field::display);
                tracing::info!(schedule = plan.name, tick = %due.tick, last, jobs, "a lookback begins");
            }
            let schedule = plan.name;
            fired.push(Fired { schedule, due, jobs });
        }
        Ok(fired)
    }

    fn plans(&self) -> impl Iterator<Item = Plan<'_>> {
        let LookbackSettings {
            nightly,
            nightly_window,
            recent,
            recent_window,
            ..
        } = &self.settings;
        // The long one first: its events include the short one's, and there is one job for both.
        let nightly = nightly.as_ref().map(|schedule| Plan {
            name: NIGHTLY,
            schedule,
            window: *nightly_window,
            events: Some(*nightly_window),
        });
        let recent = recent.as_ref().map(|schedule| Plan {
            name: RECENT,
            schedule,
            window: *recent_window,
            events: None,
        });
        nightly.into_iter().chain(recent)
    }

    /// The jobs of a tick: for each account its sessions, and its events that were not delivered. One like them that is
    /// dead runs again, whatever it died of: who mends a key or an account need not know of it.
    async fn items(
        &self,
        plan: &Plan<'_>,
        due: Due,
        now: DateTime<Utc>,
        accounts: &[Option<String>],
        marks: &[LookbackMark],
    ) -> Result<Vec<Item>, CronError> {
        let span = (window_start(due, plan.window), window_end(due, now));
        let spread = self.spread(plan.schedule, due.tick);
        let mut items = Vec::with_capacity(2 * accounts.len());
        for (place, account) in accounts.iter().enumerate() {
            let wait = spread.mul_f64(share(place, accounts.len()));
            let mut request = self
                .account_sync(plan, account.as_deref(), span, marks, now)
                .await?;
            request.spread_seconds = u32::try_from(spread.as_secs()).unwrap_or(u32::MAX);
            let failed = FailedDeliveriesRequest {
                account: account.clone(),
                since: plan.events.map(|events| due.first - events),
                resume: None,
            };
            let jobs = [
                ("sweep", LookbackJob::AccountSync(request)),
                ("undelivered", LookbackJob::FailedDeliveries(failed)),
            ];
            for (what, job) in jobs {
                let tick = due.tick.timestamp();
                let account = account.as_deref().unwrap_or("own");
                let once = format!("cron:{}:{tick}:{account}:{what}", plan.name);
                items.push(job.item()?.dedupe(once, REMEMBERED).after(wait));
            }
        }
        Ok(items)
    }

    /// Over how long this tick's work is spread: half the way to the next tick at most.
    fn spread(&self, schedule: &Schedule, tick: DateTime<Utc>) -> Duration {
        let next = schedule.after(tick, self.settings.time_zone);
        let room = next.and_then(|next| (next - tick).to_std().ok());
        room.map_or(self.settings.spread, |room| self.settings.spread.min(room / 2))
    }

    /// The key's own account, and each that a tenant names.
    async fn accounts(&self) -> Result<Vec<Option<String>>, StoreError> {
        Ok(accounts(&self.store.known_tenants().await?))
    }

    fn until_next(&self) -> Duration {
        let now = self.clock.now();
        let next = self
            .plans()
            .filter_map(|plan| plan.schedule.after(now, self.settings.time_zone))
            .min();
        let wait = next.and_then(|next| (next - now).to_std().ok());
        wait.unwrap_or(LONGEST_PAUSE).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }
}

/// The names of the schedules, as they stand in settings, keys and metrics.
pub(super) const NIGHTLY: &str = "nightly";
pub(super) const RECENT: &str = "recent";
pub(super) const AUDIT: &str = "audit";

/// Whether a tick is due, of which `noted` is the last that fired.
pub(super) fn due(
    schedule: &Schedule,
    zone: Tz,
    noted: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<Due> {
    let tick = schedule.before(now, zone)?;
    let last = noted.filter(|noted| *noted <= now + SKEW);
    let first = match last {
        Some(last) if last >= tick => return None,
        Some(last) => schedule.after(last, zone)?,
        None => tick,
    };
    Some(Due { tick, first, last })
}

/// From when on sessions are asked for: as far back as the first missed tick would have gone, and never less than to the
/// last one that fired, however short the window.
fn window_start(due: Due, window: Duration) -> DateTime<Utc> {
    let from = due.first - window;
    due.last.map_or(from, |last| from.min(last))
}

/// Up to the tick; a late one up to now, since nobody has looked at the time between.
fn window_end(due: Due, now: DateTime<Utc>) -> DateTime<Utc> {
    let late = now - due.tick > LATE;
    if late { now.trunc_subsecs(0) } else { due.tick }
}

#[expect(clippy::cast_precision_loss, reason = "a fraction of accounts, not a count")]
fn share(place: usize, of: usize) -> f64 {
    place as f64 / of.max(1) as f64
}

/// How each schedule stands, the audit's among them, by the queue of lookbacks.
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
        (AUDIT, &settings.audit),
    ];
    let set = all
        .into_iter()
        .filter_map(|(name, schedule)| Some((name, schedule.as_ref()?)));
    let status = set.map(|(name, schedule)| {
        let last = ticks.get(name).copied();
        let due = due(schedule, settings.time_zone, last, now);
        ScheduleStatus {
            name,
            schedule: schedule.to_string(),
            time_zone: settings.time_zone,
            last,
            overdue: due.map(|due| due.first),
            next: schedule.after(now, settings.time_zone),
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
        let due = due(&schedule, Tz::UTC, Some(last), now).unwrap();
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
        let due = due(&schedule, Tz::UTC, Some(last), at("2026-11-23T12:00:01Z")).unwrap();
        assert_eq!(window_start(due, Duration::from_hours(1)), last);
    }

    #[test]
    fn a_clock_that_was_set_back_a_little_repeats_no_tick_and_a_tick_far_in_the_future_is_not_believed() {
        let schedule: Schedule = "*/10 * * * *".parse().unwrap();
        let due = |noted: &str, now: &str| due(&schedule, Tz::UTC, Some(at(noted)), at(now));
        assert_eq!(due("2026-11-23T12:00:00Z", "2026-11-23T11:58:00Z"), None);
        let wrong = due("2027-01-01T00:00:00Z", "2026-11-23T11:58:00Z").unwrap();
        assert_eq!((wrong.tick, wrong.last), (at("2026-11-23T11:50:00Z"), None));
    }
}
