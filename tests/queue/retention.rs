//! Fault 11: nothing is trimmed, and what trims deletes jobs that wait for their retry.

use std::time::Duration;

use surepass::queue::JobError;

use crate::world::{Size, World, act, ok, quick, work, works};

async fn stat(world: &World, name: &str) -> u64 {
    let value: Option<u64> = world.ask(&["HGET", &world.queue.key("stats"), name]).await;
    value.unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_11_done_jobs_are_trimmed_to_a_number_and_what_is_trimmed_is_counted() {
    let mut config = quick();
    config.keep_done_jobs = 100;
    let world = World::new(config).await;
    world.queue.enqueue(&works(0..3_000)).await.unwrap();
    let mut worker = world.hire("w", Size::of(64, 32), ok());
    worker.until_ended(3_000).await;
    world.until_counts([0, 0, 0, 0]).await;
    worker.stop().await;
    assert_eq!(world.queue.counts().await.unwrap().done, 100);
    assert_eq!(stat(&world, "trimmed_done").await, 2_900);
    let keys: Vec<String> = world.ask(&["KEYS", "*"]).await;
    // Beside `done` and `stats`, when a worker was last heard.
    assert!(
        keys.len() <= 3,
        "nothing of a done job is left but its line: {keys:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_11_old_done_and_dead_jobs_are_trimmed_in_chunks_but_not_those_that_wait_for_their_retry() {
    let mut config = quick();
    config.retry.base = Duration::from_hours(1);
    config.retry.cap = Duration::from_hours(1);
    config.keep_done = Duration::ZERO;
    config.keep_dead = Duration::ZERO;
    let world = World::new(config).await;
    let moody = act(|job, _| async move {
        match job.0.as_bytes().last() {
            Some(b'0') => Err(JobError::retry("store_unavailable", "away").into()),
            Some(b'1'..=b'5') => Err(JobError::fail("unresolved_pass", "no").into()),
            _ => Ok(()),
        }
    });
    world.queue.enqueue(&works(0..3_000)).await.unwrap();
    let mut worker = world.hire("w", Size::of(64, 32), moody);
    worker.until_ended(3_000).await;
    worker.stop().await;
    world.until_counts([0, 300, 0, 1_500]).await;
    let mut calls = 0;
    while world.queue.trim().await.unwrap() > 0 {
        calls += 1;
    }
    assert!(calls >= 3, "a bounded chunk at a time");
    let counts = world.queue.counts().await.unwrap();
    assert_eq!((counts.scheduled, counts.done, counts.dead), (300, 0, 0));
    assert_eq!(
        (
            stat(&world, "trimmed_done").await,
            stat(&world, "trimmed_dead").await
        ),
        (1_200, 1_500)
    );
    let keys: Vec<String> = world.ask(&["KEYS", "*"]).await;
    // The data and the errors of what waits for its retry, the schedule, the statistics, and when a worker was last heard.
    assert_eq!(keys.len(), 2 * 300 + 3, "nothing of the dead is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_11_a_worker_trims_by_itself() {
    let mut config = crate::world::short_lease();
    config.keep_done = Duration::ZERO;
    config.keep_dead = Duration::ZERO;
    let world = World::new(config).await;
    let worker = world.hire(
        "w",
        Size::of(1, 0),
        act(|_, _| async { Err(JobError::fail("no", "no").into()) }),
    );
    world.queue.enqueue(&works(0..10)).await.unwrap();
    while stat(&world, "trimmed_dead").await < 10 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.until_counts([0, 0, 0, 0]).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_11_the_errors_of_a_job_that_was_retried_by_hand_and_done_do_not_stay_for_ever() {
    let world = World::new(quick()).await;
    let fail = act(|_, _| async { Err(JobError::fail("no", "no").into()) });
    let worker = world.hire("failing", Size::of(1, 0), fail);
    world.enqueue(work("a")).await;
    world.until_counts([0, 0, 0, 1]).await;
    worker.stop().await;
    world.queue.retry(&["a".to_owned()]).await.unwrap();
    let mut worker = world.hire("w", Size::of(1, 0), ok());
    worker.until_ended(1).await;
    world.until_counts([0, 0, 0, 0]).await;
    worker.stop().await;
    assert_eq!(
        world.queue.errors("a").await.unwrap().len(),
        1,
        "its error stays told for a while"
    );
    let life: i64 = world.ask(&["PTTL", &world.queue.key("errors:a")]).await;
    assert!(life > 0, "but not for ever");
}

#[tokio::test]
async fn a_log_that_nobody_drains_is_bounded_and_what_is_trimmed_is_counted() {
    let mut config = quick();
    config.log_entries = 1_000;
    let world = World::new(config).await;
    let entries: Vec<_> = (0..5_000)
        .map(|n| surepass::queue::Item::default().log(format!("{n}").into_bytes(), vec![7; 1_500]))
        .collect();
    world.queue.enqueue(&entries).await.unwrap();
    let left = world.queue.counts().await.unwrap().log as u64;
    assert!((1_000..1_500).contains(&left), "{left} entries are left");
    assert_eq!(left + stat(&world, "trimmed_log").await, 5_000);
}
