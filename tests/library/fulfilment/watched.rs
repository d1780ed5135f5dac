//! A store as fulfilment sees it, watched.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use surepass::store::{
    AuditRecord, Created, Imported, KnownTenant, LoggedEvent, LookbackStore, NewSubscription, OwnershipStore,
    PassKeys, Schema, Store, StoreError, Subscription, SubscriptionFilter, Tenant, WebhookSecrets,
};

/// A store that notes what is read of its catalogue, and can be away or refuse to write.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) store: Arc<dyn Store>,
    /// How often it was asked whether the catalogue has changed.
    pub(crate) looks: AtomicUsize,
    /// What was read of it.
    pub(crate) reads: Mutex<Vec<String>>,
    pub(crate) is_away: AtomicBool,
    pub(crate) is_read_only: AtomicBool,
}

impl Watched {
    fn answers(&self) -> Result<&dyn Store, StoreError> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(StoreError::Outage("connection refused".to_owned()));
        }
        Ok(&*self.store)
    }

    fn read(&self, what: &str) -> Result<&dyn Store, StoreError> {
        self.reads.lock().unwrap().push(what.to_owned());
        self.answers()
    }
}

#[async_trait]
impl Store for Watched {
    async fn create_subscription(&self, new: Box<NewSubscription>) -> Result<Created, StoreError> {
        if self.is_read_only.load(Ordering::SeqCst) {
            return Err(StoreError::Outage("permission 'create' required".to_owned()));
        }
        self.answers()?.create_subscription(new).await
    }

    async fn subscriptions(
        &self,
        filter: &SubscriptionFilter,
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError> {
        self.answers()?.subscriptions(filter, limit).await
    }

    async fn subscriptions_of(
        &self,
        sessions: &[&str],
        payments: &[&str],
    ) -> Result<Vec<Subscription>, StoreError> {
        self.answers()?.subscriptions_of(sessions, payments).await
    }

    async fn subscriptions_begun(
        &self,
        from: DateTime<Utc>,
        before: DateTime<Utc>,
        after: Option<&Subscription>,
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError> {
        let store = self.answers()?;
        store.subscriptions_begun(from, before, after, limit).await
    }

    async fn subscriptions_held_by(
        &self,
        tenant: &str,
        users: &[&str],
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError> {
        self.answers()?.subscriptions_held_by(tenant, users, limit).await
    }

    async fn has_live_subscription(&self) -> Result<bool, StoreError> {
        self.answers()?.has_live_subscription().await
    }

    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        self.read("all")?.tenants().await
    }

    async fn catalogue_version(&self) -> Result<Option<String>, StoreError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.answers()?.catalogue_version().await
    }

    async fn known_tenants(&self) -> Result<Vec<KnownTenant>, StoreError> {
        self.read("tenants")?.known_tenants().await
    }

    async fn tenant(&self, id: &str) -> Result<Option<Tenant>, StoreError> {
        self.read(id)?.tenant(id).await
    }

    async fn pass_keys(&self, after: Option<&PassKeys>, limit: u32) -> Result<Vec<PassKeys>, StoreError> {
        self.read("keys")?.pass_keys(after, limit).await
    }

    async fn webhook_secrets(&self, ids: Option<&[&str]>) -> Result<WebhookSecrets, StoreError> {
        self.read("secrets")?.webhook_secrets(ids).await
    }

    async fn import(&self, tenants: &[Tenant], secrets: &WebhookSecrets) -> Result<Imported, StoreError> {
        self.answers()?.import(tenants, secrets).await
    }

    async fn append_events(&self, events: Vec<LoggedEvent>) -> Result<(), StoreError> {
        self.answers()?.append_events(events).await
    }

    async fn drop_event_bodies(&self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        self.answers()?.drop_event_bodies(before, limit).await
    }

    async fn events(&self, limit: u32) -> Result<Vec<LoggedEvent>, StoreError> {
        self.answers()?.events(limit).await
    }

    async fn event(&self, id: &str) -> Result<Option<LoggedEvent>, StoreError> {
        self.answers()?.event(id).await
    }

    async fn paths_of(&self, session: &str) -> Result<Vec<String>, StoreError> {
        self.answers()?.paths_of(session).await
    }

    async fn begin_audit(&self, record: &AuditRecord) -> Result<(), StoreError> {
        self.answers()?.begin_audit(record).await
    }

    async fn end_audit(&self, id: &str, ended_at: DateTime<Utc>, outcome: &str) -> Result<(), StoreError> {
        self.answers()?.end_audit(id, ended_at, outcome).await
    }

    async fn audit(&self, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        self.answers()?.audit(limit).await
    }

    fn unmatched(&self) -> &dyn surepass::store::UnmatchedStore {
        self.store.unmatched()
    }

    fn lookback(&self) -> &dyn LookbackStore {
        self.store.lookback()
    }

    fn ownership(&self) -> &dyn OwnershipStore {
        self.store.ownership()
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        self.answers()?.migrate().await
    }

    async fn schema(&self) -> Result<Schema, StoreError> {
        self.answers()?.schema().await
    }

    async fn try_write(&self) -> Result<(), StoreError> {
        self.answers()?.try_write().await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.answers()?.ping().await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
