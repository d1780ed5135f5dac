//! A shop with a store and a fulfiller: events go in, and a word for what became of each comes out.

use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::{Connection, Executor};
use surepass::clock::Clock;
use surepass::fulfil::{Fulfilled, Fulfiller, ProvedBy, Purchase, TenantPath};
use surepass::ingest::{Triage, triage};
use surepass::store::{
    self, CreatedVia, Options, Pass, Store, Subscription, SubscriptionFilter, Synchronous, Tenant,
    UnmatchedPayment, Validity, WebhookSecrets,
};
use surepass::stripe::Event;
use tempfile::TempDir;

/// When [`session`] was created.
pub(crate) const BOUGHT: i64 = 1_761_831_277;

pub(crate) struct Shop {
    pub(crate) store: Arc<Store>,
    pub(crate) fulfiller: Fulfiller,
    folder: TempDir,
}

impl Shop {
    /// In test mode, over a new store that holds these tenants.
    pub(crate) async fn open(tenants: &[Tenant]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("sqlite://{}", folder.path().join("shop.db").display());
        let options = Options {
            synchronous: Synchronous::Normal,
            ..Options::default()
        };
        let store = store::open(&address.into(), &options).await.unwrap();
        store.migrate().await.unwrap();
        store
            .catalog()
            .import(tenants, &WebhookSecrets::new())
            .await
            .unwrap();
        let fulfiller = Fulfiller::new(Arc::clone(&store), Some(false), Clock::system());
        Self {
            store,
            fulfiller,
            folder,
        }
    }

    /// Runs a statement past the store.
    pub(crate) async fn run(&self, sql: &str) {
        let address = format!("sqlite://{}", self.folder.path().join("shop.db").display());
        let mut connection = sqlx::SqliteConnection::connect(&address).await.unwrap();
        connection
            .execute(sqlx::AssertSqlSafe(sql.to_owned()))
            .await
            .unwrap();
    }

    /// Sends an event in by the common path.
    pub(crate) async fn deliver(&self, event: &Value) -> String {
        self.deliver_to(None, event).await
    }

    /// Sends an event in by a tenant's path: `created`, `existing`, `ignored: why`, `dead: code` or `retry: code`.
    pub(crate) async fn deliver_to(&self, path: Option<&str>, event: &Value) -> String {
        let event = Event::parse(event.to_string().as_bytes()).unwrap();
        let path = path.map(|slug| TenantPath {
            slug,
            proved_by: ProvedBy::Tenant,
        });
        match triage(&event, path, CreatedVia::Webhook) {
            Triage::Fulfil(purchase) => self.fulfil(&purchase).await,
            Triage::Ignore(why) => format!("ignored: {why}"),
        }
    }

    /// Fulfils as a worker does: the purchase goes through its job's payload.
    pub(crate) async fn fulfil(&self, purchase: &Purchase) -> String {
        let payload = serde_json::to_vec(purchase).unwrap();
        match self
            .fulfiller
            .fulfil(&serde_json::from_slice(&payload).unwrap())
            .await
        {
            Ok(Fulfilled::Created { .. }) => "created".to_owned(),
            Ok(Fulfilled::Existing { .. }) => "existing".to_owned(),
            Ok(Fulfilled::Unmatched { reason, .. }) => format!("unmatched: {reason}"),
            Ok(Fulfilled::Ignored(why)) => format!("ignored: {why}"),
            Err(error) if error.is_transient() => format!("retry: {}", error.code()),
            Err(error) => format!("dead: {}", error.code()),
        }
    }

    pub(crate) async fn subscriptions(&self) -> Vec<Subscription> {
        self.store
            .subscriptions()
            .list(&SubscriptionFilter::default(), 1_000)
            .await
            .unwrap()
    }

    pub(crate) async fn cases(&self) -> Vec<UnmatchedPayment> {
        let all = surepass::store::UnmatchedFilter::default();
        self.store.unmatched().list_unmatched(&all, 1_000).await.unwrap()
    }

