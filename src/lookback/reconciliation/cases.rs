//! Adds unmatched payments ("cases") to the reconciliation.

use super::finding::Finding;
use super::reconciler::Reconciler;
use crate::money::Money;
use crate::store::{StoreError, UnmatchedFilter, UnmatchedPayment, UnmatchedState};

/// Cases in one query.
const BATCH_SIZE: u32 = 500;

impl Reconciler<'_> {
    /// Adds the open cases of paid sessions.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn add_open_cases(&mut self) -> Result<(), StoreError> {
        let mut last: Option<UnmatchedPayment> = None;
        loop {
            let filter = UnmatchedFilter {
                state: Some(UnmatchedState::Open),
                after: last.as_ref().map(|case| (case.opened_at, case.id.as_str())),
                ..UnmatchedFilter::default()
            };
            let cases = self.store.unmatched().list_unmatched(&filter, BATCH_SIZE).await?;
            for case in cases.iter().filter(|case| case.is_paid) {
                if self.counts(case.tenant.as_deref()) {
                    self.balance.unmatched.add(case_finding(case));
                }
            }
            let is_last = cases.len() < BATCH_SIZE as usize;
            last = cases.into_iter().next_back();
            if is_last {
                return Ok(());
            }
        }
    }
}

fn case_finding(case: &UnmatchedPayment) -> Finding {
    let evidence = &case.evidence;
    let currency = evidence.currency.as_deref().and_then(|code| code.parse().ok());
    Finding {
        session: case.session.clone(),
        account: case.account.clone(),
        tenant: case.tenant.clone(),
        payment_intent: case.payment.clone(),
        amount: evidence
            .amount
            .zip(currency)
            .map(|(amount, currency)| Money { amount, currency }),
        paid_at: evidence.created,
        why: Some(format!("{}: {} ({})", case.reason, case.detail, case.reference)),
        ..Finding::default()
    }
}
