//! The records of the store: tenants, passes, users, subscriptions, the event log.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::money::{Currency, Money};
use crate::time_zone::Tz;

use super::UnmatchedPolicy;

/// A studio, school or shop.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    pub id: String,
    /// The name in paths: `/webhooks/stripe/{slug}`.
    pub slug: String,
    pub name: String,
    /// Decides when a fixed expiry date ends.
    pub time_zone: Tz,
    /// The pages' accent colour, `#RRGGBB`.
    pub color: Option<String>,
    /// The connected account (Stripe Connect, direct charges). `None`: the key's own account.
    pub stripe_account: Option<String>,
    pub contact: Contact,
    /// What to do with paid sessions that have none of our metadata.
    pub unmatched: UnmatchedPolicy,
    pub passes: Vec<Pass>,
}

/// The keys of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownTenant {
    pub id: String,
    pub slug: String,
    /// `acct_…`. `None`: the key's own account.
    pub stripe_account: Option<String>,
}

impl KnownTenant {
    #[must_use]
    pub fn of(tenant: &Tenant) -> Self {
        Self {
            id: tenant.id.clone(),
            slug: tenant.slug.clone(),
            stripe_account: tenant.stripe_account.clone(),
        }
    }
}

/// The secrets of tenants' own webhook endpoints, by tenant id. Tenants without an entry use the configured
/// secrets.
pub type WebhookSecrets = HashMap<String, Vec<SecretString>>;

/// The data that identifies a pass in a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassKeys {
    /// The tenant's id.
    pub tenant: String,
    pub id: String,
    pub name: String,
    pub stripe_price_ids: Vec<String>,
}

/// Where a customer gets help.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contact {
    pub support_email: Option<String>,
    pub support_url: Option<String>,
    pub shop_url: Option<String>,
}

/// A product of a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass {
    pub id: String,
    pub name: String,
    /// The type in the catalog. An unknown type is stored too, so that its purchase becomes a dead letter
    /// that names it.
    pub kind: String,
    pub classes_limit: Option<i64>,
    pub price: Money,
    pub validity: Validity,
    pub stripe_price_ids: Vec<String>,
    /// Whether it is on sale. A pass that is no longer sold is still created for those who paid.
    pub is_active: bool,
}

/// The catalog's data on a pass's end. All may be missing, or contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Validity {
    /// `days` or `date`; missing in old catalogs.
    pub kind: Option<String>,
    pub days: Option<i64>,
    pub expiry: Option<Expiry>,
}

/// A fixed end of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// The end of that day in the tenant's time zone.
    Date(NaiveDate),
    Instant(DateTime<Utc>),
}

impl fmt::Display for Expiry {
    /// The catalog's text: `2027-06-30`, or an RFC 3339 instant in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Date(date) => date.fmt(f),
            Self::Instant(instant) => f.write_str(&instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        }
    }
}

impl FromStr for Expiry {
    type Err = InvalidExpiry;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The length excludes what chrono would accept: `2027-6-3`, years of five digits.
        let date =
            (text.len() == "YYYY-MM-DD".len()).then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok());
        match date.flatten() {
            Some(date) => Ok(Self::Date(date)),
            None => DateTime::parse_from_rfc3339(text)
                .map(|instant| Self::Instant(instant.to_utc()))
                .map_err(|_| InvalidExpiry),
        }
    }
}

/// The text is neither a date nor an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a date (2027-06-30) or an RFC 3339 instant (2027-06-30T21:59:59Z)")]
pub struct InvalidExpiry;

/// The text is not one of the contract's names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown name `{0}`")]
pub struct UnknownName(String);

impl UnknownName {
    pub(super) fn new(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// The type of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubscriptionType {
    Single,
    MultiPass,
    Clipcard,
    Monthly,
}

impl SubscriptionType {
    /// The name in the contract and the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::MultiPass => "multi-pass",
            Self::Clipcard => "clipcard",
            Self::Monthly => "monthly",
        }
    }
}

impl FromStr for SubscriptionType {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(match name {
            "single" => Self::Single,
            "multi-pass" => Self::MultiPass,
            "clipcard" => Self::Clipcard,
            "monthly" => Self::Monthly,
            other => return Err(UnknownName(other.to_owned())),
        })
    }
}

/// The layer that found a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CreatedVia {
    Webhook,
    Status,
    Lookback,
    SelfService,
    Support,
}

impl CreatedVia {
    /// The name in the contract and the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Status => "status",
            Self::Lookback => "lookback",
            Self::SelfService => "self-service",
            Self::Support => "support",
        }
    }
}

