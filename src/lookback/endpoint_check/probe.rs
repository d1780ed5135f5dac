//! Sends a signed event of an unused type to one of our addresses, as Stripe would.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Response, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::finding::Finding;
use crate::http_client::innermost;
use crate::stripe::signature::sign;

/// For the whole request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Our own answers are much shorter.
const MAX_RESPONSE: usize = 64 * 1024;
/// A longer address is not shown.
const MAX_LOCATION: usize = 500;
/// The id of the event: always the same, so that the event log keeps only one entry.
pub const PING_EVENT_ID: &str = "evt_surepass_audit";

/// A ping.
pub(super) struct Ping<'a> {
    pub(super) http: &'a reqwest::Client,
    pub(super) url: &'a str,
    /// `None`: the ping is unsigned, and must be rejected for that.
    pub(super) secret: Option<&'a SecretString>,
    pub(super) now: DateTime<Utc>,
    pub(super) livemode: bool,
}

#[derive(Deserialize)]
struct IntakeResponse {
    #[serde(default)]
    received: bool,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
}

impl Ping<'_> {
    /// Sends the ping. Returns a problem, or `None` if our intake answered correctly. Adds one entry to the
    /// event log.
    pub(super) async fn send(&self) -> Option<Finding> {
        let url = self.url;
        let response = match self.request().send().await {
            Ok(response) => response,
            Err(error) => {
                let error = error.without_url();
                return Some(Finding::warning(
                    "endpoint_unreachable",
                    format!(
                        "{url} did not answer a request from this machine: {}",
                        words(&error)
                    ),
                    "check that it is reachable from the internet and that its certificate is valid. If your network only \
                     blocks its own machines from the public address, ignore this",
                ));
            }
        };
        let status = response.status();
        if status.is_redirection() {
            let target = response.headers().get(LOCATION);
            let target = target
                .and_then(|target| target.to_str().ok())
                .filter(|target| target.len() <= MAX_LOCATION)
                .unwrap_or("elsewhere");
            return Some(Finding::error(
                "endpoint_redirects",
                format!("{url} answers {} and redirects to {target}", status.as_u16()),
                "register the final address at Stripe and as server.public_url: Stripe does not follow redirects",
            ));
        }
        let answer = answer(response).await;
        let code = answer
            .as_ref()
            .and_then(|answer| answer.error.as_ref())
            .map(|refusal| refusal.code.as_str());
        match (status, code) {
            (StatusCode::OK, _) if answer.as_ref().is_some_and(|answer| answer.received) => None,
            (StatusCode::BAD_REQUEST, Some("missing_signature")) if self.secret.is_none() => None,
            (StatusCode::BAD_REQUEST, Some("missing_signature")) => Some(Finding::error(
                "endpoint_drops_signature",
                format!("{url} receives requests without the Stripe-Signature header"),
                "configure the proxy in front of it to forward that header",
            )),
            (StatusCode::BAD_REQUEST, Some("invalid_signature")) => Some(Finding::error(
                "endpoint_secret_differs",
                format!("{url} rejects events signed with our webhook secret"),
                "give the server and the workers the same STRIPE_WEBHOOK_SECRET, and check that no proxy changes request \
                 bodies",
            )),
            (StatusCode::BAD_REQUEST, Some("stale_timestamp")) => Some(Finding::error(
                "endpoint_clock",
                format!("{url} rejects a fresh signature as too old"),
                "synchronise the clocks of this machine and the server (NTP)",
            )),
            (StatusCode::SERVICE_UNAVAILABLE, _) => Some(Finding::error(
                "endpoint_unavailable",
                format!("{url} answers 503: it cannot reach Redis, or is starting"),
                "see the server's /readyz",
            )),
            (status, _) => Some(Finding::error(
                "endpoint_answers_wrong",
                format!(
                    "{url} answers {}, and the answer is not from Surepass",
                    status.as_u16()
                ),
                "route this address to `surepass serve`, without a login or firewall page in front of it",
            )),
        }
    }

    fn request(&self) -> reqwest::RequestBuilder {
        let timestamp = self.now.timestamp();
        let event = json!({
            "id": PING_EVENT_ID,
            "object": "event",
            "type": "surepass.audit",
            "created": timestamp,
            "livemode": self.livemode,
            "data": { "object": { "id": "surepass_audit" } },
        });
        let body = event.to_string();
        let request = self
            .http
            .post(self.url)
            .timeout(TIMEOUT)
            .header(CONTENT_TYPE, "application/json");
        match self.secret {
            Some(secret) => {
                let signature = sign(secret, timestamp, body.as_bytes());
                request.header("Stripe-Signature", signature).body(body)
            }
            None => request.body(body),
        }
    }
}

/// The answer's JSON, if it comes from our intake.
async fn answer(mut response: Response) -> Option<IntakeResponse> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > MAX_RESPONSE {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).ok()
}

fn words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", TIMEOUT.as_secs());
    }
    innermost(error)
}
