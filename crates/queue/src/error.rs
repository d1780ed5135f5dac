//! What can go wrong, and what then becomes of a job.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use apalis_core::error::{AbortError, BoxDynError, RetryAfterError};

use surepass_base::tls::{self, TrustError};

/// Why the queue could not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    #[error("Redis: {}", tls::told(.0))]
    Redis(#[from] redis::RedisError),
    #[error("Redis did not answer in time")]
    Timeout,
    #[error("REDIS_URL: {0}")]
    Address(String),
    #[error("REDIS_URL needs TLS, but {0}")]
    Trust(#[from] TrustError),
    #[error("a job's payload could not be encoded: {0}")]
    Encode(#[from] serde_json::Error),
    #[error("the queue is shutting down")]
    Closed,
    #[error("Redis answered what a script of this version does not: {0}")]
    Answer(&'static str),
}

impl QueueError {
    /// The connection turned out to be broken, which it learns by its next call only: a call that may be made twice is worth
    /// making again at once.
    #[must_use]
    pub fn is_broken_connection(&self) -> bool {
        matches!(self, Self::Redis(error) if error.is_io_error() && !error.is_timeout())
    }

    /// Redis answered that the data is not what the call needs: the same call will fail again.
    #[must_use]
    pub fn is_broken_data(&self) -> bool {
        matches!(self, Self::Redis(error) if matches!(error.code(), Some("ERR" | "WRONGTYPE")))
    }
}

/// How an attempt failed, and whether another can help: a handler says so at each `?`.
#[derive(Debug)]
pub struct JobError {
    code: Cow<'static, str>,
    retry: Retry,
    source: BoxDynError,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    Backoff,
    After(Duration),
    /// The attempt does not count: it had not begun.
    PutOff(Duration),
    Never,
}

impl JobError {
    fn new(code: impl Into<Cow<'static, str>>, source: impl Into<BoxDynError>, retry: Retry) -> Self {
        let (code, source) = (code.into(), source.into());
        Self { code, retry, source }
    }

    /// A transient cause: the job runs again after its backoff, until its attempts are used up.
    /// `code` is a stable `snake_case` name, the reason of a dead letter.
    pub fn retry(code: impl Into<Cow<'static, str>>, source: impl Into<BoxDynError>) -> Self {
        Self::new(code, source, Retry::Backoff)
    }

    /// A transient cause whose end the other side has announced (`Retry-After`).
    pub fn retry_after(
        code: impl Into<Cow<'static, str>>,
        source: impl Into<BoxDynError>,
        after: Duration,
    ) -> Self {
        Self::new(code, source, Retry::After(after))
    }

    /// No failure: the job's turn at a limit has not come, and comes after so long (a second at least). The attempt does
    /// not count, however often this happens.
    pub fn put_off(
        code: impl Into<Cow<'static, str>>,
        source: impl Into<BoxDynError>,
        until: Duration,
    ) -> Self {
        Self::new(code, source, Retry::PutOff(until))
    }

    /// A permanent cause: the job is a dead letter at once.
    pub fn fail(code: impl Into<Cow<'static, str>>, source: impl Into<BoxDynError>) -> Self {
        Self::new(code, source, Retry::Never)
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.source)
    }
}

impl std::error::Error for JobError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source.as_ref())
    }
}

/// How an attempt failed, whatever type of error it came as.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: String,
    pub(super) retry: Retry,
    /// The whole chain, shortened.
    pub(super) message: String,
}

/// The longest error text kept for one attempt, in characters.
const LONGEST_MESSAGE: usize = 1_000;

impl Failure {
    pub(super) fn new(code: &str, retry: Retry, message: &str) -> Self {
        Self {
            code: code.to_owned(),
            retry,
            message: message.chars().take(LONGEST_MESSAGE).collect(),
        }
    }

    /// Sorts an error: ours and apalis' own say what they are, a time-out and anything unknown is a passing cause.
    pub(super) fn of(error: &BoxDynError) -> Self {
        if let Some(job) = error.downcast_ref::<JobError>() {
            return Self::new(&job.code, job.retry, &chain(job.source.as_ref()));
        }
        if let Some(abort) = error.downcast_ref::<AbortError>() {
            return Self::new("aborted", Retry::Never, &chain(abort));
        }
        if let Some(after) = error.downcast_ref::<RetryAfterError>() {
            return Self::new("retry_after", Retry::After(after.get_duration()), &chain(after));
        }
        if error.downcast_ref::<tower::timeout::error::Elapsed>().is_some() {
            return Self::new(
                "timeout",
                Retry::Backoff,
                "the attempt took longer than a job may",
            );
        }
        Self::new("error", Retry::Backoff, &chain(error.as_ref()))
    }

    pub(super) fn panic(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without a message".to_owned());
        Self::new("panic", Retry::Backoff, &text)
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Many errors already print what caused them.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// When a failed job runs again, and when it does not.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// The factor of the exponential.
    pub base: Duration,
    /// The longest delay, before jitter.
    pub cap: Duration,
    /// After this many attempts a job is dead.
    pub max_attempts: u32,
}

impl RetryPolicy {
    /// `min(cap, base · 2^attempt)`, give or take a tenth. `attempt` counts from 1; `noise` is from 0 to 1.
    #[must_use]
    pub fn delay(&self, attempt: u32, noise: f64) -> Duration {
        let exact = self
            .base
            .saturating_mul(2_u32.saturating_pow(attempt.min(31)))
            .min(self.cap);
        exact.mul_f64(0.9 + 0.2 * noise.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: RetryPolicy = RetryPolicy {
        base: Duration::from_secs(1),
        cap: Duration::from_mins(10),
        max_attempts: 16,
    };

    #[test]
    fn the_first_three_attempts_are_within_10_s_and_the_last_over_an_hour_later() {
        let at = |attempt: u32, noise: f64| (1..attempt).map(|n| DEFAULT.delay(n, noise)).sum::<Duration>();
        assert!(at(3, 1.0) < Duration::from_secs(10));
        assert!(at(DEFAULT.max_attempts, 0.0) > Duration::from_hours(1));
    }

    #[test]
    fn a_delay_never_exceeds_the_cap_and_its_jitter_whatever_the_attempt() {
        for attempt in [0, 1, 31, 32, u32::MAX] {
            assert!(DEFAULT.delay(attempt, 1.0) <= DEFAULT.cap.mul_f64(1.1));
        }
    }

    #[test]
    fn an_unknown_error_is_a_passing_one_and_its_chain_is_told() {
        let inner = std::io::Error::other("connection reset");
        let failure = Failure::of(&JobError::retry("store_unavailable", inner).into());
        assert_eq!(
            (failure.code.as_str(), failure.retry, failure.message.as_str()),
            ("store_unavailable", Retry::Backoff, "connection reset")
        );
        let failure = Failure::of(&"boom".into());
        assert_eq!((failure.code.as_str(), failure.retry), ("error", Retry::Backoff));
        let failure = Failure::of(&AbortError::new("no").into());
        assert_eq!(failure.retry, Retry::Never);
    }

    #[test]
    fn a_stored_error_is_shortened() {
        let failure = Failure::new("error", Retry::Backoff, &"é".repeat(5_000));
        assert_eq!(failure.message.chars().count(), LONGEST_MESSAGE);
    }
}
