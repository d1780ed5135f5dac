//! The way to Stripe: one HTTP client for the process, which keeps its connections.

use std::time::Duration;

use reqwest::redirect::Policy;

use super::StripeError;
use super::error::Problem;
use crate::http_client;

/// An HTTP client for Stripe: with TLS, gzip and time-outs to connect; it follows no redirect, since Stripe makes none and
/// whoever does must not get the key. To be made once and shared.
///
/// # Errors
/// Where the system lets none be made.
pub fn http() -> Result<reqwest::Client, StripeError> {
    http_client::http()
        .user_agent(concat!("surepass/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .referer(false)
        .gzip(true)
        .connect_timeout(Duration::from_secs(5))
        .pool_idle_timeout(Duration::from_mins(1))
        .tcp_keepalive(Duration::from_secs(30))
        .build()
        .map_err(|error| {
            tracing::error!(error = %error.without_url(), "no HTTP client");
            let problem = Problem::Request("the HTTP client for Stripe cannot be set up");
            StripeError::new(String::new(), problem, 0)
        })
}
