//! Unmatched payments ("cases") in the ledger.

use super::book::Book;
use super::finding::Finding;
use crate::money::Money;
use crate::store::{StoreError, UnmatchedFilter, UnmatchedPayment, UnmatchedState};

/// Cases read at a time.
const CASES: u32 = 500;

impl Book<'_> {
    /// Enters the open cases in which somebody has paid.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn enter_cases(&mut self) -> Result<(), StoreError> {
        let mut last: Option<UnmatchedPayment> = None;
        loop {
            let filter = UnmatchedFilter {
                state: Some(UnmatchedState::Open),
                after: last.as_ref().map(|case| (case.opened_at, case.id.as_str())),
                ..UnmatchedFilter::default()
            };
            let cases = self.store.unmatched().list_unmatched(&filter, CASES).await?;
            for case in cases.iter().filter(|case| case.is_paid) {
                if self.counts(case.tenant.as_deref()) {
                    self.balance.unmatched.add(of_case(case));
                }
            }
            let is_last = cases.len() < CASES as usize;
            last = cases.into_iter().next_back();
            if is_last {
                return Ok(());
            }
        }
    }
}

fn of_case(case: &UnmatchedPayment) -> Finding {
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
