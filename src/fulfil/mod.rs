//! Turns a purchase into a subscription. Every layer ends here.
//!
//! [`Fulfiller::fulfil`] turns a [`Purchase`] into its subscription, by the rules under "Fulfilment" in the
//! design. Idempotent. `decide` says which one; `store/purchases` creates it.

mod cases;
mod catalog;
mod catalog_cache;
mod decide;
mod directory;
mod error;
mod expected;
mod items;
mod job;
mod lazy_catalog;
mod mode;
mod pass_index;
mod purchase;
mod tenants;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::ClientReference;
use crate::store::{
    Created, CreatedVia, NewSubscription, NewUnmatched, Store, StoreError, Subscription, SubscriptionFilter,
    UnmatchedPolicy,
};
use crate::stripe::api::Client;

use cases::Cause;
pub(crate) use cases::ITEMS_UNREAD;
use catalog_cache::{CatalogCache, Snapshot};
use decide::{Decision, Rules, TRIAL};
pub use error::FulfilError;
use error::{Reason, Shown};
pub(crate) use error::{TENANT_MISMATCH, UNRESOLVED_PASS, UNRESOLVED_TENANT};
pub use expected::{ExpectedSubscription, FulfilmentRules};
pub use job::{is_session_id, job_id, job_ids, session_of};
use mode::CurrentMode;
pub use mode::Mode;
pub(crate) use purchase::stated;
pub use purchase::{ProvedBy, Purchase, PurchaseKind, SessionSource, TenantPath};
pub use tenants::{TenantVersion, Tenants};

/// Turns purchases into subscriptions.
#[derive(Debug)]
pub struct Fulfiller {
    store: Arc<Store>,
    mode: CurrentMode,
    rules: Rules,
    clock: Clock,
    catalog: CatalogCache,
    client_reference: ClientReference,
    /// Reads line items. `None`: no API key.
    stripe: Option<Client>,
    /// Returns a random number.
    random: fn() -> u64,
}

/// The result of the first attempt.
#[derive(Debug)]
enum Progress {
    Fulfilled(Fulfilled),
    /// It has its subscription, but more was paid.
    Short(Fulfilled),
    Without(Decision),
}

/// The result of fulfilling a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fulfilled {
    Created {
        subscription_id: String,
        /// The tenant's id.
        tenant: String,
    },
    /// Its session or payment already has one.
    Existing { subscription_id: String },
    /// Paid, without a pass: an unmatched payment in the store.
    Unmatched {
        reason: String,
        /// The code that the customer can quote. `None`: the case was closed before.
        reference: Option<String>,
    },
    /// Not a purchase of a pass, for this reason.
    Ignored(&'static str),
}

impl Fulfiller {
    /// `livemode` is the mode of the key or the setting: true for live, false for test, `None` if unknown.
    #[must_use]
    pub fn new(store: Arc<Store>, livemode: Option<bool>, clock: Clock) -> Self {
        let catalog = CatalogCache::new(Arc::clone(&store), clock.clone());
        Self {
            mode: CurrentMode::new(Arc::clone(&store), livemode),
            store,
            rules: Rules::default(),
            clock,
            catalog,
            stripe: None,
            random: rand::random,
            client_reference: ClientReference::default(),
        }
    }

    /// Sets what a `client_reference_id` contains.
    #[must_use]
    pub fn with_client_reference(self, client_reference: ClientReference) -> Self {
        Self {
            client_reference,
            ..self
        }
    }

    /// How long a purchase waits during a store outage.
    #[must_use]
    pub fn store_pause(&self) -> Duration {
        let outage = self.store.outage();
        outage.map_or(Duration::from_secs(1), |outage| outage.pause())
    }

    /// Sets the client that reads line items of purchases without a pass. Without one they become cases.
    #[must_use]
    pub fn with_stripe(mut self, stripe: Option<Client>) -> Self {
        self.stripe = stripe;
        self
    }

    /// Sets `[fulfil] unmatched`: what to do with sessions without our metadata whose tenant is unknown.
    #[must_use]
    pub fn with_policy(mut self, unmatched: UnmatchedPolicy) -> Self {
        self.rules.unmatched = unmatched;
        self
    }

