//! The limit of calls to Stripe that all processes share: a token bucket in Redis.

use std::time::Duration;

use async_trait::async_trait;

use crate::queue::{TokenBucket, TokenBucketOptions};
use crate::stripe::api::{Pace, StripeError};

/// The bucket of the calls to Stripe, at `rate` calls a second. No second has more than a quarter above that: at the default
/// of 20 at most 25, which Stripe allows.
#[must_use]
pub fn options(prefix: &str, rate: u32) -> TokenBucketOptions {
    TokenBucketOptions {
        prefix: prefix.to_owned(),
        name: "stripe".to_owned(),
        rate,
        burst: (rate / 4).max(1),
        patience: Duration::from_secs(10),
    }
}

#[async_trait]
impl Pace for TokenBucket {
    async fn turn(&self) -> Result<(), StripeError> {
        match self.wait().await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(wait)) => Err(StripeError::busy(wait)),
            Err(error) => Err(StripeError::no_pace(&error.to_string())),
        }
    }

    async fn slow_down(&self, retry_after: Duration) {
        if let Err(error) = self.pause(retry_after).await {
            tracing::warn!(%error, "Stripe asked for fewer calls, but the other processes cannot be slowed down");
        }
    }
}
