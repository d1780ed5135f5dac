//! Unmatched payments ("cases") as the lookback meets them.

use std::collections::HashMap;

use super::{Lookback, LookbackError};
use crate::store::{RefundedPayments, Resolution, StoreError, UnmatchedPayment};
use crate::stripe::CheckoutSession;

/// Cases by session. Of a session on several accounts the open one counts.
#[derive(Debug, Default)]
pub(super) struct Cases(HashMap<String, UnmatchedPayment>);

/// What a case says about a session without a subscription.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// A person must look: what to tell them.
    Open(String),
    /// A person or a refund has closed it, or nothing was paid.
    Settled,
}

impl Cases {
    pub(super) fn of(&self, session: &str) -> Option<Case> {
        let case = self.0.get(session)?;
        match (case.is_open(), case.resolution) {
            (true, _) if case.is_paid => Some(Case::Open(advice(case))),
            (true, _) | (false, Some(Resolution::Person | Resolution::Refund)) => Some(Case::Settled),
            // It had its subscription once.
            (false, _) => None,
        }
    }
}

fn advice(case: &UnmatchedPayment) -> String {
    let reference = &case.reference;
    format!(
        "{}: unmatched payment {reference}, a person must look (`surepass unmatched assign {reference} --pass P --why …`)",
        case.reason
    )
}

impl Lookback {
    pub(super) async fn cases(&self, sessions: &[&str]) -> Result<Cases, StoreError> {
        let mut cases = Cases::default();
        for case in self.store.unmatched().unmatched_of(sessions).await? {
            if case.is_open() || !cases.0.contains_key(&case.session) {
                cases.0.insert(case.session.clone(), case);
            }
        }
        Ok(cases)
    }

    /// Closes the cases of the sessions whose money was given back in full.
    pub(super) async fn close_cases_of_refunded(
        &self,
        account: Option<&str>,
        sessions: impl Iterator<Item = &CheckoutSession>,
    ) -> Result<(), LookbackError> {
        let refunded = sessions.filter(|session| session.is_refunded());
        let ids: Vec<&str> = refunded.filter_map(|session| session.id.as_deref()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let refunded = RefundedPayments {
            account,
            path_tenant: None,
            payments: &[],
            sessions: &ids,
            at: self.clock.now(),
        };
        let closed = self.store.unmatched().close_refunded(&refunded).await?;
        if closed > 0 {
            tracing::info!(closed, account, "unmatched payments closed: refunded in full");
        }
        Ok(())
    }
}
