//! HTTP clients with TLS.

use crate::tls;

/// A builder of HTTP clients with TLS.
#[expect(clippy::disallowed_methods, reason = "the one place that makes HTTP clients")]
pub fn http() -> reqwest::ClientBuilder {
    reqwest::Client::builder().tls_backend_preconfigured(tls::https())
}

/// Likewise for a thread that may block.
#[cfg(feature = "otlp")]
pub(crate) fn blocking_http() -> reqwest::blocking::ClientBuilder {
    reqwest::blocking::Client::builder().tls_backend_preconfigured(tls::https())
}

/// The innermost cause of an error, where reqwest and others keep what happened. For an untrusted
/// certificate, also what to do.
#[must_use]
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    tls::distrust(error).unwrap_or_else(|| innermost.to_string())
}
