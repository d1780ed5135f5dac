//! What a customer may see and request: the status of a purchase, their passes, a sync.
//!
//! Ownership is decided here. A purchase is theirs if it names their user id, or if it names no user and was bought with an
//! email that they were the first to verify. Another customer's session gets the same answer as one that does not exist.

mod cases;
mod error;
mod proof;
mod status;
mod status_stream;
mod stripe_lookup;
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
pub use proof::Proofs;
pub use status::{Processing, Status};
pub use status_stream::{FollowError, Follower, Next, Snapshot, StatusStream, StatusStreams};
pub use sync::QuietSync;

/// How many days a customer's sync looks back.
const DAYS: u32 = 30;
/// Of one tenant: more than anyone holds.
const MOST_PASSES: u32 = 500;

/// Everything that customers' requests need. Clones share it.
#[derive(Debug, Clone)]
pub struct Customers {
    pub store: Arc<Store>,
    pub tenants: Arc<Tenants>,
    /// The queue of purchases.
    pub fulfil: Queue,
    /// Enqueues syncs and reads their reports.
    pub lookback: Arc<Lookback>,
    /// For sessions that are unknown here. `None`: no key is set.
    pub stripe: Option<Client>,
    pub single_flight: SingleFlight,
    pub limiter: RateLimiter,
    /// Status streams, pushed when a purchase changes.
    pub streams: StatusStreams,
    /// Which user has proved which email, as far as this process knows.
    pub proofs: Proofs,
    /// What the settings say that a `client_reference_id` is.
    pub client_reference: ClientReference,
    /// How often one customer may cause a call of Stripe.
    pub asks_per_minute: u32,
    pub clock: Clock,
}

impl Customers {
    /// The customer's passes at a tenant, newest first.
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
            .subscriptions()
            .held_by(&tenant.id, &users, MOST_PASSES)
            .await
    }

    /// Counts a call against one of the customer's limits. `Some`: refused; try again after that time.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn limit(&self, customer: &Customer, limit: RateLimit) -> Result<Option<Duration>, QueueError> {
        self.limiter
            .take((limit, &Caller::user(&customer.id)), None)
            .await
    }
}

/// The users of the store who are this customer at a tenant: their own id, and the guest users of their email, whose passes may
/// not have been moved yet.
fn users(customer: &Customer, tenant: &KnownTenant) -> Vec<String> {
    let mut users = vec![customer.id.clone()];
    if let Some(email) = customer.verified_email.as_deref() {
        users.push(guest::of_email(&tenant.id, email));
        users.extend(guest::old_of_email(email));
    }
    users
}

/// Whether a pass is the customer's, at this tenant.
fn holds(customer: &Customer, tenant: &KnownTenant, subscription: &Subscription) -> bool {
    subscription.tenant == tenant.id && users(customer, tenant).contains(&subscription.user)
}

/// The purchase, if it is the customer's and nothing says that it is another tenant's.
fn claim(
    customer: &Customer,
    tenant: &KnownTenant,
    purchase: &Purchase,
    reference: ClientReference,
) -> Option<Purchase> {
    let purchase = purchase.read_as(reference).into_owned();
    let fits = |named: &Option<String>, is: &dyn Fn(&str) -> bool| named.as_deref().is_none_or(is);
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

/// The lookback's request for a customer of a tenant.
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