    /// Creates the purchase's subscription if it does not exist. A paid purchase without one is stored as an
    /// unmatched payment before this returns.
    ///
    /// # Errors
    /// [`FulfilError`]: why it failed, and whether a retry can help.
    pub async fn fulfil(&self, purchase: &Purchase) -> Result<Fulfilled, FulfilError> {
        let purchase = &*purchase.read_as(self.client_reference);
        match self.try_fulfil(purchase).await {
            Ok(Progress::Fulfilled(fulfilled)) => Ok(fulfilled),
            // Boxed, since hundreds of jobs wait at a time and few come here.
            other => Box::pin(self.resolve_failure(purchase, other)).await,
        }
    }

    /// Whether the same purchase may have another job, from another endpoint or the lookback. Purchases of
    /// the platform's own endpoint, which are nearly all, do not.
    #[must_use]
    pub fn may_have_others(purchase: &Purchase) -> bool {
        purchase.proved_by == Some(ProvedBy::Tenant) || purchase.created_via != CreatedVia::Webhook
    }

    /// The ids of these other jobs of a fulfilled purchase. A dead one may run again, to find the
    /// subscription.
    ///
    /// # Errors
    /// The store's.
    pub async fn other_jobs(&self, purchase: &Purchase) -> Result<Vec<String>, FulfilError> {
        if purchase.proved_by == Some(ProvedBy::Tenant) {
            return Ok(vec![job_id(&purchase.session_id, None)]);
        }
        let failure = |reason| FulfilError::new(&purchase.session_id, reason);
        let Some(held) = self.existing_subscription(purchase).await.map_err(failure)? else {
            return Ok(vec![]);
        };
        let snapshot = self.catalog.cached().await.map_err(failure)?;
        let owner = snapshot.catalog.directory().tenant(&held.tenant);
        let job = owner.map(|owner| job_id(&purchase.session_id, Some(&owner.slug)));
        Ok(job.into_iter().collect())
    }

    /// The session's subscription.
    async fn existing_subscription(&self, purchase: &Purchase) -> Result<Option<Subscription>, Reason> {
        let filter = SubscriptionFilter {
            session: Some(purchase.session_id.clone()),
            ..SubscriptionFilter::default()
        };
        let held = self.store.subscriptions().list(&filter, 1).await;
        Ok(held.map_err(|error| Reason::from(&error))?.pop())
    }

    async fn try_fulfil(&self, purchase: &Purchase) -> Result<Progress, Reason> {
        decide::validate(purchase)?;
        let (new, is_short) = match self.decide_with_path(purchase).await? {
            Decision::Create { new, is_short } => (new, is_short),
            plan => return Ok(Progress::Without(plan)),
        };
        let fulfilled = self.create(new).await?;
        Ok(if is_short {
            Progress::Short(fulfilled)
        } else {
            Progress::Fulfilled(fulfilled)
        })
    }

