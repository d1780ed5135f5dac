//! Everything at once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::end_to_end::world::{World, kill_workers, sessions};

/// Purchases, both tenants together. `SUREPASS_STORM_PURCHASES` for another size.
fn purchases() -> usize {
    match std::env::var("SUREPASS_STORM_PURCHASES") {
        Ok(number) => number.parse().unwrap(),
        Err(_) => 2_000,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_0_doubled_0_after_one_lookback_whatever_befell_webhooks_stripe_and_workers() {
    let begun = Instant::now();
    let told = |what: &str| eprintln!("{:>6.1} s  {what}", begun.elapsed().as_secs_f64());
    let mut world = World::open(3).await;
    world
        .stripe
        .faults(json!({
            // With this one some call of the lookback hangs, and none of a reconcile: each costs the client's 20 s.
            "seed": 20,
            "deliveries": {"drop": 15, "double": 10, "reorder": 100, "reorder_ms": 3_000},
            "api": {"rate_limited": 4, "error": 4, "hang": 2, "hang_ms": 25_000},
        }))
        .await;
    let workers = std::mem::take(&mut world.shop.workers);
    told("open");

    let bought = world.sell(purchases() / 2).await;
    told("sold");
    let story = async {
        let delivered = world.delivered().await;
        world.shop.worked_off().await;
        told("webhooks delivered, and worked off");
        let lost: BTreeSet<String> = bought
            .iter()
            .filter(|one| !one.events.iter().any(|event| delivered.contains(event)))
            .map(|one| one.session.clone())
            .collect();
        assert!(
            lost.len() > bought.len() / 10,
            "{} of {}",
            lost.len(),
            bought.len()
        );

        let (status, before) = world.reconcile().await;
        told("reconciled before the lookback");
        assert_eq!(status, 1);
        assert_eq!(sessions(&before, "missing"), lost);
        assert_eq!(
            (&before["paid"], &before["doubled"]["count"]),
            (&json!(bought.len()), &json!(0))
        );

        world.look_back().await;
        told("looked back");
        let (status, after) = world.reconcile().await;
        told("reconciled after the lookback");
        assert_eq!(status, 0, "{after}");
        assert_is_whole(&after, bought.len());
        assert_eq!(came_by(&after, "lookback"), lost.len());
        assert_eq!(came_by(&after, "webhook"), bought.len() - lost.len());
    };
    let kills = AtomicU32::new(0);
    tokio::select! {
        () = story => {}
        () = kill_workers(&world.shop, workers, &kills) => {}
    }
    let answers = world.answers().await;
    told(&format!("{kills:?} workers killed; Stripe's lists: {answers:?}"));
    assert!(kills.load(Ordering::Relaxed) >= 3);
    for answer in ["200", "429", "500"] {
        assert!(answers.contains_key(answer), "{answers:?}");
    }

    // The storm is over: a second lookback brings nothing, and costs little more than a call for 100 sessions.
    world.stripe.faults(json!({})).await;
    world.shop.start_worker().await;
    world.forget_calls().await;
    world.look_back().await;
    let calls: u64 = world.answers().await.values().sum();
    told(&format!("looked back again, with {calls} calls"));
    // Per account one call may find its page not full, and there is the key's own account, which has none.
    let most = bought.len() * 11 / 1_000 + if bought.len() < 2_000 { 3 } else { 0 };
    assert!(
        calls <= most as u64,
        "{calls} calls for {} sessions",
        bought.len()
    );
    let (status, again) = world.reconcile().await;
    assert_eq!(status, 0);
    assert_is_whole(&again, bought.len());
}

/// Every purchase has its one subscription, the right one.
fn assert_is_whole(ledger: &Value, bought: usize) {
    assert_eq!(
        (&ledger["paid"], &ledger["fulfilled"], &ledger["active"]),
        (&json!(bought), &json!(bought), &json!(bought))
    );
    for kind in [
        "missing",
        "doubled",
        "wrong",
        "inFlight",
        "unpaidActive",
        "unknownSession",
    ] {
        assert_eq!(ledger[kind]["count"], 0, "{kind}: {}", ledger[kind]);
    }
}

fn came_by(ledger: &Value, layer: &str) -> usize {
    let layers = ledger["layers"].as_array().unwrap();
    let found = layers.iter().find(|one| one["createdVia"] == layer).unwrap();
    usize::try_from(found["count"].as_u64().unwrap()).unwrap()
}
