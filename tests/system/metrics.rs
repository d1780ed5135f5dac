//! `/metrics` of the server and of a worker, as Prometheus' own parser reads them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use support::answer::Answer;
use support::program::{PATIENCE, awaited, eventually};
use support::shop::Shop;

#[derive(Debug, Deserialize)]
struct Family {
    r#type: String,
    unit: String,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// A page, read.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Page(BTreeMap<String, Family>);

impl Page {
    /// Fetches a page and has it read by Prometheus' own parser, which accepts only what the format allows.
    pub(crate) async fn of(address: &str) -> Self {
        let client = surepass::http_client::http().timeout(PATIENCE).build().unwrap();
        let response = client
            .get(format!("http://{address}/metrics"))
            .send()
            .await
            .unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap();
        assert!(
            kind.starts_with("application/openmetrics-text; version=1.0.0"),
            "{kind}"
        );
        read(&response.text().await.unwrap()).await
    }

    /// The samples of this name whose labels have these values, added up; `None` where there is none.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let found: Vec<f64> = self
            .0
            .values()
            .flat_map(|family| &family.samples)
            .filter(|(sample, all, _)| {
                sample == name
                    && labels
                        .iter()
                        .all(|(label, value)| all.get(*label).is_some_and(|have| have == value))
            })
            .map(|(_, _, value)| *value)
            .collect();
        (!found.is_empty()).then(|| found.iter().sum())
    }

    #[track_caller]
    fn says(&self, name: &str, labels: &[(&str, &str)], expected: f64) {
        assert_eq!(
            self.value(name, labels),
            Some(expected),
            "{name} {labels:?} in {self:#?}"
        );
    }
}

