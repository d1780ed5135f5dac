//! The net under everything: what Stripe was paid for and has no subscription is found and fulfilled.
//!
//! It lists, compares with the store, and hands what is missing to the queue of purchases as the ordinary `fulfil` job.
//! So a lookback and a late webhook meet in one dedupe key and in one subscription.

mod account_sync;
pub mod audit;
mod cases;
mod checkpoint;
pub mod cron;
mod customer_scan;
mod cycle;
mod enqueue_missing;
mod error;
mod failed_deliveries;
mod job;
pub mod ledger;
mod listing;
mod ownership;
mod report;
mod settle;
mod sync;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{ClientReference, Settings};
use crate::queue::Queue;
use crate::store::{KnownTenant, LookbackStore, Store, UnmatchedPolicy};
use crate::stripe::api::Client;

pub use error::LookbackError;
pub use job::{
    AccountSyncRequest, Customer, FailedDeliveriesRequest, LookbackJob, Resume, RunId, SyncRequest,
};
pub(crate) use ownership::OwnershipRule;
pub use report::{Asked, FailedSession, Report};

/// What a lookback works with.
#[derive(Debug, Clone)]
pub struct Lookback {
    /// Without one nothing is looked at, but runs can be asked for and read.
    pub stripe: Option<Client>,
    pub store: Arc<dyn Store>,
    /// The queue of purchases.
    pub fulfil: Queue,
    /// The lookback's own queue.
    pub sync: Queue,
    pub clock: Clock,
    /// For how long an event that comes again is a double.
    pub remember_events: Duration,
    /// What a `client_reference_id` is set to be.
    pub client_reference: ClientReference,
    /// `[fulfil] unmatched`.
    pub unmatched: UnmatchedPolicy,
    /// How long a sweep works before it hands on to its next slice. A few seconds: short beside a job's time-out.
    pub slice: Duration,
}

/// The accounts that are looked at: the key's own, and each that a tenant sells on.
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
    /// One that asks for runs and reads what they come to. [`Self::carried_out`] makes one that works on them.
    #[must_use]
    pub fn new(settings: &Settings, store: Arc<dyn Store>, fulfil: Queue, sync: Queue, clock: Clock) -> Self {
        Self {
            stripe: None,
            store,
            fulfil,
            sync,
            clock,
            remember_events: settings.queue.event_dedupe,
            client_reference: settings.fulfil.client_reference_id,
            unmatched: settings.fulfil.unmatched,
            slice: Duration::ZERO,
        }
    }

    /// One that carries runs out, in slices of `slice`.
    #[must_use]
    pub fn carried_out(self, stripe: Client, slice: Duration) -> Self {
        Self {
            stripe: Some(stripe),
            slice,
            ..self
        }
    }

    fn records(&self) -> &dyn LookbackStore {
        self.store.lookback()
    }

    /// Whether what it sees are test payments. Marks of the two kinds say nothing of each other.
    fn is_test(&self) -> bool {
        self.stripe.as_ref().and_then(Client::livemode) == Some(false)
    }

    fn stripe(&self) -> Result<&Client, LookbackError> {
        self.stripe.as_ref().ok_or(LookbackError::NoKey)
    }
}
