//! What lies in a queue, read from Redis when somebody looks.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::super::client::{Counts, Queue};
use super::super::error::QueueError;
use super::super::job::Data;
use super::Operation;

/// How long a reading serves all who ask: a storm of scrapes costs Redis nothing.
const FRESH: Duration = Duration::from_secs(1);
/// How long a scrape waits for Redis before it answers without.
const PATIENCE: Duration = Duration::from_millis(800);

/// How many groups are asked for their oldest job: those whose turn is next, and that have waited longest for it.
const MOST_GROUPS: isize = 255;
/// Of a job's data, what surely holds its header, in bytes.
const LONGEST_HEADER: isize = 512;

/// What lies in a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gauges {
    pub(super) counts: Counts,
    pub(super) paused: bool,
    /// How long the next job in line has been there; 0 where none waits.
    pub(super) oldest_waiting: Duration,
    /// Jobs that the scripts found dead: with their workers, or known to no worker for too long.
    pub(super) reaped: [u64; REAPED.len()],
    /// What was forgotten to keep memory bounded.
    pub(super) trimmed: [u64; TRIMMED.len()],
}

/// Fields of `stats`, by what they are called in `stats` and in the metric's label.
pub(super) const REAPED: [(&str, &str); 3] = [
    ("dead_poison", "poison"),
    ("dead_worker_lost", "worker_lost"),
    ("dead_unknown", "unknown_kind_or_version"),
];
pub(super) const TRIMMED: [(&str, &str); 3] = [
    ("trimmed_done", "done"),
    ("trimmed_dead", "dead"),
    ("trimmed_log", "event_log"),
];

/// Reads a queue's gauges, at most once a second, over a connection of its own.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) queue: Queue,
    last: Mutex<Option<(Instant, Option<Gauges>)>>,
}

impl Reader {
    pub(super) fn new(queue: Queue) -> Self {
        Self {
            queue,
            last: Mutex::default(),
        }
    }

    /// The present gauges; `None` where Redis does not answer.
    pub(super) async fn read(&self) -> Option<Gauges> {
        // Held while Redis is asked: whoever comes meanwhile takes the same answer.
        let mut last = self.last.lock().await;
        if let Some((at, gauges)) = *last
            && at.elapsed() < FRESH
        {
            return gauges;
        }
        let reading = tokio::time::timeout(PATIENCE, self.ask()).await;
        let gauges = reading
            .unwrap_or(Err(QueueError::Timeout))
            .inspect_err(|error| {
                self.queue.metrics.redis_failed(Operation::Scrape, error);
                tracing::debug!(%error, "the queue's gauges could not be read");
            })
            .ok();
        *last = Some((Instant::now(), gauges));
        gauges
    }

    async fn ask(&self) -> Result<Gauges, QueueError> {
        let queue = &self.queue;
        let fields = REAPED.iter().chain(&TRIMMED).map(|(field, _)| *field);
        let (groups, paused, stats): (Vec<String>, bool, Vec<Option<u64>>) = redis::pipe()
            .zrange(queue.key("turn"), 0, MOST_GROUPS)
            .hexists(queue.key("steer"), "paused")
            .hmget(queue.key("stats"), fields.collect::<Vec<_>>())
            .query_async(&mut queue.connection.clone())
            .await?;
        let stat = |at: usize| stats.get(at).copied().flatten().unwrap_or(0);
        Ok(Gauges {
            counts: queue.counts().await?,
            paused,
            oldest_waiting: self.oldest(&groups).await?,
            reaped: std::array::from_fn(stat),
            trimmed: std::array::from_fn(|at| stat(REAPED.len() + at)),
        })
    }

    /// How long ago the oldest of the jobs that stand first in their group's line was enqueued, by Redis' clock.
    async fn oldest(&self, groups: &[String]) -> Result<Duration, QueueError> {
        let mut heads = redis::pipe();
        heads.lindex(self.queue.key("wait"), 0);
        for group in groups.iter().filter(|group| *group != "-") {
            heads.lindex(self.queue.key(&format!("wait:{group}")), 0);
        }
        let connection = &mut self.queue.connection.clone();
        // An id may be anything: it need not be ours.
        let heads: Vec<Option<Vec<u8>>> = heads.query_async(connection).await?;
        let heads: Vec<Vec<u8>> = heads.into_iter().flatten().collect();
        if heads.is_empty() {
            return Ok(Duration::ZERO);
        }
        let mut headers = redis::pipe();
        for id in &heads {
            let key = [self.queue.key("data:").as_bytes(), id].concat();
            headers.getrange(key, 0, LONGEST_HEADER);
        }
        let headers: Vec<Vec<u8>> = headers.query_async(connection).await?;
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(connection).await?;
        let now = seconds * 1_000 + micros / 1_000;
        // One that was taken or discarded between the questions has no data any more.
        let enqueued = headers.iter().filter_map(|header| Data::parse(header).ok());
        let oldest = enqueued.map(|data| data.enqueued).min().unwrap_or(now);
        Ok(Duration::from_millis(now.saturating_sub(oldest)))
    }
}
