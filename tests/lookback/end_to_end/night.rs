//! What a night costs: a sweep over all of an account's customers.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use serde_json::{Value, json};
use surepass::lookback::RunId;
use surepass::store::RunPhase;

use crate::end_to_end::world::{SETTINGS, World};
use support::shop::now;

/// The limit that Stripe's calls are kept to by default, and how many of them may come at once.
const RATE: u32 = 20;
const BURST: u32 = RATE / 4;

/// Sessions of the night; five of six are somebody's first. `SUREPASS_NIGHT_SESSIONS` for another size: 12000 is what the
/// goal speaks of.
fn sessions() -> usize {
    match std::env::var("SUREPASS_NIGHT_SESSIONS") {
        Ok(number) => number.parse().unwrap(),
        Err(_) => 1_200,
    }
}

/// How long Stripe takes for a page, in ms: `SUREPASS_NIGHT_LATENCY`.
fn latency() -> Option<u32> {
    let latency = std::env::var("SUREPASS_NIGHT_LATENCY").ok()?;
    Some(latency.parse().unwrap())
}

/// How a sweep went.
struct Night {
    calls: u64,
    listed: Duration,
    ended: Duration,
}

impl World {
    /// Follows a sweep to its end.
    async fn follow(&self, run: &RunId, began: Instant) -> (Duration, Duration) {
        let store = self.shop.store().await;
        let mut listed = None;
        loop {
            let run = store.lookback().run(run.as_str()).await.unwrap().unwrap();
            if listed.is_none() && run.phase != RunPhase::Listing {
                listed = Some(began.elapsed());
            }
            if run.phase.is_over() {
                assert_eq!(run.phase, RunPhase::Done, "{run:?}");
                return (listed.unwrap_or_default(), began.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn night(&self) -> Night {
        self.forget_calls().await;
        let began = Instant::now();
        let run = self.begin_sweep(Some("acct_dance"), now()).await;
        let (listed, ended) = self.follow(&run, began).await;
        let calls = self.answers().await.values().sum();
        Night { calls, listed, ended }
    }

    /// The most memory that the worker has had so far, in MB.
    fn memory(&self) -> u64 {
        let pid = self.shop.workers[0].pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kilobytes / 1_024
    }
}

impl Night {
    fn tell(&self, what: &str, memory: u64) {
        let waits = u32::try_from(self.calls).unwrap().saturating_sub(BURST);
        let ideal = Duration::from_secs(1) * waits / RATE;
        eprintln!(
            "{what}: {} sessions, {} calls; the limit allows {:.2} s; listed in {:.2} s ({:.0} %), ended in {:.2} s; {memory} MB at most",
            sessions(),
            self.calls,
            ideal.as_secs_f64(),
            self.listed.as_secs_f64(),
            100.0 * ideal.as_secs_f64() / self.listed.as_secs_f64(),
            self.ended.as_secs_f64(),
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_night_for_all_customers_costs_a_call_for_100_sessions_and_its_memory_stays_flat() {
    let mut world = World::open_with(0, SETTINGS).await;
    world.shop.set("SUREPASS_STRIPE_RATE", &RATE.to_string());
    world.shop.start_worker().await;
    let customers = sessions() * 5 / 6;
    let order = json!({
        "count": sessions(), "customers": customers, "account": "acct_dance", "webhooks": "lose",
        "email": "dancer{c}@example.com", "name": "Kari Nordmann {c}",
        "metadata": {"type": "pass_purchase", "passId": "pass-10", "userId": "dancer-{c}", "tenantId": "tenant-dance"},
        "created_from": now() - TimeDelta::days(29), "created_to": now() - TimeDelta::hours(1),
    });
    let sold: Vec<Value> = world.stripe.purchases(order).await;
    if let Some(latency) = latency() {
        let slow = json!({"paths": ["/v1/checkout/sessions"], "drip": 100, "drip_ms": latency});
        world.stripe.faults(json!({ "api": slow })).await;
    }
    let before = world.memory();

    let worst = world.night().await;
    worst.tell("no webhook came", world.memory());
    let run = &world.shop.store().await.lookback().runs(1).await.unwrap()[0];
    assert_eq!(
        (run.counts.created, run.counts.pending, run.customers),
        (sold.len() as u64, 0, customers as u64)
    );

    let usual = world.night().await;
    usual.tell("all webhooks came", world.memory());
    let run = &world.shop.store().await.lookback().runs(1).await.unwrap()[0];
    assert_eq!((run.counts.created, run.counts.skipped), (0, sold.len() as u64));
    for night in [&worst, &usual] {
        assert!(
            night.calls <= (sessions() * 11 / 1_000) as u64,
            "{} calls",
            night.calls
        );
    }
    let grown = world.memory() - before;
    assert!(grown < 100, "{grown} MB for {} sessions", sessions());
}
