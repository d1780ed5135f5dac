//! The lookback's records: its runs, the sessions that they found, and watermarks.

mod model;
mod pending_sessions;
mod runs;
mod sessions;
mod sql;
mod watermarks;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::StoreError;

pub(super) use sql::{SessionBatch, session_batches};

pub use model::{
    FoundSession, FulfilledPurchase, LookbackRun, PendingSession, RecentBuyer, RunCounts, RunPhase, RunStep,
    SessionState, Watermark,
};

/// The lookback's records in the store: [`Store::lookback`](super::Store::lookback).
#[async_trait]
pub trait LookbackStore: Send + Sync {
    /// Which of these sessions and payments have a subscription.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn fulfilled_purchases(
        &self,
        sessions: &[&str],
        payments: &[&str],
    ) -> Result<Vec<FulfilledPurchase>, StoreError>;

    /// Inserts a run. Returns false if its id exists already.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn begin_run(&self, run: &LookbackRun) -> Result<bool, StoreError>;

    /// A run by its id.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn run(&self, id: &str) -> Result<Option<LookbackRun>, StoreError>;

    /// The newest run with this key that is not over.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn live_run(&self, key: &str) -> Result<Option<LookbackRun>, StoreError>;

    /// Runs, newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn runs(&self, limit: u32) -> Result<Vec<LookbackRun>, StoreError>;

    /// The last scheduled account sync of each account, if it failed and began after `since`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn failed_account_syncs(&self, since: DateTime<Utc>) -> Result<Vec<LookbackRun>, StoreError>;

    /// Deletes a run that has not started.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn delete_run(&self, id: &str) -> Result<(), StoreError>;

    /// Stores the sessions of a step and moves the run on, in one transaction, if the run is still in the
    /// state `before`. Returns false if another worker has moved it on; then nothing is written.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn save_step(
        &self,
        before: &LookbackRun,
        step: &RunStep,
        found: &[FoundSession],
    ) -> Result<bool, StoreError>;

    /// Moves the run on to the slice after `slice`. Returns false if another worker has done so.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn advance_slice(&self, id: &str, slice: u32) -> Result<bool, StoreError>;

    /// Ends a run with its counts, and deletes the sessions that nobody has to look at. A run that is over is
    /// not changed.
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

    /// Deletes runs that began before `before`, with their sessions; at most `limit` in one call. Returns how
    /// many.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn delete_runs(&self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError>;

    /// The keys of the customers in a run, in order, after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn found_customers(&self, run: &str, after: &str, limit: u32) -> Result<Vec<String>, StoreError>;

    /// The sessions of a run and customer (`None`: of all customers), ordered by id, after `after`.
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

    /// Updates the state of sessions of a run.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn save_sessions(&self, run: &str, sessions: &[FoundSession]) -> Result<(), StoreError>;

    /// Counts the sessions of a run.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn count_sessions(&self, run: &str) -> Result<RunCounts, StoreError>;

    /// Users who got a subscription in the run's time range from tenants of its account, without those in the
    /// run's list. In order of [`RecentBuyer::key`], after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn recent_buyers(
        &self,
        run: &LookbackRun,
        after: &str,
        limit: u32,
    ) -> Result<Vec<RecentBuyer>, StoreError>;

    /// Counts the subscriptions of the account's tenants that began in the run's time range, up to `most`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn known_sessions(&self, run: &LookbackRun, most: u32) -> Result<u64, StoreError>;

    /// Sessions in the event log, in the run's time range and account, that were enqueued and have no
    /// subscription. Without those in the run's list. In order, after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn logged_sessions(
        &self,
        run: &LookbackRun,
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, StoreError>;

    /// Pending sessions of these customers in an account, created from `from` on. Each once, newest first, at
    /// most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn pending_sessions(
        &self,
        account: Option<&str>,
        customers: &[&str],
        from: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<String>, StoreError>;

    /// Deletes sessions that are no longer pending.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn remove_pending_sessions(&self, sessions: &[&str]) -> Result<(), StoreError>;

    /// Deletes pending sessions that were created before `before`. Returns how many rows.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn delete_old_pending_sessions(&self, before: DateTime<Utc>) -> Result<u64, StoreError>;

    /// Records that nothing is missing from `mark.from` to `mark.to`. Extends the stored range if the two
    /// overlap; else the later one stays. A watermark never goes back, unless it is in the future of
    /// `mark.updated_at`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn raise_watermark(&self, mark: &Watermark) -> Result<(), StoreError>;

    /// All watermarks.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn watermarks(&self) -> Result<Vec<Watermark>, StoreError>;
}
