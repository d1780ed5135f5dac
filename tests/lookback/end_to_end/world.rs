//! Two tenants, each with a connected account, over the sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use surepass::clock::Clock;
use surepass::config::{ClientReference, QueueName};
use surepass::lookback::{AccountSyncRequest, Lookback, Report, RunId};
use surepass::queue::{Queue, QueueConfig, Redis, RedisOptions};

use support::program::{Program, awaited, run_for, stderr, stdout};
use support::shop::{Shop, WEBHOOK_SECRET, check_output, now};
use support::stripe_sandbox::StripeSandbox;

/// Short leases, so that a killed worker's jobs are soon somebody else's, and no job is given up for having been killed.
pub(crate) const SETTINGS: &str = "[queue]\nlease_seconds = 2\nbackoff_base_ms = 100\nbackoff_cap_seconds = 2\n\
    max_attempts = 100\nmax_crashes = 100";

pub(crate) const TENANTS: [&str; 2] = ["dance", "yoga"];

pub(crate) struct World {
    pub(crate) shop: Shop,
    pub(crate) stripe: StripeSandbox,
    /// Makes the runs of one test differ.
    sweeps: AtomicU32,
}

/// A session that was bought, with its own events.
pub(crate) struct Bought {
    pub(crate) session: String,
    pub(crate) events: Vec<String>,
}

impl World {
    /// With a server and so many workers.
    pub(crate) async fn open(workers: usize) -> Self {
        Self::open_with(workers, SETTINGS).await
    }

    pub(crate) async fn open_with(workers: usize, settings: &str) -> Self {
        // A webhook that was refused comes again after seconds instead of hours. A bank transfer settles when a test says so.
        let stripe = StripeSandbox::start(&["--retry-scale", "0.001", "--settle-after", "1h"]).await;
        let mut shop = Shop::empty(settings).await;
        shop.set("STRIPE_API_BASE", &stripe.url);
        shop.set("SUREPASS_STRIPE_RATE", "100");
        shop.set("RUST_LOG", "info");
        let tenants = TENANTS.map(|name| {
            json!({"id": format!("tenant-{name}"), "slug": name, "name": name, "timeZone": "Europe/Oslo",
                "webhookSecrets": [], "stripeAccount": format!("acct_{name}"),
                "passes": [{"id": "pass-10", "name": "10 classes", "type": "multi", "classesLimit": 10,
                    "price": 150_000, "currency": "nok", "validityType": "days", "validityDays": 90,
                    "isActive": true}]})
        });
        let file = shop.file("world.json", &json!({ "tenants": tenants }).to_string());
        let imported = shop
            .surepass(&["catalog", "import", file.to_str().unwrap()])
            .await;
        assert!(imported.status.success(), "{}", stderr(&imported));
        shop.start_server().await;
        for _ in 0..workers {
            shop.start_worker().await;
        }
        let webhook = json!({
            "url": format!("http://{}/webhooks/stripe", shop.servers[0].address), "secret": WEBHOOK_SECRET,
            "connect": true,
            "enabled_events": ["checkout.session.completed", "checkout.session.async_payment_succeeded"]
        });
        stripe.control(Method::POST, "webhook_endpoints", webhook).await;
        Self {
            shop,
            stripe,
            sweeps: AtomicU32::new(0),
        }
    }

    /// So many purchases at each tenant, over the last three weeks; some customers buy twice.
    pub(crate) async fn sell(&self, each: usize) -> Vec<Bought> {
        let mut bought = Vec::new();
        for tenant in TENANTS {
            let order = json!({
                "count": each, "customers": each - each / 10, "account": format!("acct_{tenant}"),
                "email": format!("{tenant}{{c}}@example.com"), "name": "Kari Nordmann {c}",
                "metadata": {"type": "pass_purchase", "passId": "pass-10", "userId": format!("{tenant}-{{c}}"),
                    "tenantId": format!("tenant-{tenant}")},
                "created_from": now() - TimeDelta::days(21), "created_to": now() - TimeDelta::hours(1),
            });
            for session in self.stripe.purchases(order).await {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                bought.push(Bought {
                    session: text(&session["id"]),
                    events: session["events"].as_array().unwrap().iter().map(text).collect(),
                });
            }
        }
        bought
    }

    /// Waits until no webhook is under way or is to be sent again; the events that were answered with 200.
    pub(crate) async fn delivered(&self) -> BTreeSet<String> {
        let path = "deliveries?wait=55&limit=1000000";
        let shown = self.stripe.control(Method::GET, path, Value::Null).await;
        assert_eq!((&shown["scheduled"], &shown["under_way"]), (&json!(0), &json!(0)));
        let tries = shown["tries"].as_array().unwrap().iter();
        tries
            .filter(|one| one["status"] == 200)
            .map(|one| one["event"].as_str().unwrap().to_owned())
            .collect()
    }

