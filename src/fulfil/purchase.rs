//! A purchase: the few fields of a paid session that a job carries.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::job::job_id;
use crate::config::ClientReference;
use crate::guest;
use crate::store::CreatedVia;
use crate::stripe::{CheckoutSession, PaymentStatus, SessionMode};

/// A Checkout Session that is paid for, as a `fulfil` job carries it. Made by [`super::triage`].
///
/// Metadata is kept as it was given (trimmed; empty and `undefined` are absent), under the first of its names that is
/// there; [`super::Fulfiller`] reads it against the catalogue. Serialised under short names, Stripe's own prefixes where
/// there are some: it waits in Redis.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purchase {
    v: Version,
    /// `cs_…`; empty where the session's `id` could not be read.
    #[serde(rename = "cs")]
    pub session_id: String,
    /// The event that present; absent where the session was read from Stripe.
    #[serde(rename = "evt", skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// When the session was created, else the event.
    #[serde(
        rename = "at",
        default,
        with = "chrono::serde::ts_seconds_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub created: Option<DateTime<Utc>>,
    /// Absent where the event, the session and the session's id contradict each other.
    #[serde(rename = "live", skip_serializing_if = "Option::is_none")]
    pub livemode: Option<bool>,
    /// The connected account that it happened on; absent: the key's own.
    #[serde(rename = "acct", skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The tenant's slug in the path that it came in by.
    #[serde(rename = "path", skip_serializing_if = "Option::is_none")]
    pub path_tenant: Option<String>,
    /// Whose secret signed the event that came in by that path; absent without a path, and in jobs of older programs.
    #[serde(rename = "by", default, skip_serializing_if = "Option::is_none")]
    pub proved_by: Option<ProvedBy>,
    #[serde(rename = "pi", skip_serializing_if = "Option::is_none")]
    pub payment_intent: Option<String>,
    #[serde(rename = "cus", skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// Minor units of `currency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// The same before discounts and taxes, where it differs.
    #[serde(rename = "sub", skip_serializing_if = "Option::is_none")]
    pub subtotal: Option<i64>,
    /// A subscription of Stripe's of which nothing has been paid yet.
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
    /// The Stripe prices of its line items, where they were expanded.
    #[serde(default, rename = "prices", skip_serializing_if = "Vec::is_empty")]
    pub price_ids: Vec<String>,
    /// Left out of the payload for the layer that carries nearly all.
    #[serde(rename = "via", default = "by_webhook", skip_serializing_if = "is_by_webhook")]
    pub created_via: CreatedVia,

    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<PurchaseKind>,
    #[serde(rename = "pass", skip_serializing_if = "Option::is_none")]
    pub pass_id: Option<String>,
    #[serde(rename = "passName", skip_serializing_if = "Option::is_none")]
    pub pass_name: Option<String>,
    /// The name comes from `productName`, which other programs write, too.
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

    /// The session's fields that were there and could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Cow<'static, str>>,
}

/// What the metadata says is bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PurchaseKind {
    #[serde(rename = "pass")]
    Pass,
    #[serde(rename = "upgrade")]
    Upgrade,
}

/// Whose secret proved an event that came in by a tenant's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProvedBy {
    /// The tenant's own secret: it speaks for that tenant's purchases only.
    #[serde(rename = "tenant")]
    Tenant,
    /// The platform's secret, which tenants without secrets of their own use: it speaks for every tenant.
    #[serde(rename = "platform")]
    Platform,
}

/// Where a session was learned of.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin<'a> {
    pub event_id: Option<&'a str>,
    pub event_created: Option<DateTime<Utc>>,
    /// What the event says; absent where the session was read from Stripe.
    pub event_livemode: Option<bool>,
    pub account: Option<&'a str>,
    pub path_tenant: Option<&'a str>,
}

impl Purchase {
    /// The dedupe key of its job, see [`job_id`]: held while one is waiting, scheduled or running.
    #[must_use]
    pub fn job_key(&self) -> String {
        let is_own = self.proved_by == Some(ProvedBy::Tenant);
        job_id(self.name(), self.path_tenant.as_deref().filter(|_| is_own))
    }

