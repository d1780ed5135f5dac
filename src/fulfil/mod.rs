//! Purchase to subscription: the one function that every layer ends in.
//!
//! [`triage`] tells which events are purchases; [`Fulfiller::fulfil`] turns a [`Purchase`] into its subscription, by the
//! rules under "Fulfilment" in the design. Fulfilled twice is one subscription.

mod assess;
mod cache;
mod catalogue;
mod error;
mod job;
mod plan;
mod purchase;
mod tenants;
mod triage;
mod validity;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::ClientReference;
use crate::store::{Created, CreatedVia, Store, Subscription, SubscriptionFilter};

pub use assess::{Assessor, Due};
use cache::Cache;
pub use error::FulfilError;
use error::{Reason, Shown};
pub(crate) use error::{TENANT_MISMATCH, UNRESOLVED_PASS, UNRESOLVED_TENANT};
pub use job::{is_session_id, job_id, job_ids, session_of};
use plan::Plan;
pub use purchase::{Origin, ProvedBy, Purchase, PurchaseKind};
pub use tenants::{KnownTenant, Tenants};
pub use triage::{THIN_EVENT, Triage, draft, triage, triage_session};

/// Turns purchases into subscriptions.
#[derive(Debug)]
pub struct Fulfiller {
    store: Arc<dyn Store>,
    livemode: Option<bool>,
    clock: Clock,
    catalogue: Cache,
    client_reference: ClientReference,
}

/// What became of a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fulfilled {
    Created {
        subscription_id: String,
        /// The tenant's id.
        tenant: String,
    },
    /// Its session, or its payment, had made one before.
    Existing { subscription_id: String },
    /// It is none of ours, and why, in a few stable words.
    Ignored(&'static str),
}

