//! Whether attempts can be acknowledged.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client::Queue;

/// Between two lines in the log about the same failure.
const BETWEEN_WARNINGS: Duration = Duration::from_mins(1);
/// A worker that has acknowledged nothing for longer is not ready: its jobs run again and again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Since when acknowledging fails, if it does.
#[derive(Debug, Default)]
pub(super) struct AckHealth(Mutex<Option<Failing>>);

#[derive(Debug, Clone, Copy)]
struct Failing {
    since: Instant,
    warned: Instant,
}

impl AckHealth {
    fn state(&self) -> std::sync::MutexGuard<'_, Option<Failing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a failure. Answers whether it is worth a line in the log.
    pub(super) fn failed(&self, now: Instant) -> bool {
        let mut state = self.state();
        match &mut *state {
            None => {
                *state = Some(Failing {
                    since: now,
                    warned: now,
                });
                true
            }
            Some(failing) if now.duration_since(failing.warned) >= BETWEEN_WARNINGS => {
                failing.warned = now;
                true
            }
            Some(_) => false,
        }
    }

    /// Notes a success. Answers for how long it had failed, if it had.
    pub(super) fn succeeded(&self, now: Instant) -> Option<Duration> {
        self.state()
            .take()
            .map(|failing| now.duration_since(failing.since))
    }

    fn is_good(&self, now: Instant) -> bool {
        self.state()
            .is_none_or(|failing| now.duration_since(failing.since) < PATIENCE)
    }
}

impl Queue {
    /// Whether this process' attempts at the queue's jobs are acknowledged, as far as it has tried lately.
    #[must_use]
    pub fn acknowledges(&self) -> bool {
        self.acks.is_good(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_lasts_is_one_line_a_minute_and_makes_the_worker_unready() {
        let (acks, start) = (AckHealth::default(), Instant::now());
        let lines = (0..150).filter(|second| acks.failed(start + Duration::from_secs(*second)));
        assert_eq!(lines.collect::<Vec<_>>(), [0, 60, 120]);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(acks.is_good(at(9)) && !acks.is_good(at(10)));
        assert_eq!(acks.succeeded(at(150)), Some(Duration::from_secs(150)));
        assert_eq!(acks.succeeded(at(151)), None);
        assert!(acks.is_good(at(300)) && acks.failed(at(300)));
    }
}
