//! Reads a session's line items from Stripe, since webhooks never contain them.

use std::time::Duration;

use crate::stripe::CheckoutSession;

use super::cases::ITEMS_UNREAD;
use super::decide::{Decision, NOT_A_PASS, UNMATCHED, Unmatched};
use super::error::Reason;
use super::{Fulfiller, Progress, Purchase};

/// For all attempts together, much less than a job's time-out.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Stripe's answer for a session.
#[derive(Debug)]
enum LineItems {
    Read(Box<CheckoutSession>),
    /// Not readable, for this reason. A retry does not help.
    Unread(String),
}

impl Fulfiller {
    /// Reads the session with all line items, within the shared rate limit.
    ///
    /// # Errors
    /// [`Reason::StripeUnavailable`]: a transient error.
    async fn items(&self, purchase: &Purchase) -> Result<LineItems, Reason> {
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

    /// Tries again with the line items, if they were unknown and may help.
    pub(super) async fn retry_with_line_items(
        &self,
        purchase: &Purchase,
        first: Result<Progress, Reason>,
        session: &mut Option<Box<CheckoutSession>>,
    ) -> Result<Progress, Reason> {
        let may_help = match &first {
            Ok(Progress::Without(Decision::Unmatched(unmatched))) => unmatched.reason == UNMATCHED,
            Ok(Progress::Without(Decision::Ignore(NOT_A_PASS))) => {
                self.catalog.cached().await?.catalog.keys().await?.has_prices()
            }
            Err(Reason::UnresolvedPass { .. } | Reason::UnresolvedTenant { .. }) => true,
            _ => false,
        };
        if !may_help || !purchase.price_ids.is_empty() {
            return first;
        }
        let read = match self.items(purchase).await {
            // Its metadata names something unknown: a person is told now. A lookback that has the line items
            // revives the job.
            Err(_) if first.is_err() => return first,
            Err(reason) => return Err(reason),
            Ok(LineItems::Read(read)) => read,
            Ok(LineItems::Unread(why)) => {
                let tenant = match first {
                    Ok(Progress::Without(Decision::Unmatched(unmatched))) => unmatched.tenant,
                    Ok(Progress::Without(Decision::Ignore(_))) => None,
                    other => return other,
                };
                return Ok(Progress::Without(Decision::Unmatched(Unmatched {
                    reason: ITEMS_UNREAD,
                    detail: format!("paid, but could not read the line items: {why}").into(),
                    tenant,
                })));
            }
        };
        let read = session.insert(read);
        if read.is_refunded() {
            let closed = self.close_refunded(purchase).await;
            closed.map_err(|error| Reason::from(&error))?;
            return Ok(Progress::Without(Decision::Ignore("refunded")));
        }
        if read.price_ids.is_empty() {
            return first;
        }
        let mut known = purchase.clone();
        known.price_ids.clone_from(&read.price_ids);
        self.try_fulfil(&known).await
    }
}
