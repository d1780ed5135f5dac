//! Why a customer's request failed.

use crate::lookback::LookbackError;
use crate::queue::QueueError;
use crate::store::StoreError;

/// Why a customer's request failed. All but [`CustomerError::NoKey`] are transient.
#[derive(Debug, thiserror::Error)]
pub enum CustomerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Lookback(LookbackError),
    #[error("STRIPE_SECRET_KEY is not set, so Stripe cannot be asked")]
    NoKey,
}

impl From<LookbackError> for CustomerError {
    fn from(error: LookbackError) -> Self {
        match error {
            LookbackError::Store(error) => Self::Store(error),
            LookbackError::Queue(error) => Self::Queue(error),
            LookbackError::NoKey => Self::NoKey,
            other => Self::Lookback(other),
        }
    }
}
