//! The cached tenants, by slug.

use std::sync::Arc;

use crate::clock::Clock;
use crate::store::{KnownTenant, Store, StoreError, Tenant, UnmatchedPolicy};

use super::catalog_cache::{CatalogCache, Snapshot};
use super::decide::Rules;
use super::error::Reason;
use super::expected::{self, ExpectedSubscription};
use super::purchase::Purchase;

/// Finds tenants by slug without a query for each call. Also finds a tenant that was imported a moment ago.
#[derive(Debug)]
pub struct Tenants(CatalogCache);

/// A tenant and the version of its catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantVersion {
    pub tenant: KnownTenant,
    /// Changes with every tenant or pass.
    pub edition: u64,
}

impl Tenants {
    #[must_use]
    pub fn new(store: Arc<Store>, clock: Clock) -> Self {
        Self(CatalogCache::new(store, clock))
    }

    /// The tenant with this slug.
    ///
    /// # Errors
    /// [`StoreError`] if the store is unavailable and the tenant is not cached.
    pub async fn by_slug(&self, slug: &str) -> Result<Option<KnownTenant>, StoreError> {
        let place = self.place(slug).await?;
        Ok(place.and_then(|(snapshot, at)| snapshot.catalog.directory().get(at).cloned()))
    }

    /// The cached tenant with this slug.
    ///
    /// # Errors
    /// [`StoreError`] if the store is unavailable and nothing is cached.
    pub async fn cached(&self, slug: &str) -> Result<Option<TenantVersion>, StoreError> {
        let snapshot = self.0.cached().await.map_err(away)?;
        Ok(find(&snapshot, slug))
    }

    /// The tenant with this slug, read from the store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fresh(&self, slug: &str) -> Result<Option<TenantVersion>, StoreError> {
        let snapshot = self.0.after(self.0.moment()).await.map_err(away)?;
        Ok(find(&snapshot, slug))
    }

    /// What a purchase should become.
    ///
    /// # Errors
    /// [`StoreError`] if the store is unavailable and the needed data is not cached.
    pub async fn expected(
        &self,
        purchase: &Purchase,
        unmatched: UnmatchedPolicy,
    ) -> Result<ExpectedSubscription, StoreError> {
        let away = |reason: Reason| StoreError::Transient(reason.to_string());
        let snapshot = self.0.cached().await.map_err(away)?;
        let catalog = snapshot.catalog.of(purchase).await.map_err(away)?;
        let rules = Rules {
            unmatched,
            ..Rules::default()
        };
        let now = purchase.created.unwrap_or_default();
        Ok(expected::expected(purchase, &catalog, rules, now))
    }

    /// The tenant with this slug, with its passes.
    ///
    /// # Errors
    /// As [`Self::by_slug`].
    pub async fn whole(&self, slug: &str) -> Result<Option<Arc<Tenant>>, StoreError> {
        let Some((snapshot, at)) = self.place(slug).await? else {
            return Ok(None);
        };
        let found = snapshot.catalog.passes_of(at).await.map_err(away)?;
        Ok(found.map(|found| Arc::clone(&found.tenant)))
    }

    /// The tenant's position, and the cached or newly read catalog that contains it.
    async fn place(&self, slug: &str) -> Result<Option<(Arc<Snapshot>, usize)>, StoreError> {
        let moment = self.0.moment();
        let snapshot = self.0.cached().await.map_err(away)?;
        if let Some(at) = snapshot.catalog.directory().of_slug(slug) {
            return Ok(Some((snapshot, at)));
        }
        if snapshot.is_after(moment) {
            return Ok(None);
        }
        let snapshot = self.0.after(moment).await.map_err(away)?;
        let at = snapshot.catalog.directory().of_slug(slug);
        Ok(at.map(|at| (snapshot, at)))
    }
}

fn find(snapshot: &Snapshot, slug: &str) -> Option<TenantVersion> {
    let directory = snapshot.catalog.directory();
    let tenant = directory.get(directory.of_slug(slug)?)?.clone();
    let edition = snapshot.edition();
    Some(TenantVersion { tenant, edition })
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn away(reason: Reason) -> StoreError {
    StoreError::Outage(reason.to_string())
}
