//! A studio whose customers ask: its shop, its sign-in service and Stripe.

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use surepass::up::sample::SampleSession;

use crate::sign_in::{AUDIENCE, ISSUER, SignIn};
use crate::stripe::Stripe;
use support::program::PATIENCE;
use support::shop::Shop;

pub(crate) const STATUS: &str = "/api/user/subscription-status";
pub(crate) const STREAM: &str = "/api/user/subscription-status/stream";
pub(crate) const SYNC: &str = "/api/user/sync-subscriptions";
pub(crate) const PASSES: &str = "/api/user/subscriptions";
pub(crate) const SESSION: &str = "/api/user/session";

/// For HS256.
pub(crate) const SECRET: &str = "Hemmelig-noekkel-av-over-32-tegn";

/// Beside the example's studio: a school with an account of its own.
const OTHER: &str = r#"
[[tenants]]
id = "tenant-2"
slug = "other"
name = "The Other School"
timeZone = "Europe/Oslo"
stripeAccount = "acct_other"

[[tenants.passes]]
id = "pass-10"
name = "10 lessons"
type = "multi"
classesLimit = 10
price = 90000
currency = "nok"
validityType = "days"
validityDays = 60
"#;

/// Attempts that follow each other quickly.
const QUICK: &str = "[queue]\nbackoff_base_ms = 100\nbackoff_cap_seconds = 1\n";

pub(crate) struct Fixture {
    pub(crate) shop: Shop,
    pub(crate) sign_in: SignIn,
    pub(crate) stripe: Stripe,
    http: reqwest::Client,
}

/// An answer of the customers' routes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Its status, and its error in the contract's form.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        (self.status, self.body["error"].as_str().unwrap_or_default())
    }
}

pub(crate) const UNAUTHORIZED: (u16, &str) = (401, "Unauthorized");

impl Fixture {
    /// With a server and a worker.
    pub(crate) async fn open() -> Self {
        let mut studio = Self::open_with("").await;
        studio.shop.start_worker().await;
        studio
    }

    /// With a server and no worker; `customers` are lines of the section `[customers]`.
    pub(crate) async fn open_with(customers: &str) -> Self {
        let mut studio = Self::prepare(customers).await;
        studio.shop.start_server().await;
        studio
    }

    /// With no program of ours that runs yet.
    pub(crate) async fn prepare(customers: &str) -> Self {
        let (sign_in, stripe) = tokio::join!(SignIn::start(), Stripe::start());
        let mut settings =
            format!("{QUICK}[customers]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\n{customers}\n");
        // Tests ask more often than pages do.
        for often in ["requests_per_minute = 10000", "asks_per_minute = 1000"] {
            let name = often.split(' ').next().unwrap();
            if !customers.lines().any(|line| line.starts_with(name)) {
                settings.push_str(often);
                settings.push('\n');
            }
        }
        let mut shop = Shop::prepare(&settings).await;
        let other = shop.file("other.toml", OTHER);
        let imported = shop
            .surepass(&["catalog", "import", other.to_str().unwrap()])
            .await;
        assert!(imported.status.success());
        shop.set("STRIPE_API_BASE", &stripe.url);
        shop.set("SUREPASS_STRIPE_RATE", "100");
        shop.set("SUREPASS_JWKS_URL", &sign_in.jwks_url());
        shop.set("SUREPASS_JWT_SECRET", SECRET);
        Self {
            shop,
            sign_in,
            stripe,
            http: surepass::http_client::http().timeout(PATIENCE).build().unwrap(),
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_to(0, method, path)
    }

    pub(crate) fn request_to(&self, server: usize, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.shop.servers[server].address);
        self.http.request(method, url)
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Reply {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Reply {
            status,
            headers,
            body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
        }
    }

    /// As the studio's page calls.
    pub(crate) async fn call(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Reply {
        let mut request = self
            .request(method, path)
            .bearer_auth(token)
            .header("x-tenant-slug", "studio");
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.send(request).await
    }

    pub(crate) async fn status(&self, token: &str, session: &str) -> Reply {
        let body = json!({"sessionId": session});
        self.call(token, Method::POST, STATUS, Some(body)).await
    }

    /// The status of a purchase, which must be told.
    pub(crate) async fn told(&self, token: &str, session: &str) -> Value {
        let reply = self.status(token, session).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.body
    }

    /// Asks until the status has this state, as a page does.
    pub(crate) async fn until(&self, token: &str, session: &str, state: &str) -> Value {
        let mut last = Value::Null;
        let asking = async {
            loop {
                last = self.told(token, session).await;
                if last["state"] == state {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        let come = tokio::time::timeout(PATIENCE, asking).await;
        assert!(come.is_ok(), "not {state}, but {last}");
        last
    }

    pub(crate) async fn passes(&self, token: &str) -> Value {
        let reply = self.call(token, Method::GET, PASSES, None).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.body
    }

    pub(crate) async fn sync(&self, token: &str) -> Reply {
        self.call(token, Method::POST, SYNC, None).await
    }
}

/// A purchase of ten classes by this user.
pub(crate) fn of(session: SampleSession, user: &str) -> SampleSession {
    let mut session = session.with("userId", Some(user));
    session.email = format!("{user}@example.com");
    session
}

/// An upgrade from this purchase: it is tried again until that one has its pass.
pub(crate) fn upgrade_from(old: &SampleSession, session: SampleSession) -> SampleSession {
    let old = format!("subscription-{}", old.session_id());
    session
        .with("type", Some("pass_upgrade"))
        .with("upgradeFromSubscriptionId", Some(&old))
}
