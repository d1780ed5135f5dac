//! The copy of the catalog that fulfilment works from.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use surepass::clock::Clock;
use surepass::fulfil::Fulfiller;
use surepass::store::{Tenant, WebhookSecrets};

use crate::fulfilment::shop::{Shop, completed, pass, purchase, session, tenant};
use crate::store::statements::Statements;

struct Bench {
    shop: Shop,
    now: Arc<Mutex<DateTime<Utc>>>,
    statements: Statements,
    /// What was read of the catalog and not asked for yet.
    read: Mutex<Vec<&'static str>>,
    /// How often the store was asked whether the catalog has changed.
    looks: Mutex<usize>,
}

/// What each query of the catalog reads, by its text.
const READS: [(&str, &str); 5] = [
    ("FROM tenants ORDER BY", "all"),
    ("SELECT id, slug, stripe_account FROM", "tenants"),
    ("FROM tenants WHERE id = $1", "tenant"),
    ("SELECT tenant_id, id, name, stripe_price_ids FROM passes", "keys"),
    ("SELECT id, webhook_secrets FROM", "secrets"),
];

impl Bench {
    async fn new() -> Self {
        Self::with(&[tenant("t1")]).await
    }

    async fn with(tenants: &[Tenant]) -> Self {
        let mut shop = Shop::open(tenants).await;
        let now = Arc::new(Mutex::new(DateTime::from_timestamp(1_800_000_000, 0).unwrap()));
        let clock = Clock::new({
            let now = Arc::clone(&now);
            move || *now.lock().unwrap()
        });
        shop.fulfiller = Fulfiller::new(Arc::clone(&shop.store), Some(false), clock);
        let statements = Statements::watched();
        statements.taken();
        Self {
            shop,
            now,
            statements,
            read: Mutex::default(),
            looks: Mutex::default(),
        }
    }

    fn watch(&self) {
        for statement in self.statements.taken() {
            let text = &statement.text;
            // The more special text comes last: the list of all has its beginning, too.
            let what = READS.iter().rev().find(|(begin, _)| text.contains(begin));
            self.read.lock().unwrap().extend(what.map(|(_, what)| *what));
            *self.looks.lock().unwrap() += usize::from(text.contains("FROM catalogue_version"));
        }
    }

    /// Takes the store's tables away, or gives them back.
    async fn rename(&self, from: &str, to: &str) {
        for table in ["tenants", "catalogue_version", "subscriptions"] {
            let text = format!("ALTER TABLE {table}{from} RENAME TO {table}{to}");
            self.shop.run(&text).await;
        }
    }

    async fn buy(&self, name: &str, pass: &str) -> String {
        let mut session = session(name);
        session["metadata"]["passId"] = json!(pass);
        self.shop.fulfil(&purchase(&completed(&session))).await
    }

    async fn sell(&self, pass_id: &str) {
        let mut shop = tenant("t1");
        shop.passes.push(pass(pass_id, "multi"));
        self.watch();
        self.shop
            .store
            .catalog()
            .import(&[shop], &WebhookSecrets::new())
            .await
            .unwrap();
        // What the import itself reads does not count.
        self.statements.taken();
    }

    fn looks(&self) -> usize {
        self.watch();
        *self.looks.lock().unwrap()
    }

    /// What was read of the catalog since the last time.
    fn reads(&self) -> Vec<&'static str> {
        self.watch();
        std::mem::take(&mut self.read.lock().unwrap())
    }

    fn pass_time(&self, by: TimeDelta) {
        *self.now.lock().unwrap() += by;
    }
}

#[tokio::test]
async fn many_purchases_cost_one_read_of_their_tenant() {
    let bench = Bench::new().await;
    for n in 0..100 {
        assert_eq!(bench.buy(&n.to_string(), "pass-10").await, "created");
    }
    assert_eq!(bench.reads(), ["tenants", "tenant"]);
    assert_eq!(bench.looks(), 1);
}

#[tokio::test]
async fn a_catalog_that_has_not_changed_is_not_read_again() {
    let bench = Bench::new().await;
    bench.buy("a", "pass-10").await;
    assert_eq!(bench.reads(), ["tenants", "tenant"]);
    for n in 2..10 {
        bench.pass_time(TimeDelta::seconds(2));
        bench.buy(&n.to_string(), "pass-10").await;
        assert_eq!((bench.looks(), bench.reads().len()), (n, 0));
    }
    // What nobody sells is looked for in the catalog of this moment, which is the one at hand.
    assert_eq!(bench.buy("b", "gone").await, "dead: unresolved_pass");
    assert_eq!((bench.looks(), bench.reads().len()), (10, 0));
}

#[tokio::test]
async fn a_changed_price_counts_after_two_seconds() {
    let bench = Bench::new().await;
    bench.buy("a", "pass-10").await;
    let mut shop = tenant("t1");
    shop.passes[0].classes_limit = Some(11);
    bench
        .shop
        .store
        .catalog()
        .import(&[shop], &WebhookSecrets::new())
        .await
        .unwrap();
    bench.reads();
    bench.pass_time(TimeDelta::milliseconds(1_999));
    bench.buy("b", "pass-10").await;
    assert_eq!(bench.reads().len(), 0);
    bench.pass_time(TimeDelta::milliseconds(1));
    bench.buy("c", "pass-10").await;
    assert_eq!(bench.reads(), ["tenants", "tenant"]);
    let clips = async |name: &str| {
        bench
            .shop
            .subscription(&format!("cs_test_{name}"))
            .await
            .remaining_clips
    };
    assert_eq!((clips("b").await, clips("c").await), (Some(10), Some(11)));
    let looks = bench.looks();
    bench.pass_time(TimeDelta::hours(-1));
    bench.buy("d", "pass-10").await;
    assert_eq!(
        bench.looks(),
        looks + 1,
        "a clock that is set back does not keep a copy for ever"
    );
}

