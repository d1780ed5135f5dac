//! The store over a SQL database: connections, time limits, group commit.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::pool::PoolConnection;
use sqlx::{Connection, Pool};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::dialect::Dialect;
use super::error::{is_passing, timed_out};
use super::joined::Joined;
use super::lookback::{self, Note};
use super::model::{
    AuditRecord, Buyer, Created, LoggedEvent, NewSubscription, Subscription, SubscriptionFilter, Tenant,
};
use super::purchases::{self, Statements};
use super::{
    Imported, LookbackStore, STATEMENT, Schema, Store, StoreError, UnmatchedStore, audit, events, ledger,
    schema, tenants,
};
use crate::coalesce::{Coalescer, Limits};
use crate::email;

/// Purchases in one transaction, at most.
const BATCH: usize = 256;
/// Building an index over a large table takes its time.
const MIGRATION: Duration = Duration::from_mins(10);
/// How often a transaction is tried before its failure counts, where the cause is passing.
const TRIES: usize = 3;

/// A store in a SQL database: [`SqliteStore`](super::SqliteStore) or [`PostgresStore`](super::PostgresStore).
#[expect(
    private_bounds,
    reason = "nobody outside adds a database: the dialects are sealed"
)]
pub struct SqlStore<D: Dialect> {
    pub(super) writers: Pool<D>,
    pub(super) readers: Pool<D>,
    /// A connection that stays open for as long as the store is, where the database needs one.
    kept: Mutex<Option<PoolConnection<D>>>,
    purchases: Coalescer<Box<NewSubscription>, Result<Created, StoreError>>,
    events: Joined<1>,
    pub(super) notes: Coalescer<Note, Result<(), StoreError>>,
}

#[expect(
    private_bounds,
    reason = "nobody outside adds a database: the dialects are sealed"
)]
impl<D: Dialect> SqlStore<D> {
    pub(super) fn new(writers: Pool<D>, readers: Pool<D>, parallel: usize) -> Self {
        let limits = Limits {
            batch: BATCH,
            waiting: 4 * BATCH,
            parallel,
        };
        let writer = Arc::new((writers.clone(), Statements::new::<D>()));
        let purchases = Coalescer::start(limits, move |batch| {
            let writer = Arc::clone(&writer);
            async move { create::<D>(&writer.0, &writer.1, &batch).await }
        });
        Self {
            notes: lookback::notes(&writers),
            writers,
            readers,
            kept: Mutex::default(),
            purchases,
            events: Joined::new([events::insert()]),
        }
    }

    pub(super) fn keeping(self, connection: PoolConnection<D>) -> Self {
        Self {
            kept: Mutex::new(Some(connection)),
            ..self
        }
    }
}

/// Creates the batch in one transaction. Where something in it cannot be stored, its halves are tried apart, and
/// so on down: one bad purchase does not stop the others.
async fn create<D: Dialect>(
    pool: &Pool<D>,
    statements: &Statements,
    batch: &[Box<NewSubscription>],
) -> Vec<Result<Created, StoreError>> {
    let mut answers = Vec::with_capacity(batch.len());
    let mut parts = vec![batch];
    while let Some(part) = parts.pop() {
        match create_at_once(pool, statements, part).await {
            Ok(outcomes) => answers.extend(outcomes.into_iter().map(Ok)),
            Err(StoreError::Permanent(_) | StoreError::Conflict(_)) if part.len() > 1 => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.push(second);
                parts.push(first);
            }
            Err(error) => answers.extend(part.iter().map(|_| Err(error.clone()))),
        }
    }
    answers
}

async fn create_at_once<D: Dialect>(
    pool: &Pool<D>,
    statements: &Statements,
    part: &[Box<NewSubscription>],
) -> Result<Vec<Created>, StoreError> {
    let mut tries = 1;
    loop {
        let mut connection = pool.acquire().await?;
        let created = timeout(STATEMENT, statements.create::<D>(&mut connection, part)).await;
        if !matches!(created, Ok(Ok(_))) {
            connection.close_on_drop();
        }
        match in_time(connection, created) {
            Err(error) if tries < TRIES && is_passing(&error) => tries += 1,
            done => return Ok(done?),
        }
    }
}

/// A connection that has not answered in time is thrown away: waiting for it to come to itself would hold its
/// place in the pool.
pub(super) fn in_time<D: Dialect, T, E: From<sqlx::Error>>(
    mut connection: PoolConnection<D>,
    result: Result<Result<T, E>, Elapsed>,
) -> Result<T, E> {
    result.unwrap_or_else(|_| {
        connection.close_on_drop();
        Err(timed_out().into())
    })
}

/// Refuses here what the database would refuse, or could not hold, with the rest of its batch.
fn check(one: &Subscription) -> Result<(), StoreError> {
    if one.id != Subscription::id_of(&one.stripe_session_id) {
        return Err(StoreError::Permanent(format!(
            "the id `{}` is not made from the session `{}`",
            one.id, one.stripe_session_id
        )));
    }
    let amounts = [
        one.original_price,
        one.final_price,
        one.discount_amount,
        one.upgrade_cost,
    ];
    let mut amounts = amounts.into_iter().flatten().chain([one.purchase_price]);
    match amounts.find(|money| money.currency != one.currency) {
        Some(other) => Err(StoreError::Permanent(format!(
            "a purchase in {} cannot hold an amount in {}",
            one.currency, other.currency
        ))),
        None => Ok(()),
    }
}

/// The buyer with the email as the store compares it.
fn normalise(buyer: &mut Buyer) {
    let email = buyer.email.as_deref().map(email::folded);
    buyer.email = email.filter(|email| !email.is_empty());
}

