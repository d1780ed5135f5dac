//! Tracks outages of the whole store, as its calls find them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::StoreError;

/// How often a lasting outage is logged.
const BETWEEN_WARNINGS: Duration = Duration::from_mins(1);

/// The cause and duration of an outage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    pub cause: String,
    pub lasted: Duration,
}

impl Outage {
    /// When to retry: soon at first, later every 15 s.
    #[must_use]
    pub fn pause(&self) -> Duration {
        (self.lasted / 4).clamp(Duration::from_secs(1), Duration::from_secs(15))
    }
}

/// Whether a call read or wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    Read,
    Write,
}

/// Tracks the outage, and logs its beginning and end, and once a minute in between.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Whether there is an outage, so that calls need not take the lock.
    is_out: AtomicBool,
    current: Mutex<Option<Current>>,
}

#[derive(Debug)]
struct Current {
    cause: String,
    access: Access,
    began: Instant,
    logged: Instant,
    failed: u64,
}

impl Watch {
    pub(super) fn note<T>(
        &self,
        access: Access,
        result: Result<T, StoreError>,
        now: impl FnOnce() -> Instant,
    ) -> Result<T, StoreError> {
        match &result {
            Err(StoreError::Outage(cause)) => self.fails(access, cause, now()),
            Ok(_) if self.is_out.load(Ordering::Relaxed) => self.works(access, now()),
            _ => {}
        }
        result
    }

    pub(super) fn outage(&self, now: Instant) -> Option<Outage> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(|current| Outage {
            cause: current.cause.clone(),
            lasted: now.saturating_duration_since(current.began),
        })
    }

    fn fails(&self, access: Access, cause: &str, now: Instant) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_due = false;
        let current = current.get_or_insert_with(|| {
            is_due = true;
            Current {
                cause: cause.to_owned(),
                access,
                began: now,
                logged: now,
                failed: 0,
            }
        });
        if current.access < access || current.cause != cause {
            cause.clone_into(&mut current.cause);
            current.access = access.max(current.access);
        }
        current.failed += 1;
        is_due |= now.saturating_duration_since(current.logged) >= BETWEEN_WARNINGS;
        if is_due {
            current.logged = now;
            tracing::warn!(
                cause,
                seconds = now.saturating_duration_since(current.began).as_secs(),
                failed_calls = current.failed,
                "the store is not available: purchases wait in the queue and none is lost; run `surepass doctor`"
            );
        }
        self.is_out.store(true, Ordering::Relaxed);
    }

    /// A successful read does not end an outage of writes.
    fn works(&self, access: Access, now: Instant) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(over) = current.take_if(|current| current.access <= access) {
            self.is_out.store(false, Ordering::Relaxed);
            tracing::info!(
                seconds = now.saturating_duration_since(over.began).as_secs(),
                failed_calls = over.failed,
                "the store is available again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(cause: &str) -> Result<(), StoreError> {
        Err(StoreError::Outage(cause.to_owned()))
    }

    #[test]
    fn an_outage_of_writes_ends_with_a_write_and_an_outage_of_reads_with_either() {
        let (watch, now) = (Watch::default(), Instant::now());
        let note = |access, result| drop(watch.note(access, result, || now));
        let cause = || watch.outage(now).map(|outage| outage.cause);
        note(Access::Read, Err(StoreError::Permanent("a row".to_owned())));
        assert_eq!(cause(), None);
        note(Access::Read, out("away"));
        assert_eq!(cause().as_deref(), Some("away"));
        note(Access::Write, out("read-only"));
        note(Access::Read, Ok(()));
        assert_eq!(cause().as_deref(), Some("read-only"));
        note(Access::Write, Ok(()));
        assert_eq!(cause(), None);
        note(Access::Read, out("away"));
        note(Access::Read, Ok(()));
        assert_eq!(cause(), None);
    }

    #[test]
    fn who_waits_for_a_store_tries_at_once_at_first_and_never_less_than_every_15_s() {
        let pause = |seconds| {
            let lasted = Duration::from_secs(seconds);
            let outage = Outage {
                cause: String::new(),
                lasted,
            };
            outage.pause().as_secs()
        };
        assert_eq!([0, 3, 20, 86_400].map(pause), [1, 1, 5, 15]);
    }
}
