//! HTTP out of this machine, with TLS.

use crate::tls;

/// The beginning of an HTTP client that can do https.
#[expect(clippy::disallowed_methods, reason = "the one place that makes HTTP clients")]
pub fn http() -> reqwest::ClientBuilder {
    reqwest::Client::builder().tls_backend_preconfigured(tls::https())
}

/// The same for a thread that may block.
#[cfg(feature = "otlp")]
pub(crate) fn blocking_http() -> reqwest::blocking::ClientBuilder {
    reqwest::blocking::Client::builder().tls_backend_preconfigured(tls::https())
}

/// The last cause of an error, in which reqwest and others keep what happened; of a certificate that is not trusted, with
/// what to do.
#[must_use]
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    tls::distrust(error).unwrap_or_else(|| innermost.to_string())
}
