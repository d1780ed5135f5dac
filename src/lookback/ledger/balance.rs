//! What the ledger comes to. Serialised as `surepass reconcile --json` prints it.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::delay::{Delays, Layer};
use super::finding::Findings;

/// The ledger of a span of time. `paid` = `fulfilled` + `missing` + `inFlight` + `refundedUnfulfilled`
/// + `closedUnfulfilled`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// Sessions created from here
    pub from: DateTime<Utc>,
    /// to here.
    pub to: DateTime<Utc>,
    /// Nothing is missing, nothing is doubled, nothing is unmatched, and all of it was read.
    pub ok: bool,
    /// All of it was read: no account failed, and no session was unreadable.
    pub complete: bool,
    /// Why the subscriptions of this span could not be read to their end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Whether refunds, disputes and the moment of payment could be read; if not, the key lacks the right to. Delays are
    /// then from the creation of the session.
    pub payments_read: bool,
    /// Sessions that Stripe listed, paid or not, for a pass or not.
    pub sessions: u64,
    /// Of them: objects without an id, of which nothing can be said.
    pub unreadable: u64,
    /// Sessions that are complete, paid, and for a pass.
    pub paid: u64,
    /// Of them: those that have a subscription.
    pub fulfilled: u64,
    /// Of these: those whose subscription is switched on and not over.
    pub active: u64,
    /// By which layer the subscriptions came.
    pub layers: Vec<Layer>,
    pub delay: Delays,
    /// Paid, and no subscription.
    pub missing: Findings,
    /// The same, but paid only just now.
    pub in_flight: Findings,
    /// Open unmatched payments, those of this span (which are missing, too) and older ones: a person must look (`surepass
    /// unmatched list`).
    pub unmatched: Findings,
    /// Paid, without a subscription, and a person has closed the case: settled.
    pub closed_unfulfilled: Findings,
    /// A session, or a payment, that has more than one subscription.
    pub doubled: Findings,
    /// The subscription is not what was paid for.
    pub wrong: Findings,
    /// Today's rules would choose another owner. It plays no part in `ok`.
    pub other_owner: Findings,
    /// All of the money was given back, and the subscription is active.
    pub refunded_active: Findings,
    /// The buyer's bank asked for the money, and the subscription is active.
    pub disputed_active: Findings,
    /// An active subscription of a session that is not paid, or not for a pass.
    pub unpaid_active: Findings,
    /// All of the money was given back, and there is no subscription: settled.
    pub refunded_unfulfilled: Findings,
    /// Subscriptions of this span whose session Stripe does not list: another mode, an account that is no more.
    pub unknown_session: Findings,
    pub accounts: Vec<AccountBalance>,
}

impl Balance {
    /// Counts what was paid just now as missing where its job is a dead letter, by session: it does not come by itself.
    pub fn dead_are_missing(&mut self, is_dead: impl Fn(&str) -> bool) {
        let (dead, in_flight): (Vec<_>, Vec<_>) = std::mem::take(&mut self.in_flight.items)
            .into_iter()
            .partition(|finding| is_dead(&finding.session));
        self.in_flight.items = in_flight;
        self.in_flight.count -= dead.len() as u64;
        self.ok &= dead.is_empty();
        for finding in dead {
            let account = self
                .accounts
                .iter_mut()
                .find(|one| one.account == finding.account);
            if let Some(account) = account {
                account.missing += 1;
            }
            self.missing.add(finding);
        }
    }
}

/// What one account came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountBalance {
    /// `acct_…`; `None`: the key's own account.
    pub account: Option<String>,
    pub sessions: u64,
    pub paid: u64,
    pub missing: u64,
    /// When the oldest session was created that was read. Where the account failed, nothing before it is known.
    pub back_to: Option<DateTime<Utc>>,
    /// Why it could not be read to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}
