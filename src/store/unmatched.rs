//! Unmatched payments ("cases"): paid sessions without a subscription, until a person or a refund closes
//! them.

mod model;
mod sql;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::StoreError;
use super::dialect::Dialect;
use super::pools::ask;
use super::sql::SqlStore;

pub use model::{
    Evidence, NewUnmatched, OpenUnmatched, RefundedPayments, Resolution, UnmatchedFilter, UnmatchedNote,
    UnmatchedPayment, UnmatchedPolicy, UnmatchedState,
};

/// How often another reference is tried if one is taken.
const TRIES: u32 = 5;

/// The store's cases: [`Store::unmatched`](super::Store::unmatched).
///
/// Creating a session's subscription closes its case in the same transaction.
#[async_trait]
pub trait UnmatchedStore: Send + Sync {
    /// Opens the case of an account's session, or updates the one that is open. A case that a person or a refund closed
    /// stays closed, and a session that has its subscription, of the case's tenant, gets none (except for
    /// [`NewUnmatched::ITEMS_SHORT`]). What came in by one tenant's path changes no case of another. Returns the case if it is
    /// open and was written.
    ///
    /// # Errors
    /// [`StoreError`]. Safe to repeat.
    async fn open_unmatched(&self, new: &NewUnmatched) -> Result<Option<UnmatchedPayment>, StoreError>;

    /// The cases with this id, reference, session or payment, newest first. A reference matches regardless of
    /// case, spaces and hyphens.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn find_unmatched(&self, name: &str) -> Result<Vec<UnmatchedPayment>, StoreError>;

    /// The cases of these sessions, open and closed.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn unmatched_of(&self, sessions: &[&str]) -> Result<Vec<UnmatchedPayment>, StoreError>;

    /// Cases, oldest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list_unmatched(
        &self,
        filter: &UnmatchedFilter<'_>,
        limit: u32,
    ) -> Result<Vec<UnmatchedPayment>, StoreError>;

    /// Counts the open cases.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn count_unmatched(&self) -> Result<OpenUnmatched, StoreError>;

    /// Closes a case. Returns false if it is not open.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn close_unmatched(
        &self,
        id: &str,
        resolution: Resolution,
        note: &UnmatchedNote,
    ) -> Result<bool, StoreError>;

    /// Adds a line to the history of an open case, and sets its tenant if given. Returns false if it is not
    /// open.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn note_unmatched(
        &self,
        id: &str,
        tenant: Option<&str>,
        note: &UnmatchedNote,
    ) -> Result<bool, StoreError>;

    /// Closes the open cases whose payment was refunded in full, and remembers the payments for cases that open later.
    /// Returns how many were closed.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn close_refunded(&self, refunded: &RefundedPayments<'_>) -> Result<u64, StoreError>;

    /// Closes open cases whose session has a subscription of the same tenant, or whose payment is recorded as refunded; at
    /// most `limit` of each in one go. Returns how many. Transactions that run at the same time do not see each other: a case
    /// that opens while its subscription is made stays open until this is called.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn close_resolved(&self, at: DateTime<Utc>, limit: u32) -> Result<u64, StoreError>;

    /// Deletes cases that were closed before `before`, and refunds that were recorded before it; at most `limit` of each in
    /// one go. Returns `limit` where there may be more.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn drop_unmatched(&self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError>;
}

#[async_trait]
impl<D: Dialect> UnmatchedStore for SqlStore<D> {
    async fn open_unmatched(&self, new: &NewUnmatched) -> Result<Option<UnmatchedPayment>, StoreError> {
        let mut tries = 0;
        loop {
            match ask!(self.pools, Write, |c| sql::open::<D>(&mut c, new, tries)) {
                Err(StoreError::Conflict(_)) if tries < TRIES => tries += 1,
                done => return done,
            }
        }
    }

    async fn find_unmatched(&self, name: &str) -> Result<Vec<UnmatchedPayment>, StoreError> {
        ask!(self.pools, Read, |c| sql::find::<D>(&mut c, name))
    }

    async fn unmatched_of(&self, sessions: &[&str]) -> Result<Vec<UnmatchedPayment>, StoreError> {
        ask!(self.pools, Read, |c| sql::of::<D>(&mut c, sessions))
    }

    async fn list_unmatched(
        &self,
        filter: &UnmatchedFilter<'_>,
        limit: u32,
    ) -> Result<Vec<UnmatchedPayment>, StoreError> {
        ask!(self.pools, Read, |c| sql::list::<D>(&mut c, filter, limit))
    }

    async fn count_unmatched(&self) -> Result<OpenUnmatched, StoreError> {
        ask!(self.pools, Read, |c| sql::count::<D>(&mut c))
    }

    async fn close_unmatched(
        &self,
        id: &str,
        resolution: Resolution,
        note: &UnmatchedNote,
    ) -> Result<bool, StoreError> {
        ask!(self.pools, Write, |c| sql::close::<D>(
            &mut c, id, resolution, note
        ))
    }

    async fn note_unmatched(
        &self,
        id: &str,
        tenant: Option<&str>,
        note: &UnmatchedNote,
    ) -> Result<bool, StoreError> {
        ask!(self.pools, Write, |c| sql::note::<D>(&mut c, id, tenant, note))
    }

    async fn close_refunded(&self, refunded: &RefundedPayments<'_>) -> Result<u64, StoreError> {
        ask!(self.pools, Write, |c| sql::close_refunded::<D>(&mut c, refunded))
    }

    async fn close_resolved(&self, at: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        // Usually there are none, and SQLite has one writer.
        let resolved = ask!(self.pools, Read, |c| sql::resolved::<D>(&mut c, None, limit))?;
        if resolved.is_empty() {
            return Ok(0);
        }
        ask!(self.pools, Write, |c| sql::close_resolved::<D>(
            &mut c, &resolved, at
        ))
    }

    async fn drop_unmatched(&self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        ask!(self.pools, Write, |c| sql::drop_closed::<D>(
            &mut c, before, limit
        ))
    }
}
