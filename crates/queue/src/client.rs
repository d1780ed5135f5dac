//! The queue's handle: its configuration, its keys, and what producers and operators call.

use std::time::Duration;

use super::connection::{FailoverConnection, Redis};
use super::error::{QueueError, RetryPolicy};
use super::metrics::Metrics;
use super::scripts;
use surepass_base::outage::{self, Outage};

/// The most items in one call: what a script unpacks is bounded (Lua ends half-way at some 8,000), and so is the time
/// for which it holds up Redis.
pub(super) const LARGEST_CALL: usize = 500;

/// A worker that has acknowledged nothing for longer is not ready.
const ACK_PATIENCE: Duration = Duration::from_secs(10);

/// How one queue behaves.
#[derive(Debug, Clone)]
pub struct QueueConfig {
    /// The first word of every key; separates installations that share a Redis.
    pub prefix: String,
    /// The queue's name.
    pub name: String,
    pub retry: RetryPolicy,
    /// How long a silent worker keeps its jobs. It renews three times as often.
    pub lease: Duration,
    /// A job that was alone in this many workers when they died is dead: `poison`.
    pub max_crashes: u32,
    /// How long, and how many, done jobs are kept.
    pub keep_done: Duration,
    pub keep_done_jobs: usize,
    /// How long dead letters are kept.
    pub keep_dead: Duration,
    /// How many log entries may wait for the store; beyond it the oldest go.
    pub log_entries: usize,
    /// How long a job of a kind or version that no worker here knows is left to a newer worker, before it is dead.
    pub leave_unknown: Duration,
    pub limits: QueueLimits,
    /// Randomness for the jitter of retries: each call gives a number from 0 to 1.
    pub noise: fn() -> f64,
}

impl Default for QueueConfig {
    fn default() -> Self {
        const DAY: Duration = Duration::from_hours(24);
        Self {
            prefix: "surepass".to_owned(),
            name: "fulfil".to_owned(),
            retry: RetryPolicy {
                base: Duration::from_secs(1),
                cap: Duration::from_mins(10),
                max_attempts: 16,
            },
            lease: Duration::from_secs(15),
            max_crashes: 3,
            keep_done: DAY,
            keep_done_jobs: 10_000,
            keep_dead: 30 * DAY,
            log_entries: 200_000,
            leave_unknown: DAY,
            limits: QueueLimits::default(),
            noise: rand::random,
        }
    }
}

/// What all workers of a queue together may do, by Redis' count and clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueLimits {
    /// The most jobs that they hold at a time, prefetched ones included; 0: any number.
    pub running: u32,
    /// The most jobs that they begin in a second, on average; up to a second's worth begin at once. 0: any number.
    pub per_second: u32,
}

/// A queue in Redis. Clones share a connection.
#[derive(Clone)]
pub struct Queue {
    pub(super) redis: Redis,
    pub(super) connection: FailoverConnection,
    pub(super) config: std::sync::Arc<QueueConfig>,
    pub(super) metrics: std::sync::Arc<Metrics>,
    /// Whether this process can acknowledge attempts.
    pub(super) acks: std::sync::Arc<Outage>,
    prefix: std::sync::Arc<str>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("keys", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Queue {
    /// The queue `config.name` in this Redis. Connects at the first call.
    pub fn new(redis: &Redis, config: QueueConfig) -> Result<Self, QueueError> {
        let prefix: std::sync::Arc<str> = format!("{{{}:{}}}:", config.prefix, config.name).into();
        Ok(Self {
            connection: redis.connection(&prefix)?,
            redis: redis.clone(),
            metrics: Metrics::new(&redis.metrics, &config.name).into(),
            config: config.into(),
            acks: std::sync::Arc::default(),
            prefix,
        })
    }

    /// The same queue over a connection of its own.
    pub fn reconnected(&self) -> Result<Self, QueueError> {
        Ok(Self {
            connection: self.redis.connection(&self.prefix)?,
            ..self.clone()
        })
    }

    /// The full name of one of the queue's keys.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// What each of the queue's keys begins with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How it behaves.
    #[must_use]
    pub fn config(&self) -> &QueueConfig {
        &self.config
    }

    /// Runs dead jobs again from their first attempt. Answers for each whether it now waits.
    pub async fn retry(&self, ids: &[String]) -> Result<Vec<bool>, QueueError> {
        let mut answers = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(LARGEST_CALL) {
            let mut call = scripts::RETRY.on(&["sched", "dead", "lease"].map(|name| self.key(name)));
            call.arg(&*self.prefix).arg("dead").arg(chunk);
            let words: Vec<String> = call.invoke_async(&mut self.connection.clone()).await?;
            answers.extend(words.iter().map(|word| word == "retried"));
        }
        Ok(answers)
    }

    /// Why a job is dead; `None` where it is not.
    pub async fn death(&self, id: &str) -> Result<Option<String>, QueueError> {
        let mut connection = self.connection.clone();
        let (score, reason): (Option<f64>, Option<String>) = redis::pipe()
            .zscore(self.key("dead"), id)
            .hget(self.key(&format!("job:{id}")), "reason")
            .query_async(&mut connection)
            .await?;
        Ok(score.and(reason))
    }

    /// Jobs that died at `since` (in ms since 1970) or later, oldest first, each with when it died; at most `limit`.
    pub async fn died_since(&self, since: u64, limit: u32) -> Result<Vec<(String, u64)>, QueueError> {
        let limit = isize::try_from(limit).unwrap_or(isize::MAX);
        let call = redis::Cmd::zrangebyscore_limit_withscores(self.key("dead"), since, "+inf", 0, limit);
        let died: Vec<(Vec<u8>, f64)> = call.query_async(&mut self.connection.clone()).await?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time in ms, which Redis keeps as a float"
        )]
        let read = |(id, at): (Vec<u8>, f64)| (String::from_utf8_lossy(&id).into_owned(), at as u64);
        Ok(died.into_iter().map(read).collect())
    }

