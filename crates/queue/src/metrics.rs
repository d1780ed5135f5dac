//! What one process counts of its queues. Counting takes no lock that another job holds for long; [`Exposition`] reads.

mod exposition;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::completer::Outcome;
use super::enqueue::{Enqueued, Item};
use super::error::QueueError;
use super::lease::Claim;

pub use exposition::Exposition;

/// Kinds of jobs that are counted separately, for each queue. Kinds are read from Redis, too, and unknown ones must not
/// fill our memory, nor Prometheus'.
const MOST_KINDS: usize = 32;
/// Dead letters are counted separately by so many reasons.
const MOST_REASONS: usize = 64;
/// What the rest is counted under.
const OTHER: &str = "other";

type Labels<const N: usize> = [(&'static str, String); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Durations = Family<Labels<2>, Histogram, fn() -> Histogram>;

/// A histogram of durations in seconds, from 1 ms to 10 minutes.
#[must_use]
pub fn duration_histogram() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
        300.0, 600.0,
    ])
}

/// What happens to jobs, by queue and kind.
#[derive(Debug, Clone, Copy)]
enum Event {
    Enqueued,
    Deduplicated,
    Started,
    Done,
    Retried,
    PutOff,
    Left,
}

/// The metric of each [`Event`], and its help.
const EVENTS: [(&str, &str); 7] = [
    ("surepass_jobs_enqueued", "Jobs put into the queue"),
    (
        "surepass_jobs_deduplicated",
        "Jobs not enqueued, because they were there already or their event had been seen",
    ),
    ("surepass_jobs_started", "Attempts begun"),
    ("surepass_jobs_done", "Jobs done"),
    (
        "surepass_jobs_retried",
        "Attempts that failed and left their job to run again",
    ),
    (
        "surepass_jobs_put_off",
        "Attempts that did not count, because their turn at a limit had not come",
    ),
    (
        "surepass_jobs_left",
        "Jobs left to a newer worker, because this one does not know their kind or version",
    ),
];

/// What a process did to Redis when it failed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Enqueue,
    Claim,
    Settle,
    Renew,
    Scrape,
}

const OPERATIONS: [&str; 5] = ["enqueue", "claim", "settle", "renew", "scrape"];

/// The counts of all queues of one [`Redis`](super::Redis).
#[derive(Debug)]
pub(super) struct Families {
    events: [Counters<2>; EVENTS.len()],
    dead: Counters<3>,
    /// The reasons in `dead`.
    reasons: Mutex<BTreeSet<String>>,
    wait: Durations,
    run: Durations,
    lease_losses: Counters<1>,
    redis_errors: Counters<2>,
}

impl Default for Families {
    fn default() -> Self {
        Self {
            events: Default::default(),
            dead: Family::default(),
            reasons: Mutex::default(),
            wait: Family::new_with_constructor(duration_histogram),
            run: Family::new_with_constructor(duration_histogram),
            lease_losses: Family::default(),
            redis_errors: Family::default(),
        }
    }
}

impl Families {
    fn register(&self, registry: &mut Registry) {
        for ((name, help), counters) in EVENTS.iter().zip(&self.events) {
            registry.register(*name, *help, counters.clone());
        }
        registry.register(
            "surepass_jobs_dead",
            "Dead letters that this process made",
            self.dead.clone(),
        );
        for (name, help, durations) in [
            (
                "surepass_job_wait",
                "From the enqueueing of a job, its delay included, to the start of its first attempt",
                &self.wait,
            ),
            ("surepass_job_run", "How long attempts ran", &self.run),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, durations.clone());
        }
        registry.register(
            "surepass_lease_losses",
            "Leases that this worker lost with all its jobs",
            self.lease_losses.clone(),
        );
        registry.register(
            "surepass_redis_errors",
            "Calls that Redis did not answer, or answered with an error",
            self.redis_errors.clone(),
        );
    }
}

/// Names a kind of job, once it has been looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KindId(usize);

/// What this process counts of one queue. Clones of a queue share it.
#[derive(Debug)]
pub(super) struct Metrics {
    families: Arc<Families>,
    queue: String,
    kinds: [OnceLock<Labels<2>>; MOST_KINDS],
}

impl Metrics {
    pub(super) fn new(families: &Arc<Families>, queue: &str) -> Self {
        Self {
            families: families.clone(),
            queue: queue.to_owned(),
            kinds: [const { OnceLock::new() }; MOST_KINDS],
        }
    }

    /// Counts from zero what has not happened yet: a rate needs a first sample.
    fn show_zeros(&self) {
        drop(self.families.lease_losses.get_or_create(&[self.label()]));
        for operation in OPERATIONS {
            drop(self.redis_errors(operation));
        }
    }

    fn label(&self) -> (&'static str, String) {
        ("queue", self.queue.clone())
    }

    fn redis_errors(&self, operation: &str) -> impl std::ops::Deref<Target = Counter> {
        let labels = [self.label(), ("operation", operation.to_owned())];
        self.families.redis_errors.get_or_create(&labels)
    }

