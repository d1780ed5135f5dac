//! What is set for all queues, and for each.

use std::time::Duration;

use serde::Deserialize;

use super::value;

/// `[queue]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSettings {
    /// What all keys in Redis begin with: 1 to 64 of `a`–`z`, `0`–`9`, `-`, `_`.
    #[serde(deserialize_with = "value::prefix")]
    pub prefix: String,
    /// The silence after which a worker has lost its jobs, 1 s to an hour.
    #[serde(rename = "lease_seconds", deserialize_with = "value::seconds::<_, 1, 3_600>")]
    pub lease: Duration,
    /// Runs of a job before it is a dead letter, 1 to 100.
    #[serde(deserialize_with = "value::whole::<_, _, 1, 100>")]
    pub max_attempts: u32,
    /// The wait after the first failure, 1 ms to 10 minutes; it doubles with each.
    #[serde(
        rename = "backoff_base_ms",
        deserialize_with = "value::milliseconds::<_, 1, 600_000>"
    )]
    pub backoff_base: Duration,
    /// The longest wait, 1 s to a day.
    #[serde(
        rename = "backoff_cap_seconds",
        deserialize_with = "value::seconds::<_, 1, 86_400>"
    )]
    pub backoff_cap: Duration,
    /// Workers that a job may take down, alone in each, before it is a dead letter, 1 to 100.
    #[serde(deserialize_with = "value::whole::<_, _, 1, 100>")]
    pub max_crashes: u32,
    /// How long done jobs are kept, up to a year.
    #[serde(
        rename = "keep_done_seconds",
        deserialize_with = "value::seconds::<_, 0, 31_536_000>"
    )]
    pub keep_done: Duration,
    /// How many done jobs are kept, up to ten million.
    #[serde(deserialize_with = "value::whole::<_, _, 0, 10_000_000>")]
    pub keep_done_jobs: u64,
    /// How long dead letters are kept, 1 to 3,650 days.
    #[serde(rename = "keep_dead_days", deserialize_with = "value::days::<_, 1, 3_650>")]
    pub keep_dead: Duration,
    /// How long an event's id is remembered, 4 to 400 days; Stripe sends an event again for 3.
    #[serde(rename = "event_dedupe_days", deserialize_with = "value::days::<_, 4, 400>")]
    pub event_dedupe: Duration,
    /// How long a job that a worker does not know is left to newer ones, 1 hour to a year.
    #[serde(
        rename = "leave_unknown_hours",
        deserialize_with = "value::hours::<_, 1, 8_760>"
    )]
    pub leave_unknown: Duration,
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
    #[serde(deserialize_with = "value::whole::<_, _, 1, 1_000>")]
    pub weight: u32,
    /// Jobs that all workers together hold, up to a million; 0: any number.
    #[serde(deserialize_with = "value::whole::<_, _, 0, 1_000_000>")]
    pub max_running: u32,
    /// Jobs that all workers together begin in a second, up to a million; 0: any number.
    #[serde(deserialize_with = "value::whole::<_, _, 0, 1_000_000>")]
    pub max_per_second: u32,
}
