//! The line items of a session, read from Stripe: webhooks never hold them.

use std::time::Duration;

use crate::stripe::CheckoutSession;

use super::error::Reason;
use super::{Fulfiller, Purchase};

/// How long Stripe may take, all attempts together: well within a job's time.
const PATIENCE: Duration = Duration::from_secs(10);

/// What Stripe says of a session.
#[derive(Debug)]
pub(super) enum Items {
    Read(Box<CheckoutSession>),
    /// Nothing, and why: asking again changes nothing before a person has acted.
    Unread(String),
}

impl Fulfiller {
    /// Reads the session with all its line items, within the limit that all processes share.
    ///
    /// # Errors
    /// [`Reason::StripeUnavailable`]: a passing cause.
    pub(super) async fn items(&self, purchase: &Purchase) -> Result<Items, Reason> {
        let Some(stripe) = &self.stripe else {
            return Ok(Items::Unread("there is no Stripe key".to_owned()));
        };
        let api = stripe.account(purchase.account.as_deref());
        if !api.can_know(&purchase.session_id) {
            return Ok(Items::Unread(
                "the Stripe key is for another mode than the session".to_owned(),
            ));
        }
        match tokio::time::timeout(PATIENCE, api.session(&purchase.session_id)).await {
            Ok(Ok(Some(session))) => Ok(Items::Read(Box::new(session))),
            Ok(Ok(None)) => Ok(Items::Unread("Stripe knows no such session".to_owned())),
            Ok(Err(error)) if !error.is_transient() => {
                Ok(Items::Unread(format!("{}: {error}", error.reason())))
            }
            Ok(Err(error)) => Err(Reason::StripeUnavailable {
                why: format!("{}: {error}", error.reason()),
                after: error.retry_after(),
                is_busy: error.is_busy(),
            }),
            Err(_) => Err(Reason::StripeUnavailable {
                why: format!("Stripe did not answer within {} s", PATIENCE.as_secs()),
                after: None,
                is_busy: false,
            }),
        }
    }
}
