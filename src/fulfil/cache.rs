//! The catalogue, kept at hand: a purchase costs no read of it, and a catalogue that has not changed is not read again.
//!
//! The store's version of the catalogue is asked for first, then what belongs to it: what changes in between is newer than its
//! version says, and is read again with the next one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Mutex, MutexGuard};

use crate::clock::Clock;
use crate::store::{Store, StoreError};

use super::copy::{Copy, PATIENCE, too_slow};
use super::error::Reason;

/// How old the copy may grow while every purchase is found in it.
const FRESH: TimeDelta = TimeDelta::seconds(2);

/// The least time between two reads, so that a flood of purchases that nobody sells does not hammer the store.
const SPACING: TimeDelta = TimeDelta::milliseconds(50);

/// A copy of the catalogue, and the number of the read that found it to be right.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) copy: Arc<Copy>,
    /// The store's, when it was read.
    version: Option<String>,
    /// The read that made the copy.
    made: u64,
    read: u64,
    read_at: DateTime<Utc>,
}

impl Snapshot {
    /// Whether it was read after `moment`, so that what is not in it was not there.
    pub(super) fn is_after(&self, moment: Moment) -> bool {
        self.read > moment.0
    }

    /// Another one when the catalogue has changed.
    pub(super) fn edition(&self) -> u64 {
        self.made
    }
}

/// A point in the sequence of reads. Counted, not timed: a clock may be set back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(u64);

/// The newest copy, read again when it is old or when something is missing in it; one read at a time.
#[derive(Debug)]
pub(super) struct Cache {
    store: Arc<dyn Store>,
    clock: Clock,
    newest: RwLock<Option<Arc<Snapshot>>>,
    reads: AtomicU64,
    last: Mutex<Option<Read>>,
}

/// The last read of the store that was tried.
#[derive(Debug)]
struct Read {
    number: u64,
    began: DateTime<Utc>,
    failed: Option<Reason>,
}

impl Cache {
    pub(super) fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self {
            store,
            clock,
            newest: RwLock::new(None),
            reads: AtomicU64::new(0),
            last: Mutex::new(None),
        }
    }

    /// Now, in the sequence of reads.
    pub(super) fn moment(&self) -> Moment {
        Moment(self.reads.load(Ordering::Acquire))
    }

    /// The copy at hand. When it is old, one caller reads anew and the others go on with it; when the store does not
    /// answer, all do.
    ///
    /// # Errors
    /// The store's, while there has never been a copy.
    pub(super) async fn at_hand(&self) -> Result<Arc<Snapshot>, Reason> {
        let moment = self.moment();
        let Some(snapshot) = self.newest() else {
            return self.wait(Moment(0), moment).await;
        };
        if self.is_younger(snapshot.read_at, FRESH) {
            return Ok(snapshot);
        }
        let Ok(last) = self.last.try_lock() else {
            return Ok(snapshot);
        };
        if last
            .as_ref()
            .is_some_and(|last| self.is_younger(last.began, FRESH))
        {
            return Ok(self.newest().unwrap_or(snapshot));
        }
        Ok(self.read(last).await.unwrap_or_else(|reason| {
            tracing::warn!(%reason, "the catalogue could not be read anew; going on with the copy at hand");
            snapshot
        }))
    }

    /// A copy read after `moment`. All who wait share one read.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn after(&self, moment: Moment) -> Result<Arc<Snapshot>, Reason> {
        self.wait(moment, moment).await
    }

    /// A copy read after `copied`, or the error of a read after `failed`, of others if there is one, else of its own.
    async fn wait(&self, copied: Moment, failed: Moment) -> Result<Arc<Snapshot>, Reason> {
        let last = self.last.lock().await;
        if let Some(snapshot) = self.newest().filter(|snapshot| snapshot.is_after(copied)) {
            return Ok(snapshot);
        }
        if let Some(last) = last.as_ref() {
            if let Some(reason) = last.failed.as_ref().filter(|_| last.number > failed.0) {
                return Err(reason.clone());
            }
            let left = SPACING - (self.clock.now() - last.began);
            let left = left.clamp(TimeDelta::zero(), SPACING);
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
        let read = tokio::time::timeout(PATIENCE, self.look(number, began)).await;
        match read.unwrap_or_else(|_| Err(too_slow())) {
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

    /// The copy at hand, where the store says that it has not changed since; else a new one.
    async fn look(&self, number: u64, began: DateTime<Utc>) -> Result<Snapshot, StoreError> {
        let version = self.store.catalogue_version().await?;
        let same = |held: &Arc<Snapshot>| version.is_some() && held.version == version;
        let (copy, made) = match self.newest().filter(same) {
            Some(held) => (Arc::clone(&held.copy), held.made),
            None => (Arc::new(Copy::read(Arc::clone(&self.store)).await?), number),
        };
        Ok(Snapshot {
            copy,
            version,
            made,
            read: number,
            read_at: began,
        })
    }

    fn newest(&self) -> Option<Arc<Snapshot>> {
        self.newest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A moment that lies ahead, because the clock was set back, is not young.
    fn is_younger(&self, then: DateTime<Utc>, age: TimeDelta) -> bool {
        let elapsed = self.clock.now() - then;
        (TimeDelta::zero()..age).contains(&elapsed)
    }
}
