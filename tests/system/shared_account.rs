//! Tenants that share one Stripe account, each with a webhook endpoint: Stripe sends every event to all of them, with one id.

use reqwest::Method;
use serde_json::{Value, json};

use crate::program::stderr;
use crate::shop::Shop;
use crate::stripe_sandbox::{StripeSandbox, TEST_KEY};

const SLUGS: [&str; 2] = ["alpha", "beta"];

struct Mall {
    shop: Shop,
    stripe: StripeSandbox,
    /// The Stripe prices of each tenant's pass.
    prices: Vec<String>,
}

fn secret(slug: &str) -> String {
    format!("whsec_Hemmelig{slug}")
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
        let mut tenants = Vec::new();
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
            tenants.push(json!({
                "id": format!("tenant-{slug}"), "slug": slug, "name": slug, "timeZone": "Europe/Oslo",
                "webhookSecrets": [secret(slug)],
                "passes": [{"id": "p-multi", "name": "10 classes", "type": "multi", "classesLimit": 10,
                    "price": 150_000, "currency": "nok", "validityType": "days", "validityDays": 90,
                    "stripePriceIds": [&price], "isActive": true}],
            }));
            prices.push(price);
        }
        let file = shop.file("mall.json", &json!({ "tenants": tenants }).to_string());
        let imported = shop
            .surepass(&["catalog", "import", file.to_str().unwrap()])
            .await;
        assert!(imported.status.success(), "{}", stderr(&imported));
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
