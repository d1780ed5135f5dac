//! The sandbox's time: the system's, until somebody moves or stops it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use surepass::clock::Clock;

/// Tells the sandbox's time.
#[derive(Debug)]
pub(crate) struct SandboxClock {
    system: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Running { ahead: TimeDelta },
    Stopped { at: DateTime<Utc> },
}

impl SandboxClock {
    pub(crate) fn new(system: Clock) -> Self {
        let state = State::Running {
            ahead: TimeDelta::zero(),
        };
        Self {
            system,
            state: Mutex::new(state),
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        match *self.state() {
            State::Running { ahead } => self.system.now() + ahead,
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
                ahead: now - self.system.now(),
            }
        };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
