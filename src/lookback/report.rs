//! Requests runs and reports their results.

use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::{AccountSyncRequest, Lookback, LookbackError, LookbackJob, RunId, SyncRequest};
use crate::queue::{Enqueued, Job, JobStatus, QueueError};
use crate::store::{CreatedVia, LookbackRun, RunPhase, SessionState};

/// The most sessions listed by id.
const MAX_LISTED: u32 = 1_000;
/// Pauses between attempts, while the job of a finished run is still being acknowledged.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
];
/// A run's row is written before its job is enqueued. A job that is missing this long after the row's last
/// change will not come.
const JOB_MISSING_AFTER: TimeDelta = TimeDelta::seconds(10);
/// Two machines that request the same window use their own clocks.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::hours(1);
const SUPERSEDED: &str = "asked_again: its job was a dead letter, and a new run replaced it";
const GONE: &str =
    "job_gone: its job was removed before it was done; it may have been discarded. Run the sync again";

/// A requested run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedRun {
    pub run: RunId,
    /// The same sync was already running: this is its run.
    pub joined: bool,
    /// The running one covers less than requested. Request again when it is over.
    pub narrower: bool,
}

/// The result of a run so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub run: String,
    /// The run is over: all its sessions have a final state.
    pub done: bool,
    pub phase: RunPhase,
    /// Subscriptions that the run created.
    pub created_count: u64,
    /// Purchases that already had a subscription, got one by another way, or are not for a pass.
    pub skipped_count: u64,
    /// Purchases that are dead letters or could not be enqueued. Plus one if an account could not be read.
    pub error_count: u64,
    /// Purchases whose jobs are not done.
    pub pending_count: u64,
    /// Sessions from Stripe that could not be read.
    pub unreadable_count: u64,
    /// All purchases except fully refunded ones.
    pub total_sessions_found: u64,
    /// Purchases without a subscription that were refunded in full: no pass is due. At most 1,000.
    pub refunded_count: u64,
    /// Session ids, at most 1,000 of each kind.
    pub created: Vec<String>,
    pub refunded: Vec<String>,
    pub errors: Vec<FailedSession>,
    /// Why the run, or one of its accounts, failed.
    pub error: Option<String>,
    /// Successful calls to Stripe.
    pub pages: u64,
    /// Customers whose jobs an account sync enqueued.
    pub customers: u64,
}

/// A session that could not be fulfilled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedSession {
    pub session: String,
    /// A stable code, a colon, and what to do.
    pub error: String,
}

/// Why no job works on a run.
enum StopReason {
    /// Its job is a dead letter, for this reason.
    Dead(String),
    /// Its job does not exist any more.
    Gone,
}

impl Lookback {
    /// Enqueues a sync as a new run. If the same sync is running, returns that run. `ulid` must be new.
    ///
    /// # Errors
    /// [`LookbackError`]. The job may be enqueued nevertheless. Safe to repeat.
    pub async fn request_sync(
        &self,
        request: &SyncRequest,
        ulid: ulid::Ulid,
    ) -> Result<RequestedRun, LookbackError> {
        let run = RunId::new(ulid);
        let job = LookbackJob::Sync(SyncRequest {
            run: Some(run.clone()),
            ..request.clone()
        });
        let key = job.key().unwrap_or_default();
        let row = self.new_run(request, &run, &key);
        self.enqueue(&job, &row, run).await
    }

    /// Enqueues an account sync, in the same way.
    ///
    /// # Errors
    /// As [`Self::request_sync`].
    pub async fn request_account_sync(
        &self,
        request: &AccountSyncRequest,
    ) -> Result<RequestedRun, LookbackError> {
        let run = request.run();
        let row = self.new_account_run(request);
        self.enqueue(&LookbackJob::AccountSync(request.clone()), &row, run)
            .await
    }

    /// Writes the row first, so that the job always finds its run.
    async fn enqueue(
        &self,
        job: &LookbackJob,
        row: &LookbackRun,
        run: RunId,
    ) -> Result<RequestedRun, LookbackError> {
        let before = self.records().live_run(&row.key).await?;
        // The other run may end between the two statements. A run ends a moment before its job is
        // acknowledged: until then there is no run to join, and the job's key is still taken.
        for pause in PAUSES {
            self.records().begin_run(row).await?;
            let answers = self.sync.enqueue(&[job.item()?]).await?;
            if answers.first() == Some(&Enqueued::New) {
                if let Some(before) = before.filter(|before| before.id != row.id) {
                    self.supersede(&before.id).await?;
                }
                return Ok(RequestedRun {
                    run,
                    joined: false,
                    narrower: false,
                });
            }
            self.records().delete_run(run.as_str()).await?;
            if let Some(live) = self.records().live_run(&row.key).await? {
                return Ok(RequestedRun {
                    narrower: is_narrower(&live, row),
                    run: RunId::from(live.id),
                    joined: true,
                });
            }
            tokio::time::sleep(pause).await;
        }
        Err(QueueError::Answer("ask").into())
    }

    /// Ends a run whose job is a dead letter after a new run replaced it, so that nobody joins it.
    async fn supersede(&self, run: &str) -> Result<(), LookbackError> {
        let run = self.records().run(run).await?;
        if let Some(run) = run.filter(|run| !run.phase.is_over() && run.phase != RunPhase::Settling) {
            self.end_run(&run.id, RunPhase::Failed, Some(SUPERSEDED)).await?;
        }
        Ok(())
    }

