//! Several queues in one worker process: none takes another's slots.

use std::time::{Duration, Instant};

use surepass::queue::{Queue, QueueConfig, Redis, RedisOptions, slots};

use crate::world::{Size, World, act, ended, hire, ok, quick, work, works};

#[tokio::test]
async fn a_lookback_of_fifty_thousand_jobs_never_keeps_a_fresh_purchase_from_its_slot() {
    let world = World::new(quick()).await;
    let redis = Redis::open(&world.server.url(), RedisOptions::default()).unwrap();
    let config = QueueConfig {
        name: "sync".to_owned(),
        ..quick()
    };
    let sync = Queue::new(&redis, config).unwrap();
    sync.enqueue(&works(0..50_000)).await.unwrap();
    let shares = slots(110, &[10, 1]);
    assert_eq!(shares, [100, 10]);
    // One process, one thread, as the worker program is. Half of the lookback's jobs take long, and all its slots are
    // taken whenever a purchase comes.
    let mut purchases = hire(&world.queue, "w", Size::of(shares[0], 0), ok());
    let slow = act(|job, _| async move {
        let long = job.0.ends_with(['1', '3', '5', '7', '9']);
        tokio::time::sleep(Duration::from_millis(if long { 20 } else { 1 })).await;
        Ok(())
    });
    let lookback = hire(&sync, "w", Size::of(shares[1], 0), slow);
    while sync.counts().await.unwrap().running < shares[1] {
        tokio::task::yield_now().await;
    }
    let mut longest = Duration::ZERO;
    for n in 0..100 {
        let id = format!("purchase-{n}");
        let since = Instant::now();
        world.enqueue(work(&id)).await;
        assert_eq!(purchases.until_ended(1).await.pop(), Some(ended(&id, 1)));
        longest = longest.max(since.elapsed());
    }
    println!("the longest of 100 purchases, from enqueueing to its end: {longest:?}");
    assert!(
        sync.counts().await.unwrap().waiting > 10_000,
        "the lookback was over too soon"
    );
    lookback.crash().await;
    // And where nothing of the lookback ever ends, purchases run all the same.
    let stuck = hire(&sync, "stuck", Size::of(shares[1], 0), crate::world::hang());
    world.queue.enqueue(&works(0..200)).await.unwrap();
    purchases.until_ended(200).await;
    world.until_counts([0, 0, 0, 0]).await;
    purchases.stop().await;
    stuck.crash().await;
}
