//! Redis' clock jumps: no lease and no due time keeps a job for longer than its worker or its delay would have.

use std::time::Duration;

use surepass::queue::JobError;

use crate::world::{Size, World, act, began, ended, hang, ok, quick, short_lease, work, works};

const HOUR: u64 = 3_600_000;

/// Puts Redis' clock back: all that lies in the queue is by so much in the future.
async fn put_clock_back(world: &World, ms: u64) {
    let script = "local prefix, by = ARGV[1], ARGV[2]
        for _, key in ipairs({ 'lease', 'sched' }) do
          for _, one in ipairs(redis.call('ZRANGE', prefix .. key, 0, -1)) do
            redis.call('ZINCRBY', prefix .. key, by, one)
          end
        end
        for _, field in ipairs({ 'heard', 'filled' }) do
          if redis.call('HEXISTS', prefix .. 'steer', field) == 1 then
            redis.call('HINCRBY', prefix .. 'steer', field, by)
          end
        end
        return 1";
    let by = ms.to_string();
    let _: i64 = world.ask(&["EVAL", script, "0", world.queue.prefix(), &by]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jobs_of_a_dead_worker_run_elsewhere_though_the_clock_was_put_back_by_an_hour() {
    let world = World::new(short_lease()).await;
    world.queue.enqueue(&works(0..20)).await.unwrap();
    let mut dead = world.hire("dead", Size::of(20, 0), hang());
    for _ in 0..20 {
        dead.next().await;
    }
    dead.crash().await;
    put_clock_back(&world, HOUR).await;
    let mut other = world.hire("other", Size::of(20, 0), ok());
    other.until_ended(20).await;
    world.until_counts([0, 0, 0, 0]).await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_put_back_takes_no_job_from_a_living_worker() {
    let world = World::new(short_lease()).await;
    world.enqueue(work("a")).await;
    let (wait, gate) = crate::world::gated();
    let mut worker = world.hire("w", Size::of(1, 0), wait);
    assert_eq!(worker.next().await, began("a", 1));
    for _ in 0..3 {
        put_clock_back(&world, 2 * HOUR).await;
        let mut other = world.hire("other", Size::of(1, 0), ok());
        world.enqueue(work("b")).await;
        other.until_ended(1).await;
        other.stop().await;
    }
    gate.add_permits(1);
    assert_eq!(worker.next().await, ended("a", 1));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_come_when_they_would_have_though_the_clock_went_forward_by_two_hours_and_back() {
    let world = World::new(quick()).await;
    let mut worker = world.hire(
        "w",
        Size::of(8, 0),
        act(|_, attempt| async move {
            match attempt {
                1 => Err(JobError::retry_after("busy", "429", Duration::from_secs(1)).into()),
                _ => Ok(()),
            }
        }),
    );
    world.queue.enqueue(&works(0..2_500)).await.unwrap();
    worker.until_ended(2_500).await;
    put_clock_back(&world, 2 * HOUR).await;
    worker.until_ended(2_500).await;
    world.until_counts([0, 0, 0, 0]).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_later_than_anything_can_be_is_due_now() {
    let world = World::new(short_lease()).await;
    world.enqueue(work("a").after(Duration::MAX)).await;
    put_clock_back(&world, HOUR).await;
    // Nobody was there to hear of the clock.
    let _: i64 = world.ask(&["HDEL", &world.queue.key("steer"), "heard"]).await;
    let mut worker = world.hire("w", Size::of(1, 0), ok());
    assert_eq!(worker.until_ended(1).await, [began("a", 1), ended("a", 1)]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_that_was_filled_in_the_future_stops_nobody() {
    let mut config = quick();
    config.limits.per_second = 2;
    let world = World::new(config).await;
    let mut worker = world.hire("w", Size::of(4, 0), ok());
    world.queue.enqueue(&works(0..2)).await.unwrap();
    worker.until_ended(2).await;
    put_clock_back(&world, HOUR).await;
    world.queue.enqueue(&works(2..6)).await.unwrap();
    worker.until_ended(4).await;
    worker.stop().await;
}
