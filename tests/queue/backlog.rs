//! Faults 1 and 10: due jobs that wedge the queue, and calls that scan the backlog.

use std::time::Duration;

use crate::world::{Size, Told, World, began, hang, ok, quick, short_lease, works};

const MANY: u32 = 20_000;

/// Runs everything with one worker.
async fn drain(world: &World, name: &str, jobs: usize) {
    let mut worker = world.hire(name, Size::of(256, 128), ok());
    worker.until_ended(jobs).await;
    world.until_counts([0, 0, 0, 0]).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_1_twenty_thousand_due_jobs_do_not_wedge_the_queue() {
    let world = World::new(quick()).await;
    let items = works(0..MANY)
        .into_iter()
        .map(|item| item.after(Duration::from_millis(1)));
    for chunk in items.collect::<Vec<_>>().chunks(500) {
        world.queue.enqueue(chunk).await.unwrap();
    }
    drain(&world, "w", MANY as usize).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_1_a_call_with_twenty_thousand_jobs_takes_them_all() {
    let mut config = quick();
    config.retry.max_attempts = 1;
    let world = World::new(config).await;
    let answers = world.queue.enqueue(&works(0..MANY)).await.unwrap();
    assert!(
        answers
            .iter()
            .all(|answer| *answer == surepass::queue::Enqueued::New)
    );
    world.until_counts([MANY as usize, 0, 0, 0]).await;
    // All die, and all are retried in one call.
    let fail = crate::world::act(|_, _| async { Err("no".into()) });
    let mut worker = world.hire("failing", Size::of(256, 128), fail);
    worker.until_ended(MANY as usize).await;
    world.until_counts([0, 0, 0, MANY as usize]).await;
    worker.stop().await;
    let ids: Vec<_> = (0..MANY).map(|n| format!("job-{n}")).collect();
    assert!(
        world
            .queue
            .retry(&ids)
            .await
            .unwrap()
            .into_iter()
            .all(|waits| waits)
    );
    drain(&world, "w", MANY as usize).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_1_thousands_of_orphans_of_one_dead_worker_do_not_wedge_the_recovery() {
    let world = World::new(short_lease()).await;
    let jobs = 3_000_u32;
    for chunk in works(0..jobs).chunks(500) {
        world.queue.enqueue(chunk).await.unwrap();
    }
    let mut dying = world.hire("dying", Size::of(2_000, 1_000), hang());
    // It claims on while a batch as large as its prefetch fits.
    world.until_counts([500, 0, 2_500, 0]).await;
    let mut others = Vec::new();
    for _ in 0..2_000 {
        others.push(dying.next().await);
    }
    assert!(others.iter().all(|told| matches!(told, Told::Began(_, 1))));
    dying.crash().await;
    let mut heir = world.hire("heir", Size::of(256, 128), ok());
    let told = heir.until_ended(jobs as usize).await;
    let again = told
        .iter()
        .filter(|told| matches!(told, Told::Ended(_, 2)))
        .count();
    assert_eq!(again, 2_500);
    world.until_counts([0, 0, 0, 0]).await;
    heir.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_run_in_the_order_they_came_in_and_an_orphan_has_its_turn_among_the_groups() {
    let world = World::new(short_lease()).await;
    world.queue.enqueue(&works(0..3)).await.unwrap();
    let mut dying = world.hire("dying", Size::of(1, 0), hang());
    assert_eq!(dying.next().await, began("job-0", 1));
    dying.crash().await;
    world.until_lease_ends("dying:1").await;
    // Not as after an outage, when the dead one's lease would begin anew.
    let _: i64 = world.ask(&["HDEL", &world.queue.key("steer"), "heard"]).await;
    let mut heir = world.hire("heir", Size::of(1, 0), ok());
    let mut order = Vec::new();
    while order.len() < 3 {
        if let Told::Began(id, _) = heir.next().await {
            order.push(id);
        }
    }
    assert_eq!(order, ["job-1", "job-0", "job-2"]);
    heir.stop().await;
}

/// What a drain of a thousand jobs asks of Redis in front of such a backlog.
async fn cost_of_a_thousand(backlog: u32) -> std::collections::BTreeMap<String, u64> {
    let world = World::new(quick()).await;
    for chunk in works(0..backlog).chunks(500) {
        world.queue.enqueue(chunk).await.unwrap();
    }
    let _: () = world.ask(&["CONFIG", "RESETSTAT"]).await;
    let mut worker = world.hire("w", Size::of(100, 0), ok());
    worker.until_ended(1_000).await;
    let calls = world.command_calls().await;
    worker.crash().await;
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_10_lrem_over_the_backlog_nothing_scans_a_hundred_thousand_waiting_jobs() {
    let small = cost_of_a_thousand(2_000).await;
    let large = cost_of_a_thousand(100_000).await;
    // None of these works in proportion to what lies there: LRANGE, HSCAN and ZRANGE are asked for a bounded part.
    let bounded = [
        "config|resetstat",
        "evalsha",
        "eval",
        "exists",
        "hdel",
        "hincrby",
        "hlen",
        "hget",
        "hmget",
        "hrandfield",
        "hscan",
        "hset",
        "llen",
        "lpop",
        "lrange",
        "ltrim",
        "mget",
        "publish",
        "rpush",
        "script|load",
        "srem",
        "subscribe",
        "time",
        "unlink",
        "zadd",
        "zrange",
        "zrem",
        "zscore",
    ];
    let others: Vec<_> = large
        .keys()
        .filter(|name| !bounded.contains(&name.as_str()))
        .collect();
    assert_eq!(others, [""; 0]);
    // And as many of them: how jobs fall into batches differs from run to run, but not a hundredfold.
    let sum = |calls: &std::collections::BTreeMap<String, u64>| calls.values().sum::<u64>();
    assert!(sum(&large) < 3 * sum(&small), "{large:?} against {small:?}");
}
