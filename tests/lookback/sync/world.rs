//! A shop beside a Stripe that it can look back into.

use std::time::Duration;

use chrono::TimeDelta;
use secrecy::SecretString;
use serde_json::{Value, json};
use surepass::clock::Clock;
use surepass::config::ClientReference;
use surepass::lookback::{AccountSyncRequest, Lookback, LookbackJob, Report, RequestedRun, RunId};
use surepass::queue::{Queue, QueueConfig, Redis, RedisOptions};
use surepass::store::Watermark;
use surepass::up::sample::SampleSession;

use crate::sync::stripe::Stripe;
use support::program::{awaited, stderr, stdout};
use support::shop::{Shop, now};

/// Attempts that follow each other quickly, and leases that end soon.
pub(crate) const QUICK: &str =
    "[queue]\nlease_seconds = 2\nbackoff_base_ms = 50\nbackoff_cap_seconds = 1\nmax_attempts = 6";

pub(crate) struct World {
    pub(crate) shop: Shop,
    pub(crate) stripe: Stripe,
}

impl World {
    /// With the example catalog, and no program that runs yet.
    pub(crate) async fn prepare() -> Self {
        Self::prepare_with("").await
    }

    /// With more settings.
    pub(crate) async fn prepare_with(more: &str) -> Self {
        let stripe = Stripe::start();
        let mut shop = Shop::prepare(&format!("{QUICK}\n{more}")).await;
        shop.set("STRIPE_API_BASE", &stripe.base());
        shop.set("SUREPASS_STRIPE_RATE", "100");
        Self { shop, stripe }
    }

    /// The same with a worker.
    pub(crate) async fn open() -> Self {
        let mut world = Self::prepare().await;
        world.shop.start_worker().await;
        world
    }

    /// A purchase of an hour ago at `studio`, of which only Stripe knows.
    pub(crate) fn sold(&self) -> SampleSession {
        let session = self.shop.session();
        self.stripe.sell(&session);
        session
    }

    /// So many of them, a minute apart, by customers of their own.
    pub(crate) fn sold_many(&self, number: i64) -> Vec<SampleSession> {
        (0..number)
            .map(|n| {
                let mut session = self.shop.session();
                session.created = now() - TimeDelta::minutes(60 + n);
                self.stripe.sell(&session);
                session
            })
            .collect()
    }

    /// Adds a tenant `yoga` that sells on `acct_yoga`.
    pub(crate) async fn import_yoga(&self) {
        let catalog = json!({"tenants": [{
            "id": "tenant-2", "slug": "yoga", "name": "Yoga", "timeZone": "Europe/Oslo", "webhookSecrets": [],
            "stripeAccount": "acct_yoga",
            "passes": [{"id": "pass-10", "name": "10 classes", "type": "multi", "classesLimit": 10, "price": 150_000,
                "currency": "nok", "validityType": "days", "validityDays": 90, "isActive": true}],
        }]});
        self.import(&catalog).await;
    }

    pub(crate) async fn import(&self, catalog: &Value) {
        let file = self.shop.file("more.json", &catalog.to_string());
        let imported = self
            .shop
            .surepass(&["catalog", "import", file.to_str().unwrap()])
            .await;
        assert!(imported.status.success(), "{}", stderr(&imported));
    }

    /// What `surepass sync … --json` tells, and whether it was content.
    pub(crate) async fn sync(&self, arguments: &[&str]) -> (Value, bool) {
        let arguments = [&["sync", "--json"], arguments].concat();
        let output = self.shop.surepass(&arguments).await;
        let report = serde_json::from_str(&stdout(&output));
        let report = report.unwrap_or_else(|_| panic!("{arguments:?}: {}", stderr(&output)));
        (report, output.status.success())
    }

    pub(crate) fn queue(&self, name: &str) -> Queue {
        let url: SecretString = self.shop.setting("REDIS_URL").into();
        let redis = Redis::open(&url, RedisOptions::default()).unwrap();
        let config = QueueConfig {
            name: name.to_owned(),
            ..QueueConfig::default()
        };
        Queue::new(&redis, config).unwrap()
    }

    /// As the cron has it: it asks, and reads.
    pub(crate) async fn lookback(&self) -> Lookback {
        Lookback {
            stripe: None,
            store: self.shop.store().await,
            fulfil: self.queue("fulfil"),
            sync: self.queue("sync"),
            clock: Clock::system(),
            remember_events: Duration::from_hours(24),
            client_reference: ClientReference::User,
            unmatched: surepass::store::UnmatchedPolicy::Park,
            slice: Duration::ZERO,
        }
    }

    pub(crate) async fn request_account_sync(&self, request: &AccountSyncRequest) -> RequestedRun {
        self.lookback().await.request_account_sync(request).await.unwrap()
    }

    pub(crate) async fn enqueue(&self, job: LookbackJob) {
        self.queue("sync").enqueue(&[job.item().unwrap()]).await.unwrap();
    }

    /// Waits until a run is over.
    pub(crate) async fn report(&self, run: &RunId) -> Report {
        let lookback = self.lookback().await;
        let ending = async {
            loop {
                lookback.update(run).await.unwrap();
                if let Some(report) = lookback.report(run).await.unwrap()
                    && report.done
                {
                    return report;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        awaited("the end of the run", ending).await
    }

    /// The ids of the jobs of the queue `sync` that are done.
    pub(crate) async fn done(&self) -> Vec<String> {
        let key = self.queue("sync").key("done");
        let done = self.shop.redis(&["LRANGE", &key, "0", "-1"]).await.unwrap();
        let done: Vec<String> = redis::from_redis_value(done).unwrap();
        done.iter()
            .map(|entry| entry.split(' ').next().unwrap().to_owned())
            .collect()
    }

    /// As an operator does it, and waits until they are no dead letters any more.
    pub(crate) async fn retry_dead(&self) {
        let arguments = ["jobs", "retry", "--dead", "--queue", "sync", "--yes"];
        let retried = self.shop.surepass(&arguments).await;
        assert!(retried.status.success(), "{}", stderr(&retried));
    }

    /// Waits until the queue `sync` has nothing to do.
    pub(crate) async fn idle(&self) {
        let queue = self.queue("sync");
        let idling = async {
            loop {
                let counts = queue.counts().await.unwrap();
                if counts.waiting + counts.scheduled + counts.running == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        awaited("an idle queue", idling).await;
    }

    pub(crate) async fn mark(&self, detector: &str) -> Option<Watermark> {
        let marks = self.shop.store().await.lookback().watermarks().await.unwrap();
        marks
            .into_iter()
            .find(|mark| mark.detector == detector && mark.account.is_none())
    }
}

/// A sweep of the key's own account over the last `days`, as a tick of `name` at this moment asks for it.
pub(crate) fn sweep(name: &str, days: i64) -> AccountSyncRequest {
    AccountSyncRequest::new(name, None, now() - TimeDelta::days(days), now())
}

pub(crate) fn ids(sessions: &[SampleSession]) -> Vec<String> {
    let mut ids: Vec<String> = sessions.iter().map(SampleSession::session_id).collect();
    ids.sort();
    ids
}
