//! Tenants that share one Stripe account, each with a webhook endpoint: Stripe sends every event to all of them, with one id.

use reqwest::Method;
use serde_json::{Value, json};

use support::answer::Answer;
use support::program::stderr;
use support::shop::Shop;
use support::stripe_sandbox::{StripeSandbox, TEST_KEY};

const SLUGS: [&str; 2] = ["alpha", "beta"];

const LINK: &str = include_str!("cases/12-payment-link-on-the-tenants-path.json");

struct Mall {
    shop: Shop,
    stripe: StripeSandbox,
    /// The Stripe prices of each tenant's pass.
    prices: Vec<String>,
}

fn secret(slug: &str) -> String {
    format!("whsec_Hemmelig{slug}")
}

/// Imports both tenants, each with a pass of these Stripe prices.
async fn import(shop: &Shop, prices: [&[String]; 2]) {
    let tenants = SLUGS.iter().zip(prices).map(|(slug, prices)| {
        json!({
            "id": format!("tenant-{slug}"), "slug": slug, "name": slug, "timeZone": "Europe/Oslo",
            "webhookSecrets": [secret(slug)],
            "passes": [{"id": "p-multi", "name": "10 classes", "type": "multi", "classesLimit": 10,
                "price": 150_000, "currency": "nok", "validityType": "days", "validityDays": 90,
                "stripePriceIds": prices, "isActive": true}],
        })
    });
    let catalog = json!({ "tenants": tenants.collect::<Vec<_>>() });
    let file = shop.file("mall.json", &catalog.to_string());
    let imported = shop
        .surepass(&["catalog", "import", file.to_str().unwrap()])
        .await;
    assert!(imported.status.success(), "{}", stderr(&imported));
}

impl Mall {
    /// Two tenants with secrets and endpoints of their own, `first` being told first.
    async fn open(first: &str) -> Self {
        let stripe = StripeSandbox::start(&[]).await;
        let mut shop = Shop::prepare("").await;
        shop.set("STRIPE_API_BASE", &stripe.url);
        shop.set("STRIPE_SECRET_KEY", TEST_KEY);
        shop.set("SUREPASS_STRIPE_RATE", "100");
        let mut prices = Vec::new();
        for slug in SLUGS {
            let form = [
                ("currency", "nok"),
                ("unit_amount", "150000"),
                ("product_data[name]", slug),
            ];
            let price = stripe.post("prices", &form).await["id"]
                .as_str()
                .unwrap()
                .to_owned();
            prices.push(price);
        }
        import(&shop, [&prices[..1], &prices[1..]]).await;
        shop.start_server().await;
        shop.start_worker().await;
        let mut order = SLUGS;
        order.sort_by_key(|slug| *slug != first);
        for slug in order {
            let url = format!("http://{}/webhooks/stripe/{slug}", shop.servers[0].address);
            let endpoint = json!({"url": url, "secret": secret(slug)});
            stripe.control(Method::POST, "webhook_endpoints", endpoint).await;
        }
        Self { shop, stripe, prices }
    }

    /// Sells by a Payment Link, which puts nothing but its price into the session, and sends its event to alpha's path alone.
    async fn sells_by_link(&self, price: &str) -> Value {
        let order = json!({"price": price, "webhooks": "drop", "client_reference_id": "user_link"});
        let sold = self.stripe.purchases(order).await.remove(0);
        let path = format!("checkout/sessions/{}", sold["id"].as_str().unwrap());
        let session = self.stripe.get(&path, &[]).await;
        let mut case: Value = serde_json::from_str(LINK).unwrap();
        let object = &mut case["event"]["data"]["object"];
        for field in ["id", "created", "payment_intent"] {
            object[field] = session[field].clone();
        }
        assert_eq!(case["post_to"], "/webhooks/stripe/alpha");
        let body = case["event"].to_string().into_bytes();
        let answer = self.shop.deliver_to("alpha", &secret("alpha"), body).await;
        assert_eq!(answer, Answer::accepted());
        self.shop.settled().await;
        sold
    }

