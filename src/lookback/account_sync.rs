//! Syncs all customers of an account with one list of its sessions.
//!
//! The list is staged in the store, page by page with its cursor, so that an interrupted account sync
//! continues there. Then each customer in it gets one job, which reads the staged sessions in place of
//! Stripe.

mod customers;
mod list;

use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;

use super::failed_deliveries::MARGIN;
use super::{AccountSyncRequest, Lookback, LookbackError, LookbackJob};
use crate::store::{
    CreatedVia, FoundSession, LookbackRun, RunCounts, RunPhase, RunStep, SessionState, Watermark,
};

/// The name of its watermark.
pub(super) const DETECTOR: &str = "sessions";

/// How long an account sync waits for its enqueued jobs after the last customer's job. Longer than a job's
/// last attempt.
const MAX_WAIT: TimeDelta = TimeDelta::hours(3);
/// How often an account sync may be interrupted at one position before it counts against the job.
const MAX_STALLS: u32 = 2;

/// How long runs are kept, and how many are deleted in one statement.
const RUN_RETENTION: TimeDelta = TimeDelta::days(30);
const RUN_BATCH_SIZE: u32 = 500;

/// What the account sync does next.
enum Next {
    /// Continue at once.
    Go,
    /// Wait for this time.
    Wait(Duration),
    /// Stop: the run is over, or another worker has it.
    Stop,
}

