//! What a purchase ought to become, told without making it: reconciliation compares that with what is there.

use chrono::{DateTime, Utc};

use crate::store::{KnownTenant, Store, StoreError, Subscription, Tenant, UnmatchedPolicy};

use super::catalogue::Catalogue;
use super::error::FulfilError;
use super::mode::Mode;
use super::plan::{self, Plan, Rules};
use super::purchase::Purchase;

/// Judges purchases by the catalogue of one moment, as [`super::Fulfiller`] would.
#[derive(Debug)]
pub struct Assessor {
    catalogue: Catalogue,
    rules: Rules,
}

/// What a purchase ought to become.
#[derive(Debug, Clone, PartialEq)]
pub enum Due {
    /// This, for a user that only the store can tell: `user` is empty.
    Subscription(Box<Subscription>),
    /// Something that fulfilment refuses to guess: a person has to act.
    Refused(FulfilError),
    /// No pass: it is an unmatched payment, for this reason.
    Unmatched(&'static str),
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
            catalogue: Catalogue::whole(store.tenants().await?),
            rules: Rules {
                mode: Mode::read(store, livemode).await?,
                ..Rules::default()
            },
        })
    }

    /// The same with `[fulfil] unmatched`, for sessions of which no tenant is known.
    #[must_use]
    pub fn with_policy(mut self, unmatched: UnmatchedPolicy) -> Self {
        self.rules.unmatched = unmatched;
        self
    }

    /// What a purchase ought to become, if it were made at `now`.
    #[must_use]
    pub fn due(&self, purchase: &Purchase, now: DateTime<Utc>) -> Due {
        due(purchase, &self.catalogue, self.rules, now)
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
    #[must_use]
    pub fn tenants(&self) -> &[KnownTenant] {
        self.catalogue.tenants()
    }
}

/// What a purchase ought to become by this catalogue.
pub(super) fn due(purchase: &Purchase, catalogue: &Catalogue, rules: Rules, now: DateTime<Utc>) -> Due {
    let plan = plan::screen(purchase).and_then(|()| plan::draw_up(purchase, catalogue, rules, now));
    match plan {
        Ok(Plan::Create { new, .. }) => Due::Subscription(Box::new(new.subscription)),
        Ok(Plan::Unmatched(one)) => Due::Unmatched(one.reason),
        Ok(Plan::Ignore(why)) => Due::Nothing(why),
        Err(reason) => Due::Refused(FulfilError::new(&purchase.session_id, reason)),
    }
}
