//! Queues as Prometheus sees them: what this process has counted, and what Redis holds now.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Counters, Labels, Operation};
use crate::client::Queue;
use crate::counts::Counts;
use crate::error::QueueError;

/// How long a reading is cached: frequent scrapes cost Redis nothing.
const FRESH: Duration = Duration::from_secs(1);
/// How long a scrape waits for Redis before it answers without.
const PATIENCE: Duration = Duration::from_millis(800);

/// Fields of `stats`, by what they are called in `stats` and in the metric's label.
const REAPED: [(&str, &str); 3] = [
    ("dead_poison", "poison"),
    ("dead_worker_lost", "worker_lost"),
    ("dead_unknown", "unknown_kind_or_version"),
];
const TRIMMED: [(&str, &str); 3] = [
    ("trimmed_done", "done"),
    ("trimmed_dead", "dead"),
    ("trimmed_log", "event_log"),
];

type Gauges<const N: usize> = Family<Labels<N>, Gauge>;

/// The queues of one Redis that a process shows in its `/metrics`.
#[derive(Debug, Clone)]
pub struct Exposition {
    readers: Arc<[Reader]>,
}

impl Exposition {
    /// Shows these queues. Reads them over connections of its own.
    pub fn new<'a>(queues: impl IntoIterator<Item = &'a Queue>) -> Result<Self, QueueError> {
        let readers = queues.into_iter().map(|queue| {
            queue.metrics.show_zeros();
            Ok(Reader {
                queue: queue.reconnected()?,
                last: Mutex::default(),
            })
        });
        Ok(Self {
            readers: readers.collect::<Result<_, QueueError>>()?,
        })
    }

    /// Adds the present metrics to a registry. Without Redis only what this process has counted.
    pub async fn register(&self, registry: &mut Registry) {
        let readings = futures::future::join_all(self.readers.iter().map(Reader::read)).await;
        if let Some(reader) = self.readers.first() {
            reader.queue.metrics.families.register(registry);
        }
        let (up, jobs, paused, log) = <(Gauges<1>, Gauges<2>, Gauges<1>, Gauges<1>)>::default();
        let oldest = Family::<Labels<1>, Gauge<f64, AtomicU64>>::default();
        let (reaped, trimmed) = <(Counters<2>, Counters<2>)>::default();
        for (reader, reading) in self.readers.iter().zip(&readings) {
            let queue = || reader.queue.metrics.label();
            up.get_or_create(&[queue()]).set(i64::from(reading.is_some()));
            let Some(reading) = reading else { continue };
            let counts = reading.counts;
            for (state, count) in [
                ("waiting", counts.waiting),
                ("scheduled", counts.scheduled),
                ("running", counts.running),
                ("dead", counts.dead),
            ] {
                jobs.get_or_create(&[queue(), ("state", state.to_owned())])
                    .set(whole(count));
            }
            paused.get_or_create(&[queue()]).set(i64::from(reading.paused));
            oldest
                .get_or_create(&[queue()])
                .set(reading.oldest_waiting.as_secs_f64());
            log.get_or_create(&[queue()]).set(whole(counts.log));
            for ((_, reason), count) in REAPED.iter().zip(&reading.stats) {
                let labels = [queue(), ("reason", (*reason).to_owned())];
                reaped.get_or_create(&labels).inc_by(*count);
            }
            for ((_, what), count) in TRIMMED.iter().zip(&reading.stats[REAPED.len()..]) {
                let labels = [queue(), ("what", (*what).to_owned())];
                trimmed.get_or_create(&labels).inc_by(*count);
            }
        }
        registry.register("surepass_redis_up", "1 if Redis answered this scrape", up);
        registry.register("surepass_queue_jobs", "Jobs in the queue, by state", jobs);
        registry.register("surepass_queue_paused", "1 while the queue is paused", paused);
        registry.register_with_unit(
            "surepass_queue_oldest_waiting",
            "How long ago the next waiting job was enqueued; 0 if none waits",
            Unit::Seconds,
            oldest,
        );
        registry.register(
            "surepass_event_log_entries",
            "Events in Redis on their way to the store",
            log,
        );
        registry.register(
            "surepass_queue_reaped",
            "Jobs that died with their worker or that no worker knew, as Redis counts them for all processes",
            reaped,
        );
        registry.register(
            "surepass_queue_trimmed",
            "Jobs and log entries removed to bound memory, as Redis counts them for all processes",
            trimmed,
        );
    }
}

/// What Redis holds of a queue.
#[derive(Debug, Clone, Copy)]
struct Reading {
    counts: Counts,
    paused: bool,
    /// How long the next waiting job has been there; 0 if none waits.
    oldest_waiting: Duration,
    /// By [`REAPED`], then [`TRIMMED`].
    stats: [u64; REAPED.len() + TRIMMED.len()],
}

/// Reads a queue at most once a second, over a connection of its own.
#[derive(Debug)]
struct Reader {
    queue: Queue,
    last: Mutex<Option<(Instant, Option<Reading>)>>,
}

impl Reader {
    /// The present reading; `None` where Redis does not answer.
    async fn read(&self) -> Option<Reading> {
        // Held during the call to Redis: concurrent scrapes get the same answer.
        let mut last = self.last.lock().await;
        if let Some((at, reading)) = *last
            && at.elapsed() < FRESH
        {
            return reading;
        }
        let reading = tokio::time::timeout(PATIENCE, self.ask()).await;
        let reading = reading
            .unwrap_or(Err(QueueError::Timeout))
            .inspect_err(|error| {
                self.queue.metrics.redis_failed(Operation::Scrape, error);
                tracing::debug!(%error, "the queue's gauges could not be read");
            })
            .ok();
        *last = Some((Instant::now(), reading));
        reading
    }

    async fn ask(&self) -> Result<Reading, QueueError> {
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
        Ok(Reading {
            counts: queue.counts().await?,
            paused,
            oldest_waiting: Duration::from_millis(now.saturating_sub(oldest.unwrap_or(now))),
            stats: std::array::from_fn(|at| stats.get(at).copied().flatten().unwrap_or(0)),
        })
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
