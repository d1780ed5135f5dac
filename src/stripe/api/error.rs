//! Why a call of Stripe's API failed, and whether a retry can help.

use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;

use super::super::json;

/// A call of Stripe's API failed. The text contains no key, body, query or id, so it may be logged.
#[derive(Debug, Clone)]
pub struct StripeError(Box<Failure>);

#[derive(Debug, Clone)]
struct Failure {
    /// The path, such as `/v1/checkout/sessions/…`.
    path: String,
    problem: Problem,
    attempts: u32,
}

#[derive(Debug, Clone)]
pub(super) enum Problem {
    /// Stripe responded with an error.
    Refused(Box<Refusal>),
    /// No connection, or it broke.
    Network(String),
    /// No complete response in time.
    Timeout(Duration),
    /// A successful response that is cut off, or is not what Stripe documents.
    Body(&'static str),
    /// A response beyond the limit, in bytes.
    TooLong(usize),
    /// A list repeats itself, or has no cursor of its next page.
    Cursor(&'static str),
    /// The id is invalid, or the settings cannot make a request.
    Request(&'static str),
    /// The shared rate limit cannot be read.
    Pace(String),
    /// The shared rate limit is used up for this long.
    Busy(Duration),
}

/// An error response of Stripe's.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) kind: Option<String>,
    pub(super) code: Option<String>,
    pub(super) param: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) retry_after: Option<Duration>,
    /// `Stripe-Should-Retry`.
    pub(super) should_retry: Option<bool>,
    /// `Stripe-Rate-Limited-Reason`.
    pub(super) limited: Option<String>,
}

json::fields! { Envelope { error = "error" } }
json::fields! { ErrorFields { kind = "type", code = "code", param = "param" } }

impl Refusal {
    /// Reads the fields with a fixed form from an error's body. Its `message` is left out: it quotes the request.
    pub(super) fn read_body(&mut self, body: &[u8], key: &SecretString) {
        let Ok(body) = serde_json::from_slice::<&RawValue>(body) else {
            return;
        };
        let Ok(Some(envelope)) = json::object::<Envelope<'_>>(Some(body)) else {
            return;
        };
        let Ok(Some(fields)) = json::object::<ErrorFields<'_>>(envelope.error) else {
            return;
        };
        let word_of = |raw| json::text(raw).ok().flatten().and_then(|text| word(&text, key));
        self.kind = word_of(fields.kind);
        self.code = word_of(fields.code);
        self.param = word_of(fields.param);
    }
}

/// The longest word of Stripe's that is kept, in bytes.
const MAX_WORD: usize = 100;

/// A text that is one of Stripe's words (a code, a parameter, a request's id) and does not give away the key.
pub(super) fn word(text: &str, key: &SecretString) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.[]".contains(&byte);
    let is_word = (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(fits);
    (is_word && !text.contains(key.expose_secret())).then(|| text.to_owned())
}

impl StripeError {
    pub(super) fn new(path: String, problem: Problem, attempts: u32) -> Self {
        Self(Box::new(Failure {
            path,
            problem,
            attempts,
        }))
    }

    /// The shared rate limit cannot be read. Transient. For implementations of [`super::Pace`].
    #[must_use]
    pub fn no_pace(reason: &str) -> Self {
        Self::new(String::new(), Problem::Pace(reason.to_owned()), 0)
    }

    /// The shared rate limit is used up for this long. Transient. For implementations of [`super::Pace`].
    #[must_use]
    pub fn busy(retry_after: Duration) -> Self {
        Self::new(String::new(), Problem::Busy(retry_after), 0)
    }

    pub(super) fn of_path(mut self, path: String) -> Self {
        self.0.path = path;
        self
    }

    pub(super) fn problem(&self) -> &Problem {
        &self.0.problem
    }

