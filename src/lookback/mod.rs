//! Finds paid sessions that no webhook reported, and fulfils them.
//!
//! Lists sessions at Stripe, compares them with the store, and enqueues the missing ones as ordinary `fulfil`
//! jobs. A lookback and a late webhook share the dedupe key, so they create one subscription.

mod account_sync;
mod cases;
pub mod cron;
mod customer_sync;
mod cycle;
pub mod endpoint_check;
mod enqueue_missing;
mod error;
mod failed_deliveries;
mod job;
mod listing;
mod outcomes;
mod ownership;
pub mod reconciliation;
mod report;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{ClientReference, Settings};
use crate::queue::Queue;
use crate::store::{KnownTenant, Lookback as Records, Store, UnmatchedPolicy};
use crate::stripe::api::Client;

pub use error::LookbackError;
pub use job::{
    AccountSyncRequest, Customer, FailedDeliveriesRequest, LookbackJob, Resume, RunId, SyncRequest,
};
pub(crate) use ownership::OwnershipRule;
pub use report::{FailedSession, Report, RequestedRun};

/// The clients and settings of the lookback.
#[derive(Debug, Clone)]
pub struct Lookback {
    /// `None`: runs can be requested and reported, but not worked on.
    pub stripe: Option<Client>,
    pub store: Arc<Store>,
    /// The queue `fulfil`.
    pub fulfil: Queue,
    /// The queue `sync`.
    pub sync: Queue,
    pub clock: Clock,
    /// How long an event id is remembered, to drop duplicates.
    pub remember_events: Duration,
    /// What a `client_reference_id` contains.
    pub client_reference: ClientReference,
    /// `[fulfil] unmatched`.
    pub unmatched: UnmatchedPolicy,
    /// How long a slice of an account sync works. A few seconds, much less than a job's time-out.
    pub slice: Duration,
}

/// The accounts to list: the key's own, and each connected account of a tenant.
#[must_use]
pub fn accounts<'a>(tenants: impl IntoIterator<Item = &'a KnownTenant>) -> Vec<Option<String>> {
    let mut connected: Vec<_> = tenants
        .into_iter()
        .filter_map(|tenant| tenant.stripe_account.clone())
        .map(Some)
        .collect();
    connected.sort();
    connected.dedup();
    std::iter::once(None).chain(connected).collect()
}

impl Lookback {
    /// Requests and reports runs. [`Self::with_stripe`] also works on them.
    #[must_use]
    pub fn new(settings: &Settings, store: Arc<Store>, fulfil: Queue, sync: Queue, clock: Clock) -> Self {
        Self {
            stripe: None,
            store,
            fulfil,
            sync,
            clock,
            remember_events: *settings.queue.event_dedupe,
            client_reference: settings.fulfil.client_reference_id,
            unmatched: settings.fulfil.unmatched,
            slice: Duration::ZERO,
        }
    }

    /// Also works on runs, in slices of `slice`.
    #[must_use]
    pub fn with_stripe(self, stripe: Client, slice: Duration) -> Self {
        Self {
            stripe: Some(stripe),
            slice,
            ..self
        }
    }

    fn records(&self) -> Records<'_> {
        self.store.lookback()
    }

    /// Whether the key is a test key. Watermarks of test and live mode are independent.
    fn is_test(&self) -> bool {
        self.stripe.as_ref().and_then(Client::livemode) == Some(false)
    }

    fn stripe(&self) -> Result<&Client, LookbackError> {
        self.stripe.as_ref().ok_or(LookbackError::NoKey)
    }
}
