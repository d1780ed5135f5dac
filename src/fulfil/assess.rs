//! What a purchase ought to become, told without making it: reconciliation compares that with what is there.

use chrono::{DateTime, Utc};

use crate::store::{Store, StoreError, Subscription, Tenant};

use super::catalogue::Catalogue;
use super::error::FulfilError;
use super::plan::{self, Plan};
use super::purchase::Purchase;

/// Judges purchases by the catalogue of one moment, as [`super::Fulfiller`] would.
#[derive(Debug)]
pub struct Assessor {
    catalogue: Catalogue,
    livemode: Option<bool>,
}

/// What a purchase ought to become.
#[derive(Debug, Clone, PartialEq)]
pub enum Due {
    /// This, for a user that only the store can tell: `user` is empty.
    Subscription(Box<Subscription>),
    /// Something that fulfilment refuses to guess: a person has to act.
    Refused(FulfilError),
    /// Nothing: it is none of ours, and why, in a few stable words.
    Nothing(&'static str),
}

impl Assessor {
    /// Over the catalogue as it stands; `livemode` as for [`super::Fulfiller::new`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read(store: &dyn Store, livemode: Option<bool>) -> Result<Self, StoreError> {
        Ok(Self {
            catalogue: Catalogue::new(store.tenants().await?),
            livemode,
        })
    }

    /// What a purchase ought to become, if it were made at `now`.
    #[must_use]
    pub fn due(&self, purchase: &Purchase, now: DateTime<Utc>) -> Due {
        let plan = match plan::screen(purchase) {
            Ok(Some(plan)) => Ok(plan),
            Ok(None) => plan::draw_up(purchase, &self.catalogue, self.livemode, now),
            Err(reason) => Err(reason),
        };
        match plan {
            Ok(Plan::Create(new)) => Due::Subscription(Box::new(new.subscription)),
            Ok(Plan::Ignore(why)) => Due::Nothing(why),
            Err(reason) => Due::Refused(FulfilError::new(&purchase.session_id, reason)),
        }
    }

    /// The tenant that a purchase belongs to, as far as the purchase tells.
    #[must_use]
    pub fn tenant(&self, purchase: &Purchase) -> Option<&Tenant> {
        self.catalogue
            .tenant(purchase)
            .ok()
            .map(|shelf| shelf.tenant.as_ref())
    }

    /// All tenants, by slug.
    pub fn tenants(&self) -> impl Iterator<Item = &Tenant> {
        self.catalogue.tenants()
    }
}
