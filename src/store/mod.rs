//! The shop's own records, and their homes: [`SqliteStore`] and [`PostgresStore`].
//!
//! The store knows no Stripe and no queue. It promises what the rest relies on: a subscription is created at most
//! once for a session and at most once for a payment, whoever asks, however many ask at once.

mod audit;
pub mod catalog;
mod dialect;
mod error;
mod events;
mod joined;
mod ledger;
mod lookback;
mod model;
mod outage;
mod ownership;
mod plan;
mod pools;
mod postgres;
mod purchases;
mod schema;
mod sql;
mod sqlite;
mod subscriptions;
mod tenants;
mod trust;
mod unmatched;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};

use crate::address::{masked, misspelled};

pub use error::StoreError;
pub use lookback::{
    FoundSession, HeldPurchase, LookbackMark, LookbackRun, LookbackStore, OpenSession, RecentBuyer,
    RunCounts, RunPhase, RunStep, SessionState,
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
/// How long the database may take over what one call asks of it.
const STATEMENT: Duration = Duration::from_secs(10);

/// How to open a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// SQLite only.
    pub synchronous: Synchronous,
    /// Connections to PostgreSQL, or readers of the SQLite file (of which 4 at most), at least 1.
    pub max_connections: u32,
    /// SQLite only.
    pub access: Access,
}

/// What a SQLite file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Reading and writing; the file is created where it is missing.
    #[default]
    Create,
    /// Reading and writing a file that is there.
    Existing,
    /// Reading a file that is there, which changes nothing; it may be read-only.
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
    /// The operating system: what was committed last can be lost when the machine (not just the process) dies.
    Normal,
    /// The disk.
    #[default]
    Full,
}

/// Opens the store that the address names: `sqlite://FILE` or `postgres://…`. Must be called inside a Tokio
/// runtime. The tables are made by [`Store::migrate`].
///
/// # Errors
/// [`StoreError`]: an address of no store, or a SQLite file that cannot be opened. A PostgreSQL server that is away
/// is no error yet.
pub async fn open(url: &SecretString, options: &Options) -> Result<Arc<dyn Store>, StoreError> {
    let address = url.expose_secret();
    let scheme = address.split_once(':').map_or("", |(scheme, _)| scheme);
    let problem = match scheme {
        "sqlite" => return Ok(Arc::new(SqliteStore::open(address, options).await?)),
        _ if misspelled(address, EXPECTED).is_some() => misspelled(address, EXPECTED).unwrap_or_default(),
        "postgres" | "postgresql" => return Ok(Arc::new(PostgresStore::open(url, options)?)),
        "sanity" => format!("names the Sanity store, which is not built yet: use {EXPECTED}"),
        _ => format!("is no address of SQLite or PostgreSQL: use {EXPECTED}"),
    };
    Err(StoreError::Address(format!("`{}` {problem}", masked(address))))
}

/// What an address of a store looks like.
const EXPECTED: &str = "sqlite://FILE or postgres://USER:PASSWORD@HOST:PORT/DATABASE";

/// Makes the tables where there are none. Those of an older program are brought up to date if `migrate` is set, and refused
/// if not: a program that is started somewhere must not change the tables under all others.
///
/// # Errors
/// [`StoreError`]: the store does not answer, or its tables are not this program's.
pub async fn make_tables(store: &dyn Store, migrate: bool) -> Result<(), StoreError> {
    let schema = store.schema().await?;
    if schema.applied.is_none() || (migrate && schema.missing > 0) {
        store.migrate().await?;
        return store.schema().await?.check();
    }
    schema.check()
}

/// [`make_tables`], however long it takes the database to answer.
///
/// # Errors
/// [`StoreError`] that waiting does not mend.
pub async fn make_tables_when_it_answers(store: &dyn Store, migrate: bool) -> Result<(), StoreError> {
    let mut pause = Duration::from_millis(200);
    loop {
        match make_tables(store, migrate).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "the store does not answer yet; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            done => return done,
        }
    }
}

