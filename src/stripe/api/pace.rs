//! Who may call Stripe, and when.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use super::StripeError;

/// Keeps all that call Stripe below its limits, together. Its implementation for all processes together is in `stripe_rate_limit`.
#[async_trait]
pub trait Pace: Debug + Send + Sync {
    /// Waits until one call may be made.
    ///
    /// # Errors
    /// A transient [`StripeError`] where that cannot be told, or where it would take too long: then with
    /// [`StripeError::retry_after`].
    async fn turn(&self) -> Result<(), StripeError>;

    /// Stripe said 429: nobody calls for `retry_after`, and all go on more slowly from there.
    async fn slow_down(&self, retry_after: Duration);
}

/// No limit. For a call that must work without Redis, as the doctor's do.
#[derive(Debug, Clone, Copy)]
pub struct Unpaced;

#[async_trait]
impl Pace for Unpaced {
    async fn turn(&self) -> Result<(), StripeError> {
        Ok(())
    }

    async fn slow_down(&self, _retry_after: Duration) {}
}
