//! What lies in a queue, read from Redis when somebody looks.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::super::client::Queue;
use super::super::counts::Counts;
use super::super::error::QueueError;
use super::Operation;

/// How long a reading is cached: frequent scrapes cost Redis nothing.
const FRESH: Duration = Duration::from_secs(1);
/// How long a scrape waits for Redis before it answers without.
const PATIENCE: Duration = Duration::from_millis(800);

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
        // Held during the call to Redis: concurrent scrapes get the same answer.
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
        let oldest = queue.oldest_waiting().await?;
        let fields = REAPED.iter().chain(&TRIMMED).map(|(field, _)| *field);
        let ((seconds, micros), paused, stats): ((u64, u64), bool, Vec<Option<u64>>) = redis::pipe()
            .cmd("TIME")
            .hexists(queue.key("steer"), "paused")
            .hmget(queue.key("stats"), fields.collect::<Vec<_>>())
            .query_async(&mut queue.connection.clone())
            .await?;
        let now = seconds * 1_000 + micros / 1_000;
        let stat = |at: usize| stats.get(at).copied().flatten().unwrap_or(0);
        Ok(Gauges {
            counts: queue.counts().await?,
            paused,
            oldest_waiting: Duration::from_millis(now.saturating_sub(oldest.unwrap_or(now))),
            reaped: std::array::from_fn(stat),
            trimmed: std::array::from_fn(|at| stat(REAPED.len() + at)),
        })
    }
}
