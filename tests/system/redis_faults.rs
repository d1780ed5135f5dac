//! Redis away, slow, read-only, full: the intake answers 503, and nothing is lost or doubled.

use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::Signal;

use support::answer::Answer;
use support::customers::Customers;
use support::program::awaited;
use support::shop::Shop;

const OUTAGE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn redis_frozen_for_5_s_under_load_means_503_and_then_nothing_is_lost_or_doubled() {
    // A lease shorter than the outage: the worker loses its jobs as well.
    let shop = Shop::open_with("[queue]\nlease_seconds = 1\nbackoff_base_ms = 50").await;
    let customers = Customers::default();
    let outage = async {
        customers.wait_for(&customers.accepted, 30).await;
        shop.signal_redis(Signal::SIGSTOP);
        tokio::time::sleep(OUTAGE).await;
        shop.signal_redis(Signal::SIGCONT);
        customers.wait_for(&customers.accepted, 30).await;
        customers.closed.store(true, Ordering::Relaxed);
    };
    tokio::join!(customers.buy(&shop), outage);
    assert!(customers.refused.load(Ordering::Relaxed) >= 6);
    customers.assert_answered_200_or_503();
    customers.all_get_their_passes(&shop, 0, Duration::ZERO).await;
}

#[tokio::test]
async fn redis_killed_and_back_after_5_s_under_load_means_503_and_then_nothing_is_lost_or_doubled() {
    let mut shop = Shop::open_with("[queue]\nbackoff_base_ms = 50").await;
    let customers = Customers::default();
    // The shop is lent to the customers, its Redis is killed by its id.
    let kill = async {
        customers.wait_for(&customers.accepted, 30).await;
        shop.signal_redis(Signal::SIGKILL);
        assert_eq!(
            (shop.get(0, "/healthz").await, shop.get(0, "/readyz").await),
            (200, 503)
        );
        tokio::time::sleep(OUTAGE).await;
        customers.wait_for(&customers.refused, 6).await;
        customers.closed.store(true, Ordering::Relaxed);
    };
    tokio::join!(customers.buy(&shop), kill);
    assert!(customers.refused.load(Ordering::Relaxed) >= 6);
    shop.restart_redis().await;
    customers.assert_answered_200_or_503();
    // From the first event on: none is refused for an outage that is over.
    customers.all_get_their_passes(&shop, 0, Duration::ZERO).await;
}

#[tokio::test]
async fn redis_slow_over_2_s_means_503_and_the_same_event_is_taken_once_it_is_back() {
    let shop = Shop::open().await;
    let (paused, asleep) = (shop.session(), shop.session());
    shop.redis(&["CLIENT", "PAUSE", "3500", "ALL"]).await.unwrap();
    let answer = shop.buy(&paused).await;
    assert!(answer.is_come_again(), "{answer:?}");
    // Answers once the pause is over.
    shop.redis(&["PING"]).await.unwrap();

    let sleep = async { shop.redis(&["DEBUG", "SLEEP", "3.5"]).await };
    let buy = async {
        // Asleep is who does not answer.
        let answers = async || {
            tokio::time::timeout(Duration::from_millis(300), shop.redis(&["PING"]))
                .await
                .is_ok()
        };
        awaited("sleep", async { while answers().await {} }).await;
        shop.buy(&asleep).await
    };
    let (slept, answer) = tokio::join!(sleep, buy);
    slept.unwrap();
    assert!(answer.is_come_again(), "{answer:?}");
    for session in [&paused, &asleep] {
        assert_eq!(shop.buy(session).await.status, 200);
    }
    shop.settled().await;
    assert_eq!(shop.fulfilled().await, [paused.session_id(), asleep.session_id()]);
}

/// What spoils Redis, and what mends it.
async fn redis_that_refuses_writes(spoil: &[&str], mend: &[&str]) {
    let shop = Shop::open().await;
    let session = shop.session();
    shop.redis(spoil).await.unwrap();
    for _ in 0..2 {
        let answer = shop.buy(&session).await;
        assert!(answer.is_come_again(), "{answer:?}");
    }
    shop.redis(mend).await.unwrap();
    // Nothing of the refused event was kept: a key without its job would lose the purchase.
    assert_eq!(shop.buy(&session).await, Answer::accepted());
    shop.settled().await;
    assert_eq!(shop.fulfilled().await, [session.session_id()]);
}

#[tokio::test]
async fn redis_read_only_means_503_and_no_event_is_seen_without_being_enqueued() {
    redis_that_refuses_writes(
        &["REPLICAOF", "no-such-host", "6379"],
        &["REPLICAOF", "NO", "ONE"],
    )
    .await;
}

#[tokio::test]
async fn redis_out_of_memory_means_503_and_no_event_is_seen_without_being_enqueued() {
    redis_that_refuses_writes(
        &["CONFIG", "SET", "maxmemory", "1"],
        &["CONFIG", "SET", "maxmemory", "0"],
    )
    .await;
}
