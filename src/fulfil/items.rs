//! Reads a session's line items from Stripe, since webhooks never contain them.

use std::time::Duration;

use crate::stripe::CheckoutSession;

use super::error::Reason;
use super::{Fulfiller, Purchase};

/// For all attempts together, much less than a job's time-out.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Stripe's answer for a session.
#[derive(Debug)]
pub(super) enum LineItems {
    Read(Box<CheckoutSession>),
    /// Not readable, for this reason. A retry does not help.
    Unread(String),
}

impl Fulfiller {
    /// Reads the session with all line items, within the shared rate limit.
    ///
    /// # Errors
    /// [`Reason::StripeUnavailable`]: a transient error.
    pub(super) async fn items(&self, purchase: &Purchase) -> Result<LineItems, Reason> {
        let Some(stripe) = &self.stripe else {
            return Ok(LineItems::Unread("there is no Stripe key".to_owned()));
        };
        let api = stripe.account(purchase.account.as_deref());
        if !api.can_know(&purchase.session_id) {
            return Ok(LineItems::Unread(
                "the Stripe key is for another mode than the session".to_owned(),
            ));
        }
        match tokio::time::timeout(TIMEOUT, api.session(&purchase.session_id)).await {
            Ok(Ok(Some(session))) => Ok(LineItems::Read(Box::new(session))),
            Ok(Ok(None)) => Ok(LineItems::Unread("Stripe knows no such session".to_owned())),
            Ok(Err(error)) if !error.is_transient() => {
                Ok(LineItems::Unread(format!("{}: {error}", error.reason())))
            }
            Ok(Err(error)) => Err(Reason::StripeUnavailable {
                why: format!("{}: {error}", error.reason()),
                after: error.retry_after(),
                is_busy: error.is_busy(),
            }),
            Err(_) => Err(Reason::StripeUnavailable {
                why: format!("Stripe did not answer within {} s", TIMEOUT.as_secs()),
                after: None,
                is_busy: false,
            }),
        }
    }
}
