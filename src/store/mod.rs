//! The shop's records in a database: [`SqliteStore`] and [`PostgresStore`].
//!
//! The store knows neither Stripe nor the queue. It guarantees at most one subscription for a session and for
//! a payment, however many callers there are.

mod audit;
mod batch_insert;
pub mod catalog;
mod dialect;
mod error;
mod events;
mod lookback;
mod model;
mod outage;
mod ownership;
mod pools;
mod postgres;
mod purchases;
mod reconciliation;
mod schema;
mod sql;
mod sqlite;
mod subscriptions;
mod tenants;
mod trust;
mod unmatched;
mod write_plan;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};

use crate::address::{masked, misspelled};

pub use error::StoreError;
pub use lookback::{
    FoundSession, FulfilledPurchase, LookbackRun, LookbackStore, PendingSession, RecentBuyer, RunCounts,
    RunPhase, RunStep, SessionState, Watermark,
};
pub use model::*;
pub use outage::Outage;
pub use ownership::{EmailProof, Move, Moved, OwnershipStore};
pub use postgres::PostgresStore;
pub use schema::Schema;
pub use sqlite::{SqliteStore, sqlite_file};
pub use unmatched::{
    Evidence, NewUnmatched, OpenUnmatched, RefundedPayments, Resolution, UnmatchedFilter, UnmatchedNote,
    UnmatchedPayment, UnmatchedPolicy, UnmatchedState, UnmatchedStore,
};

/// How long a call waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(5);
/// How long the database may take for one call.
const STATEMENT: Duration = Duration::from_secs(10);

/// The options of a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// SQLite only.
    pub synchronous: Synchronous,
    /// Connections to PostgreSQL, or readers of the SQLite file (at most 4). At least 1.
    pub max_connections: u32,
    /// SQLite only.
    pub access: Access,
}

/// How to open a SQLite file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Read and write; create the file if missing.
    #[default]
    Create,
    /// Read and write an existing file.
    Existing,
    /// Read an existing file, which may be read-only.
    Reading,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            synchronous: Synchronous::Full,
            max_connections: 8,
            access: Access::Create,
        }
    }
}

/// What a commit to SQLite waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// The operating system. The last commits can be lost if the machine crashes, but not if the process
    /// does.
    Normal,
    /// The disk.
    #[default]
    Full,
}

/// Opens the store of an address: `sqlite://FILE` or `postgres://…`. Must be called inside a Tokio runtime.
/// [`Store::migrate`] creates the tables.
///
/// # Errors
/// [`StoreError`]: the address is invalid, or the SQLite file cannot be opened. An unavailable PostgreSQL
/// server is not an error yet.
pub async fn open(url: &SecretString, options: &Options) -> Result<Arc<dyn Store>, StoreError> {
    let address = url.expose_secret();
    let scheme = address.split_once(':').map_or("", |(scheme, _)| scheme);
    let problem = match scheme {
        "sqlite" => return Ok(Arc::new(SqliteStore::open(address, options).await?)),
        _ if misspelled(address, EXPECTED).is_some() => misspelled(address, EXPECTED).unwrap_or_default(),
        "postgres" | "postgresql" => return Ok(Arc::new(PostgresStore::open(url, options)?)),
        "sanity" => format!("names the Sanity store, which is not built yet: use {EXPECTED}"),
        _ => format!("is not an address of SQLite or PostgreSQL: use {EXPECTED}"),
    };
    Err(StoreError::Address(format!("`{}` {problem}", masked(address))))
}

/// The form of a store's address.
const EXPECTED: &str = "sqlite://FILE or postgres://USER:PASSWORD@HOST:PORT/DATABASE";

/// Creates the tables if there are none. Migrates older ones only if `migrate` is set: a newly started
/// program must not change the tables that others use.
///
/// # Errors
/// [`StoreError`]: the store is unavailable, or its tables are of another version.
pub async fn make_tables(store: &dyn Store, migrate: bool) -> Result<(), StoreError> {
    let schema = store.schema().await?;
    if schema.applied.is_none() || (migrate && schema.missing > 0) {
        store.migrate().await?;
        return store.schema().await?.check();
    }
    schema.check()
}

/// [`make_tables`], waiting for the database to become available.
///
/// # Errors
/// [`StoreError`] that waiting does not fix.
pub async fn make_tables_when_it_answers(store: &dyn Store, migrate: bool) -> Result<(), StoreError> {
    let mut pause = Duration::from_millis(200);
    loop {
        match make_tables(store, migrate).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "the store is not available yet; retrying");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            done => return done,
        }
    }
}