    /// How a job's failed attempts ended, oldest first: a JSON object each, with `attempt`, `worker`, `claimed` (not
    /// for a worker that died), `ended` (both in ms since 1970), `code` and `error`.
    pub async fn errors(&self, id: &str) -> Result<Vec<String>, QueueError> {
        let key = self.key(&format!("errors:{id}"));
        Ok(redis::Cmd::lrange(key, 0, -1)
            .query_async(&mut self.connection.clone())
            .await?)
    }

    /// Forgets what has been kept long enough; a bounded chunk. Answers how many jobs.
    pub async fn trim(&self) -> Result<usize, QueueError> {
        Ok(scripts::TRIM
            .on(&["done", "dead", "stats"].map(|name| self.key(name)))
            .arg(&*self.prefix)
            .arg(millis(self.config.keep_done))
            .arg(millis(self.config.keep_dead))
            .invoke_async(&mut self.connection.clone())
            .await?)
    }

    /// Whether this process' attempts at the queue's jobs are acknowledged, as far as it has tried lately. If they are not,
    /// jobs run again and again.
    #[must_use]
    pub fn acknowledges(&self) -> bool {
        self.acks.lasts().is_none_or(|time| time < ACK_PATIENCE)
    }

    /// Notes that Redis failed a worker. One line a minute, whatever fails.
    pub(super) fn failed(&self, error: &dyn std::fmt::Display) {
        tracing::debug!(%error, "Redis does not answer");
        if let Some(away) = self.redis.outage.failed() {
            let away_ms = outage::millis(away);
            tracing::warn!(%error, away_ms, "no jobs from Redis; trying again until it answers");
        }
    }

    /// Notes that Redis answered a worker.
    pub(super) fn answered(&self) {
        if let Some(away) = self.redis.outage.answered() {
            tracing::info!(
                away_ms = outage::millis(away),
                "Redis is back: jobs are taken again"
            );
        }
    }

    /// Answers when Redis does, and takes writes: one that is full or read-only is of no use. Writes nothing: Redis refuses
    /// this command as it refuses any write, and the key that it would change is not there.
    pub async fn ping(&self) -> Result<(), QueueError> {
        let options = redis::SetOptions::default().conditional_set(redis::ExistenceCheck::XX);
        let write = redis::Cmd::set_options(self.key("never"), 1, options);
        Ok(write.query_async(&mut self.connection.clone()).await?)
    }
}

/// As Redis takes it: whole milliseconds, 30,000 years at most. More would overflow when Redis adds the present to it, and
/// an error in the middle of a script leaves its work half done.
pub(super) fn millis(duration: Duration) -> u64 {
    const LONGEST: u64 = 1_000_000_000_000_000;
    u64::try_from(duration.as_millis()).map_or(LONGEST, |ms| ms.min(LONGEST))
}