#[async_trait]
impl<D: Dialect> Store for SqlStore<D> {
    async fn create_subscription(&self, mut new: Box<NewSubscription>) -> Result<Created, StoreError> {
        check(&new.subscription)?;
        normalise(&mut new.buyer);
        match timeout(2 * STATEMENT, self.purchases.call(new)).await {
            Ok(Ok(created)) => created,
            Ok(Err(unanswered)) => Err(StoreError::Transient(unanswered.to_string())),
            Err(_) => Err(StoreError::Transient("the store is not keeping up".to_owned())),
        }
    }

    async fn subscriptions(
        &self,
        filter: &SubscriptionFilter,
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let listed = timeout(STATEMENT, purchases::list::<D>(&mut connection, filter, limit)).await;
        Ok(in_time(connection, listed)?)
    }

    async fn subscriptions_of(
        &self,
        sessions: &[&str],
        payments: &[&str],
    ) -> Result<Vec<Subscription>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let found = timeout(STATEMENT, ledger::of::<D>(&mut connection, sessions, payments)).await;
        Ok(in_time(connection, found)?)
    }

    async fn subscriptions_begun(
        &self,
        from: DateTime<Utc>,
        before: DateTime<Utc>,
        after: Option<&Subscription>,
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let page = ledger::begun::<D>(&mut connection, from, before, after, limit);
        let page = timeout(STATEMENT, page).await;
        Ok(in_time(connection, page)?)
    }

    async fn subscriptions_held_by(
        &self,
        tenant: &str,
        users: &[&str],
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let listed = purchases::list_of::<D>(&mut connection, tenant, users, limit);
        let listed = timeout(STATEMENT, listed).await;
        Ok(in_time(connection, listed)?)
    }

    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let listed = timeout(STATEMENT, tenants::list::<D>(&mut connection)).await;
        Ok(in_time(connection, listed)?)
    }

    async fn import(&self, tenants: &[Tenant]) -> Result<Imported, StoreError> {
        let mut connection = self.writers.acquire().await?;
        let imported = timeout(STATEMENT, tenants::import::<D>(&mut connection, tenants)).await;
        in_time(connection, imported)
    }

    async fn append_events(&self, events: Vec<LoggedEvent>) -> Result<(), StoreError> {
        let mut connection = self.writers.acquire().await?;
        let records = events.iter().map(|event| [events::binds(event)]);
        let appended = timeout(STATEMENT, self.events.run::<D>(&mut connection, records)).await;
        if !matches!(appended, Ok(Ok(()))) {
            connection.close_on_drop();
        }
        Ok(in_time(connection, appended)?)
    }

    async fn drop_event_bodies(&self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        let mut connection = self.writers.acquire().await?;
        let dropped = timeout(
            STATEMENT,
            events::drop_bodies::<D>(&mut connection, before, limit),
        )
        .await;
        Ok(in_time(connection, dropped)?)
    }

    async fn events(&self, limit: u32) -> Result<Vec<LoggedEvent>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let listed = timeout(STATEMENT, events::list::<D>(&mut connection, limit)).await;
        Ok(in_time(connection, listed)?)
    }

    async fn event(&self, id: &str) -> Result<Option<LoggedEvent>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let found = timeout(STATEMENT, events::find::<D>(&mut connection, id)).await;
        Ok(in_time(connection, found)?)
    }

    async fn begin_audit(&self, record: &AuditRecord) -> Result<(), StoreError> {
        let mut connection = self.writers.acquire().await?;
        let begun = timeout(STATEMENT, audit::begin::<D>(&mut connection, record)).await;
        in_time(connection, begun)?;
        Ok(())
    }

    async fn end_audit(&self, id: &str, ended_at: DateTime<Utc>, outcome: &str) -> Result<(), StoreError> {
        let mut connection = self.writers.acquire().await?;
        let ended = timeout(STATEMENT, audit::end::<D>(&mut connection, id, ended_at, outcome)).await;
        in_time(connection, ended)?;
        Ok(())
    }

    async fn audit(&self, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let listed = timeout(STATEMENT, audit::list::<D>(&mut connection, limit)).await;
        Ok(in_time(connection, listed)?)
    }

    fn lookback(&self) -> &dyn LookbackStore {
        self
    }

    fn unmatched(&self) -> &dyn UnmatchedStore {
        self
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        let mut connection = self.writers.acquire().await?;
        // It has been freed of its time limit.
        connection.close_on_drop();
        match timeout(MIGRATION, D::migrate(&mut connection)).await {
            Ok(migrated) => Ok(migrated?),
            Err(_) => Err(StoreError::Transient(
                "the tables are not up to date after 10 minutes".to_owned(),
            )),
        }
    }

    async fn schema(&self) -> Result<Schema, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let read = timeout(STATEMENT, schema::read::<D>(&mut connection)).await;
        Ok(in_time(connection, read)?)
    }

    async fn try_write(&self) -> Result<(), StoreError> {
        let mut connection = self.writers.acquire().await?;
        let tried = timeout(STATEMENT, schema::try_write::<D>(&mut connection)).await;
        Ok(in_time(connection, tried)?)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let mut connection = self.readers.acquire().await?;
        let answered = timeout(STATEMENT, connection.ping()).await;
        Ok(in_time(connection, answered)?)
    }

    async fn close(&self) {
        self.writers.close().await;
        drop(self.kept.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.readers.close().await;
    }
}

impl<D: Dialect> std::fmt::Debug for SqlStore<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlStore")
            .field("database", &D::NAME)
            .finish_non_exhaustive()
    }
}
