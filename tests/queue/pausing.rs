//! Pause and resume, and limits across all workers of a queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::Value;
use surepass::queue::{Enqueued, QueueLimits};

use crate::scripts::{self, HOUR_MS, call, claim_by_hand};
use crate::world::{Size, World, act, began, ended, ok, quick, work, works};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_queue_gives_no_jobs_and_takes_them_on_and_resuming_it_wakes_the_workers() {
    let world = World::new(quick()).await;
    assert!(!world.queue.is_paused().await.unwrap());
    let mut worker = world.hire("w", Size::of(2, 1), ok());
    world.enqueue(work("before")).await;
    worker.until_ended(1).await;
    world.queue.pause().await.unwrap();
    world.queue.pause().await.unwrap();
    assert!(world.queue.is_paused().await.unwrap());
    assert_eq!(world.enqueue(work("meanwhile")).await, Enqueued::New);
    assert_eq!(
        world.enqueue(work("due").after(Duration::from_millis(1))).await,
        Enqueued::New
    );
    let by_hand = claim_by_hand(&world.queue, &mut world.redis().await, "hand", 10, 1).await;
    assert_eq!(by_hand, Some(Vec::new()));
    // What falls due waits with the rest; the worker has looked, and taken nothing.
    world.until_counts([2, 0, 0, 0]).await;
    world.queue.resume().await.unwrap();
    let mut told = worker.until_ended(2).await;
    told.sort_by_key(|told| format!("{told:?}"));
    assert_eq!(
        told,
        [
            began("due", 1),
            began("meanwhile", 1),
            ended("due", 1),
            ended("meanwhile", 1)
        ]
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_workers_together_never_run_more_jobs_than_the_queues_concurrency() {
    let mut config = quick();
    config.limits.running = 3;
    let world = World::new(config).await;
    world.queue.enqueue(&works(0..300)).await.unwrap();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak) = (running.clone(), most.clone());
    let count = act(move |_, _| {
        let (running, most) = (running.clone(), most.clone());
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(1)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    });
    let workers: Vec<_> = (0..3)
        .map(|n| world.hire(&format!("w{n}"), Size::of(10, 0), count.clone()))
        .collect();
    world.until_counts([0, 0, 0, 0]).await;
    assert_eq!(world.queue.counts().await.unwrap().done, 300);
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!((now.load(Ordering::SeqCst), peak.load(Ordering::SeqCst)), (0, 3));
}

/// Claims as many as there are, at 50 a second, in this second since 1970.
async fn claim_at_50(world: &World, number: u64, second: u64) -> usize {
    let _: () = world.ask(&["SET", "clock", &second.to_string()]).await;
    let script = scripts::claim_by_set_clock();
    let mut call = call(&script, &world.queue, &["wait", "sched", "lease", "dead"]);
    call.arg("hand").arg(HOUR_MS).arg(500).arg(1).arg(16).arg(3);
    call.arg(number).arg(0).arg(50);
    let answer: Vec<Value> = call.invoke_async(&mut world.redis().await).await.unwrap();
    scripts::read_claim(&answer).unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_lets_a_seconds_worth_begin_at_once_and_then_as_many_as_time_allows() {
    const START: u64 = 1_700_000_000;
    let world = World::new(quick()).await;
    world.queue.enqueue(&works(0..500)).await.unwrap();
    assert_eq!(claim_at_50(&world, 1, START).await, 50);
    assert_eq!(claim_at_50(&world, 2, START).await, 0);
    let _: i64 = world
        .ask(&["HSET", &world.queue.key("steer"), "tokens", "-40"])
        .await;
    assert_eq!(claim_at_50(&world, 3, START + 1).await, 10, "50 more");
    assert_eq!(
        claim_at_50(&world, 4, START + 3_600).await,
        50,
        "never more than of a second"
    );
    assert_eq!(claim_at_50(&world, 5, START).await, 50, "the clock was put back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_under_a_rate_do_everything() {
    let mut config = quick();
    config.limits = QueueLimits {
        per_second: 100,
        ..QueueLimits::default()
    };
    let world = World::new(config).await;
    world.queue.enqueue(&works(0..250)).await.unwrap();
    let workers = [
        world.hire("one", Size::of(64, 32), ok()),
        world.hire("two", Size::of(4, 0), ok()),
    ];
    world.until_counts([0, 0, 0, 0]).await;
    assert_eq!(world.queue.counts().await.unwrap().done, 250);
    for worker in workers {
        worker.stop().await;
    }
}