    /// The session's id, else the event's.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.session_id.as_str() {
            "" => self.event_id.as_deref().unwrap_or("unknown"),
            id => id,
        }
    }

    /// The purchase without what is set to be ignored.
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

    /// The user whom it names: its `userId`, else its `client_reference_id`. Neither can name a guest.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        let named = [&self.user_id, &self.client_reference_id];
        let mut named = named.into_iter().flatten().map(String::as_str);
        named.find(|id| !guest::is_guest(id))
    }

    /// Whose purchase it is, as far as can be present without the catalogue: what the queue is fair to.
    #[must_use]
    pub fn group(&self) -> &str {
        let named = [&self.path_tenant, &self.account, &self.tenant];
        named.into_iter().flatten().next().map_or("", String::as_str)
    }

    /// Whether it carries one of the keys that only Surepass' own checkouts write.
    #[must_use]
    pub fn has_our_keys(&self) -> bool {
        self.kind.is_some() || self.pass_id.is_some() || self.pass_name.is_some() && !self.is_named_by_product
    }

    pub(super) fn new(
        session: CheckoutSession,
        kind: Option<PurchaseKind>,
        origin: &Origin<'_>,
        created_via: CreatedVia,
    ) -> Self {
        let livemode = livemode(&session, origin);
        let is_trial = session.mode == Some(SessionMode::Subscription)
            && session.payment_status == Some(PaymentStatus::NoPaymentRequired);
        let mut entries = session.metadata;
        let mut metadata = |names: &[&str]| {
            let mut values = names.iter().filter_map(|name| entries.remove(*name));
            values.find_map(told_owned)
        };
        let pass_name = metadata(&["passName", "pass_name"]);
        let product_name = metadata(&["productName"]);
        Self {
            v: Version,
            session_id: session.id.unwrap_or_default(),
            event_id: origin.event_id.map(str::to_owned),
            created: session.created.or(origin.event_created),
            livemode,
            account: origin.account.map(str::to_owned),
            path_tenant: origin.path_tenant.map(str::to_owned),
            // Who says otherwise must know it: a tenant's secret proves less.
            proved_by: origin.path_tenant.map(|_| ProvedBy::Tenant),
            payment_intent: session.payment_intent,
            customer: session.customer,
            amount: session.amount_total,
            subtotal: session
                .amount_subtotal
                .filter(|amount| Some(*amount) != session.amount_total),
            is_trial,
            currency: session.currency,
            client_reference_id: session.client_reference_id.and_then(told_owned),
            email: session.email,
            name: session.name,
            price_ids: session.price_ids,
            created_via,
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
            unreadable: session.unreadable.into_iter().map(Cow::Borrowed).collect(),
        }
    }
}

impl fmt::Debug for Purchase {
    /// Without what identifies who the buyer is: this reaches logs.
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

/// What a text says, if anything: template engines write `undefined` and `null` for what is not there, and everyone
/// whose user is `undefined` would become one user.
pub(super) fn stated(text: &str) -> Option<&str> {
    let text = text.trim();
    (!matches!(text, "" | "undefined" | "null")).then_some(text)
}

/// The same of a text that need not be copied where nothing is to be trimmed.
fn told_owned(text: String) -> Option<String> {
    match stated(&text)? {
        all if all.len() == text.len() => Some(text),
        part => Some(part.to_owned()),
    }
}

/// `None` where what states the mode disagrees.
fn livemode(session: &CheckoutSession, origin: &Origin<'_>) -> Option<bool> {
    let from_id = session.id.as_deref().and_then(|id| {
        let live = id.starts_with("cs_live_");
        (live || id.starts_with("cs_test_")).then_some(live)
    });
    let mut stated = [origin.event_livemode, session.livemode, from_id]
        .into_iter()
        .flatten();
    let first = stated.next()?;
    stated.all(|live| live == first).then_some(first)
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

/// The payload's version: a worker refuses one that it does not know rather than misread it.
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
