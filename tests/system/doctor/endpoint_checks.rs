//! The audits that workers make by themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use surepass::clock::Clock;
use surepass::config::{QueueName, Settings};
use surepass::lookback::endpoint_check::{EndpointCheckScheduler, EndpointChecker, Findings, last_report};
use surepass::queue::{Queue, Redis, RedisOptions};
use surepass::stripe::api::{self, Client, Unpaced};

use crate::doctor::fixture::Fixture;
use crate::doctor::stripe::endpoint;
use support::program::{Program, awaited};

const LISTING: &str = "GET /v1/webhook_endpoints";

/// Waits until the worker's `/metrics` have a line with these words, and answers the page.
async fn metrics(worker: &Program, words: &str) -> String {
    let line = worker.says("listening: GET /metrics").await;
    let line: Value = serde_json::from_str(&line).unwrap();
    let url = format!("http://{}/metrics", line["address"].as_str().unwrap());
    let client = surepass::http_client::http().build().unwrap();
    let told = async {
        loop {
            let page = client.get(&url).send().await.unwrap().text().await.unwrap();
            if page.contains(words) {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    awaited(words, told).await
}

#[tokio::test]
async fn a_worker_audits_at_its_start_and_tells_it_as_an_alert_and_on_its_metrics() {
    let mut checkup = Fixture::new(false).await;
    let mut disabled = endpoint(&checkup.intake);
    disabled["status"] = "disabled".into();
    checkup.stripe.has(vec![disabled]);
    checkup.start_scheduled_worker().await;
    let worker = &checkup.shop.workers[0];
    let alert = worker.says("webhooks: Stripe has disabled").await;
    assert!(
        alert.contains(r#""level":"ERROR""#) && alert.contains(r#""code":"endpoint_disabled""#),
        "{alert}"
    );
    let page = metrics(worker, "surepass_webhook_endpoint_problems").await;
    let line = r#"surepass_webhook_endpoint_problems{severity="error",code="endpoint_disabled"} 1"#;
    assert!(page.lines().any(|told| told == line), "{page}");
}

#[tokio::test]
async fn workers_that_start_together_make_one_audit_and_all_tell_what_it_found() {
    let mut checkup = Fixture::new(true).await;
    let asked = checkup.stripe.times(LISTING);
    assert_eq!(asked, 1);
    for _ in 0..2 {
        checkup.start_scheduled_worker().await;
    }
    for worker in &checkup.shop.workers[1..] {
        metrics(worker, "surepass_webhook_endpoint_audit_timestamp").await;
    }
    assert_eq!(checkup.stripe.times(LISTING), 1);
}

#[tokio::test]
async fn no_cron_leaves_the_schedules_to_others() {
    let mut checkup = Fixture::new(false).await;
    let worker = checkup.shop.launch_worker(&[]);
    worker.says(r#""message":"working""#).await;
    let session = checkup.shop.session();
    checkup
        .shop
        .buy_as("whsec_HemmeligSignaturOfThisEndpoint", &session)
        .await;
    checkup.shop.settled().await;
    assert_eq!(checkup.shop.fulfilled().await.len(), 1);
    assert_eq!(checkup.stripe.state().asked, <[String; 0]>::default());
    checkup.shop.bury(worker);
    let wrong = checkup.doctor().await.wrong();
    assert!(
        wrong
            .iter()
            .any(|line| line.starts_with("Work/nightly: no worker")),
        "{wrong:#?}"
    );
}

#[tokio::test]
async fn two_workers_fire_each_schedule_once_at_their_start() {
    let mut checkup = Fixture::new(false).await;
    let start = Clock::system().now();
    for _ in 0..2 {
        checkup.start_scheduled_worker().await;
    }
    // By schedule and tick: while they start, another tick may come due, which is fired once as well.
    let begun = || {
        let mut begun = BTreeMap::new();
        let said: String = checkup.shop.workers.iter().map(Program::said).collect();
        for line in said
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        {
            if let (Some(schedule), Some(tick)) = (line["schedule"].as_str(), line["tick"].as_str()) {
                let tick = tick.parse::<DateTime<Utc>>().unwrap();
                *begun.entry((schedule.to_owned(), tick)).or_insert(0) += 1;
            }
        }
        begun
    };
    let has = |name: &str| begun().keys().any(|(schedule, _)| schedule == name);
    let both = async {
        while !has("nightly") || !has("recent") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for worker in &checkup.shop.workers {
            metrics(worker, "surepass_webhook_endpoint_audit_timestamp").await;
        }
    };
    awaited("the first ticks", both).await;
    let begun = begun();
    assert!(begun.values().all(|times| *times == 1), "{begun:#?}");
    for name in ["nightly", "recent"] {
        let ticks = begun.keys().filter(|(schedule, _)| schedule == name);
        let mut after_the_first = ticks.skip(1);
        assert!(after_the_first.all(|(_, tick)| *tick > start), "{begun:#?}");
    }
}

#[tokio::test]
async fn a_key_that_stripe_refuses_is_an_alert_of_its_own() {
    let mut checkup = Fixture::new(false).await;
    checkup.stripe.state().refuses_key = true;
    checkup.start_scheduled_worker().await;
    let worker = &checkup.shop.workers[0];
    worker.says(r#""code":"key_refused""#).await;
    let page = metrics(worker, "surepass_webhook_endpoint_problems").await;
    let told: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("surepass_webhook_endpoint_problems{"))
        .collect();
    assert_eq!(
        told,
        [r#"surepass_webhook_endpoint_problems{severity="error",code="key_refused"} 1"#]
    );
}

#[tokio::test]
async fn what_is_wrong_is_looked_at_again_after_five_minutes_and_what_is_in_order_after_an_hour() {
    let checkup = Fixture::new(false).await;
    let mut disabled = endpoint(&checkup.intake);
    disabled["status"] = "disabled".into();
    checkup.stripe.has(vec![disabled]);
    let minutes = Arc::new(AtomicI64::new(0));
    let rounds = [rounds(&checkup, &minutes).await, rounds(&checkup, &minutes).await];
    let looks_at = |minute: i64| {
        let (minutes, rounds, stripe) = (&minutes, &rounds, &checkup.stripe);
        async move {
            minutes.store(minute, Ordering::SeqCst);
            let before = stripe.times(LISTING);
            for one in rounds {
                one.run_if_due(false).await.unwrap();
            }
            stripe.times(LISTING) - before
        }
    };
    let wrong = || async {
        let found = last_report(&rounds[0].queue).await.unwrap().unwrap();
        found.is_wrong()
    };
    assert_eq!(looks_at(0).await, 1, "one for both");
    assert!(wrong().await);
    assert_eq!(looks_at(4).await, 0);
    assert_eq!(looks_at(5).await, 1);
    checkup.stripe.has(vec![endpoint(&checkup.intake)]);
    assert_eq!(looks_at(10).await, 1);
    assert!(!wrong().await);
    assert_eq!(looks_at(30).await, 0);
    assert_eq!(looks_at(60).await, 1);
}

/// A worker's rounds, so many minutes after noon.
async fn rounds(checkup: &Fixture, minutes: &Arc<AtomicI64>) -> EndpointCheckScheduler {
    let folder = checkup.shop.file("config/nothing", "");
    let folder = folder.parent().unwrap().to_str().unwrap().to_owned();
    let settings = Settings::load_from(|name| match name {
        "SUREPASS_CONFIG" => Some(folder.clone()),
        "STRIPE_SECRET_KEY" | "STRIPE_API_BASE" => Some(checkup.shop.setting(name).to_owned()),
        _ => None,
    })
    .unwrap();
    let redis = Redis::open(&checkup.shop.setting("REDIS_URL").into(), RedisOptions::default()).unwrap();
    let http = api::http().unwrap();
    let minutes = minutes.clone();
    let noon = "2026-11-23T12:00:00Z".parse::<DateTime<Utc>>().unwrap();
    EndpointCheckScheduler {
        queue: Queue::new(&redis, settings.queue_config_of(QueueName::Sync)).unwrap(),
        store: checkup.shop.store().await,
        checker: EndpointChecker {
            client: Client::new(http, settings.stripe_options().unwrap(), Arc::new(Unpaced)),
            clock: Clock::new(move || noon + TimeDelta::minutes(minutes.load(Ordering::SeqCst))),
            public_url: None,
        },
        settings: settings.lookback,
        findings: Findings::default(),
    }
}
