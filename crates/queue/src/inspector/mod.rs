//! Inspects and manages the jobs of several queues.
//!
//! Reading costs the same however many jobs wait: a page continues where the last one ended, a bounded number of jobs at a time.

mod actions;
mod cursor;
mod filter;
mod instant;
mod job;
mod job_summary;
mod list;
mod redact;
mod scan;
mod workers;

use serde::Serialize;

use super::client::Queue;
use super::counts::Counts;
use super::error::QueueError;
use super::job_status::JobState;

pub use actions::{Act, Outcome, Tally};
pub use filter::{Filter, Order};
pub use job::{Attempt, JobDetails};
pub use job_summary::JobSummary;
pub use list::{Page, PageOptions};
pub use workers::WorkerStatus;

/// All queues of an installation.
#[derive(Debug, Clone)]
pub struct Inspector {
    queues: Vec<Queue>,
    plain_fields: &'static [&'static str],
}

/// Why the inspector could not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("there is no queue `{0}`: the queues are {1}")]
    UnknownQueue(String, String),
    #[error("this cursor is of another list: leave it out to start again")]
    Cursor,
    #[error("{0}")]
    Filter(&'static str),
}

impl From<redis::RedisError> for InspectError {
    fn from(error: redis::RedisError) -> Self {
        Self::Queue(error.into())
    }
}

/// A queue as a whole. Instants are in ms since 1970, by Redis' clock, and in documents RFC 3339.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    pub name: String,
    pub paused: bool,
    pub waiting: usize,
    pub scheduled: usize,
    pub running: usize,
    pub done: usize,
    pub dead: usize,
    /// When the job that has waited longest was enqueued.
    #[serde(serialize_with = "instant::maybe")]
    pub oldest_waiting: Option<u64>,
    pub trimmed_done: u64,
    pub trimmed_dead: u64,
    pub discarded: u64,
    /// The clock that all of this goes by.
    #[serde(serialize_with = "instant::one")]
    pub now: u64,
}

impl Inspector {
    /// Over these queues.
    #[must_use]
    pub fn new(queues: Vec<Queue>) -> Self {
        Self {
            queues,
            plain_fields: &[],
        }
    }

    /// Shows these fields of payloads as they are, because they hold nothing personal. All others are masked.
    #[must_use]
    pub fn with_plain_fields(mut self, fields: &'static [&'static str]) -> Self {
        self.plain_fields = fields;
        self
    }

    /// The status of each queue.
    pub async fn queues(&self) -> Result<Vec<QueueStatus>, InspectError> {
        let mut all = Vec::with_capacity(self.queues.len());
        for queue in &self.queues {
            let Counts {
                waiting,
                scheduled,
                running,
                done,
                dead,
                ..
            } = queue.counts().await?;
            let stats: (Option<u64>, Option<u64>, Option<u64>) =
                redis::Cmd::hmget(queue.key("stats"), &["trimmed_done", "trimmed_dead", "discarded"])
                    .query_async(&mut queue.connection.clone())
                    .await?;
            all.push(QueueStatus {
                name: queue.config.name.clone(),
                paused: queue.is_paused().await?,
                waiting,
                scheduled,
                running,
                done,
                dead,
                oldest_waiting: queue.oldest_waiting().await?,
                trimmed_done: stats.0.unwrap_or(0),
                trimmed_dead: stats.1.unwrap_or(0),
                discarded: stats.2.unwrap_or(0),
                now: now(queue).await?,
            });
        }
        Ok(all)
    }

    /// The queues' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.queues.iter().map(|queue| queue.config.name.as_str())
    }

    /// Redis' clock, in ms since 1970.
    pub async fn clock(&self) -> Result<u64, InspectError> {
        let queue = self.queues.first().ok_or(InspectError::Cursor)?;
        now(queue).await
    }

    /// The queue of this name.
    ///
    /// # Errors
    /// [`InspectError::UnknownQueue`].
    pub fn queue(&self, name: &str) -> Result<&Queue, InspectError> {
        self.queues
            .iter()
            .find(|queue| queue.config.name == name)
            .ok_or_else(|| {
                InspectError::UnknownQueue(name.to_owned(), self.names().collect::<Vec<_>>().join(", "))
            })
    }
}

/// Redis' clock, in ms since 1970.
async fn now(queue: &Queue) -> Result<u64, InspectError> {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME")
        .query_async(&mut queue.connection.clone())
        .await?;
    Ok(seconds * 1_000 + micros / 1_000)
}

/// The lists in which jobs wait, by group, with their names; `-` is the list without a group.
async fn lines(queue: &Queue) -> Result<Vec<String>, InspectError> {
    let mut groups: Vec<String> = redis::Cmd::zrange(queue.key("turn"), 0, -1)
        .query_async(&mut queue.connection.clone())
        .await?;
    // Programs older than groups add to `wait` without a turn.
    groups.push("-".to_owned());
    groups.sort();
    groups.dedup();
    Ok(groups)
}

fn line_key(queue: &Queue, group: &str) -> String {
    match group {
        "-" => queue.key("wait"),
        _ => queue.key(&format!("wait:{group}")),
    }
}

/// Ids are bytes to Redis. No program of ours writes one that is not UTF-8.
fn data_key(queue: &Queue, id: &[u8]) -> Vec<u8> {
    [queue.key("data:").as_bytes(), id].concat()
}