    /// What each session has become: the tenant of its subscription.
    async fn owner(&self, session: &Value) -> Option<String> {
        let id = session["id"].as_str().unwrap();
        let held = self.shop.subscriptions().await;
        let own = held.iter().find(|one| one["stripeSessionId"] == id);
        own.map(|one| one["tenant"].as_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn each_tenant_gets_its_own_purchases_whichever_path_is_told_first() {
    for first in SLUGS {
        let mall = Mall::open(first).await;
        let mut sold = Vec::new();
        for slug in SLUGS {
            let metadata = json!({"type": "pass_purchase", "passId": "p-multi", "userId": "user_{n}",
                "tenantId": format!("tenant-{slug}")});
            let order = json!({"count": 5, "metadata": metadata, "webhooks": "deliver"});
            let sessions = mall.stripe.purchases(order).await;
            sold.extend(sessions.into_iter().map(|session| (slug, session)));
        }
        mall.stripe.delivered().await;
        mall.shop.settled().await;
        for (slug, session) in &sold {
            assert_eq!(mall.owner(session).await, Some(format!("tenant-{slug}")));
        }
        let counts = mall.shop.counts().await;
        assert_eq!((counts.done, counts.dead), (20, 0), "{counts:?}");
        let reconciled = mall.shop.surepass(&["reconcile", "--grace", "0"]).await;
        assert!(reconciled.status.success(), "{}", stderr(&reconciled));
    }
}

/// The path is lost with the webhook; the price tells as much.
#[tokio::test]
async fn a_purchase_that_only_its_price_tells_is_brought_to_the_tenant_that_sells_it() {
    let mall = Mall::open("alpha").await;
    let order = |price: &str| json!({"price": price, "webhooks": "drop", "client_reference_id": "user_link"});
    let of_alpha = mall.stripe.purchases(order(&mall.prices[0])).await.remove(0);
    let of_beta = mall.stripe.purchases(order(&mall.prices[1])).await.remove(0);
    let synced = mall.shop.surepass(&["sync", "--all"]).await;
    assert!(synced.status.success(), "{}", stderr(&synced));
    assert_eq!(mall.owner(&of_alpha).await.as_deref(), Some("tenant-alpha"));
    assert_eq!(mall.owner(&of_beta).await.as_deref(), Some("tenant-beta"));
    assert_eq!(mall.shop.counts().await.dead, 0);
}

/// The webhook cannot hold line items: they are read from Stripe.
#[tokio::test]
async fn a_payment_link_on_the_tenants_path_has_its_pass_by_the_webhook_alone_and_is_in_order_for_a_sync() {
    let mall = Mall::open("alpha").await;
    let sold = mall.sells_by_link(&mall.prices[0]).await;
    assert_eq!(mall.owner(&sold).await.as_deref(), Some("tenant-alpha"));
    let held = mall.shop.subscriptions().await.remove(0);
    assert_eq!(
        (&held["createdVia"], &held["user"]),
        (&json!("webhook"), &json!("user_link"))
    );
    let synced = mall.shop.json(&["sync", "--all", "--json"]).await;
    assert_eq!(
        (&synced["totalSessionsFound"], &synced["skippedCount"]),
        (&json!(1), &json!(1)),
        "{synced}"
    );
    assert_eq!(mall.shop.counts().await.dead, 0);
}

/// Nobody sells that price at first, and both tenants later: nothing but the path of the webhook tells whose it is.
#[tokio::test]
async fn what_the_path_told_is_kept_for_the_sync_that_brings_the_pass() {
    let mall = Mall::open("beta").await;
    let form = [
        ("currency", "nok"),
        ("unit_amount", "150000"),
        ("product_data[name]", "10 classes"),
    ];
    let price = mall.stripe.post("prices", &form).await["id"].clone();
    let price = price.as_str().unwrap().to_owned();
    let sold = mall.sells_by_link(&price).await;
    assert_eq!(mall.owner(&sold).await, None);
    let open = mall.shop.json(&["unmatched", "list", "--json"]).await;
    assert_eq!(
        (&open[0]["session"], &open[0]["reason"], &open[0]["pathTenant"]),
        (&sold["id"], &json!("unmatched"), &json!("alpha")),
        "{open}"
    );
    let both = std::slice::from_ref(&price);
    import(&mall.shop, [both, both]).await;
    let synced = mall.shop.surepass(&["sync", "--all"]).await;
    assert!(synced.status.success(), "{}", stderr(&synced));
    assert_eq!(mall.owner(&sold).await.as_deref(), Some("tenant-alpha"));
    assert_eq!(mall.shop.json(&["unmatched", "list", "--json"]).await, json!([]));
    let reconciled = mall.shop.surepass(&["reconcile", "--grace", "0"]).await;
    assert!(reconciled.status.success(), "{}", stderr(&reconciled));
}
