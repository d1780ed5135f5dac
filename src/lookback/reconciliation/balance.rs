//! The result of a reconciliation, as `surepass reconcile --json` prints it.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::delay::{Delays, Layer};
use super::finding::Findings;

/// The result for a time range. `paid` = `fulfilled` + `missing` + `inFlight` + `refundedUnfulfilled` +
/// `closedUnfulfilled`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// Sessions created from here
    pub from: DateTime<Utc>,
    /// to here.
    pub to: DateTime<Utc>,
    /// True if everything was read, and nothing is missing, doubled or unmatched.
    pub ok: bool,
    /// True if no account failed and every session could be read.
    pub complete: bool,
    /// Why not all subscriptions of this time range could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Whether the key may read payments: refunds, disputes and payment times. If not, delays count from the
    /// session's creation.
    pub payments_read: bool,
    /// Sessions in Stripe's lists: paid or not, for a pass or not.
    pub sessions: u64,
    /// Of these, the ones without an id.
    pub unreadable: u64,
    /// Sessions that are complete, paid and for a pass.
    pub paid: u64,
    /// Of these, the ones with a subscription.
    pub fulfilled: u64,
    /// Of these, the ones whose subscription is active and has not ended.
    pub active: u64,
    /// How many subscriptions each layer created.
    pub layers: Vec<Layer>,
    pub delay: Delays,
    /// Paid, without a subscription.
    pub missing: Findings,
    /// Likewise, but paid a moment ago.
    pub in_flight: Findings,
    /// Open unmatched payments of any age, which a person must decide (`surepass unmatched list`). Those of
    /// this time range are also missing.
    pub unmatched: Findings,
    /// Paid, without a subscription, and a person has closed the case.
    pub closed_unfulfilled: Findings,
    /// Sessions or payments with more than one subscription.
    pub doubled: Findings,
    /// Subscriptions that differ from what was paid for.
    pub wrong: Findings,
    /// Subscriptions to which today's rules would give another owner. `ok` ignores them.
    pub other_owner: Findings,
    /// Refunded in full, with an active subscription.
    pub refunded_active: Findings,
    /// Disputed, with an active subscription.
    pub disputed_active: Findings,
    /// Active subscriptions whose session is not paid, or not for a pass.
    pub unpaid_active: Findings,
    /// Refunded in full, without a subscription.
    pub refunded_unfulfilled: Findings,
    /// Subscriptions of this time range whose session Stripe does not list, because of another mode or a
    /// removed account.
    pub unknown_session: Findings,
    pub accounts: Vec<AccountBalance>,
}

impl Balance {
    /// Counts in-flight sessions as missing if their job is a dead letter.
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

/// The result for one account.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountBalance {
    /// `acct_…`; `None`: the key's own account.
    pub account: Option<String>,
    pub sessions: u64,
    pub paid: u64,
    pub missing: u64,
    /// When the oldest session that was read was created. If the account failed, nothing older was checked.
    pub back_to: Option<DateTime<Utc>>,
    /// Why the list could not be read completely.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}
