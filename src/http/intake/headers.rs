//! What is read of a webhook's headers.

use actix_web::http::header::{HeaderMap, HeaderValue, USER_AGENT};

pub(super) const STRIPE_SIGNATURE: &str = "stripe-signature";
pub(super) const TRACEPARENT: &str = "traceparent";

/// Whether the audit of our endpoints sent it: it tries a request without a signature, too.
pub(super) fn is_own_audit(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT);
    agent.is_some_and(|agent| agent.as_bytes().starts_with(b"surepass/"))
}

pub(super) fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    headers.get(name).map(HeaderValue::as_bytes)
}
