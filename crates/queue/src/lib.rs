//! The job queue: a Redis backend for apalis that never loses a job and never lets two workers settle one attempt.
//!
//! The README says when to take it instead of apalis-redis, and shows a worker. This crate knows no job kind.
//!
//! One queue's keys share the hash tag `{prefix:name}`:
//!
//! | key | type | holds |
//! | --- | --- | --- |
//! | `data:<id>` | string | `kind/version group trace enqueued-ms attempts crashes\npayload` (`-`: no group, no trace): the job exists while this does. `crashes` counts the workers that died while they held nothing else; `00`: one died that held others, too |
//! | `job:<id>` | hash | of a dead job its `reason`, and whether that was `transient` |
//! | `errors:<id>` | list | how its last 20 failed attempts ended, as JSON |
//! | `wait` | list | ids of jobs without a group that are ready to run, in order |
//! | `wait:<group>` | list | the same for each group |
//! | `wait:!` | list | the same for suspects: a worker died with them, so they run alone |
//! | `turn` | sorted set | the groups that have jobs waiting (`-`: `wait`), in the order in which they are served |
//! | `sched` | sorted set | ids by the ms at which they are due |
//! | `run:<token>` | hash | what one worker holds: id → number of its claim, and when it was in ms |
//! | `lease` | sorted set | worker tokens by the ms at which their lease ends |
//! | `done` | list | `id ended-ms attempts`, newest last |
//! | `dead` | sorted set | ids by the ms at which they ended |
//! | `left:<id>` | string | since when no worker knows the kind of this job, in ms |
//! | `tried:<id>` | string | a lookback has run this `poison` job again; for a day |
//! | `steer` | hash | whether the queue is `paused`, when a worker last called (`heard`), the `tokens` of its rate and when they were `filled`, how far the search for jobs in no list has come (`cursor`, `pass`) |
//! | `stray` | sorted set | jobs that were found in no list, by the pass that found them |
//! | `spared` | set | workers whose lease was extended after an outage, until they renew it |
//! | `workers` | hash | workers by name: `since-ms heard-ms` and a description |
//! | `stats` | hash | how many jobs were trimmed, done and dead, and how many discarded; how many died with their workers, or unknown to all; how many were `recovered`; how many entries of the log were parked |
//! | `log` | stream | verified events on their way to the store |
//! | `parked` | stream | the newest thousand entries of `log` that the store refuses, with the reason (`why`) |
//! | `event:<id>`, `event:<slug>:<id>` | string | an event has been seen (at that tenant's path), for 35 days: `1` by webhook, `2` only by the lookback |
//! | `cron` | sorted set | schedules by the ms of their last tick |
//! | `cron:<name>:<tick>:…` | string | what this tick enqueues has been enqueued, for 2 days |
//! | `note:<name>` | string | what the last check of the webhook endpoints found |
//! | `refused:<minute>` | hash | webhooks that were rejected in that minute since 1970, by `reason` or `reason slug`, for 11 minutes |
//! | `wake` | channel | there may be jobs to claim |
//! | `told` | channel | changes of jobs: `state id`, one a line |
//!
//! Beside the queues, under the tag `{prefix:stripe}`: the hash `bucket`, the limit of calls that all processes share;
//! under `{prefix:limit}`: `<limit>:<whom>`, strings, when an allowance is full again, in ms; under `{prefix:memo}`: `<what>`,
//! strings, `?` while a process fetches it, then `=` with the answer.

#![expect(
    clippy::missing_errors_doc,
    reason = "what a function's own error type says is not repeated; only what else a caller must know"
)]

mod alone;
mod backend;
mod broken_keys;
mod client;
mod completer;
mod connection;
mod counts;
mod enqueue;
mod error;
mod fetch;
#[cfg(feature = "apalis-redis")]
pub mod inbox;
pub mod inspector;
mod job;
mod job_events;
mod job_status;
mod lease;
mod listen;
mod log;
mod metrics;
mod notes;
mod overdue;
mod pause;
mod prefixes;
mod rate_limit;
mod recover;
mod refusals;
mod schedule_state;
mod scripts;
mod server;
mod single_flight;
mod slots;
mod token_bucket;
mod workers;

pub use alone::ProcessGate;
pub use backend::{GiveBack, RedisBackend};
pub use broken_keys::BrokenKey;
pub use client::{Queue, QueueConfig, QueueLimits};
pub use completer::{CompleterLayer, CompleterService};
pub use connection::{Redis, RedisOptions};
pub use counts::Counts;
pub use enqueue::{DedupeKey, Enqueued, Item, QueuedJob};
pub use error::{JobError, QueueError, RetryPolicy};
pub use job::{DecodeError, Job, Origin};
pub use job_events::{Closed, JobEvents, JobWatch};
pub use job_status::{JobProgress, JobState, JobStatus};
pub use log::{LogConsumer, LogEntry};
pub use metrics::{Exposition, duration_histogram};
pub use overdue::Overdue;
pub use prefixes::Unserved;
pub use rate_limit::{Caller, RateLimit, RateLimiter};
pub use server::{LEAST_VERSION, Server};
pub use single_flight::{Lookup, SingleFlight};
pub use slots::slots;
pub use token_bucket::{Reservation, Taken, TokenBucket, TokenBucketOptions};

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