    fn refusal(&self) -> Option<&Refusal> {
        match &self.0.problem {
            Problem::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the same call can succeed later: everything but a request that is wrong in itself (4xx, but for 408, 409,
    /// 425 and 429), unless Stripe says that it can (`Stripe-Should-Retry`).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match &self.0.problem {
            Problem::Refused(refusal) => match refusal.status {
                408 | 409 | 425 | 429 => true,
                400..=499 => refusal.should_retry == Some(true),
                _ => true,
            },
            Problem::Request(_) => false,
            _ => true,
        }
    }

    /// Whether a smaller page may succeed where this one failed: Stripe failed on it, took too long, or its answer was cut
    /// off.
    pub(super) fn may_depend_on_size(&self) -> bool {
        match &self.0.problem {
            Problem::Refused(refusal) => refusal.status >= 500,
            Problem::Timeout(_) | Problem::Body(_) | Problem::TooLong(_) => true,
            _ => false,
        }
    }

    /// Whether the list cannot be read to its end by any retry: it repeats itself, or has no cursor of its next page.
    #[must_use]
    pub fn is_endless_list(&self) -> bool {
        matches!(self.0.problem, Problem::Cursor(_))
    }

    /// Whether no call was made, because the shared rate limit is used up: see [`Self::retry_after`].
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self.0.problem, Problem::Busy(_))
    }

    /// Whether the key may read the account, but not this resource.
    #[must_use]
    pub fn is_about_permission(&self) -> bool {
        self.status() == Some(403) && self.code() != Some("account_invalid")
    }

    /// The HTTP status of an error response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.refusal().map(|refusal| refusal.status)
    }

    /// Stripe's code (`resource_missing`, `rate_limit` and the like), else its type (`invalid_request_error`).
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        let refusal = self.refusal()?;
        refusal.code.as_deref().or(refusal.kind.as_deref())
    }

    /// Stripe's name for the parameter that it does not like.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        self.refusal()?.param.as_deref()
    }

    /// `req_…`: what Stripe's support asks for.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.refusal()?.request_id.as_deref()
    }

    /// How long to wait before the next call, at most an hour. `None`: not stated.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.0.problem {
            Problem::Refused(refusal) => refusal.retry_after,
            Problem::Busy(after) => Some(*after),
            _ => None,
        }
    }

    /// A stable word for what happened, the reason of a dead letter: `stripe_refused_key`, `stripe_rate_limited`, …
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match &self.0.problem {
            Problem::Refused(refusal) => match refusal.status {
                401 => "stripe_refused_key",
                403 => "stripe_forbidden",
                404 => "stripe_not_found",
                429 => "stripe_rate_limited",
                400..=499 => "stripe_refused",
                _ => "stripe_unavailable",
            },
            Problem::Network(_) | Problem::Timeout(_) => "stripe_unreachable",
            Problem::Body(_) | Problem::TooLong(_) | Problem::Cursor(_) => "stripe_answer",
            Problem::Request(_) => "stripe_request",
            Problem::Pace(_) => "stripe_pace",
            Problem::Busy(_) => "stripe_busy",
        }
    }
}

impl std::error::Error for StripeError {}

impl fmt::Display for StripeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure {
            path,
            problem,
            attempts,
        } = &*self.0;
        if !path.is_empty() {
            write!(f, "GET {path}: ")?;
        }
        match problem {
            Problem::Refused(refusal) => refusal.fmt(f)?,
            Problem::Network(reason) => write!(f, "no connection to Stripe: {reason}")?,
            Problem::Timeout(limit) => write!(
                f,
                "Stripe did not answer within {}",
                humantime::format_duration(*limit)
            )?,
            Problem::Body(what) => write!(f, "Stripe's answer {what}")?,
            Problem::TooLong(limit) => write!(f, "Stripe's answer is longer than {limit} bytes")?,
            Problem::Cursor(what) => write!(f, "Stripe's list {what}")?,
            Problem::Request(what) => f.write_str(what)?,
            Problem::Pace(reason) => write!(
                f,
                "Stripe was not called, because the rate limit that all processes share cannot be read from Redis: {reason}"
            )?,
            Problem::Busy(after) => write!(
                f,
                "the rate limit for Stripe is used up for another {}",
                humantime::format_duration(Duration::from_millis(millis(*after)))
            )?,
        }
        if *attempts > 1 {
            write!(f, " ({attempts} attempts)")?;
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentence = match (self.status, self.code.as_deref()) {
            (300..=399, _) => "Stripe does not redirect, so STRIPE_API_BASE leads elsewhere",
            (401, _) => "Stripe refused the key: STRIPE_SECRET_KEY is wrong, expired or revoked",
            (403, Some("account_invalid")) => "the key has no access to this connected account",
            (403, _) => "the key may not do this: give it the right to read it, or access to the account",
            (404, Some("resource_missing")) => "Stripe has no such object in this account and mode",
            (404, _) => "there is no such address: is STRIPE_API_BASE right?",
            (429, Some("lock_timeout")) => "Stripe is busy with the same object",
            (429, _) => "too many calls for Stripe",
            (400..=499, _) => "Stripe refused the request",
            _ => "Stripe could not answer",
        };
        write!(f, "{sentence} (HTTP {}", self.status)?;
        let details = [
            ("", &self.kind),
            ("code ", &self.code),
            ("parameter ", &self.param),
            ("limit ", &self.limited),
            ("request ", &self.request_id),
        ];
        for (name, value) in details {
            if let Some(value) = value {
                write!(f, ", {name}{value}")?;
            }
        }
        f.write_str(")")
    }
}
