//! Enqueueing: items, and what became of each.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::client::{LARGEST_CALL, Queue, millis};
use super::error::QueueError;
use super::job::Job;
use super::metrics::Operation;
use super::recover::LONGEST_DELAY;
use super::scripts;

/// The length of a `traceparent` in bytes.
const TRACEPARENT: usize = 55;
/// The longest group that is kept as it is.
const LONGEST_GROUP: usize = 64;

/// One thing to enqueue: a job, a log entry, or both.
#[derive(Debug, Clone, Default)]
pub struct Item {
    /// An item whose key is taken changes nothing.
    pub dedupe: Option<DedupeKey>,
    pub job: Option<QueuedJob>,
    /// Header and body of an entry in the log stream.
    pub log: Option<(Vec<u8>, Vec<u8>)>,
}

/// A key that an item takes for some time, and how the item came.
#[derive(Debug, Clone)]
pub struct DedupeKey {
    pub(super) key: String,
    pub(super) life: Duration,
    /// Found by polling, not delivered by its source.
    pub(super) polled: bool,
}

/// A job, encoded.
#[derive(Debug, Clone)]
pub struct QueuedJob {
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) version: u32,
    pub(super) group: Option<String>,
    pub(super) trace: Option<String>,
    pub(super) payload: Vec<u8>,
    pub(super) delay: Duration,
    /// Which dead jobs run again, as `enqueue.lua` takes it: `0`: none, `1`: those that died of a passing cause, `*`: all; else
    /// also those that died of these reasons.
    pub(super) revive: &'static str,
}

impl Item {
    /// An item that is `job`.
    pub fn job<J: Job>(job: &J) -> Result<Self, QueueError> {
        let id = job.key().unwrap_or_else(|| ulid::Ulid::generate().to_string());
        let job = QueuedJob {
            id,
            kind: job.kind(),
            version: job.version(),
            group: None,
            trace: None,
            payload: job.encode()?,
            delay: Duration::ZERO,
            revive: "0",
        };
        Ok(Self {
            job: Some(job),
            ..Self::default()
        })
    }

    /// The id of its job, if there is one.
    #[must_use]
    pub fn job_id(&self) -> Option<&str> {
        self.job.as_ref().map(|job| job.id.as_str())
    }

    /// The size of its job's payload and of its entry in the log.
    pub(super) fn bytes(&self) -> usize {
        let payload = self.job.as_ref().map_or(0, |job| job.payload.len());
        let log = self
            .log
            .as_ref()
            .map_or(0, |(header, body)| header.len() + body.len());
        payload + log
    }

    /// Lets the job wait at least this long.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        if let Some(job) = &mut self.job {
            job.delay = delay;
        }
        self
    }

    /// The group for fairness: the waiting jobs of different groups are taken in turn. A name of other characters than
    /// letters, digits, `_`, `.` and `-`, or of more than 64, is replaced by a hash.
    #[must_use]
    pub fn group(mut self, name: &str) -> Self {
        if let Some(job) = &mut self.job {
            job.group = group(name);
        }
        self
    }

    /// Puts the job into a lane of its group, which is served in turn with the group's other jobs. Operators see lane and
    /// group as one.
    #[must_use]
    pub fn lane(mut self, lane: &'static str) -> Self {
        if let Some(group) = self.job.as_mut().and_then(|job| job.group.as_mut()) {
            group.push('.');
            group.push_str(lane);
        }
        self
    }

    /// The W3C `traceparent` of the request that the job belongs to. Anything else is left out: it would break the header.
    #[must_use]
    pub fn trace(mut self, traceparent: String) -> Self {
        let is_safe = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
        if let Some(job) = &mut self.job {
            job.trace =
                Some(traceparent).filter(|text| text.len() == TRACEPARENT && text.bytes().all(is_safe));
        }
        self
    }

    /// Runs the job again if it is dead of a transient cause.
    #[must_use]
    pub fn revive(self) -> Self {
        self.revive_of("1")
    }

    /// Runs the job again, with this item's payload, if it is dead of a transient cause or of one of `reasons` (separated by
    /// commas).
    #[must_use]
    pub fn revive_of(mut self, reasons: &'static str) -> Self {
        if let Some(job) = &mut self.job {
            job.revive = reasons;
        }
        self
    }

    /// Runs the job again, with this item's payload, if it is dead of any cause.
    #[must_use]
    pub fn rerun(self) -> Self {
        self.revive_of("*")
    }

    /// Accepts the item only if `key` has not been taken in the last `life`.
    #[must_use]
    pub fn dedupe(mut self, key: String, life: Duration) -> Self {
        let polled = false;
        self.dedupe = Some(DedupeKey { key, life, polled });
        self
    }

    /// The item was found by polling. When its source delivers the same key later, that is a duplicate, too; but the key
    /// records the delivery from then on.
    #[must_use]
    pub fn polled(mut self) -> Self {
        if let Some(dedupe) = &mut self.dedupe {
            dedupe.polled = true;
        }
        self
    }

    /// Adds an entry to the log stream, if the item is accepted.
    #[must_use]
    pub fn log(mut self, header: Vec<u8>, body: Vec<u8>) -> Self {
        self.log = Some((header, body));
        self
    }
}

