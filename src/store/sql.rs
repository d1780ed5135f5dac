//! The SQL store: connections, time limits and group commit.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::time::timeout;

use super::batch_insert::BatchInsert;
use super::dialect::Dialect;
use super::error::is_passing;
use super::lookback::{self, SessionBatch};
use super::model::{
    AuditRecord, Buyer, Created, KnownTenant, LoggedEvent, NewSubscription, PassKeys, Subscription,
    SubscriptionFilter, Tenant, WebhookSecrets,
};
use super::outage::{Access, Outage};
use super::pools::{Pools, ask, in_time};
use super::purchases::Statements;
use super::{
    Imported, LookbackStore, OwnershipStore, STATEMENT, Schema, Store, StoreError, UnmatchedStore, audit,
    events, reconciliation, schema, subscriptions, tenants,
};
use crate::batcher::{BatchLimits, Batcher};
use crate::email;

/// The most purchases in one transaction.
const BATCH: usize = 256;
/// An index on a large table takes long.
const MIGRATION: Duration = Duration::from_mins(10);
/// A catalogue may contain a hundred thousand passes.
const IMPORT: Duration = Duration::from_mins(2);
/// How often a transaction is tried in case of a transient error.
const TRIES: usize = 3;

/// The store in an SQL database: [`SqliteStore`](super::SqliteStore) or
/// [`PostgresStore`](super::PostgresStore).
#[expect(
    private_bounds,
    reason = "nobody outside adds a database: the dialects are sealed"
)]
pub struct SqlStore<D: Dialect> {
    pub(super) pools: Arc<Pools<D>>,
    purchases: Batcher<Box<NewSubscription>, Result<Created, StoreError>>,
    events: BatchInsert<1>,
    pub(super) session_batches: Batcher<SessionBatch, Result<(), StoreError>>,
}

#[expect(
    private_bounds,
    reason = "nobody outside adds a database: the dialects are sealed"
)]
impl<D: Dialect> SqlStore<D> {
    pub(super) fn new(pools: Pools<D>, parallel: usize) -> Self {
        let pools = Arc::new(pools);
        let limits = BatchLimits {
            batch: BATCH,
            waiting: 4 * BATCH,
            parallel,
        };
        let writer = Arc::new((Arc::clone(&pools), Statements::new::<D>()));
        let purchases = Batcher::start(limits, move |batch| {
            let writer = Arc::clone(&writer);
            async move { create::<D>(&writer.0, &writer.1, &batch).await }
        });
        Self {
            session_batches: lookback::session_batches(&pools),
            pools,
            purchases,
            events: BatchInsert::new([events::insert()]),
        }
    }
}