impl Fulfiller {
    /// `livemode` is the configured key's: true for live, false for test, `None` where no key tells.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, livemode: Option<bool>, clock: Clock) -> Self {
        let catalogue = Cache::new(Arc::clone(&store), clock.clone());
        Self {
            store,
            livemode,
            clock,
            catalogue,
            client_reference: ClientReference::default(),
        }
    }

    /// With what a `client_reference_id` is set to be.
    #[must_use]
    pub fn with_client_reference(self, client_reference: ClientReference) -> Self {
        Self {
            client_reference,
            ..self
        }
    }

    /// How long a purchase waits that met a store out of order.
    #[must_use]
    pub fn store_pause(&self) -> Duration {
        let outage = self.store.outage();
        outage.map_or(Duration::from_secs(1), |outage| outage.pause())
    }

    /// Makes the purchase's subscription, unless it is there.
    ///
    /// # Errors
    /// [`FulfilError`]: what stands in the way, and whether trying again can help.
    pub async fn fulfil(&self, purchase: &Purchase) -> Result<Fulfilled, FulfilError> {
        self.carry_out(&purchase.read_as(self.client_reference))
            .await
            .map_err(|reason| FulfilError::new(&purchase.session_id, reason))
    }

    /// Whether another job may have been made for the same purchase, by what another endpoint or the lookback knew of it. What
    /// came by the platform's own endpoint, as nearly all do, costs nothing more.
    #[must_use]
    pub fn may_have_others(purchase: &Purchase) -> bool {
        purchase.proved_by == Some(ProvedBy::Tenant) || purchase.created_via != CreatedVia::Webhook
    }

    /// The ids of these other jobs of a purchase that is fulfilled now. One that lies dead may run again, to find that out.
    ///
    /// # Errors
    /// The store's.
    pub async fn other_jobs(&self, purchase: &Purchase) -> Result<Vec<String>, FulfilError> {
        if purchase.proved_by == Some(ProvedBy::Tenant) {
            return Ok(vec![job_id(&purchase.session_id, None)]);
        }
        let slug = async {
            let Some(held) = self.held(purchase).await? else {
                return Ok(None);
            };
            let snapshot = self.catalogue.at_hand().await?;
            let owner = snapshot.catalogue.named(&held.tenant);
            Ok(owner.map(|owner| owner.tenant.slug.clone()))
        };
        let slug = slug.await;
        let slug = slug.map_err(|reason| FulfilError::new(&purchase.session_id, reason))?;
        Ok(slug
            .map(|slug| job_id(&purchase.session_id, Some(&slug)))
            .into_iter()
            .collect())
    }

    /// The subscription that the purchase's session has made.
    async fn held(&self, purchase: &Purchase) -> Result<Option<Subscription>, Reason> {
        let filter = SubscriptionFilter {
            session: Some(purchase.session_id.clone()),
            ..SubscriptionFilter::default()
        };
        let held = self.store.subscriptions(&filter, 1).await;
        Ok(held.map_err(|error| Reason::from(&error))?.pop())
    }

    async fn carry_out(&self, purchase: &Purchase) -> Result<Fulfilled, Reason> {
        let plan = match plan::screen(purchase)? {
            Some(plan) => plan,
            None => match self.plan_with_path(purchase).await {
                Ok(plan) => plan,
                Err(reason) => return self.existing(purchase, reason).await,
            },
        };
        let new = match plan {
            Plan::Create(new) => new,
            Plan::Ignore(why) => return Ok(Fulfilled::Ignored(why)),
        };
        let tenant = new.subscription.tenant.clone();
        let upgrade_from = new.subscription.upgraded_from_subscription_id.clone();
        match self.store.create_subscription(new).await {
            Ok(Created::New { id, .. }) => Ok(Fulfilled::Created {
                subscription_id: id,
                tenant,
            }),
            Ok(Created::Existing { id, tenant: of, .. }) if of == tenant => {
                Ok(Fulfilled::Existing { subscription_id: id })
            }
            Ok(Created::Existing {
                id, tenant: other, ..
            }) => Err(Reason::ExistingTenantMismatch {
                subscription: Shown::new(&id),
                tenant: Shown::new(&tenant),
                other: Shown::new(&other),
            }),
            Ok(Created::Refused(refusal)) => Err(Reason::UpgradeRefused {
                from: Shown::new(&upgrade_from.unwrap_or_default()),
                refusal,
            }),
            Err(error) => Err(Reason::from(&error)),
        }
    }

    /// What cannot be granted (any more) takes nothing from who holds it: another event, or another job, may have come before.
    async fn existing(&self, purchase: &Purchase, reason: Reason) -> Result<Fulfilled, Reason> {
        if !reason.allows_existing() {
            return Err(reason);
        }
        let Some(held) = self.held(purchase).await? else {
            return Err(reason);
        };
        match reason.existing_of(&Shown::new(&held.tenant)) {
            Some(true) => Ok(Fulfilled::Existing {
                subscription_id: held.id,
            }),
            Some(false) => Ok(Fulfilled::Ignored(plan::ANOTHER_TENANTS)),
            None => Err(reason),
        }
    }

    /// [`Self::plan`]; where nothing tells the tenant, with the path by which an event of the session came in. What the path
    /// told is so kept for whatever looks at the purchase later: the lookback, a status page, a retry.
    async fn plan_with_path(&self, purchase: &Purchase) -> Result<Plan, Reason> {
        let verdict = self.plan(purchase).await;
        let is_untold = purchase.path_tenant.is_none() && purchase.tenant.is_none();
        if !is_untold || !matches!(verdict, Err(Reason::UnresolvedTenant { .. })) {
            return verdict;
        }
        let paths = self.store.paths_of(&purchase.session_id).await;
        match paths.map_err(|error| Reason::from(&error))?.as_slice() {
            [only] => {
                let mut told = purchase.clone();
                told.path_tenant = Some(only.clone());
                told.proved_by = Some(ProvedBy::Platform);
                self.plan(&told).await
            }
            _ => verdict,
        }
    }

    /// Nothing but a subscription is concluded from a copy of the catalogue that is older than this call: a person who
    /// corrects the catalogue and retries the job at once must be right.
    async fn plan(&self, purchase: &Purchase) -> Result<Plan, Reason> {
        let moment = self.catalogue.moment();
        let snapshot = self.catalogue.at_hand().await?;
        let draw_up = |snapshot: &cache::Snapshot| {
            plan::draw_up(purchase, &snapshot.catalogue, self.livemode, self.clock.now())
        };
        match draw_up(&snapshot) {
            Ok(Plan::Create(new)) => Ok(Plan::Create(new)),
            verdict if snapshot.is_after(moment) => verdict,
            _ => draw_up(&*self.catalogue.after(moment).await?),
        }
    }
}