    /// Brings a run up to date: stores what became of its sessions, and ends it if nothing works on it any more.
    /// An account sync ends itself, since its end raises the watermark.
    ///
    /// # Errors
    /// [`LookbackError`].
    pub async fn update(&self, run: &RunId) -> Result<(), LookbackError> {
        let row = self.records().run(run.as_str()).await?;
        let Some(row) = row.filter(|row| !row.phase.is_over()) else {
            return Ok(());
        };
        self.update_outcomes(&row).await?;
        if is_worked_on(&row) {
            if let Some(StopReason::Gone) = self.stop_reason(&row).await? {
                self.end_run(&row.id, RunPhase::Failed, Some(GONE)).await?;
            }
        } else if self.records().count_sessions(&row.id).await?.pending == 0 {
            let phase = match row.error {
                Some(_) => RunPhase::Failed,
                None => RunPhase::Done,
            };
            self.end_run(&row.id, phase, row.error.as_deref()).await?;
        }
        Ok(())
    }

    /// The run's result, as of its last [`Self::update`]. `None`: unknown id.
    ///
    /// # Errors
    /// [`LookbackError`].
    pub async fn report(&self, run: &RunId) -> Result<Option<Report>, LookbackError> {
        let Some(mut row) = self.records().run(run.as_str()).await? else {
            return Ok(None);
        };
        if !row.phase.is_over() {
            row.counts = self.records().count_sessions(&row.id).await?;
            // Not stored: a retried job continues the run.
            if is_worked_on(&row)
                && let Some(StopReason::Dead(error)) = self.stop_reason(&row).await?
                && (is_account_sync(&row) || !self.has_enqueued_sessions(&row).await?)
            {
                row.phase = RunPhase::Failed;
                row.error = Some(error);
            }
        }
        let counts = row.counts;
        let sessions_in = async |states: &[SessionState]| {
            self.records()
                .found_sessions(&row.id, None, states, "", MAX_LISTED)
                .await
        };
        let created = sessions_in(&[SessionState::Created]).await?;
        let refunded = sessions_in(&[SessionState::Refunded]).await?;
        let failed = sessions_in(&[SessionState::Dead, SessionState::Failed]).await?;
        Ok(Some(Report {
            done: row.phase.is_over(),
            phase: row.phase,
            created_count: counts.created,
            skipped_count: counts.skipped,
            error_count: counts.failed + u64::from(row.error.is_some()),
            pending_count: counts.pending,
            unreadable_count: row.unreadable,
            total_sessions_found: counts.found,
            refunded_count: refunded.len() as u64,
            created: created.into_iter().map(|one| one.session).collect(),
            refunded: refunded.into_iter().map(|one| one.session).collect(),
            errors: failed
                .into_iter()
                .map(|one| FailedSession {
                    session: one.session,
                    error: one.error.unwrap_or_default(),
                })
                .collect(),
            error: row.error,
            pages: row.pages,
            customers: row.customers,
            run: row.id,
        }))
    }

    /// Why no job works on a run that is not over.
    async fn stop_reason(&self, row: &LookbackRun) -> Result<Option<StopReason>, LookbackError> {
        let job = |slice| match slice {
            0 => row.key.clone(),
            slice => format!("{}:{slice}", row.key),
        };
        // The next slice is stored before its job is enqueued.
        let slices = std::iter::once(row.slice).chain(row.slice.checked_sub(1));
        let jobs: Vec<String> = slices.map(job).collect();
        for (job, status) in jobs.iter().zip(self.sync.job_statuses(&jobs).await?) {
            match status {
                JobStatus::Live => return Ok(None),
                JobStatus::Dead { reason, .. } => {
                    let why = self.last_error(job).await?;
                    return Ok(Some(StopReason::Dead(format!(
                        "{reason}: {why} (its job is a dead letter: `surepass jobs retry '{job}'` continues it)"
                    ))));
                }
                JobStatus::Gone => {}
            }
        }
        // A finished job has updated the row before it left the queue.
        let is_unheard = self.clock.now() - row.updated_at >= JOB_MISSING_AFTER;
        let is_as_before = is_unheard && self.records().run(&row.id).await?.as_ref() == Some(row);
        Ok(is_as_before.then_some(StopReason::Gone))
    }

    /// The error of a job's last attempt.
    async fn last_error(&self, job: &str) -> Result<String, LookbackError> {
        #[derive(Deserialize)]
        struct Failed {
            error: String,
        }
        let errors = self.sync.errors(job).await?;
        let last = errors.last().and_then(|json| serde_json::from_str(json).ok());
        Ok(last.map_or_else(String::new, |Failed { error }| error))
    }

    async fn has_enqueued_sessions(&self, row: &LookbackRun) -> Result<bool, LookbackError> {
        let on_the_way = self
            .records()
            .found_sessions(&row.id, None, &[SessionState::Enqueued], "", 1)
            .await?;
        Ok(!on_the_way.is_empty())
    }
}

fn is_account_sync(run: &LookbackRun) -> bool {
    !run.key.starts_with("sync:")
}

/// Whether a job works on the run. A customer's sync only waits for its sessions in the end.
fn is_worked_on(run: &LookbackRun) -> bool {
    run.phase != RunPhase::Settling || is_account_sync(run)
}

/// Whether a run covers a shorter time than another. Or uses the watermarks while the other, which an
/// operator requested, does not.
fn is_narrower(live: &LookbackRun, asked: &LookbackRun) -> bool {
    let is_support = |run: &LookbackRun| run.via == CreatedVia::Support;
    live.from > asked.from + CLOCK_TOLERANCE || is_support(asked) && !is_support(live)
}
