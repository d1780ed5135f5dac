//! What a customer may learn and ask for: what became of a purchase, which passes they hold, a sync.
//!
//! Whose something is, is decided here: what names the customer's user id is theirs, and what names nobody and was bought
//! with an email that they were the first to prove. What is not theirs looks like what is not there.

mod ask;
mod cases;
mod error;
mod live;
mod proof;
mod status;
mod sync;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::ClientReference;
use crate::fulfil::{Purchase, Tenants};
use crate::guest;
use crate::identity::Customer;
use crate::lookback::{self, Lookback, OwnershipRule, SyncRequest};
use crate::queue::{Caller, Queue, QueueError, RateLimit, RateLimiter, SingleFlight};
use crate::store::{CreatedVia, KnownTenant, Store, StoreError, Subscription};
use crate::stripe::api::Client;

pub use crate::fulfil::is_session_id;
pub use cases::Support;
pub use error::CustomerError;
pub use live::{FollowError, Follower, Following, Live, Next, Sight};
pub use proof::Proofs;
pub use status::{Processing, Status};
pub use sync::Quiet;

/// How far a customer's sync looks back.
const DAYS: u32 = 30;
/// Of one tenant; nobody holds so many passes.
const MOST_PASSES: u32 = 500;

/// What customers are answered from. Clones share everything.
#[derive(Debug, Clone)]
pub struct Customers {
    pub store: Arc<dyn Store>,
    pub tenants: Arc<Tenants>,
    /// The queue of purchases.
    pub fulfil: Queue,
    /// Asks for syncs, and reads what they come to.
    pub lookback: Arc<Lookback>,
    /// For a session that nobody here knows. `None`: there is no key.
    pub stripe: Option<Client>,
    pub memo: SingleFlight,
    pub limiter: RateLimiter,
    /// Tells of purchases as they change.
    pub live: Live,
    /// Who has proved which email, as far as this process has looked.
    pub proofs: Proofs,
    /// What a `client_reference_id` is set to be.
    pub client_reference: ClientReference,
    /// How often one customer may have Stripe asked.
    pub asks_per_minute: u32,
    pub clock: Clock,
}

impl Customers {
    /// What the customer holds of a tenant, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn passes(
        &self,
        customer: &Customer,
        tenant: &KnownTenant,
    ) -> Result<Vec<Subscription>, StoreError> {
        let users = users(customer, tenant);
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        self.store
            .subscriptions_held_by(&tenant.id, &users, MOST_PASSES)
            .await
    }

    /// Counts a call against a limit of the customer's. `Some`: it is refused, for so long.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn limit(&self, customer: &Customer, limit: RateLimit) -> Result<Option<Duration>, QueueError> {
        self.limiter
            .take((limit, &Caller::user(&customer.id)), None)
            .await
    }
}

/// The users of the store that are this customer at a tenant: their own, and the guests of their email, where something is
/// not moved to them yet.
fn users(customer: &Customer, tenant: &KnownTenant) -> Vec<String> {
    let mut users = vec![customer.id.clone()];
    if let Some(email) = customer.verified_email.as_deref() {
        users.push(guest::of_email(&tenant.id, email));
        users.extend(guest::old_of_email(email));
    }
    users
}

/// Whether a pass is theirs, of this tenant.
fn holds(customer: &Customer, tenant: &KnownTenant, subscription: &Subscription) -> bool {
    subscription.tenant == tenant.id && users(customer, tenant).contains(&subscription.user)
}

/// The purchase, if it is theirs and may be this tenant's.
fn claim(
    customer: &Customer,
    tenant: &KnownTenant,
    purchase: &Purchase,
    reference: ClientReference,
) -> Option<Purchase> {
    let purchase = purchase.read_as(reference).into_owned();
    let fits = |told: &Option<String>, is: &dyn Fn(&str) -> bool| told.as_deref().is_none_or(is);
    let is_tenants = fits(&purchase.path_tenant, &|slug| slug == tenant.slug)
        && fits(&purchase.tenant, &|named| {
            named == tenant.id || named == tenant.slug
        })
        && fits(&purchase.account, &|id| {
            tenant.stripe_account.as_deref() == Some(id)
        });
    let rule = OwnershipRule::User {
        id: customer.id.clone(),
        verified_email: customer.verified_email.clone(),
    };
    is_tenants.then(|| rule.claim(purchase)).flatten()
}

/// What the lookback is asked for, for a customer of a tenant.
fn sync_request(customer: &Customer, tenant: &KnownTenant, via: CreatedVia) -> SyncRequest {
    SyncRequest {
        tenant: Some(tenant.slug.clone()),
        customer: lookback::Customer::User {
            id: customer.id.clone(),
            verified_email: customer.verified_email.clone(),
        },
        days: DAYS,
        via,
        run: None,
    }
}
