//! The findings of a reconciliation.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::MAX_LISTED;
use crate::money::Money;

/// The findings of one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// How many there are.
    pub count: u64,
    /// The first [`MAX_LISTED`] of them.
    pub items: Vec<Finding>,
}

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        self.count += 1;
        if self.items.len() < MAX_LISTED {
            self.items.push(finding);
        }
    }
}

/// A purchase or a subscription that does not match.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// `cs_…`
    pub session: String,
    /// The connected account; `None`: the key's own.
    pub account: Option<String>,
    /// The tenant's id, if known.
    pub tenant: Option<String>,
    /// `pi_…`
    pub payment_intent: Option<String>,
    /// The amount in the session.
    pub amount: Option<Money>,
    /// When it was paid, or else when the session was created.
    pub paid_at: Option<DateTime<Utc>>,
    /// The ids of the subscriptions concerned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<String>,
    /// How the session and the subscription differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// Details. For a missing subscription: why fulfilment refuses the purchase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The command that fixes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// The state of its job, if it was looked up. Only a hint: the result does not depend on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
}

/// A field in which the subscription differs from the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The name in a subscription, such as `purchasePrice` or `passId`.
    pub field: &'static str,
    /// The value according to the session.
    pub stripe: String,
    pub store: String,
}
