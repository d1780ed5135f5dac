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

/// What lies in a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gauges {
    pub(super) counts: Counts,
    /// How long the next job in line has been there; 0 where none waits.
    pub(super) oldest_waiting: Duration,
    /// Jobs that died with their workers: Redis alone counts them, as no worker is left to.
    pub(super) reaped: [u64; REAPED.len()],
    /// What was forgotten to keep memory bounded.
    pub(super) trimmed: [u64; TRIMMED.len()],
}

/// Fields of `stats`, by what they are called in `stats` and in the metric's label.
pub(super) const REAPED: [(&str, &str); 2] = [("dead_poison", "poison"), ("dead_worker_lost", "worker_lost")];
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
        let mut connection = queue.connection.clone();
        let fields = REAPED.iter().chain(&TRIMMED).map(|(field, _)| *field);
        let (head, stats): (Option<String>, Vec<Option<u64>>) = redis::pipe()
            .lindex(queue.key("wait"), 0)
            .hmget(queue.key("stats"), fields.collect::<Vec<_>>())
            .query_async(&mut connection)
            .await?;
        let oldest_waiting = match head {
            Some(id) => self.age(&id).await?,
            None => Duration::ZERO,
        };
        let stat = |at: usize| stats.get(at).copied().flatten().unwrap_or(0);
        Ok(Gauges {
            counts: queue.counts().await?,
            oldest_waiting,
            reaped: std::array::from_fn(stat),
            trimmed: std::array::from_fn(|at| stat(REAPED.len() + at)),
        })
    }

    /// How long ago a job was enqueued, by Redis' clock.
    async fn age(&self, id: &str) -> Result<Duration, QueueError> {
        let (header, (seconds, micros)): (Vec<u8>, (u64, u64)) = redis::pipe()
            .getrange(self.queue.key(&format!("data:{id}")), 0, 255)
            .cmd("TIME")
            .query_async(&mut self.queue.connection.clone())
            .await?;
        // Taken, or discarded, between the two questions.
        let Ok(data) = Data::parse(&header) else {
            return Ok(Duration::ZERO);
        };
        let now = seconds * 1_000 + micros / 1_000;
        Ok(Duration::from_millis(now.saturating_sub(data.enqueued)))
    }
}
