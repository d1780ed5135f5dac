//! A shop under examination.

use std::process::Output;

use chrono::TimeDelta;
use serde_json::Value;
use surepass::clock::Clock;
use surepass::queue::{Queue, QueueConfig, Redis, RedisOptions};

use crate::doctor::stripe::{Stripe, endpoint};
use support::program::{WORKER, awaited, eventually, stderr, stdout};
use support::shop::{SECRET_WORD, Shop};

/// A shop with all that it should have, and its Stripe.
pub(crate) struct Fixture {
    pub(crate) shop: Shop,
    pub(crate) stripe: Stripe,
    /// Of the intake, from outside.
    pub(crate) intake: String,
}

/// What the doctor said.
pub(crate) struct Findings {
    pub(crate) status: i32,
    checks: Vec<Value>,
}

impl Fixture {
    /// Everything in order, a server and (if asked for) a worker running.
    pub(crate) async fn new(with_worker: bool) -> Self {
        let stripe = Stripe::start();
        let mut shop = Shop::prepare("").await;
        for (name, value) in [
            ("STRIPE_API_BASE", stripe.url().as_str()),
            ("STRIPE_SECRET_KEY", "rk_test_HemmeligKey"),
            ("STRIPE_WEBHOOK_SECRET", "whsec_HemmeligSignaturOfThisEndpoint"),
            ("SUREPASS_ADMIN_TOKEN", "Hemmelig-admin-token-of-32-bytes"),
            ("SUREPASS_JWT_SECRET", "Hemmelig-jwt-secret-of-more-than-32-bytes"),
        ] {
            shop.set(name, value);
        }
        shop.redis(&["CONFIG", "SET", "maxmemory", "1gb"]).await.unwrap();
        shop.start_server().await;
        let address = shop.servers[0].address;
        let intake = format!("http://{address}/webhooks/stripe");
        stripe.has(vec![endpoint(&intake)]);
        let mut checkup = Self { shop, stripe, intake };
        checkup.is_reached_at(&format!("http://{address}"));
        if with_worker {
            checkup.start_worker().await;
        }
        checkup
    }

    /// What is set for the server's public address.
    pub(crate) fn is_reached_at(&self, public: &str) {
        let settings = format!("[server]\npublic_url = \"{public}\"\n[queue]\nlease_seconds = 3\n");
        self.shop.file("config/development.toml", &settings);
    }

    /// Starts a worker, and waits until it has fired its first ticks, swept the last month, made its audit and is known to
    /// all.
    async fn start_worker(&mut self) {
        self.start_scheduled_worker().await;
        let worker = &self.shop.workers[0];
        worker.says(r#""schedule":"recent""#).await;
        worker.says("webhook endpoints are ok").await;
        let store = self.shop.store().await;
        let swept = async {
            let month = Clock::system().now() - TimeDelta::days(30);
            let is_proven = async || {
                let marks = store.lookback().watermarks().await.unwrap();
                marks
                    .iter()
                    .any(|mark| mark.detector == "sessions" && mark.from < month)
            };
            while !is_proven().await {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        awaited("the first nightly lookback", swept).await;
        let redis = Redis::open(&self.shop.setting("REDIS_URL").into(), RedisOptions::default()).unwrap();
        let config = QueueConfig {
            name: "sync".to_owned(),
            ..QueueConfig::default()
        };
        let queue = Queue::new(&redis, config).unwrap();
        eventually("the end of the first lookbacks", async || {
            let counts = queue.counts().await.unwrap();
            counts.waiting + counts.scheduled + counts.running == 0
        })
        .await;
        eventually("the worker's first sign of life", async || {
            self.shop.json(&["workers", "list", "--json"]).await != serde_json::json!([])
        })
        .await;
    }

    /// Starts a worker that follows the schedules.
    pub(crate) async fn start_scheduled_worker(&mut self) {
        let worker = self.shop.launch(&WORKER, &[]);
        worker.says(r#""message":"working""#).await;
        self.shop.workers.push(worker);
    }

    pub(crate) async fn doctor(&self) -> Findings {
        let output = self.shop.surepass(&["doctor", "--json"]).await;
        findings(&output)
    }

    /// As a person sees it.
    pub(crate) async fn page(&self) -> (i32, String) {
        let output = self.shop.surepass(&["doctor"]).await;
        let text = stdout(&output);
        assert!(!text.contains(SECRET_WORD), "{text}");
        (output.status.code().unwrap(), text)
    }
}

pub(crate) fn findings(output: &Output) -> Findings {
    let text = stdout(output);
    assert!(!text.contains(SECRET_WORD), "{text}");
    let document: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{}", stderr(output)));
    let status = output.status.code().unwrap();
    assert_eq!(document["ok"], status == 0);
    Findings {
        status,
        checks: document["checks"].as_array().unwrap().clone(),
    }
}

impl Findings {
    fn of(&self, level: &str) -> Vec<String> {
        let line = |check: &Value| {
            let word = |name: &str| check[name].as_str().unwrap_or_default().to_owned();
            format!("{}/{}: {}", word("group"), word("name"), word("message"))
        };
        let of_level = self.checks.iter().filter(|check| check["level"] == level);
        of_level.map(line).collect()
    }

    pub(crate) fn wrong(&self) -> Vec<String> {
        self.of("error")
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.of("warning")
    }

    pub(crate) fn advice(&self) -> Vec<String> {
        self.of("advice")
    }

    pub(crate) fn good(&self) -> Vec<String> {
        self.of("ok")
    }

    /// The one thing that is wrong; it ends with status 1, and says how it is mended.
    pub(crate) fn only_wrong(&self) -> String {
        let wrong = self.wrong();
        assert_eq!((wrong.len(), self.status), (1, 1), "{wrong:#?}");
        let mends = self.checks.iter().filter(|check| check["level"] != "ok");
        for check in mends {
            assert!(!check["mend"].as_str().unwrap().is_empty(), "{check}");
        }
        wrong[0].clone()
    }

    /// The one warning, where nothing is wrong.
    pub(crate) fn only_warning(&self) -> String {
        let warnings = self.warnings();
        assert_eq!(self.wrong(), <[String; 0]>::default());
        assert_eq!((warnings.len(), self.status), (1, 0), "{warnings:#?}");
        warnings[0].clone()
    }

    pub(crate) fn says(&self, words: &str) {
        let all = [self.good(), self.advice(), self.warnings(), self.wrong()].concat();
        assert!(
            all.iter().any(|line| line.contains(words)),
            "`{words}` is not in {all:#?}"
        );
    }
}