impl Queue {
    /// Enqueues a batch, in one round trip for each 500 items. Each item is accepted whole or not at all, and has its answer in
    /// the same place.
    ///
    /// # Errors
    /// [`QueueError`]: then it is unknown whether Redis accepted the batch; enqueueing it again is safe.
    pub async fn enqueue(&self, items: &[Item]) -> Result<Vec<Enqueued>, QueueError> {
        let mut answers = Vec::with_capacity(items.len());
        for chunk in items.chunks(LARGEST_CALL) {
            let enqueued = self.enqueue_chunk(chunk).await;
            match &enqueued {
                Ok(answers) => self.metrics.enqueued(chunk, answers),
                Err(error) => self.metrics.redis_failed(Operation::Enqueue, error),
            }
            answers.extend(enqueued?);
        }
        self.connection.clone().replicated(&self.key("ready")).await?;
        Ok(answers)
    }

    async fn enqueue_chunk(&self, items: &[Item]) -> Result<Vec<Enqueued>, QueueError> {
        // An item's payload and body make most of it; the rest are short.
        let bytes: usize = items.iter().map(|item| 512 + item.bytes()).sum();
        let keys = ["wait", "sched", "dead", "log", "stats"].map(|name| self.key(name));
        let mut call = scripts::ENQUEUE.on_with_room(&keys, 2 + 11 * items.len(), bytes);
        call.arg(self.prefix()).arg(self.config.log_entries);
        for item in items {
            match &item.dedupe {
                Some(dedupe) => call
                    .arg(&dedupe.key)
                    .arg(millis(dedupe.life).max(1))
                    .arg(if dedupe.polled { "2" } else { "1" }),
                None => call.arg("").arg(0).arg(""),
            };
            match &item.job {
                Some(job) => call
                    .arg(&job.id)
                    .arg(job.header())
                    .arg(job.group.as_deref().unwrap_or("-"))
                    .arg(&job.payload)
                    .arg(millis(job.delay.min(LONGEST_DELAY)))
                    .arg(job.revive),
                None => call.arg("").arg("").arg("").arg("").arg(0).arg(0),
            };
            let (header, body) = item
                .log
                .as_ref()
                .map_or((&[][..], &[][..]), |(header, body)| (header, body));
            call.arg(header).arg(body);
        }
        let answers: Vec<u8> = call.invoke_async(&mut self.connection.clone()).await?;
        let answers: Option<Vec<_>> = answers
            .split(|byte| *byte == b' ')
            .map(Enqueued::from_word)
            .collect();
        answers
            .filter(|answers| answers.len() == items.len())
            .ok_or(QueueError::Answer("enqueue"))
    }

    /// Counts a call of [`Queue::enqueue`] that the caller gave up before its answer came.
    pub fn count_given_up(&self) {
        self.metrics
            .redis_failed(Operation::Enqueue, &QueueError::Timeout);
    }
}

/// What became of an [`Item`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// The job waits.
    New,
    /// The dedupe key was taken: nothing changed.
    Seen,
    /// A job of this id was waiting, scheduled or running already.
    Live,
    /// A job of this id is dead, of a cause that needs a person.
    Dead,
    /// There was no job in the item.
    Logged,
}

impl Enqueued {
    /// As `enqueue.lua` answers, and writes beside an entry of the log.
    pub(super) fn from_word(word: &[u8]) -> Option<Self> {
        match word {
            b"new" => Some(Self::New),
            b"seen" => Some(Self::Seen),
            b"live" => Some(Self::Live),
            b"dead" => Some(Self::Dead),
            b"logged" => Some(Self::Logged),
            _ => None,
        }
    }
}

impl QueuedJob {
    /// How its header begins; `enqueue.lua` adds when it was enqueued, and its counts.
    pub(super) fn header(&self) -> String {
        let version = self.version.to_string();
        let group = self.group.as_deref().unwrap_or("-");
        let trace = self.trace.as_deref().unwrap_or("-");
        // Of known parts, written once for each webhook: `format!` would grow its text four times.
        [self.kind, "/", &version, " ", group, " ", trace].concat()
    }
}

/// Safe in a key and in a header.
pub(super) fn group(name: &str) -> Option<String> {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    match name {
        "" | "-" => None,
        _ if name.len() <= LONGEST_GROUP && name.bytes().all(safe) => Some(name.to_owned()),
        _ => Some(format!("~{}", hex::encode(&Sha256::digest(name)[..8]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_safe_in_a_key_and_in_a_header_whatever_its_name() {
        assert_eq!(group("acct_1.A-b").as_deref(), Some("acct_1.A-b"));
        assert_eq!((group(""), group("-")), (None, None));
        let odd = ["a b", "{tag}", "a\nb", "ключ", "~", &"x".repeat(65)];
        let mut safe: Vec<_> = odd.iter().map(|name| group(name).unwrap()).collect();
        assert!(
            safe.iter().all(|name| name.len() == 17 && name.starts_with('~')),
            "{safe:?}"
        );
        safe.sort();
        safe.dedup();
        assert_eq!(safe.len(), odd.len());
    }
}
