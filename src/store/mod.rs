//! The shop's records in a SQLite or PostgreSQL database: [`Store`].
//!
//! Each kind of record has a file with its statements, which `database` runs. The store knows neither Stripe nor the
//! queue. It guarantees at most one subscription for a session and for a payment, however many callers there are.

mod audit;
pub mod catalog;
mod database;
mod error;
mod events;
mod lookback;
mod model;
mod open_file;
mod outage;
mod postgres;
mod purchases;
mod query;
mod schema;
mod sqlite;
mod subscriptions;
mod tenants;
mod trust;
mod unmatched;
mod users;
mod write_plan;

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use self::database::{Database, Pools};
use self::lookback::SessionBatch;
use crate::address::{masked, misspelled};
use crate::batcher::{BatchLimits, Batcher};

pub use audit::Audit;
pub use error::StoreError;
pub use events::Events;
pub use lookback::{
    FoundSession, FulfilledPurchase, Lookback, LookbackRun, PendingSession, RecentBuyer, RunCounts, RunPhase,
    RunStep, SessionState, Watermark,
};
pub use model::*;
pub use outage::Outage;
pub use schema::Schema;
pub use sqlite::sqlite_file;
pub use subscriptions::Subscriptions;
pub use tenants::Tenants;
pub use unmatched::{
    Evidence, NewUnmatched, OpenUnmatched, RefundedPayments, Resolution, Unmatched, UnmatchedFilter,
    UnmatchedNote, UnmatchedPayment, UnmatchedPolicy, UnmatchedState,
};
pub use users::{EmailProof, Move, Moved, Users};

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
pub async fn open(url: &SecretString, options: &Options) -> Result<Arc<Store>, StoreError> {
    let address = url.expose_secret();
    let scheme = address.split_once(':').map_or("", |(scheme, _)| scheme);
    let problem = match scheme {
        "sqlite" => {
            let pools = sqlite::Pools::open(address, options).await?;
            return Ok(Arc::new(Store::new(Pools::Sqlite(pools))));
        }
        _ if misspelled(address, EXPECTED).is_some() => misspelled(address, EXPECTED).unwrap_or_default(),
        "postgres" | "postgresql" => {
            let pools = postgres::Pools::open(url, options)?;
            return Ok(Arc::new(Store::new(Pools::Postgres(Box::new(pools)))));
        }
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
pub async fn make_tables(store: &Store, migrate: bool) -> Result<(), StoreError> {
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
pub async fn make_tables_when_it_answers(store: &Store, migrate: bool) -> Result<(), StoreError> {
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

/// The most purchases in one transaction.
const BATCH: usize = 256;
/// An index on a large table takes long.
const MIGRATION: Duration = Duration::from_mins(10);

/// The shop's records in a database.
#[derive(Debug)]
pub struct Store {
    db: Arc<Database>,
    purchases: Batcher<Box<NewSubscription>, Result<Created, StoreError>>,
    session_batches: Batcher<SessionBatch, Result<(), StoreError>>,
}

impl Store {
    fn new(pools: Pools) -> Self {
        let db = Arc::new(Database::new(pools));
        let limits = BatchLimits {
            batch: BATCH,
            waiting: 4 * BATCH,
            parallel: db.writers(),
        };
        let writer = Arc::clone(&db);
        let purchases = Batcher::start(limits, move |batch: Vec<Box<NewSubscription>>| {
            let writer = Arc::clone(&writer);
            async move { purchases::create(&writer, &batch).await }
        });
        Self {
            session_batches: lookback::session_batches(&db),
            db,
            purchases,
        }
    }

    #[must_use]
    pub fn subscriptions(&self) -> Subscriptions<'_> {
        Subscriptions(self)
    }

    #[must_use]
    pub fn users(&self) -> Users<'_> {
        Users(&self.db)
    }

    #[must_use]
    pub fn catalog(&self) -> Tenants<'_> {
        Tenants(&self.db)
    }

    #[must_use]
    pub fn events(&self) -> Events<'_> {
        Events(&self.db)
    }

    #[must_use]
    pub fn audit(&self) -> Audit<'_> {
        Audit(&self.db)
    }

    #[must_use]
    pub fn lookback(&self) -> Lookback<'_> {
        Lookback(self)
    }

    #[must_use]
    pub fn unmatched(&self) -> Unmatched<'_> {
        Unmatched(&self.db)
    }

    /// Creates or migrates the tables.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn migrate(&self) -> Result<(), StoreError> {
        schema::migrate(&mut self.db.call(outage::Access::Write, MIGRATION).await?).await
    }

    /// The schema version. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn schema(&self) -> Result<Schema, StoreError> {
        schema::read(&mut self.db.read().await?).await
    }

    /// The outage that the last calls found, if any.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        self.db.outage()
    }

    /// Checks that the store can take a purchase. Writes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn try_write(&self) -> Result<(), StoreError> {
        schema::try_write(&mut self.db.write().await?).await
    }

    /// Checks that the store can be read and has the tables of a purchase.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        let nothing = "SELECT 1 AS one FROM tenants, passes, users, subscriptions WHERE 1 = 0";
        self.db.list(nothing, vec![], |_| Ok(())).await.map(drop)
    }

    /// Finishes running calls and closes the connections.
    pub async fn close(&self) {
        self.db.close().await;
    }
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
