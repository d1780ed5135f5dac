//! A purchase: the few fields of a paid session that a job carries.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::job::job_id;
use crate::config::ClientReference;
use crate::guest;
use crate::store::CreatedVia;
use crate::stripe::{CheckoutSession, Event, PaymentStatus, SessionMode};

/// A paid Checkout Session, as a `fulfil` job carries it.
///
/// Metadata keeps its text (trimmed; empty and `undefined` count as missing), under the first of its names
/// that exists. [`super::Fulfiller`] compares it with the catalog. The serialised names are short, since
/// many purchases wait in Redis.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purchase {
    v: Version,
    /// `cs_…`; empty if the session's `id` cannot be read.
    #[serde(rename = "cs")]
    pub session_id: String,
    /// The event that reported it; missing if the session was read from Stripe.
    #[serde(rename = "evt", skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// When the session, or else the event, was created.
    #[serde(
        rename = "at",
        default,
        with = "chrono::serde::ts_seconds_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub created: Option<DateTime<Utc>>,
    /// Missing if the event, the session and the session's id disagree.
    #[serde(rename = "live", skip_serializing_if = "Option::is_none")]
    pub livemode: Option<bool>,
    /// The connected account; missing: the key's own.
    #[serde(rename = "acct", skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The tenant's slug in the path by which it arrived.
    #[serde(rename = "path", skip_serializing_if = "Option::is_none")]
    pub path_tenant: Option<String>,
    /// Whose secret signed the event of that path. Missing without a path, and in jobs of older versions.
    #[serde(rename = "by", default, skip_serializing_if = "Option::is_none")]
    pub proved_by: Option<ProvedBy>,
    #[serde(rename = "pi", skip_serializing_if = "Option::is_none")]
    pub payment_intent: Option<String>,
    #[serde(rename = "cus", skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// Minor units of `currency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// The amount before discounts and taxes, if different.
    #[serde(rename = "sub", skip_serializing_if = "Option::is_none")]
    pub subtotal: Option<i64>,
    /// A Stripe subscription for which nothing was paid yet.
    #[serde(rename = "trial", default, skip_serializing_if = "is_false")]
    pub is_trial: bool,
    #[serde(rename = "cur", skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub client_reference_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The Stripe prices of the line items, if expanded.
    #[serde(default, rename = "prices", skip_serializing_if = "Vec::is_empty")]
    pub price_ids: Vec<String>,
    /// Omitted for the layer that carries nearly all.
    #[serde(rename = "via", default = "by_webhook", skip_serializing_if = "is_by_webhook")]
    pub created_via: CreatedVia,

    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<PurchaseKind>,
    #[serde(rename = "pass", skip_serializing_if = "Option::is_none")]
    pub pass_id: Option<String>,
    #[serde(rename = "passName", skip_serializing_if = "Option::is_none")]
    pub pass_name: Option<String>,
    /// The name is from `productName`, which other programs also write.
    #[serde(rename = "product", default, skip_serializing_if = "is_false")]
    pub is_named_by_product: bool,
    /// A tenant's id or slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(rename = "user", skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    #[serde(rename = "promo", skip_serializing_if = "Option::is_none")]
    pub promo_code: Option<String>,
    /// Major units, as are all prices in metadata.
    #[serde(rename = "orig", skip_serializing_if = "Option::is_none")]
    pub original_price: Option<String>,
    #[serde(rename = "final", skip_serializing_if = "Option::is_none")]
    pub final_price: Option<String>,
    #[serde(rename = "disc", skip_serializing_if = "Option::is_none")]
    pub discount_amount: Option<String>,
    #[serde(rename = "from", skip_serializing_if = "Option::is_none")]
    pub upgrade_from: Option<String>,
    #[serde(rename = "oldPrice", skip_serializing_if = "Option::is_none")]
    pub original_pass_price: Option<String>,
    #[serde(rename = "newPrice", skip_serializing_if = "Option::is_none")]
    pub new_pass_price: Option<String>,
    #[serde(rename = "cost", skip_serializing_if = "Option::is_none")]
    pub upgrade_cost: Option<String>,

    /// Fields of the session that exist but cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Cow<'static, str>>,
}

/// What was bought, by the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PurchaseKind {
    #[serde(rename = "pass")]
    Pass,
    #[serde(rename = "upgrade")]
    Upgrade,
}

