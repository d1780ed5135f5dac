//! What is set for all queues, and for each.

use serde::Deserialize;

use super::value::{self, Days, Hours, Milliseconds, Seconds, Within};

/// `[queue]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSettings {
    /// What all keys in Redis begin with: 1 to 64 of `a`–`z`, `0`–`9`, `-`, `_`.
    #[serde(deserialize_with = "value::prefix")]
    pub prefix: String,
    /// The silence after which a worker has lost its jobs, 1 s to an hour.
    #[serde(rename = "lease_seconds")]
    pub lease: Seconds<1, 3_600>,
    /// Runs of a job before it is a dead letter, 1 to 100.
    pub max_attempts: Within<u32, 1, 100>,
    /// The wait after the first failure, 1 ms to 10 minutes; it doubles with each.
    #[serde(rename = "backoff_base_ms")]
    pub backoff_base: Milliseconds<1, 600_000>,
    /// The longest wait, 1 s to a day.
    #[serde(rename = "backoff_cap_seconds")]
    pub backoff_cap: Seconds<1, 86_400>,
    /// Workers that a job may take down, alone in each, before it is a dead letter, 1 to 100.
    pub max_crashes: Within<u32, 1, 100>,
    /// How long done jobs are kept, up to a year.
    #[serde(rename = "keep_done_seconds")]
    pub keep_done: Seconds<0, 31_536_000>,
    /// How many done jobs are kept, up to ten million.
    pub keep_done_jobs: Within<u64, 0, 10_000_000>,
    /// How long dead letters are kept, 1 to 3,650 days.
    #[serde(rename = "keep_dead_days")]
    pub keep_dead: Days<1, 3_650>,
    /// How long an event's id is remembered, 4 to 400 days; Stripe sends an event again for 3.
    #[serde(rename = "event_dedupe_days")]
    pub event_dedupe: Days<4, 400>,
    /// How long a job that a worker does not know is left to newer ones, 1 hour to a year.
    #[serde(rename = "leave_unknown_hours")]
    pub leave_unknown: Hours<1, 8_760>,
    /// The namespace of apalis-redis in which another program pushes jobs; `None`: there is none.
    #[serde(deserialize_with = "value::namespace")]
    pub inbox: Option<String>,
    /// The queue of purchases.
    pub fulfil: OneQueueSettings,
    /// The queue of lookbacks.
    pub sync: OneQueueSettings,
}

impl QueueSettings {
    /// What is set for one queue alone.
    #[must_use]
    pub fn of(&self, name: QueueName) -> OneQueueSettings {
        match name {
            QueueName::Fulfil => self.fulfil,
            QueueName::Sync => self.sync,
        }
    }
}

/// The queues that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueName {
    /// Purchases.
    Fulfil,
    /// Lookbacks.
    Sync,
}

impl QueueName {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Fulfil, Self::Sync];

    /// As it stands in settings, keys and commands.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fulfil => "fulfil",
            Self::Sync => "sync",
        }
    }
}

/// `[queue.fulfil]`, `[queue.sync]`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneQueueSettings {
    /// Its share of a worker's slots, 1 to 1,000.
    pub weight: Within<u32, 1, 1_000>,
    /// Jobs that all workers together hold, up to a million; 0: any number.
    pub max_running: Within<u32, 0, 1_000_000>,
    /// Jobs that all workers together begin in a second, up to a million; 0: any number.
    pub max_per_second: Within<u32, 0, 1_000_000>,
}
