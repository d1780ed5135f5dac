//! Purchase to subscription: the one function that every layer ends in.
//!
//! [`triage`] tells which events are purchases; [`Fulfiller::fulfil`] turns a [`Purchase`] into its subscription, by the
//! rules under "Fulfilment" in the design. Fulfilled twice is one subscription.

mod assess;
mod cache;
mod cases;
mod catalogue;
mod copy;
mod error;
mod items;
mod job;
mod keys;
mod mode;
mod plan;
mod purchase;
mod shelf;
mod tenants;
mod triage;
mod validity;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::ClientReference;
use crate::store::{
    Created, CreatedVia, NewSubscription, NewUnmatched, Store, StoreError, Subscription, SubscriptionFilter,
    UnmatchedPolicy,
};
use crate::stripe::CheckoutSession;
use crate::stripe::api::Client;

pub use assess::{Assessor, Due};
use cache::{Cache, Snapshot};
use cases::Cause;
pub(crate) use cases::ITEMS_UNREAD;
pub use error::FulfilError;
use error::{Reason, Shown};
pub(crate) use error::{TENANT_MISMATCH, UNRESOLVED_PASS, UNRESOLVED_TENANT};
use items::Items;
pub use job::{is_session_id, job_id, job_ids, session_of};
pub use mode::Mode;
use mode::ModeInForce;
use plan::{NOT_A_PASS, Plan, Rules, TRIAL, UNMATCHED, Unmatched};
pub use purchase::{Origin, ProvedBy, Purchase, PurchaseKind};
pub use tenants::{Found, Tenants};
pub use triage::{THIN_EVENT, Triage, draft, of_another_type, triage, triage_session};

/// Turns purchases into subscriptions.
#[derive(Debug)]
pub struct Fulfiller {
    store: Arc<dyn Store>,
    mode: ModeInForce,
    rules: Rules,
    clock: Clock,
    catalogue: Cache,
    client_reference: ClientReference,
    /// For line items. `None`: there is no key.
    stripe: Option<Client>,
    /// Each call gives a number.
    random: fn() -> u64,
}