#[tokio::test]
async fn of_many_tenants_only_the_one_that_a_purchase_names_is_read() {
    let tenants: Vec<_> = (0..50).map(|n| tenant(&format!("t{n}"))).collect();
    let bench = Bench::with(&tenants).await;
    for (name, id) in [("a", "t7"), ("b", "t7"), ("c", "t30")] {
        let mut session = session(name);
        session["metadata"]["tenantId"] = json!(id);
        assert_eq!(
            bench.shop.fulfil(&purchase(&completed(&session))).await,
            "created"
        );
    }
    assert_eq!(bench.reads(), ["tenants", "tenant", "tenant"]);
}

#[tokio::test]
async fn a_purchase_that_names_no_tenant_is_told_by_its_price_and_reads_only_its_seller() {
    let mut tenants: Vec<_> = (0..50).map(|n| tenant(&format!("t{n}"))).collect();
    tenants[7].passes[0].stripe_price_ids = vec!["price_7".to_owned()];
    let bench = Bench::with(&tenants).await;
    for name in ["a", "b"] {
        let mut session = session(name);
        session["metadata"].as_object_mut().unwrap().remove("tenantId");
        let mut purchase = purchase(&completed(&session));
        purchase.price_ids = vec!["price_7".to_owned()];
        assert_eq!(bench.shop.fulfil(&purchase).await, "created");
    }
    assert_eq!(bench.reads(), ["tenants", "keys", "tenant"]);
}

#[tokio::test]
async fn a_pass_that_is_new_in_the_catalog_is_found_at_once() {
    let bench = Bench::new().await;
    assert_eq!(bench.buy("a", "pass-10").await, "created");
    bench.sell("pass-11").await;
    assert_eq!(bench.buy("b", "pass-11").await, "created");
    assert_eq!(bench.reads(), ["tenants", "tenant", "tenants", "tenant"]);
}

#[tokio::test]
async fn a_pass_that_was_corrected_is_granted_at_once() {
    let bench = Bench::new().await;
    let mut shop = tenant("t1");
    shop.passes[0].classes_limit = None;
    bench
        .shop
        .store
        .catalog()
        .import(&[shop], &WebhookSecrets::new())
        .await
        .unwrap();
    assert_eq!(bench.buy("a", "pass-10").await, "dead: invalid_pass");
    bench
        .shop
        .store
        .catalog()
        .import(&[tenant("t1")], &WebhookSecrets::new())
        .await
        .unwrap();
    assert_eq!(bench.buy("a", "pass-10").await, "created");
}

#[tokio::test]
async fn a_pass_that_was_spoilt_since_takes_nothing_from_who_holds_it() {
    let bench = Bench::new().await;
    assert_eq!(bench.buy("a", "pass-10").await, "created");
    let mut shop = tenant("t1");
    shop.passes[0].classes_limit = None;
    bench
        .shop
        .store
        .catalog()
        .import(&[shop], &WebhookSecrets::new())
        .await
        .unwrap();
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
    assert_eq!(bench.reads(), ["tenants", "tenant"]);
    assert!(bench.looks() <= 3, "{} looks", bench.looks());
}

#[tokio::test]
async fn the_first_purchases_at_once_share_one_read() {
    let bench = Bench::new().await;
    let names: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    let said = futures::future::join_all(names.iter().map(|name| bench.buy(name, "pass-10"))).await;
    assert!(said.iter().all(|said| said == "created"));
    assert_eq!(bench.reads(), ["tenants", "tenant"]);
}

#[tokio::test]
async fn while_the_store_is_away_purchases_are_tried_again_and_none_is_given_up() {
    let bench = Bench::new().await;
    bench.rename("", "_away").await;
    assert_eq!(bench.buy("a", "pass-10").await, "retry: store_unavailable");
    bench.rename("_away", "").await;
    assert_eq!(bench.buy("a", "pass-10").await, "created");
    bench.rename("", "_away").await;
    assert_eq!(bench.buy("b", "gone").await, "retry: store_unavailable");
    bench.pass_time(TimeDelta::hours(1));
    let looks = bench.looks();
    for _ in 0..10 {
        assert_eq!(bench.buy("b", "pass-10").await, "retry: store_unavailable");
    }
    assert_eq!(
        bench.looks(),
        looks + 1,
        "the copy at hand is served while the store is away"
    );
    bench.rename("_away", "").await;
    assert_eq!(bench.buy("b", "pass-10").await, "created");
}

#[tokio::test]
async fn fault_26_a_store_that_can_be_read_and_refuses_each_new_row_says_so_and_buries_no_purchase() {
    let bench = Bench::new().await;
    bench
        .shop
        .run("ALTER TABLE subscriptions RENAME COLUMN promo_code TO renamed")
        .await;
    assert_eq!(bench.buy("a", "pass-10").await, "retry: store_unavailable");
    let error = bench
        .shop
        .fulfiller
        .fulfil(&purchase(&completed(&session("a"))))
        .await;
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("promo_code") && text.contains("surepass doctor"),
        "{text}"
    );
}
