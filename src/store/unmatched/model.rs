//! The data of a case.

use std::collections::BTreeMap;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::store::UnknownName;

/// Characters that are not confused when read aloud: no 0, 1, I, L, O, U.
const ALPHABET: &[u8; 30] = b"23456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Letters and digits of a reference, in two halves.
const LENGTH: usize = 8;

/// What to do with a paid session that has none of our metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnmatchedPolicy {
    /// A person must decide.
    #[default]
    Park,
    /// Ignore it: the shop also sells other things.
    Ignore,
}

impl UnmatchedPolicy {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Park => "park",
            Self::Ignore => "ignore",
        }
    }
}

impl FromStr for UnmatchedPolicy {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(match name {
            "park" => Self::Park,
            "ignore" => Self::Ignore,
            other => return Err(UnknownName::new(other)),
        })
    }
}

/// Whether a case is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnmatchedState {
    Open,
    Closed,
}

impl UnmatchedState {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

impl FromStr for UnmatchedState {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(match name {
            "open" => Self::Open,
            "closed" => Self::Closed,
            other => return Err(UnknownName::new(other)),
        })
    }
}

/// How a case was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resolution {
    /// Its session has a subscription.
    Subscription,
    /// It was refunded in full.
    Refund,
    /// A person closed it, with a reason.
    Person,
}

impl Resolution {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subscription => "subscription",
            Self::Refund => "refund",
            Self::Person => "person",
        }
    }
}

impl FromStr for Resolution {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(match name {
            "subscription" => Self::Subscription,
            "refund" => Self::Refund,
            "person" => Self::Person,
            other => return Err(UnknownName::new(other)),
        })
    }
}

/// What the purchase contains, for the person who decides. Includes personal data: not for logs.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Evidence {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The Stripe prices of the line items.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub line_items: Vec<String>,
    /// Minor units of `currency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<DateTime<Utc>>,
}

impl std::fmt::Debug for Evidence {
    /// Without personal data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evidence")
            .field("line_items", &self.line_items)
            .field("amount", &self.amount)
            .finish_non_exhaustive()
    }
}

/// A case to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUnmatched {
    pub id: String,
    /// A random number, from which the reference is made.
    pub random: u64,
    pub account: Option<String>,
    pub session: String,
    pub payment: Option<String>,
    /// The tenant's id, if known.
    pub tenant: Option<String>,
    /// The slug of the webhook's path.
    pub path_tenant: Option<String>,
    /// A stable code.
    pub reason: String,
    /// The reason as a sentence.
    pub detail: String,
    pub evidence: Evidence,
    /// The payload of a `fulfil` job, as JSON.
    pub purchase: Option<String>,
    /// `false`: nothing was paid; for information only.
    pub is_paid: bool,
    pub at: DateTime<Utc>,
}

impl NewUnmatched {
    /// The reason of a case that stays open beside a subscription: more than one pass was paid.
    pub const ITEMS_SHORT: &'static str = "items_short";

    /// The reference to try after `tries` others were taken.
    pub(super) fn reference(&self, tries: u32) -> String {
        reference(self.random.rotate_left(13 * tries))
    }
}

fn reference(mut random: u64) -> String {
    let mut text = String::with_capacity(LENGTH + 1);
    for position in 0..LENGTH {
        if position == LENGTH / 2 {
            text.push('-');
        }
        let size = ALPHABET.len() as u64;
        let at = usize::try_from(random % size).unwrap_or_default();
        text.push(char::from(ALPHABET[at]));
        random /= size;
    }
    text
}

/// Normalizes a typed reference: `k3e8 7rdz` is `K3E8-7RDZ`.
pub(super) fn as_reference(text: &str) -> Option<String> {
    let letters: Vec<u8> = text
        .bytes()
        .filter(|byte| !matches!(byte, b' ' | b'-'))
        .map(|byte| byte.to_ascii_uppercase())
        .collect();
    if letters.len() != LENGTH || !letters.iter().all(|byte| ALPHABET.contains(byte)) {
        return None;
    }
    let (first, second) = letters.split_at(LENGTH / 2);
    Some(format!(
        "{}-{}",
        String::from_utf8_lossy(first),
        String::from_utf8_lossy(second)
    ))
}

/// An unmatched payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnmatchedPayment {
    pub id: String,
    pub reference: String,
    pub state: UnmatchedState,
    pub reason: String,
    pub detail: String,
    pub is_paid: bool,
    pub session: String,
    pub payment: Option<String>,
    pub account: Option<String>,
    /// The tenant's id.
    pub tenant: Option<String>,
    pub path_tenant: Option<String>,
    pub evidence: Evidence,
    #[serde(skip)]
    pub purchase: Option<String>,
    pub resolution: Option<Resolution>,
    /// Oldest first.
    pub history: Vec<UnmatchedNote>,
    pub opened_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl UnmatchedPayment {
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == UnmatchedState::Open
    }

    /// Whether the case still says something about its session. After its subscription was removed, one
    /// closed by it does not.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.is_open() || matches!(self.resolution, Some(Resolution::Person | Resolution::Refund))
    }
}

/// A line of a case's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmatchedNote {
    pub at: DateTime<Utc>,
    /// `user@host`, or `surepass`.
    pub who: String,
    /// Such as `opened: unresolved_pass`, `assigned: pass-10`, `closed`.
    pub what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A filter for cases. All given fields must match.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnmatchedFilter<'a> {
    pub state: Option<UnmatchedState>,
    pub reason: Option<&'a str>,
    pub updated_before: Option<DateTime<Utc>>,
    /// Only those after this one: its opening time and id.
    pub after: Option<(DateTime<Utc>, &'a str)>,
}

/// Counts of open cases.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct OpenUnmatched {
    /// Paid cases, which need a person, by reason.
    pub by_reason: BTreeMap<String, usize>,
    /// Nothing was paid.
    pub informational: usize,
    /// When the oldest paid one was opened.
    pub oldest: Option<DateTime<Utc>>,
}

impl OpenUnmatched {
    /// How many are paid.
    #[must_use]
    pub fn paid(&self) -> usize {
        self.by_reason.values().sum()
    }
}

/// Payments of an account that were refunded in full.
#[derive(Debug, Clone, Copy)]
pub struct RefundedPayments<'a> {
    pub account: Option<&'a str>,
    /// If only a tenant's own secret proves it: that tenant's slug, whose cases it may close.
    pub path_tenant: Option<&'a str>,
    pub payments: &'a [&'a str],
    pub sessions: &'a [&'a str],
    pub at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_eight_letters_that_nobody_confuses() {
        for random in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let reference = reference(random);
            assert_eq!(reference.len(), 9, "{reference}");
            assert_eq!(as_reference(&reference).as_deref(), Some(reference.as_str()));
        }
        assert_ne!(reference(1), reference(2));
    }

    #[test]
    fn a_reference_is_read_as_people_write_it() {
        assert_eq!(as_reference("k3e8 7rdz").as_deref(), Some("K3E8-7RDZ"));
        assert_eq!(as_reference("K3E87RDZ").as_deref(), Some("K3E8-7RDZ"));
        assert_eq!(as_reference("cs_test_1"), None);
        assert_eq!(as_reference("O3E8-7RDZ"), None);
    }
}
