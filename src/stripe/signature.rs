//! Verifies Stripe's webhook signatures on the raw bytes of a request.
//!
//! `Stripe-Signature: t=<unix seconds>,v1=<hex>[,v1=<hex>…][,v0=…]`, where each `v1` is `HMAC-SHA256(key =
//! the whole "whsec_…" text, "<t>." + body)` in lower-case hex. While a secret is rolled there is one for
//! each active secret. Source: <https://docs.stripe.com/webhooks/signature>. `tests/library/signature_peers.rs`
//! compares every result with the libraries `stripe` for Node and Python. Next: `super::event`.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// The maximum age of a signature, as in Stripe's libraries.
pub const DEFAULT_TOLERANCE: Duration = Duration::from_mins(5);

/// How many `v1` signatures of a header are compared. Stripe sends one for each active secret, at most two.
/// Longer lists are cut, so that a header cannot cause work.
const MAX_SIGNATURES: usize = 32;

/// Verifies that a webhook is signed with one of the endpoint's secrets.
#[derive(Clone)]
pub struct Verifier {
    keys: Vec<Hmac<Sha256>>,
    tolerance_seconds: i64,
}

/// There is no secret, or a blank one with which anyone could sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a webhook signing secret is empty: copy the endpoint's secret (whsec_…) from the Stripe dashboard, Developers → Webhooks"
)]
pub struct EmptySecret;

/// Why a request is rejected. The message is for the developer who reads the answer in Stripe's dashboard. It
/// contains nothing of the request or the secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header is missing or empty.
    #[error(
        "there is no Stripe-Signature header: either this request is not from Stripe, or a proxy in front of this server drops the header"
    )]
    Missing,
    /// No `t=` with a whole number, or no `v1=`.
    #[error(
        "the Stripe-Signature header is not of the form t=<unix seconds>,v1=<hex>: check that whatever forwards the request leaves the header as it is"
    )]
    Malformed,
    /// No `v1` signature matches any of the secrets.
    #[error(
        "no signature in the Stripe-Signature header fits this body: check that the signing secret is this endpoint's own (not another endpoint's, not the Stripe CLI's, not test for live), and that nothing in front of this server changes the body"
    )]
    Invalid,
    /// The signature is valid but too old.
    #[error(
        "the signature is {age_seconds} s old, more than {tolerance_seconds} s: check this machine's clock; an event replayed on purpose must be signed again (resend it from Stripe)"
    )]
    Stale {
        /// Seconds from the signature's timestamp to now.
        age_seconds: i64,
        /// The maximum age in seconds.
        tolerance_seconds: i64,
    },
}

impl SignatureError {
    /// The code in the response's JSON.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing_signature",
            Self::Malformed => "malformed_signature",
            Self::Invalid => "invalid_signature",
            Self::Stale { .. } => "stale_timestamp",
        }
    }
}

impl Verifier {
    /// Creates a verifier that accepts signatures of any of `secrets`, at most [`DEFAULT_TOLERANCE`] old.
    /// White space around a secret, usually pasted with it, is ignored.
    ///
    /// # Errors
    /// [`EmptySecret`] if there is no secret, or one is blank.
    pub fn new(secrets: &[SecretString]) -> Result<Self, EmptySecret> {
        if secrets.is_empty() || secrets.iter().any(|secret| key_text(secret).is_empty()) {
            return Err(EmptySecret);
        }
        Ok(Self {
            keys: secrets.iter().map(keyed).collect(),
            tolerance_seconds: whole_seconds(DEFAULT_TOLERANCE),
        })
    }

