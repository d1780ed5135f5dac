//! What a look reads at Stripe: single sessions and lists, and what of them is the customer's.

use chrono::{DateTime, Utc};

use super::{Look, MOST_SESSIONS};
use crate::lookback::enqueue_missing::{Candidate, SessionClass, classify};
use crate::lookback::listing::Listing;
use crate::lookback::ownership::may_belong_to;
use crate::stripe::CheckoutSession;
use crate::stripe::api::{Page, SessionFilter, StripeError};

impl Look<'_> {
    /// Takes a session, if it is the customer's and was paid for.
    fn take(&mut self, session: &CheckoutSession) {
        if session.is_refunded() {
            self.refunded.push(session.clone());
        }
        let via = self.request.via;
        let mut is_refunded = false;
        let (purchase, is_complete) = match classify(session, self.account, via, self.client_reference) {
            SessionClass::Purchase(purchase) => (purchase, true),
            SessionClass::Incomplete(purchase) => (purchase, false),
            SessionClass::Unpaid(_) => return,
            SessionClass::Refunded(purchase) => {
                self.closed.push(purchase.session_id.clone());
                is_refunded = true;
                (purchase, false)
            }
            SessionClass::Other => {
                self.closed.extend(session.id.clone());
                return;
            }
            SessionClass::Unreadable => {
                self.seen.unreadable += 1;
                return;
            }
        };
        if !self.met.insert(purchase.session_id.clone()) {
            return;
        }
        if self
            .tenant
            .is_some_and(|tenant| !may_belong_to(tenant, &purchase))
        {
            return;
        }
        if let Some(purchase) = self.rule.claim(purchase) {
            let session = purchase.session_id.clone();
            let key = self.request.customer.key();
            self.seen.found.push(if is_refunded {
                Candidate::refunded(&session, key)
            } else {
                Candidate::new(&session, key, Some(purchase).filter(|_| is_complete))
            });
        }
    }

    /// The session that is asked for; it may be in another account.
    pub(super) async fn asked(&mut self, id: &str) -> Result<(), StripeError> {
        self.seen.is_unknown = !self.one(id).await?;
        Ok(())
    }

    /// A single session; answers whether the account has it.
    pub(super) async fn one(&mut self, id: &str) -> Result<bool, StripeError> {
        let session = self.stripe.session(id).await;
        self.seen.pages += 1;
        if let Some(session) = session? {
            self.take(&session);
            return Ok(true);
        }
        // A key of the other mode was put in by mistake: its word is no end.
        if self.stripe.can_know(id) {
            self.closed.push(id.to_owned());
        }
        Ok(false)
    }

    /// All pages of a list.
    pub(super) async fn list(&mut self, filter: SessionFilter) -> Result<(), StripeError> {
        let mut pages = Listing::new(&self.stripe, filter);
        loop {
            if self.seen.found.len() >= MOST_SESSIONS {
                self.seen.too_many = true;
                return Ok(());
            }
            let Some(page) = pages.next().await? else {
                return Ok(());
            };
            self.read(&page);
        }
    }

    pub(super) fn read(&mut self, page: &Page<CheckoutSession>) {
        self.seen.pages += 1;
        self.seen.unreadable += page.unreadable as u64;
        page.items.iter().for_each(|session| self.take(session));
    }

    /// A list of the customer who is asked for; another account may be the one that knows them.
    pub(super) async fn known(&mut self, filter: SessionFilter) -> Result<(), StripeError> {
        match self.list(filter).await {
            Err(error) if error.code() == Some("resource_missing") && error.param() == Some("customer") => {
                self.seen.is_unknown = true;
                Ok(())
            }
            listed => listed,
        }
    }

    /// A list that is not relied on. Where Stripe will not give it (it knows no such customer any more), nothing is missed.
    pub(super) async fn also(&mut self, filter: SessionFilter) -> Result<(), StripeError> {
        match self.list(filter).await {
            Err(error) if !error.is_transient() => {
                tracing::info!(account = self.account, %error, "a list that was to be looked at as well is left out");
                Ok(())
            }
            listed => listed,
        }
    }
}

pub(super) fn since(from: DateTime<Utc>) -> SessionFilter {
    SessionFilter {
        created_from: Some(from),
        expand_line_items: true,
        ..SessionFilter::default()
    }
}
