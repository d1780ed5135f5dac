//! Crashes are counted where a worker died, not where Redis was away.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{Size, World, act, began, ended, gated, hang, ok, short_lease, work};

fn pid(world: &World) -> Pid {
    Pid::from_raw(i32::try_from(world.server.pid().unwrap()).unwrap())
}

/// Longer than two leases, which end meanwhile by Redis' own clock.
const AWAY: Duration = Duration::from_millis(1_500);

/// A job runs while Redis goes away three times: it is done at its first attempt, and counts no crash.
async fn outlives_three_outages(mut world: World, mut outage: impl AsyncFnMut(&mut World)) {
    let (wait, gate) = gated();
    let mut worker = world.hire("busy", Size::of(1, 0), wait);
    world.enqueue(work("healthy")).await;
    assert_eq!(worker.next().await, began("healthy", 1));
    let idle = world.hire("idle", Size::of(1, 0), ok());
    for _ in 0..3 {
        outage(&mut world).await;
        // Two more leases: whoever had not renewed would have lost its job by now.
        tokio::time::sleep(AWAY).await;
    }
    gate.add_permits(1);
    assert_eq!(worker.next().await, ended("healthy", 1));
    world.until_counts([0, 0, 0, 0]).await;
    assert_eq!(world.queue.errors("healthy").await.unwrap(), [""; 0]);
    worker.stop().await;
    assert_eq!(idle.stop().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_frozen_longer_than_the_lease_three_times_does_not_make_a_healthy_job_poison() {
    outlives_three_outages(World::new(short_lease()).await, async |world| {
        kill(pid(world), Signal::SIGSTOP).unwrap();
        tokio::time::sleep(AWAY).await;
        kill(pid(world), Signal::SIGCONT).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_killed_for_longer_than_the_lease_three_times_does_not_make_a_healthy_job_poison() {
    outlives_three_outages(World::durable(short_lease()).await, async |world| {
        kill(pid(world), Signal::SIGKILL).unwrap();
        world.server.wait().await.unwrap();
        tokio::time::sleep(AWAY).await;
        world.server.restart().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_kills_the_only_worker_three_times_is_poison_even_if_the_next_comes_late() {
    let world = World::new(short_lease()).await;
    world.enqueue(work("deadly")).await;
    for attempt in 1..=3 {
        let name = format!("victim-{attempt}");
        let mut worker = world.hire(&name, Size::of(1, 0), hang());
        assert_eq!(worker.next().await, began("deadly", attempt));
        worker.crash().await;
        // Nobody is heard until its lease has long ended: as if Redis had been away.
        world.until_lease_ends(&format!("{name}:1")).await;
    }
    let survivor = world.hire("survivor", Size::of(1, 0), act(|_, _| async { Ok(()) }));
    world.until_counts([0, 0, 0, 1]).await;
    let reason = world.queue.death("deadly").await.unwrap();
    assert_eq!(reason.as_deref(), Some("poison"));
    assert_eq!(survivor.stop().await, []);
}
