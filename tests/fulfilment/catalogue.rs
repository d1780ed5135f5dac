//! The copy of the catalogue that fulfilment works from.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use surepass::clock::Clock;
use surepass::fulfil::Fulfiller;
use surepass::store::{
    AuditRecord, Created, Imported, LoggedEvent, LookbackStore, NewSubscription, OwnershipStore, Schema,
    Store, StoreError, Subscription, SubscriptionFilter, Tenant,
};

use crate::shop::{Shop, completed, pass, purchase, session, tenant};

/// A store that counts the reads of its catalogue, and can be away or refuse to write.
#[derive(Debug)]
struct Watched {
    store: Arc<dyn Store>,
    reads: AtomicUsize,
    is_away: AtomicBool,
    is_read_only: AtomicBool,
}

impl Watched {
    fn answers(&self) -> Result<&dyn Store, StoreError> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(StoreError::Outage("connection refused".to_owned()));
        }
        Ok(&*self.store)
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
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.answers()?.tenants().await
    }

    async fn import(&self, tenants: &[Tenant]) -> Result<Imported, StoreError> {
        self.answers()?.import(tenants).await
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

struct Bench {
    shop: Shop,
    store: Arc<Watched>,
    now: Arc<Mutex<DateTime<Utc>>>,
}

impl Bench {
    async fn new() -> Self {
        let mut shop = Shop::open(&[tenant("t1")]).await;
        let store = Arc::new(Watched {
            store: Arc::clone(&shop.store),
            reads: AtomicUsize::new(0),
            is_away: AtomicBool::new(false),
            is_read_only: AtomicBool::new(false),
        });
        let now = Arc::new(Mutex::new(DateTime::from_timestamp(1_800_000_000, 0).unwrap()));
        let clock = Clock::new({
            let now = Arc::clone(&now);
            move || *now.lock().unwrap()
        });
        shop.fulfiller = Fulfiller::new(Arc::<Watched>::clone(&store), Some(false), clock);
        Self { shop, store, now }
    }

    async fn buy(&self, name: &str, pass: &str) -> String {
        let mut session = session(name);
        session["metadata"]["passId"] = json!(pass);
        self.shop.fulfil(&purchase(&completed(&session))).await
    }

    async fn sell(&self, pass_id: &str) {
        let mut shop = tenant("t1");
        shop.passes.push(pass(pass_id, "multi"));
        self.shop.store.import(&[shop]).await.unwrap();
    }

    fn reads(&self) -> usize {
        self.store.reads.load(Ordering::SeqCst)
    }

    fn pass_time(&self, by: TimeDelta) {
        *self.now.lock().unwrap() += by;
    }
}

#[tokio::test]
async fn many_purchases_cost_one_read_of_the_catalogue() {
    let bench = Bench::new().await;
    for n in 0..100 {
        assert_eq!(bench.buy(&n.to_string(), "pass-10").await, "created");
    }
    assert_eq!(bench.reads(), 1);
}

#[tokio::test]
async fn the_catalogue_is_read_again_when_it_is_two_seconds_old() {
    let bench = Bench::new().await;
    bench.buy("a", "pass-10").await;
    bench.pass_time(TimeDelta::milliseconds(1_999));
    bench.buy("b", "pass-10").await;
    assert_eq!(bench.reads(), 1);
    bench.pass_time(TimeDelta::milliseconds(1));
    bench.buy("c", "pass-10").await;
    assert_eq!(bench.reads(), 2);
    bench.pass_time(TimeDelta::hours(-1));
    bench.buy("d", "pass-10").await;
    assert_eq!(
        bench.reads(),
        3,
        "a clock that is set back does not keep a copy for ever"
    );
}

#[tokio::test]
async fn a_pass_that_is_new_in_the_catalogue_is_found_at_once() {
    let bench = Bench::new().await;
    assert_eq!(bench.buy("a", "pass-10").await, "created");
    bench.sell("pass-11").await;
    assert_eq!(bench.buy("b", "pass-11").await, "created");
    assert_eq!(bench.reads(), 2);
}

#[tokio::test]
async fn a_pass_that_was_corrected_is_granted_at_once() {
    let bench = Bench::new().await;
    let mut shop = tenant("t1");
    shop.passes[0].classes_limit = None;
    bench.shop.store.import(&[shop]).await.unwrap();
    assert_eq!(bench.buy("a", "pass-10").await, "dead: invalid_pass");
    bench.shop.store.import(&[tenant("t1")]).await.unwrap();
    assert_eq!(bench.buy("a", "pass-10").await, "created");
}

#[tokio::test]
async fn a_pass_that_was_spoilt_since_takes_nothing_from_who_holds_it() {
    let bench = Bench::new().await;
    assert_eq!(bench.buy("a", "pass-10").await, "created");
    let mut shop = tenant("t1");
    shop.passes[0].classes_limit = None;
    bench.shop.store.import(&[shop]).await.unwrap();
    bench.pass_time(TimeDelta::seconds(2));
    assert_eq!(bench.buy("a", "pass-10").await, "existing");
    assert_eq!(bench.buy("b", "pass-10").await, "dead: invalid_pass");
}

#[tokio::test]
async fn a_flood_of_purchases_that_nobody_sells_does_not_hammer_the_store() {
    let bench = Bench::new().await;
    assert_eq!(bench.buy("a", "pass-10").await, "created");
    let flood: Vec<_> = (0..500).map(|n| format!("flood{n}")).collect();
    let said = futures::future::join_all(flood.iter().map(|name| bench.buy(name, "gone"))).await;
    assert!(said.iter().all(|said| said == "dead: unresolved_pass"));
    assert!(bench.reads() <= 3, "{} reads", bench.reads());
}

#[tokio::test]
async fn the_first_purchases_at_once_share_one_read() {
    let bench = Bench::new().await;
    let names: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    let said = futures::future::join_all(names.iter().map(|name| bench.buy(name, "pass-10"))).await;
    assert!(said.iter().all(|said| said == "created"));
    assert_eq!(bench.reads(), 1);
}

#[tokio::test]
async fn while_the_store_is_away_purchases_are_tried_again_and_none_is_given_up() {
    let bench = Bench::new().await;
    bench.store.is_away.store(true, Ordering::SeqCst);
    assert_eq!(bench.buy("a", "pass-10").await, "retry: store_unavailable");
    bench.store.is_away.store(false, Ordering::SeqCst);
    assert_eq!(bench.buy("a", "pass-10").await, "created");
    bench.store.is_away.store(true, Ordering::SeqCst);
    assert_eq!(bench.buy("b", "gone").await, "retry: store_unavailable");
    bench.pass_time(TimeDelta::hours(1));
    let reads = bench.reads();
    for _ in 0..10 {
        assert_eq!(bench.buy("b", "pass-10").await, "retry: store_unavailable");
    }
    assert_eq!(
        bench.reads(),
        reads + 1,
        "the copy at hand is served while the store is away"
    );
    bench.store.is_away.store(false, Ordering::SeqCst);
    assert_eq!(bench.buy("b", "pass-10").await, "created");
}

#[tokio::test]
async fn fault_26_a_store_that_lacks_the_permission_to_create_says_so_and_buries_no_purchase() {
    let bench = Bench::new().await;
    bench.store.is_read_only.store(true, Ordering::SeqCst);
    assert_eq!(bench.buy("a", "pass-10").await, "retry: store_unavailable");
    let error = bench
        .shop
        .fulfiller
        .fulfil(&purchase(&completed(&session("a"))))
        .await;
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("permission 'create' required") && text.contains("surepass doctor"),
        "{text}"
    );
}
