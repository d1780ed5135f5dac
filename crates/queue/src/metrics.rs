//! What one process counts of a queue. Counting is an atomic addition; reading is for [`Exposition`].

mod exposition;
mod gauges;
mod histogram;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::completer::Outcome;
use super::enqueue::{Enqueued, Item};
use super::error::QueueError;
use super::lease::Claim;

pub use exposition::{Exposition, Reading};
pub use histogram::Histogram;

/// Kinds of jobs that are counted separately. Kinds come out of Redis, too, and whatever lies there must not fill our memory, nor
/// Prometheus'.
const MOST_KINDS: usize = 32;
/// Reasons of dead letters that are counted separately, for each kind.
const MOST_REASONS: usize = 64;
/// What the rest is counted under.
const OTHER: &str = "other";

/// A number that only grows.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

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

/// What is counted of each kind of job.
#[derive(Debug)]
struct Kind {
    name: Box<str>,
    enqueued: Count,
    deduplicated: Count,
    started: Count,
    done: Count,
    retried: Count,
    put_off: Count,
    left: Count,
    /// By reason.
    dead: Mutex<BTreeMap<String, u64>>,
    wait: Histogram,
    run: Histogram,
}

impl Kind {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            enqueued: Count::default(),
            deduplicated: Count::default(),
            started: Count::default(),
            done: Count::default(),
            retried: Count::default(),
            put_off: Count::default(),
            left: Count::default(),
            dead: Mutex::default(),
            wait: Histogram::default(),
            run: Histogram::default(),
        }
    }

    fn died(&self, reason: &str, jobs: u64) {
        let mut dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        let known = is_word(reason) && (dead.len() < MOST_REASONS || dead.contains_key(reason));
        *dead
            .entry(if known { reason } else { OTHER }.to_owned())
            .or_default() += jobs;
    }
}

/// Names a kind of job, once it has been looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KindId(usize);

/// What this process counts of one queue. Clones of a queue share it.
#[derive(Debug)]
pub(super) struct Metrics {
    kinds: [OnceLock<Kind>; MOST_KINDS],
    redis_errors: [Count; OPERATIONS.len()],
    lease_losses: Count,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            kinds: [const { OnceLock::new() }; MOST_KINDS],
            redis_errors: Default::default(),
            lease_losses: Count::default(),
        }
    }

    /// Looks a kind up: a comparison or two, as a queue has few.
    pub(super) fn kind(&self, name: &str) -> KindId {
        let last = MOST_KINDS - 1;
        let name = if is_word(name) { name } else { OTHER };
        for (at, place) in self.kinds[..last].iter().enumerate() {
            if *place.get_or_init(|| Kind::new(name)).name == *name {
                return KindId(at);
            }
        }
        self.kinds[last].get_or_init(|| Kind::new(OTHER));
        KindId(last)
    }

    fn of(&self, kind: KindId) -> &Kind {
        // Whoever has the id has had it made.
        self.kinds[kind.0].get_or_init(|| Kind::new(OTHER))
    }

    /// Kinds that have been seen.
    fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.kinds.iter().filter_map(OnceLock::get)
    }

    pub(super) fn enqueued(&self, items: &[Item], answers: &[Enqueued]) {
        for (item, answer) in items.iter().zip(answers) {
            let Some(job) = &item.job else {
                continue;
            };
            let kind = self.of(self.kind(job.kind));
            match answer {
                Enqueued::New => kind.enqueued.add(1),
                Enqueued::Seen | Enqueued::Live | Enqueued::Dead => kind.deduplicated.add(1),
                Enqueued::Logged => {}
            }
        }
    }

    /// A handler takes up a job.
    pub(super) fn started(&self, claim: &Claim) {
        let kind = self.of(claim.kind);
        kind.started.add(1);
        if claim.attempt == 1
            && let Some(waited) = claim.waited
        {
            // The first part is by Redis' clock, the rest by ours: no machine's clock is compared with another's.
            kind.wait.observe(waited + claim.claimed.elapsed());
        }
    }

    /// A handler has ended, however it did.
    pub(super) fn ran(&self, claim: &Claim, time: Duration) {
        self.of(claim.kind).run.observe(time);
    }

    /// Redis has taken note of how an attempt ended.
    pub(super) fn settled(&self, claim: &Claim, outcome: &Outcome) {
        let kind = self.of(claim.kind);
        match outcome {
            Outcome::Done => kind.done.add(1),
            Outcome::Retry { .. } => kind.retried.add(1),
            Outcome::PutOff { .. } => kind.put_off.add(1),
            Outcome::Leave(_) => kind.left.add(1),
            Outcome::Dead(failure) => kind.died(&failure.code, 1),
        }
    }

    /// Jobs were made dead letters whose ids are not text: what kind they were is unknown.
    pub(super) fn dead_lettered(&self, jobs: u64) {
        self.of(self.kind(OTHER)).died("undecodable", jobs);
    }

    pub(super) fn lease_lost(&self) {
        self.lease_losses.add(1);
    }

    pub(super) fn redis_failed(&self, operation: Operation, error: &QueueError) {
        if matches!(
            error,
            QueueError::Redis(_) | QueueError::Timeout | QueueError::Answer(_)
        ) {
            self.redis_errors[operation as usize].add(1);
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
    fn kinds_beyond_a_bound_and_names_that_are_no_words_share_one_label() {
        let metrics = Metrics::new();
        assert_eq!(metrics.kind("fulfil"), metrics.kind("fulfil"));
        for n in 0..1_000 {
            metrics.kind(&format!("kind_{n}"));
        }
        metrics.kind("\"} evil 1\n");
        let names: Vec<&str> = metrics.kinds().map(|kind| &*kind.name).collect();
        assert_eq!(names.len(), MOST_KINDS);
        assert_eq!((names[0], names[MOST_KINDS - 1]), ("fulfil", OTHER));
    }
}
