//! Computes what a purchase should become, without creating it. Reconciliation compares that with the store.

use chrono::{DateTime, Utc};

use crate::store::{KnownTenant, Store, StoreError, Subscription, Tenant, UnmatchedPolicy};

use super::catalog::Catalog;
use super::decide::{self, Decision, Rules};
use super::error::FulfilError;
use super::mode::Mode;
use super::purchase::Purchase;

/// The rules and the catalog at one moment, as [`super::Fulfiller`] uses them.
#[derive(Debug)]
pub struct FulfilmentRules {
    catalog: Catalog,
    rules: Rules,
}

/// What a purchase should become.
#[derive(Debug, Clone, PartialEq)]
pub enum ExpectedSubscription {
    /// This subscription. `user` is empty, since only the store knows it.
    Subscription(Box<Subscription>),
    /// Fulfilment fails, and a person must act.
    Refused(FulfilError),
    /// An unmatched payment, for this reason.
    Unmatched(&'static str),
    /// Nothing: not a purchase of a pass, for this reason.
    NotAPass(&'static str),
}

impl FulfilmentRules {
    /// Reads the catalog. `livemode` as in [`super::Fulfiller::new`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read(store: &Store, livemode: Option<bool>) -> Result<Self, StoreError> {
        Ok(Self {
            catalog: Catalog::whole(store.catalog().all().await?),
            rules: Rules {
                mode: Mode::read(store, livemode).await?,
                ..Rules::default()
            },
        })
    }

    /// Sets `[fulfil] unmatched`, for sessions whose tenant is unknown.
    #[must_use]
    pub fn with_policy(mut self, unmatched: UnmatchedPolicy) -> Self {
        self.rules.unmatched = unmatched;
        self
    }

    /// What a purchase should become at `now`.
    #[must_use]
    pub fn expected(&self, purchase: &Purchase, now: DateTime<Utc>) -> ExpectedSubscription {
        expected(purchase, &self.catalog, self.rules, now)
    }

    /// The tenant of a purchase, as far as the purchase names it.
    #[must_use]
    pub fn tenant(&self, purchase: &Purchase) -> Option<&Tenant> {
        self.catalog
            .tenant(purchase)
            .ok()
            .map(|passes_of| passes_of.tenant.as_ref())
    }

    /// All tenants, by slug.
    #[must_use]
    pub fn tenants(&self) -> &[KnownTenant] {
        self.catalog.tenants()
    }
}

/// What a purchase should become by this catalog.
pub(super) fn expected(
    purchase: &Purchase,
    catalog: &Catalog,
    rules: Rules,
    now: DateTime<Utc>,
) -> ExpectedSubscription {
    let decision = decide::validate(purchase).and_then(|()| decide::decide(purchase, catalog, rules, now));
    match decision {
        Ok(Decision::Create { new, .. }) => ExpectedSubscription::Subscription(Box::new(new.subscription)),
        Ok(Decision::Unmatched(one)) => ExpectedSubscription::Unmatched(one.reason),
        Ok(Decision::Ignore(why)) => ExpectedSubscription::NotAPass(why),
        Err(reason) => ExpectedSubscription::Refused(FulfilError::new(&purchase.session_id, reason)),
    }
}