/// Whose secret proved an event that arrived by a tenant's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProvedBy {
    /// The tenant's own secret, which proves that tenant's purchases only.
    #[serde(rename = "tenant")]
    Tenant,
    /// The platform's secret, which tenants without a secret of their own use. It proves purchases of every
    /// tenant.
    #[serde(rename = "platform")]
    Platform,
}

/// The tenant's path by which an event arrived.
#[derive(Debug, Clone, Copy)]
pub struct TenantPath<'a> {
    pub slug: &'a str,
    pub proved_by: ProvedBy,
}

/// Where a session was read: in an event, or from Stripe's API.
#[derive(Debug, Clone, Copy)]
pub struct SessionSource<'a> {
    event: Option<&'a Event>,
    account: Option<&'a str>,
    path: Option<TenantPath<'a>>,
    via: CreatedVia,
}

impl<'a> SessionSource<'a> {
    /// An event, and the tenant's path by which it arrived, if any.
    #[must_use]
    pub fn event(event: &'a Event, path: Option<TenantPath<'a>>, via: CreatedVia) -> Self {
        Self {
            event: Some(event),
            account: event.account.as_deref(),
            path,
            via,
        }
    }

    /// Stripe's API, asked about this account (`None`: the key's own).
    #[must_use]
    pub fn api(account: Option<&'a str>, via: CreatedVia) -> Self {
        Self {
            event: None,
            account,
            path: None,
            via,
        }
    }
}

impl Purchase {
    /// The dedupe key of its job, see [`job_id`]. Taken while the job is waiting, scheduled or running.
    #[must_use]
    pub fn job_key(&self) -> String {
        let is_own = self.proved_by == Some(ProvedBy::Tenant);
        job_id(self.name(), self.path_tenant.as_deref().filter(|_| is_own))
    }

    /// The session's id, or else the event's.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.session_id.as_str() {
            "" => self.event_id.as_deref().unwrap_or("unknown"),
            id => id,
        }
    }

    /// The purchase without fields that a setting ignores.
    #[must_use]
    pub fn read_as(&self, reference: ClientReference) -> Cow<'_, Self> {
        if reference == ClientReference::User || self.client_reference_id.is_none() {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self {
            client_reference_id: None,
            ..self.clone()
        })
    }

    /// The user that it names: `userId`, or else `client_reference_id`. Never a guest.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        let named = [&self.user_id, &self.client_reference_id];
        let mut named = named.into_iter().flatten().map(String::as_str);
        named.find(|id| !guest::is_guest(id))
    }

    /// The fairness group in the queue: whose purchase it is, as far as known without the catalog.
    #[must_use]
    pub fn group(&self) -> &str {
        let named = [&self.path_tenant, &self.account, &self.tenant];
        named.into_iter().flatten().next().map_or("", String::as_str)
    }

    /// Whether it contains metadata that only our own checkouts write.
    #[must_use]
    pub fn has_our_keys(&self) -> bool {
        self.kind.is_some() || self.pass_id.is_some() || self.pass_name.is_some() && !self.is_named_by_product
    }

    /// Copies the needed fields of a session. [`crate::ingest`] decides which sessions are purchases.
    pub(crate) fn new(
        session: &CheckoutSession,
        kind: Option<PurchaseKind>,
        source: &SessionSource<'_>,
    ) -> Self {
        let is_trial = session.mode == Some(SessionMode::Subscription)
            && session.payment_status == Some(PaymentStatus::NoPaymentRequired);
        let metadata = |names: &[&str]| {
            let mut values = names.iter().filter_map(|name| session.metadata.get(*name));
            values.find_map(|value| stated(value)).map(str::to_owned)
        };
        let pass_name = metadata(&["passName", "pass_name"]);
        let product_name = metadata(&["productName"]);
        Self {
            v: Version,
            session_id: session.id.clone().unwrap_or_default(),
            event_id: source.event.map(|event| event.id.clone()),
            created: session.created.or(source.event.and_then(|event| event.created)),
            livemode: livemode(session, source.event),
            account: source.account.map(str::to_owned),
            path_tenant: source.path.map(|path| path.slug.to_owned()),
            proved_by: source.path.map(|path| path.proved_by),
            payment_intent: session.payment_intent.clone(),
            customer: session.customer.clone(),
            amount: session.amount_total,
            subtotal: session
                .amount_subtotal
                .filter(|amount| Some(*amount) != session.amount_total),
            is_trial,
            currency: session.currency.clone(),
            client_reference_id: session
                .client_reference_id
                .as_deref()
                .and_then(stated)
                .map(str::to_owned),
            email: session.email.clone(),
            name: session.name.clone(),
            price_ids: session.price_ids.clone(),
            created_via: source.via,
            kind,
            pass_id: metadata(&["passId", "pass_id"]),
            is_named_by_product: pass_name.is_none() && product_name.is_some(),
            pass_name: pass_name.or(product_name),
            tenant: metadata(&["tenantId", "tenant", "tenant_id"]),
            user_id: metadata(&["userId"]),
            promo_code: metadata(&["promoCode"]),
            original_price: metadata(&["originalPrice"]),
            final_price: metadata(&["finalPrice"]),
            discount_amount: metadata(&["discountAmount"]),
            upgrade_from: metadata(&["upgradeFromSubscriptionId"]),
            original_pass_price: metadata(&["originalPassPrice"]),
            new_pass_price: metadata(&["newPassPrice"]),
            upgrade_cost: metadata(&["upgradeCost"]),
            unreadable: session.unreadable.iter().copied().map(Cow::Borrowed).collect(),
        }
    }
}

