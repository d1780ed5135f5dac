//! An outage in the log: once a minute while it lasts, and one line when it is over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often an outage is logged while it lasts.
const BETWEEN_LINES: Duration = Duration::from_mins(1);

/// Whether something that is asked all the time answers at present. Whoever asks notes how that went.
#[derive(Debug, Default)]
pub struct Outage {
    is_on: AtomicBool,
    times: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    began: Option<Instant>,
    logged: Option<Instant>,
}

impl Outage {
    /// Notes a failure. `Some`: it is time for a line, and for so long the outage has lasted.
    pub fn failed(&self) -> Option<Duration> {
        self.failed_at(Instant::now())
    }

    /// Notes an answer: an atomic load where there is no outage. `Some`: one is over that was
    /// logged, and lasted for so long.
    pub fn answered(&self) -> Option<Duration> {
        if !self.is_on.load(Ordering::Relaxed) {
            return None;
        }
        let mut times = self.times();
        self.is_on.store(false, Ordering::Relaxed);
        let began = times.began.take()?;
        // One that had no line when it began has none when it ends: it came right after another.
        times.logged.filter(|logged| *logged >= began)?;
        Some(began.elapsed())
    }

    /// For how long it has lasted, if there is one.
    pub fn lasts(&self) -> Option<Duration> {
        let times = self.is_on.load(Ordering::Relaxed).then(|| self.times())?;
        times.began.map(|began| began.elapsed())
    }

    fn failed_at(&self, now: Instant) -> Option<Duration> {
        let mut times = self.times();
        self.is_on.store(true, Ordering::Relaxed);
        let began = *times.began.get_or_insert(now);
        let is_due = times.logged.is_none_or(|last| now - last >= BETWEEN_LINES);
        is_due.then(|| {
            times.logged = Some(now);
            now - began
        })
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds, for a line of the log.
#[must_use]
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_logged_once_a_minute_and_its_end_once() {
        let outage = Outage::default();
        let begin = Instant::now();
        let at = |seconds| outage.failed_at(begin + Duration::from_secs(seconds));
        assert_eq!((outage.answered(), outage.lasts()), (None, None));
        let lines: Vec<u64> = (0..150).filter(|second| at(*second).is_some()).collect();
        assert_eq!(lines, [0, 60, 120]);
        assert!(outage.lasts().is_some());
        assert!(outage.answered().is_some() && outage.lasts().is_none());
        assert_eq!(outage.answered(), None);
        // It comes and goes: the minute counts all the same.
        assert_eq!(at(151), None);
        assert_eq!(outage.answered(), None);
        assert_eq!(at(180), Some(Duration::ZERO));
    }
}