    /// How Stripe answered the lists of sessions that were asked for since [`Self::forget_calls`], by status; `none`: not
    /// at all.
    pub(crate) async fn answers(&self) -> BTreeMap<String, u64> {
        let shown = self
            .stripe
            .control(Method::GET, "requests?limit=0", Value::Null)
            .await;
        let lists = shown["counts"]["GET /v1/checkout/sessions"].as_object();
        let count = |count: &Value| count.as_u64().unwrap();
        let lists = lists.into_iter().flatten();
        lists
            .map(|(status, calls)| (status.clone(), count(calls)))
            .collect()
    }

    pub(crate) async fn forget_calls(&self) {
        self.stripe.control(Method::DELETE, "requests", Value::Null).await;
    }

    /// What the nightly schedule enqueues: a sweep of each account. Waits until all have ended.
    pub(crate) async fn look_back(&self) {
        let accounts = [None, Some("acct_dance"), Some("acct_yoga")];
        let mut runs: Vec<RunId> = Vec::new();
        for account in accounts {
            runs.push(self.begin_sweep(account, now()).await);
        }
        for run in &runs {
            let report = self.ended(run).await;
            assert_eq!(report.error, None, "{report:?}");
            assert_eq!(report.error_count, 0, "{report:?}");
        }
        self.shop.worked_off().await;
    }

    /// Enqueues a sweep over the 30 days before `to`.
    pub(crate) async fn begin_sweep(&self, account: Option<&str>, to: DateTime<Utc>) -> RunId {
        let nth = self.sweeps.fetch_add(1, Ordering::Relaxed);
        let name = format!("nightly-{nth}");
        // A day more than a visit asks for, as the nights before have come so far.
        self.begin(&AccountSyncRequest::new(
            &name,
            account,
            to - TimeDelta::days(31),
            to,
        ))
        .await
    }

    pub(crate) async fn begin(&self, request: &AccountSyncRequest) -> RunId {
        let requested = self.lookback().await.request_account_sync(request).await;
        requested.unwrap().run
    }

    /// What a run has come to in the end.
    pub(crate) async fn ended(&self, run: &RunId) -> Report {
        let lookback = self.lookback().await;
        let ending = async {
            loop {
                lookback.update(run).await.unwrap();
                let report = lookback.report(run).await.unwrap().unwrap();
                if report.done {
                    return report;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(STORM, ending).await.expect("the run ends")
    }

    /// As who asks for runs has it.
    pub(crate) async fn lookback(&self) -> Lookback {
        let redis = Redis::open(&self.shop.setting("REDIS_URL").into(), RedisOptions::default()).unwrap();
        let queue = |name: QueueName| {
            let config = QueueConfig {
                name: name.as_str().to_owned(),
                ..QueueConfig::default()
            };
            Queue::new(&redis, config).unwrap()
        };
        Lookback {
            stripe: None,
            store: self.shop.store().await,
            fulfil: queue(QueueName::Fulfil),
            sync: queue(QueueName::Sync),
            clock: Clock::system(),
            remember_events: Duration::from_hours(24),
            client_reference: ClientReference::User,
            unmatched: surepass::store::UnmatchedPolicy::Park,
            slice: Duration::ZERO,
        }
    }

    /// `surepass reconcile --json`, and its exit status.
    pub(crate) async fn reconcile(&self) -> (i32, Value) {
        let output = run_for(STORM, self.shop.command(&["reconcile", "--json"])).await;
        check_output(&stderr(&output));
        let json: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|error| {
            panic!("{error}: {}", stderr(&output));
        });
        assert_eq!(json["complete"], true, "{}", stderr(&output));
        (output.status.code().unwrap(), json)
    }
}

/// How long something may take while nothing is in order: above all the time-outs of calls to Stripe.
const STORM: Duration = Duration::from_mins(5);

/// The sessions of a kind of finding.
pub(crate) fn sessions(ledger: &Value, kind: &str) -> BTreeSet<String> {
    let items = ledger[kind]["items"].as_array().unwrap();
    items
        .iter()
        .map(|one| one["session"].as_str().unwrap().to_owned())
        .collect()
}

/// Every two seconds kills one of the workers, whatever it does, and hires another, until it is dropped.
pub(crate) async fn kill_workers(shop: &Shop, mut workers: Vec<Program>, kills: &AtomicU32) {
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut victim = workers.remove(0);
        victim.killed().await;
        kills.fetch_add(1, Ordering::Relaxed);
        check_output(&victim.said());
        let next = shop.launch_worker(&[]);
        awaited("the next worker", next.says(r#""message":"working""#)).await;
        workers.push(next);
    }
}
