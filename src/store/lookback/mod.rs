//! The lookback's records: its runs, what they found, and up to where nothing is missing.

mod marks;
mod model;
mod open;
mod runs;
mod sessions;
mod sql;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::StoreError;

pub(super) use sql::{Note, notes};

pub use model::{
    FoundSession, HeldPurchase, LookbackMark, LookbackRun, OpenSession, RecentBuyer, RunCounts, RunPhase,
    RunStep, SessionState,
};

/// What the lookback keeps in the store: [`Store::lookback`](super::Store::lookback).
#[async_trait]
pub trait LookbackStore: Send + Sync {
    /// Which of these sessions, and of these payments, have made a subscription.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn held(&self, sessions: &[&str], payments: &[&str]) -> Result<Vec<HeldPurchase>, StoreError>;

    /// Notes a run, unless one of its id is there. Answers whether it was new.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn begin_run(&self, run: &LookbackRun) -> Result<bool, StoreError>;

    /// A run by its id.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn run(&self, id: &str) -> Result<Option<LookbackRun>, StoreError>;

    /// The newest run of a job's key that is not over.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn live_run(&self, key: &str) -> Result<Option<LookbackRun>, StoreError>;

    /// Runs, newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn runs(&self, limit: u32) -> Result<Vec<LookbackRun>, StoreError>;

    /// The last sweep by schedule of each account where that one failed, of those that began after `since`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn failed_sweeps(&self, since: DateTime<Utc>) -> Result<Vec<LookbackRun>, StoreError>;

    /// Forgets a run that nobody has begun.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn drop_run(&self, id: &str) -> Result<(), StoreError>;

    /// Adds what a step has found and takes the run on, in one transaction, if the run still stands where it stood in
    /// `before`. `false`: another worker has taken it on, and nothing was written.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn step_run(
        &self,
        before: &LookbackRun,
        step: &RunStep,
        found: &[FoundSession],
    ) -> Result<bool, StoreError>;

    /// Hands the run on to the slice after `slice`; `false`: another has done so.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn hand_on_run(&self, id: &str, slice: u32) -> Result<bool, StoreError>;

    /// Ends a run with its counts, and drops those of its sessions that need nobody's attention. One that is over stays
    /// as it is.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn end_run(
        &self,
        id: &str,
        phase: RunPhase,
        counts: RunCounts,
        error: Option<&str>,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError>;

    /// Forgets runs that began before `before`, with all that they found; at most `limit` in one go. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn drop_runs(&self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError>;

    /// The keys of the customers whose sessions a run has found, in order, those after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn found_customers(&self, run: &str, after: &str, limit: u32) -> Result<Vec<String>, StoreError>;

    /// What a run has found of a customer; `None`: of all, in order of the sessions, those after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn found_sessions(
        &self,
        run: &str,
        customer: Option<&str>,
        states: &[SessionState],
        after: &str,
        limit: u32,
    ) -> Result<Vec<FoundSession>, StoreError>;

    /// Notes sessions of a run as they are now.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn note_sessions(&self, run: &str, sessions: &[FoundSession]) -> Result<(), StoreError>;

    /// The sessions of a run, counted.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn tally(&self, run: &str) -> Result<RunCounts, StoreError>;

    /// Users who got a subscription in the span of `run` from tenants of its account, by [`RecentBuyer::key`], those after
    /// `after`; without those of whom the run has found the session.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn recent_buyers(
        &self,
        run: &LookbackRun,
        after: &str,
        limit: u32,
    ) -> Result<Vec<RecentBuyer>, StoreError>;

    /// How many subscriptions tenants of the run's account have that began in its span; `most` at most.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn known_sessions(&self, run: &LookbackRun, most: u32) -> Result<u64, StoreError>;

    /// Sessions of which events came in the span of `run` on its account, that were handed on and have no subscription,
    /// in order, those after `after`; without those that the run has found.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn logged_sessions(
        &self,
        run: &LookbackRun,
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, StoreError>;

    /// The sessions of an account that sweeps have met without an end, created from `from` on, of any of these customers;
    /// each once, the newest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn open_sessions(
        &self,
        account: Option<&str>,
        customers: &[&str],
        from: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<String>, StoreError>;

    /// Forgets sessions that have their end.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn close_sessions(&self, sessions: &[&str]) -> Result<(), StoreError>;

    /// Forgets open sessions that were created before `before`. Returns how many rows.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn drop_open_sessions(&self, before: DateTime<Utc>) -> Result<u64, StoreError>;

    /// Notes that nothing is missing from `mark.from` to `mark.to`. Where that joins what was proven before it extends
    /// it; else the later of the two stands. A mark never goes back, but for one that is ahead of `mark.updated_at`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn raise_mark(&self, mark: &LookbackMark) -> Result<(), StoreError>;

    /// All marks.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn marks(&self) -> Result<Vec<LookbackMark>, StoreError>;
}