impl FromStr for CreatedVia {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(match name {
            "webhook" => Self::Webhook,
            "status" => Self::Status,
            "lookback" => Self::Lookback,
            "self-service" => Self::SelfService,
            "support" => Self::Support,
            other => return Err(UnknownName(other.to_owned())),
        })
    }
}

/// A customer's pass. Serialised as `subscriptions list --json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// `subscription-cs_…`: [`Subscription::id_of`] makes it from the session id, so a second create cannot
    /// create a second record.
    pub id: String,
    /// The user's id.
    pub user: String,
    /// The tenant's id.
    pub tenant: String,
    #[serde(rename = "type")]
    pub kind: SubscriptionType,
    pub start_date: DateTime<Utc>,
    pub end_date: DateTime<Utc>,
    /// Missing: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_clips: Option<i64>,
    pub pass_id: String,
    pub pass_name: String,
    pub purchase_price: Money,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_price: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_price: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discount_amount: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promo_code: Option<String>,
    pub currency: Currency,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stripe_payment_id: Option<String>,
    pub stripe_session_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stripe_customer_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_event_id: Option<String>,
    pub is_active: bool,
    pub is_upgrade: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgraded_from_subscription_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade_cost: Option<Money>,
    pub created_via: CreatedVia,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Subscription {
    /// The id of a session's subscription.
    #[must_use]
    pub fn id_of(session: &str) -> String {
        format!("subscription-{session}")
    }
}

/// A subscription to create. The store sets `user` from `buyer`.
///
/// If `subscription.is_upgrade`, the same transaction deactivates `upgraded_from_subscription_id`.
#[derive(Debug, Clone)]
pub struct NewSubscription {
    pub subscription: Subscription,
    pub buyer: Buyer,
}

/// The buyer, as far as the purchase names them. See "Fulfilment" rule 5.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Buyer {
    /// The user id, from the metadata's `userId` or else the `client_reference_id`. Never a guest's.
    pub user_id: Option<String>,
    /// Normalized by [`crate::email::normalize`], never empty.
    pub email: Option<String>,
    pub name: Option<String>,
}

impl fmt::Debug for Buyer {
    /// Without email and name, since this reaches logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buyer")
            .field("user_id", &self.user_id)
            .finish_non_exhaustive()
    }
}

/// The result for a [`NewSubscription`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// A new record.
    New { id: String, user: String },
    /// A record of this session or payment exists; nothing was written.
    Existing {
        id: String,
        user: String,
        tenant: String,
    },
    /// The upgrade is impossible; nothing was written.
    Refused(UpgradeRefusal),
}

/// Why an upgrade was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeRefusal {
    #[error("the subscription to upgrade does not exist (yet)")]
    NotFound,
    #[error("the subscription to upgrade belongs to another tenant")]
    OtherTenant,
    #[error("the subscription to upgrade belongs to another user")]
    OtherUser,
    #[error("the subscription was already upgraded by another purchase")]
    AlreadyUpgraded,
}

/// An operator's action, as in the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    pub id: String,
    /// Who: `user@host` of a command, or an admin's name.
    pub actor: String,
    /// Such as `jobs.retry`.
    pub action: String,
    /// JSON: the ids, filter or queue concerned.
    pub target: String,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    pub began_at: DateTime<Utc>,
    /// `None`, as `outcome`: the action is running or was interrupted.
    pub ended_at: Option<DateTime<Utc>>,
    pub outcome: Option<String>,
}

/// A verified event, as in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Stripe's `evt_…`.
    pub id: String,
    pub kind: String,
    pub account: Option<String>,
    pub livemode: bool,
    /// The slug of the path by which it arrived.
    pub tenant_slug: Option<String>,
    /// The id of `data.object`.
    pub object_id: Option<String>,
    /// `enqueued` or `ignored`, and why.
    pub outcome: String,
    /// When Stripe created it.
    pub created_at: DateTime<Utc>,
    pub received_at: DateTime<Utc>,
    /// The raw body, read by [`crate::event_log::body`]. `None` after its retention.
    pub body: Option<Vec<u8>>,
}

/// A filter for subscriptions. All given fields must match.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionFilter {
    pub tenant_slug: Option<String>,
    pub user: Option<String>,
    /// Compared in lower case.
    pub email: Option<String>,
    pub session: Option<String>,
    /// Only those after this one: its creation time and id.
    pub after: Option<(DateTime<Utc>, String)>,
}