    /// Likewise, with another tolerance, in whole seconds.
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance_seconds = whole_seconds(tolerance);
        self
    }

    /// Verifies that one of the secrets signed `body`, and at `now` recently enough. `header` is the value of
    /// `Stripe-Signature`, `body` the raw bytes of the request.
    ///
    /// A future timestamp passes, as in Stripe's libraries: a clock that is behind must not reject valid
    /// events. Of several `t=` the first counts, as in Stripe's library for Python; the one for Node takes
    /// the last. The age is in whole seconds. The body is hashed once for each secret, however many `v1`
    /// there are.
    ///
    /// # Errors
    /// [`SignatureError`], the first problem found. The age is checked only after the signature.
    pub fn verify(
        &self,
        header: Option<&[u8]>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<(), SignatureError> {
        let header = Header::read(header)?;
        let mut genuine = Choice::from(0);
        for key in &self.keys {
            let expected = signature(key.clone(), header.timestamp, body);
            for candidate in &header.signatures {
                genuine |= expected.as_str().as_bytes().ct_eq(candidate);
            }
        }
        if !bool::from(genuine) {
            return Err(SignatureError::Invalid);
        }

        self.check_age(&header, now)
    }

    /// Whether the header alone shows that the request is invalid, so that its body need not be read.
    ///
    /// # Errors
    /// [`SignatureError`], never [`SignatureError::Invalid`].
    pub fn check_header(&self, header: Option<&[u8]>, now: DateTime<Utc>) -> Result<(), SignatureError> {
        self.check_age(&Header::read(header)?, now)
    }

    fn check_age(&self, header: &Header<'_>, now: DateTime<Utc>) -> Result<(), SignatureError> {
        let age_seconds = now.timestamp().saturating_sub(header.timestamp);
        if age_seconds > self.tolerance_seconds {
            return Err(SignatureError::Stale {
                age_seconds,
                tolerance_seconds: self.tolerance_seconds,
            });
        }
        Ok(())
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("secrets", &self.keys.len())
            .field("tolerance_seconds", &self.tolerance_seconds)
            .finish()
    }
}

/// The `Stripe-Signature` header that Stripe would send for `body` at `timestamp` (Unix seconds).
#[must_use]
pub fn sign(secret: &SecretString, timestamp: i64, body: &[u8]) -> String {
    let signature = signature(keyed(secret), timestamp, body);
    format!("t={timestamp},v1={}", signature.as_str())
}

/// The used parts of a header.
struct Header<'a> {
    timestamp: i64,
    signatures: Vec<&'a [u8]>,
}

impl<'a> Header<'a> {
    fn read(header: Option<&'a [u8]>) -> Result<Self, SignatureError> {
        let header = header
            .filter(|header| !header.is_empty())
            .ok_or(SignatureError::Missing)?;
        Self::parse(header).ok_or(SignatureError::Malformed)
    }

    /// Splits as Stripe's libraries do: at commas, then at `=`. Keys are case-sensitive, unknown ones and
    /// third parts are skipped. `None` unless the first `t` is a whole number and there is a `v1`.
    fn parse(header: &'a [u8]) -> Option<Self> {
        let mut timestamp = None;
        let mut signatures = Vec::with_capacity(2);
        for item in header.split(|&byte| byte == b',') {
            let mut parts = item.split(|&byte| byte == b'=');
            match (parts.next(), parts.next()) {
                (Some(b"t"), value) if timestamp.is_none() => timestamp = Some(unix_seconds(value?)?),
                (Some(b"v1"), value) if signatures.len() < MAX_SIGNATURES => signatures.push(value?),
                _ => {}
            }
        }
        if signatures.is_empty() {
            return None;
        }
        Some(Self {
            timestamp: timestamp?,
            signatures,
        })
    }
}

fn unix_seconds(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// Compared as lower-case hex: Stripe's libraries reject upper case.
fn signature(mut key: Hmac<Sha256>, timestamp: i64, body: &[u8]) -> hex::Buffer<32> {
    key.update(timestamp.to_string().as_bytes());
    key.update(b".");
    key.update(body);
    hex::Buffer::new().const_format(&key.finalize().into_bytes().into())
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
fn keyed(secret: &SecretString) -> Hmac<Sha256> {
    Hmac::new_from_slice(key_text(secret).as_bytes()).expect("HMAC takes a key of any length")
}

fn key_text(secret: &SecretString) -> &str {
    secret.expose_secret().trim()
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
