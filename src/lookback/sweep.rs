//! All customers of an account, by one listing.
//!
//! The listing is staged in the store, page by page with its cursor, so that a sweep that is cut off goes on where it
//! stood. Then each customer who was found gets one job, which reads its sessions from there instead of from Stripe.

mod customers;
mod list;
mod parts;

use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;

use super::undelivered::MARGIN;
use super::{Lookback, LookbackError, LookbackJob, SweepRequest};
use crate::store::{
    CreatedVia, FoundSession, LookbackMark, LookbackRun, RunCounts, RunPhase, RunStep, SessionState,
};

/// The name of its mark.
pub(super) const DETECTOR: &str = "sessions";

/// For how long after its customers' last job a sweep waits for what is on its way: longer than a job's last attempt.
const PATIENCE: TimeDelta = TimeDelta::hours(3);
/// How often a sweep may be cut off at one place before it counts against the job.
const MOST_STALLS: u32 = 2;

/// Runs are kept so long, and so many dropped in one go.
const KEEP_RUNS: TimeDelta = TimeDelta::days(30);
const RUNS_TOGETHER: u32 = 500;

/// Where a step has left the run.
enum Next {
    /// There is more to do.
    Go,
    /// Nothing to do for so long.
    Wait(Duration),
    /// It is over, or somebody else has it.
    Stop,
}

impl Lookback {
    /// Does one slice of a sweep, and enqueues the next. `attempt` is the job's, from 1 on.
    ///
    /// An attempt that follows one that was cut off hands on at once, so that the crashes of workers do not add up in one
    /// job to `poison` while the sweep gets on. Where it does not get on, they do.
    ///
    /// # Errors
    /// [`LookbackError`]: the slice goes on where it stood, also where a person retries it that has died.
    pub async fn sweep(&self, request: &SweepRequest, attempt: usize) -> Result<(), LookbackError> {
        let end = Instant::now() + self.slice;
        let new = self.new_sweep(request);
        self.records().begin_run(&new).await?;
        let run = self.records().run(&new.id).await?.unwrap_or(new);
        if run.phase.is_over() {
            return Ok(());
        }
        if run.slice == request.slice + 1 {
            // It was handed on by one who died before the next slice was there.
            return self.enqueue_next(request, Duration::ZERO, None).await;
        }
        if run.slice != request.slice {
            return Ok(());
        }
        if attempt > 1 {
            let stands = format!("{}:{}", run.phase.as_str(), run.cursor);
            let stalls = match &request.cut_off {
                Some((before, stalls)) if *before == stands => stalls + 1,
                _ => 0,
            };
            if stalls < MOST_STALLS {
                return self
                    .hand_on(request, Duration::ZERO, Some((stands, stalls)))
                    .await;
            }
        }
        let wait = match self.work(request, run, end).await {
            Ok(Next::Stop) => return Ok(()),
            Ok(Next::Go) => Duration::ZERO,
            Ok(Next::Wait(wait)) => wait,
            Err(LookbackError::Stripe(error))
                if request.via == CreatedVia::Lookback && !error.is_transient() =>
            {
                // The next tick asks again: a dead letter for each would hide those that a person must act on.
                let (code, account) = (error.reason(), request.account.as_deref());
                tracing::error!(account, code, %error, "Stripe refuses to be looked at");
                let told = format!("{code}: {error}");
                let run = request.run();
                self.end(run.as_str(), RunPhase::Failed, Some(&told)).await?;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.hand_on(request, wait, None).await
    }

    async fn hand_on(
        &self,
        request: &SweepRequest,
        wait: Duration,
        cut_off: Option<(String, u32)>,
    ) -> Result<(), LookbackError> {
        let run = request.run();
        if self.records().hand_on_run(run.as_str(), request.slice).await? {
            self.enqueue_next(request, wait, cut_off).await?;
        }
        Ok(())
    }

    pub(super) fn new_sweep(&self, request: &SweepRequest) -> LookbackRun {
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
        request: &SweepRequest,
        wait: Duration,
        cut_off: Option<(String, u32)>,
    ) -> Result<(), LookbackError> {
        let next = LookbackJob::Sweep(SweepRequest {
            slice: request.slice + 1,
            cut_off,
            ..request.clone()
        });
        self.sync.enqueue(&[next.item()?.after(wait)]).await?;
        Ok(())
    }

    async fn work(
        &self,
        request: &SweepRequest,
        mut run: LookbackRun,
        end: Instant,
    ) -> Result<Next, LookbackError> {
        loop {
            let next = match run.phase {
                RunPhase::Waiting | RunPhase::Listing => self.list(request, &mut run, end).await?,
                RunPhase::Gathering => self.gather(&mut run).await?,
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

    /// Takes the run on, with what was found; `false`: somebody else has.
    async fn step(
        &self,
        run: &mut LookbackRun,
        step: RunStep,
        found: &[FoundSession],
    ) -> Result<bool, LookbackError> {
        let taken_on = self.records().step_run(run, &step, found).await?;
        if taken_on {
            run.phase = step.phase;
            run.cursor = step.cursor;
            run.updated_at = step.at;
            run.error = step.error.or_else(|| run.error.take());
        } else {
            tracing::info!(run = run.id, "another worker has taken the sweep on");
        }
        Ok(taken_on)
    }

    /// Ends the sweep once all that it has found has its end; looks again later where it has not.
    async fn finish(&self, request: &SweepRequest, run: &LookbackRun) -> Result<Next, LookbackError> {
        let counts = self.settle(run).await?;
        let spread = TimeDelta::seconds(request.spread_seconds.into());
        let waited = self.clock.now() - run.updated_at - spread;
        if counts.pending > 0 && waited < PATIENCE {
            if waited > TimeDelta::minutes(1) {
                self.look_after(run).await?;
            }
            // A quarter of what it has waited for: what takes long is not asked about often.
            let pause = if waited < TimeDelta::zero() {
                -waited
            } else {
                waited / 4
            };
            let pause = pause.clamp(TimeDelta::milliseconds(500), TimeDelta::minutes(1));
            return Ok(Next::Wait(pause.to_std().unwrap_or(Duration::from_secs(1))));
        }
        self.prove(run, counts).await?;
        self.end(&run.id, RunPhase::Done, run.error.as_deref()).await?;
        let old = self.clock.now() - KEEP_RUNS;
        while self.records().drop_runs(old, RUNS_TOGETHER).await? == u64::from(RUNS_TOGETHER) {}
        self.records().drop_open_sessions(old).await?;
        tracing::info!(
            run = run.id,
            account = run.account,
            found = counts.found,
            created = counts.created,
            failed = counts.failed,
            "swept"
        );
        Ok(Next::Stop)
    }

    /// Every session was looked at, and each that is paid for has its subscription or a dead letter that a person knows of.
    async fn prove(&self, run: &LookbackRun, counts: RunCounts) -> Result<(), LookbackError> {
        // What Stripe made in the last moments before the listing began, its list may not have held yet.
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
                "the sweep proves nothing: not all that was found has an end"
            );
            return Ok(());
        }
        let mark = LookbackMark {
            detector: DETECTOR.to_owned(),
            account: run.account.clone(),
            is_test: self.is_test(),
            from: run.from,
            to,
            updated_at: self.clock.now(),
        };
        Ok(self.records().raise_mark(&mark).await?)
    }
}

fn go(taken_on: bool) -> Next {
    if taken_on { Next::Go } else { Next::Stop }
}