impl fmt::Debug for Purchase {
    /// Without personal data, since this reaches logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purchase")
            .field("session_id", &self.session_id)
            .field("event_id", &self.event_id)
            .field("created", &self.created)
            .field("livemode", &self.livemode)
            .field("account", &self.account)
            .field("path_tenant", &self.path_tenant)
            .field("proved_by", &self.proved_by)
            .field("payment_intent", &self.payment_intent)
            .field("amount", &self.amount)
            .field("currency", &self.currency)
            .field("kind", &self.kind)
            .field("created_via", &self.created_via)
            .field("unreadable", &self.unreadable)
            .finish_non_exhaustive()
    }
}

/// The text, unless it is empty. Template engines write `undefined` and `null` for missing values, which must
/// not become one user.
pub(crate) fn stated(text: &str) -> Option<&str> {
    let text = text.trim();
    (!matches!(text, "" | "undefined" | "null")).then_some(text)
}

/// `None` if the sources disagree about the mode.
fn livemode(session: &CheckoutSession, event: Option<&Event>) -> Option<bool> {
    let from_id = session.id.as_deref().and_then(|id| {
        let live = id.starts_with("cs_live_");
        (live || id.starts_with("cs_test_")).then_some(live)
    });
    let mut given = [event.map(|event| event.livemode), session.livemode, from_id]
        .into_iter()
        .flatten();
    let first = given.next()?;
    given.all(|live| live == first).then_some(first)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

fn by_webhook() -> CreatedVia {
    CreatedVia::Webhook
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it a reference")]
fn is_by_webhook(created_via: &CreatedVia) -> bool {
    *created_via == CreatedVia::Webhook
}

/// The version of the payload. A worker rejects an unknown one rather than misread it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
struct Version;

pub(super) const VERSION: u32 = 1;

impl TryFrom<u32> for Version {
    type Error = String;

    fn try_from(version: u32) -> Result<Self, Self::Error> {
        if version == VERSION {
            Ok(Self)
        } else {
            Err(format!(
                "purchase payload version {version}: this program reads version {VERSION}"
            ))
        }
    }
}

impl From<Version> for u32 {
    fn from(_: Version) -> Self {
        VERSION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purchase_belongs_to_the_tenant_of_its_path_else_of_its_account_else_of_its_metadata() {
        let group = |fields: &str| {
            let purchase: Purchase =
                serde_json::from_str(&format!("{{\"v\":1,\"cs\":\"cs_1\"{fields}}}")).unwrap();
            purchase.group().to_owned()
        };
        let (path, account, tenant) = (
            r#","path":"studio""#,
            r#","acct":"acct_1""#,
            r#","tenant":"tenant-1""#,
        );
        assert_eq!(group(&[path, account, tenant].concat()), "studio");
        assert_eq!(group(&[account, tenant].concat()), "acct_1");
        assert_eq!(group(tenant), "tenant-1");
        assert_eq!(group(""), "");
    }
}
