//! The tenants, kept at hand for who asks by slug.

use std::sync::Arc;

use crate::clock::Clock;
use crate::store::{KnownTenant, Store, StoreError, Tenant, UnmatchedPolicy};

use super::assess::{self, Due};
use super::cache::{Cache, Snapshot};
use super::error::Reason;
use super::plan::Rules;
use super::purchase::Purchase;

/// Knows the tenants by their slugs, without a read of the store for each question. A tenant that was imported a moment
/// ago is found.
#[derive(Debug)]
pub struct Tenants(Cache);

/// A tenant, as of an edition of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub tenant: KnownTenant,
    /// Another one when any tenant or pass has changed.
    pub edition: u64,
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
        let place = self.place(slug).await?;
        Ok(place.and_then(|(snapshot, at)| snapshot.copy.directory().get(at).cloned()))
    }

    /// The tenant with this slug, as the copy at hand knows it.
    ///
    /// # Errors
    /// [`StoreError`], where the store does not answer and no copy is at hand.
    pub async fn at_hand(&self, slug: &str) -> Result<Option<Found>, StoreError> {
        let snapshot = self.0.at_hand().await.map_err(away)?;
        Ok(find(&snapshot, slug))
    }

    /// The tenant with this slug, as the store knows it now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn anew(&self, slug: &str) -> Result<Option<Found>, StoreError> {
        let snapshot = self.0.after(self.0.moment()).await.map_err(away)?;
        Ok(find(&snapshot, slug))
    }

    /// What a purchase ought to become.
    ///
    /// # Errors
    /// [`StoreError`], where the store does not answer and what the purchase asks for is not at hand.
    pub async fn due(&self, purchase: &Purchase, unmatched: UnmatchedPolicy) -> Result<Due, StoreError> {
        let away = |reason: Reason| StoreError::Transient(reason.to_string());
        let snapshot = self.0.at_hand().await.map_err(away)?;
        let catalogue = snapshot.copy.of(purchase).await.map_err(away)?;
        let rules = Rules {
            unmatched,
            ..Rules::default()
        };
        let now = purchase.created.unwrap_or_default();
        Ok(assess::due(purchase, &catalogue, rules, now))
    }

    /// The tenant with this slug, with its name, its colour and its passes.
    ///
    /// # Errors
    /// As [`Self::by_slug`].
    pub async fn whole(&self, slug: &str) -> Result<Option<Arc<Tenant>>, StoreError> {
        let Some((snapshot, at)) = self.place(slug).await? else {
            return Ok(None);
        };
        let found = snapshot.copy.shelf(at).await.map_err(away)?;
        Ok(found.map(|found| Arc::clone(&found.tenant)))
    }

    /// The tenant, and the copy that knows it: the one at hand, or else one that was read just now.
    async fn place(&self, slug: &str) -> Result<Option<(Arc<Snapshot>, usize)>, StoreError> {
        let moment = self.0.moment();
        let snapshot = self.0.at_hand().await.map_err(away)?;
        if let Some(at) = snapshot.copy.directory().of_slug(slug) {
            return Ok(Some((snapshot, at)));
        }
        if snapshot.is_after(moment) {
            return Ok(None);
        }
        let snapshot = self.0.after(moment).await.map_err(away)?;
        let at = snapshot.copy.directory().of_slug(slug);
        Ok(at.map(|at| (snapshot, at)))
    }
}

fn find(snapshot: &Snapshot, slug: &str) -> Option<Found> {
    let directory = snapshot.copy.directory();
    let tenant = directory.get(directory.of_slug(slug)?)?.clone();
    let edition = snapshot.edition();
    Some(Found { tenant, edition })
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn away(reason: Reason) -> StoreError {
    StoreError::Outage(reason.to_string())
}
