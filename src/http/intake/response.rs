//! The response to a webhook's request.

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER};
use actix_web::http::{StatusCode, header};

use crate::fulfil::ProvedBy;
use crate::http::endpoints::Verdict;
use crate::http::metrics::Received;
use crate::stripe::signature::SignatureError;

/// Stripe has a schedule of its own; a proxy may obey this.
const RETRY_AFTER_SECONDS: u32 = 5;

/// What a request is answered.
#[derive(Debug)]
pub(super) enum WebhookResponse {
    Accepted,
    Duplicate,
    Ignored,
    Refused(SignatureError),
    Malformed(String),
    UnknownTenant,
    TooLarge,
    TooSlow,
    Unreadable,
    Unavailable,
}

impl WebhookResponse {
    /// How a webhook is refused; `None`: it is genuine.
    pub(super) fn of(verdict: Verdict) -> Result<ProvedBy, Self> {
        match verdict {
            Verdict::Genuine(proved_by) => Ok(proved_by),
            Verdict::Refused(refusal) => Err(Self::Refused(refusal)),
            Verdict::Unknown => Err(Self::UnknownTenant),
            Verdict::Unsure => Err(Self::Unavailable),
        }
    }

    pub(super) fn is_good(&self) -> bool {
        matches!(self, Self::Accepted | Self::Duplicate | Self::Ignored)
    }

    pub(super) fn received(&self) -> Received {
        match self {
            Self::Accepted => Received::Accepted,
            Self::Duplicate => Received::Duplicate,
            Self::Ignored => Received::Ignored,
            Self::Refused(refusal) => match refusal.code() {
                "missing_signature" => Received::MissingSignature,
                "malformed_signature" => Received::MalformedSignature,
                "stale_timestamp" => Received::StaleTimestamp,
                _ => Received::InvalidSignature,
            },
            Self::Malformed(_) => Received::MalformedEvent,
            Self::UnknownTenant => Received::UnknownTenant,
            Self::TooLarge => Received::TooLarge,
            Self::TooSlow => Received::TooSlow,
            Self::Unreadable => Received::Unreadable,
            Self::Unavailable => Received::Unavailable,
        }
    }

    pub(super) fn into_http(self) -> HttpResponse {
        match self {
            Self::Accepted => json(StatusCode::OK, r#"{"received":true,"duplicate":false}"#),
            Self::Duplicate => json(StatusCode::OK, r#"{"received":true,"duplicate":true}"#),
            Self::Ignored => json(StatusCode::OK, r#"{"received":true,"ignored":true}"#),
            Self::Refused(refusal) => error(StatusCode::BAD_REQUEST, refusal.code(), &refusal.to_string()),
            Self::Malformed(why) => error(
                StatusCode::BAD_REQUEST,
                "malformed_event",
                &format!("the signature is valid, but the event cannot be read: {why}"),
            ),
            Self::UnknownTenant => error(
                StatusCode::NOT_FOUND,
                "unknown_tenant",
                "no tenant has this slug: check the endpoint's URL in Stripe, or import the tenant",
            ),
            Self::TooLarge => error(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "the body is larger than any event",
            ),
            Self::TooSlow => error(
                StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
                "the body did not arrive in time: send the event again",
            ),
            Self::Unreadable => error(StatusCode::BAD_REQUEST, "unreadable_body", "the body ended early"),
            Self::Unavailable => {
                let mut response = error(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "unavailable",
                    "no jobs can be accepted at the moment; nothing is lost: send the event again",
                );
                response
                    .headers_mut()
                    .insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
                response
            }
        }
    }
}

fn json(status: StatusCode, body: &'static str) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((CONTENT_TYPE, header::HeaderValue::from_static("application/json")))
        .body(body)
}

fn error(status: StatusCode, code: &str, message: &str) -> HttpResponse {
    HttpResponse::build(status).json(serde_json::json!({ "error": { "code": code, "message": message } }))
}