    async fn create(&self, new: Box<NewSubscription>) -> Result<Fulfilled, Reason> {
        let tenant = new.subscription.tenant.clone();
        let upgrade_from = new.subscription.upgraded_from_subscription_id.clone();
        match self.store.subscriptions().create(new).await {
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

    /// Handles a purchase without a subscription: reads the line items if they may help, or opens a case.
    async fn resolve_failure(
        &self,
        purchase: &Purchase,
        first: Result<Progress, Reason>,
    ) -> Result<Fulfilled, FulfilError> {
        let failure = |reason| FulfilError::new(&purchase.session_id, reason);
        let mut session = None;
        let done = match self.retry_with_line_items(purchase, first, &mut session).await {
            Err(reason) => self
                .accept_existing(purchase, reason)
                .await
                .map(Progress::Fulfilled),
            done => done,
        };
        let session = session.as_deref();
        let stored = |error: StoreError| failure(Reason::from(&error));
        let (fulfilled, cause) = match done {
            Ok(Progress::Fulfilled(fulfilled)) => return Ok(fulfilled),
            Ok(Progress::Without(Decision::Ignore(why))) => return Ok(Fulfilled::Ignored(why)),
            Ok(Progress::Without(Decision::Create { .. })) => return Ok(Fulfilled::Ignored("not_made")),
            Ok(Progress::Short(fulfilled)) => {
                let cause = Cause {
                    reason: NewUnmatched::ITEMS_SHORT,
                    detail: "paid for two passes or more, and one was made: give the buyer the others by hand or \
                             refund them, then close this",
                    tenant: None,
                    is_paid: true,
                };
                (Some(fulfilled), cause)
            }
            Ok(Progress::Without(Decision::Unmatched(ref unmatched))) => {
                let cause = Cause {
                    reason: unmatched.reason,
                    detail: &unmatched.detail,
                    tenant: unmatched.tenant.as_deref(),
                    is_paid: unmatched.reason != TRIAL,
                };
                (None, cause)
            }
            Err(reason) => {
                let is_paid = reason.is_paid(purchase) && !purchase.is_trial;
                let error = failure(reason);
                if !error.is_transient() {
                    let cause = Cause {
                        reason: error.code(),
                        detail: &error.detail(),
                        tenant: None,
                        is_paid,
                    };
                    self.open_case(purchase, session, cause).await.map_err(stored)?;
                }
                return Err(error);
            }
        };
        let reason = cause.reason.to_owned();
        let opened = self.open_case(purchase, session, cause).await.map_err(stored)?;
        Ok(fulfilled.unwrap_or(Fulfilled::Unmatched {
            reason,
            reference: opened.map(|opened| opened.reference),
        }))
    }

    /// Accepts an existing subscription, which another event or job created, even if this purchase cannot be
    /// fulfilled.
    async fn accept_existing(&self, purchase: &Purchase, reason: Reason) -> Result<Fulfilled, Reason> {
        if !reason.allows_existing() {
            return Err(reason);
        }
        let Some(held) = self.existing_subscription(purchase).await? else {
            return Err(reason);
        };
        match reason.existing_of(&Shown::new(&held.tenant)) {
            Some(true) => Ok(Fulfilled::Existing {
                subscription_id: held.id,
            }),
            Some(false) => Ok(Fulfilled::Ignored(decide::ANOTHER_TENANTS)),
            None => Err(reason),
        }
    }

    /// Decides; if the tenant is unknown, with the path by which the session's event arrived. The lookback,
    /// status pages and retries thus know the path, too.
    async fn decide_with_path(&self, purchase: &Purchase) -> Result<Decision, Reason> {
        let verdict = self.decide(purchase).await;
        let is_untold = purchase.path_tenant.is_none() && purchase.tenant.is_none();
        if !is_untold || !matches!(verdict, Err(Reason::UnresolvedTenant { .. })) {
            return verdict;
        }
        let paths = self.store.events().paths_of(&purchase.session_id).await;
        match paths.map_err(|error| Reason::from(&error))?.as_slice() {
            [only] => {
                let mut with_path = purchase.clone();
                with_path.path_tenant = Some(only.clone());
                with_path.proved_by = Some(ProvedBy::Platform);
                self.decide(&with_path).await
            }
            _ => verdict,
        }
    }

    /// Decides with the cached catalog. Anything but a subscription is decided again with one read after
    /// this call, so that a corrected catalog counts at once.
    async fn decide(&self, purchase: &Purchase) -> Result<Decision, Reason> {
        let mode = self.mode.for_purchase(purchase).await?;
        let rules = Rules { mode, ..self.rules };
        let moment = self.catalog.moment();
        let snapshot = self.catalog.cached().await?;
        let decide = async |snapshot: Arc<Snapshot>| {
            let catalog = snapshot.catalog.of(purchase).await?;
            decide::decide(purchase, &catalog, rules, self.clock.now())
        };
        match decide(Arc::clone(&snapshot)).await {
            Ok(create @ Decision::Create { .. }) => Ok(create),
            verdict if snapshot.is_after(moment) => verdict,
            _ => decide(self.catalog.after(moment).await?).await,
        }
    }
}
