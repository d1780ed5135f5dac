//! Stores paid purchases without a pass as unmatched payments ("cases"), before their job is acknowledged.

use std::collections::BTreeMap;

use crate::store::{Evidence, NewUnmatched, RefundedPayments, StoreError, Unmatched, UnmatchedPayment};
use crate::stripe::CheckoutSession;

use super::error::Reason;
use super::{Fulfiller, Purchase, PurchaseKind};

/// The reason of a case whose line items could not be read.
pub(crate) const ITEMS_UNREAD: &str = "items_unread";

/// Why a case is opened.
#[derive(Debug)]
pub(super) struct Cause<'a> {
    pub(super) reason: &'a str,
    pub(super) detail: &'a str,
    /// The tenant's id, if known.
    pub(super) tenant: Option<&'a str>,
    pub(super) is_paid: bool,
}

impl Fulfiller {
    fn cases(&self) -> Unmatched<'_> {
        self.store.unmatched()
    }

    /// Opens the case of a purchase, or updates the open one. `None`: there is none to open.
    pub(super) async fn open_case(
        &self,
        purchase: &Purchase,
        session: Option<&CheckoutSession>,
        cause: Cause<'_>,
    ) -> Result<Option<UnmatchedPayment>, StoreError> {
        let tenant = match cause.tenant {
            Some(tenant) => Some(tenant.to_owned()),
            None => self.cached_tenant(purchase).await,
        };
        let now = self.clock.now();
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or_default();
        let id = ulid::Ulid::from_parts(millis, (self.random)().into());
        let new = NewUnmatched {
            id: format!("case_{id}"),
            random: (self.random)(),
            account: purchase.account.clone(),
            session: purchase.name().to_owned(),
            payment: purchase.payment_intent.clone(),
            tenant,
            path_tenant: purchase.path_tenant.clone(),
            reason: cause.reason.to_owned(),
            detail: cause.detail.to_owned(),
            evidence: evidence(purchase, session),
            purchase: serde_json::to_string(purchase).ok(),
            is_paid: cause.is_paid,
            at: now,
        };
        self.cases().open_unmatched(&new).await
    }

    /// Opens the case of a dead letter whose handler could not: poison, a panic, a time-out, or too many
    /// attempts.
    ///
    /// # Errors
    /// [`StoreError`]. Safe to repeat.
    pub async fn open_case_of_dead_letter(
        &self,
        purchase: &Purchase,
        reason: &str,
        detail: &str,
    ) -> Result<Option<UnmatchedPayment>, StoreError> {
        let cause = Cause {
            reason,
            detail,
            tenant: None,
            is_paid: !purchase.is_trial,
        };
        self.open_case(purchase, None, cause).await
    }

    /// Closes the cases of a fully refunded purchase.
    pub(super) async fn close_refunded(&self, purchase: &Purchase) -> Result<u64, StoreError> {
        let refunded = RefundedPayments {
            account: purchase.account.as_deref(),
            path_tenant: None,
            payments: &[],
            sessions: &[&purchase.session_id],
            at: self.clock.now(),
        };
        self.cases().close_refunded(&refunded).await
    }

    async fn cached_tenant(&self, purchase: &Purchase) -> Option<String> {
        let snapshot = self.catalog.cached().await.ok()?;
        let catalog = snapshot.catalog.of(purchase).await.ok()?;
        let tenant = &catalog.tenant(purchase).ok()?.tenant;
        (tenant.stripe_account == purchase.account).then(|| tenant.id.clone())
    }
}

impl Purchase {
    /// The payload of the case's job. `None`: missing or unreadable.
    #[must_use]
    pub fn of_case(case: &UnmatchedPayment) -> Option<Self> {
        serde_json::from_str(case.purchase.as_deref()?).ok()
    }
}

impl Reason {
    /// Whether real money was paid. A test purchase costs nothing.
    pub(super) fn is_paid(&self, purchase: &Purchase) -> bool {
        !(matches!(self, Self::LivemodeMismatch { .. }) && purchase.livemode == Some(false))
    }
}

fn evidence(purchase: &Purchase, session: Option<&CheckoutSession>) -> Evidence {
    let metadata = session.map_or_else(|| metadata(purchase), |session| session.metadata.clone());
    Evidence {
        metadata,
        line_items: session.map_or_else(|| purchase.price_ids.clone(), |one| one.price_ids.clone()),
        amount: purchase.amount,
        currency: purchase.currency.clone(),
        email: purchase.email.clone(),
        name: purchase.name.clone(),
        created: purchase.created,
    }
}

/// The metadata that a job contains.
fn metadata(purchase: &Purchase) -> BTreeMap<String, String> {
    let kind = purchase.kind.map(|kind| match kind {
        PurchaseKind::Pass => "pass_purchase".to_owned(),
        PurchaseKind::Upgrade => "pass_upgrade".to_owned(),
    });
    let name = if purchase.is_named_by_product {
        "productName"
    } else {
        "passName"
    };
    [
        ("type", &kind),
        ("passId", &purchase.pass_id),
        (name, &purchase.pass_name),
        ("tenantId", &purchase.tenant),
        ("userId", &purchase.user_id),
        ("client_reference_id", &purchase.client_reference_id),
        ("upgradeFromSubscriptionId", &purchase.upgrade_from),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)))
    .collect()
}
