//! Queues as Prometheus sees them.

use std::fmt;
use std::sync::{Arc, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::super::client::Queue;
use super::super::error::QueueError;
use super::gauges::{Gauges, REAPED, Reader, TRIMMED};
use super::{Count, Histogram, Kind, Metrics, OPERATIONS};

/// The queues that a process has to do with, for its `/metrics`.
#[derive(Debug, Clone)]
pub struct Exposition {
    queues: Arc<[Reader]>,
}

impl Exposition {
    /// Tells of these queues, over connections of its own.
    ///
    /// # Errors
    /// [`QueueError::Redis`] where a client cannot be set up.
    pub fn new<'a>(queues: impl IntoIterator<Item = &'a Queue>) -> Result<Self, QueueError> {
        let readers = queues
            .into_iter()
            .map(|queue| Ok(Reader::new(queue.reconnected()?)));
        Ok(Self {
            queues: readers.collect::<Result<_, QueueError>>()?,
        })
    }

    /// Reads what only Redis knows. Without Redis the reading tells of the rest.
    pub async fn read(&self) -> Reading {
        let gauges = futures::future::join_all(self.queues.iter().map(Reader::read)).await;
        Reading {
            queues: self.queues.clone(),
            gauges,
        }
    }
}

/// What the queues are like now.
#[derive(Debug)]
pub struct Reading {
    queues: Arc<[Reader]>,
    gauges: Vec<Option<Gauges>>,
}

type Labels<'a> = [(&'static str, &'a str); 2];

impl Reading {
    fn each(&self) -> impl Iterator<Item = (&str, &Metrics)> {
        self.queues
            .iter()
            .map(|reader| (reader.queue.config().name.as_str(), &*reader.queue.metrics))
    }

    fn kinds(&self) -> impl Iterator<Item = (Labels<'_>, &Kind)> {
        self.each().flat_map(|(queue, metrics)| {
            metrics
                .kinds()
                .map(move |kind| ([("queue", queue), ("kind", &*kind.name)], kind))
        })
    }

    fn gauges(&self) -> impl Iterator<Item = (&str, &Gauges)> {
        let names = self.each().map(|(queue, _)| queue);
        names
            .zip(&self.gauges)
            .filter_map(|(queue, gauges)| Some((queue, gauges.as_ref()?)))
    }

    fn by_kind(
        &self,
        page: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        count: fn(&Kind) -> &Count,
    ) -> fmt::Result {
        let all = self.kinds().map(|(labels, kind)| (labels, count(kind).value()));
        counters(page, name, help, all)
    }

