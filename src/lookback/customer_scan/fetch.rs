//! Reads sessions and lists from Stripe, and keeps the customer's.

use chrono::{DateTime, Utc};

use super::{MAX_SESSIONS, Scan};
use crate::lookback::enqueue_missing::{Candidate, SessionClass, classify};
use crate::lookback::listing::Listing;
use crate::lookback::ownership::may_belong_to;
use crate::stripe::CheckoutSession;
use crate::stripe::api::{Page, SessionFilter, StripeError};

impl Scan<'_> {
    /// Adds a session if it is paid and belongs to the customer.
    fn add_session(&mut self, session: &CheckoutSession) {
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
                self.result.unreadable += 1;
                return;
            }
        };
        if !self.seen_ids.insert(purchase.session_id.clone()) {
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
            self.result.candidates.push(if is_refunded {
                Candidate::refunded(&session, key)
            } else {
                Candidate::new(&session, key, Some(purchase).filter(|_| is_complete))
            });
        }
    }

    /// Fetches the requested session; it may be in another account.
    pub(super) async fn fetch_requested(&mut self, id: &str) -> Result<(), StripeError> {
        self.result.is_unknown = !self.fetch_session(id).await?;
        Ok(())
    }

    /// Fetches one session. Returns whether the account has it.
    pub(super) async fn fetch_session(&mut self, id: &str) -> Result<bool, StripeError> {
        let session = self.stripe.session(id).await;
        self.result.pages += 1;
        if let Some(session) = session? {
            self.add_session(&session);
            return Ok(true);
        }
        // A key of the other mode cannot see this session, so its answer says nothing.
        if self.stripe.can_know(id) {
            self.closed.push(id.to_owned());
        }
        Ok(false)
    }

    /// Fetches all pages of a list.
    pub(super) async fn fetch_list(&mut self, filter: SessionFilter) -> Result<(), StripeError> {
        let mut pages = Listing::new(&self.stripe, filter, None);
        loop {
            if self.result.candidates.len() >= MAX_SESSIONS {
                self.result.too_many = true;
                return Ok(());
            }
            let Some(page) = pages.next().await? else {
                return Ok(());
            };
            self.add_page(&page);
        }
    }

    pub(super) fn add_page(&mut self, page: &Page<CheckoutSession>) {
        self.result.pages += 1;
        self.result.unreadable += page.unreadable as u64;
        page.items.iter().for_each(|session| self.add_session(session));
    }

    /// Fetches the list of the requested Stripe customer, who may exist in another account only.
    pub(super) async fn fetch_customer_list(&mut self, filter: SessionFilter) -> Result<(), StripeError> {
        match self.fetch_list(filter).await {
            Err(error) if error.code() == Some("resource_missing") && error.param() == Some("customer") => {
                self.result.is_unknown = true;
                Ok(())
            }
            listed => listed,
        }
    }

    /// Fetches a list that is not needed for completeness. If Stripe refuses it, for example because the
    /// customer was deleted, nothing is missed.
    pub(super) async fn fetch_optional_list(&mut self, filter: SessionFilter) -> Result<(), StripeError> {
        match self.fetch_list(filter).await {
            Err(error) if !error.is_transient() => {
                tracing::info!(account = self.account, %error, "skipped an optional list of sessions: Stripe refused it");
                Ok(())
            }
            listed => listed,
        }
    }
}

pub(super) fn created_since(from: DateTime<Utc>) -> SessionFilter {
    SessionFilter {
        created_from: Some(from),
        expand_line_items: true,
        ..SessionFilter::default()
    }
}
