//! Caches the catalog, so that a purchase does not read it and an unchanged one is not loaded again.
//!
//! Reads the version before the data. A change in between makes the data newer than its version, and it is
//! loaded again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Mutex, MutexGuard};

use crate::clock::Clock;
use crate::store::{Store, StoreError};

use super::error::Reason;
use super::lazy_catalog::{LazyCatalog, TIMEOUT, timeout_error};

/// How old the cached catalog may be while purchases are found in it.
const MAX_AGE: TimeDelta = TimeDelta::seconds(2);

/// The least time between two reads, to protect the store from floods of unknown purchases.
const MIN_READ_INTERVAL: TimeDelta = TimeDelta::milliseconds(50);

/// A cached catalog, and the number of the read that confirmed it.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) catalog: Arc<LazyCatalog>,
    /// The store's version.
    version: Option<String>,
    /// The number of the read that loaded it.
    made: u64,
    read: u64,
    read_at: DateTime<Utc>,
}

impl Snapshot {
    /// Whether it was read after `moment`, so that what is missing in it did not exist.
    pub(super) fn is_after(&self, moment: Moment) -> bool {
        self.read > moment.0
    }

    /// A number that changes with the catalog.
    pub(super) fn edition(&self) -> u64 {
        self.made
    }
}

/// A position in the sequence of reads. Counted, since clocks may be set back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(u64);

/// The newest catalog. Read again if it is old or something is missing in it, one read at a time.
#[derive(Debug)]
pub(super) struct CatalogCache {
    store: Arc<Store>,
    clock: Clock,
    newest: RwLock<Option<Arc<Snapshot>>>,
    reads: AtomicU64,
    last: Mutex<Option<Read>>,
}

/// The last attempted read.
#[derive(Debug)]
struct Read {
    number: u64,
    began: DateTime<Utc>,
    failed: Option<Reason>,
}

impl CatalogCache {
    pub(super) fn new(store: Arc<Store>, clock: Clock) -> Self {
        Self {
            store,
            clock,
            newest: RwLock::new(None),
            reads: AtomicU64::new(0),
            last: Mutex::new(None),
        }
    }

    /// The present position in the sequence of reads.
    pub(super) fn moment(&self) -> Moment {
        Moment(self.reads.load(Ordering::Acquire))
    }

    /// The cached catalog. If it is old, one caller reads it again while the others use it. If that fails,
    /// all use it.
    ///
    /// # Errors
    /// The store's, if nothing is cached yet.
    pub(super) async fn cached(&self) -> Result<Arc<Snapshot>, Reason> {
        let moment = self.moment();
        let Some(snapshot) = self.newest() else {
            return self.wait(Moment(0), moment).await;
        };
        if self.is_younger(snapshot.read_at, MAX_AGE) {
            return Ok(snapshot);
        }
        let Ok(last) = self.last.try_lock() else {
            return Ok(snapshot);
        };
        if last
            .as_ref()
            .is_some_and(|last| self.is_younger(last.began, MAX_AGE))
        {
            return Ok(self.newest().unwrap_or(snapshot));
        }
        Ok(self.read(last).await.unwrap_or_else(|reason| {
            tracing::warn!(%reason, "could not read the catalog; using the cached one");
            snapshot
        }))
    }

    /// A catalog read after `moment`. All waiting callers share one read.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn after(&self, moment: Moment) -> Result<Arc<Snapshot>, Reason> {
        self.wait(moment, moment).await
    }

    /// A catalog read after `copied`, or the error of a read after `failed`.
    async fn wait(&self, copied: Moment, failed: Moment) -> Result<Arc<Snapshot>, Reason> {
        let last = self.last.lock().await;
        if let Some(snapshot) = self.newest().filter(|snapshot| snapshot.is_after(copied)) {
            return Ok(snapshot);
        }
        if let Some(last) = last.as_ref() {
            if let Some(reason) = last.failed.as_ref().filter(|_| last.number > failed.0) {
                return Err(reason.clone());
            }
            let left = MIN_READ_INTERVAL - (self.clock.now() - last.began);
            let left = left.clamp(TimeDelta::zero(), MIN_READ_INTERVAL);
            tokio::time::sleep(left.to_std().unwrap_or_default()).await;
        }
        self.read(last).await
    }

    async fn read(&self, mut last: MutexGuard<'_, Option<Read>>) -> Result<Arc<Snapshot>, Reason> {
        let number = self.reads.fetch_add(1, Ordering::AcqRel) + 1;
        let began = self.clock.now();
        *last = Some(Read {
            number,
            began,
            failed: None,
        });
        let read = tokio::time::timeout(TIMEOUT, self.look(number, began)).await;
        match read.unwrap_or_else(|_| Err(timeout_error())) {
            Ok(snapshot) => {
                let snapshot = Arc::new(snapshot);
                *self.newest.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&snapshot));
                Ok(snapshot)
            }
            Err(error) => {
                let reason = Reason::from(&error);
                *last = Some(Read {
                    number,
                    began,
                    failed: Some(reason.clone()),
                });
                Err(reason)
            }
        }
    }

    /// The cached catalog if the store's version has not changed; otherwise a new one.
    async fn look(&self, number: u64, began: DateTime<Utc>) -> Result<Snapshot, StoreError> {
        let version = self.store.catalog().version().await?;
        let same = |held: &Arc<Snapshot>| version.is_some() && held.version == version;
        let (catalog, made) = match self.newest().filter(same) {
            Some(held) => (Arc::clone(&held.catalog), held.made),
            None => (
                Arc::new(LazyCatalog::load(Arc::clone(&self.store)).await?),
                number,
            ),
        };
        Ok(Snapshot {
            catalog,
            version,
            made,
            read: number,
            read_at: began,
        })
    }

    fn newest(&self) -> Option<Arc<Snapshot>> {
        self.newest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A time in the future, after the clock was set back, is not young.
    fn is_younger(&self, then: DateTime<Utc>, age: TimeDelta) -> bool {
        let elapsed = self.clock.now() - then;
        (TimeDelta::zero()..age).contains(&elapsed)
    }
}
