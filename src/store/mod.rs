//! The shop's own records, and their homes: [`SqliteStore`] and [`PostgresStore`].
//!
//! The store knows no Stripe and no queue. It promises what the rest relies on: a subscription is created at most
//! once for a session and at most once for a payment, whoever asks, however many ask at once.

mod model;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

pub use model::*;

/// Where tenants, passes, users, subscriptions and the event log live.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Creates the subscription unless one of its session, or of its payment intent, is there; resolves its user,
    /// creating one where needed; carries an upgrade out. All of it in one transaction.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written, or (when an answer was lost) all of it: asking again is safe.
    async fn create_subscription(&self, new: NewSubscription) -> Result<Created, StoreError>;

    /// Subscriptions, newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn subscriptions(
        &self,
        filter: &SubscriptionFilter,
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError>;

    /// Every tenant with its passes, by slug.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError>;

    /// Creates or updates these tenants and passes; keeps what is not named. All or nothing.
    ///
    /// # Errors
    /// [`StoreError`]; `Conflict` where a slug or an account belongs to another tenant.
    async fn import(&self, tenants: &[Tenant]) -> Result<Imported, StoreError>;

    /// Appends events to the log; one that is there already is left as it is.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn append_events(&self, events: Vec<LoggedEvent>) -> Result<(), StoreError>;

    /// Drops the bodies of events received before `before`; at most `limit` in one go. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn drop_event_bodies(&self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError>;

    /// The newest logged events, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn events(&self, limit: u32) -> Result<Vec<LoggedEvent>, StoreError>;

    /// Creates the tables or brings them up to date.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn migrate(&self) -> Result<(), StoreError>;

    /// Answers when the store does.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn ping(&self) -> Result<(), StoreError>;

    /// Finishes what is under way and closes the connections.
    async fn close(&self);
}

/// What an import changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    pub tenants_created: usize,
    pub tenants_updated: usize,
    pub passes_created: usize,
    pub passes_updated: usize,
    /// Tenants and passes that stood in the store just like that.
    pub unchanged: usize,
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Trying again can help: connection lost, busy, time-out, disk full, and whatever is not known.
    #[error("the store did not answer as it should: {0}")]
    Transient(String),
    /// Trying again cannot help until a person acts: no permission, a missing table, a broken constraint.
    #[error("the store refused: {0}")]
    Permanent(String),
    /// The data contradicts what is there.
    #[error("{0}")]
    Conflict(String),
}
