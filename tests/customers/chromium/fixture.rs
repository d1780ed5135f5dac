//! A studio whose customers have browsers: its server, worker, Redis and store as they run, and `surepass-sandbox` for
//! Stripe, its hosted page and its webhooks.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use nix::sys::signal::Signal;
use reqwest::Method;
use ring::hmac;
use serde_json::{Value, json};
use surepass::store::RunPhase;

use crate::chromium::tab::{Tab, heard};
use support::program::awaited;
use support::shop::{COMPLETED, Shop, WEBHOOK_SECRET, now};
use support::stripe_sandbox::StripeSandbox;

/// For HS256.
const SECRET: &str = "Hemmelig-noekkel-av-over-32-tegn";
/// Where the cookie is on this machine.
const COOKIE: &str = "surepass";

/// Attempts that follow each other quickly, and tests that ask more often than customers.
const SETTINGS: &str = "[queue]\nbackoff_base_ms = 100\nbackoff_cap_seconds = 1\n[customers]\n\
    requests_per_minute = 10000\naddress_requests_per_minute = 100000\nsyncs_per_minute = 100\n\
    asks_per_minute = 1000\nsign_in_url = \"http://localhost:9/sign-in?school={tenant}&return={return}\"\n";

pub(crate) const SUCCESS: &str = "✅ Success! Your pass is now active.";
pub(crate) const LATE: &str = "⚠️ This is taking longer than expected. Your payment is safe. This page updates by itself; you can also refresh it, or come back later.";
pub(crate) const SYNCING: &str = "🔄 Syncing your passes…";

pub(crate) fn confirming(attempt: u32) -> String {
    format!("⏳ Confirming your purchase… ({attempt}/15)")
}

pub(crate) struct Fixture {
    pub(crate) shop: Shop,
    pub(crate) stripe: StripeSandbox,
    pub(crate) address: SocketAddr,
}

/// A checkout that has begun.
pub(crate) struct Checkout {
    pub(crate) session: String,
    /// The hosted page.
    pub(crate) url: String,
}

impl Fixture {
    /// With a server and a worker.
    pub(crate) async fn open() -> Self {
        let mut studio = Self::prepare("").await;
        studio.shop.start_worker().await;
        studio
    }

