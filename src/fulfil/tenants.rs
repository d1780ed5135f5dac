//! The tenants, kept at hand for who asks by slug.

use std::sync::Arc;

use crate::clock::Clock;
use crate::store::{Store, StoreError, Tenant, UnmatchedPolicy};

use super::assess::{self, Due};
use super::cache::{Cache, Snapshot};
use super::plan::Rules;
use super::purchase::Purchase;

/// Knows the tenants by their slugs, without a read of the store for each question. A tenant that was imported a moment
/// ago is found.
#[derive(Debug)]
pub struct Tenants(Cache);

/// What tells a tenant from the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownTenant {
    pub id: String,
    pub slug: String,
    /// `acct_…`; `None`: it sells on the key's own account.
    pub stripe_account: Option<String>,
}

impl Tenants {
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self(Cache::new(store, clock))
    }

    /// The tenant with this slug.
    ///
    /// # Errors
    /// [`StoreError`], where the store does not answer and the tenant is not at hand.
    pub async fn by_slug(&self, slug: &str) -> Result<Option<KnownTenant>, StoreError> {
        Ok(self.whole(slug).await?.as_deref().map(KnownTenant::of))
    }

    /// What a purchase ought to become.
    ///
    /// # Errors
    /// [`StoreError`], where the store does not answer and no catalogue is at hand.
    pub async fn due(&self, purchase: &Purchase, unmatched: UnmatchedPolicy) -> Result<Due, StoreError> {
        let away = |reason: super::error::Reason| StoreError::Transient(reason.to_string());
        let snapshot = self.0.at_hand().await.map_err(away)?;
        let rules = Rules {
            unmatched,
            ..Rules::default()
        };
        let now = purchase.created.unwrap_or_default();
        Ok(assess::due(purchase, &snapshot.catalogue, rules, now))
    }

    /// The tenant with this slug, with its name, its colour and its passes.
    ///
    /// # Errors
    /// As [`Self::by_slug`].
    pub async fn whole(&self, slug: &str) -> Result<Option<Arc<Tenant>>, StoreError> {
        let away = |reason: super::error::Reason| StoreError::Outage(reason.to_string());
        let moment = self.0.moment();
        let snapshot = self.0.at_hand().await.map_err(away)?;
        if let Some(tenant) = find(&snapshot, slug) {
            return Ok(Some(tenant));
        }
        if snapshot.is_after(moment) {
            return Ok(None);
        }
        let snapshot = self.0.after(moment).await.map_err(away)?;
        Ok(find(&snapshot, slug))
    }
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

fn find(snapshot: &Snapshot, slug: &str) -> Option<Arc<Tenant>> {
    Some(snapshot.catalogue.of_slug(slug)?.tenant.clone())
}
