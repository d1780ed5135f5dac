//! The sandbox as a whole: the world, its clock, and what makes things happen when their time has come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, Semaphore, watch};

use crate::clock::SandboxClock;
use crate::delivery;
use crate::world::{Cause, Task, World};

/// How many webhooks are under way at a time.
const DELIVERIES_AT_A_TIME: usize = 64;
/// Beyond this the clock is looked at again: the system's may have been set.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(crate) struct Sandbox {
    world: Mutex<World>,
    pub(crate) clock: SandboxClock,
    /// For webhooks: follows no redirect, and gives up.
    pub(crate) http: reqwest::Client,
    pub(crate) turns: Semaphore,
    /// Wakes the timers: there is a new one, or the clock was moved.
    wake: Notify,
    /// Wakes those that wait for the outcome of a delivery.
    version: watch::Sender<u64>,
}

impl Sandbox {
    pub(crate) fn new(world: World, clock: SandboxClock, http: reqwest::Client) -> Self {
        Self {
            world: Mutex::new(world),
            clock,
            http,
            turns: Semaphore::new(DELIVERIES_AT_A_TIME),
            wake: Notify::new(),
            version: watch::Sender::new(0),
        }
    }

    /// The world, for as long as nothing is awaited.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Must be called after each change that may set a timer, move the clock, or end a delivery.
    pub(crate) fn changed(&self) {
        self.wake.notify_one();
        self.version.send_modify(|version| *version += 1);
    }

    /// Waits until `is` holds. Returns whether it did within `patience`.
    pub(crate) async fn until(&self, patience: Duration, is: impl Fn(&World) -> bool) -> bool {
        let mut version = self.version.subscribe();
        let waiting = async {
            loop {
                version.mark_unchanged();
                if is(&self.world()) {
                    return;
                }
                if version.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        tokio::time::timeout(patience, waiting).await.is_ok()
    }

    /// Makes everything happen when its time has come. Never ends.
    pub(crate) async fn keep_time(self: Arc<Self>) {
        loop {
            let now = self.clock.now();
            let (any, next) = self.catch_up(now);
            if any {
                self.version.send_modify(|version| *version += 1);
                continue;
            }
            let wait = match next {
                Some(next) if !self.clock.is_stopped() => (next - now)
                    .to_std()
                    .unwrap_or_default()
                    .clamp(Duration::from_millis(1), LONGEST_SLEEP),
                _ => LONGEST_SLEEP,
            };
            let _ = tokio::time::timeout(wait, self.wake.notified()).await;
        }
    }

    /// Makes happen what is due, in one go: nobody sees it taken and not done. Answers whether anything was, and when the
    /// next thing is.
    fn catch_up(self: &Arc<Self>, now: DateTime<Utc>) -> (bool, Option<DateTime<Utc>>) {
        let mut world = self.world();
        let (due, next) = world.due(now);
        let any = !due.is_empty();
        for task in due {
            self.run_task(task, &mut world, &Cause::now(now));
        }
        (any, next)
    }

    fn run_task(self: &Arc<Self>, task: Task, world: &mut World, cause: &Cause) {
        match task {
            Task::Deliver(delivery) => {
                tokio::spawn(delivery::deliver(self.clone(), delivery));
            }
            // Paid, expired or settled by hand in the meantime: nothing to do.
            Task::Expire(scope, id) => {
                let _ = world.expire(&scope, &id, cause);
            }
            Task::Settle(scope, id) => {
                let _ = world.settle(&scope, &id, true, cause);
            }
        }
    }
}
