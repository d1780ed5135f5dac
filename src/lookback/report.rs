//! Asking for a run, and reading what it has come to.

use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::{AccountSyncRequest, Lookback, LookbackError, LookbackJob, RunId, SyncRequest};
use crate::queue::{Enqueued, JobStatus, Job, QueueError};
use crate::store::{CreatedVia, LookbackRun, RunPhase, SessionState};

/// So many sessions are named.
const MOST_NAMED: u32 = 1_000;
/// How long to wait for a job whose run is done to be settled, try by try.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
];
/// A job that is not there this long after its run was last heard of will not come: asking for a run writes its row first.
const UNHEARD: TimeDelta = TimeDelta::seconds(10);
/// Two machines that ask for the same span do it by their own clocks.
const SAME_SPAN: TimeDelta = TimeDelta::hours(1);
const SUPERSEDED: &str = "asked_again: its job had died, and another was asked for in its place";
const GONE: &str = "job_gone: its job is gone and was not done: was it discarded? Ask for it again";

/// A run that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub run: RunId,
    /// The same was under way already: this is its run.
    pub joined: bool,
    /// That one looks at less than was asked for: once it is over, ask again.
    pub narrower: bool,
}

/// What a run has come to so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub run: String,
    /// Nothing more comes: all that it has found has its end.
    pub done: bool,
    pub phase: RunPhase,
    /// Subscriptions that it brought about.
    pub created_count: u64,
    /// Purchases that had their subscription, got it by another way, or were none of ours.
    pub skipped_count: u64,
    /// Purchases that are dead letters or could not be handed in; one more where an account could not be read.
    pub error_count: u64,
    /// Purchases on their way.
    pub pending_count: u64,
    /// Sessions that Stripe gave and that could not be read: what they are is not known.
    pub unreadable_count: u64,
    /// All purchases, without those whose money was given back.
    pub total_sessions_found: u64,
    /// Purchases without a subscription whose money was given back in full, a thousand at most: no pass is due.
    pub refunded_count: u64,
    /// Of the newest run of this kind a thousand at most, each.
    pub created: Vec<String>,
    pub refunded: Vec<String>,
    pub errors: Vec<FailedSession>,
    /// Why the run itself failed, or an account of it.
    pub error: Option<String>,
    /// Calls that listed sessions, without those that were tried in vain.
    pub pages: u64,
    /// Of a sweep: customers whose jobs were enqueued.
    pub customers: u64,
}

/// A session that could not be brought to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedSession {
    pub session: String,
    /// A stable word, a colon, and what to do.
    pub error: String,
}

/// Why nobody works on a run.
enum Halt {
    /// Its job is a dead letter, and why.
    Dead(String),
    /// Its job is not there any more.
    Gone,
}

impl Lookback {
    /// Enqueues a sync under a run of its own; where the same is under way, answers that one's run. `ulid` must be new.
    ///
    /// # Errors
    /// [`LookbackError`]. The job may be enqueued nevertheless; to ask again is safe.
    pub async fn ask(&self, request: &SyncRequest, ulid: ulid::Ulid) -> Result<Asked, LookbackError> {
        let run = RunId::new(ulid);
        let job = LookbackJob::Sync(SyncRequest {
            run: Some(run.clone()),
            ..request.clone()
        });
        let key = job.key().unwrap_or_default();
        let row = self.new_run(request, &run, &key);
        self.enqueue(&job, &row, run).await
    }

