//! One call of the API: its rate limit, time-out and retries.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;
use url::Url;

use super::client::{Account, Inner};
use super::error::{Problem, Refusal, word};
use super::route::Route;
use super::{API_VERSION, StripeError, retry};
use crate::tls;

/// The longest response that is read, in bytes after gzip. A page of a hundred expanded sessions has some 2 MB.
const MAX_BODY: usize = 32 << 20;
/// The longest error response that is read, in bytes.
const MAX_ERROR_BODY: usize = 64 << 10;
/// How long to wait for the body of an error response: the status says most.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long all processes wait after a 429 without `Retry-After`.
const SLOW_DOWN: Duration = Duration::from_secs(1);

impl Account {
    /// Makes a call, with retries.
    pub(super) async fn get(
        &self,
        route: &Route,
        query: &[(&'static str, String)],
    ) -> Result<ApiResponse, StripeError> {
        self.get_with(route, query, None).await
    }

    /// The same with at most `attempts` attempts (`None`: the client's).
    pub(super) async fn get_with(
        &self,
        route: &Route,
        query: &[(&'static str, String)],
        attempts: Option<u32>,
    ) -> Result<ApiResponse, StripeError> {
        let Inner { options, pace, .. } = self.client.inner();
        let attempts = attempts.unwrap_or(options.attempts);
        let failed = |problem, attempts| StripeError::new(route.to_string(), problem, attempts);
        let (url, headers) = self.request(route, query).map_err(|problem| failed(problem, 0))?;
        let mut attempt = 0;
        loop {
            attempt += 1;
            pace.turn()
                .await
                .map_err(|error| error.of_path(route.to_string()))?;
            let tried = tokio::time::timeout(options.timeout, self.attempt(&url, &headers)).await;
            let problem = match tried.unwrap_or(Err(Problem::Timeout(options.timeout))) {
                Ok(mut answer) => {
                    answer.attempts = attempt;
                    return Ok(answer);
                }
                Err(problem) => problem,
            };
            if let Problem::Refused(refusal) = &problem
                && refusal.is_rate_limit()
            {
                pace.slow_down(refusal.retry_after.unwrap_or(SLOW_DOWN)).await;
            }
            let error = failed(problem, attempt);
            let Some(delay) = retry::delay(&error, attempt, attempts, (options.noise)()) else {
                return Err(error);
            };
            tracing::debug!(%error, delay_ms = delay.as_millis(), "retrying a call of Stripe's API");
            tokio::time::sleep(delay).await;
        }
    }

    fn request(&self, route: &Route, query: &[(&'static str, String)]) -> Result<(Url, HeaderMap), Problem> {
        let options = &self.client.inner().options;
        let url = route.url(&options.base, query)?;
        let header = |text: &str, wrong| HeaderValue::from_str(text).map_err(|_| Problem::Request(wrong));
        let mut headers = HeaderMap::new();
        let key = format!("Bearer {}", options.key.expose_secret());
        let mut key = header(
            &key,
            "STRIPE_SECRET_KEY contains characters that are not allowed in a key",
        )?;
        key.set_sensitive(true);
        headers.insert(reqwest::header::AUTHORIZATION, key);
        headers.insert("stripe-version", HeaderValue::from_static(API_VERSION));
        if let Some(account) = self.id() {
            let account = header(
                account,
                "the connected account's id contains characters that are not allowed in an id",
            )?;
            headers.insert("stripe-account", account);
        }
        Ok((url, headers))
    }

    async fn attempt(&self, url: &Url, headers: &HeaderMap) -> Result<ApiResponse, Problem> {
        let Inner { http, options, .. } = self.client.inner();
        let request = http.get(url.clone()).headers(headers.clone());
        let response = request.send().await.map_err(network)?;
        let status = response.status();
        if status.is_success() {
            let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
            let date = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
            let date = date.map(|date| date.to_utc());
            let body = read_body(response, MAX_BODY).await?;
            // A proxy's page, or cut off without a length.
            if serde_json::from_slice::<&RawValue>(&body).is_err() {
                return Err(Problem::Body("is not JSON"));
            }
            return Ok(ApiResponse {
                body,
                date,
                attempts: 0,
            });
        }
        let mut refusal = Refusal::of(status.as_u16(), response.headers(), &options.key);
        let body = tokio::time::timeout(ERROR_BODY_TIMEOUT, read_body(response, MAX_ERROR_BODY));
        if let Ok(Ok(body)) = body.await {
            refusal.read_body(&body, &options.key);
        }
        Err(Problem::Refused(Box::new(refusal)))
    }
}

/// A successful response.
#[derive(Debug)]
pub(super) struct ApiResponse {
    pub(super) body: Bytes,
    pub(super) attempts: u32,
    pub(super) date: Option<DateTime<Utc>>,
}

impl Refusal {
    fn of(status: u16, headers: &HeaderMap, key: &SecretString) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            status,
            request_id: text("request-id").and_then(|id| word(id, key)),
            retry_after: text(RETRY_AFTER.as_str()).and_then(retry::retry_after),
            should_retry: text("stripe-should-retry").and_then(|answer| answer.trim().parse().ok()),
            limited: text("stripe-rate-limited-reason").and_then(|reason| word(reason, key)),
            ..Self::default()
        }
    }

    /// A lock on one object says nothing about the others.
    fn is_rate_limit(&self) -> bool {
        self.status == 429 && self.code.as_deref() != Some("lock_timeout")
    }
}

/// Reads a body to its end, which must come before `longest` bytes.
async fn read_body(mut response: reqwest::Response, longest: usize) -> Result<Bytes, Problem> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(network)? {
        if body.len() + chunk.len() > longest {
            return Err(Problem::TooLong(longest));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// reqwest's error without the address, whose query may contain an email.
fn network(error: reqwest::Error) -> Problem {
    let error = error.without_url();
    if let Some(distrust) = tls::distrust(&error) {
        return Problem::Network(distrust);
    }
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        reason = format!("{reason}: {inner}");
        cause = inner.source();
    }
    Problem::Network(reason)
}