/// Where tenants, passes, users, subscriptions and the event log live.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Creates the subscription unless one of its session, or of its payment intent, is there; resolves its user,
    /// creating one where needed; carries an upgrade out. All of it in one transaction. The id must be `subscription-`
    /// and the session's id.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written, or (when an answer was lost) all of it: asking again is safe.
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

    /// What any of these users holds of a tenant, newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn subscriptions_held_by(
        &self,
        tenant: &str,
        users: &[&str],
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError>;

    /// The subscriptions of these sessions, and those of these payments; each once, in no order.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn subscriptions_of(
        &self,
        sessions: &[&str],
        payments: &[&str],
    ) -> Result<Vec<Subscription>, StoreError>;

    /// The subscriptions that begin in this span of time, the last made first; at most `limit`, and only those that come
    /// after `after`, the last one of the page before.
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

    /// Whether there is a subscription of a live purchase, which its session's id tells. It costs one step in an index.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn has_live_subscription(&self) -> Result<bool, StoreError>;

    /// Every tenant with its passes, by slug.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError>;

    /// Every tenant, without its passes, by slug.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn known_tenants(&self) -> Result<Vec<KnownTenant>, StoreError>;

    /// The tenant with this id, with its passes.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn tenant(&self, id: &str) -> Result<Option<Tenant>, StoreError>;

    /// By what all passes are told, by tenant and id; at most `limit`, and only those that come after `after`, the last one of
    /// the page before.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn pass_keys(&self, after: Option<&PassKeys>, limit: u32) -> Result<Vec<PassKeys>, StoreError>;

    /// The secrets of these tenants' own webhook endpoints; `None`: of all. Nothing else reads them.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn webhook_secrets(&self, ids: Option<&[&str]>) -> Result<WebhookSecrets, StoreError>;

    /// What changes whenever a tenant or a pass does; `None`: it is not known, so nothing tells that they have not.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn catalogue_version(&self) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    /// Creates or updates these tenants and passes; keeps what is not named, and the webhook secrets of tenants that
    /// `secrets` does not name. All or nothing.
    ///
    /// # Errors
    /// [`StoreError`]; `Conflict` where a slug or an account belongs to another tenant.
    async fn import(&self, tenants: &[Tenant], secrets: &WebhookSecrets) -> Result<Imported, StoreError>;

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

    /// A logged event, if the log has reached the store with it.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn event(&self, id: &str) -> Result<Option<LoggedEvent>, StoreError>;

    /// The slugs of the tenants' paths by which events of this session came in; two at most.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn paths_of(&self, session: &str) -> Result<Vec<String>, StoreError>;

    /// Notes that an operator is about to do something; without its end.
    ///
    /// # Errors
    /// [`StoreError`]: then it must not be done.
    async fn begin_audit(&self, record: &AuditRecord) -> Result<(), StoreError>;

    /// Notes how it ended; the first word counts.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn end_audit(&self, id: &str, ended_at: DateTime<Utc>, outcome: &str) -> Result<(), StoreError>;

    /// What operators did, newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn audit(&self, limit: u32) -> Result<Vec<AuditRecord>, StoreError>;

    /// What the lookback keeps.
    fn lookback(&self) -> &dyn LookbackStore;

    /// The unmatched payments ("cases").
    fn unmatched(&self) -> &dyn UnmatchedStore;

    /// Who owns what.
    fn ownership(&self) -> &dyn OwnershipStore;

    /// Creates the tables or brings them up to date.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn migrate(&self) -> Result<(), StoreError>;

    /// How far the tables have come; changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn schema(&self) -> Result<Schema, StoreError>;

    /// What keeps the whole store from working, as its last calls found it; `None`: nothing that is known.
    fn outage(&self) -> Option<Outage> {
        None
    }

    /// Answers when the store would take a purchase; writes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn try_write(&self) -> Result<(), StoreError>;

    /// Answers when the store does, and has the tables of a purchase.
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
