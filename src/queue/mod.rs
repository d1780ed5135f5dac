//! The job queue: a Redis backend for apalis that never loses a job and never lets two workers settle one attempt.
//!
//! Why not `RedisStorage` 1.0: see ARCHITECTURE.md, "Why our own backend". This module knows no job kind.
//!
//! One queue's keys share the hash tag `{prefix:name}`:
//!
//! | key | type | holds |
//! | --- | --- | --- |
//! | `data:<id>` | string | `kind enqueued-ms attempts crashes\npayload`: a job is there while this is |
//! | `job:<id>` | hash | of a dead one its `reason`, and whether that was `transient` |
//! | `errors:<id>` | list | how its last 20 failed attempts ended, as JSON |
//! | `wait` | list | ids ready to run, in order |
//! | `sched` | sorted set | ids by the ms at which they are due |
//! | `run:<token>` | hash | what one worker holds: id → number of its claim |
//! | `lease` | sorted set | worker tokens by the ms at which their lease ends |
//! | `done` | list | `id ended-ms attempts`, newest last |
//! | `dead` | sorted set | ids by the ms at which they ended |
//! | `stats` | hash | how many jobs were trimmed, done and dead; how many died with their workers |
//! | `log` | stream | verified events on their way to the store |
//! | `event:<id>` | string | an event has been seen, for 35 days |
//! | `ready` | string | written by `/readyz`, to see whether Redis takes writes |
//! | `wake` | channel | something may be there to take |

mod backend;
mod client;
mod connection;
mod error;
mod fetch;
mod job;
mod lease;
mod log;
mod metrics;
mod scripts;
mod settle;

pub use backend::{GiveBack, RedisBackend};
pub use client::{Counts, Enqueued, Item, Queue, QueueConfig};
pub use connection::{Redis, RedisOptions};
pub use error::{JobError, QueueError, RetryPolicy};
pub use job::{DecodeError, Job};
pub use log::{LogConsumer, LogEntry};
pub use metrics::{Exposition, Reading};
pub use settle::{Settle, SettleLayer};