    /// With a server and no worker; `customers` are lines of the section `[customers]`.
    pub(crate) async fn prepare(customers: &str) -> Self {
        let is_other = |line: &&str| {
            let key = line.split(" = ").next();
            !customers.lines().any(|other| other.split(" = ").next() == key)
        };
        let mut settings: String = SETTINGS.split_inclusive('\n').filter(is_other).collect();
        settings.push_str(customers);
        let (stripe, mut shop) = tokio::join!(StripeSandbox::start(&[]), Shop::prepare(&settings));
        shop.set("STRIPE_API_BASE", &stripe.url);
        shop.set("SUREPASS_STRIPE_RATE", "100");
        shop.set("SUREPASS_JWT_SECRET", SECRET);
        // What is said of a test that fails is to hold a warning, not forty lines of what went well.
        shop.set("RUST_LOG", "info");
        shop.start_server().await;
        let address = shop.servers[0].address;
        // One that is started again is at the same place.
        shop.set("SUREPASS_BIND", &address.to_string());
        let webhook = json!({
            "url": format!("http://{address}/webhooks/stripe"), "secret": WEBHOOK_SECRET,
            "enabled_events": [COMPLETED, "checkout.session.async_payment_succeeded"]
        });
        stripe.control(Method::POST, "webhook_endpoints", webhook).await;
        Self {
            shop,
            stripe,
            address,
        }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where its customers see their passes.
    pub(crate) fn page(&self) -> String {
        format!("{}/studio/subscriptions", self.origin())
    }

    /// The same, on the way back from a checkout.
    pub(crate) fn page_after(&self, session: &str) -> String {
        format!("{}?success=true&session_id={session}", self.page())
    }

    // Customers and their browsers.

    /// A browser in which this customer is signed in.
    pub(crate) async fn browser_of(&self, user: &str) -> Tab {
        self.browser_with(user, json!({})).await
    }

    /// The same with other options of playwright's `newContext`.
    pub(crate) async fn browser_with(&self, user: &str, options: Value) -> Tab {
        let tab = self.stranger(options).await;
        self.sign_in(&tab, &token(user, 900)).await;
        tab
    }

    /// A browser in which nobody is signed in.
    pub(crate) async fn stranger(&self, options: Value) -> Tab {
        let mut all = json!({"locale": "en-GB", "viewport": {"width": 390, "height": 844}});
        let Value::Object(options) = options else {
            panic!("options are an object");
        };
        all.as_object_mut().unwrap().extend(options);
        Tab::open(all).await
    }

    /// As a page of the shop does: the server puts the token into a cookie.
    pub(crate) async fn sign_in(&self, tab: &Tab, token: &str) {
        let headers = json!({"authorization": format!("Bearer {token}")});
        let url = format!("{}/api/user/session", self.origin());
        let answer = tab.does("request.post", json!([url, {"headers": headers}])).await;
        assert_eq!(answer["status"], 204);
    }

    /// A cookie that the browser has kept beyond its time.
    pub(crate) async fn keep_cookie(&self, tab: &Tab, token: &str) {
        let cookie = json!({"name": COOKIE, "value": token, "url": self.origin(), "httpOnly": true});
        tab.does("context.addCookies", json!([[cookie]])).await;
    }

    // Checkouts.

    /// A checkout of ten classes that this customer has begun.
    pub(crate) async fn checkout(&self, user: &str) -> Checkout {
        self.checkout_at(&self.page(), user).await
    }

    /// The same, which leads back to this page.
    pub(crate) async fn checkout_at(&self, page: &str, user: &str) -> Checkout {
        self.checkout_of(
            page,
            &[("metadata[userId]", user), ("metadata[passId]", "pass-10")],
        )
        .await
    }

    /// A checkout with these parameters beside those that all have.
    pub(crate) async fn checkout_of(&self, page: &str, parameters: &[(&str, &str)]) -> Checkout {
        let success = format!("{page}?success=true&session_id={{CHECKOUT_SESSION_ID}}");
        let mut form = vec![
            ("mode", "payment"),
            ("success_url", &success),
            ("metadata[type]", "pass_purchase"),
            ("metadata[tenantId]", "tenant-1"),
        ];
        form.extend(parameters);
        if !parameters.iter().any(|(name, _)| name.starts_with("line_items")) {
            form.extend([
                ("line_items[0][price_data][unit_amount]", "150000"),
                ("line_items[0][price_data][currency]", "nok"),
                ("line_items[0][price_data][product_data][name]", "10 classes"),
            ]);
        }
        let session = self.stripe.post("checkout/sessions", &form).await;
        let text = |name: &str| session[name].as_str().unwrap().to_owned();
        Checkout {
            session: text("id"),
            url: text("url"),
        }
    }

    /// A purchase of this many days ago that has come to its pass; `more` is metadata beside that which all have. Answers the
    /// session.
    pub(crate) async fn bought(&self, user: &str, pass: &str, days_ago: i64, more: Value) -> String {
        let mut metadata =
            json!({"type": "pass_purchase", "passId": pass, "userId": user, "tenantId": "tenant-1"});
        metadata
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let at = now() - TimeDelta::days(days_ago);
        let order = json!({
            "guests": true, "email": format!("{user}@example.com"), "amount": 150_000,
            "created_from": at, "created_to": at, "metadata": metadata
        });
        let sessions = self.stripe.purchases(order).await;
        self.stripe.delivered().await;
        self.shop.worked_off().await;
        sessions[0]["id"].as_str().unwrap().to_owned()
    }

    /// So many paid sessions of which no webhook tells.
    pub(crate) async fn missed(&self, user: &str, count: usize) -> Vec<String> {
        let order = json!({
            "count": count, "guests": true, "email": format!("{user}@example.com"), "webhooks": "none",
            "metadata": {"type": "pass_purchase", "passId": "pass-10", "userId": user, "tenantId": "tenant-1"}
        });
        let sessions = self.stripe.purchases(order).await;
        let mut ids: Vec<_> = sessions
            .iter()
            .map(|session| session["id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    }

    /// Waits until the quiet sync of a visit has been and found what there was, so that what comes then is for others to find.
    pub(crate) async fn quiet_sync_is_over(&self) {
        let store = self.shop.store().await;
        awaited("the quiet sync's end", async {
            loop {
                let runs = store.lookback().runs(10).await.unwrap();
                if !runs.is_empty() && runs.iter().all(|run| run.phase == RunPhase::Done) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// Sends all that was dropped of a session's webhooks, as a person does in Stripe's Dashboard.
    pub(crate) async fn resend(&self, session: &str) {
        let events = self.stripe.get("events", &[("type", COMPLETED)]).await;
        let of_session = |event: &&Value| event["data"]["object"]["id"] == session;
        let event = events["data"].as_array().unwrap().iter().find(of_session);
        let path = format!("events/{}/resend", event.unwrap()["id"].as_str().unwrap());
        self.stripe.control(Method::POST, &path, Value::Null).await;
    }

    /// Starts the server again with another setting.
    pub(crate) async fn starts_again_with(&mut self, name: &str, value: &str) {
        self.stop_server().await;
        self.shop.set(name, value);
        self.shop.start_server().await;
    }

    pub(crate) async fn stop_server(&mut self) {
        let mut server = self.shop.servers.pop().unwrap();
        server.program.signal(Signal::SIGTERM);
        server.program.ended().await;
        self.shop.bury(server.program);
    }
}

impl Tab {
    /// Waits until the page has counted so far, or further: a busy machine may sleep through a number.
    pub(crate) async fn counts_to(&self, attempt: u32) {
        let numbers = (attempt..=15).map(|attempt| heard(&format!("({attempt}/15)")));
        self.sees(&numbers.collect::<Vec<_>>().join(", ")).await;
    }

    /// Pays on the hosted page, and is sent back to the shop.
    pub(crate) async fn pays(&self, checkout: &Checkout) {
        assert_eq!(self.visit(&checkout.url).await, 200);
        self.fill("input[name=email]", "kari@example.com").await;
        self.click("button[value=card]").await;
        self.arrives("**/subscriptions**").await;
    }
}

/// How many seconds longer than it says a token is taken, as clocks differ.
pub(crate) const LEEWAY: i64 = 60;

/// A token of a user that ends in so many seconds; what is past is negative.
pub(crate) fn token(user: &str, seconds: i64) -> String {
    let now = now().timestamp();
    let claims = json!({
        "sub": user, "email": format!("{user}@example.com"), "email_verified": true,
        "iat": now + seconds.min(0), "exp": now + seconds
    });
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(json!({"alg": "HS256", "typ": "JWT"})), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