/// How far a purchase has come at the first look.
#[derive(Debug)]
enum Done {
    Fulfilled(Fulfilled),
    /// It has its subscription, and more was paid for.
    Short(Fulfilled),
    Without(Plan),
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
    /// It was paid for and has no pass: an unmatched payment of the store.
    Unmatched {
        reason: String,
        /// What the customer can quote; `None`: the case was closed before.
        reference: Option<String>,
    },
    /// It is none of ours, and why, in a few stable words.
    Ignored(&'static str),
}

impl Fulfiller {
    /// `livemode` is what the key or the setting says: true for live, false for test, `None` where neither tells.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, livemode: Option<bool>, clock: Clock) -> Self {
        let catalogue = Cache::new(Arc::clone(&store), clock.clone());
        Self {
            mode: ModeInForce::new(Arc::clone(&store), livemode),
            store,
            rules: Rules::default(),
            clock,
            catalogue,
            stripe: None,
            random: rand::random,
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

    /// Reads the line items of purchases that name no pass. Without it they become cases.
    #[must_use]
    pub fn with_stripe(mut self, stripe: Option<Client>) -> Self {
        self.stripe = stripe;
        self
    }

    /// `[fulfil] unmatched`: what becomes of sessions without any of our keys, where no tenant is known.
    #[must_use]
    pub fn with_policy(mut self, unmatched: UnmatchedPolicy) -> Self {
        self.rules.unmatched = unmatched;
        self
    }

    /// Makes the purchase's subscription, unless it is there. What was paid for and gets none is an unmatched payment in
    /// the store by the time this returns.
    ///
    /// # Errors
    /// [`FulfilError`]: what stands in the way, and whether trying again can help.
    pub async fn fulfil(&self, purchase: &Purchase) -> Result<Fulfilled, FulfilError> {
        let purchase = &*purchase.read_as(self.client_reference);
        match self.carry_out(purchase).await {
            Ok(Done::Fulfilled(fulfilled)) => Ok(fulfilled),
            // Boxed: hundreds of jobs wait at a time, and nearly none comes here.
            other => Box::pin(self.look_twice(purchase, other)).await,
        }
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
        let told = |reason| FulfilError::new(&purchase.session_id, reason);
        let Some(held) = self.held(purchase).await.map_err(told)? else {
            return Ok(vec![]);
        };
        let snapshot = self.catalogue.at_hand().await.map_err(told)?;
        let owner = snapshot.copy.directory().tenant(&held.tenant);
        let job = owner.map(|owner| job_id(&purchase.session_id, Some(&owner.slug)));
        Ok(job.into_iter().collect())
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

    async fn carry_out(&self, purchase: &Purchase) -> Result<Done, Reason> {
        plan::screen(purchase)?;
        let (new, is_short) = match self.plan_with_path(purchase).await? {
            Plan::Create { new, is_short } => (new, is_short),
            plan => return Ok(Done::Without(plan)),
        };
        let fulfilled = self.create(new).await?;
        Ok(if is_short {
            Done::Short(fulfilled)
        } else {
            Done::Fulfilled(fulfilled)
        })
    }

    async fn create(&self, new: Box<NewSubscription>) -> Result<Fulfilled, Reason> {
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

    /// Whatever gave no subscription at first: reads the line items where they may help, and opens a case.
    async fn look_twice(
        &self,
        purchase: &Purchase,
        first: Result<Done, Reason>,
    ) -> Result<Fulfilled, FulfilError> {
        let told = |reason| FulfilError::new(&purchase.session_id, reason);
        let mut session = None;
        let done = match self.with_items(purchase, first, &mut session).await {
            Err(reason) => self.existing(purchase, reason).await.map(Done::Fulfilled),
            done => done,
        };
        let session = session.as_deref();
        let stored = |error: StoreError| told(Reason::from(&error));
        let (fulfilled, cause) = match done {
            Ok(Done::Fulfilled(fulfilled)) => return Ok(fulfilled),
            Ok(Done::Without(Plan::Ignore(why))) => return Ok(Fulfilled::Ignored(why)),
            Ok(Done::Without(Plan::Create { .. })) => return Ok(Fulfilled::Ignored("not_made")),
            Ok(Done::Short(fulfilled)) => {
                let cause = Cause {
                    reason: NewUnmatched::ITEMS_SHORT,
                    detail: "paid for two passes or more, and one was made: give the buyer the others by hand or \
                             refund them, then close this",
                    tenant: None,
                    is_paid: true,
                };
                (Some(fulfilled), cause)
            }
            Ok(Done::Without(Plan::Unmatched(ref unmatched))) => {
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
                let error = told(reason);
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

    /// The outcome with the line items known, where they were not and may change it.
    async fn with_items(
        &self,
        purchase: &Purchase,
        first: Result<Done, Reason>,
        session: &mut Option<Box<CheckoutSession>>,
    ) -> Result<Done, Reason> {
        let may_help = match &first {
            Ok(Done::Without(Plan::Unmatched(unmatched))) => unmatched.reason == UNMATCHED,
            Ok(Done::Without(Plan::Ignore(NOT_A_PASS))) => {
                self.catalogue.at_hand().await?.copy.keys().await?.has_prices()
            }
            Err(Reason::UnresolvedPass { .. } | Reason::UnresolvedTenant { .. }) => true,
            _ => false,
        };
        if !may_help || !purchase.price_ids.is_empty() {
            return first;
        }
        let read = match self.items(purchase).await {
            // It names something wrongly: a person learns of it now, and a lookback that has the items revives it.
            Err(_) if first.is_err() => return first,
            Err(reason) => return Err(reason),
            Ok(Items::Read(read)) => read,
            Ok(Items::Unread(why)) => {
                let tenant = match first {
                    Ok(Done::Without(Plan::Unmatched(unmatched))) => unmatched.tenant,
                    Ok(Done::Without(Plan::Ignore(_))) => None,
                    other => return other,
                };
                return Ok(Done::Without(Plan::Unmatched(Unmatched {
                    reason: ITEMS_UNREAD,
                    detail: format!("paid, but its line items could not be read: {why}").into(),
                    tenant,
                })));
            }
        };
        let read = session.insert(read);
        if read.is_refunded() {
            let closed = self.close_refunded(purchase).await;
            closed.map_err(|error| Reason::from(&error))?;
            return Ok(Done::Without(Plan::Ignore("refunded")));
        }
        if read.price_ids.is_empty() {
            return first;
        }
        let mut known = purchase.clone();
        known.price_ids.clone_from(&read.price_ids);
        self.carry_out(&known).await
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
        let mode = self.mode.for_purchase(purchase).await?;
        let rules = Rules { mode, ..self.rules };
        let moment = self.catalogue.moment();
        let snapshot = self.catalogue.at_hand().await?;
        let draw_up = async |snapshot: Arc<Snapshot>| {
            let catalogue = snapshot.copy.of(purchase).await?;
            plan::draw_up(purchase, &catalogue, rules, self.clock.now())
        };
        match draw_up(Arc::clone(&snapshot)).await {
            Ok(create @ Plan::Create { .. }) => Ok(create),
            verdict if snapshot.is_after(moment) => verdict,
            _ => draw_up(self.catalogue.after(moment).await?).await,
        }
    }
}
