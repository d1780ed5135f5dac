//! What does not fit, with its ids.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::MOST_FINDINGS;
use crate::money::Money;

/// Findings of one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// How many there are.
    pub count: u64,
    /// The first of them, [`MOST_FINDINGS`] at most.
    pub items: Vec<Finding>,
}

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        self.count += 1;
        if self.items.len() < MOST_FINDINGS {
            self.items.push(finding);
        }
    }
}

/// One purchase, or one subscription, that does not fit.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// `cs_…`
    pub session: String,
    /// The connected account; `None`: the key's own.
    pub account: Option<String>,
    /// The tenant's id, as far as it can be told.
    pub tenant: Option<String>,
    /// `pi_…`
    pub payment_intent: Option<String>,
    /// What the session says was paid.
    pub amount: Option<Money>,
    /// When it was paid, else when the session was created.
    pub paid_at: Option<DateTime<Utc>>,
    /// The ids of the subscriptions that it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<String>,
    /// What the two say, where they differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// What is known beyond the numbers: for a missing one why fulfilment refuses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The command that puts it right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// A hint that plays no part in the verdict: the state of its job, where somebody has looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
}

/// A field in which the store is not what the session says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// As a subscription names it: `purchasePrice`, `passId`.
    pub field: &'static str,
    /// What follows from the session.
    pub stripe: String,
    pub store: String,
}
