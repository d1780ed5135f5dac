//! What is handed in.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::error::QueueError;
use super::job::Job;
use crate::telemetry::TraceParent;

/// The longest group that is kept as it is.
const LONGEST_GROUP: usize = 64;

/// One thing to hand in: a job, a log entry, or both, at most once for `once`.
#[derive(Debug, Clone, Default)]
pub struct Item {
    /// A key that is taken for good (for so long): an item whose key is taken changes nothing.
    pub once: Option<Once>,
    pub job: Option<QueuedJob>,
    /// Header and body of an entry in the log stream.
    pub log: Option<(Vec<u8>, Vec<u8>)>,
}

/// A key, for how long it is taken, and by which hand.
#[derive(Debug, Clone)]
pub struct Once {
    pub(super) key: String,
    pub(super) life: Duration,
    pub(super) hand: Hand,
}

/// How something was heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hand {
    /// From its source.
    First,
    /// By who went and looked for it.
    Second,
}

impl Hand {
    /// As `enqueue.lua` takes and keeps it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::First => "1",
            Self::Second => "2",
        }
    }
}

/// A job, encoded.
#[derive(Debug, Clone)]
pub struct QueuedJob {
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) version: u32,
    pub(super) group: Option<String>,
    pub(super) trace: Option<TraceParent>,
    pub(super) payload: Vec<u8>,
    pub(super) delay: Duration,
    pub(super) revive: Revive,
}

impl Item {
    /// An item that is `job`.
    ///
    /// # Errors
    /// [`QueueError::Encode`].
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
            revive: Revive::Never,
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

    /// Who the queue is fair to: the waiting jobs of different groups are taken in turn. A name of other characters than
    /// letters, digits, `_`, `.` and `-`, or of more than 64, stands as a hash.
    #[must_use]
    pub fn group(mut self, name: &str) -> Self {
        if let Some(job) = &mut self.job {
            job.group = group(name);
        }
        self
    }

    /// Lines up beside the group rather than in it: `line` has its own turn. To an operator it is one with the group.
    #[must_use]
    pub fn beside(mut self, line: &'static str) -> Self {
        if let Some(group) = self.job.as_mut().and_then(|job| job.group.as_mut()) {
            group.push('.');
            group.push_str(line);
        }
        self
    }

    /// The trace under which the job goes on.
    #[must_use]
    pub fn trace(mut self, parent: TraceParent) -> Self {
        if let Some(job) = &mut self.job {
            job.trace = Some(parent);
        }
        self
    }

    /// Runs the job again where it lies dead for a passing cause.
    #[must_use]
    pub fn revive(self) -> Self {
        self.reviving(Revive::Passing)
    }

    /// Runs the job again where it lies dead for a passing cause, or for one of `reasons` (several are separated by commas):
    /// with what this item carries, in place of what it died with.
    #[must_use]
    pub fn revive_of(self, reasons: &'static str) -> Self {
        self.reviving(Revive::Of(reasons))
    }

    /// Runs the job again where it lies dead, whatever for: it is a new word, in place of what it died with.
    #[must_use]
    pub fn rerun(self) -> Self {
        self.reviving(Revive::Always)
    }

    fn reviving(mut self, revive: Revive) -> Self {
        if let Some(job) = &mut self.job {
            job.revive = revive;
        }
        self
    }

    /// Accepts the item only if `key` has not been taken in the last `life`.
    #[must_use]
    pub fn once(mut self, key: String, life: Duration) -> Self {
        let hand = Hand::First;
        self.once = Some(Once { key, life, hand });
        self
    }

    /// Its key was heard of at second hand. Who comes with it first hand is seen, too; but from then on the key says so.
    #[must_use]
    pub fn second_hand(mut self) -> Self {
        if let Some(once) = &mut self.once {
            once.hand = Hand::Second;
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

/// What became of an [`Item`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// The job waits.
    New,
    /// The `once` key was taken: nothing changed.
    Seen,
    /// A job of this id was waiting, scheduled or running already.
    Live,
    /// A job of this id lies dead, for a cause that a person must look at.
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

/// Which dead jobs run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Revive {
    Never,
    Passing,
    Of(&'static str),
    Always,
}

impl Revive {
    /// As `enqueue.lua` takes it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Never => "0",
            Self::Passing => "1",
            Self::Of(reason) => reason,
            Self::Always => "*",
        }
    }
}

impl QueuedJob {
    /// How its header begins; `enqueue.lua` adds when it was enqueued, and its counts.
    pub(super) fn header(&self) -> String {
        let version = self.version.to_string();
        let group = self.group.as_deref().unwrap_or("-");
        let trace = self.trace.map(|trace| trace.to_string());
        let trace = trace.as_deref().unwrap_or("-");
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