async fn read(text: &str) -> Page {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(
        root.join(".tools/python/prometheus_client").exists(),
        "Prometheus' own parser is not installed in .tools/python: run `make test`, or `scripts/install.sh test` once"
    );
    let mut parser = Command::new("python3")
        .arg(root.join("tests/peers/metrics.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = parser.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).await.unwrap();
    drop(stdin);
    let output = parser.wait_with_output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn of_server(shop: &Shop) -> Page {
    Page::of(&Shop::metrics_of(&shop.servers[0].program).await).await
}

/// A worker's own, on `SUREPASS_METRICS_BIND`.
async fn of_worker(shop: &Shop, nth: usize) -> Page {
    Page::of(&Shop::metrics_of(&shop.workers[nth]).await).await
}

/// Waits until a page is as it should be: readings are up to a second old.
async fn until(what: &str, shop: &Shop, is_so: impl Fn(&Page) -> bool) -> Page {
    let coming = async {
        loop {
            let page = of_server(shop).await;
            if is_so(&page) {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    awaited(what, coming).await
}

const KIND: [(&str, &str); 2] = [("queue", "fulfil"), ("kind", "fulfil")];

#[tokio::test]
async fn enqueued_deduplicated_started_done_retried_and_dead_are_counted_by_queue_and_kind() {
    let mut shop = Shop::prepare("[worker]\njob_timeout_seconds = 1\n").await;
    // Asking a Stripe that is away for line items would take longer than a job may.
    shop.set("STRIPE_SECRET_KEY", "");
    shop.start_server().await;
    shop.start_worker().await;
    let (good, unknown) = (
        shop.session(),
        shop.session().with("passId", Some("no-such-pass")),
    );
    let unknown = unknown.with("passName", None);
    assert_eq!(shop.buy(&good).await, Answer::accepted());
    assert_eq!(shop.buy(&good).await, Answer::duplicate());
    assert_eq!(shop.buy(&unknown).await, Answer::accepted());
    assert_eq!(
        shop.deliver(good.event("checkout.session.expired", 7)).await,
        Answer::ignored()
    );
    assert_eq!(shop.post(b"{}".to_vec(), None).await.status, 400);
    shop.settled().await;

    let server = until("one dead in the gauges", &shop, |page| {
        page.value("surepass_queue_jobs", &[("state", "dead")]) == Some(1.0)
    })
    .await;
    server.says("surepass_jobs_enqueued_total", &KIND, 2.0);
    server.says("surepass_jobs_deduplicated_total", &KIND, 1.0);
    for (result, count) in [
        ("accepted", 2.0),
        ("duplicate", 1.0),
        ("ignored", 1.0),
        ("missing_signature", 1.0),
    ] {
        server.says("surepass_webhooks_total", &[("result", result)], count);
    }
    server.says("surepass_webhook_duration_seconds_count", &[], 5.0);
    server.says("surepass_redis_up", &[("queue", "fulfil")], 1.0);
    for state in ["waiting", "scheduled", "running"] {
        server.says(
            "surepass_queue_jobs",
            &[("queue", "fulfil"), ("state", state)],
            0.0,
        );
    }
    server.says(
        "surepass_queue_oldest_waiting_seconds",
        &[("queue", "fulfil")],
        0.0,
    );
    server.says("surepass_event_log_entries", &[("queue", "fulfil")], 0.0);

    let worker = of_worker(&shop, 0).await;
    worker.says("surepass_jobs_started_total", &KIND, 2.0);
    worker.says("surepass_jobs_done_total", &KIND, 1.0);
    worker.says("surepass_jobs_retried_total", &KIND, 0.0);
    let [queue, kind] = KIND;
    worker.says(
        "surepass_jobs_dead_total",
        &[queue, kind, ("reason", "unresolved_pass")],
        1.0,
    );
    worker.says("surepass_lease_losses_total", &[queue], 0.0);
    for name in ["surepass_job_wait_seconds", "surepass_job_run_seconds"] {
        worker.says(&format!("{name}_count"), &KIND, 2.0);
        worker.says(&format!("{name}_bucket"), &[kind, ("le", "600.0")], 2.0);
        assert_eq!(
            (worker.0[name].r#type.as_str(), worker.0[name].unit.as_str()),
            ("histogram", "seconds")
        );
    }

    // Attempts that take too long while the store is locked are retried.
    let lock = shop.lock_store().await;
    let late = shop.session();
    assert_eq!(shop.buy(&late).await, Answer::accepted());
    let worker = awaited("a retry is counted", async {
        loop {
            let page = of_worker(&shop, 0).await;
            if page
                .value("surepass_jobs_retried_total", &KIND)
                .is_some_and(|retried| retried > 0.0)
            {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    worker.says("surepass_job_wait_seconds_count", &KIND, 3.0);
    drop(lock);
    shop.settled().await;
    assert_eq!(shop.fulfilled().await, [good.session_id(), late.session_id()]);
}

#[tokio::test]
async fn the_age_of_the_oldest_waiting_job_and_the_waiting_ones_are_told_while_no_worker_is_there() {
    let mut shop = Shop::prepare("").await;
    shop.start_server().await;
    for _ in 0..3 {
        let session = shop.session();
        assert_eq!(shop.buy(&session).await, Answer::accepted());
    }
    let page = until("three wait, for a while", &shop, |page| {
        page.value("surepass_queue_oldest_waiting_seconds", &[])
            .is_some_and(|age| age > 0.5)
    })
    .await;
    page.says("surepass_queue_jobs", &[("state", "waiting")], 3.0);
    page.says("surepass_event_log_entries", &[], 3.0);
}

#[tokio::test]
async fn while_redis_is_away_a_scrape_answers_the_rest_and_redis_up_0() {
    let shop = Shop::open().await;
    let session = shop.session();
    assert_eq!(shop.buy(&session).await, Answer::accepted());
    shop.settled().await;
    // Frozen is worse than dead: nothing refuses the connection.
    shop.signal_redis(Signal::SIGSTOP);
    let page = until("redis_up 0", &shop, |page| {
        page.value("surepass_redis_up", &[("queue", "fulfil")]) == Some(0.0)
    })
    .await;
    page.says("surepass_jobs_enqueued_total", &KIND, 1.0);
    assert_eq!(page.value("surepass_queue_jobs", &[]), None);
    assert!(
        page.value("surepass_redis_errors_total", &[("operation", "scrape")])
            .is_some_and(|errors| errors > 0.0)
    );
    shop.signal_redis(Signal::SIGCONT);
    until("redis_up 1", &shop, |page| {
        page.value("surepass_redis_up", &[("queue", "fulfil")]) == Some(1.0)
    })
    .await;
}

#[tokio::test]
async fn a_scrape_storm_costs_redis_one_reading_of_each_queue_a_second() {
    let shop = Arc::new(Shop::open().await);
    let address = Shop::metrics_of(&shop.servers[0].program).await;
    let client = surepass::http_client::http().timeout(PATIENCE).build().unwrap();
    let looks = async || {
        let info = shop.redis(&["INFO", "commandstats"]).await.unwrap();
        let info: String = redis::from_redis_value(info).unwrap();
        info.lines()
            .find_map(|line| line.strip_prefix("cmdstat_lindex:calls="))
            .map_or(0, |rest| rest.split(',').next().unwrap().parse::<u64>().unwrap())
    };
    let (before, began) = (looks().await, std::time::Instant::now());
    let scrapes = (0..300).map(|_| client.get(format!("http://{address}/metrics")).send());
    for answer in futures::future::join_all(scrapes).await {
        assert_eq!(answer.unwrap().status(), 200);
    }
    // Of each queue one for each second that it took, however slow this machine is, and one for the second that had begun.
    let most = 2 * (began.elapsed().as_secs() + 1);
    let readings = looks().await - before;
    assert!(
        (1..=most).contains(&readings),
        "{readings} readings, {most} at most"
    );
}

/// The workers that hold a lease of the queue.
async fn leases(shop: &Shop) -> Vec<String> {
    let held = shop
        .redis(&["ZRANGE", &shop.queue().key("lease"), "0", "-1"])
        .await;
    redis::from_redis_value(held.unwrap()).unwrap()
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_says_so() {
    // It has a lease for each of its queues.
    let settings = "[queue]\nlease_seconds = 1\n[worker]\nqueues = [\"fulfil\"]\n";
    let mut shop = Shop::prepare(settings).await;
    shop.start_server().await;
    shop.start_worker().await;
    of_worker(&shop, 0)
        .await
        .says("surepass_lease_losses_total", &[], 0.0);
    let first = leases(&shop).await;
    assert_eq!(first.len(), 1);
    shop.workers[0].frozen().await;
    // Another finds the lease ended and takes over what there was.
    shop.start_worker().await;
    let session = shop.session();
    assert_eq!(shop.buy(&session).await, Answer::accepted());
    eventually("the first one's lease is gone", async || {
        !leases(&shop).await.contains(&first[0])
    })
    .await;
    shop.workers[0].signal(Signal::SIGCONT);
    awaited("the loss is counted", async {
        loop {
            if of_worker(&shop, 0)
                .await
                .value("surepass_lease_losses_total", &[])
                == Some(1.0)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
