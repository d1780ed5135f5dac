//! Lists an account's sessions, with their payments if the key may read those.

use crate::stripe::CheckoutSession;
use crate::stripe::api::{Account, Page, Pages, SessionFilter, StripeError};

/// An account's sessions with their payments, newest first. If a restricted key may not read payments, they
/// come without, and refunds are not seen.
#[derive(Debug)]
pub(super) struct Listing {
    pages: Pages<CheckoutSession>,
    without_payments: Option<Pages<CheckoutSession>>,
    has_payments: bool,
}

impl Listing {
    /// `has_payments`: whether the key may read them. `None`: the first page shows it.
    pub(super) fn new(stripe: &Account, filter: &SessionFilter, has_payments: Option<bool>) -> Self {
        let of = |expand_payment| {
            stripe.sessions(SessionFilter {
                expand_payment,
                ..filter.clone()
            })
        };
        Self {
            pages: of(has_payments.unwrap_or(true)),
            without_payments: has_payments.is_none().then(|| of(false)),
            has_payments: has_payments.unwrap_or(true),
        }
    }

    /// Whether the listed sessions contain their payments.
    pub(super) fn has_payments(&self) -> bool {
        self.has_payments
    }

    /// As [`Pages::next`].
    pub(super) async fn next(&mut self) -> Result<Option<Page<CheckoutSession>>, StripeError> {
        match self.pages.next().await {
            Err(error) if error.is_about_permission() => match self.without_payments.take() {
                Some(pages) => {
                    self.pages = pages;
                    self.has_payments = false;
                    self.pages.next().await
                }
                None => Err(error),
            },
            page => {
                if page.is_ok() {
                    self.without_payments = None;
                }
                page
            }
        }
    }
}
