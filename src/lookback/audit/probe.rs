//! Tries one of our own addresses, as Stripe would: a signed event of a type that nobody acts on.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Response, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::finding::Finding;
use crate::outbound::innermost;
use crate::stripe::signature::sign;

/// From the first byte out to the last one in.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer of ours is far shorter.
const LONGEST_ANSWER: usize = 64 * 1024;
/// A longer address is not repeated.
const LONGEST_TARGET: usize = 500;
/// The id of the event that is sent: always the same, so that the event log keeps one entry for all.
pub const ID: &str = "evt_surepass_audit";

/// One try.
pub(super) struct Ping<'a> {
    pub(super) http: &'a reqwest::Client,
    pub(super) url: &'a str,
    /// `None`: it goes out unsigned, and must be refused for that.
    pub(super) secret: Option<&'a SecretString>,
    pub(super) now: DateTime<Utc>,
    pub(super) livemode: bool,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    received: bool,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
}

impl Ping<'_> {
    /// What is wrong; `None`: our intake has answered as it should. It leaves one entry in the event log.
    pub(super) async fn send(&self) -> Option<Finding> {
        let url = self.url;
        let response = match self.request().send().await {
            Ok(response) => response,
            Err(error) => {
                let error = error.without_url();
                return Some(Finding::warning(
                    "endpoint_unreachable",
                    format!("{url} did not answer this machine: {}", words(&error)),
                    "see whether the world reaches it, and whether its certificate is valid; a network that does not let its \
                     own machines in by the public address needs nothing",
                ));
            }
        };
        let status = response.status();
        if status.is_redirection() {
            let target = response.headers().get(LOCATION);
            let target = target
                .and_then(|target| target.to_str().ok())
                .filter(|target| target.len() <= LONGEST_TARGET)
                .unwrap_or("elsewhere");
            return Some(Finding::error(
                "endpoint_redirects",
                format!("{url} answers {} and sends on to {target}", status.as_u16()),
                "register the last address at Stripe (and as server.public_url): Stripe follows no redirect",
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
                format!("{url} gets its requests without the Stripe-Signature header"),
                "let the proxy in front of it pass that header on",
            )),
            (StatusCode::BAD_REQUEST, Some("invalid_signature")) => Some(Finding::error(
                "endpoint_secret_differs",
                format!("{url} does not take what is signed with our webhook secret"),
                "give the server and the workers the same STRIPE_WEBHOOK_SECRET, and let nothing in front of the server change \
                 a body",
            )),
            (StatusCode::BAD_REQUEST, Some("stale_timestamp")) => Some(Finding::error(
                "endpoint_clock",
                format!("{url} takes a signature of just now for an old one"),
                "set the clocks of this machine and of the server by NTP",
            )),
            (StatusCode::SERVICE_UNAVAILABLE, _) => Some(Finding::error(
                "endpoint_unavailable",
                format!("{url} answers 503: it reaches no Redis, or is starting"),
                "see the server's /readyz",
            )),
            (status, _) => Some(Finding::error(
                "endpoint_answers_wrong",
                format!("{url} answers {}, not as Surepass does", status.as_u16()),
                "let this address lead to `surepass serve`, without a login or a firewall's page before it",
            )),
        }
    }

    fn request(&self) -> reqwest::RequestBuilder {
        let timestamp = self.now.timestamp();
        let event = json!({
            "id": ID,
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
            .timeout(PATIENCE)
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

/// The answer's JSON, if it is one of ours.
async fn answer(mut response: Response) -> Option<Answer> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).ok()
}

fn words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("nothing within {} s", PATIENCE.as_secs());
    }
    innermost(error)
}