/// The store of tenants, passes, users, subscriptions and the event log.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Creates the subscription, unless one of its session or payment intent exists. In the same transaction
    /// finds or creates its user, and carries out an upgrade. The id must be `subscription-` and the
    /// session's id.
    ///
    /// # Errors
    /// [`StoreError`]. Nothing is written, or all of it if only the answer was lost. Idempotent.
    async fn create_subscription(&self, new: Box<NewSubscription>) -> Result<Created, StoreError>;

    /// Subscriptions, newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn subscriptions(
        &self,
        filter: &SubscriptionFilter,
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError>;

    /// The subscriptions of these users at a tenant, newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn subscriptions_held_by(
        &self,
        tenant: &str,
        users: &[&str],
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError>;

    /// The subscriptions of these sessions and payments, each once, in no particular order.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn subscriptions_of(
        &self,
        sessions: &[&str],
        payments: &[&str],
    ) -> Result<Vec<Subscription>, StoreError>;

    /// The subscriptions that begin in this time range, newest first; at most `limit`, after `after`, which
    /// is the last one of the previous page.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn subscriptions_begun(
        &self,
        from: DateTime<Utc>,
        before: DateTime<Utc>,
        after: Option<&Subscription>,
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError>;

    /// Whether a live purchase has a subscription, by its session id. Uses an index.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn has_live_subscription(&self) -> Result<bool, StoreError>;

    /// All tenants with their passes, by slug.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError>;

    /// All tenants without their passes, by slug.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn known_tenants(&self) -> Result<Vec<KnownTenant>, StoreError>;

    /// The tenant with this id, with its passes.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn tenant(&self, id: &str) -> Result<Option<Tenant>, StoreError>;

    /// The data that identifies passes, by tenant and id; at most `limit`, after `after`, which is the last
    /// one of the previous page.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn pass_keys(&self, after: Option<&PassKeys>, limit: u32) -> Result<Vec<PassKeys>, StoreError>;

    /// The webhook secrets of these tenants; `None`: of all. No other method reads them.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn webhook_secrets(&self, ids: Option<&[&str]>) -> Result<WebhookSecrets, StoreError>;

    /// A version that changes with every tenant or pass. `None`: unknown, so they may have changed.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn catalogue_version(&self) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    /// Inserts or updates these tenants and passes, and the secrets of the tenants in `secrets`. Keeps all
    /// others. All or nothing.
    ///
    /// # Errors
    /// [`StoreError`]; `Conflict` if a slug or an account belongs to another tenant.
    async fn import(&self, tenants: &[Tenant], secrets: &WebhookSecrets) -> Result<Imported, StoreError>;

    /// Appends events to the log. Existing ones are not changed.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn append_events(&self, events: Vec<LoggedEvent>) -> Result<(), StoreError>;

    /// Deletes the bodies of events received before `before`; at most `limit` in one call. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn drop_event_bodies(&self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError>;

    /// The newest logged events, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn events(&self, limit: u32) -> Result<Vec<LoggedEvent>, StoreError>;

    /// An event in the log, if it has reached the store.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn event(&self, id: &str) -> Result<Option<LoggedEvent>, StoreError>;

    /// The slugs of the tenants' paths by which this session's events arrived; at most two.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn paths_of(&self, session: &str) -> Result<Vec<String>, StoreError>;

    /// Records that an operator starts an action.
    ///
    /// # Errors
    /// [`StoreError`]: then the action must not start.
    async fn begin_audit(&self, record: &AuditRecord) -> Result<(), StoreError>;

    /// Records the action's outcome. A second call changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn end_audit(&self, id: &str, ended_at: DateTime<Utc>, outcome: &str) -> Result<(), StoreError>;

    /// The actions of operators, newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn audit(&self, limit: u32) -> Result<Vec<AuditRecord>, StoreError>;

    /// The lookback's records.
    fn lookback(&self) -> &dyn LookbackStore;

    /// Unmatched payments ("cases").
    fn unmatched(&self) -> &dyn UnmatchedStore;

    /// Verified emails and moved subscriptions.
    fn ownership(&self) -> &dyn OwnershipStore;

    /// Creates or migrates the tables.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn migrate(&self) -> Result<(), StoreError>;

    /// The schema version. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn schema(&self) -> Result<Schema, StoreError>;

    /// The outage that the last calls found, if any.
    fn outage(&self) -> Option<Outage> {
        None
    }

    /// Checks that the store can take a purchase. Writes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn try_write(&self) -> Result<(), StoreError>;

    /// Checks that the store can be read and has the tables of a purchase.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn ping(&self) -> Result<(), StoreError>;

    /// Finishes running calls and closes the connections.
    async fn close(&self);
}

/// What an import changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    pub tenants_created: usize,
    pub tenants_updated: usize,
    pub passes_created: usize,
    pub passes_updated: usize,
    /// Tenants and passes that were equal already.
    pub unchanged: usize,
}