    /// The same for a sweep.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn request_account_sync(&self, request: &AccountSyncRequest) -> Result<Asked, LookbackError> {
        let run = request.run();
        let row = self.new_account_run(request);
        self.enqueue(&LookbackJob::AccountSync(request.clone()), &row, run)
            .await
    }

    /// The row first, so that whoever finds the job finds its run.
    async fn enqueue(
        &self,
        job: &LookbackJob,
        row: &LookbackRun,
        run: RunId,
    ) -> Result<Asked, LookbackError> {
        let before = self.records().live_run(&row.key).await?;
        // The one that is under way may end between the answer and the look for it, or have been asked for by nobody. A run is
        // done a moment before its job is settled: in between there is neither a run to join nor room for another job.
        for pause in PAUSES {
            self.records().begin_run(row).await?;
            let answers = self.sync.enqueue(&[job.item()?]).await?;
            if answers.first() == Some(&Enqueued::New) {
                if let Some(before) = before.filter(|before| before.id != row.id) {
                    self.supersede(&before.id).await?;
                }
                return Ok(Asked {
                    run,
                    joined: false,
                    narrower: false,
                });
            }
            self.records().drop_run(run.as_str()).await?;
            if let Some(live) = self.records().live_run(&row.key).await? {
                return Ok(Asked {
                    narrower: is_narrower(&live, row),
                    run: RunId::from(live.id),
                    joined: true,
                });
            }
            tokio::time::sleep(pause).await;
        }
        Err(QueueError::Answer("ask").into())
    }

    /// Ends a run that had no job any more when another was asked for in its place: nobody is to join it.
    async fn supersede(&self, run: &str) -> Result<(), LookbackError> {
        let run = self.records().run(run).await?;
        if let Some(run) = run.filter(|run| !run.phase.is_over() && run.phase != RunPhase::Settling) {
            self.end(&run.id, RunPhase::Failed, Some(SUPERSEDED)).await?;
        }
        Ok(())
    }

    /// What a run has come to; `None`: there is none of this id. What has arrived since the last look is noted.
    ///
    /// # Errors
    /// [`LookbackError`].
    pub async fn report(&self, run: &RunId) -> Result<Option<Report>, LookbackError> {
        let Some(mut row) = self.records().run(run.as_str()).await? else {
            return Ok(None);
        };
        let mut counts = row.counts;
        if !row.phase.is_over() {
            counts = self.settle(&row).await?;
            let is_sweep = !row.key.starts_with("sync:");
            // A sweep ends itself: its end is what proves that nothing is missing.
            if row.phase != RunPhase::Settling || is_sweep {
                match self.halt(&row).await? {
                    // Not for good: retried, its job takes the run up where it stands.
                    Some(Halt::Dead(error)) if is_sweep || !self.has_on_the_way(&row).await? => {
                        row.phase = RunPhase::Failed;
                        row.error = Some(error);
                    }
                    Some(Halt::Gone) => {
                        row.phase = RunPhase::Failed;
                        row.error = Some(GONE.to_owned());
                        counts = self.end(&row.id, row.phase, row.error.as_deref()).await?;
                    }
                    Some(Halt::Dead(_)) | None => {}
                }
            } else if counts.pending == 0 {
                row.phase = match row.error {
                    Some(_) => RunPhase::Failed,
                    None => RunPhase::Done,
                };
                counts = self.end(&row.id, row.phase, row.error.as_deref()).await?;
            }
        }
        let named = async |states: &[SessionState]| {
            self.records()
                .found_sessions(&row.id, None, states, "", MOST_NAMED)
                .await
        };
        let created = named(&[SessionState::Created]).await?;
        let refunded = named(&[SessionState::Refunded]).await?;
        let failed = named(&[SessionState::Dead, SessionState::Failed]).await?;
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

    /// Why nobody works on the run, which is not over.
    async fn halt(&self, row: &LookbackRun) -> Result<Option<Halt>, LookbackError> {
        let job = |slice| match slice {
            0 => row.key.clone(),
            slice => format!("{}:{slice}", row.key),
        };
        // Whoever sources a sweep on notes the next slice before there is its job.
        let slices = std::iter::once(row.slice).chain(row.slice.checked_sub(1));
        let jobs: Vec<String> = slices.map(job).collect();
        for (job, status) in jobs.iter().zip(self.sync.job_statuses(&jobs).await?) {
            match status {
                JobStatus::Live => return Ok(None),
                JobStatus::Dead { reason, .. } => {
                    let why = self.last_words(job).await?;
                    return Ok(Some(Halt::Dead(format!(
                        "{reason}: {why} (its job is a dead letter: `surepass jobs retry '{job}'` goes on where it stands)"
                    ))));
                }
                JobStatus::Gone => {}
            }
        }
        // A job that was done has noted it before it went.
        let is_unheard = self.clock.now() - row.updated_at >= UNHEARD;
        let is_as_before = is_unheard && self.records().run(&row.id).await?.as_ref() == Some(row);
        Ok(is_as_before.then_some(Halt::Gone))
    }

    /// What a job's last attempt failed with, in words.
    async fn last_words(&self, job: &str) -> Result<String, LookbackError> {
        #[derive(Deserialize)]
        struct Failed {
            error: String,
        }
        let errors = self.sync.errors(job).await?;
        let last = errors.last().and_then(|json| serde_json::from_str(json).ok());
        Ok(last.map_or_else(String::new, |Failed { error }| error))
    }

    async fn has_on_the_way(&self, row: &LookbackRun) -> Result<bool, LookbackError> {
        let on_the_way = self
            .records()
            .found_sessions(&row.id, None, &[SessionState::Enqueued], "", 1)
            .await?;
        Ok(!on_the_way.is_empty())
    }
}

/// Whether a run goes less far back than another, or relies on the sweeps' marks, as only what an operator asks for does not.
fn is_narrower(live: &LookbackRun, asked: &LookbackRun) -> bool {
    let is_support = |run: &LookbackRun| run.via == CreatedVia::Support;
    live.from > asked.from + SAME_SPAN || is_support(asked) && !is_support(live)
}
