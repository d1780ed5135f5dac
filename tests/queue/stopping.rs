//! A worker that is asked to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::world::{Size, Told, World, act, began, ended, gated, hang, ok, quick, work, works};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_finishes_what_runs_and_hands_prefetched_jobs_back_uncounted_and_in_order() {
    let world = World::new(quick()).await;
    let (wait, gate) = gated();
    let mut worker = world.hire("w", Size::of(1, 4), wait);
    world.queue.enqueue(&works(0..10)).await.unwrap();
    assert_eq!(worker.next().await, began("job-0", 1));
    world.until_counts([5, 0, 5, 0]).await;
    worker.ask_to_stop();
    gate.add_permits(100);
    let told = worker.stopped().await;
    let finished = told.iter().filter(|told| matches!(told, Told::Ended(..))).count();
    assert!(finished >= 1, "what runs finishes");
    let workers: Vec<String> = world.ask(&["ZRANGE", &world.queue.key("lease"), "0", "-1"]).await;
    assert_eq!(workers, [""; 0], "its lease is given up");
    world.until_counts([10 - finished, 0, 0, 0]).await;
    // All the rest, in order, in their first attempt.
    let mut other = world.hire("v", Size::of(1, 0), ok());
    let told = other.until_ended(10 - finished).await;
    let expected: Vec<_> = (finished..10)
        .flat_map(|n| [began(&format!("job-{n}"), 1), ended(&format!("job-{n}"), 1)])
        .collect();
    assert_eq!(told, expected);
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_its_last_handler_runs_a_worker_that_was_asked_to_stop_claims_no_more_and_holds_nothing_else() {
    for prefetch in [0, 2] {
        let world = World::new(quick()).await;
        let (first, last) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let gates = (first.clone(), last.clone());
        let wait = act(move |job, _| {
            let (first, last) = gates.clone();
            async move {
                let gate = if job.0 == "job-1" { last } else { first };
                gate.acquire().await?.forget();
                Ok(())
            }
        });
        let mut worker = world.hire("w", Size::of(2, prefetch), wait);
        world.queue.enqueue(&works(0..10)).await.unwrap();
        let mut begun = [worker.next().await, worker.next().await];
        begun.sort_by_key(|told| format!("{told:?}"));
        assert_eq!(begun, [began("job-0", 1), began("job-1", 1)]);
        world.until_counts([8 - prefetch, 0, 2 + prefetch, 0]).await;
        worker.ask_to_stop();
        world.until_counts([8, 0, 2, 0]).await;
        first.add_permits(1);
        assert_eq!(worker.next().await, ended("job-0", 1));
        // All that another can have, it has.
        let mut other = world.hire("v", Size::of(1, 0), ok());
        let told = other.until_ended(8).await;
        let expected: Vec<_> = (2..10)
            .flat_map(|n| [began(&format!("job-{n}"), 1), ended(&format!("job-{n}"), 1)])
            .collect();
        assert_eq!(told, expected);
        world.until_counts([0, 0, 1, 0]).await;
        last.add_permits(1);
        assert_eq!(worker.stopped().await, [ended("job-1", 1)]);
        world.until_counts([0, 0, 0, 0]).await;
        other.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_cannot_wait_gives_everything_back_at_once_with_nothing_counted_or_lost() {
    let world = World::new(quick()).await;
    let mut worker = world.hire("w", Size::of(2, 2), hang());
    world.queue.enqueue(&works(0..4)).await.unwrap();
    worker.next().await;
    worker.next().await;
    world.until_counts([0, 0, 4, 0]).await;
    let give_back = worker.give_back.clone();
    worker.crash().await;
    give_back.run().await;
    world.until_counts([4, 0, 0, 0]).await;
    let mut other = world.hire("v", Size::of(2, 2), ok());
    let told = other.until_ended(4).await;
    assert!(
        told.iter()
            .all(|told| matches!(told, Told::Began(_, 1) | Told::Ended(_, 1))),
        "{told:?}"
    );
    world.until_counts([0, 0, 0, 0]).await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_worker_gives_back_all_it_holds() {
    let world = World::new(quick()).await;
    let mut worker = world.hire("w", Size::of(2_000, 1_000), hang());
    for chunk in works(0..3_000).chunks(500) {
        world.queue.enqueue(chunk).await.unwrap();
    }
    worker.next().await;
    // It claims on while a batch as large as its prefetch fits.
    world.until_counts([500, 0, 2_500, 0]).await;
    let give_back = worker.give_back.clone();
    worker.crash().await;
    give_back.run().await;
    world.until_counts([3_000, 0, 0, 0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_stops_while_redis_is_away_and_its_job_runs_later() {
    let mut world = World::durable(crate::world::short_lease()).await;
    let (wait, gate) = gated();
    let mut worker = world.hire("w", Size::of(1, 0), wait);
    world.enqueue(work("a")).await;
    worker.next().await;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(world.server.pid().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    world.server.wait().await.unwrap();
    gate.add_permits(1);
    worker.until_ended(1).await;
    worker.ask_to_stop();
    // Its settlement cannot get through: whoever waits no longer than the grace gives it back or drops it.
    let give_back = worker.give_back.clone();
    tokio::time::timeout(Duration::from_secs(20), give_back.run())
        .await
        .expect("giving back does not wait for Redis for ever");
    worker.crash().await;
    world.server.restart().await.unwrap();
    let mut other = world.hire("v", Size::of(1, 0), ok());
    assert_eq!(other.until_ended(1).await, [began("a", 2), ended("a", 2)]);
    other.stop().await;
}
