//! Fault 2: every push goes through the scheduled set, no wake-up is ever sent.

use std::time::Duration;

use crate::world::{Size, World, began, ended, ok, quick, work};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_2_no_wake_up_is_ever_sent_an_idle_worker_runs_a_pushed_job_without_waiting_for_its_next_look()
{
    let world = World::new(quick()).await;
    let mut worker = world.hire("w", Size::of(4, 0), ok());
    // Each push finds the worker asleep. By its looks alone, one a second, this would take 200 s: told apart by the
    // patience, not by a clock.
    let rounds = async {
        for n in 0..200 {
            let id = format!("job-{n}");
            world.enqueue(work(&id)).await;
            assert_eq!(
                [worker.next().await, worker.next().await],
                [began(&id, 1), ended(&id, 1)]
            );
        }
    };
    tokio::time::timeout(Duration::from_mins(1), rounds)
        .await
        .expect("pushes do not wake the worker");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_2_a_push_does_not_go_through_the_scheduled_set() {
    let world = World::new(quick()).await;
    world.enqueue(work("now")).await;
    world.until_counts([1, 0, 0, 0]).await;
    world.enqueue(work("later").after(Duration::from_hours(1))).await;
    world.until_counts([1, 1, 0, 0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_2_an_idle_worker_does_not_poll() {
    let world = World::new(quick()).await;
    let mut worker = world.hire("w", Size::of(4, 0), ok());
    world.enqueue(work("first")).await;
    worker.until_ended(1).await;
    let before = world.command_calls().await["evalsha"];
    tokio::time::sleep(Duration::from_secs(3)).await;
    let calls = world.command_calls().await["evalsha"] - before;
    // A look a second, a renewal every five, and what the first job left to do.
    assert!(calls <= 8, "{calls} calls in 3 idle seconds");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_wakes_a_worker_that_sleeps_until_a_later_job() {
    let world = World::new(quick()).await;
    let mut worker = world.hire("w", Size::of(4, 0), ok());
    world.enqueue(work("later").after(Duration::from_hours(1))).await;
    world.enqueue(work("now")).await;
    assert_eq!(worker.next().await, began("now", 1));
    world.until_counts([0, 1, 0, 0]).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_job_runs_when_it_is_due_and_not_before() {
    let world = World::new(quick()).await;
    let mut worker = world.hire("w", Size::of(1, 0), ok());
    // The second is due first.
    world
        .enqueue(work("second").after(Duration::from_millis(900)))
        .await;
    world
        .enqueue(work("first").after(Duration::from_millis(300)))
        .await;
    let told = worker.until_ended(2).await;
    assert_eq!(
        told,
        [
            began("first", 1),
            ended("first", 1),
            began("second", 1),
            ended("second", 1)
        ]
    );
    worker.stop().await;
}