    /// The one subscription of a session.
    pub(crate) async fn subscription(&self, session: &str) -> Subscription {
        let filter = SubscriptionFilter {
            session: Some(session.to_owned()),
            ..SubscriptionFilter::default()
        };
        let mut found = self.store.subscriptions().list(&filter, 10).await.unwrap();
        assert_eq!(found.len(), 1, "{session}");
        found.remove(0)
    }
}

/// A tenant of the key's own account that sells a `pass-10` of ten classes, valid for 90 days, for 1,500 kroner.
pub(crate) fn tenant(id: &str) -> Tenant {
    Tenant {
        id: id.to_owned(),
        slug: format!("{id}-slug"),
        name: format!("Studio {id}"),
        time_zone: "Europe/Oslo".parse().unwrap(),
        color: None,
        stripe_account: None,
        contact: surepass::store::Contact::default(),
        unmatched: surepass::store::UnmatchedPolicy::default(),
        passes: vec![pass("pass-10", "multi")],
    }
}

pub(crate) fn pass(id: &str, kind: &str) -> Pass {
    Pass {
        id: id.to_owned(),
        name: format!("Name of {id}"),
        kind: kind.to_owned(),
        classes_limit: Some(10),
        price: serde_json::from_value(json!({"amount": 150_000, "currency": "nok"})).unwrap(),
        validity: Validity {
            kind: Some("days".to_owned()),
            days: Some(90),
            expiry: None,
        },
        stripe_price_ids: Vec::new(),
        is_active: true,
    }
}

/// A session in which `pass-10` was bought at the tenant `t1`.
pub(crate) fn session(name: &str) -> Value {
    json!({
        "id": format!("cs_test_{name}"), "object": "checkout.session", "mode": "payment", "status": "complete",
        "payment_status": "paid", "created": BOUGHT, "livemode": false, "payment_intent": format!("pi_{name}"),
        "customer": "cus_1", "amount_total": 150_000, "currency": "nok", "client_reference_id": null,
        "customer_email": null, "customer_details": {"email": "kari@example.com", "name": "Kari Nordmann"},
        "metadata": {"type": "pass_purchase", "passId": "pass-10", "userId": "user_kari", "tenantId": "t1"},
    })
}

/// [`session`] with other metadata.
pub(crate) fn session_with(name: &str, metadata: Value) -> Value {
    let mut session = session(name);
    session["metadata"] = metadata;
    session
}

/// The event that the session is complete.
pub(crate) fn completed(session: &Value) -> Value {
    let id = session["id"].as_str().unwrap_or_default();
    let id: String = id.chars().skip(3).filter(|c| !c.is_whitespace()).collect();
    json!({
        "id": format!("evt_{id}"), "object": "event",
        "api_version": "2025-03-31.basil", "created": BOUGHT + 18, "livemode": false, "pending_webhooks": 1,
        "type": "checkout.session.completed", "data": {"object": session},
    })
}

/// The event that the session is complete, from a connected account.
pub(crate) fn completed_on(account: &str, session: &Value) -> Value {
    let mut event = completed(session);
    event["account"] = json!(account);
    event
}

/// A tenant that sells on a connected account.
pub(crate) fn connected(id: &str, account: &str) -> Tenant {
    Tenant {
        stripe_account: Some(account.to_owned()),
        ..tenant(id)
    }
}

/// The purchase that the intake makes of an event.
pub(crate) fn purchase(event: &Value) -> Purchase {
    match triage(
        &Event::parse(event.to_string().as_bytes()).unwrap(),
        None,
        CreatedVia::Webhook,
    ) {
        Triage::Fulfil(purchase) => purchase,
        Triage::Ignore(why) => panic!("ignored: {why}"),
    }
}

/// What a new shop with these tenants makes of an event.
pub(crate) async fn outcome(tenants: &[Tenant], event: &Value) -> String {
    Shop::open(tenants).await.deliver(event).await
}

/// The subscription that a new shop with these tenants makes of an event.
pub(crate) async fn bought(tenants: &[Tenant], event: &Value) -> Subscription {
    let shop = Shop::open(tenants).await;
    assert_eq!(shop.deliver(event).await, "created");
    shop.subscriptions().await.remove(0)
}
