//! A Redis that vanishes without closing its connections, while new ones would work: a power cut and a failover behind
//! the same name, or a way whose machines forget what passes them.

use std::time::Duration;
use support::program::eventually;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use surepass::queue::{Enqueued, RedisOptions};

use crate::silent_proxy::Way;
use crate::world::{PATIENCE, Size, World, began, ended, gated, hire, quick, work, works};

/// Less patient than by default, so that a test need not be as patient.
fn impatient(response_timeout: Duration) -> RedisOptions {
    RedisOptions {
        response_timeout,
        ..RedisOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_call_goes_unanswered_and_the_next_is_made_over_a_new_connection() {
    let world = World::new(quick()).await;
    let way = Way::to(&world).await;
    let queue = way.queue(&world, impatient(Duration::from_millis(500)));
    assert_eq!(queue.enqueue(&[work("a")]).await.unwrap(), [Enqueued::New]);
    assert_eq!(way.connections(), 1);
    way.vanish().await;
    assert!(queue.enqueue(&[work("b")]).await.is_err());
    assert_eq!(queue.enqueue(&[work("b")]).await.unwrap(), [Enqueued::New]);
    way.vanish().await;
    // Many commands at once, too.
    assert!(queue.death("a").await.is_err());
    assert_eq!(queue.death("a").await.unwrap(), None);
    assert_eq!(way.connections(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_gives_up_before_the_connection_does_leaves_a_new_one_to_the_next() {
    let world = World::new(quick()).await;
    let way = Way::to(&world).await;
    let queue = way.queue(&world, impatient(Duration::from_secs(2)));
    queue.ping().await.unwrap();
    way.vanish().await;
    let given_up = tokio::time::timeout(Duration::from_millis(1_200), queue.enqueue(&[work("a")])).await;
    assert!(given_up.is_err());
    assert_eq!(queue.enqueue(&[work("a")]).await.unwrap(), [Enqueued::New]);
    assert_eq!(way.connections(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_renews_its_lease_settles_and_claims_on() {
    let mut config = quick();
    config.lease = Duration::from_secs(4);
    let world = World::new(config).await;
    let way = Way::to(&world).await;
    let queue = way.queue(&world, impatient(Duration::from_millis(500)));
    let (wait, gate) = gated();
    // It has one slot, and that is taken: nothing but renewals keeps its lease.
    let mut worker = hire(&queue, "w", Size::of(1, 0), wait);
    world.enqueue(work("a")).await;
    assert_eq!(worker.next().await, began("a", 1));
    let lease = async || -> Option<f64> { world.ask(&["ZSCORE", &queue.key("lease"), "w:1"]).await };
    let first = lease().await;
    eventually("no renewal", async || lease().await > first).await;
    way.vanish().await;
    let before = lease().await;
    let renewed = async {
        while lease().await <= before {
            assert!(lease().await.is_some(), "the lease is lost");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, renewed).await.expect("no renewal");
    gate.add_permits(1);
    world.enqueue(work("b")).await;
    assert_eq!(
        [worker.next().await, worker.next().await],
        [ended("a", 1), began("b", 1)]
    );
    gate.add_permits(1);
    assert_eq!(worker.next().await, ended("b", 1));
    world.until_counts([0, 0, 0, 0]).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_of_a_busy_redis_costs_one_new_connection_however_many_calls_wait() {
    let world = World::new(quick()).await;
    let way = Way::to(&world).await;
    let queue = way.queue(&world, impatient(Duration::from_millis(300)));
    queue.ping().await.unwrap();
    let pid = Pid::from_raw(i32::try_from(world.server.pid().unwrap()).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    let items = works(0..200);
    let calls = items.chunks(1).map(|item| queue.enqueue(item));
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
    kill(pid, Signal::SIGCONT).unwrap();
    let calls = items.chunks(1).map(|item| queue.enqueue(item));
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(way.connections(), 2);
    assert_eq!(queue.counts().await.unwrap().waiting, 200);
}
