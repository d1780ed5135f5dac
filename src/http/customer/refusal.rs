//! Why a customer route refuses a request, and the response.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::ResponseError;
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use serde_json::json;

use crate::customer::CustomerError;
use crate::http::middleware::is_too_slow;
use crate::identity::TokenError;
use crate::store::StoreError;

/// When to retry while something is away.
const RETRY_LATER: Duration = Duration::from_secs(5);

/// Why a request is refused. The messages are part of the contract, and reveal nothing about other customers.
#[derive(Debug, thiserror::Error)]
pub(in crate::http) enum Refusal {
    #[error("Unauthorized")]
    Unauthorized,
    /// The request has a cookie, but another site's page may have sent it.
    #[error("Forbidden: this request came from another site's page")]
    OtherSite,
    #[error("Tenant slug required")]
    NoTenant,
    #[error("Tenant not found")]
    UnknownTenant,
    #[error("Session ID required")]
    NoSession,
    #[error("Not found")]
    UnknownRoute,
    #[error("The request body is too large")]
    TooLarge,
    #[error("The request body did not arrive in time")]
    TooSlow,
    #[error("The token is too long for a cookie")]
    TooLongForCookie,
    #[error("The form must have `token` and `next`")]
    Form,
    #[error("`next` must be a path on this server")]
    Next,
    #[error("Too many requests")]
    TooMany(Duration),
    #[error("Customers cannot sign in: set SUREPASS_JWT_SECRET or SUREPASS_JWKS_URL on this server")]
    NotConfigured,
    #[error("Stripe cannot be asked: set STRIPE_SECRET_KEY on this server")]
    NoKey,
    /// The limit of open streams is reached.
    #[error("Too many streams are open. Please poll instead.")]
    Full(Duration),
    #[error("Temporarily unavailable. Please try again in a moment.")]
    Unavailable,
}

impl Refusal {
    /// A body that could not be read.
    pub(in crate::http) fn of_body(error: &actix_web::Error) -> Self {
        match error.as_response_error().status_code() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            _ if error.as_error().is_some_and(is_too_slow) => Self::TooSlow,
            _ => Self::NoSession,
        }
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::OtherSite => StatusCode::FORBIDDEN,
            Self::NoTenant | Self::NoSession | Self::TooLongForCookie | Self::Form | Self::Next => {
                StatusCode::BAD_REQUEST
            }
            Self::UnknownTenant | Self::UnknownRoute => StatusCode::NOT_FOUND,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NotConfigured | Self::NoKey | Self::Full(_) | Self::Unavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        let wait = match self {
            Self::TooMany(wait) | Self::Full(wait) => Some(*wait),
            Self::Unavailable => Some(RETRY_LATER),
            _ => None,
        };
        if let Some(wait) = wait {
            let seconds = wait.as_millis().div_ceil(1_000).max(1);
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        response.json(json!({ "error": self.to_string() }))
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::NotConfigured => Self::NotConfigured,
            TokenError::KeysUnavailable => Self::Unavailable,
            // Often a wrong setting, so it is logged where operators see it.
            reason @ (TokenError::Issuer | TokenError::Audience | TokenError::Guest) => {
                tracing::info!(%reason, "token rejected");
                Self::Unauthorized
            }
            reason => {
                tracing::debug!(%reason, "token rejected");
                Self::Unauthorized
            }
        }
    }
}

impl From<CustomerError> for Refusal {
    fn from(error: CustomerError) -> Self {
        if matches!(error, CustomerError::NoKey) {
            return Self::NoKey;
        }
        tracing::warn!(%error, "customer request failed; it gets 503");
        Self::Unavailable
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        CustomerError::from(error).into()
    }
}