    /// Looks a kind up: a comparison or two, as a queue has few.
    pub(super) fn kind(&self, name: &str) -> KindId {
        let last = MOST_KINDS - 1;
        let name = if is_word(name) { name } else { OTHER };
        for (at, place) in self.kinds[..last].iter().enumerate() {
            let [_, (_, known)] = place.get_or_init(|| self.new_kind(name));
            if known == name {
                return KindId(at);
            }
        }
        KindId(last)
    }

    fn new_kind(&self, name: &str) -> Labels<2> {
        let labels = [self.label(), ("kind", name.to_owned())];
        for counters in &self.families.events {
            drop(counters.get_or_create(&labels));
        }
        drop(self.families.wait.get_or_create(&labels));
        drop(self.families.run.get_or_create(&labels));
        labels
    }

    fn labels(&self, kind: KindId) -> &Labels<2> {
        self.kinds[kind.0].get_or_init(|| self.new_kind(OTHER))
    }

    fn count(&self, kind: KindId, event: Event) {
        self.families.events[event as usize]
            .get_or_create(self.labels(kind))
            .inc();
    }

    pub(super) fn enqueued(&self, items: &[Item], answers: &[Enqueued]) {
        for (item, answer) in items.iter().zip(answers) {
            let Some(job) = &item.job else {
                continue;
            };
            let event = match answer {
                Enqueued::New => Event::Enqueued,
                Enqueued::Seen | Enqueued::Live | Enqueued::Dead => Event::Deduplicated,
                Enqueued::Logged => continue,
            };
            self.count(self.kind(job.kind), event);
        }
    }

    /// A handler takes up a job.
    pub(super) fn started(&self, claim: &Claim) {
        self.count(claim.kind, Event::Started);
        if claim.attempt == 1
            && let Some(waited) = claim.waited
        {
            // The first part is by Redis' clock, the rest by ours: no machine's clock is compared with another's.
            let waited = waited + claim.claimed.elapsed();
            let wait = self.families.wait.get_or_create(self.labels(claim.kind));
            wait.observe(waited.as_secs_f64());
        }
    }

    /// A handler has ended, however it did.
    pub(super) fn ran(&self, claim: &Claim, time: Duration) {
        let run = self.families.run.get_or_create(self.labels(claim.kind));
        run.observe(time.as_secs_f64());
    }

    /// Redis has recorded how an attempt ended.
    pub(super) fn settled(&self, claim: &Claim, outcome: &Outcome) {
        match outcome {
            Outcome::Done => self.count(claim.kind, Event::Done),
            Outcome::Retry { .. } => self.count(claim.kind, Event::Retried),
            Outcome::PutOff { .. } => self.count(claim.kind, Event::PutOff),
            Outcome::Leave(_) => self.count(claim.kind, Event::Left),
            Outcome::Dead(failure) => self.died(claim.kind, &failure.code, 1),
        }
    }

    /// Jobs were made dead letters whose ids are not text: what kind they were is unknown.
    pub(super) fn dead_lettered(&self, jobs: u64) {
        self.died(self.kind(OTHER), "undecodable", jobs);
    }

    fn died(&self, kind: KindId, reason: &str, jobs: u64) {
        let [queue, kind] = self.labels(kind).clone();
        let mut known = self
            .families
            .reasons
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let has_label = is_word(reason) && (known.len() < MOST_REASONS || known.contains(reason));
        let reason = if has_label { reason } else { OTHER };
        known.insert(reason.to_owned());
        let labels = [queue, kind, ("reason", reason.to_owned())];
        self.families.dead.get_or_create(&labels).inc_by(jobs);
    }

    pub(super) fn lease_lost(&self) {
        self.families.lease_losses.get_or_create(&[self.label()]).inc();
    }

    pub(super) fn redis_failed(&self, operation: Operation, error: &QueueError) {
        if matches!(
            error,
            QueueError::Redis(_) | QueueError::Timeout | QueueError::Answer(_)
        ) {
            self.redis_errors(OPERATIONS[operation as usize]).inc();
        }
    }
}

/// Whether a name is one of ours, rather than some text that came with a job.
fn is_word(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_reasons_beyond_a_bound_and_names_that_are_no_words_share_one_label() {
        let families = Arc::<Families>::default();
        let metrics = Metrics::new(&families, "fulfil");
        assert_eq!(metrics.kind("fulfil"), metrics.kind("fulfil"));
        for n in 0..1_000 {
            metrics.count(metrics.kind(&format!("kind_{n}")), Event::Done);
            metrics.died(metrics.kind("fulfil"), &format!("reason_{n}"), 1);
        }
        metrics.count(metrics.kind("\"} evil 1\n"), Event::Done);
        metrics.died(metrics.kind("fulfil"), "\"} evil 1\n", 1);
        let label = |kind: &str| [metrics.label(), ("kind", kind.to_owned())];
        let done = families.events[Event::Done as usize].get(&label(OTHER));
        // Beside `fulfil` and `other` there is room for 30.
        assert_eq!(done.map(|count| count.get()), Some(1_000 - 30 + 1));
        let [queue, kind] = label("fulfil");
        let dead = families.dead.get(&[queue, kind, ("reason", OTHER.to_owned())]);
        assert_eq!(dead.map(|count| count.get()), Some(1_000 - 64 + 1));
    }
}