    fn histogram(
        &self,
        page: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        histogram: fn(&Kind) -> &Histogram,
    ) -> fmt::Result {
        let mut metric = page.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, kind) in self.kinds() {
            histogram(kind).encode(&mut metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn dead(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut all = Vec::new();
        for ([queue, name], kind) in self.kinds() {
            let dead = kind.dead.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(
                dead.iter()
                    .map(|(reason, count)| ([queue, name], reason.clone(), *count)),
            );
        }
        let all = all
            .iter()
            .map(|([queue, kind], reason, count)| ([*queue, *kind, ("reason", reason.as_str())], *count));
        counters(
            page,
            "surepass_jobs_dead",
            "Dead letters that this process made",
            all,
        )
    }

    fn counted(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.by_kind(
            page,
            "surepass_jobs_enqueued",
            "Jobs put into the queue",
            |kind| &kind.enqueued,
        )?;
        let help = "Jobs not enqueued, as they were there already or their event had been seen";
        self.by_kind(page, "surepass_jobs_deduplicated", help, |kind| {
            &kind.deduplicated
        })?;
        self.by_kind(page, "surepass_jobs_started", "Attempts begun", |kind| {
            &kind.started
        })?;
        self.by_kind(page, "surepass_jobs_done", "Jobs done", |kind| &kind.done)?;
        let help = "Attempts that failed and left their job to run again";
        self.by_kind(page, "surepass_jobs_retried", help, |kind| &kind.retried)?;
        let help = "Attempts that did not count, as their turn at a limit had not come";
        self.by_kind(page, "surepass_jobs_put_off", help, |kind| &kind.put_off)?;
        let help = "Jobs left to a newer worker, as this one does not know their kind or version";
        self.by_kind(page, "surepass_jobs_left", help, |kind| &kind.left)?;
        self.dead(page)?;
        let help = "From the enqueueing of a job, its delay included, to the start of its first attempt";
        self.histogram(page, "surepass_job_wait", help, |kind| &kind.wait)?;
        self.histogram(page, "surepass_job_run", "How long attempts ran", |kind| {
            &kind.run
        })?;

        let losses = self
            .each()
            .map(|(queue, metrics)| ([("queue", queue)], metrics.lease_losses.value()));
        let help = "Leases that this worker lost with all its jobs";
        counters(page, "surepass_lease_losses", help, losses)?;
        let errors = self.each().flat_map(|(queue, metrics)| {
            OPERATIONS
                .iter()
                .zip(&metrics.redis_errors)
                .map(move |(operation, count)| ([("queue", queue), ("operation", *operation)], count.value()))
        });
        counters(
            page,
            "surepass_redis_errors",
            "Calls that Redis did not answer, or with an error",
            errors,
        )
    }

    fn looked_up(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let up = self.each().map(|(queue, _)| queue).zip(&self.gauges);
        let up = up.map(|(queue, gauges)| ([("queue", queue)], i64::from(gauges.is_some())));
        gauges(page, "surepass_redis_up", "1 if Redis answered this scrape", up)?;

        let jobs = self.gauges().flat_map(|(queue, gauges)| {
            let counts = gauges.counts;
            [
                ("waiting", counts.waiting),
                ("scheduled", counts.scheduled),
                ("running", counts.running),
                ("dead", counts.dead),
            ]
            .map(|(state, jobs)| ([("queue", queue), ("state", state)], whole(jobs)))
        });
        gauges(page, "surepass_queue_jobs", "Jobs in the queue, by state", jobs)?;

        let paused = self
            .gauges()
            .map(|(queue, gauges)| ([("queue", queue)], i64::from(gauges.paused)));
        gauges(
            page,
            "surepass_queue_paused",
            "1 while somebody has paused the queue",
            paused,
        )?;

        let help = "How long ago the next job in line was enqueued; 0 if none waits";
        let name = "surepass_queue_oldest_waiting";
        let mut metric = page.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for (queue, gauges) in self.gauges() {
            let age = gauges.oldest_waiting.as_secs_f64();
            metric.encode_family(&[("queue", queue)])?.encode_gauge(&age)?;
        }

        let log = self
            .gauges()
            .map(|(queue, gauges)| ([("queue", queue)], whole(gauges.counts.log)));
        let help = "Events in Redis on their way to the store";
        gauges(page, "surepass_event_log_entries", help, log)?;

        let reaped = self.gauges().flat_map(|(queue, gauges)| {
            let pairs = REAPED.iter().zip(gauges.reaped);
            pairs.map(move |((_, reason), count)| ([("queue", queue), ("reason", *reason)], count))
        });
        let help =
            "Jobs that died with their worker or that no worker knew, as Redis counts them for all processes";
        counters(page, "surepass_queue_reaped", help, reaped)?;
        let trimmed = self.gauges().flat_map(|(queue, gauges)| {
            let pairs = TRIMMED.iter().zip(gauges.trimmed);
            pairs.map(move |((_, what), count)| ([("queue", queue), ("what", *what)], count))
        });
        let help = "Jobs and log entries forgotten to bound memory, as Redis counts them for all processes";
        counters(page, "surepass_queue_trimmed", help, trimmed)
    }
}

impl Collector for Reading {
    fn encode(&self, mut page: DescriptorEncoder<'_>) -> fmt::Result {
        self.counted(&mut page)?;
        self.looked_up(&mut page)
    }
}

fn counters<L: EncodeLabelSet>(
    page: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    all: impl Iterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut metric = page.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, count) in all {
        metric
            .encode_family(&labels)?
            .encode_counter::<[(&str, &str); 0], u64, f64>(&count, None)?;
    }
    Ok(())
}

fn gauges<L: EncodeLabelSet>(
    page: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    all: impl Iterator<Item = (L, i64)>,
) -> fmt::Result {
    let mut metric = page.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in all {
        metric.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
