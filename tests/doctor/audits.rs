//! The audits that workers make by themselves.

use std::time::Duration;

use crate::checkup::Checkup;
use crate::program::{Program, awaited};
use crate::stripe::endpoint;

const LISTING: &str = "GET /v1/webhook_endpoints";

/// Waits until the worker's `/metrics` have a line with these words, and answers the page.
async fn metrics(worker: &Program, words: &str) -> String {
    let line = worker.says("listening: GET /metrics").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let url = format!("http://{}/metrics", line["address"].as_str().unwrap());
    let client = surepass::outbound::http().build().unwrap();
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
    let mut checkup = Checkup::new(false).await;
    let mut disabled = endpoint(&checkup.intake);
    disabled["status"] = "disabled".into();
    checkup.stripe.has(vec![disabled]);
    checkup.shop.start_worker().await;
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
    let mut checkup = Checkup::new(true).await;
    let asked = checkup.stripe.times(LISTING);
    assert_eq!(asked, 1);
    for _ in 0..2 {
        checkup.shop.start_worker().await;
    }
    for worker in &checkup.shop.workers[1..] {
        metrics(worker, "surepass_webhook_endpoint_audit_timestamp").await;
    }
    assert_eq!(checkup.stripe.times(LISTING), 1);
}

#[tokio::test]
async fn no_cron_leaves_the_schedules_to_others() {
    let mut checkup = Checkup::new(false).await;
    let worker = checkup.shop.launch_worker(&["--no-cron"]);
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
    let mut checkup = Checkup::new(false).await;
    for _ in 0..2 {
        checkup.shop.start_worker().await;
    }
    let begins = |name: &str| {
        let words = format!(r#""schedule":"{name}""#);
        let said = checkup.shop.workers.iter().map(Program::said);
        said.map(|said| said.lines().filter(|line| line.contains(&words)).count())
            .sum::<usize>()
    };
    let both = async {
        while begins("nightly") == 0 || begins("recent") == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for worker in &checkup.shop.workers {
            metrics(worker, "surepass_webhook_endpoint_audit_timestamp").await;
        }
    };
    awaited("the first ticks", both).await;
    assert_eq!((begins("nightly"), begins("recent")), (1, 1));
}

#[tokio::test]
async fn a_key_that_stripe_refuses_is_an_alert_of_its_own() {
    let mut checkup = Checkup::new(false).await;
    checkup.stripe.state().refuses_key = true;
    checkup.shop.start_worker().await;
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
