//! Faults 4, 6 and 14: healthy jobs that run twice, attempts that do not survive a crash, two workers under one name.

use std::time::Duration;

use redis::Value;
use surepass::queue::JobError;

use crate::scripts::{HOUR_MS, claim_by_hand};
use crate::world::{Size, Told, World, act, began, ended, gated, hang, ok, quick, short_lease, work, works};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_4_healthy_jobs_longer_than_the_lease_run_once_on_two_workers() {
    let world = World::new(short_lease()).await;
    // Four leases long, and more of them than slots: some wait in a worker's buffer meanwhile.
    let long = || {
        act(|_, _| async {
            tokio::time::sleep(Duration::from_millis(2_400)).await;
            Ok(())
        })
    };
    let mut one = world.hire("one", Size::of(2, 2), long());
    let mut two = world.hire("two", Size::of(2, 2), long());
    world.queue.enqueue(&works(0..8)).await.unwrap();
    let mut told = Vec::new();
    while told.iter().filter(|told| matches!(told, Told::Ended(..))).count() < 8 {
        told.push(tokio::select! {
            told = one.next() => told,
            told = two.next() => told,
        });
    }
    world.until_counts([0, 0, 0, 0]).await;
    told.extend(one.stop().await);
    told.extend(two.stop().await);
    let mut names: Vec<_> = told
        .iter()
        .filter_map(|told| match told {
            Told::Began(id, 1) => Some(id.clone()),
            Told::Ended(_, 1) => None,
            other => panic!("{other:?}"),
        })
        .collect();
    names.sort();
    assert_eq!(names, (0..8).map(|n| format!("job-{n}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_4_a_handler_that_blocks_its_threads_keeps_its_lease() {
    let world = World::new(short_lease()).await;
    // Another runtime is the other worker's process.
    let queue = world.queue.reconnected().unwrap();
    let busy = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let queue = queue.reconnected().unwrap();
            let block = act(|_, _| async {
                std::thread::sleep(Duration::from_millis(2_400));
                Ok(())
            });
            let mut worker = crate::world::hire(&queue, "busy", Size::of(1, 0), block);
            let told = worker.until_ended(1).await;
            worker.stop().await;
            told
        })
    });
    world.enqueue(work("long")).await;
    world.until_counts([0, 0, 1, 0]).await;
    let idle = world.hire("idle", Size::of(1, 0), ok());
    let told = tokio::task::spawn_blocking(|| busy.join().unwrap())
        .await
        .unwrap();
    assert_eq!(told, [began("long", 1), ended("long", 1)]);
    assert_eq!(idle.stop().await, [], "nobody else ran it");
    world.until_counts([0, 0, 0, 0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_6_attempts_survive_a_crash_and_the_jobs_of_a_dead_worker_run_elsewhere() {
    let world = World::new(short_lease()).await;
    world.enqueue(work("a")).await;
    let mut first = world.hire("first", Size::of(1, 0), hang());
    assert_eq!(first.next().await, began("a", 1));
    first.crash().await;
    let mut second = world.hire("second", Size::of(1, 0), ok());
    assert_eq!(second.until_ended(1).await, [began("a", 2), ended("a", 2)]);
    let errors = world.queue.errors("a").await.unwrap();
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].contains("worker_lost") && errors[0].contains("first:1"),
        "{errors:?}"
    );
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_6_a_job_that_kills_its_worker_three_times_is_poison() {
    let world = World::new(short_lease()).await;
    world.enqueue(work("deadly")).await;
    for attempt in 1..=3 {
        let mut worker = world.hire(&format!("victim-{attempt}"), Size::of(1, 0), hang());
        assert_eq!(worker.next().await, began("deadly", attempt));
        worker.crash().await;
    }
    let survivor = world.hire("survivor", Size::of(1, 0), hang());
    world.until_counts([0, 0, 0, 1]).await;
    assert_eq!(
        world.queue.death("deadly").await.unwrap().as_deref(),
        Some("poison")
    );
    // What is poison does not come back by itself.
    assert_eq!(
        world.enqueue(work("deadly")).await,
        surepass::queue::Enqueued::Dead
    );
    assert_eq!(survivor.stop().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_between_crashes_do_not_hide_that_a_job_kills_its_workers() {
    let world = World::new(short_lease()).await;
    world.enqueue(work("deadly")).await;
    // Odd attempts fail politely, even ones take their worker down.
    for crash in 1..=3_usize {
        let moody = act(|_, attempt| async move {
            if attempt % 2 == 1 {
                return Err(JobError::retry("store_unavailable", "away").into());
            }
            std::future::pending().await
        });
        let mut worker = world.hire(&format!("victim-{crash}"), Size::of(1, 0), moody);
        while worker.next().await != began("deadly", crash * 2) {}
        worker.crash().await;
    }
    let survivor = world.hire("survivor", Size::of(1, 0), hang());
    world.until_counts([0, 0, 0, 1]).await;
    assert_eq!(
        world.queue.death("deadly").await.unwrap().as_deref(),
        Some("poison")
    );
    survivor.stop().await;
}

/// Ends the lease of `token` and gives its jobs to `thief`, in one step: no renewal comes between.
async fn steal(world: &World, token: &str, thief: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut connection = world.redis().await;
    let script = crate::scripts::claim();
    let _: String = redis::cmd("SCRIPT")
        .arg("LOAD")
        .arg(crate::scripts::CLAIM_SOURCE)
        .query_async(&mut connection)
        .await
        .unwrap();
    let mut pipe = redis::pipe();
    pipe.atomic()
        .zadd(world.queue.key("lease"), token, 1)
        .ignore()
        .cmd("EVALSHA")
        .arg(script.get_hash())
        .arg(4);
    for key in ["wait", "sched", "lease", "dead"] {
        pipe.arg(world.queue.key(key));
    }
    pipe.arg(world.queue.prefix())
        .arg(thief)
        .arg(HOUR_MS)
        .arg(500)
        .arg(1)
        .arg(16)
        .arg(3)
        .arg(1)
        .arg(0)
        .arg(0)
        // It holds nothing, so it may take what the lost worker may have died of.
        .arg(2);
    let (answer,): (Vec<Value>,) = pipe.query_async(&mut connection).await.unwrap();
    crate::scripts::read_claim(&answer).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_4_a_late_acknowledgement_of_a_lost_lease_changes_nothing() {
    let world = World::new(quick()).await;
    let (wait, gate) = gated();
    // Full with one job, so that it does not look for others and learn of its loss before it settles.
    let mut late = world.hire("late", Size::of(1, 0), wait);
    world.enqueue(work("a")).await;
    late.next().await;
    assert_eq!(steal(&world, "late:1", "thief").await.len(), 1);
    // The thief holds it now, in its second attempt; the first one's answer comes too late.
    let before = world.everything().await;
    gate.add_permits(1);
    late.until_ended(1).await;
    // Its next claim is after its settlements: it learns there that its lease is gone, and begins anew.
    world.enqueue(work("c")).await;
    gate.add_permits(1);
    assert_eq!(late.until_ended(1).await, [began("c", 1), ended("c", 1)]);
    world.until_counts([0, 0, 1, 0]).await;
    let after = world.everything().await;
    for (key, value) in before {
        let key_text = String::from_utf8_lossy(&key).into_owned();
        if key_text.contains(":data:") || key_text.contains(":run:") || key_text.contains(":errors:") {
            assert!(after.contains(&(key, value)), "{key_text} has changed");
        }
    }
    late.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_lease_cancels_the_handler_and_the_worker_begins_anew() {
    let world = World::new(short_lease()).await;
    let mut worker = world.hire("w", Size::of(1, 0), hang());
    world.enqueue(work("a")).await;
    worker.next().await;
    assert_eq!(steal(&world, "w:1", "thief").await.len(), 1);
    assert_eq!(worker.next().await, Told::Dropped("a".to_owned(), 1));
    world.enqueue(work("b")).await;
    assert_eq!(worker.next().await, began("b", 1));
    assert!(worker.lives());
    worker.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_14_a_name_that_comes_again_does_not_keep_the_orphans_of_the_one_before_alive() {
    let world = World::new(quick()).await;
    world.enqueue(work("orphan")).await;
    // A worker of this name has died; its lease has an hour to go.
    let mut connection = world.redis().await;
    assert_eq!(
        claim_by_hand(&world.queue, &mut connection, "w:1", 1, 7)
            .await
            .unwrap()
            .len(),
        1
    );
    // The next of the name finds a job under its token that it never claimed: it goes back and runs.
    let mut worker = world.hire("w", Size::of(1, 0), ok());
    assert_eq!(
        worker.until_ended(1).await,
        [began("orphan", 1), ended("orphan", 1)]
    );
    worker.stop().await;
}
