//! The sandbox's clock: the system's time, until a test sets or stops it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

/// A clock that can be set and stopped.
#[derive(Debug)]
pub(crate) struct SandboxClock(Mutex<State>);

#[derive(Debug, Clone, Copy)]
enum State {
    Running { ahead: TimeDelta },
    Stopped { at: DateTime<Utc> },
}

impl Default for SandboxClock {
    fn default() -> Self {
        Self(Mutex::new(State::Running {
            ahead: TimeDelta::zero(),
        }))
    }
}

impl SandboxClock {
    pub(crate) fn now(&self) -> DateTime<Utc> {
        match *self.state() {
            State::Running { ahead } => system_time() + ahead,
            State::Stopped { at } => at,
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        matches!(*self.state(), State::Stopped { .. })
    }

    /// Sets the time; from there it runs on, or stands still where `stopped`.
    pub(crate) fn set(&self, now: DateTime<Utc>, stopped: bool) {
        *self.state() = if stopped {
            State::Stopped { at: now }
        } else {
            State::Running {
                ahead: now - system_time(),
            }
        };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the system's clock"
)]
fn system_time() -> DateTime<Utc> {
    Utc::now()
}
