//! Why a lookback failed.

use std::time::Duration;

use crate::queue::QueueError;
use crate::store::StoreError;
use crate::stripe::api::StripeError;

/// When a lookback tries again after a store outage.
const STORE_AWAY: Duration = Duration::from_secs(10);

/// Why a lookback failed. Contains no personal data.
#[derive(Debug, thiserror::Error)]
pub enum LookbackError {
    #[error(transparent)]
    Stripe(#[from] StripeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("no Stripe API key: set STRIPE_SECRET_KEY (a restricted read-only key is enough)")]
    NoKey,
    #[error("no tenant has the slug `{0}`; `surepass catalog list` shows the tenants")]
    UnknownTenant(String),
    /// All other sessions are done; these are tried again.
    #[error("{count} sessions could not be enqueued yet; the first error: {first}")]
    Unfinished {
        count: usize,
        first: String,
        /// Set if they only wait for the Stripe rate limit: the time until then.
        put_off: Option<Duration>,
    },
}

impl LookbackError {
    /// A stable code, for dead letters, metrics and alerts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Stripe(error) => error.reason(),
            Self::Store(StoreError::Outage(_)) => "store_unavailable",
            Self::Store(StoreError::Transient(_)) => "store_failed",
            Self::Store(StoreError::Permanent(_) | StoreError::Address(_)) => "store_refused",
            Self::Store(StoreError::Conflict(_)) => "store_conflict",
            Self::Queue(_) => "queue_unavailable",
            Self::NoKey => "no_stripe_key",
            Self::UnknownTenant(_) => "unknown_tenant",
            Self::Unfinished { .. } => "sessions_unfinished",
        }
    }

    /// Whether a retry can help without a change by a person.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Stripe(error) => error.is_transient(),
            Self::Store(error) => error.is_transient(),
            Self::Queue(_) | Self::Unfinished { .. } => true,
            Self::NoKey | Self::UnknownTenant(_) => false,
        }
    }

    /// Whether the whole store is unavailable, which is not this job's failure.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Store(StoreError::Outage(_)))
    }

    /// When the job continues, if nothing failed and it only waits for the Stripe rate limit or the store.
    /// `None`: it failed.
    #[must_use]
    pub fn put_off(&self) -> Option<Duration> {
        match self {
            Self::Stripe(error) if error.is_busy() => error.retry_after(),
            Self::Unfinished { put_off, .. } => *put_off,
            Self::Store(StoreError::Outage(_)) => Some(STORE_AWAY),
            _ => None,
        }
    }

    /// How long Stripe asks us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Stripe(error) => error.retry_after(),
            _ => None,
        }
    }
}
