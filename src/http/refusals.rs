//! Counts rejected webhooks by reason in Redis, where `surepass doctor` reads them: at most one call a second, and none while
//! there are none.

use std::collections::BTreeMap;
use std::mem::take;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::queue::Queue;

/// How long counts are collected before they are written.
const PAUSE: Duration = Duration::from_secs(1);
/// How many reasons are counted separately: each tenant has its own.
const MOST_REASONS: usize = 200;

/// Counts rejected webhooks by reason.
#[derive(Debug)]
pub(super) struct Refusals {
    queue: Queue,
    clock: Clock,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    by_reason: BTreeMap<String, u64>,
    /// A task is going to write the counts.
    is_due: bool,
}

impl Refusals {
    pub(super) fn new(queue: Queue, clock: Clock) -> Self {
        Self {
            queue,
            clock,
            counts: Mutex::default(),
        }
    }

    /// Counts one. `tenant`: the slug of an endpoint that exists.
    pub(super) fn count(self: &Arc<Self>, reason: &str, tenant: Option<&str>) {
        let reason = tenant.map_or_else(|| reason.to_owned(), |tenant| format!("{reason} {tenant}"));
        let begins = {
            let mut counts = self.lock();
            let known = counts.by_reason.len() < MOST_REASONS || counts.by_reason.contains_key(&reason);
            let reason = if known { reason } else { "other".to_owned() };
            *counts.by_reason.entry(reason).or_default() += 1;
            !std::mem::replace(&mut counts.is_due, true)
        };
        if begins {
            tokio::spawn(self.clone().write());
        }
    }

    async fn write(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PAUSE).await;
            let counts = {
                let mut counts = self.lock();
                if counts.by_reason.is_empty() {
                    counts.is_due = false;
                    return;
                }
                take(&mut counts.by_reason)
            };
            if self.queue.add_refusals(&counts, self.clock.now()).await.is_err() {
                // Redis does not respond: the counts are written when it does.
                let mut later = self.lock();
                for (reason, count) in counts {
                    *later.by_reason.entry(reason).or_default() += count;
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
