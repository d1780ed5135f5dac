//! Why a lookback could not do it.

use std::time::Duration;

use crate::queue::QueueError;
use crate::store::StoreError;
use crate::stripe::api::StripeError;

/// How long a lookback leaves a store alone that is out of order.
const STORE_AWAY: Duration = Duration::from_secs(10);

/// Why a lookback could not do it. Tells nothing of a buyer.
#[derive(Debug, thiserror::Error)]
pub enum LookbackError {
    #[error(transparent)]
    Stripe(#[from] StripeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(
        "there is no key for Stripe's API: set STRIPE_SECRET_KEY (a restricted key that may read is enough)"
    )]
    NoKey,
    #[error("no tenant has the slug `{0}`: `surepass catalog list` shows those that there are")]
    UnknownTenant(String),
    /// All others are done; these are looked at again.
    #[error("{count} of its sessions could not be handed in yet, the first for: {first}")]
    Unfinished {
        count: usize,
        first: String,
        /// Nothing but their turn at Stripe's limit is missing, which comes after so long.
        put_off: Option<Duration>,
    },
}

impl LookbackError {
    /// The reason in a stable word, for dead letters, metrics and alerts.
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

    /// Whether trying again can help before anyone has acted.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Stripe(error) => error.is_transient(),
            Self::Store(error) => error.is_transient(),
            Self::Queue(_) | Self::Unfinished { .. } => true,
            Self::NoKey | Self::UnknownTenant(_) => false,
        }
    }

    /// The whole store is out of order, which is no failure of this lookback's.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Store(StoreError::Outage(_)))
    }

    /// After how long it goes on, where nothing failed: its turn at Stripe's limit comes then, or the store may be back;
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

    /// For how long the other side wants to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Stripe(error) => error.retry_after(),
            _ => None,
        }
    }
}