/// Creates the batch in one transaction. If a purchase cannot be stored, splits the batch in halves,
/// recursively, so that it does not block the others.
async fn create<D: Dialect>(
    pools: &Pools<D>,
    statements: &Statements,
    batch: &[Box<NewSubscription>],
) -> Vec<Result<Created, StoreError>> {
    let mut answers = Vec::with_capacity(batch.len());
    let mut parts = vec![batch];
    while let Some(part) = parts.pop() {
        match create_at_once(pools, statements, part).await {
            Ok(outcomes) => answers.extend(outcomes.into_iter().map(Ok)),
            Err(error) if part.len() > 1 && !matches!(error, StoreError::Outage(_)) => {
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
    pools: &Pools<D>,
    statements: &Statements,
    part: &[Box<NewSubscription>],
) -> Result<Vec<Created>, StoreError> {
    let mut tries = 1;
    loop {
        let mut connection = pools.acquire(Access::Write).await?;
        let created = timeout(STATEMENT, statements.create::<D>(&mut connection, part)).await;
        match in_time(connection, created) {
            Err(error) if tries < TRIES && is_passing(&error) => tries += 1,
            done => {
                let created = done?;
                pools.check_file()?;
                return Ok(created);
            }
        }
    }
}

/// Rejects what the database would reject together with the rest of the batch.
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

/// The buyer with the normalized email.
fn normalise(buyer: &mut Buyer) {
    let email = buyer.email.as_deref().map(email::normalize);
    buyer.email = email.filter(|email| !email.is_empty());
}

#[async_trait]
impl<D: Dialect> Store for SqlStore<D> {
    async fn create_subscription(&self, mut new: Box<NewSubscription>) -> Result<Created, StoreError> {
        check(&new.subscription)?;
        normalise(&mut new.buyer);
        let created = match timeout(2 * STATEMENT, self.purchases.call(new)).await {
            Ok(Ok(created)) => created,
            Ok(Err(unanswered)) => Err(StoreError::Outage(unanswered.to_string())),
            Err(_) => Err(StoreError::Outage("the store is not keeping up".to_owned())),
        };
        self.pools.note(Access::Write, created)
    }

    async fn subscriptions(
        &self,
        filter: &SubscriptionFilter,
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError> {
        ask!(self.pools, Read, |c| subscriptions::list::<D>(
            &mut c, filter, limit
        ))
    }

    async fn subscriptions_of(
        &self,
        sessions: &[&str],
        payments: &[&str],
    ) -> Result<Vec<Subscription>, StoreError> {
        ask!(self.pools, Read, |c| reconciliation::of::<D>(
            &mut c, sessions, payments
        ))
    }

    async fn subscriptions_begun(
        &self,
        from: DateTime<Utc>,
        before: DateTime<Utc>,
        after: Option<&Subscription>,
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError> {
        ask!(self.pools, Read, |c| reconciliation::begun::<D>(
            &mut c, from, before, after, limit
        ))
    }

    async fn subscriptions_held_by(
        &self,
        tenant: &str,
        users: &[&str],
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError> {
        ask!(self.pools, Read, |c| subscriptions::list_of::<D>(
            &mut c, tenant, users, limit
        ))
    }

    async fn has_live_subscription(&self) -> Result<bool, StoreError> {
        ask!(self.pools, Read, |c| subscriptions::has_live::<D>(&mut c))
    }

    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        ask!(self.pools, Read, |c| tenants::list::<D>(&mut c))
    }

    async fn known_tenants(&self) -> Result<Vec<KnownTenant>, StoreError> {
        ask!(self.pools, Read, |c| tenants::known::<D>(&mut c))
    }

    async fn tenant(&self, id: &str) -> Result<Option<Tenant>, StoreError> {
        ask!(self.pools, Read, |c| tenants::find::<D>(&mut c, id))
    }

    async fn pass_keys(&self, after: Option<&PassKeys>, limit: u32) -> Result<Vec<PassKeys>, StoreError> {
        ask!(self.pools, Read, |c| tenants::pass_keys::<D>(
            &mut c, after, limit
        ))
    }

    async fn webhook_secrets(&self, ids: Option<&[&str]>) -> Result<WebhookSecrets, StoreError> {
        ask!(self.pools, Read, |c| tenants::secrets::<D>(&mut c, ids))
    }

    async fn import(&self, tenants: &[Tenant], secrets: &WebhookSecrets) -> Result<Imported, StoreError> {
        let imported = async {
            let mut connection = self.pools.acquire(Access::Write).await?;
            let imported = timeout(IMPORT, tenants::import::<D>(&mut connection, tenants, secrets)).await;
            in_time(connection, imported)
        };
        let imported = imported.await;
        self.pools.note(Access::Write, imported)
    }

    async fn catalogue_version(&self) -> Result<Option<String>, StoreError> {
        ask!(self.pools, Read, |c| tenants::version::<D>(&mut c))
    }

    async fn append_events(&self, events: Vec<LoggedEvent>) -> Result<(), StoreError> {
        let records = events.iter().map(|event| [events::binds(event)]);
        ask!(self.pools, Write, |c| self.events.run::<D>(&mut c, records))
    }

    async fn drop_event_bodies(&self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        ask!(self.pools, Write, |c| events::drop_bodies::<D>(
            &mut c, before, limit
        ))
    }

    async fn events(&self, limit: u32) -> Result<Vec<LoggedEvent>, StoreError> {
        ask!(self.pools, Read, |c| events::list::<D>(&mut c, limit))
    }

    async fn event(&self, id: &str) -> Result<Option<LoggedEvent>, StoreError> {
        ask!(self.pools, Read, |c| events::find::<D>(&mut c, id))
    }

    async fn paths_of(&self, session: &str) -> Result<Vec<String>, StoreError> {
        ask!(self.pools, Read, |c| events::paths_of::<D>(&mut c, session))
    }

    async fn begin_audit(&self, record: &AuditRecord) -> Result<(), StoreError> {
        ask!(self.pools, Write, |c| audit::begin::<D>(&mut c, record)).map(drop)
    }

    async fn end_audit(&self, id: &str, ended_at: DateTime<Utc>, outcome: &str) -> Result<(), StoreError> {
        ask!(self.pools, Write, |c| audit::end::<D>(
            &mut c, id, ended_at, outcome
        ))
        .map(drop)
    }

    async fn audit(&self, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        ask!(self.pools, Read, |c| audit::list::<D>(&mut c, limit))
    }

    fn lookback(&self) -> &dyn LookbackStore {
        self
    }

    fn unmatched(&self) -> &dyn UnmatchedStore {
        self
    }

    fn ownership(&self) -> &dyn OwnershipStore {
        self
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        let mut connection = self.pools.acquire(Access::Write).await?;
        let migrated = timeout(MIGRATION, schema::migrate::<D>(&mut connection)).await;
        let migrated = in_time(connection, migrated);
        self.pools.note(Access::Write, migrated)
    }

    async fn schema(&self) -> Result<Schema, StoreError> {
        ask!(self.pools, Read, |c| schema::read::<D>(&mut c))
    }

    fn outage(&self) -> Option<Outage> {
        self.pools.outage()
    }

    async fn try_write(&self) -> Result<(), StoreError> {
        ask!(self.pools, Write, |c| schema::try_write::<D>(&mut c))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        ask!(self.pools, Read, |c| schema::look::<D>(&mut c))
    }

    async fn close(&self) {
        self.pools.close().await;
    }
}

impl<D: Dialect> std::fmt::Debug for SqlStore<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlStore")
            .field("database", &D::NAME)
            .finish_non_exhaustive()
    }
}