impl Lookback {
    /// Runs one slice of an account sync and enqueues the next. `attempt` is the job's, from 1.
    ///
    /// After an interrupted attempt, the next one hands over to a new job at once. So worker crashes do not
    /// add up to `poison` in one job while the run makes progress. Without progress they do.
    ///
    /// # Errors
    /// [`LookbackError`]. A retry continues at the checkpoint, also when a person retries a dead letter.
    pub async fn sync_account(
        &self,
        request: &AccountSyncRequest,
        attempt: usize,
    ) -> Result<(), LookbackError> {
        let end = Instant::now() + self.slice;
        let new = self.new_account_run(request);
        self.records().begin_run(&new).await?;
        let run = self.records().run(&new.id).await?.unwrap_or(new);
        if run.phase.is_over() {
            return Ok(());
        }
        if run.slice == request.slice + 1 {
            // The worker died after it stored the next slice and before it enqueued it.
            return self.enqueue_next(request, Duration::ZERO, None).await;
        }
        if run.slice != request.slice {
            return Ok(());
        }
        if attempt > 1 {
            let checkpoint = format!("{}:{}", run.phase.as_str(), run.cursor);
            let stalls = match &request.cut_off {
                Some((before, stalls)) if *before == checkpoint => stalls + 1,
                _ => 0,
            };
            if stalls < MAX_STALLS {
                return self
                    .start_next_slice(request, Duration::ZERO, Some((checkpoint, stalls)))
                    .await;
            }
        }
        let wait = match self.run_phases(request, run, end).await {
            Ok(Next::Stop) => return Ok(()),
            Ok(Next::Go) => Duration::ZERO,
            Ok(Next::Wait(wait)) => wait,
            Err(LookbackError::Stripe(error))
                if request.via == CreatedVia::Lookback && !error.is_transient() =>
            {
                // The next tick tries again. A dead letter for each tick would hide those that need a person.
                let (code, account) = (error.reason(), request.account.as_deref());
                tracing::error!(account, code, %error, "Stripe refused to list the account; the account sync failed");
                let told = format!("{code}: {error}");
                let run = request.run();
                self.end_run(run.as_str(), RunPhase::Failed, Some(&told)).await?;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.start_next_slice(request, wait, None).await
    }

    async fn start_next_slice(
        &self,
        request: &AccountSyncRequest,
        wait: Duration,
        cut_off: Option<(String, u32)>,
    ) -> Result<(), LookbackError> {
        let run = request.run();
        if self.records().advance_slice(run.as_str(), request.slice).await? {
            self.enqueue_next(request, wait, cut_off).await?;
        }
        Ok(())
    }

    pub(super) fn new_account_run(&self, request: &AccountSyncRequest) -> LookbackRun {
        let id = request.run();
        let now = self.clock.now();
        LookbackRun {
            account: request.account.clone(),
            phase: RunPhase::Listing,
            ..LookbackRun::new(
                id.as_str(),
                id.as_str(),
                request.via,
                request.from,
                request.to,
                now,
            )
        }
    }

    async fn enqueue_next(
        &self,
        request: &AccountSyncRequest,
        wait: Duration,
        cut_off: Option<(String, u32)>,
    ) -> Result<(), LookbackError> {
        let next = LookbackJob::AccountSync(AccountSyncRequest {
            slice: request.slice + 1,
            cut_off,
            ..request.clone()
        });
        self.sync.enqueue(&[next.item()?.after(wait)]).await?;
        Ok(())
    }

    async fn run_phases(
        &self,
        request: &AccountSyncRequest,
        mut run: LookbackRun,
        end: Instant,
    ) -> Result<Next, LookbackError> {
        loop {
            let next = match run.phase {
                RunPhase::Waiting | RunPhase::Listing => self.list(request, &mut run).await?,
                RunPhase::Gathering => self.add_logged_sessions(&mut run).await?,
                RunPhase::Enqueueing => self.enqueue_customers(request, &mut run).await?,
                RunPhase::Settling => self.finish(request, &run).await?,
                RunPhase::Done | RunPhase::Failed => Next::Stop,
            };
            match next {
                Next::Go if Instant::now() < end => {}
                next => return Ok(next),
            }
        }
    }

    /// Stores the run's progress and the sessions found. `false`: another worker has already done so.
    async fn step(
        &self,
        run: &mut LookbackRun,
        step: RunStep,
        found: &[FoundSession],
    ) -> Result<bool, LookbackError> {
        let is_current = self.records().save_step(run, &step, found).await?;
        if is_current {
            run.phase = step.phase;
            run.cursor = step.cursor;
            run.updated_at = step.at;
            run.error = step.error.or_else(|| run.error.take());
        } else {
            tracing::info!(run = run.id, "another worker continues this account sync");
        }
        Ok(is_current)
    }

    /// Ends the account sync when all its sessions have a final state, or else waits.
    async fn finish(&self, request: &AccountSyncRequest, run: &LookbackRun) -> Result<Next, LookbackError> {
        self.update_outcomes(run).await?;
        let counts = self.records().count_sessions(&run.id).await?;
        let spread = TimeDelta::seconds(request.spread_seconds.into());
        let waited = self.clock.now() - run.updated_at - spread;
        if counts.pending > 0 && waited < MAX_WAIT {
            if waited > TimeDelta::minutes(1) {
                self.check_customer_jobs(run).await?;
            }
            // A quarter of the time waited so far: the longer it takes, the rarer the checks.
            let pause = if waited < TimeDelta::zero() {
                -waited
            } else {
                waited / 4
            };
            let pause = pause.clamp(TimeDelta::milliseconds(500), TimeDelta::minutes(1));
            return Ok(Next::Wait(pause.to_std().unwrap_or(Duration::from_secs(1))));
        }
        self.raise_watermark(run, counts).await?;
        self.end_run(&run.id, RunPhase::Done, run.error.as_deref())
            .await?;
        let old = self.clock.now() - RUN_RETENTION;
        while self.records().delete_runs(old, RUN_BATCH_SIZE).await? == u64::from(RUN_BATCH_SIZE) {}
        self.records().delete_old_pending_sessions(old).await?;
        tracing::info!(
            run = run.id,
            account = run.account,
            found = counts.found,
            created = counts.created,
            failed = counts.failed,
            "account sync done"
        );
        Ok(Next::Stop)
    }

    /// Raises the watermark if every session was read, and each paid one has a subscription or a reported
    /// dead letter.
    async fn raise_watermark(&self, run: &LookbackRun, counts: RunCounts) -> Result<(), LookbackError> {
        // Stripe's list may lack sessions that were created moments before it was read.
        let to = run.to.min(run.began_at - MARGIN);
        let unread = self.records().run(&run.id).await?.map_or(0, |run| run.unreadable);
        let failed = self
            .records()
            .found_sessions(&run.id, None, &[SessionState::Failed], "", 1)
            .await?;
        if counts.pending > 0 || unread > 0 || !failed.is_empty() || to <= run.from {
            tracing::warn!(
                run = run.id,
                account = run.account,
                pending = counts.pending,
                unreadable = unread,
                failed = failed.len(),
                "watermark not raised: some sessions of this account sync are unfinished"
            );
            return Ok(());
        }
        let mark = Watermark {
            detector: DETECTOR.to_owned(),
            account: run.account.clone(),
            is_test: self.is_test(),
            from: run.from,
            to,
            updated_at: self.clock.now(),
        };
        Ok(self.records().raise_watermark(&mark).await?)
    }
}

fn continue_if(is_current: bool) -> Next {
    if is_current { Next::Go } else { Next::Stop }
}
