//! Unmatched payments ("cases") of sessions that the lookback finds.

use std::collections::HashMap;

use super::{Lookback, LookbackError};
use crate::store::{RefundedPayments, Resolution, StoreError, UnmatchedPayment};
use crate::stripe::CheckoutSession;

/// Cases by session. If a session has cases in several accounts, the open one counts.
#[derive(Debug, Default)]
pub(super) struct Cases(HashMap<String, UnmatchedPayment>);

/// The state of the case of a session without a subscription.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// A person must decide. Contains the text for them.
    Open(String),
    /// Closed by a person or by a refund, or nothing was paid.
    Closed,
}

impl Cases {
    pub(super) fn of(&self, session: &str) -> Option<Case> {
        let case = self.0.get(session)?;
        match (case.is_open(), case.resolution) {
            (true, _) if case.is_paid => Some(Case::Open(advice(case))),
            (true, _) | (false, Some(Resolution::Person | Resolution::Refund)) => Some(Case::Closed),
            // It had a subscription once.
            (false, _) => None,
        }
    }
}

fn advice(case: &UnmatchedPayment) -> String {
    let reference = &case.reference;
    format!(
        "{}: unmatched payment {reference}; assign it: surepass unmatched assign {reference} --pass P --why …",
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

    /// Closes the cases of the sessions that were refunded in full.
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
