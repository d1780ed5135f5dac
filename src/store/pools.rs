//! The connections of a store, and whether they work.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use sqlx::Pool;
use sqlx::pool::PoolConnection;
use tokio::time::error::Elapsed;

use super::StoreError;
use super::dialect::Dialect;
use super::error::timed_out;
use super::outage::{Access, Outage, Watch};

/// A store's connections: those that write, and those that read.
pub(super) struct Pools<D: Dialect> {
    writers: Pool<D>,
    readers: Pool<D>,
    /// A connection that stays open for as long as the store is, where the database needs one.
    kept: Mutex<Option<PoolConnection<D>>>,
    watch: Watch,
}

impl<D: Dialect> Pools<D> {
    pub(super) fn new(writers: Pool<D>, readers: Pool<D>, kept: Option<PoolConnection<D>>) -> Self {
        Self {
            writers,
            readers,
            kept: Mutex::new(kept),
            watch: Watch::default(),
        }
    }

    pub(super) async fn acquire(&self, access: Access) -> sqlx::Result<PoolConnection<D>> {
        match access {
            Access::Read => self.readers.acquire().await,
            Access::Write => self.writers.acquire().await,
        }
    }

    /// Notes whether a call shows an outage, or the end of one.
    pub(super) fn note<T>(&self, access: Access, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.watch.note(access, result, Instant::now)
    }

    pub(super) fn outage(&self) -> Option<Outage> {
        self.watch.outage(Instant::now())
    }

    pub(super) async fn close(&self) {
        self.writers.close().await;
        drop(self.kept.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.readers.close().await;
    }
}

/// A connection that has not answered in time is thrown away: waiting for it to come to itself would hold its
/// place in the pool. So is one that failed: it may be in the midst of a transaction.
pub(super) fn in_time<D: Dialect, T, E: From<sqlx::Error>>(
    mut connection: PoolConnection<D>,
    result: Result<Result<T, E>, Elapsed>,
) -> Result<T, E> {
    if !matches!(result, Ok(Ok(_))) {
        connection.close_on_drop();
    }
    result.unwrap_or_else(|_| Err(timed_out().into()))
}

/// Asks on a connection of [`Pools`], within the time that a statement has.
macro_rules! ask {
    ($pools:expr, $access:ident, |$connection:ident| $asked:expr) => {{
        let access = $crate::store::outage::Access::$access;
        let asked = async {
            let mut $connection = $pools.acquire(access).await?;
            let asked = tokio::time::timeout($crate::store::STATEMENT, $asked).await;
            let done = $crate::store::pools::in_time($connection, asked)?;
            Ok(done)
        };
        let asked: Result<_, $crate::store::StoreError> = asked.await;
        $pools.note(access, asked)
    }};
}
pub(super) use ask;
