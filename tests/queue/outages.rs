//! Fault 5: any Redis error ends the worker and drops the handler in the middle. And answers that are lost on the way.

use std::collections::BTreeSet;
use std::time::Duration;

use secrecy::ExposeSecret;
use surepass::queue::{JobError, LogConsumer, Queue, Redis, RedisOptions};

use crate::world::{Size, Told, World, act, began, ended, gated, hire, ok, quick, short_lease, work, works};
use support::proxy::Proxy;

async fn kill(world: &mut World) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(world.server.pid().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    world.server.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_5_a_stall_of_redis_neither_ends_the_worker_nor_drops_the_handler() {
    let world = World::new(short_lease()).await;
    // Less patient than the stall is long, so that calls do fail.
    let options = RedisOptions {
        response_timeout: Duration::from_millis(300),
        ..RedisOptions::default()
    };
    let queue = Queue::new(
        &Redis::open(&world.server.url(), options).unwrap(),
        world.queue.config().clone(),
    )
    .unwrap();
    let (wait, gate) = gated();
    let mut worker = hire(&queue, "w", Size::of(2, 0), wait);
    world.enqueue(work("a")).await;
    worker.next().await;
    let _: () = world.ask(&["CLIENT", "PAUSE", "1500", "ALL"]).await;
    // Whatever is asked now fails.
    assert!(queue.ping().await.is_err());
    gate.add_permits(1);
    assert_eq!(worker.next().await, ended("a", 1));
    world.until_counts([0, 0, 0, 0]).await;
    world.enqueue(work("b")).await;
    gate.add_permits(1);
    assert_eq!(worker.until_ended(1).await, [began("b", 1), ended("b", 1)]);
    assert!(worker.lives());
    worker.stop().await;
    assert_eq!(world.queue.counts().await.unwrap().done, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_5_redis_killed_and_restarted_on_its_aof_in_mid_job_ends_no_worker_drops_no_handler_loses_no_job()
 {
    let mut world = World::durable(quick()).await;
    let (wait, gate) = gated();
    let mut worker = world.hire("w", Size::of(2, 0), wait);
    world.queue.enqueue(&works(0..5)).await.unwrap();
    world.enqueue(work("later").after(Duration::from_hours(1))).await;
    assert_eq!(
        [worker.next().await, worker.next().await],
        [began("job-0", 1), began("job-1", 1)]
    );
    kill(&mut world).await;
    // Two handlers end while it is away; their settlements wait for it.
    gate.add_permits(2);
    worker.until_ended(2).await;
    world.server.restart().await.unwrap();
    gate.add_permits(3);
    let told = worker.until_ended(3).await;
    let names: BTreeSet<_> = told
        .iter()
        .map(|told| match told {
            Told::Began(id, 1) | Told::Ended(id, 1) => id.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, BTreeSet::from(["job-2", "job-3", "job-4"]));
    world.until_counts([0, 1, 0, 0]).await;
    assert!(worker.lives());
    worker.stop().await;
    assert_eq!(world.queue.counts().await.unwrap().done, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_5_a_worker_that_starts_before_redis_waits_for_it() {
    let mut world = World::durable(quick()).await;
    world.enqueue(work("a")).await;
    kill(&mut world).await;
    let mut worker = world.hire("w", Size::of(1, 0), ok());
    assert!(
        world.queue.enqueue(&[work("b")]).await.is_err(),
        "the intake learns that it was not accepted"
    );
    world.server.restart().await.unwrap();
    assert_eq!(worker.until_ended(1).await, [began("a", 1), ended("a", 1)]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_answer_was_lost_goes_back_and_runs_uncounted() {
    let world = World::new(quick()).await;
    let proxy = Proxy::start(&world.server, world.folder());
    let mut worker = hire(&proxy.queue(&world.queue), "w", Size::of(2, 0), ok());
    world.enqueue(work("first")).await;
    worker.until_ended(1).await;
    world.until_counts([0, 0, 0, 0]).await;
    proxy.swallow_answer_to(crate::scripts::claim().get_hash());
    world.queue.enqueue(&[work("a"), work("b")]).await.unwrap();
    proxy.swallowed().await;
    // The lease of 15 s is not what brings them back: then it would be their second attempt.
    let told = worker.until_ended(2).await;
    assert!(
        told.iter()
            .all(|told| matches!(told, Told::Began(_, 1) | Told::Ended(_, 1))),
        "{told:?}"
    );
    world.until_counts([0, 0, 0, 0]).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_very_first_claim_of_a_worker_whose_answer_was_lost_goes_back_too() {
    // A lease so long that its renewals, which compare what each side holds, come too late to be what helps.
    let mut config = quick();
    config.lease = Duration::from_hours(1);
    let world = World::new(config).await;
    let proxy = Proxy::start(&world.server, world.folder());
    let script = crate::scripts::claim();
    let mut connection = world.redis().await;
    let _: String = redis::cmd("SCRIPT")
        .arg("LOAD")
        .arg(crate::scripts::CLAIM_SOURCE)
        .query_async(&mut connection)
        .await
        .unwrap();
    world.queue.enqueue(&[work("a"), work("b")]).await.unwrap();
    proxy.swallow_answer_to(script.get_hash());
    let mut worker = hire(&proxy.queue(&world.queue), "w", Size::of(2, 0), ok());
    proxy.swallowed().await;
    let told = worker.until_ended(2).await;
    assert!(
        told.iter()
            .all(|told| matches!(told, Told::Began(_, 1) | Told::Ended(_, 1))),
        "{told:?}"
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settlement_whose_answer_was_lost_does_not_settle_the_next_attempt() {
    let mut config = quick();
    // The next attempt is due before the settlement is sent again.
    config.retry.base = Duration::from_millis(1);
    config.retry.cap = Duration::from_millis(1);
    let world = World::new(config).await;
    let proxy = Proxy::start(&world.server, world.folder());
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let inner = gate.clone();
    let once_bad = act(move |job, attempt| {
        let gate = inner.clone();
        async move {
            if job.0 == "a" && attempt == 1 {
                return Err(JobError::retry("away", "away").into());
            }
            gate.acquire().await?.forget();
            Ok(())
        }
    });
    let mut worker = hire(&proxy.queue(&world.queue), "w", Size::of(2, 0), once_bad);
    gate.add_permits(1);
    world.enqueue(work("first")).await;
    worker.until_ended(1).await;
    world.until_counts([0, 0, 0, 0]).await;
    for _ in 0..10 {
        proxy.swallow_answer_to(crate::scripts::settle().get_hash());
        world.enqueue(work("a")).await;
        assert_eq!(
            [worker.next().await, worker.next().await],
            [began("a", 1), ended("a", 1)]
        );
        proxy.swallowed().await;
        assert_eq!(worker.next().await, began("a", 2));
        // The first settlement has come again by the time that another one has got through behind it.
        world.enqueue(work("behind")).await;
        assert_eq!(worker.next().await, began("behind", 1));
        gate.add_permits(1);
        // One of the two ends; the other is still this worker's.
        let first = worker.next().await;
        world.until_counts([0, 0, 1, 0]).await;
        gate.add_permits(1);
        let second = worker.next().await;
        let mut both = [first, second];
        both.sort_by_key(|told| format!("{told:?}"));
        assert_eq!(both, [ended("a", 2), ended("behind", 1)]);
        world.until_counts([0, 0, 0, 0]).await;
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_way_that_breaks_every_few_thousand_bytes_every_job_is_done_and_none_is_lost() {
    let world = World::new(short_lease()).await;
    let proxy = Proxy::start(&world.server, world.folder());
    let mut worker = hire(&proxy.queue(&world.queue), "w", Size::of(8, 4), ok());
    world.enqueue(work("first")).await;
    worker.until_ended(1).await;
    proxy.break_after(3_000);
    world.queue.enqueue(&works(0..1_000)).await.unwrap();
    let mut done = BTreeSet::new();
    while done.len() < 1_000 {
        if let Told::Ended(id, _) = worker.next().await {
            done.insert(id);
        }
    }
    world.until_counts([0, 0, 0, 0]).await;
    assert!(proxy.broken() > 10, "only {} breaks", proxy.broken());
    assert!(worker.lives());
    proxy.break_after(0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_replicas_are_asked_for_nothing_is_accepted_before_they_have_it() {
    let world = World::new(quick()).await;
    let options = RedisOptions {
        response_timeout: Duration::from_millis(600),
        ..RedisOptions::default()
    };
    let address = format!("{}?replicas=1", world.server.url().expose_secret());
    let redis = Redis::open(&address.into(), options).unwrap();
    let queue = Queue::new(&redis, world.queue.config().clone()).unwrap();
    let error = queue.enqueue(&[work("a")]).await.unwrap_err().to_string();
    assert!(error.contains("0 of 1 replicas"), "{error}");
    world.until_counts([1, 0, 0, 0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_settled_over_a_connection_that_turns_out_to_be_broken() {
    let world = World::new(quick()).await;
    let proxy = Proxy::start(&world.server, world.folder());
    let queue = proxy.queue(&world.queue);
    let entry = work("a").log(b"head".to_vec(), b"body".to_vec());
    queue.enqueue(&[entry]).await.unwrap();
    let mut log = LogConsumer::new(&queue, "reader".to_owned(), Duration::from_secs(5));
    let read: Vec<String> = log
        .read(10)
        .await
        .unwrap()
        .into_iter()
        .map(|one| one.id)
        .collect();
    assert_eq!(read.len(), 1);
    proxy.swallow_answer_to("XACK");
    log.settle(&read).await.unwrap();
    proxy.swallowed().await;
    assert_eq!(queue.counts().await.unwrap().log, 0);
}
